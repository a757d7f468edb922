"""From the JSON of the reply messages to the Python values that Synapse expects of a callback.

Which value that is follows from the shape of the reply, and for an answer that can be a refusal from the verdict that its
declaration names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Optional

from synapse import module_api
from synapse.api.presence import UserPresenceState
from synapse.api.errors import Codes, ProxiedRequestError, SynapseError
from synapse.spam_checker_api import RegistrationBehaviour

from modulebus_synapse.table import TABLE, Callback, Field

# An older Synapse has no callbacks that need them.
NOT_SPAM = getattr(module_api, "NOT_SPAM", "NOT_SPAM")
PRESENCE_ALL_USERS = getattr(module_api, "PRESENCE_ALL_USERS", "ALL")

logger = logging.getLogger(__name__)

Answer = dict[str, Any]

# A reply and the arguments of the call become what Synapse gets. No opinion is None.
Decoder = Callable[[Optional[Answer], tuple[Any, ...]], Any]

# The classes of Synapse that replies are made of. An older Synapse has fewer, and no callbacks that need them.
_CLASSES: dict[str, Callable[..., Any]] = {
    name: getattr(module_api, name) for name in TABLE.types if isinstance(getattr(module_api, name, None), type)
}
_CLASSES["UserPresenceState"] = UserPresenceState

_INTEGERS = ("int32", "int64", "uint32", "uint64")

# Synapse's function that writes errors has parameters of these names, and fails when a field has one.
_RESERVED = ("msg", "code")

FORBIDDEN_TEXT = "This is not allowed"


def decoder(callback: Callback) -> Decoder:
    """Chooses by the verdict, or by the shape of the reply. Follow-ups are not its business: see bridge.py."""
    if not callback.reply:
        return lambda answer, args: None
    if callback.verdict:
        return _VERDICTS[callback.verdict](callback)
    fields = [f for f in callback.reply if not f.marks]
    final = next((f for f in callback.reply if "final" in f.marks), None)
    if final:  # A set, or the word that stands for everybody.
        members = fields[0].name
        return lambda answer, args: _everybody_or(answer, final.name, members)
    if fields[0].map:
        return _mapping(fields[0], callback)
    return _single(fields[0])


def _beside_refusal(callback: Callback) -> Field:
    """What a reply can say but that it refuses."""
    return next(f for f in callback.reply if f.name != "refusal")


def refusal_of(answer: Answer | None) -> Answer | None:
    return (answer or {}).get("refusal")


def _code(answer: Answer | None) -> Any:
    refusal = refusal_of(answer)
    if refusal is None:
        return NOT_SPAM
    code, fields = _split(refusal)
    return (code, fields) if fields else code


def _bare_code(answer: Answer | None) -> Any:
    refusal = refusal_of(answer)
    if refusal is None:
        return NOT_SPAM
    code, fields = _split({**refusal, "additional_fields": {}})
    if fields:  # Returned they would be lost, and the code with them.
        raise SynapseError(403, refusal.get("error") or FORBIDDEN_TEXT, refusal["errcode"] or Codes.FORBIDDEN)
    return code


def _split(refusal: Answer) -> tuple[Codes, Answer]:
    """The code, and the fields that go over those that Synapse writes.

    Synapse's codes are a closed list: another errcode gets to the client as a field.
    """
    fields = _additional(refusal)
    if refusal.get("error"):
        fields["error"] = refusal["error"]
    errcode = refusal.get("errcode") or Codes.FORBIDDEN
    try:
        return Codes(errcode), fields
    except ValueError:
        return Codes.FORBIDDEN, {**fields, "errcode": errcode}


def _additional(refusal: Answer) -> Answer:
    return {k: v for k, v in (refusal.get("additional_fields") or {}).items() if k not in _RESERVED}


def raised(refusal: Answer, text: str, errcode: str, status: int = 403) -> SynapseError:
    return ProxiedRequestError(  # In every version the SynapseError that takes fields.
        int(refusal.get("http_status") or status),
        refusal.get("error") or text,
        refusal.get("errcode") or errcode,
        _additional(refusal),
    )


def _replacement(answer: Answer | None, field: str) -> tuple[bool, Answer | None]:
    refusal = refusal_of(answer)
    if refusal is None:
        return True, (answer or {}).get(field)
    bare = refusal.get("errcode") in (None, "", Codes.FORBIDDEN) and not refusal.get("error")
    if bare and not _additional(refusal) and refusal.get("http_status") in (None, 403):
        return False, None
    raise raised(refusal, "This event is not allowed in this context", Codes.FORBIDDEN)


def _unraised(answer: Answer | None, field: str) -> tuple[bool, Answer | None]:
    if refusal_of(answer) is not None:
        return False, None
    return True, (answer or {}).get(field)


def _text(answer: Answer | None) -> bool | str:
    refusal = refusal_of(answer)
    return refusal is not None and (refusal.get("error") or True)


def _fold(callback: Callback) -> Decoder:
    """What is returned takes the place of an argument, which is changed where it is."""
    field = _beside_refusal(callback)
    index = [f.name for f in callback.request].index(field.name)
    text = callback.refusal.get("error") or FORBIDDEN_TEXT

    def decode(answer: Answer | None, args: tuple[Any, ...]) -> None:
        refusal = refusal_of(answer)
        if refusal is not None:
            raise raised(refusal, text, Codes.FORBIDDEN)
        content = (answer or {}).get(field.name)
        if content is not None:
            new = dict(content)  # Raises before anything is changed.
            args[index].clear()
            args[index].update(new)

    return decode


def _behaviour(answer: Answer | None, other: str) -> RegistrationBehaviour:
    if refusal_of(answer) is not None:
        return RegistrationBehaviour.DENY
    if (answer or {}).get(other):
        return RegistrationBehaviour[other.upper()]
    return RegistrationBehaviour.ALLOW


_VERDICTS: dict[str, Callable[[Callback], Decoder]] = {
    "ALLOWED": lambda _: lambda answer, args: refusal_of(answer) is None,
    "TRUE": lambda _: lambda answer, args: refusal_of(answer) is None,
    "REFUSED": lambda _: lambda answer, args: refusal_of(answer) is not None,
    "CODE": lambda _: lambda answer, args: _code(answer),
    "BARE_CODE": lambda _: lambda answer, args: _bare_code(answer),
    "BEHAVIOUR": lambda callback: lambda answer, args: _behaviour(answer, _beside_refusal(callback).name),
    "REPLACEMENT": lambda callback: lambda answer, args: _replacement(answer, _beside_refusal(callback).name),
    "EXCEPTION": _fold,
    "TEXT": lambda _: lambda answer, args: _text(answer),
    "UNRAISED": lambda callback: lambda answer, args: _unraised(answer, _beside_refusal(callback).name),
}


def _everybody_or(answer: Answer | None, final: str, members: str) -> Any:
    if answer and answer.get(final):
        return PRESENCE_ALL_USERS
    return set((answer or {}).get(members, ()))


def _mapping(field: Field, callback: Callback) -> Decoder:
    """A map of messages that wrap one field each: of sets, as it is; of maps, that of the one event asked about."""
    inner = TABLE.types[field.type][0]
    if inner.map:

        def one(answer: Answer | None, args: tuple[Any, ...]) -> Answer:
            entry = (answer or {}).get(field.name, {}).get(args[0].event_id) or {}
            return dict(entry.get(inner.name) or {})

        return one

    def sets(answer: Answer | None, args: tuple[Any, ...]) -> dict[str, set[Any]]:
        entries = (answer or {}).get(field.name, {})
        return {k: {value(inner, v) for v in entry.get(inner.name, ())} for k, entry in entries.items()}

    return sets


def _single(field: Field) -> Decoder:
    """One value, or None. A message of one list is the list."""
    wrapped = TABLE.types.get(field.type, ())
    if len(wrapped) == 1 and wrapped[0].list:
        return lambda answer, args: _unwrapped(answer, field.name, wrapped[0])

    def decode(answer: Answer | None, args: tuple[Any, ...]) -> Any:
        found = (answer or {}).get(field.name)
        if found is None or found == {} and not field.optional:
            return None
        return value(field, found)

    return decode


def _unwrapped(answer: Answer | None, name: str, inner: Field) -> list[Any] | None:
    found = (answer or {}).get(name)
    return None if found is None else [value(inner, v) for v in found.get(inner.name, ())]


def value(field: Field, raw: Any) -> Any:
    """One value of a field. The JSON mapping writes 64-bit integers as strings."""
    if raw is None:
        return None
    if field.type in _INTEGERS:
        return int(raw)
    if field.type == "double":
        return float(raw)
    make = _CLASSES.get(field.type)
    if make is None:
        return raw
    fields = TABLE.types[field.type]
    known = {a.name for a in getattr(make, "__attrs_attrs__", ())} or set(getattr(make, "_fields", ()))
    return make(**{f.name: value(f, raw.get(f.name)) for f in fields if f.name in known})
