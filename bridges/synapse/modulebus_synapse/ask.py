"""Asking busd on Synapse's behalf, and what it means when that fails."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from synapse.module_api import ModuleApi
from synapse.api.errors import Codes, SynapseError

from modulebus_synapse import decode, encode
from modulebus_synapse.config import Config, Policy
from modulebus_synapse.door import Door, Failed, Held, Question, Refused, Unreachable
from modulebus_synapse.table import TABLE, Callback, Field, Setting

logger = logging.getLogger(__name__)

Args = tuple[Any, ...]


class Asker:
    def __init__(self, config: Config, api: ModuleApi, door: Door):
        self.config = config
        self.api = api
        self.door = door
        self.known = False  # Whether busd has said what is wanted, and with which state.
        self.wanted: set[str] = set()  # Full names of callbacks.
        self.state: dict[str, encode.StateFilter] = {}

    async def ask(self, callback: Callback, args: Args) -> decode.Answer:
        """The decision. It is empty when nobody wants to be asked."""
        if callback.full_name not in self.wanted:
            return {}
        if not self.known:
            return self._without(callback, args, self.config.policy(callback))
        try:
            message = encode.dumps(encode.request(callback, args, self.state.get(callback.full_name)))
            bounded = not callback.on_failure_federated or self._is_local(callback, args)
            decision = await self.door.ask(self._question(callback, message, _file(callback, args), bounded))
            if (decision.get("answer") or {}).get("refusal") is not None:
                _tell(callback, args, "refused", decision.get("decided_by"), decision)
            return decision
        except Unreachable as e:
            if isinstance(e, Held) and callback.decides:  # How many questions a request is, its sender chooses. It must not open anything.
                raise failure() from None
            if isinstance(e, Held) and callback.adds:  # A client asks for the same again, and would never get it.
                return {}
            return self._without(callback, args, self.config.policy(callback))
        except (Refused, encode.TooDeep):  # What is sent can be anybody's.
            return self._without(callback, args, self.config.shut(callback))
        except Failed as e:
            _tell(callback, args, "failed", e.body.get("module"), e.body)
            raise failure() from None

    def unread(self, callback: Callback, args: Args, error: Exception) -> decode.Answer:
        """The decision in place of one whose answer has other types than are declared, as another version of busd may send."""
        logger.error("cannot use what busd answers about %s: %s", callback.full_name, type(error).__name__)
        return self._without(callback, args, self.config.shut(callback))

    def _question(self, callback: Callback, message: bytes, path: str | None = None, bounded: bool = True) -> Question:
        name = f"{callback.category}/{callback.name}"
        return Question(name, message, self.config.timeout_of(callback), callback.speculative, path, bounded)

    def _without(self, callback: Callback, args: Args, policy: Policy) -> decode.Answer:
        """The decision when there is none of busd's."""
        which = policy.local if self._is_local(callback, args) else policy.federated
        if which == "fail":
            raise failure()
        return {"answer": {"refusal": callback.refusal}} if which == "refuse" else {}

    def _is_local(self, callback: Callback, args: Args) -> bool:
        for field, value in zip(callback.request, args):
            if field.type == "Event" and not field.list:
                return self.api.is_mine(value.sender)
        return True

    async def follow_up(self, follow_up: Callback, decision: decode.Answer, *args: Any) -> None:
        """Tells the worker that answered how it ended."""
        answer = decision["answer"]
        rest = list(args)
        message: dict[str, Any] = {}
        for field in follow_up.request:
            if "to_module" in field.marks:
                message[field.name] = decision.get("decided_by", "")
            elif field.name in answer:
                message[field.name] = answer[field.name]
            elif rest:
                message[field.name] = encode.message_of(field.type, rest.pop(0))
        try:
            await self.door.ask(self._question(follow_up, encode.dumps(message)))
        except (Unreachable, Refused, Failed):
            if follow_up.on_failure == "fail":
                raise failure() from None


def failure() -> SynapseError:
    """What clients see of a module that raised. As an error of this class it leaves no stack in the log."""
    return SynapseError(500, "Internal server error", Codes.UNKNOWN)


def _tell(callback: Callback, args: Args, what: str, module: Any, decision: decode.Answer) -> None:
    """Has Synapse's log say what became of a request, and where more is said of it."""
    record = decision.get("decision_id")
    more = f": busd explain {record}" if record else ""
    logger.info("%s%s: %s by module %s%s", callback.full_name, _whose(args), what, module, more)


def _whose(args: Args) -> str:
    """Whom a question is about, as far as an operator looks for it."""
    for value in args:
        who = getattr(value, "sender", value)
        if isinstance(who, str) and who.startswith("@"):
            return f" for {who}"
    return ""


def _file(callback: Callback, args: Args) -> str | None:
    for field, value in zip(callback.request, args):
        if field.type == "FileWrapper":
            return str(value.path)
    return None


def function(asker: Asker, callback: Callback, active: Callable[[], bool]) -> Callable[..., Any]:
    """What Synapse calls for a callback, as long as it is active."""
    follow_up = TABLE.follow_ups.get(callback.name)
    if follow_up is None:
        return _plain(asker, callback)
    marked = next((f for f in callback.reply if "followed_up" in f.marks), None)
    if marked is None:
        return lambda *args: Bracket(asker, callback, follow_up, args)
    return _authenticator(asker, callback, follow_up, marked, active)


def _plain(asker: Asker, callback: Callback) -> Callable[..., Awaitable[Any]]:
    decoder = decode.decoder(callback)

    async def ask(*args: Any) -> Any:
        decision = await asker.ask(callback, args)
        try:
            value = decoder(decision.get("answer"), args)
        except (AttributeError, KeyError, TypeError, ValueError) as e:  # Not what a refusal raises.
            value = decoder(asker.unread(callback, args, e).get("answer"), args)
        if value is None and callback.setting is not None:
            return configured(asker.api, callback.setting)
        return value

    return _shut(ask, decoder({"refusal": {}}, ())) if callback.verdict == "UNRAISED" else ask


def _shut(ask: Callable[..., Awaitable[Any]], refused: Any) -> Callable[..., Awaitable[Any]]:
    """For a Synapse that lets pass what a callback raises an exception about: a failure refuses."""

    async def answer(*args: Any) -> Any:
        try:
            return await ask(*args)
        except Exception as e:
            if not isinstance(e, SynapseError):
                logger.exception("cannot ask")
            return refused

    return answer


def _authenticator(
    asker: Asker, callback: Callback, follow_up: Callback, marked: Field, active: Callable[[], bool]
) -> Callable[..., Awaitable[Any]]:
    """A reply that names who was authenticated, and may want to hear of the finished login."""
    who = callback.reply[0].name

    async def authenticate(*args: Any) -> Any:
        if not active():
            return None
        decision = await asker.ask(callback, args)
        answer = decision.get("answer") or {}
        if not answer.get(who):
            return None
        if not answer.get(marked.name):
            return answer[who], None

        async def finished(response: Any) -> None:
            await asker.follow_up(follow_up, decision, response)

        return answer[who], finished

    return authenticate


class Bracket:
    """An async context manager around work of Synapse's, of which busd is told when it begins and when it is over."""

    def __init__(self, asker: Asker, callback: Callback, follow_up: Callback, args: Args):
        self.asker = asker
        self.callback, self.follow_up, self.args = callback, follow_up, args
        self.decision: decode.Answer = {}

    async def __aenter__(self) -> Any:
        self.decision = await self.asker.ask(self.callback, self.args)
        answer = self.decision.get("answer")
        if answer is None and configured(self.asker.api, _SLEEPS):
            await self.asker.api.sleep(configured(self.asker.api, _SLEEP) / 1000)
        field = self.callback.reply[0]
        value = decode.value(field, (answer or {}).get(field.name))
        if value is None and self.callback.setting is not None:
            return configured(self.asker.api, self.callback.setting)
        return value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.decision.get("answer") is not None:
            await self.asker.follow_up(self.follow_up, self.decision)


# What Synapse does between two pieces of work where no module paces it.
_SLEEPS = Setting("background_updates", "sleep_enabled", True)
_SLEEP = Setting("background_updates", "sleep_duration_ms", 1000)


def configured(api: ModuleApi, setting: Setting) -> Any:
    """What Synapse is configured to do. The Module API does not tell it."""
    section = getattr(getattr(api._hs, "config", None), setting.section, None)
    return getattr(section, setting.name, setting.default)
