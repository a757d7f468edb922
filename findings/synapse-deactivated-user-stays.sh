#!/usr/bin/env bash
# A module that fails for a moment while a deactivated account is taken out of its rooms leaves it a member for good: the deactivation
# succeeds all the same, nobody is told, and Synapse does not try again, not after a restart either.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
synapse 1.163.2 <<'PY'
import os


class Module:
    """Fails once, about the second room that somebody leaves."""

    def __init__(self, config, api):
        self.left = 0
        api.register_third_party_rules_callbacks(
            check_event_allowed=self.allowed, on_user_deactivation_status_changed=self.deactivated
        )

    def note(self, text):
        with open(os.environ["ASKED"], "a") as f:
            f.write(text + "\n")

    async def allowed(self, event, state):
        if event.type == "m.room.member" and event.content["membership"] == "leave":
            self.left += 1
            self.note("asked")
            if self.left == 2:
                raise TimeoutError("away for a moment")
        return True, None

    async def deactivated(self, user, deactivated, by_admin):
        self.note(f"{user} deactivated {deactivated}")
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import time

from client import asked, call, quote, register

admin, alice, bob = register("admin", admin=True), register("alice"), register("bob")
rooms = []
for _ in range(3):
    rooms.append(call(alice, "POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})[1]["room_id"])
    assert call(bob, "POST", f"/_matrix/client/v3/join/{quote(rooms[-1])}", {})[0] == 200


def member_of():
    members = (call(alice, "GET", f"/_matrix/client/v3/rooms/{quote(room)}/joined_members")[1]["joined"] for room in rooms)
    return sum("@bob:example.com" in joined for joined in members)


path = "/_matrix/client/v3/account/deactivate"
session = call(bob, "POST", path, {})[1]["session"]
password = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "bob"}, "password": "password", "session": session}
status, answer = call(bob, "POST", path, {"auth": password})
told = []
for _ in range(100):
    told += asked()
    if told.count("asked") == 3 and member_of() == 1:
        break
    time.sleep(0.1)
time.sleep(5)
told += asked()
account = call(admin, "GET", f"/_synapse/admin/v2/users/{quote('@bob:example.com')}")[1]
print("Synapse 1.163.2, a user of three rooms deactivates the account, and the module fails about the second one:")
print(f"  the client sees {status}; modules are asked {told.count('asked')} times, and told:", *set(told) - {"asked"})
print(f"  five seconds later, deactivated: {account['deactivated']}, a member of {member_of()} rooms")
assert status == 200 and account["deactivated"] and told.count("asked") == 3 and member_of() == 1, (answer, told, member_of())
PY
kill "$pid" && wait "$pid" 2>/dev/null || :
(cd "$dir" && PYTHONPATH=$dir exec "$python" -m synapse.app.homeserver -c homeserver.yaml >>"$dir/log" 2>&1) &
pid=$!
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import time
import urllib.error

from client import asked, call, quote, register

for _ in range(300):
    try:
        admin = register("second", admin=True)
        break
    except urllib.error.URLError:
        time.sleep(0.1)
time.sleep(5)
rooms = call(admin, "GET", f"/_synapse/admin/v1/users/{quote('@bob:example.com')}/joined_rooms")[1]["total"]
print(f"  five seconds after a restart of Synapse, a member of {rooms} rooms; questions: {asked().count('asked')}")
assert rooms == 1
assert call(admin, "POST", f"/_synapse/admin/v1/deactivate/{quote('@bob:example.com')}", {})[0] == 200
for _ in range(100):
    rooms = call(admin, "GET", f"/_synapse/admin/v1/users/{quote('@bob:example.com')}/joined_rooms")[1]["total"]
    if not rooms:
        break
    time.sleep(0.1)
print(f"  an admin has deactivated the account again: a member of {rooms} rooms")
assert rooms == 0
PY
