"""A user of another homeserver, Mallory, who is in a room of a Synapse: Room(token) makes the room, with that user of Synapse's."""

import http.server
import json
import os
import time
import urllib.request

from client import URL, call, quote
from server import start
from signedjson.key import encode_verify_key_base64, generate_signing_key, get_verify_key
from signedjson.sign import sign_json
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.crypto.event_signing import add_hashes_and_signatures
from synapse.events import make_event_from_dict

VERSION = KNOWN_ROOM_VERSIONS["11"]
key = generate_signing_key("1")


class Remote(http.server.BaseHTTPRequestHandler):
    """Has a key."""

    def do_GET(self):
        keys = {key.alg + ":" + key.version: {"key": encode_verify_key_base64(get_verify_key(key))}}
        body = {"server_name": server, "verify_keys": keys, "old_verify_keys": {}, "valid_until_ts": int(time.time() * 1000) + 86_400_000}
        body = json.dumps(sign_json(body, server, key)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.rfile.read(int(self.headers["Content-Length"]))
        self.wfile.write(b"{}")

    def log_message(self, *args):
        pass


server = start(os.environ["DIR"], Remote)
mallory = f"@mallory:{server}"


def federate(method, path, content=None):
    request = {"method": method, "uri": path, "origin": server, "destination": "example.com"}
    if content is not None:
        request["content"] = content
    signature = sign_json(request, server, key)["signatures"][server]["ed25519:1"]
    headers = {"Authorization": f'X-Matrix origin="{server}",destination="example.com",key="ed25519:1",sig="{signature}"', "Content-Type": "application/json"}
    data = None if content is None else json.dumps(content).encode()
    with urllib.request.urlopen(urllib.request.Request(URL + path, data, headers, method=method)) as response:
        return json.load(response)


def signed(event):
    event = {name: value for name, value in event.items() if name not in ("event_id", "unsigned", "signatures", "hashes")}
    add_hashes_and_signatures(VERSION, event, server, key)
    return event, make_event_from_dict(event, VERSION).event_id


class Room:
    """A room of version 11 that Mallory has joined, and may set the topic of."""

    def __init__(self, token, user):
        self.token = token
        levels = {"users": {user: 100, mallory: 50}}
        body = {"room_version": "11", "preset": "public_chat", "topic": "welcome", "power_level_content_override": levels}
        self.id = call(token, "POST", "/_matrix/client/v3/createRoom", body)[1]["room_id"]
        member = federate("GET", f"/_matrix/federation/v1/make_join/{quote(self.id)}/{quote(mallory)}?ver=11")["event"]
        join, self.last = signed({**member, "origin_server_ts": int(time.time() * 1000)})
        state = federate("PUT", f"/_matrix/federation/v2/send_join/{quote(self.id)}/{quote(self.last)}", join)["state"]
        self.auth = [make_event_from_dict(e, VERSION).event_id for e in state if e["type"] in ("m.room.create", "m.room.power_levels")] + [self.last]
        self.depth = join["depth"]

    def sent(self, kind, content, **more):
        """The other server sends an event, in a transaction."""
        self.depth += 1
        event = {"type": kind, "room_id": self.id, "sender": mallory, "content": content, "depth": self.depth, **more}
        event, event_id = signed({**event, "origin_server_ts": int(time.time() * 1000), "prev_events": [self.last], "auth_events": self.auth})
        answer = federate("PUT", f"/_matrix/federation/v1/send/{time.time_ns()}", {"origin": server, "origin_server_ts": 0, "pdus": [event]})
        assert answer == {"pdus": {event_id: {}}}, answer
        self.last = event_id

    def came(self):
        for _ in range(100):
            if self.call("GET", f"event/{quote(self.last)}")[0] == 200:
                return
            time.sleep(0.1)
        raise SystemExit("the message of the other server did not come")

    def call(self, method, path, body=None):
        return call(self.token, method, f"/_matrix/client/v3/rooms/{quote(self.id)}/{path}", body)
