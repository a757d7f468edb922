#!/usr/bin/env bash
# When check_event_allowed replaces an event of a room that is being made, the replacement follows the creator's membership instead of the
# event before it: the room begins as a fork, and the power levels are neither in the replacement's past nor what it is authorised by.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
synapse 1.163.2 <<'PY'
class Module:
    """Puts names of rooms right."""

    def __init__(self, config, api):
        api.register_third_party_rules_callbacks(check_event_allowed=self.allowed)

    async def allowed(self, event, state):
        if event.type == "m.room.name" and event.content["name"].startswith("tea"):
            return True, {**event.get_dict(), "content": {"name": "Tea"}}
        return True, None
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
from client import call, quote, register

admin = register("admin", admin=True)


def pdu(event_id):
    return call(admin, "GET", f"/_synapse/admin/v1/fetch_event/{quote(event_id)}")[1]["event"]


def short(events):
    return [event["type"].removeprefix("m.room.") for event in events]


def made(name):
    body = {"name": name, "topic": "Which leaves?"}
    status, answer = call(admin, "POST", "/_matrix/client/v3/createRoom", body)
    assert status == 200, answer
    room = quote(answer["room_id"])
    history = call(admin, "GET", f"/_matrix/client/v3/rooms/{room}/messages?dir=f&limit=20")[1]["chunk"]
    named = next(event for event in history if event["type"] == "m.room.name")
    event = pdu(named["event_id"])
    before, by = short(map(pdu, event["prev_events"])), sorted(short(map(pdu, event["auth_events"])))
    ends = call(admin, "GET", f"/_synapse/admin/v1/rooms/{room}/forward_extremities")[1]["count"]
    print(f"  named {named['content']['name']!r}: after {before}, authorised by {by}; ends of the room: {ends}")
    print(f"    clients see: {' '.join(short(history))}")
    return before, by, ends, short(history).index("name")


print("Synapse 1.163.2, two new rooms, and a module that replaces the name of the second:")
assert made("Coffee") == (["guest_access"], ["member", "power_levels"], 1, 6)
assert made("tea!!") == (["member"], ["member"], 2, 3)
PY
