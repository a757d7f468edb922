"""What busd gets for a call."""

import json
import sys
from types import SimpleNamespace
from typing import Any

from immutabledict import immutabledict
from modulebus_synapse import encode
from modulebus_synapse.table import TABLE
from synapse.api.presence import UserPresenceState
from synapse.media._base import FileInfo, ThumbnailInfo
from synapse.module_api import MediaUploadLimit
from synapse.storage.roommember import ProfileInfo
from synapse.types import RoomAlias, UserID, create_requester


def request(callback: str, *args: Any, state: Any = None) -> Any:
    return json.loads(encode.dumps(encode.request(TABLE.callbacks[callback], args, state)))


class Event:
    def __init__(self, event_id: str, **fields: Any):
        self.event_id = event_id
        self.room_version = SimpleNamespace(identifier="11")
        self.room_id = "!r:b"
        self.fields = fields

    def get_pdu_json(self) -> dict[str, Any]:
        return self.fields

    def wire(self) -> dict[str, Any]:
        return {"event_id": self.event_id, "room_version": "11", "json": self.fields, "room_id": self.room_id}


def test_scalars() -> None:
    assert request("user_may_join_room", "@a:b", "!r", True) == {"user": "@a:b", "room": "!r", "is_invited": True}
    assert request("on_user_login", "@a:b", None, None) == {"user_id": "@a:b"}
    assert request("is_user_allowed_to_upload_media_of_size", "@a:b", 5) == {"user_id": "@a:b", "size": 5}


def test_arguments_that_are_newer_than_the_schema_are_left_out() -> None:
    assert request("is_user_expired", "@a:b", "more") == {"user": "@a:b"}


def test_identifiers_and_contents_of_synapse() -> None:
    alias = RoomAlias("kitchen", "b")
    assert request("user_may_create_room_alias", "@a:b", alias) == {"user_id": "@a:b", "room_alias": "#kitchen:b"}
    content = immutabledict({"a": ({"b": immutabledict()},)})
    got = request("on_account_data_updated", "@a:b", None, "t", content)
    assert got == {"user_id": "@a:b", "account_data_type": "t", "content": {"a": [{"b": {}}]}}


def test_objects_mappings_and_tuples() -> None:
    got = request("check_registration_for_spam", {"medium": "email", "address": "x"}, "name", [("agent", "1.2.3.4")], None)
    assert got == {
        "email_threepid": {"medium": "email", "address": "x"},
        "username": "name",
        "request_info": [{"user_agent": "agent", "ip": "1.2.3.4"}],
    }
    profile = ProfileInfo(avatar_url=None, display_name="A")
    assert request("on_profile_update", "@a:b", profile, False, False)["new_profile"] == {"display_name": "A"}
    limit = MediaUploadLimit(1, 2, None, True)
    got = request("on_media_upload_limit_exceeded", "@a:b", limit, 3, 4)
    assert got["limit"] == {"max_bytes": 1, "time_period_ms": 2, "can_upgrade": True}
    got = request("on_create_room", create_requester(UserID("a", "b"), scope={"y", "x"}), {"name": "n"}, True)
    assert got["requester"]["user_id"] == "@a:b"
    assert got["requester"]["scope"] == ["x", "y"]
    assert got["request_content"] == {"name": "n"}
    state = UserPresenceState.default("@a:b")
    got = request("get_users_for_states", {state})
    assert got["state_updates"][0]["user_id"] == "@a:b"


def test_files_travel_beside_the_message() -> None:
    thumbnail = ThumbnailInfo(width=1, height=2, method="crop", type="image/png", length=None)
    info = FileInfo(server_name=None, file_id="f", thumbnail=thumbnail)
    got = request("check_media_file_for_spam", SimpleNamespace(path="/x"), info)
    assert got == {
        "file_info": {
            "file_id": "f",
            "url_cache": False,
            "thumbnail": {"width": 1, "height": 2, "method": "crop", "type": "image/png"},
        }
    }


def test_events() -> None:
    event = Event("$e", type="m.room.message", content={"body": "x"})
    assert request("check_event_for_spam", event) == {"event": event.wire()}
    assert request("add_field_to_unsigned_callback", event) == {"events": [event.wire()]}
    delivery = SimpleNamespace(server_name="b", events=(event,), method="/send")
    assert request("on_event_delivered_over_federation", delivery) == {
        "delivery": {"server_name": "b", "events": [event.wire()], "method": "/send"}
    }


def test_only_the_state_that_is_wanted() -> None:
    event = Event("$e")
    state = {(t, k): Event(t + k) for t, k in [("name", ""), ("member", "@a:b"), ("member", "@c:d"), ("power", "")]}

    def keys(wanted: Any) -> list[tuple[str, str]]:
        found = request("check_event_allowed", event, state, state=wanted)["state_events"]
        assert all(s["event"] == state[s["type"], s["state_key"]].wire() for s in found)
        return [(s["type"], s["state_key"]) for s in found]

    assert keys(None) == []
    assert keys({"all": False, "keys": []}) == []
    assert keys({"all": True, "keys": []}) == list(state)
    assert keys({"keys": [{"type": "name", "state_key": ""}, {"type": "gone", "state_key": ""}]}) == [("name", "")]
    assert keys({"keys": [{"type": "member"}, {"type": "member", "state_key": "@c:d"}]}) == [
        ("member", "@a:b"),
        ("member", "@c:d"),
    ]


def test_numbers_that_are_too_large_are_the_largest() -> None:
    """JSON has numbers that Python reads as infinite. In Synapse's own process such a request is none that fails."""
    got = request("user_may_create_room", "@a:b", json.loads('{"x": [1e400, -1e400, 1.5], "y": {"z": NaN}}'))
    assert got["room_config"] == {"x": [sys.float_info.max, -sys.float_info.max, 1.5], "y": {"z": None}}


def test_lone_surrogates_are_replaced_in_text() -> None:
    got = request("auth_checkers", "al\ud800ice", "m.login.password", {"password": "p"})
    assert got["user"] == "al\ufffdice"
    assert request("user_may_join_room", "\ud83d\ude00\udc00", "\u00e9", True)["user"] == "\U0001f600\ufffd"
    assert request("user_may_join_room", "\u00e9\U0001f600", "!r", True)["user"] == "\u00e9\U0001f600"


def test_an_event_says_its_room() -> None:
    """Since room version 12, m.room.create has none in its JSON."""
    assert request("check_event_for_spam", Event("$e"))["event"]["room_id"] == "!r:b"
