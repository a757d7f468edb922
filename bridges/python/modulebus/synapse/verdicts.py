"""From what a Synapse module returns or raises to the reply that says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from synapse.api.presence import UserPresenceState
from synapse.module_api import NOT_SPAM, PRESENCE_ALL_USERS, MediaUploadLimit, RatelimitOverride
from synapse.module_api.errors import Codes, SynapseError
from synapse.spam_checker_api import RegistrationBehaviour

from .. import table
from . import values

Reply = dict[str, Any]


def reply(callback: table.Callback, outcome: Any, before: Any, after: Any) -> Reply:
    """Returns the reply for an outcome. `before` and `after` are the arguments, as they were and as the module left them.

    TypeError: Synapse would not take the outcome for an answer. It would warn, and go on as if there were none; here the module
    has failed, and its policy applies.
    """
    if not callback.reply:
        return {}
    if callback.verdict:
        return _VERDICTS[callback.verdict](callback, outcome, before, after)
    final = next((f for f in callback.reply if "final" in f.marks), None)
    if final is not None and outcome == PRESENCE_ALL_USERS:
        return {final.name: True}
    if any("followed_up" in f.marks for f in callback.reply):
        outcome = _authenticated(outcome)
    field = next(f for f in callback.reply if not f.marks)
    if _is_nothing(field, outcome):
        return {}
    return {field.name: _written(field, outcome)}


def _authenticated(outcome: Any) -> Any:
    """Returns the user of a login. What is called once it succeeded was kept already."""
    if outcome is None:
        return None
    user, _ = _instance(outcome, tuple)
    return user


def _is_nothing(field: table.Field, outcome: Any) -> bool:
    """Reports whether Synapse takes an outcome for no opinion."""
    if field.type == "json" or field.type in table.types() and not field.map and not _is_list(field):
        return not outcome
    return outcome is None or outcome == "" and not field.optional


def _is_list(field: table.Field) -> bool:
    """Reports whether it is a list, or a message of one list, which stands for one that may be absent."""
    inner = table.types().get(field.type, ())
    return field.list or len(inner) == 1 and inner[0].list


def _written(field: table.Field, outcome: Any) -> Any:
    """Returns the JSON of an outcome that is what the field holds."""
    if field.map:
        one = table.Field("", field.type)
        return {k: _written(one, v) for k, v in _instance(outcome, dict).items()}
    if not _is_list(field):
        return values.write(field, _instance(outcome, _classes()[field.type]))
    inner = field.type if field.list else table.types()[field.type][0].type
    for member in _instance(outcome, list if inner in _IN_LISTS else set):
        _instance(member, _classes()[inner])
    return values.write(field, outcome)


def _instance(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool) and kind is int:
        raise TypeError(f"returned {type(value).__name__} where Synapse takes {kind.__name__}")
    return value


# Types whose values Synapse takes in a list. It takes others in a set.
_IN_LISTS = frozenset(["MediaUploadLimit"])


@cache
def _classes() -> dict[str, type]:
    """What values of a type are in Synapse."""
    scalars = {"string": str, "bool": object, "json": Mapping, **dict.fromkeys(values.INTEGERS, int)}
    return {**scalars, **{c.__name__: c for c in (UserPresenceState, MediaUploadLimit, RatelimitOverride)}}


def _inner(callback: table.Callback) -> table.Field | None:
    """The map that a reply has for each event, where it is such a reply."""
    field = callback.reply[0] if callback.reply else None
    inner = table.types().get(field.type, ()) if field is not None and field.map else ()
    return inner[0] if len(inner) == 1 and inner[0].map else None


def is_by_event(callback: table.Callback) -> bool:
    """Reports whether the bus asks about several events at once what Synapse asks about one."""
    return _inner(callback) is not None


def by_event(callback: table.Callback, outcomes: Mapping[str, Any]) -> Reply:
    """Returns the reply for what was said of each event."""
    inner = _inner(callback)
    assert inner is not None
    said = {event_id: {inner.name: values.plain(dict(outcome))} for event_id, outcome in outcomes.items()}
    said = {event_id: fields for event_id, fields in said.items() if fields[inner.name]}
    return {callback.reply[0].name: said} if said else {}


def refusal(error: SynapseError) -> Reply:
    """Returns the refusal that an exception is, where a callback may refuse by raising one."""
    fields = dict(getattr(error, "_additional_fields", None) or {})
    return {"refusal": {"errcode": values.text(error.errcode), "error": error.msg, "additional_fields": fields, "http_status": int(error.code)}}


def _refused(errcode: Any, fields: Mapping[str, Any] | None = None) -> Reply:
    rest = dict(fields or {})
    out: Reply = {"errcode": str(rest.pop("errcode", values.text(errcode)))}
    if "error" in rest:
        out["error"] = str(rest.pop("error"))
    if rest:
        out["additional_fields"] = values.plain(rest)
    return {"refusal": out}


def _code(_: table.Callback, outcome: Any, *__: Any) -> Reply:
    if outcome is None or outcome == NOT_SPAM:
        return {}
    if isinstance(outcome, bool):
        raise TypeError("returned a boolean, whose meaning differs between Synapse's callbacks; return NOT_SPAM or a code")
    if isinstance(outcome, Codes):
        return _refused(outcome)
    if isinstance(outcome, tuple) and len(outcome) == 2 and isinstance(outcome[0], Codes):
        return _refused(outcome[0], outcome[1])
    if isinstance(outcome, str):
        return _refused(Codes.FORBIDDEN, {"error": outcome})
    raise TypeError(f"returned {type(outcome).__name__}, which is no verdict")


def _allowed(_: table.Callback, outcome: Any, *__: Any) -> Reply:
    return _refused(Codes.FORBIDDEN) if outcome is False else {}


def _true(_: table.Callback, outcome: Any, *__: Any) -> Reply:
    return {} if outcome else _refused(Codes.FORBIDDEN)


def _is_refused(_: table.Callback, outcome: Any, *__: Any) -> Reply:
    return _refused(Codes.FORBIDDEN) if outcome else {}


def _behaviour(callback: table.Callback, outcome: Any, *_: Any) -> Reply:
    behaviour = outcome[0] if isinstance(outcome, tuple) else outcome
    if behaviour is None or behaviour is RegistrationBehaviour.ALLOW:
        return {}
    if behaviour is RegistrationBehaviour.DENY:
        return _refused(Codes.FORBIDDEN)
    return {next(f.name for f in callback.reply if f.name != "refusal"): True}


def _replacement(callback: table.Callback, outcome: Any, *_: Any) -> Reply:
    allowed, replacement = outcome if isinstance(outcome, list) else _instance(outcome, tuple)
    if allowed is False:
        return _refused(Codes.FORBIDDEN)
    if not isinstance(replacement, dict):
        return {}
    return {next(f.name for f in callback.reply if f.name != "refusal"): values.plain(replacement)}


def _changed(callback: table.Callback, _: Any, before: Any, after: Any) -> Reply:
    """What a module answers by changing an argument where it is."""
    name = next(f.name for f in callback.reply if f.name != "refusal")
    return {} if before[name] == after[name] else {name: values.plain(after[name])}


_VERDICTS: dict[str, Callable[..., Reply]] = {
    "ALLOWED": _allowed,
    "TRUE": _true,
    "REFUSED": _is_refused,
    "CODE": _code,
    "BARE_CODE": _code,
    "BEHAVIOUR": _behaviour,
    "REPLACEMENT": _replacement,
    "EXCEPTION": _changed,
}

RAISES = frozenset(["BARE_CODE", "REPLACEMENT", "EXCEPTION"])
"""Verdicts for which a SynapseError is a refusal in words of the module's own. Elsewhere it is a failure."""
