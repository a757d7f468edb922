#!/usr/bin/env bash
# Synapse asks a module about all messages that are sent into a room at the same moment at once: one that takes its time holds
# up nobody else, and sees no order.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
synapse 1.163.2 <<'PY'
import os

from synapse.module_api import NOT_SPAM


class Module:
    """Answers about nothing until it is asked about eight messages, or a minute has passed."""

    def __init__(self, config, api):
        self.api, self.under_way = api, 0
        api.register_spam_checker_callbacks(check_event_for_spam=self.spam)

    async def spam(self, event):
        self.under_way += 1
        for _ in range(600):
            if self.under_way == 8:
                break
            await self.api.sleep(0.1)
        with open(os.environ["ASKED"], "a") as f:
            f.write(f"{self.under_way}\n")
        return NOT_SPAM
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
from concurrent.futures import ThreadPoolExecutor

from client import asked, call, quote, register

alice = register("alice")
room = quote(call(alice, "POST", "/_matrix/client/v3/createRoom", {})[1]["room_id"])


def send(number):
    path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{number}"
    return call(alice, "PUT", path, {"msgtype": "m.text", "body": "hello"})[0]


with ThreadPoolExecutor(8) as clients:
    statuses = list(clients.map(send, range(8)))
under_way = asked()
print("Synapse 1.163.2, eight messages into one room at the same moment:")
print(f"  status {statuses}; when the module answered, it was being asked about {under_way}")
assert statuses == [200] * 8 and under_way == ["8"] * 8, under_way
PY
