"""Records what synapse-http-antispam sends, and what it makes of replies, byte for byte.

It runs the package as it is, with the HTTP client that Synapse gives to modules, against a server in this process, and prints
one JSON object: {"requests": [{"name", "callback", "ask", "headers", "body"}], "replies": [{"callback", "status", "type",
"body", "result"}]}. What it is asked stands in "ask": the request as modulebus has it.
"""

import importlib.metadata
import json
import sys
import tempfile
from typing import Any

from signedjson.key import generate_signing_key, write_signing_keys
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.app.homeserver import SynapseHomeServer
from synapse.config.homeserver import HomeServerConfig
from synapse.events import make_event_from_dict
from synapse.logging.context import LoggingContext
from synapse.module_api import NOT_SPAM
from synapse.types import RoomAlias
from synapse_http_antispam import HTTPAntispam
from twisted.internet import defer, reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

MESSAGE = {
    "type": "m.room.message",
    "sender": "@a:s",
    "room_id": "!r:s",
    "content": {"msgtype": "m.text", "body": 'ä "q" \\ \u2028 </b>&\n\x07\x7f🦆', "n": 9007199254740991, "list": [1, -2, {"b": None, "a": True}]},
    "origin_server_ts": 1700000000000,
    "origin": "s",
    "depth": 12,
    "auth_events": ["$auth"],
    "prev_events": ["$prev"],
    "hashes": {"sha256": "4tuYFAJ2o9sbDNLmTCbDX7SCjXOnwM8QCRb4Y2mZk0I"},
    "signatures": {"s": {"ed25519:a": "c2ln"}},
}
EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "a message": ("10", {**MESSAGE, "unsigned": {"age_ts": 1700000000001}}),
    "a message without unsigned": ("10", MESSAGE),
    "a state event": ("10", {**MESSAGE, "type": "m.room.topic", "state_key": "", "content": {"topic": "tea"}, "prev_state": []}),
    "a redaction": ("10", {**MESSAGE, "type": "m.room.redaction", "redacts": "$target", "content": {"reason": "x"}}),
    "a message with a float": ("1", {**MESSAGE, "event_id": "$old:s", "auth_events": [], "prev_events": [], "content": {"f": 1.5, "e": 1e30}}),
    "a creation of version 12": (
        "12",
        {k: v for k, v in {**MESSAGE, "type": "m.room.create", "state_key": "", "content": {"room_version": "12"}}.items() if k != "room_id"},
    ),
}
INVITE = {
    **MESSAGE,
    "type": "m.room.member",
    "state_key": "@b:s",
    "sender": "@x:elsewhere.example",
    "content": {"membership": "invite"},
    "unsigned": {"invite_room_state": [{"type": "m.room.name", "state_key": "", "sender": "@x:elsewhere.example", "content": {"name": "Spam"}}]},
}

# Callback, arguments as Synapse calls it with, and the request as modulebus has it.
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("user_may_join_room", ("@u:s", "!r:s", True), {"user": "@u:s", "room": "!r:s", "is_invited": True}),
    ("user_may_join_room", ("@u:s", "!r:s", False), {"user": "@u:s", "room": "!r:s", "is_invited": False}),
    ("accept_make_join", ("@u:s", "!r:s"), {"user": "@u:s", "room": "!r:s"}),
    ("user_may_invite", ("@a:s", "@b:s", "!r:s"), {"inviter": "@a:s", "invitee": "@b:s", "room_id": "!r:s"}),
    (
        "user_may_send_3pid_invite",
        ("@a:s", "email", "a@b.c", "!r:s"),
        {"inviter": "@a:s", "medium": "email", "address": "a@b.c", "room_id": "!r:s"},
    ),
    ("user_may_create_room", ("@a:s",), {"user_id": "@a:s", "room_config": {"preset": "private_chat"}}),
    ("user_may_publish_room", ("@a:s", "!r:s"), {"user_id": "@a:s", "room_id": "!r:s"}),
    (
        "check_username_for_spam",
        ({"user_id": "@u:s", "display_name": None, "avatar_url": None}, "@r:s"),
        {"user_profile": {"user_id": "@u:s"}, "requester_id": "@r:s"},
    ),
    (
        "check_username_for_spam",
        ({"user_id": "@u:s", "display_name": "", "avatar_url": "mxc://s/ä"}, "@r:s"),
        {"user_profile": {"user_id": "@u:s", "display_name": "", "avatar_url": "mxc://s/ä"}, "requester_id": "@r:s"},
    ),
    (
        "check_login_for_spam",
        ("@u:s", "DEV", None, [("UA", "1.2.3.4")], None),
        {"user_id": "@u:s", "device_id": "DEV", "request_info": [{"user_agent": "UA", "ip": "1.2.3.4"}]},
    ),
    (
        "check_login_for_spam",
        ("@u:s", None, "Phone", [(None, "::1")], "oidc"),
        {"user_id": "@u:s", "initial_display_name": "Phone", "request_info": [{"ip": "::1"}], "auth_provider_id": "oidc"},
    ),
]

# Status, type and body of replies.
JSON, HTML = "application/json", "text/html"
REPLIES: list[tuple[int, str, str]] = [
    (200, JSON, "{}"),
    (200, JSON, "[]"),
    (200, JSON, '{"errcode":"M_FORBIDDEN"}'),
    (200, JSON, ""),
    (204, JSON, ""),
    (200, HTML, "<html>"),
    (403, JSON, "{}"),
    (403, JSON, '{"errcode":"M_FORBIDDEN","error":"no","x":1}'),
    (400, JSON, '{"errcode":"ORG.EXAMPLE.CUSTOM","error":"no"}'),
    (400, JSON, '{"errcode":7,"error":"no"}'),
    (500, JSON, '{"errcode":"M_LIMIT_EXCEEDED","error":"slow down","retry_after_ms":5}'),
    (500, JSON, '{"error":"it broke"}'),
    (404, JSON, '{"errcode":"M_NOT_FOUND","error":"none"}'),
    (404, JSON, '{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}'),
    (404, HTML, "404 page not found"),
    (401, JSON, '{"errcode":"M_UNKNOWN_TOKEN","error":"who?"}'),
    (401, "text/plain", "Unauthorized"),
    (302, HTML, "<html>"),
    (502, HTML, "<html>"),
    (403, JSON, "[1]"),
    (403, JSON, '"s"'),
]


class Server(Resource):
    isLeaf = True
    last: dict[str, Any]
    reply: tuple[int, str, str] = (200, JSON, "{}")

    def render_POST(self, request: Any) -> bytes:
        raw = request.requestHeaders.getAllRawHeaders()
        headers = {name.decode().lower(): values[0].decode() for name, values in raw if name.lower() != b"host"}
        headers["user-agent"], *_ = headers["user-agent"].split(" (")  # The rest is the git repository that Python's packages lie in.
        self.last = {"path": request.path.decode(), "headers": headers, "body": request.content.read().decode()}
        status, kind, body = self.reply
        request.setResponseCode(status)
        request.setHeader("Content-Type", kind)
        return body.encode()


class Api:
    def __init__(self, http_client: Any) -> None:
        self.http_client = http_client

    def register_spam_checker_callbacks(self, **callbacks: Any) -> None: ...


def homeserver() -> Any:
    config = HomeServerConfig()
    folder = tempfile.mkdtemp()
    with open(folder + "/key", "w") as f:
        write_signing_keys(f, [generate_signing_key("a")])
    config.parse_config_dict(
        {"server_name": "s", "report_stats": False, "media_store_path": folder, "signing_key_path": folder + "/key", "macaroon_secret_key": "x",
         "database": {"name": "sqlite3", "args": {"database": ":memory:"}}},
        folder, folder,
    )
    return SynapseHomeServer("s", config=config, reactor=reactor)


async def record(port: int, server: Server) -> dict[str, Any]:
    module: Any = HTTPAntispam({"base_url": f"http://127.0.0.1:{port}/base", "authorization": "secret"}, Api(homeserver().get_simple_http_client()))  # type: ignore[arg-type]
    requests, replies = [], []
    calls = [(name, name, args, ask) for name, args, ask in CALLS]
    for name, (version, event_dict) in EVENTS.items():
        event = make_event_from_dict(json.loads(json.dumps(event_dict)), KNOWN_ROOM_VERSIONS[version])
        ask = {"event": {"event_id": event.event_id, "room_version": version, "room_id": event_dict.get("room_id", ""), "json": event.get_pdu_json()}}
        calls.append((name, "check_event_for_spam", (event,), ask))
    invite = make_event_from_dict(json.loads(json.dumps(INVITE)), KNOWN_ROOM_VERSIONS["10"])
    calls.append(("an invite", "federated_user_may_invite", (invite,), {"event": {
        "event_id": invite.event_id, "room_version": "10", "room_id": "!r:s", "json": invite.get_pdu_json()}}))
    for name, callback, args, ask in calls:
        if await getattr(module, callback)(*args) != NOT_SPAM:
            raise RuntimeError(f"{callback} was not let through")
        if server.last["path"] != "/base/" + callback:
            raise RuntimeError(f"{callback} asks {server.last['path']}")
        requests.append({"name": name, "callback": callback, "ask": ask, "headers": server.last["headers"], "body": server.last["body"]})
    for callback, args in (("user_may_invite", ("@a:s", "@b:s", "!r:s")), ("check_event_for_spam", (invite,))):
        for server.reply in REPLIES:
            status, kind, body = server.reply
            try:
                result: Any = await getattr(module, callback)(*args)
            except Exception as e:
                result = "raises " + type(e).__name__
            replies.append({"callback": callback, "status": status, "type": kind, "body": body, "result": result})
    alias = await module.user_may_create_room_alias("@a:s", RoomAlias.from_string("#x:s"))
    replies.append({"callback": "user_may_create_room_alias", "status": 0, "type": "", "body": "", "result": alias})
    return {"synapse_http_antispam": importlib.metadata.version("synapse-http-antispam"),
            "synapse": importlib.metadata.version("matrix-synapse"), "requests": requests, "replies": replies}


def main() -> None:
    server = Server()
    port = reactor.listenTCP(0, Site(server), interface="127.0.0.1")  # type: ignore[attr-defined]

    async def run() -> None:
        try:
            with LoggingContext(name="record", server_name="s"):
                print(json.dumps(await record(port.getHost().port, server), indent=1, ensure_ascii=False, sort_keys=True))
        finally:
            reactor.stop()  # type: ignore[attr-defined]

    failures: list[Any] = []
    reactor.callWhenRunning(lambda: defer.ensureDeferred(run()).addErrback(failures.append))  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]
    for f in failures:
        f.printTraceback(file=sys.stderr)
    sys.exit(len(failures))


if __name__ == "__main__":
    main()
