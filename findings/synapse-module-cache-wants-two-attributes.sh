#!/usr/bin/env bash
# A method of a module that is decorated with `cached` of Synapse's Module API fails, when it is called and when it is registered, unless the
# module has attributes named server_name and clock, which the documentation does not name and its example does not have.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
synapse 1.163.2 <<'PY'
import os

from synapse.module_api import NOT_SPAM, cached


class Plain:
    """Has what the documentation asks for."""

    def __init__(self, api):
        self.calls = 0

    @cached()
    async def lookup(self, user):
        self.calls += 1
        return user


class WithTwoAttributes(Plain):
    def __init__(self, api):
        super().__init__(api)
        self.server_name, self.clock = api.server_name, api._clock


class Module:
    def __init__(self, config, api):
        self.api = api
        api.register_spam_checker_callbacks(check_event_for_spam=self.spam)

    async def spam(self, event):
        for kind in (Plain, WithTwoAttributes):
            said = []
            subject = kind(self.api)
            try:
                self.api.register_cached_function(subject.lookup)
                said.append("registered")
            except AttributeError as error:
                said.append(str(error))
            try:
                said.append([await subject.lookup(event.sender) for _ in range(2)] and f"called {subject.calls} times")
            except AttributeError as error:
                said.append(str(error))
            with open(os.environ["ASKED"], "a") as f:
                f.write(f"{kind.__name__}: {'; '.join(said)}\n")
        return NOT_SPAM
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
from client import asked, call, quote, register

alice = register("alice")
room = quote(call(alice, "POST", "/_matrix/client/v3/createRoom", {})[1]["room_id"])
status, _ = call(alice, "PUT", f"/_matrix/client/v3/rooms/{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "hello"})
plain, other = asked()
print(f"Synapse 1.163.2, a method with @cached(), registered and then called twice:\n  {plain}\n  {other}")
missing = "'Plain' object has no attribute 'server_name'"
assert status == 200 and plain == f"Plain: {missing}; {missing}" and other == "WithTwoAttributes: registered; called 1 times"
PY
