"""What an author writes: a class whose methods are callbacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from . import messages, table, values

Function = TypeVar("Function", bound=Callable[..., Awaitable[Any]])

ALL_STATE = object()
"""All state of a room. It may be hundreds of thousands of events: say which ones you need instead, if you can."""


@dataclass
class Needs:
    """What a callback needs of its request, as a join says it."""

    state: Any = None
    keys: Mapping[str, Iterable[str]] = field(default_factory=dict)

    def join(self) -> dict[str, Any]:
        """Returns the needs as a join has them; empty when there are none."""
        out: dict[str, Any] = {}
        if self.state is ALL_STATE:
            out["state"] = {"all": True}
        elif self.state is not None:
            out["state"] = {"keys": [{"type": kind, **({} if key is None else {"state_key": key})} for kind, key in self.state]}
        if self.keys:
            out["keys"] = [{"value": value, "fields": list(fields)} for value, fields in self.keys.items()]
        return out


@overload
def callback(function: Function) -> Function: ...
@overload
def callback(
    *, state: Iterable[tuple[str, str | None]] | object | None = None, keys: Mapping[str, Iterable[str]] | None = None
) -> Callable[[Function], Function]: ...


def callback(
    function: Function | None = None,
    *,
    state: Iterable[tuple[str, str | None]] | object | None = None,
    keys: Mapping[str, Iterable[str]] | None = None,
) -> Function | Callable[[Function], Function]:
    """Marks a method as the callback of its name, spelled as Synapse spells it.

    The method is a coroutine that gets the callback's request, and returns None for no opinion, a Refusal, or the
    callback's response. It may raise Failure. It is called for several questions at a time.

    `state` are the events that it needs of the room's state: pairs of type and state key (None: whatever the state key),
    or ALL_STATE. `keys` are the login types that it is asked about, with the fields it gets of each.

    An unknown name, and a need that the callback's request has no room for, raise TypeError at once.
    """

    def mark(function: Function) -> Function:
        known = table.callbacks().get(function.__name__)
        if known is None:
            raise TypeError(f"{function.__name__} is not a callback; see docs/callbacks")
        if state is not None and not known.stateful:
            raise TypeError(f"{known.full_name} has no state to give")
        if known.keyed and not keys:
            raise TypeError(f"{known.full_name} needs keys: the login types that it is asked about")
        if keys and not known.keyed:
            raise TypeError(f"{known.full_name} has no keys")
        function._modulebus_needs = Needs(state, keys or {})  # type: ignore[attr-defined]
        return function

    return mark if function is None else mark(function)


@dataclass(frozen=True)
class Handler:
    """One callback of a constructed module."""

    callback: table.Callback
    needs: Needs
    function: Callable[[Any], Awaitable[Any]]
    request: type
    response: type

    def read(self, data: Any) -> Any:
        return values.read(self.request, self.callback.request, data)

    def write(self, answer: Any, worker: str) -> dict[str, Any]:
        """Returns the reply that says what the module answered. TypeError: a callback cannot answer that."""
        if answer is None:
            return {}
        if isinstance(answer, messages.Refusal) and any(f.name == "refusal" for f in self.callback.reply):
            answer = self.response(refusal=answer)
        if not isinstance(answer, self.response):
            raise TypeError(f"{self.callback.full_name} returned {type(answer).__name__}; return None, {self.response.__name__}, or a Refusal where it has one")
        for f in self.callback.reply:
            if "to_worker" in f.marks and not getattr(answer, f.name):
                setattr(answer, f.name, worker)
        return values.write(self.callback.reply, answer)


def handlers(module: object) -> dict[str, Handler]:
    """Returns the callbacks of a module, by full name. TypeError: it has a part of a category that is all or nothing."""
    found = {}
    for name, known in table.callbacks().items():
        function = getattr(module, name, None)
        needs = getattr(function, "_modulebus_needs", None)
        if function is None or needs is None:
            continue
        request, response = (getattr(messages, table.class_name(name) + kind) for kind in ("Request", "Response"))
        found[known.full_name] = Handler(known, needs, function, request, response)
    for known in table.callbacks().values():
        if known.all_or_none and known.full_name not in found and any(h.callback.category == known.category for h in found.values()):
            raise TypeError(f"{known.full_name} is missing: the callbacks of {known.category} are registered together or not at all")
    return found
