from typing import Any

import pytest

import modulebus
from modulebus import messages
from modulebus.testing import Bench


class Gate:
    def __init__(self, config: dict[str, Any], homeserver: modulebus.Homeserver) -> None:
        if not isinstance(config.get("deny", []), list):
            raise modulebus.ConfigError("must be a list of user IDs", "deny")
        self.deny = config.get("deny", [])
        self.homeserver = homeserver
        self.ticks = 0
        homeserver.looping_background_call_on_all_instances(60, self.tick)

    async def tick(self) -> None:
        self.ticks += 1

    @modulebus.callback
    async def user_may_create_room(self, request: messages.UserMayCreateRoomRequest) -> Any:
        if request.user_id == "@bug:example.com":
            return True
        if request.user_id == "@down:example.com":
            raise modulebus.Failure("the list is away")
        if request.user_id in self.deny:
            return messages.Refusal("M_FORBIDDEN", "no", {"org.example": [1]})
        return None

    @modulebus.callback
    async def check_registration_for_spam(self, request: messages.CheckRegistrationForSpamRequest) -> Any:
        user = await self.homeserver.get_userinfo_by_id(user_id="@a:example.com")
        shadow = user.userinfo is not None and user.userinfo.is_admin
        return messages.CheckRegistrationForSpamResponse(shadow_ban=shadow)

    @modulebus.callback(state=[("m.room.power_levels", ""), ("m.room.member", None)])
    async def check_event_allowed(self, request: messages.CheckEventAllowedRequest) -> Any:
        return messages.CheckEventAllowedResponse(replacement={"type": "x"}) if request.state_events else None

    @modulebus.callback(keys={"m.login.password": ["password"]})
    async def auth_checkers(self, request: Any) -> Any:
        return messages.AuthCheckersResponse(user_id="@a:example.com", tell_login=True, token="t")

    @modulebus.callback
    async def check_media_file_for_spam(self, request: messages.CheckMediaFileForSpamRequest) -> Any:
        assert request.file_wrapper is not None
        size = 0
        async for piece in self.homeserver.read_file(request.file_wrapper):
            size += len(piece)
        return messages.Refusal("M_FORBIDDEN", str(size))


async def test_callback_refuses_answers_abstains_and_fails() -> None:
    gate = Bench(Gate, {"deny": ["@evil:example.com"]})
    refused = await gate.ask("user_may_create_room", user_id="@evil:example.com")
    assert refused.refusal == messages.Refusal("M_FORBIDDEN", "no", {"org.example": [1]})
    silent = await gate.ask("user_may_create_room", user_id="@alice:example.com")
    assert silent == messages.UserMayCreateRoomResponse()
    with pytest.raises(modulebus.Failure, match="the list is away"):
        await gate.ask("user_may_create_room", user_id="@down:example.com")
    with pytest.raises(TypeError, match="returned bool"):
        await gate.ask("user_may_create_room", user_id="@bug:example.com")


async def test_module_calls_the_scripted_homeserver() -> None:
    info = messages.GetUserinfoByIdResponse(messages.UserInfo(user_id="@a:example.com", is_admin=True))
    gate = Bench(Gate, methods={"get_userinfo_by_id": info})
    answer = await gate.ask("check_registration_for_spam")
    assert answer.shadow_ban
    assert gate.calls == [("get_userinfo_by_id", messages.GetUserinfoByIdRequest("@a:example.com"))]
    with pytest.raises(modulebus.NoHomeserver):
        await Bench(Gate).ask("check_registration_for_spam")
    denied = Bench(Gate, methods={"get_userinfo_by_id": modulebus.MatrixError(403, "M_FORBIDDEN", "no grant")})
    with pytest.raises(modulebus.MatrixError, match="no grant"):
        await denied.ask("check_registration_for_spam")


async def test_needs_are_what_a_join_says() -> None:
    gate = Bench(Gate)
    assert gate.needs("check_event_allowed") == {
        "state": {"keys": [{"type": "m.room.power_levels", "state_key": ""}, {"type": "m.room.member"}]}
    }
    assert gate.needs("auth_checkers") == {"keys": [{"value": "m.login.password", "fields": ["password"]}]}
    assert gate.needs("user_may_create_room") == {}


async def test_module_gets_only_what_it_named() -> None:
    got: list[Any] = []

    class Forgetful:
        def __init__(self, config: Any, homeserver: Any) -> None: ...

        @modulebus.callback
        async def check_event_allowed(self, request: messages.CheckEventAllowedRequest) -> Any:
            got.append([e.type for e in request.state_events])

        @modulebus.callback(keys={"m.login.password": ["password", "absent"]})
        async def auth_checkers(self, request: messages.AuthCheckersRequest) -> Any:
            got.append(request.login_dict)

    class Careful:
        def __init__(self, config: Any, homeserver: Any) -> None: ...

        @modulebus.callback(state=[("m.room.name", ""), ("m.room.member", None)])
        async def check_event_allowed(self, request: messages.CheckEventAllowedRequest) -> Any:
            got.append([e.state_key for e in request.state_events])

    state = [messages.StateEvent(kind, key) for kind, key in (("m.room.name", ""), ("m.room.name", "x"), ("m.room.member", "@a:x"))]
    await Bench(Forgetful).ask("check_event_allowed", state_events=state)
    await Bench(Forgetful).ask("auth_checkers", login_type="m.login.password", login_dict={"password": "a", "captcha": "b"})
    await Bench(Careful).ask("check_event_allowed", state_events=state)
    assert got == [[], {"password": "a"}, ["", "@a:x"]]


async def test_answer_that_is_followed_up_names_the_worker() -> None:
    answer = await Bench(Gate).ask("auth_checkers", user="a", login_type="m.login.password")
    assert (answer.worker, answer.token, answer.tell_login) == ("worker", "t", True)


async def test_file_is_read_to_its_end() -> None:
    gate = Bench(Gate, files={"s": b"x" * 300_000})
    answer = await gate.ask("check_media_file_for_spam", file_wrapper=messages.FileWrapper(subject="s", size=300_000))
    assert answer.refusal.error == "300000"


async def test_looping_background_calls_are_called_by_hand() -> None:
    gate = Bench(Gate)
    await gate.tick()
    assert gate.module.ticks == 1


def test_config_error_names_the_path() -> None:
    with pytest.raises(modulebus.ConfigError, match="^deny: must be a list of user IDs$"):
        Bench(Gate, {"deny": "x"})


def test_callback_that_does_not_exist_is_told_at_once() -> None:
    with pytest.raises(TypeError, match="user_may_fly is not a callback"):

        class Wrong:
            @modulebus.callback
            async def user_may_fly(self, request: Any) -> None: ...


def test_needs_that_a_request_has_no_room_for_are_told_at_once() -> None:
    async def user_may_create_room(self: Any, request: Any) -> None: ...

    with pytest.raises(TypeError, match="has no state to give"):
        modulebus.callback(state=modulebus.ALL_STATE)(user_may_create_room)
    with pytest.raises(TypeError, match="has no keys"):
        modulebus.callback(keys={"a": []})(user_may_create_room)

    async def auth_checkers(self: Any, request: Any) -> None: ...

    with pytest.raises(TypeError, match="needs keys"):
        modulebus.callback(auth_checkers)


def test_category_that_is_all_or_nothing_is_not_registered_in_part() -> None:
    class Half:
        def __init__(self, config: Any, homeserver: Any) -> None: ...

        @modulebus.callback
        async def get_users_for_states(self, request: Any) -> None: ...

    with pytest.raises(TypeError, match="get_interested_users is missing"):
        Bench(Half)


async def test_bench_says_which_callbacks_there_are() -> None:
    with pytest.raises(KeyError, match="no callback user_may_create_rom: it has .*user_may_create_room"):
        await Bench(Gate, {}).ask("user_may_create_rom")
