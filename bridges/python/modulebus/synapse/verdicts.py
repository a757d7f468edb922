"""From what a Synapse module returns or raises to the reply that says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from synapse.module_api import NOT_SPAM, PRESENCE_ALL_USERS
from synapse.module_api.errors import Codes, SynapseError
from synapse.spam_checker_api import RegistrationBehaviour

from .. import table
from . import values

Reply = dict[str, Any]


def reply(callback: table.Callback, outcome: Any, before: Any, after: Any) -> Reply:
    """Returns the reply for an outcome. `before` and `after` are the arguments, as they were and as the module left them."""
    if not callback.reply:
        return {}
    if callback.verdict:
        return _VERDICTS[callback.verdict](callback, outcome, before, after)
    fields = [f for f in callback.reply if not f.marks]
    final = next((f for f in callback.reply if "final" in f.marks), None)
    if final is not None and outcome == PRESENCE_ALL_USERS:
        return {final.name: True}
    if isinstance(outcome, tuple):  # A login: the user, and what is called once it succeeded.
        outcome = outcome[0]
    if outcome is None or outcome == "" and not fields[0].optional:
        return {}
    if fields[0].map and isinstance(outcome, Mapping):
        return {fields[0].name: {k: values.write(table.Field("", fields[0].type), v) for k, v in outcome.items()}}
    return {fields[0].name: values.write(fields[0], outcome)}


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
    said = {event_id: {inner.name: values.plain(outcome)} for event_id, outcome in outcomes.items() if outcome}
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


def _boolean(refuses: bool) -> Callable[..., Reply]:
    def decide(_: table.Callback, outcome: Any, *__: Any) -> Reply:
        return _refused(Codes.FORBIDDEN) if outcome is not None and bool(outcome) is refuses else {}

    return decide


def _behaviour(callback: table.Callback, outcome: Any, *_: Any) -> Reply:
    behaviour = outcome[0] if isinstance(outcome, tuple) else outcome
    if behaviour is None or behaviour is RegistrationBehaviour.ALLOW:
        return {}
    if behaviour is RegistrationBehaviour.DENY:
        return _refused(Codes.FORBIDDEN)
    return {next(f.name for f in callback.reply if f.name != "refusal"): True}


def _replacement(callback: table.Callback, outcome: Any, *_: Any) -> Reply:
    allowed, replacement = outcome
    if not allowed:
        return _refused(Codes.FORBIDDEN)
    if replacement is None:
        return {}
    return {next(f.name for f in callback.reply if f.name != "refusal"): values.plain(replacement)}


def _changed(callback: table.Callback, _: Any, before: Any, after: Any) -> Reply:
    """What a module answers by changing an argument where it is."""
    name = next(f.name for f in callback.reply if f.name != "refusal")
    return {} if before[name] == after[name] else {name: values.plain(after[name])}


_VERDICTS: dict[str, Callable[..., Reply]] = {
    "ALLOWED": _boolean(refuses=False),
    "REFUSED": _boolean(refuses=True),
    "CODE": _code,
    "BARE_CODE": _code,
    "BEHAVIOUR": _behaviour,
    "REPLACEMENT": _replacement,
    "EXCEPTION": _changed,
}

RAISES = frozenset(["BARE_CODE", "REPLACEMENT", "EXCEPTION"])
"""Verdicts for which a SynapseError is a refusal in words of the module's own. Elsewhere it is a failure."""
