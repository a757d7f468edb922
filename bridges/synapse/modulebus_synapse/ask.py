"""Asking busd on Synapse's behalf, and what it means when that fails."""

import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from synapse.module_api import ModuleApi
from synapse.module_api.errors import Codes, SynapseError

from modulebus_synapse import decode, encode
from modulebus_synapse.config import Config
from modulebus_synapse.door import Door, Failed, Unreachable
from modulebus_synapse.table import TABLE, Callback, Field

logger = logging.getLogger(__name__)

Args = tuple[Any, ...]


class Asker:
    def __init__(self, config: Config, api: ModuleApi, door: Door):
        self.config = config
        self.api = api
        self.door = door
        self.wanted: set[str] = set()  # Full names of callbacks.
        self.state: dict[str, encode.StateFilter] = {}

    async def ask(self, callback: Callback, args: Args) -> decode.Answer:
        """The decision. It is empty when nobody wants to be asked."""
        if callback.full_name not in self.wanted:
            return {}
        try:
            message = encode.dumps(encode.request(callback, args, self.state.get(callback.full_name)))
            path = _file(callback, args)
            return await self.door.ask(f"{callback.category}/{callback.name}", message, callback.speculative, path)
        except Unreachable:
            return self._without(callback, args)
        except Failed:
            raise failure() from None

    def _without(self, callback: Callback, args: Args) -> decode.Answer:
        """The decision when busd cannot be reached."""
        policy = self.config.policy(callback)
        which = policy.local if self._is_local(callback, args) else policy.federated
        if which == "fail":
            raise failure()
        return {"answer": {"refusal": callback.refusal}} if which == "refuse" else {}

    def _is_local(self, callback: Callback, args: Args) -> bool:
        for field, value in zip(encode.arguments(callback), args, strict=False):
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
            await self.door.ask(f"{follow_up.category}/{follow_up.name}", encode.dumps(message), follow_up.speculative)
        except (Unreachable, Failed):
            if follow_up.on_failure == "fail":
                raise failure() from None


def failure() -> SynapseError:
    """What clients see of a module that raised. As an error of this class it leaves no stack in the log."""
    return SynapseError(500, "Internal server error", Codes.UNKNOWN)


def _file(callback: Callback, args: Args) -> str | None:
    for field, value in zip(encode.arguments(callback), args, strict=False):
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
    setting = _SETTINGS.get(callback.name)

    async def ask(*args: Any) -> Any:
        decision = await asker.ask(callback, args)
        value = decoder(decision.get("answer"), args)
        return configured(asker.api, setting) if value is None and setting else value

    return ask


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
        if answer is None and configured(self.asker.api, "sleep_enabled"):
            await self.asker.api.sleep(configured(self.asker.api, "sleep_duration_ms") / 1000)
        field = self.callback.reply[0]
        value = decode.value(field, (answer or {}).get(field.name))
        return configured(self.asker.api, "update_duration_ms") if value is None else value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.decision.get("answer") is not None:
            await self.asker.follow_up(self.follow_up, self.decision)


# Where Synapse takes what a module says for granted, and has to be told what it would have done itself: the setting of
# background_updates that it would have used.
_SETTINGS = {"default_batch_size": "default_batch_size", "min_batch_size": "min_batch_size"}

_DEFAULTS = {
    "default_batch_size": 100,
    "min_batch_size": 1,
    "sleep_enabled": True,
    "sleep_duration_ms": 1000,
    "update_duration_ms": 100,
}


def configured(api: ModuleApi, setting: str) -> Any:
    """A setting of background_updates. The Module API does not tell it."""
    settings = getattr(getattr(api._hs, "config", None), "background_updates", None)
    return getattr(settings, setting, _DEFAULTS[setting])
