#!/usr/bin/env bash
# on_account_data_updated is told of each read marker that a client moves, and of no change of push rules, though clients are given both as
# account data.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
synapse 1.163.2 <<'PY'
import os


class Module:
    def __init__(self, config, api):
        api.register_account_data_callbacks(on_account_data_updated=self.updated)

    async def updated(self, user, room, kind, content):
        with open(os.environ["ASKED"], "a") as f:
            f.write(f"{kind}\n")
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import time

from client import asked, call, quote, register

alice = register("alice")
room = quote(call(alice, "POST", "/_matrix/client/v3/createRoom", {})[1]["room_id"])
rooms, user = f"/_matrix/client/v3/rooms/{room}", f"/_matrix/client/v3/user/{quote('@alice:example.com')}"
message = {"msgtype": "m.text", "body": "hello"}
events = [call(alice, "PUT", f"{rooms}/send/m.room.message/{n}", message)[1]["event_id"] for n in range(3)]


def synced(since):
    """The account data that a client's sync has since then, and the next token."""
    body = call(alice, "GET", f"/_matrix/client/v3/sync?timeout=0{since and '&since=' + quote(since)}")[1]
    data = body.get("account_data", {}).get("events", [])
    for joined in body.get("rooms", {}).get("join", {}).values():
        data += joined["account_data"]["events"]
    return sorted(each["type"] for each in data), body["next_batch"]


print("Synapse 1.163.2, what changes, what a client's sync has under account_data, and what modules are told:")
since = synced("")[1]
for what, method, path, bodies, shown, told in (
    ("account data", "PUT", f"{user}/account_data/org.example", [{"n": 1}], ["org.example"], ["org.example"]),
    ("push rules", "PUT", "/_matrix/client/v3/pushrules/global/content/tea", [{"pattern": "tea", "actions": ["notify"]}], ["m.push_rules"], []),
    ("read up to three messages", "POST", f"{rooms}/read_markers", [{"m.fully_read": e} for e in events], ["m.fully_read"], ["m.fully_read"] * 3),
):
    asked()
    for body in bodies:
        status, answer = call(alice, method, path, body)
        assert status == 200, answer
    time.sleep(1)
    seen, since = synced(since)
    got = asked()
    print(f"  {what}: {' '.join(seen)}; told {got}")
    assert (seen, got) == (shown, told), (seen, got)
PY
