#!/usr/bin/env bash
# While a module is asked about one user's join, all other changes of membership in that room wait: the eighth who joins waits for eight
# answers, and so does whoever leaves, though no module is asked about leaving.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
# shellcheck disable=SC2034 # read by synapse
more='rc_joins: {local: {per_second: 1000, burst_count: 1000}}'
synapse 1.163.2 <<'PY'
import os

from synapse.module_api import NOT_SPAM


class Module:
    """Answers about a join when it is asked about eight, or after a second."""

    def __init__(self, config, api):
        self.api, self.under_way = api, 0
        api.register_spam_checker_callbacks(user_may_join_room=self.join)

    async def join(self, user, room, is_invited):
        self.under_way += 1
        for _ in range(10):
            if self.under_way == 8:
                break
            await self.api.sleep(0.1)
        with open(os.environ["ASKED"], "a") as f:
            f.write(f"{self.under_way}\n")
        await self.api.sleep(0.5)
        self.under_way -= 1
        return NOT_SPAM
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import time
from concurrent.futures import ThreadPoolExecutor

from client import asked, call, quote, register

alice, leaver = register("alice"), register("leaver")
users = [register(f"user{n}") for n in range(8)]


def make():
    return quote(call(alice, "POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})[1]["room_id"])


def join(user, room):
    return call(user, "POST", f"/_matrix/client/v3/join/{room}", {})[0]


print("Synapse 1.163.2, eight users who join at the same moment, and a module that takes its time about each join:")
with ThreadPoolExecutor(8) as clients:
    statuses = list(clients.map(join, users, [make() for _ in users]))
at_once = [int(line) for line in asked()]
print(f"  each another room: status {statuses}; the module was asked about {max(at_once)} at once")
assert statuses == [200] * 8 and max(at_once) == 8, at_once

room = make()
join(leaver, room)
asked()
with ThreadPoolExecutor(8) as clients:
    joins = clients.map(join, users, [room] * 8)
    at_once = []
    while not at_once:
        time.sleep(0.1)
        at_once = [int(line) for line in asked()]
    assert call(leaver, "POST", f"/_matrix/client/v3/rooms/{room}/leave", {})[0] == 200
    before = asked()
    statuses = list(joins)
at_once += [int(line) for line in before + asked()]
print(f"  all one room: status {statuses}; the module was asked about {max(at_once)} at once")
print(f"  somebody who left that room meanwhile waited for {len(before)} of its answers about others")
assert statuses == [200] * 8 and at_once == [1] * 8 and len(before) >= 4, (at_once, before)
PY
