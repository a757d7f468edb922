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


def search(limit):
    body = call(alice, "POST", "/_matrix/client/v3/user_directory/search", {"search_term": "shop", "limit": limit})[1]
    return len(body["results"]), body["limited"]


register("shop-bread")
while search(10) != (1, False):  # The directory learns of users a moment later.
    time.sleep(0.1)
for n in range(50):
    register(f"shop-spam{n}")
register("shop-flowers")
while search(10) != (1, True):
    time.sleep(0.1)
print("Synapse 1.163.2, two users who match what is searched for, and between them fifty whom a module hides:")
for limit in (10, 50, 1000):
    found, limited = search(limit)
    print(f"  limit {limit}: {found} found, limited: {limited}")
    assert (found, limited) == (1, True)
PY
