#!/usr/bin/env bash
# Users whom check_username_for_spam hides are taken out of a page of search results after the page was filled with them: the page is
# short or empty, says that there are more, and there is no next page.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
synapse 1.163.2 <<'PY'
class Module:
    def __init__(self, config, api):
        api.register_spam_checker_callbacks(check_username_for_spam=self.hide)

    async def hide(self, profile, requester):
        return "spam" in profile["user_id"]
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import time

from client import call, register

alice = register("alice")


def search(term, limit):
    body = call(alice, "POST", "/_matrix/client/v3/user_directory/search", {"search_term": term, "limit": limit})[1]
    return len(body["results"]), body["limited"]


def register_and_wait(name, term):
    register(name)
    for _ in range(100):  # The directory learns of users a moment later.
        if search(term, 10)[0]:
            return
        time.sleep(0.1)
    raise SystemExit(f"a search for {term} finds nobody")


register_and_wait("shop-bread", "bread")
for n in range(50):
    register(f"shop-spam{n}")
register_and_wait("shop-flowers", "flowers")
print("Synapse 1.163.2, two users who match what is searched for, and between them fifty whom a module hides:")
for limit in (10, 50, 1000):
    found, limited = search("shop", limit)
    print(f"  limit {limit}: {found} found, limited: {limited}")
    assert (found, limited) == (1, True)
PY
