"""The Module API over HTTP, on a ModuleApi that only remembers what it was called with."""

import inspect
import io
import json
from contextlib import nullcontext
from types import SimpleNamespace
from importlib.metadata import version
from typing import Any

import pytest
from synapse.api.constants import Direction, EventTypes
from synapse.api.room_versions import RoomVersions
from synapse.events import make_event_from_dict
from synapse.handlers.auth import AuthHandler
from synapse.handlers.deactivate_account import DeactivateAccountHandler
from synapse.module_api import AccountDataManager, ModuleApi, PublicRoomListManager, UserID, UserIpAndAgent
from synapse.module_api.errors import InvalidRuleException, RuleNotFoundException, SynapseError
from synapse.storage.databases.main import DataStore, UserPaginateResponse
from synapse.storage.databases.main.registration import ExternalIDReuseException
from synapse.storage.databases.main.stats import UserSortOrder
from synapse.types import RoomAlias, RoomID, UserInfo, create_requester
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

from modulebus_synapse import encode
from modulebus_synapse.moduleapi import ModuleApiResource
from modulebus_synapse.moduleapi_values import METHODS

TOKEN = "s3cret"
OWNERS = {
    "_public_room_list_manager": PublicRoomListManager,
    "_account_data_manager": AccountDataManager,
    "_store": DataStore,
    "_auth_handler": AuthHandler,
}


class Recorder:
    """Has the methods of a class of Synapse's, with its signatures, and answers what it is told to."""

    def __init__(self, kind: type, answers: dict[str, Any], calls: list[tuple[str, dict[str, Any]]]):
        self._kind, self._answers, self._calls = kind, answers, calls

    def __getattr__(self, name: str) -> Any:
        static = inspect.getattr_static(self._kind, name)  # AttributeError for what Synapse does not have.
        function = getattr(static, "orig", static)  # Some of the store are cached.

        async def call(*args: Any, **keywords: Any) -> Any:
            bound = inspect.signature(function).bind(None, *args, **keywords)
            self._calls.append((name, dict(list(bound.arguments.items())[1:])))
            answer = self._answers.get(name)
            if isinstance(answer, Exception):
                raise answer
            result = answer(*args, **keywords) if callable(answer) else answer
            return await result if inspect.isawaitable(result) else result

        call.__signature__ = inspect.signature(function).replace(  # type: ignore[attr-defined]
            parameters=list(inspect.signature(function).parameters.values())[1:]
        )
        return call


class Api(Recorder):
    server_name = "example.com"
    public_baseurl = "https://example.com/"
    email_app_name = "Matrix"
    worker_name = None
    worker_app: str | None = None
    _clock = None

    def __init__(self, **answers: Any):
        self.calls: list[tuple[str, dict[str, Any]]] = []
        super().__init__(ModuleApi, answers, self.calls)
        for name, kind in OWNERS.items():
            setattr(self, name, Recorder(kind, answers, self.calls))
        writers = SimpleNamespace(presence=["master"])
        config = SimpleNamespace(worker=SimpleNamespace(writers=writers))
        deactivating = Recorder(DeactivateAccountHandler, answers, self.calls)
        self._hs = SimpleNamespace(
            get_instance_name=lambda: "master", config=config, get_deactivate_account_handler=lambda: deactivating
        )

    def is_mine(self, name: str) -> bool:
        return name.endswith(":example.com")


def http_request(method: str, message: Any, token: str | None = TOKEN) -> Any:
    return SimpleNamespace(
        method=b"POST",
        path=b"/_synapse/modulebus/v1/" + method.encode(),
        content=io.BytesIO(message if isinstance(message, bytes) else json.dumps(message).encode()),
        requestHeaders=Headers({} if token is None else {"Authorization": [f"Bearer {token}"]}),
        request_metrics=SimpleNamespace(name=""),
        is_render_cancellable=False,
        processing=nullcontext,
        setResponseCode=lambda code: None,
        startedWriting=False,
        _disconnected=False,
    )


def post(api: Api, method: str, message: Any, token: str | None = TOKEN) -> Any:
    request = http_request(method, message, token)
    running = ModuleApiResource(api, TOKEN)._async_render_POST(request)  # type: ignore[arg-type]
    try:
        running.send(None)
    except StopIteration as e:
        status, reply = e.value
        assert status == 200 and request.is_render_cancellable == METHODS[method].reads
        json.dumps(reply, default=encode._plain)
        return reply
    raise AssertionError("it waits")


def refused(api: Api, method: str, message: Any, token: str | None = TOKEN) -> str:
    with pytest.raises(SynapseError) as e:
        post(api, method, message, token)
    return f"{e.value.code} {encode.text(e.value.errcode)} {e.value.msg}"


def event(event_type: str = EventTypes.Name, state_key: str | None = "") -> Any:
    raw = {
        "type": event_type,
        "room_id": "!r:example.com",
        "sender": "@u:example.com",
        "content": {"name": "x"},
        "origin_server_ts": 1,
        "depth": 1,
        "prev_events": [],
        "auth_events": [],
        "hashes": {},
        "signatures": {},
    }
    if state_key is not None:
        raw["state_key"] = state_key
    return make_event_from_dict(raw, RoomVersions.V10)


EVENT = encode.event(event())
STATE = {"type": "m.room.name", "state_key": "", "event": EVENT}
USER = {"user_id": "@u:example.com"}
ROOM = {"room_id": "!r:example.com"}
SENT = {"type": "m.x", "room_id": "!r:example.com", "sender": "@u:example.com", "content": {"a": [1, None]}}
INFO = UserInfo(
    UserID.from_string("@u:example.com"), 7, None, None, 5_000_000_000, None, 1, True, False, False, False, True,
    False, False,
)  # fmt: skip
INFO_JSON = {
    **USER,
    "appservice_id": "7",
    "consent_ts": "5000000000",
    "creation_ts": "1",
    "is_admin": True,
    "is_deactivated": False,
    "is_guest": False,
    "is_shadow_banned": False,
    "approved": True,
    "locked": False,
    "suspended": False,
}


def sso(**keywords: Any) -> None:
    request = keywords["request"]
    assert request.getHeader(b"User-Agent") == b"UA" and request.getClientAddress().host == "::1"
    request.redirect(b"https://client/?loginToken=t")
    request.write(b"by")
    request.write(b"e")
    request.finish()


# method: (request, what ModuleApi returns, what it was called with, reply)
CALLS: dict[str, tuple[dict[str, Any], Any, dict[str, Any], dict[str, Any]]] = {
    "get_userinfo_by_id": (USER, INFO, USER, {"userinfo": INFO_JSON}),
    "is_user_admin": (USER, True, USER, {"is_admin": True}),
    "set_user_admin": ({**USER, "admin": True}, None, {**USER, "admin": True}, {}),
    "get_profile_for_user": (
        {"localpart": "u"},
        SimpleNamespace(display_name="U", avatar_url=None),
        {"localpart": "u"},
        {"profile": {"display_name": "U"}},
    ),
    "get_threepids_for_user": (
        USER,
        [{"medium": "email", "address": "a@b", "validated_at": 3, "added_at": 4}],
        USER,
        {"threepids": [{"medium": "email", "address": "a@b", "validated_at": "3"}]},
    ),
    "check_user_exists": (USER, None, USER, {}),
    "check_username": ({"username": "u"}, None, {"username": "u"}, {}),
    "register_user": (
        {"localpart": "u", "emails": ["a@b"]},
        "@u:example.com",
        {"localpart": "u", "emails": ["a@b"], "admin": False},
        USER,
    ),
    "register_device": (
        {**USER, "device_id": "D"},
        ("D", "tok", 9, None),
        {**USER, "device_id": "D"},
        {"device_id": "D", "access_token": "tok", "valid_until_ms": "9"},
    ),
    "record_user_external_id": (
        {"auth_provider_id": "p", "remote_user_id": "r", "registered_user_id": "@u:example.com"},
        None,
        {"auth_provider_id": "p", "remote_user_id": "r", "registered_user_id": "@u:example.com"},
        {},
    ),
    "create_login_token": ({**USER, "duration_in_ms": "5"}, "t", {**USER, "duration_in_ms": 5}, {"token": "t"}),
    "invalidate_access_token": ({"access_token": "t"}, None, {"access_token": "t"}, {}),
    "set_displayname": (
        {**USER, "new_displayname": "U"},
        None,
        {"user_id": UserID.from_string("@u:example.com"), "new_displayname": "U"},
        {},
    ),
    "get_user_ip_and_agents": (
        {**USER, "since_ts": 4},
        [UserIpAndAgent(ip="::1", user_agent="UA", last_seen=5)],
        {**USER, "since_ts": 4},
        {"ip_and_agents": [{"ip": "::1", "user_agent": "UA", "last_seen": "5"}]},
    ),
    "get_monthly_active_users_by_service": (
        {"start_timestamp": "1"},
        [("native", "@u:example.com")],
        {"start_timestamp": 1},
        {"users": [{"appservice_id": "native", **USER}]},
    ),
    "store_remote_3pid_association": (
        {**USER, "medium": "email", "address": "a@b", "id_server": "s"},
        None,
        {**USER, "medium": "email", "address": "a@b", "id_server": "s"},
        {},
    ),
    "get_room_state": (
        {**ROOM, "event_filter": [{"type": "m.room.name", "state_key": ""}, {"type": "x"}]},
        {("m.room.name", ""): event()},
        {**ROOM, "event_filter": [("m.room.name", ""), ("x", None)]},
        {"state": [STATE]},
    ),
    "get_state_events_in_room": (
        {**ROOM, "types": [{"type": "m.room.name"}]},
        [event()],
        {**ROOM, "types": [("m.room.name", None)]},
        {"state": [STATE]},
    ),
    "create_and_send_event_into_room": ({"event_dict": SENT}, event(), {"event_dict": SENT}, {"event": EVENT}),
    "update_room_membership": (
        {**ROOM, "sender": "@u:example.com", "target": "@v:x", "new_membership": "invite", "content": {"reason": "r"}},
        event(),
        {
            **ROOM,
            "sender": "@u:example.com",
            "target": "@v:x",
            "new_membership": "invite",
            "content": {"reason": "r"},
            "remote_room_hosts": [],
        },
        {"event": EVENT},
    ),
    "create_room": (
        {**USER, "config": {"name": "n"}, "ratelimit": False},
        ("!r:example.com", None),
        {**USER, "config": {"name": "n"}, "ratelimit": False},
        ROOM,
    ),
    "delete_room": (ROOM, None, ROOM, {}),
    "lookup_room_alias": (
        {"room_alias": "#a:example.com"},
        ("!r:example.com", ["example.com"]),
        {"room_alias": "#a:example.com"},
        {**ROOM, "servers": ["example.com"]},
    ),
    "get_canonical_room_alias": (
        ROOM,
        RoomAlias.from_string("#a:example.com"),
        {"room_id": RoomID.from_string("!r:example.com")},
        {"room_alias": "#a:example.com"},
    ),
    "room_is_in_public_room_list": (ROOM, False, ROOM, {"is_public": False}),
    "add_room_to_public_room_list": (ROOM, None, ROOM, {}),
    "remove_room_from_public_room_list": (ROOM, None, ROOM, {}),
    "send_local_online_presence_to": ({"users": ["@u:x"]}, None, {"users": ["@u:x"]}, {}),
    "set_presence_for_users": (
        {"users": {"@u:x": {"state": "online"}, "@v:x": {"state": "offline", "status_msg": "m"}}},
        None,
        {"users": {"@u:x": ("online", None), "@v:x": ("offline", "m")}},
        {},
    ),
    "send_http_push_notification": (
        {**USER, "device_id": "D", "content": {"a": 1}, "tweaks": {"sound": "s"}},
        {"D": True},
        {**USER, "device_id": "D", "content": {"a": 1}, "tweaks": {"sound": "s"}, "default_payload": {}},
        {"sent": {"D": True}},
    ),
    "set_push_rule_action": (
        {
            **USER,
            "scope": "global",
            "kind": "content",
            "rule_id": ".m.rule.contains_user_name",
            "actions": ["notify", '{"set_tweak": "highlight"}', '"coalesce"'],
        },
        None,
        {
            **USER,
            "scope": "global",
            "kind": "content",
            "rule_id": ".m.rule.contains_user_name",
            "actions": ["notify", {"set_tweak": "highlight"}, "coalesce"],
        },
        {},
    ),
    "send_mail": (
        {"recipient": "a@b", "subject": "s", "html": "h", "text": "t"},
        None,
        {"recipient": "a@b", "subject": "s", "html": "h", "text": "t"},
        {},
    ),
    "get_global": ({**USER, "data_type": "m.x"}, None, {**USER, "data_type": "m.x"}, {}),
    "get_external_ids_by_user": (
        {"mxid": "@u:example.com"},
        [("oidc-x", "1")],
        {"mxid": "@u:example.com"},
        {"external_ids": [{"auth_provider": "oidc-x", "external_id": "1"}]},
    ),
    "get_user_by_external_id": (
        {"auth_provider": "oidc-x", "external_id": "1"},
        "@u:example.com",
        {"auth_provider": "oidc-x", "external_id": "1"},
        USER,
    ),
    "get_users_paginate": (
        {"limit": 5, "name": "u", "order_by": "creation_ts", "direction": "b"},
        (
            [UserPaginateResponse("@u:example.com", None, False, True, False, False, "U", None, 7, True, False, 8, False)],
            9,
        ),
        {"start": 0, "limit": 5, "name": "u", "order_by": UserSortOrder.CREATION_TS, "direction": Direction.BACKWARDS},
        {
            "users": [
                {
                    "name": "@u:example.com",
                    "is_guest": False,
                    "admin": True,
                    "deactivated": False,
                    "shadow_banned": False,
                    "displayname": "U",
                    "creation_ts": "7",
                    "approved": True,
                    "erased": False,
                    "last_seen_ts": "8",
                    "locked": False,
                }
            ],
            "total": "9",
        },
    ),
    "create_registration_token": (
        {"token": "a.b", "uses_allowed": 3},
        True,
        {"token": "a.b", "uses_allowed": 3, "expiry_time": None},
        {"created": True},
    ),
    "registration_token_is_valid": ({"token": "a.b"}, False, {"token": "a.b"}, {"is_valid": False}),
    "get_registration_tokens": (
        {"valid": True},
        [("a.b", None, 1, 2, 9)],
        {"valid": True},
        {"tokens": [{"token": "a.b", "pending": 1, "completed": 2, "expiry_time": "9"}]},
    ),
    "delete_registration_token": ({"token": "a.b"}, True, {"token": "a.b"}, {"deleted": True}),
}


@pytest.mark.parametrize("method", CALLS)
def test_calls_synapse_with_the_requests_fields_and_answers_its_result(method: str) -> None:
    request, result, called, reply = CALLS[method]
    api = Api(**{method: result})
    assert post(api, method, request) == reply
    assert api.calls == [(method, called)]


def test_knows_a_call_for_each_method() -> None:
    elsewhere = {"properties", "get_user_by_req", "complete_sso_login_async", "put_global"} | REGISTERED
    assert set(METHODS) == set(CALLS) | elsewhere | {"send_federation_http_request"}


def test_properties_are_those_of_the_module_api() -> None:
    assert post(Api(), "properties", {}) == {
        "server_name": "example.com",
        "public_baseurl": "https://example.com/",
        "email_app_name": "Matrix",
        "version": version("matrix-synapse"),
    }


def test_an_access_token_shows_whose_it_is_and_where_it_was_used() -> None:
    seen: list[Any] = []

    def whose(req: Any, **keywords: Any) -> Any:
        seen.append((req.requestHeaders.getRawHeaders("authorization"), req.get_client_ip_if_available(), keywords))
        return create_requester("@u:example.com", 2**40, device_id="D", scope={"b", "a"})

    reply = post(Api(get_user_by_req=whose), "get_user_by_req", {"access_token": "t", "allow_guest": True, "ip": "::1"})
    assert seen == [(["Bearer t"], "::1", {"allow_guest": True, "allow_expired": False})]
    assert reply["requester"] == {
        **USER,
        "access_token_id": str(2**40),
        "is_guest": False,
        "scope": ["a", "b"],
        "shadow_banned": False,
        "device_id": "D",
        "authenticated_entity": "@u:example.com",
    }


def test_a_token_that_cannot_be_one_is_unknown() -> None:
    for method in ("get_user_by_req", "invalidate_access_token"):
        assert refused(Api(), method, {"access_token": "ä"}).startswith("401 M_UNKNOWN_TOKEN")


def test_a_login_is_completed_by_the_modules_response() -> None:
    message = {
        "registered_user_id": "@u:example.com",
        "client_redirect_url": "https://client/",
        "ip": "::1",
        "user_agent": "UA",
    }
    api = Api(complete_sso_login_async=sso)
    assert post(api, "complete_sso_login_async", message) == {
        "status": 302,
        "headers": [{"name": "Location", "value": "https://client/?loginToken=t"}],
        "body": "Ynll",
    }
    called = api.calls[0][1]
    assert called["new_user"] is False and "auth_provider_id" not in called


def test_account_data_is_of_users_that_there_are() -> None:
    message = {**USER, "data_type": "m.x", "new_data": {"a": 1}}
    api = Api(get_userinfo_by_id=INFO)
    assert post(api, "put_global", message) == {}
    assert api.calls[-1] == ("put_global", message)
    assert refused(Api(), "put_global", message).startswith("404 M_NOT_FOUND")
    assert post(Api(get_global={}), "get_global", {**USER, "data_type": "m.x"}) == {"data": {}}


# method: (request, what Synapse was called with beside the request's fields, reply)
OF_USERS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "add_threepid": ({**USER, "medium": "email", "address": "a@b", "validated_at": 5}, {}, {}),
    "deactivate_account": (
        {**USER, "erase_data": True},
        {"by_admin": True, "requester": create_requester("@u:example.com")},
        {"identity_server_supports_unbinding": True},
    ),
}
REGISTERED = set(OF_USERS)


@pytest.mark.parametrize("method", OF_USERS)
def test_what_is_done_to_a_user_is_done_by_an_admin_and_to_users_that_there_are(method: str) -> None:
    message, beside, reply = OF_USERS[method]
    api = Api(**{"get_userinfo_by_id": INFO, method: True if reply else None})
    assert post(api, method, message) == reply
    assert api.calls[-1] == (method, {**message, **beside})
    assert refused(Api(), method, message).startswith("404 M_NOT_FOUND")


LOCAL = {
    "add_threepid",
    "deactivate_account",
    "complete_sso_login_async",
    "create_login_token",
    "create_room",
    "get_global",
    "put_global",
    "record_user_external_id",
    "register_device",
    "update_room_membership",
}


@pytest.mark.parametrize("method", sorted(LOCAL))
@pytest.mark.parametrize("user", ["@u:elsewhere", "", "u"])
def test_some_things_are_done_for_local_users_only(method: str, user: str) -> None:
    message = {"user_id": user, "sender": user, "registered_user_id": user}
    assert "must be a user of this server" in refused(Api(), method, message)


@pytest.mark.parametrize("missing", ["type", "room_id", "sender", "content"])
def test_an_event_has_what_every_event_has(missing: str) -> None:
    message = {"event_dict": {k: v for k, v in SENT.items() if k != missing}}
    expected = f"400 M_BAD_JSON field event_dict.{missing}: must be "
    assert refused(Api(), "create_and_send_event_into_room", message).startswith(expected)


@pytest.mark.parametrize(
    ("method", "message", "expected"),
    [
        ("is_user_admin", {"user_id": 1}, "field user_id: must be a string"),
        ("set_user_admin", {"admin": "yes"}, "field admin: must be true or false"),
        ("get_user_ip_and_agents", {"since_ts": "x"}, "field since_ts: must be an integer"),
        ("get_user_ip_and_agents", {"since_ts": True}, "field since_ts: must be an integer"),
        ("get_user_ip_and_agents", {"since_ts": 2**63}, "field since_ts: must be an integer"),
        ("get_room_state", {"event_filter": {}}, "field event_filter: must be a list"),
        ("get_room_state", {"event_filter": [{"type": 1}]}, "field event_filter[0].type: must be a string"),
        ("set_presence_for_users", {"users": {"@u:x": 1}}, "field users[*]: must be an object"),
        ("create_room", {"config": []}, "field config: must be an object"),
        ("set_push_rule_action", {"actions": ["{"]}, "field actions: must be words, and the texts of JSON objects"),
        ("get_users_paginate", {"limit": -1}, "field limit: must be an integer that is not negative"),
    ],
)
def test_fields_of_the_wrong_type_are_named_and_not_repeated(method: str, message: Any, expected: str) -> None:
    assert refused(Api(), method, message) == f"400 M_BAD_JSON {expected}"


@pytest.mark.parametrize(
    ("method", "message", "expected"),
    [
        ("get_users_paginate", {"order_by": "age"}, "field order_by: must be one of "),
        ("get_users_paginate", {"direction": "up"}, "field direction: must be one of b, f"),
        ("create_registration_token", {"token": ""}, "field token: must be 1 to 64 of "),
        ("create_registration_token", {"token": "a b"}, "field token: must be 1 to 64 of "),
    ],
)
def test_values_that_synapse_would_take_and_not_know_are_refused(method: str, message: Any, expected: str) -> None:
    assert refused(Api(), method, message).startswith(f"400 M_INVALID_PARAM {expected}")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    assert refused(Api(), "properties", body) == "400 M_NOT_JSON The body is not JSON"


def test_a_body_is_an_object() -> None:
    assert refused(Api(), "properties", b"[]").startswith("400 M_BAD_JSON")


def test_fields_of_a_later_schema_are_skipped() -> None:
    assert post(Api(is_user_admin=False), "is_user_admin", {**USER, "newer": {}}) == {"is_admin": False}


@pytest.mark.parametrize("token", [None, "", "other", "s3cre", "s3cret "])
def test_only_who_has_the_token_calls(token: str | None) -> None:
    api = Api()
    assert refused(api, "properties", {}, token).startswith("403 M_FORBIDDEN")
    assert refused(api, "nothing", {}, token).startswith("403 M_FORBIDDEN")


@pytest.mark.parametrize("name", ["nothing", "", "properties/", "run_db_interaction", "__init__", "_hs"])
def test_what_is_not_declared_is_not_there(name: str) -> None:
    assert refused(Api(), name, {}).startswith("404 M_UNRECOGNIZED")


def test_what_this_synapse_lacks_is_named() -> None:
    message = {"method": "GET", "remote_server_name": "x", "path": "/"}
    expected = "404 M_UNRECOGNIZED This version of Synapse has no send_federation_http_request"
    assert refused(Api(), "send_federation_http_request", message) == expected


@pytest.mark.parametrize(
    ("method", "error", "expected"),
    [
        ("check_username", SynapseError(400, "taken", "M_USER_IN_USE"), "400 M_USER_IN_USE taken"),
        ("set_push_rule_action", RuleNotFoundException(), "404 M_NOT_FOUND"),
        ("set_push_rule_action", InvalidRuleException("odd"), "400 M_INVALID_PARAM"),
        ("record_user_external_id", ExternalIDReuseException(), "409 M_UNKNOWN"),
    ],
)
def test_errors_of_synapse_keep_their_meaning(method: str, error: Exception, expected: str) -> None:
    message = {"scope": "global", "registered_user_id": "@u:example.com"}
    assert refused(Api(**{method: error}), method, message).startswith(expected)


@pytest.mark.parametrize(("device", "expected"), [("D", "devices @u:example.com ['D']"), (None, "token t")])
def test_a_token_is_invalidated_although_synapse_fails_to(device: str | None, expected: str) -> None:
    done: list[str] = []

    async def whose(token: str) -> Any:
        return create_requester("@u:example.com", device_id=device)

    async def delete_devices(user: str, devices: list[str]) -> None:
        done.append(f"devices {user} {devices}")

    async def delete_access_token(token: str) -> None:
        done.append(f"token {token}")

    api = Api(invalidate_access_token=AttributeError("get"))
    api._auth = SimpleNamespace(get_user_by_access_token=whose)
    api._device_handler = SimpleNamespace(delete_devices=delete_devices)
    api._auth_handler = SimpleNamespace(delete_access_token=delete_access_token)
    assert post(api, "invalidate_access_token", {"access_token": "t"}) == {}
    assert done == [expected]


def test_a_fault_is_left_to_synapse_to_log_and_hide() -> None:
    with pytest.raises(RuntimeError):
        post(Api(delete_room=RuntimeError("inside")), "delete_room", ROOM)


def test_what_one_process_does_is_refused_elsewhere() -> None:
    api = Api()
    api._hs.get_instance_name = lambda: "worker1"
    api.worker_app = "synapse.app.generic_worker"
    for method in ("send_local_online_presence_to", "set_presence_for_users", "set_push_rule_action"):
        assert refused(api, method, {"scope": "global"}).startswith("501 ")
    assert refused(Api(), "set_push_rule_action", {"scope": "device"}).startswith("400 M_INVALID_PARAM")


def test_what_reads_is_cancelled_when_the_caller_leaves() -> None:
    ended: list[str] = []
    never: Deferred[None] = Deferred(lambda _: ended.append("cancelled"))
    request = http_request("lookup_room_alias", {"room_alias": "#a:slow"})
    ModuleApiResource(Api(lookup_room_alias=lambda room_alias: never), TOKEN).render(request)
    assert request.is_render_cancellable and request.request_metrics.name == "ModuleBus.lookup_room_alias"
    request._disconnected = True  # And then Synapse does as in SynapseRequest.connectionLost:
    request.render_deferred.cancel()
    assert ended == ["cancelled"]


def test_what_writes_is_not_cancelled_half_way() -> None:
    writes = {name for name in METHODS if not METHODS[name].reads}
    assert {"create_room", "put_global", "delete_room", "register_user", "send_mail"} <= writes
    assert not {"get_room_state", "check_username", "get_user_by_req", "lookup_room_alias"} & writes
