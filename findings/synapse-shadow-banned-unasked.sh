#!/usr/bin/env bash
# Modules are not asked about what a shadow-banned user sends: not check_event_for_spam, not check_event_allowed, not
# user_may_invite. The client gets a 200 all the same.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
synapse 1.163.2 <<'PY'
import os

from synapse.module_api import NOT_SPAM


class Module:
    def __init__(self, config, api):
        api.register_spam_checker_callbacks(check_event_for_spam=self.spam, user_may_invite=self.invite)
        api.register_third_party_rules_callbacks(check_event_allowed=self.allowed)

    def note(self, text):
        with open(os.environ["ASKED"], "a") as f:
            f.write(text + "\n")

    async def spam(self, event):
        self.note("check_event_for_spam " + event.type)
        return NOT_SPAM

    async def allowed(self, event, state):
        self.note("check_event_allowed " + event.type)
        return True, None

    async def invite(self, inviter, invitee, room_id):
        self.note("user_may_invite")
        return NOT_SPAM
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
from client import asked, call, quote, register

admin, alice = register("admin", admin=True), register("alice")
for name in ("bob", "carol"):
    register(name)
room = "/_matrix/client/v3/rooms/" + quote(call(alice, "POST", "/_matrix/client/v3/createRoom", {})[1]["room_id"])
for banned, invitee in ((False, "@bob:example.com"), (True, "@carol:example.com")):
    if banned:
        call(admin, "POST", "/_synapse/admin/v1/users/@alice:example.com/shadow_ban", {})
    print(f"Synapse 1.163.2, alice is{'' if banned else ' not'} shadow-banned:")
    for what, method, path, body in (
        ("a message", "PUT", f"/send/m.room.message/txn{banned}", {"msgtype": "m.text", "body": "hello"}),
        ("a topic", "PUT", "/state/m.room.topic/", {"topic": f"for {invitee}"}),
        ("an invite", "POST", "/invite", {"user_id": invitee}),
    ):
        asked()
        status, _ = call(alice, method, room + path, body)
        got = asked()
        print(f"  {what}: {status}, modules are asked {got}")
        assert status == 200 and bool(got) != banned, (what, status, got)
PY
