"""What is registered when, and what becomes of a call."""

import inspect
import logging
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from modulebus_synapse import ModuleBus, ask, bridge
from modulebus_synapse.door import Failed, Held, Question, Refused, Unreachable
from modulebus_synapse.older import completed
from modulebus_synapse.table import load
from synapse.module_api import NOT_SPAM, ModuleApi
from synapse.module_api.errors import Codes, ConfigError, SynapseError


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


class Door:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.bounded: list[bool] = []
        self.wants: dict[str, Any] | None = None
        self.answer: Any = {}

    def wants_now(self) -> dict[str, Any] | None:
        return self.wants

    async def ask(self, question: Question) -> dict[str, Any]:
        self.asked.append((question.callback, question.message))
        self.bounded.append(question.bounded)
        if isinstance(self.answer, Exception):
            raise self.answer
        return dict(self.answer)


class Api:
    """The Module API as far as the bridge uses it."""

    server_name = "here"

    def __init__(self) -> None:
        self.registered: list[tuple[str, dict[str, Any]]] = []
        self.web: list[str] = []
        self.delegated = False
        settings = SimpleNamespace(
            default_batch_size=77, min_batch_size=3, sleep_enabled=True, sleep_duration_ms=500, update_duration_ms=42
        )
        self._hs = SimpleNamespace(get_reactor=lambda: None, config=SimpleNamespace(background_updates=settings))
        self.slept: list[float] = []

    def __getattr__(self, name: str) -> Any:
        original = getattr(ModuleApi, name)
        if not name.startswith("register_"):
            raise AttributeError(name)

        def register(**functions: Any) -> None:
            if self.delegated and name.startswith("register_password"):
                raise ConfigError("delegated")
            self.registered.append((name, functions))

        register.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
        return register

    def register_web_resource(self, path: str, resource: Any) -> None:
        self.web.append(path)

    def run_as_background_process(self, desc: str, f: Any, *args: Any) -> None:
        pass

    def is_mine(self, user: str) -> bool:
        return user.endswith(":here")

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def function(self, name: str) -> Any:
        found = [functions[name] for _, functions in self.registered if name in functions]
        assert len(found) == 1, f"{name} is registered {len(found)} times"
        return found[0]


class Setting:
    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.door, self.api = Door(), Api()
        monkeypatch.setattr(bridge, "Door", lambda config, reactor, server_name: self.door)

    def start(self, wants: dict[str, Any] | None, **config: Any) -> ModuleBus:
        self.door.wants = wants
        return ModuleBus(ModuleBus.parse_config({"url": "http://127.0.0.1:1", **config}), self.api)  # type: ignore[arg-type]


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    return Setting(monkeypatch)


def wants(*names: str, **more: Any) -> dict[str, Any]:
    callbacks: dict[str, list[str]] = {}
    for name in names:
        category, _, callback = name.partition(".")
        callbacks.setdefault(category, []).append(callback)
    return {"roster_revision": 1, "callbacks": callbacks, **more}


CREATE = "spam_checker.user_may_create_room"


def test_registers_what_is_wanted_when_it_is_wanted(setting: Setting) -> None:
    bus = setting.start(wants())
    assert setting.api.registered == []
    bus._learn(wants(CREATE))
    bus._learn(wants(CREATE, "account_data.on_account_data_updated"))
    assert [(name, list(fs)) for name, fs in setting.api.registered] == [
        ("register_spam_checker_callbacks", ["user_may_create_room"]),
        ("register_account_data_callbacks", ["on_account_data_updated"]),
    ]


def test_what_nobody_wants_any_more_is_not_asked(setting: Setting) -> None:
    bus = setting.start(wants(CREATE))
    f = setting.api.function("user_may_create_room")
    setting.door.answer = {"answer": {"refusal": {"errcode": "M_LIMIT_EXCEEDED"}}}
    assert run(f("@a:here", {})) is Codes.LIMIT_EXCEEDED
    bus._learn(wants())
    assert run(f("@a:here", {})) is NOT_SPAM
    bus._learn(wants(CREATE))
    assert run(f("@a:here", {})) is Codes.LIMIT_EXCEEDED
    assert [c for c, _ in setting.door.asked] == ["spam_checker/user_may_create_room"] * 2
    setting.api.function("user_may_create_room")  # Once.


def test_functions_look_as_synapse_expects(setting: Setting) -> None:
    setting.start(wants(CREATE))
    f = setting.api.function("user_may_create_room")
    assert list(inspect.signature(f).parameters) == ["user_id", "room_config"]
    assert (f.__module__, f.__qualname__) == ("modulebus_synapse.bridge", "ModuleBus.user_may_create_room")


def test_pairs_and_sets_are_registered_as_a_whole(setting: Setting) -> None:
    setting.start(wants("presence_router.get_interested_users", "background_update_controller.min_batch_size"))
    assert {name: sorted(fs) for name, fs in setting.api.registered} == {
        "register_presence_router_callbacks": ["get_interested_users", "get_users_for_states"],
        "register_background_update_controller_callbacks": ["default_batch_size", "min_batch_size", "on_update"],
    }
    assert run(setting.api.function("get_users_for_states")([])) == {}
    # Synapse takes what they say for granted, and so they say what it is configured to.
    assert run(setting.api.function("default_batch_size")("u", "d")) == 77
    setting.door.answer = {}
    assert run(setting.api.function("min_batch_size")("u", "d")) == 3
    assert [c for c, _ in setting.door.asked] == ["background_update_controller/min_batch_size"]


def test_login_types(setting: Setting) -> None:
    auth = "password_auth_provider.auth_checkers"
    bus = setting.start(wants(auth, login_types={"x": ["a"]}))
    bus._learn(wants(auth, login_types={"x": ["a"], "y": []}))
    bus._learn(wants(auth, login_types={"x": ["a", "b"]}))
    checkers = [list(fs["auth_checkers"].items()) for _, fs in setting.api.registered]
    assert [[key for key, _ in found] for found in checkers] == [[("x", ("a",))], [("y", ())], [("x", ("a", "b"))]]
    setting.door.answer = {"answer": {"user_id": "@a:here", "tell_login": False}, "decided_by": "m"}
    old, other, new = (found[0][1] for found in checkers)
    assert run(old("a", "x", {})) is None
    assert run(other("a", "y", {})) is None
    assert run(new("a", "x", {})) == ("@a:here", None)
    assert len(setting.door.asked) == 1


def test_a_login_that_is_followed_up(setting: Setting) -> None:
    setting.start(wants("password_auth_provider.check_3pid_auth"))
    setting.door.answer = {"answer": {"user_id": "@a:here", "tell_login": True, "token": "t", "worker": "w"}, "decided_by": "m"}
    user, finished = run(setting.api.function("check_3pid_auth")("email", "x", "p"))
    assert user == "@a:here"
    run(finished({"user_id": "@a:here", "access_token": "secret", "home_server": "here"}))
    callback, message = setting.door.asked[-1]
    assert callback == "password_auth_provider/on_auth_checkers_login"
    assert message == (
        b'{"module":"m","worker":"w","token":"t",'
        b'"response":{"user_id":"@a:here","access_token":"secret","home_server":"here"}}'
    )
    setting.door.answer = Failed("no", {})
    with pytest.raises(SynapseError):
        run(finished({"user_id": "@a:here"}))


def test_authentication_that_others_do(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    setting.api.delegated = True
    bus = setting.start(wants("password_auth_provider.on_logged_out"))
    bus._learn(wants("password_auth_provider.on_logged_out"))
    assert [r.levelno for r in caplog.records] == [logging.ERROR]


def test_a_bracket(setting: Setting) -> None:
    setting.start(wants("background_update_controller.on_update"))
    setting.door.answer = {"answer": {"target_duration_ms": "9", "token": "t", "worker": "w"}, "decided_by": "m"}
    bracket = setting.api.function("on_update")("u", "d", False)
    assert run(bracket.__aenter__()) == 9
    run(bracket.__aexit__(None, None, None))
    assert setting.door.asked[-1] == (
        "background_update_controller/on_update_end",
        b'{"module":"m","worker":"w","token":"t"}',
    )
    setting.door.answer = {}
    asked = len(setting.door.asked)
    bracket = setting.api.function("on_update")("u", "d", False)
    assert run(bracket.__aenter__()) == 42
    run(bracket.__aexit__(None, None, None))
    assert (setting.api.slept, len(setting.door.asked)) == ([0.5], asked + 1)


EVENT = "spam_checker.check_event_for_spam"


def event(sender: str) -> Any:
    version = SimpleNamespace(identifier="11")
    return SimpleNamespace(event_id="$e", room_id="!r", room_version=version, sender=sender, get_pdu_json=dict)


@pytest.mark.parametrize(
    ("policy", "sender", "want"),
    [
        (None, "@a:here", SynapseError),
        (None, "@a:there", NOT_SPAM),
        ("skip", "@a:here", NOT_SPAM),
        ("refuse", "@a:here", Codes.FORBIDDEN),
        ({"federated": "refuse"}, "@a:there", Codes.FORBIDDEN),
        ({"federated": "refuse"}, "@a:here", SynapseError),
    ],
)
def test_without_busd(setting: Setting, policy: Any, sender: str, want: Any) -> None:
    setting.start(wants(EVENT), **({"on_failure": {"check_event_for_spam": policy}} if policy else {}))
    setting.door.answer = Unreachable("gone")
    f = setting.api.function("check_event_for_spam")
    if want is SynapseError:
        with pytest.raises(SynapseError) as raised:
            run(f(event(sender)))
        assert (raised.value.code, raised.value.msg, raised.value.errcode) == (500, "Internal server error", "M_UNKNOWN")
    else:
        assert run(f(event(sender))) == want


def test_a_module_that_fails_is_one_that_raised(setting: Setting) -> None:
    setting.start(wants(EVENT), on_failure={"check_event_for_spam": "skip"})
    setting.door.answer = Failed("m: timeout", {"module": "m", "decision_id": "d-1"})
    with pytest.raises(SynapseError):
        run(setting.api.function("check_event_for_spam")(event("@a:there")))


def test_the_log_names_the_record_of_what_was_refused_or_failed(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    setting.start(wants(EVENT))
    ask = setting.api.function("check_event_for_spam")
    setting.door.answer = {"answer": {"refusal": {"errcode": "M_FORBIDDEN"}}, "decided_by": "m", "decision_id": "d-1"}
    run(ask(event("@a:there")))
    setting.door.answer = Failed("m: timeout", {"module": "m", "decision_id": "d-2"})
    with pytest.raises(SynapseError):
        run(ask(event("@a:there")))
    assert [r.getMessage() for r in caplog.records if "explain" in r.getMessage()] == [
        f"{EVENT} for @a:there: refused by module m: busd explain d-1",
        f"{EVENT} for @a:there: failed by module m: busd explain d-2",
    ]


def test_a_question_that_busd_does_not_take_opens_nothing(setting: Setting) -> None:
    """Its text may be anybody's, so what the operator said of an outage is not for it."""
    setting.start(wants(EVENT, CREATE), on_failure={"check_event_for_spam": "skip", "user_may_create_room": "skip"})
    setting.door.answer = Refused("413")
    with pytest.raises(SynapseError):
        run(setting.api.function("user_may_create_room")("@a:here", {}))
    with pytest.raises(SynapseError):
        run(setting.api.function("check_event_for_spam")(event("@a:here")))
    assert run(setting.api.function("check_event_for_spam")(event("@a:there"))) is NOT_SPAM


@pytest.mark.parametrize("policy", ["refuse", {"federated": "refuse"}])
def test_a_question_that_busd_does_not_take_opens_nothing_that_is_shut(setting: Setting, policy: Any) -> None:
    """What its sender can bring about must not be a way around what the operator said."""
    setting.start(wants(EVENT), on_failure={"check_event_for_spam": policy})
    setting.door.answer = Refused("413")
    f = setting.api.function("check_event_for_spam")
    assert run(f(event("@a:there"))) is Codes.FORBIDDEN
    with pytest.raises(SynapseError):
        run(f(event("@a:here")))


@pytest.mark.parametrize("refusal", ["no", {"additional_fields": "x"}])
def test_an_answer_of_other_types_does_what_the_operator_said(setting: Setting, refusal: Any) -> None:
    setting.start(wants(EVENT), on_failure={"check_event_for_spam": "refuse"})
    setting.door.answer = {"answer": {"refusal": refusal}}
    assert run(setting.api.function("check_event_for_spam")(event("@a:there"))) is Codes.FORBIDDEN


def test_an_answer_of_other_types_changes_nothing(setting: Setting) -> None:
    setting.start(wants("third_party_rules.on_create_room"))
    setting.door.answer = {"answer": {"request_content": "x"}}
    content = {"name": "n"}
    with pytest.raises(SynapseError):
        run(setting.api.function("on_create_room")(None, content, False))
    assert content == {"name": "n"}


def test_json_too_deep_to_be_written_is_one_questions_failure(setting: Setting) -> None:
    setting.start(wants(CREATE), on_failure={"user_may_create_room": "skip"})
    deep: Any = {}
    for _ in range(100_000):
        deep = {"x": deep}
    with pytest.raises(SynapseError) as raised:
        run(setting.api.function("user_may_create_room")("@a:here", deep))
    assert raised.value.code == 500
    assert setting.door.asked == []


@pytest.mark.parametrize("answer", [{}, {"callbacks": {}}, {"roster_revision": 0, "callbacks": {}}, {"roster_revision": 3}])
def test_a_server_that_is_not_busd_says_nothing_of_what_is_wanted(setting: Setting, answer: dict[str, Any]) -> None:
    setting.start(answer)
    with pytest.raises(SynapseError) as raised:
        run(setting.api.function("user_may_create_room")("@a:here", {}))
    assert raised.value.code == 500


def test_a_request_of_too_many_slow_answers_opens_nothing(setting: Setting) -> None:
    """How many questions a request is, its sender chooses, so what the operator said of an outage is not for it."""
    setting.start(wants(CREATE, "third_party_rules.on_new_event"), on_failure={"user_may_create_room": "skip"})
    setting.door.answer = Held("slow", outage=False)
    with pytest.raises(SynapseError):
        run(setting.api.function("user_may_create_room")("@a:here", {}))
    assert run(setting.api.function("on_new_event")(event("@a:here"), {})) is None


def test_a_long_sync_goes_without_what_is_only_added(setting: Setting) -> None:
    """Its client asks for the same again, so that a failure would be one for good."""
    name = "add_field_to_unsigned_callback"
    setting.start(wants("add_extra_fields_to_unsigned_client_event." + name), on_failure={name: "fail"})
    setting.door.answer = Held("slow", outage=False)
    assert run(setting.api.function(name)(event("@a:here"))) == {}
    setting.door.answer = Unreachable("away")
    with pytest.raises(SynapseError):
        run(setting.api.function(name)(event("@a:here")))


def test_an_event_of_another_server_is_no_part_of_what_holds_a_user(setting: Setting) -> None:
    setting.start(wants(EVENT, CREATE))
    run(setting.api.function("check_event_for_spam")(event("@a:here")))
    run(setting.api.function("check_event_for_spam")(event("@a:there")))
    run(setting.api.function("user_may_create_room")("@a:here", {}))
    assert setting.door.bounded == [True, False, True]


def test_another_server_name_than_busds_is_logged_once(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    bus = setting.start(wants(CREATE, server_name="here"))
    assert not [r for r in caplog.records if r.levelno == logging.ERROR]
    for _ in range(3):
        bus._learn(wants(CREATE, server_name="there"))
    (error,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "here" in error.getMessage() and "there" in error.getMessage()


def test_refusal_of_the_declaration(setting: Setting) -> None:
    setting.start(wants("third_party_rules.on_create_room"))
    setting.door.answer = Unreachable("gone")
    with pytest.raises(SynapseError) as raised:
        run(setting.api.function("on_create_room")(SimpleNamespace(), {}, False))
    assert (raised.value.code, raised.value.msg) == (403, "Room creation forbidden with these parameters")
    assert raised.value.errcode == "M_UNKNOWN"


def test_the_operator_has_said_what_holds_before_busd_is_there(setting: Setting) -> None:
    bus = setting.start(None, on_failure={"user_may_create_room": "refuse"})
    setting.door.answer = Unreachable("gone")
    f = setting.api.function("user_may_create_room")
    assert run(f("@a:here", {})) is Codes.FORBIDDEN
    bus._learn(wants())
    assert run(f("@a:here", {})) is NOT_SPAM


def test_what_may_be_wanted_stays_shut_until_busd_says_what_is(setting: Setting) -> None:
    bus = setting.start(None, on_failure={"user_may_invite": "skip"})
    create, spam = (setting.api.function(name) for name in ("user_may_create_room", "check_event_for_spam"))
    for ask in (lambda: create("@a:here", {}), lambda: spam(event("@a:here"))):
        with pytest.raises(SynapseError) as raised:
            run(ask())
        assert raised.value.code == 500
    assert run(spam(event("@a:there"))) is NOT_SPAM  # By its declaration.
    assert run(setting.api.function("user_may_invite")("@a:here", "@b:here", "!r")) is NOT_SPAM
    assert setting.door.asked == []  # Without the state that its modules need, no question is whole.
    registered = {name for _, functions in setting.api.registered for name in functions}
    assert registered & {"on_update", "on_new_event", "auth_checkers", "get_users_for_states"} == set()
    bus._learn(wants(EVENT))
    assert run(create("@a:here", {})) is NOT_SPAM
    setting.door.answer = {"answer": {"refusal": {"errcode": "M_FORBIDDEN"}}}
    assert run(spam(event("@a:here"))) is Codes.FORBIDDEN
    assert len(setting.door.asked) == 1


def test_only_what_this_synapse_has_may_be_wanted(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ModuleBus, "_parameters", lambda _, category: {"user_may_invite": None})
    setting.start(None)
    assert [list(functions) for _, functions in setting.api.registered] == [["user_may_invite"]]
    assert not any("does not have" in r.getMessage() for r in caplog.records)


def test_a_failure_refuses_where_synapse_lets_pass_what_raises(setting: Setting) -> None:
    bus = setting.start(wants("third_party_rules.check_event_allowed"))
    check = ask.function(bus.asker, load("1.44.0").callbacks["check_event_allowed"], lambda: True)
    setting.door.answer = {}
    assert run(check(event("@a:here"), {})) == (True, None)
    for failed in (Failed("no", {}), Unreachable("away"), RuntimeError("a mistake")):
        setting.door.answer = failed
        assert run(check(event("@a:here"), {})) == (False, None)


def test_what_an_older_synapse_has_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    hs = SimpleNamespace(hostname="here", is_mine_id=lambda user: user == "@a:here", config=SimpleNamespace(worker=SimpleNamespace(worker_app="app")))
    old = completed(SimpleNamespace(_hs=hs, http_client="its own"))  # type: ignore[arg-type]
    assert (old.server_name, old.worker_app, old.http_client) == ("here", "app", "its own")
    assert old.is_mine("@a:here")
    with pytest.raises(AttributeError):
        old.no_such  # type: ignore[attr-defined]  # noqa: B018
    new = completed(SimpleNamespace(_hs=hs, server_name="there"))  # type: ignore[arg-type]
    assert new.server_name == "there"


def test_web_resources(setting: Setting) -> None:
    setting.start(wants(), web=["/_synapse/client/demo"])
    assert setting.api.web == ["/_synapse/client/demo"]


def test_what_this_synapse_does_not_have(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    bus = setting.start(wants())
    bus._register("no_such", {"new": lambda: None})
    bus._register("spam_checker", {"newer": lambda: None})
    assert setting.api.registered == []
    assert [r.levelno for r in caplog.records] == [logging.ERROR] * 2
