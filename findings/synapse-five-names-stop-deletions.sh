#!/usr/bin/env bash
# A new display name reaches a user's rooms in a task, and Synapse runs five tasks at once, of whatever kind. While a module is asked about
# five users' names, no other name changes in any room, and no room is deleted: both are accepted with a 200 and wait.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
synapse 1.163.2 <<'PY'
import os

from synapse.module_api import NOT_SPAM


class Module:
    """Takes its time about users named slow, once they are in their rooms, and until there is no file of that name."""

    def __init__(self, config, api):
        self.api = api
        api.register_spam_checker_callbacks(user_may_join_room=self.join)

    async def join(self, user, room, is_invited):
        while user.startswith("@slow") and os.path.exists("slow"):
            await self.api.sleep(0.1)
        return NOT_SPAM
PY
URL=$url DIR=$dir PYTHONPATH=$here/lib "$python" - <<'PY'
import os
import pathlib
import time

from client import call, quote, register

slow = pathlib.Path(os.environ["DIR"], "slow")
admin = register("admin", admin=True)


def make(user):
    status, made = call(user, "POST", "/_matrix/client/v3/createRoom", {})
    assert status == 200, made
    return quote(made["room_id"])


class User:
    """Somebody in a room of their own."""

    def __init__(self, name):
        self.id, self.token = quote(f"@{name}:example.com"), register(name)
        self.room = make(self.token)

    def rename(self, name):
        assert call(self.token, "PUT", f"/_matrix/client/v3/profile/{self.id}/displayname", {"displayname": name})[0] == 200

    def name(self):
        return call(self.token, "GET", f"/_matrix/client/v3/rooms/{self.room}/state/m.room.member/{self.id}")[1]["displayname"]


def seen(seconds, user, new, deletion):
    """The name in the user's room, and what the deletion says, once both are done or after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        got = user.name(), call(admin, "GET", f"/_synapse/admin/v2/rooms/delete_status/{deletion}")[1]["status"]
        if got == (new, "complete") or time.monotonic() > end:
            return got
        time.sleep(0.2)


print("Synapse 1.163.2, a module that takes its time about new names, then somebody else's new name and a room that an admin deletes:")
users, other = [User(f"slow{n}") for n in range(5)], User("other")
for count, seconds, wanted in ((4, 60, ("four", "complete")), (5, 10, ("four", "scheduled"))):
    slow.touch()
    for user in users[:count]:
        user.rename(f"slow, of {count}")
    new = {4: "four", 5: "five"}[count]
    other.rename(new)
    doomed = make(other.token)
    deletion = call(admin, "DELETE", f"/_synapse/admin/v2/rooms/{doomed}", {})[1]["delete_id"]
    got = seen(seconds, other, new, deletion)
    print(f"  while it is asked about {count}: the name in the room is {got[0]!r}, the deletion is {got[1]}")
    assert got == wanted, got
    slow.unlink()
    got = seen(120, other, new, deletion)
    print(f"  once it has answered: {got[0]!r}, {got[1]}")
    assert got == (new, "complete"), got
PY
