#!/usr/bin/env bash
# With auto_accept_invites, a module that refuses a join is asked about it five times within 15 seconds, though the user did nothing, and
# the room is in the user's list of direct chats all the same.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
# shellcheck disable=SC2034 # read by synapse
more='auto_accept_invites: {enabled: true}'
synapse 1.163.2 <<'PY'
import os

from synapse.module_api import NOT_SPAM
from synapse.module_api.errors import Codes


class Module:
    def __init__(self, config, api):
        api.register_spam_checker_callbacks(user_may_join_room=self.join)

    async def join(self, user, room, is_invited):
        with open(os.environ["ASKED"], "a") as f:
            f.write(f"{user} {room} {is_invited}\n")
        return Codes.FORBIDDEN if user.startswith("@bob:") else NOT_SPAM
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import time

from client import asked, call, quote, register

alice, bob = register("alice"), register("bob")
room = call(alice, "POST", "/_matrix/client/v3/createRoom", {"is_direct": True, "invite": ["@bob:example.com"]})[1]["room_id"]

questions = []
for _ in range(60):
    questions += [line for line in asked() if line.startswith("@bob:")]
    if len(questions) == 6:
        break
    time.sleep(0.5)
print("Synapse 1.163.2 with auto_accept_invites, one invite, whose join a module refuses:")
print(f"  asked {len(questions)} times in half a minute, is_invited", *{line.split()[2] for line in questions})
assert questions == [f"@bob:example.com {room} True"] * 5, questions

direct = call(bob, "GET", f"/_matrix/client/v3/user/{quote('@bob:example.com')}/account_data/m.direct")
joined = call(bob, "GET", "/_matrix/client/v3/joined_rooms")[1]["joined_rooms"]
print("  rooms that the invited user is in:", len(joined), "- direct chats:", len(direct[1]["@alice:example.com"]))
assert joined == [] and direct == (200, {"@alice:example.com": [room]}), (joined, direct)
PY
