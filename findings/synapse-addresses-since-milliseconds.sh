#!/usr/bin/env bash
# get_user_ip_and_agents of Synapse's Module API takes since_ts in milliseconds, and its documentation says seconds: a module that does as
# documented is given every address that the user was ever seen with.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
synapse 1.163.2 <<'PY'
import json
import os
import time

from synapse.module_api import NOT_SPAM


class Module:
    """Notes how many addresses it is given of who writes a message."""

    def __init__(self, config, api):
        self.api = api
        api.register_spam_checker_callbacks(check_event_for_spam=self.check)

    async def check(self, event):
        if event.type != "m.room.message":
            return NOT_SPAM
        seconds = int(time.time())
        times = {"nothing": 0, "an hour from now, in seconds": seconds + 3600, "an hour from now, in milliseconds": (seconds + 3600) * 1000}
        counts = {since: len(await self.api.get_user_ip_and_agents(event.sender, ts)) for since, ts in times.items()}
        with open(os.environ["ASKED"], "w") as f:
            json.dump({"documented": self.api.get_user_ip_and_agents.__doc__, "counts": counts}, f)
        return NOT_SPAM
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import json
import os

from client import call, quote, register

writer = register("writer")
status, room = call(writer, "POST", "/_matrix/client/v3/createRoom", {})
assert status == 200, room
path = f"/_matrix/client/v3/rooms/{quote(room['room_id'])}/send/m.room.message/1"
assert call(writer, "PUT", path, {"msgtype": "m.text", "body": "hello"})[0] == 200
with open(os.environ["ASKED"]) as f:
    seen = json.load(f)
assert "since_ts: a timestamp in seconds since the epoch" in seen["documented"], seen["documented"]
print("Synapse 1.163.2, get_user_ip_and_agents, addresses since")
for since, count in seen["counts"].items():
    print(f"  {since}: {count}")
assert list(seen["counts"].values()) == [1, 1, 0], seen["counts"]
PY
