#!/usr/bin/env bash
# A module that redacts with create_and_send_event_into_room has to put redacts where the room's version has it: within the content from
# version 11 on, beside it before. In the other place, Synapse raises an AssertionError without a word. Both at once work everywhere.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
synapse 1.163.2 <<'PY'
import os


class Module:
    """Redacts each message of Alice's in the way that it asks for."""

    def __init__(self, config, api):
        self.api = api
        api.register_third_party_rules_callbacks(on_new_event=self.told)

    async def told(self, event, state):
        if event.type != "m.room.message":
            return
        redaction = {"type": "m.room.redaction", "room_id": event.room_id, "sender": event.sender, "content": {}}
        if event.content["body"] != "within":
            redaction["redacts"] = event.event_id
        if event.content["body"] != "beside":
            redaction["content"]["redacts"] = event.event_id
        try:
            await self.api.create_and_send_event_into_room(redaction)
            said = "sent"
        except AssertionError as error:
            said = repr(error)
        with open(os.environ["ASKED"], "a") as f:
            f.write(said + "\n")
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import time

from client import asked, call, quote, register

alice = register("alice")
print("Synapse 1.163.2, a module that redacts a message, with `redacts` beside its content, within it, or both:")
for version, wrong in (("10", "within"), ("11", "beside"), ("12", "beside")):
    room = quote(call(alice, "POST", "/_matrix/client/v3/createRoom", {"room_version": version})[1]["room_id"])
    for way in ("beside", "within", "both"):
        message = {"msgtype": "m.text", "body": way}
        sent = call(alice, "PUT", f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{way}", message)[1]["event_id"]
        said = []
        for _ in range(300):
            said += asked()
            if said:
                break
            time.sleep(0.1)
        content = call(alice, "GET", f"/_matrix/client/v3/rooms/{room}/event/{quote(sent)}")[1]["content"]
        print(f"  room version {version}, {way}: {said[0]}, the message {'stays' if content else 'is redacted'}")
        assert (said, content) == ((["AssertionError()"], message) if way == wrong else (["sent"], {})), (said, content)
PY
