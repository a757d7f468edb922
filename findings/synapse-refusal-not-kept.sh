#!/usr/bin/env bash
# A request that a module refused, or on which it failed, is asked about again when it comes again with the same transaction ID;
# one that succeeded is not.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
synapse 1.163.2 <<'PY'
import os

from synapse.module_api import NOT_SPAM
from synapse.module_api.errors import Codes


class Module:
    def __init__(self, config, api):
        self.answers = iter([Codes.FORBIDDEN, Codes.FORBIDDEN, RuntimeError("broken"), NOT_SPAM])
        api.register_spam_checker_callbacks(check_event_for_spam=self.spam)

    async def spam(self, event):
        with open(os.environ["ASKED"], "a") as f:
            f.write(event.content["body"] + "\n")
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
from client import asked, call, quote, register

alice = register("alice")
room = quote(call(alice, "POST", "/_matrix/client/v3/createRoom", {})[1]["room_id"])
path, message = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/txn", {"msgtype": "m.text", "body": "hello"}
print("Synapse 1.163.2, one request six times, with one transaction ID:")
for want, questions in ((403, 1), (403, 1), (500, 1), (200, 1), (200, 0), (200, 0)):
    status, body = call(alice, "PUT", path, message)
    got = asked()
    print(f"  {status} {body.get('errcode', 'sent')}, modules are asked {len(got)} times")
    assert (status, len(got)) == (want, questions), body
PY
