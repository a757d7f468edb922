#!/usr/bin/env bash
# A topic of another server that check_event_for_spam refuses takes the room's topic away once that server's next message has come; where
# nobody wrote in between, modules and later events have no topic, while clients are still told the old one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
# shellcheck disable=SC2034 # read by synapse
more='federation_verify_certificates: false
ip_range_blacklist: []'
# shellcheck disable=SC2034
names='client, media, federation'
synapse 1.163.2 <<'PY'
import os

from synapse.module_api import NOT_SPAM
from synapse.module_api.errors import Codes


class Module:
    def __init__(self, config, api):
        api.register_spam_checker_callbacks(check_event_for_spam=self.check)
        api.register_third_party_rules_callbacks(check_event_allowed=self.allowed)

    async def check(self, event):
        return Codes.FORBIDDEN if "refused" in str(event.content) else NOT_SPAM

    async def allowed(self, event, state):
        if ("m.room.topic", "") in state:
            with open(os.environ["ASKED"], "a") as f:
                f.write(state["m.room.topic", ""].content.get("topic", "none") + "\n")
        return True, None
PY
URL=$url DIR=$dir PYTHONPATH=$here/lib "$python" - <<'PY'
from client import asked, register
from remote import Room

alice = register("alice")


def topics(room, path):
    """The topic for a module that is asked about an event of Alice's, and for clients after it."""
    asked()
    status, answer = room.call("PUT", path, {"msgtype": "m.text", "body": "hello", "name": "name"})
    assert status == 200, answer
    return asked()[0], room.call("GET", "state/m.room.topic")[1].get("topic", "none")


print("Synapse 1.163.2, the topic of a room for a module that is asked, and for clients:")
for between, wanted in ((True, [("welcome", "welcome"), ("none", "none"), ("none", "none")]), (False, [("none", "welcome"), ("none", "welcome")])):
    room, seen = Room(alice, "@alice:example.com"), []
    room.sent("m.room.topic", {"topic": "refused"}, state_key="")
    print("  another server has set a topic, which the module refused")
    if between:
        seen.append(topics(room, "send/m.room.message/1"))
        print(f"    Alice writes: {seen[-1]}")
    room.sent("m.room.message", {"msgtype": "m.text", "body": "hello"})
    room.came()
    print("    the other server sends a message, which the module allows")
    for what, path in (("writes", "send/m.room.message/2"), ("names the room", "state/m.room.name")):
        seen.append(topics(room, path))
        print(f"    Alice {what}: {seen[-1]}")
    assert seen == wanted, seen
PY
