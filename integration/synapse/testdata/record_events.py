"""Prints what Synapse makes of events in each room version: their IDs, and the signatures of a homeserver and of a policy server.

internal/busd/policyserver/testdata/events.json is its output.
"""

import json

from canonicaljson import encode_canonical_json
from signedjson.key import decode_signing_key_base64
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS, EventFormatVersions
from synapse.crypto.event_signing import add_hashes_and_signatures, compute_event_signature
from synapse.events import make_event_from_dict
from unpaddedbase64 import encode_base64

SERVER, POLICY = "remote.example", "policy.example"
ALICE, BOB = "@alice:remote.example", "@bob:elsewhere.example"


def key(version: str, seed: str):
    """The signing key of a seed, which is filled up with spaces."""
    return decode_signing_key_base64("ed25519", version, encode_base64(seed.ljust(32).encode()))


SIGNED = {"mxid": BOB, "token": "t", "signatures": {"id.example": {"ed25519:0": "c2ln"}}}
INVITE = {"membership": "invite", "third_party_invite": {"display_name": "b...", "signed": SIGNED}}
POWER = {
    "ban": 50, "events": {"m.room.name": 50}, "events_default": 0, "invite": 1, "kick": 50, "notifications": {"room": 50}, "redact": 50,
    "state_default": 50, "users": {ALICE: 100, "@ä\u2028<&>:x": 9007199254740991}, "users_default": 0, "x": 1,
}
# What is in an event beside what all have: a type, a state key or none, content, and further keys.
SHAPES = [
    ("m.room.message", None, {"body": "hello <&> ä \U0001f600 \u2028 \x7f", "msgtype": "m.text", "n": -1, "deep": [{"b": None, "a": True}]}, {}),
    ("m.room.encrypted", None, {"algorithm": "x", "ciphertext": "\\\"/\b\f\n\r\t\u0001"}, {"unsigned": {"age_ts": 7, "x": 1}}),
    ("m.room.create", "", {"creator": ALICE, "room_version": "VERSION", "m.federate": False, "predecessor": {"room_id": "!a:b"}}, {}),
    ("m.room.create", "", {"room_version": "VERSION", "type": "m.space", "additional_creators": [BOB]}, {}),
    ("m.room.member", ALICE, {"membership": "join", "displayname": "A", "avatar_url": None, "join_authorised_via_users_server": BOB}, {}),
    ("m.room.member", BOB, {"membership": "invite", "is_direct": True}, {"origin": SERVER, "membership": "invite", "prev_state": []}),
    ("m.room.member", BOB, INVITE, {}),
    ("m.room.member", BOB, {"membership": "invite", "third_party_invite": {"display_name": "b"}}, {}),
    ("m.room.member", BOB, {"membership": "invite", "third_party_invite": "b"}, {}),
    ("m.room.member", BOB, {"membership": "ban", "reason": "spam"}, {}),
    ("m.room.member", ALICE, {"membership": "knock", "reason": "please"}, {}),
    ("m.room.member", ALICE, {"membership": "leave", "third_party_invite": {"signed": SIGNED}}, {}),
    ("m.room.member", ALICE, {"membership": None}, {}),
    ("m.room.power_levels", "", POWER, {}),
    ("m.room.power_levels", "", {"ban": "50", "users": {ALICE: " 100 "}}, {}),
    ("m.room.join_rules", "", {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": "!a:b"}], "x": 1}, {}),
    ("m.room.history_visibility", "", {"history_visibility": "shared", "x": 1}, {}),
    ("m.room.aliases", SERVER, {"aliases": ["#a:" + SERVER], "x": 1}, {}),
    ("m.room.redaction", None, {"reason": "spam", "redacts": "$x"}, {"redacts": "$x"}),
    ("m.room.policy", "", {"via": POLICY, "public_keys": {"ed25519": "x"}}, {}),
    ("m.room.third_party_invite", "t", {"display_name": "b", "key_validity_url": "x", "public_key": "y"}, {}),
    ("org.example.custom", "ä", {}, {"org.example.further": {"a": 1}, "age_ts": 7, "event_id": None, "outlier": True}),
]


def event(version, kind, state_key, content, further):
    """The event, as its sender's homeserver sends it."""
    old = version.event_format == EventFormatVersions.ROOM_V1_V2
    refs = [["$a:" + SERVER, {"sha256": "AAAA"}]] if old else ["$" + "a" * 43]
    content = {k: version.identifier if v == "VERSION" else v for k, v in content.items()}
    e = {
        "type": kind, "sender": ALICE, "content": content, "depth": 7, "origin_server_ts": 1700000000000, "prev_events": refs,
        "auth_events": refs, "room_id": "!room:" + SERVER, **further,
    }
    e.pop("event_id", None)
    if state_key is not None:
        e["state_key"] = state_key
    if old:
        e["event_id"] = "$1:" + SERVER
    if version.msc4291_room_ids_as_hashes:
        e["room_id"] = "!" + "a" * 43
        if kind == "m.room.create":
            del e["room_id"]
            e["prev_events"] = e["auth_events"] = []
    add_hashes_and_signatures(version, e, SERVER, key("a_1", SERVER))
    return e


def main():
    """Prints one event a line."""
    events = []
    for identifier in [str(n) for n in range(1, 13)]:
        version = KNOWN_ROOM_VERSIONS[identifier]
        for shape in SHAPES:
            e = event(version, *shape)
            signatures = compute_event_signature(version, e, POLICY, key("policy_server", POLICY))
            events.append({
                "version": identifier, "id": make_event_from_dict(json.loads(json.dumps(e)), version).event_id,
                "event": encode_canonical_json(e).decode(), "signature": signatures[POLICY]["ed25519:policy_server"],
            })
    print("[\n" + ",\n".join(json.dumps(e, ensure_ascii=False) for e in events) + "\n]")


if __name__ == "__main__":
    main()
