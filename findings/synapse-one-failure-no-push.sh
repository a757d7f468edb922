#!/usr/bin/env bash
# Before it pushes a message, Synapse asks is_user_expired about all whom the message notifies, one after the other, also about those who
# have nothing to push to. One failure, about whomever, and nobody after that one is pushed to, until the next message for them comes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
# shellcheck disable=SC2034 # read by synapse
more='ip_range_blacklist: []'
synapse 1.163.2 <<'PY'
import os


class Module:
    """Knows nobody who has expired; fails once after each message that says so."""

    def __init__(self, config, api):
        self.fail = False
        api.register_account_validity_callbacks(is_user_expired=self.expired)
        api.register_third_party_rules_callbacks(check_event_allowed=self.allowed)

    async def allowed(self, event, state):
        self.fail = "fail" in event.content.get("body", "")
        return True, None

    async def expired(self, user):
        with open(os.environ["ASKED"], "a") as f:
            f.write(user + "\n")
        if self.fail and not user.startswith("@alice:"):
            self.fail = False
            raise TimeoutError("away for a moment")
        return False
PY
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
import http.server
import json
import threading
import time

from client import asked, call, quote, register

pushed = []


class Gateway(http.server.BaseHTTPRequestHandler):
    """Where phones get their pushes from."""

    def do_POST(self):
        note = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["notification"]
        if "content" in note:
            pushed.append((note["devices"][0]["pushkey"], note["content"]["body"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args):
        pass


gateway = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
threading.Thread(target=gateway.serve_forever, daemon=True).start()
alice = register("alice")
room = quote(call(alice, "POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})[1]["room_id"])
for name in ("bob", "carol", "dave", "erin"):
    user = register(name)
    assert call(user, "POST", f"/_matrix/client/v3/join/{room}", {})[0] == 200
    if name != "erin":
        data = {"url": f"http://127.0.0.1:{gateway.server_port}/_matrix/push/v1/notify"}
        pusher = {"kind": "http", "app_id": "app", "pushkey": name, "app_display_name": "", "device_display_name": "", "lang": "en", "data": data}
        assert call(user, "POST", "/_matrix/client/v3/pushers/set", pusher)[0] == 200


def send(body, most):
    """Sends a message, and returns whom modules were asked about and what was pushed, within ten seconds or once enough was."""
    time.sleep(1)
    asked()
    pushed.clear()
    status, _ = call(alice, "PUT", f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{body}", {"msgtype": "m.text", "body": body})
    assert status == 200
    for _ in range(100):
        time.sleep(0.1)
        if len(pushed) == most:
            break
    questions = {line[1:].split(":")[0] for line in asked()} - {"alice"}
    print(f"  {body}: modules are asked about {len(questions)}; pushed: {' '.join(':'.join(each) for each in sorted(pushed)) or 'nothing'}")
    return len(questions), sorted(pushed)


print("Synapse 1.163.2, messages for four users, three of whom have a phone:")
assert send("one", 3) == (4, [("bob", "one"), ("carol", "one"), ("dave", "one")])
assert send("two-fails", 3) == (1, [])
assert send("three", 6) == (4, [(name, body) for name in ("bob", "carol", "dave") for body in ("three", "two-fails")])
PY
