#!/usr/bin/env bash
# While a room is made, check_event_allowed is given no more of its state than the creation and the creator's membership: not the power
# levels, join rules or encryption that came before the event it is asked about.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
synapse 1.163.2 <<'PY'
import os


class Module:
    def __init__(self, config, api):
        api.register_third_party_rules_callbacks(check_event_allowed=self.allowed)

    async def allowed(self, event, state):
        with open(os.environ["ASKED"], "a") as f:
            f.write(" ".join(kind.removeprefix("m.room.") for kind in [event.type, *sorted(kind for kind, _ in state)]) + "\n")
        return True, None
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
from client import asked, call, quote, register

alice = register("alice")
body = {
    "preset": "public_chat",
    "name": "Tea",
    "initial_state": [{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}],
    "power_level_content_override": {"events": {"m.room.name": 100}},
}
status, made = call(alice, "POST", "/_matrix/client/v3/createRoom", body)
assert status == 200, made
room = f"/_matrix/client/v3/rooms/{quote(made['room_id'])}"
before = ["create"]
print("Synapse 1.163.2, what check_event_allowed is asked about while a room is made, and the state that it is given:")
for line in asked():
    event, *state = line.split()
    print(f"  {event}: {' '.join(state) or 'none'}")
    if event == "create":
        continue
    assert state == sorted(before[:2]), (event, state)
    before.append(event)
assert before == ["create", "member", "power_levels", "join_rules", "history_visibility", "encryption", "name"], before
assert call(alice, "PUT", f"{room}/state/m.room.name/", {"name": "Coffee"})[0] == 200
event, *state = asked()[0].split()
print(f"and a moment later:\n  {event}: {' '.join(state)}")
assert state == sorted(before), state
PY
