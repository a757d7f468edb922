#!/usr/bin/env bash
# A message of another server that check_event_for_spam refuses is hidden from clients, and told to modules by on_new_event and to
# application services all the same, as a message without content that nobody redacted.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
ASKED=$(mktemp) && export ASKED
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$ASKED.yaml" <<END
{id: bridge, url: "http://127.0.0.1:$port", as_token: as, hs_token: hs, sender_localpart: bridge,
 namespaces: {users: [{exclusive: false, regex: "@alice:example.com"}]}}
END
# shellcheck disable=SC2034 # read by synapse
more="federation_verify_certificates: false
ip_range_blacklist: []
app_service_config_files: [$ASKED.yaml]"
# shellcheck disable=SC2034
names='client, media, federation'
synapse 1.163.2 <<'PY'
import json
import os

from synapse.module_api import NOT_SPAM
from synapse.module_api.errors import Codes


class Module:
    def __init__(self, config, api):
        api.register_spam_checker_callbacks(check_event_for_spam=self.check)
        api.register_third_party_rules_callbacks(on_new_event=self.told)

    async def check(self, event):
        return Codes.FORBIDDEN if "refused" in str(event.content) else NOT_SPAM

    async def told(self, event, state):
        if event.type == "m.room.message":
            with open(os.environ["ASKED"], "a") as f:
                f.write(json.dumps(event.get_dict()["content"]) + "\n")
PY
URL=$url DIR=$dir PORT=$port PYTHONPATH=$here/lib "$python" - <<'PY'
import http.server
import json
import os
import queue
import threading

from client import asked, register
from remote import Room

events = queue.Queue()


class Service(http.server.BaseHTTPRequestHandler):
    """An application service."""

    def do_PUT(self):
        for event in json.loads(self.rfile.read(int(self.headers["Content-Length"])))["events"]:
            if event["type"] == "m.room.message":
                events.put(event)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args):
        pass


service = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Service)
threading.Thread(target=service.serve_forever, daemon=True).start()
room = Room(register("alice"), "@alice:example.com")
for body in ("refused", "hello"):
    room.sent("m.room.message", {"msgtype": "m.text", "body": body})
room.came()
told = [events.get(timeout=30) for _ in range(2)]
status, messages = room.call("GET", "messages?dir=b")
shown = [event["content"] for event in messages["chunk"] if event["type"] == "m.room.message"]
modules, services = [json.loads(line) for line in asked()], [event["content"] for event in told]
print("Synapse 1.163.2, after another server sent two messages, of which the module refused the first:")
print("  clients see:                      ", *shown)
print("  on_new_event told modules:        ", *modules)
print("  the application service was sent: ", *services, "redacted" if "redacted_because" in told[0].get("unsigned", {}) else "not marked as redacted")
hello = {"msgtype": "m.text", "body": "hello"}
assert shown == [hello] and modules == services == [{}, hello] and "redacted_because" not in told[0].get("unsigned", {})
PY
