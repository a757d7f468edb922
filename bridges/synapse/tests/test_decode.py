"""What Synapse gets for a reply."""

from typing import Any

import pytest
from modulebus_synapse import decode
from modulebus_synapse.table import TABLE, load
from synapse.api.presence import UserPresenceState
from synapse.module_api import NOT_SPAM, MediaUploadLimit, RatelimitOverride
from synapse.module_api.errors import Codes, SynapseError
from synapse.spam_checker_api import RegistrationBehaviour

STATE = {
    "user_id": "@a:b",
    "state": "online",
    "last_active_ts": "1",
    "last_federation_update_ts": "2",
    "last_user_sync_ts": "3",
    "status_msg": None,
    "currently_active": True,
}


def refusal(errcode: str = "", error: str = "", fields: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"refusal": {"errcode": errcode, "error": error, "additional_fields": fields or {}, **more}}


def decoded(callback: str, answer: dict[str, Any] | None, *args: Any) -> Any:
    return decode.decoder(TABLE.callbacks[callback])(answer, args)


LIMIT = {"max_bytes": "5", "time_period_ms": "6", "info_uri": None, "can_upgrade": False}


@pytest.mark.parametrize(
    ("callback", "answer", "want"),
    [
        ("user_may_invite", None, NOT_SPAM),
        ("user_may_invite", {"refusal": None}, NOT_SPAM),
        ("user_may_invite", refusal(), Codes.FORBIDDEN),
        ("user_may_invite", refusal("M_LIMIT_EXCEEDED"), Codes.LIMIT_EXCEEDED),
        ("user_may_invite", refusal(error="no"), (Codes.FORBIDDEN, {"error": "no"})),
        ("user_may_invite", refusal(fields={"a": 1}), (Codes.FORBIDDEN, {"a": 1})),
        ("user_may_invite", refusal("X_OWN"), (Codes.FORBIDDEN, {"errcode": "X_OWN"})),
        # These would break the function of Synapse's that writes the error.
        ("user_may_invite", refusal(fields={"msg": 1, "code": 2}), Codes.FORBIDDEN),
        ("user_may_send_state_event", refusal("M_LIMIT_EXCEEDED", fields={"a": 1}), Codes.LIMIT_EXCEEDED),
        ("should_drop_federated_event", None, False),
        ("should_drop_federated_event", refusal(), True),
        ("check_username_for_spam", None, False),
        ("check_username_for_spam", refusal(), True),
        ("check_can_shutdown_room", None, True),
        ("check_can_shutdown_room", refusal(), False),
        ("is_3pid_allowed", None, True),
        ("is_3pid_allowed", refusal(), False),
        ("is_user_allowed_to_upload_media_of_size", None, True),
        ("is_user_allowed_to_upload_media_of_size", refusal(), False),
        ("check_registration_for_spam", None, RegistrationBehaviour.ALLOW),
        ("check_registration_for_spam", {"shadow_ban": False}, RegistrationBehaviour.ALLOW),
        ("check_registration_for_spam", {**refusal(), "shadow_ban": True}, RegistrationBehaviour.DENY),
        ("check_registration_for_spam", {"shadow_ban": True}, RegistrationBehaviour.SHADOW_BAN),
        ("check_event_allowed", None, (True, None)),
        ("check_event_allowed", refusal(), (False, None)),
        ("check_event_allowed", {"replacement": {"a": 1}}, (True, {"a": 1})),
        ("is_user_expired", None, None),
        ("is_user_expired", {}, None),
        ("is_user_expired", {"expired": False}, False),
        ("is_user_expired", {"expired": True}, True),
        ("get_username_for_registration", {"username": ""}, ""),
        ("get_username_for_registration", {}, None),
        ("get_media_config_for_user", {"media_config": {}}, None),
        ("get_media_config_for_user", {"media_config": {"m.upload.size": 1}}, {"m.upload.size": 1}),
        ("get_media_upload_limits_for_user", {"limits": None}, None),
        ("get_media_upload_limits_for_user", {"limits": {"limits": []}}, []),
        ("get_media_upload_limits_for_user", {"limits": {"limits": [LIMIT]}}, [MediaUploadLimit(5, 6)]),
        ("get_ratelimit_override_for_user", {"override": None}, None),
        (
            "get_ratelimit_override_for_user",
            {"override": {"per_second": 0.5, "burst_count": 2}},
            RatelimitOverride(per_second=0.5, burst_count=2),
        ),
        ("get_interested_users", None, set()),
        ("get_interested_users", {"users": ["@a:b", "@a:b"], "all_users": False}, {"@a:b"}),
        ("get_interested_users", {"users": [], "all_users": True}, "ALL"),
        ("get_users_for_states", None, {}),
        (
            "get_users_for_states",
            {"users": {"@c:d": {"states": [STATE, STATE]}}},
            {"@c:d": {UserPresenceState("@a:b", "online", 1, 2, 3, None, True)}},
        ),
        ("default_batch_size", {"batch_size": "9"}, 9),
        ("default_batch_size", {}, None),
        ("on_new_event", {}, None),
    ],
)
def test_values(callback: str, answer: dict[str, Any] | None, want: Any) -> None:
    got = decoded(callback, answer)
    assert got == want
    assert type(got) is type(want)
    if want == NOT_SPAM:
        assert got is NOT_SPAM  # Synapse compares so.


@pytest.mark.parametrize(
    ("version", "callback", "passed", "refused"),
    [
        ("1.61.1", "user_may_invite", True, False),
        ("1.62.0rc1", "user_may_invite", NOT_SPAM, (Codes.LIMIT_EXCEEDED, {"error": "no"})),
        ("1.61.1", "check_media_file_for_spam", False, True),
        ("1.163.2", "check_media_file_for_spam", NOT_SPAM, (Codes.LIMIT_EXCEEDED, {"error": "no"})),
        ("1.59.1", "check_event_for_spam", False, "no"),
        ("1.60.0", "check_event_for_spam", NOT_SPAM, (Codes.LIMIT_EXCEEDED, {"error": "no"})),
        ("1.46.0", "check_event_allowed", (True, None), (False, None)),
        ("1.37.1", "check_username_for_spam", False, True),
    ],
)
def test_older_versions_take_answers_in_other_forms(version: str, callback: str, passed: Any, refused: Any) -> None:
    decoder = decode.decoder(load(version).callbacks[callback])
    assert decoder(None, ()) == passed
    assert decoder(refusal("M_LIMIT_EXCEEDED", "no"), ()) == refused


def test_a_refusal_without_words_is_one_in_older_versions() -> None:
    assert decode.decoder(load("1.37.1").callbacks["check_event_for_spam"])(refusal("M_LIMIT_EXCEEDED"), ()) is True


@pytest.mark.parametrize(
    ("callback", "answer", "status", "errcode", "text"),
    [
        ("user_may_send_state_event", refusal("M_LIMIT_EXCEEDED", "no"), 403, "M_LIMIT_EXCEEDED", "no"),
        ("user_may_send_state_event", refusal("X_OWN"), 403, "X_OWN", "This is not allowed"),
        ("check_event_allowed", refusal(error="no"), 403, "M_FORBIDDEN", "no"),
        ("check_event_allowed", refusal(http_status=418), 418, "M_FORBIDDEN", "This event is not allowed in this context"),
        ("on_create_room", refusal(), 403, "M_FORBIDDEN", "Room creation forbidden with these parameters"),
        ("on_create_room", refusal("X_OWN", "no", http_status=429), 429, "X_OWN", "no"),
    ],
)
def test_refusals_that_are_raised(callback: str, answer: dict[str, Any], status: int, errcode: str, text: str) -> None:
    with pytest.raises(SynapseError) as raised:
        decoded(callback, answer)
    assert (raised.value.code, raised.value.errcode, raised.value.msg) == (status, errcode, text)


def test_content_is_changed_where_it_is() -> None:
    content = {"a": 1, "b": 2}
    assert decoded("on_create_room", None, None, content, False) is None
    assert content == {"a": 1, "b": 2}
    decoded("on_create_room", {"request_content": {"b": 3}}, None, content, False)
    assert content == {"b": 3}


def test_unsigned_fields_are_those_of_the_event() -> None:
    event = type("Event", (), {"event_id": "$e"})()
    answer = {"unsigned": {"$e": {"fields": {"x": 1}}, "$f": {"fields": {"y": 1}}}}
    assert decoded("add_field_to_unsigned_callback", answer, event) == {"x": 1}
    assert decoded("add_field_to_unsigned_callback", {"unsigned": {}}, event) == {}
