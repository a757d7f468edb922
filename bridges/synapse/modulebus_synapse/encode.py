"""From the Python values that Synapse calls with to the JSON of the request messages."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from modulebus_synapse.table import TABLE, Callback, Field

JsonDict = dict[str, Any]

# What state events are needed in requests, as busd says it: everything, or some keys.
StateFilter = Mapping[str, Any]

_INTEGERS = ("int32", "int64", "uint32", "uint64")


def request(callback: Callback, args: tuple[Any, ...], state: StateFilter | None = None) -> JsonDict:
    """The request message for a call with these arguments. Those that are newer than the schema are left out."""
    message: JsonDict = {}
    for field, value in zip(callback.request, args):
        if "state" in field.marks:
            message[field.name] = _needed(value, state)
        else:
            _set(message, field, value)
    return message


def _set(message: JsonDict, field: Field, value: Any) -> None:
    if value is None or field.type == "FileWrapper":  # A file's content travels beside the message.
        return
    if field.map:
        message[field.name] = {text(k): _value(field, v) for k, v in value.items()}
    elif field.list:
        # Synapse may pass one thing where the schema allows many.
        message[field.name] = [_value(field, v) for v in _each(value)]
    else:
        message[field.name] = _value(field, value)


def _each(value: Any) -> Iterable[Any]:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)):
        return value
    return (value,)


def _value(field: Field, value: Any) -> Any:
    if field.type == "json":
        return value
    if field.type == "string":
        return text(value)
    if field.type == "bool":
        return bool(value)
    if field.type in _INTEGERS:
        return int(value)
    if field.type == "double":
        return float(value)
    if field.type == "Event":
        return event(value)
    return message_of(field.type, value)


def message_of(name: str, value: Any) -> JsonDict:
    """The message of a mapping, of a tuple with the values in order, or of an object with attributes of these names."""
    fields = TABLE.types[name]
    message: JsonDict = {}
    for i, field in enumerate(fields):
        if isinstance(value, Mapping):
            member = value.get(field.name)
        elif isinstance(value, (tuple, list)):
            member = value[i] if i < len(value) else None
        else:
            member = getattr(value, field.name, None)
        _set(message, field, member)
    return message


def text(value: Any) -> str:
    """A string, an enum of strings, or one of Synapse's identifiers."""
    if isinstance(value, Enum):
        return str(value.value)
    to_string = getattr(value, "to_string", None)
    return whole(str(to_string() if to_string else value))


def whole(value: str) -> str:
    """The text with U+FFFD in place of lone surrogates, which JSON can have and UTF-8 cannot."""
    if value.isascii():
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def event(value: Any) -> JsonDict:
    return {
        "event_id": value.event_id,
        "room_version": value.room_version.identifier,
        "json": value.get_pdu_json(),
        "room_id": value.room_id,
    }


def _needed(state: Mapping[tuple[str, str], Any], wanted: StateFilter | None) -> list[JsonDict]:
    """Those of the state events that a module wants."""
    if not wanted:
        return []
    if wanted.get("all"):
        keys = list(state)
    else:
        keys = []
        for want in wanted.get("keys", ()):
            if want.get("state_key") is not None:
                keys.append((want["type"], want["state_key"]))
            else:
                keys += [k for k in state if k[0] == want["type"]]
    return [
        {"type": key[0], "state_key": key[1], "event": event(state[key])}
        for key in dict.fromkeys(keys)
        if key in state
    ]


class TooDeep(Exception):
    """A client's JSON, as Synapse read it, is nested more deeply than Python can write."""


def dumps(message: JsonDict) -> bytes:
    """Raises TooDeep."""
    try:
        return _dumps(message).encode("ascii")
    except RecursionError:
        raise TooDeep from None


def _dumps(message: JsonDict) -> str:
    try:
        return json.dumps(message, default=_plain, separators=(",", ":"), allow_nan=False)
    except ValueError:  # A number too large for Python, or one that only Python knows.
        return json.dumps(_finite(message), default=_plain, separators=(",", ":"))


def _finite(value: Any) -> Any:
    """The value with numbers that JSON can write. One that was read as infinite becomes the largest there is."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else math.copysign(sys.float_info.max, value)
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def _plain(value: Any) -> Any:
    """Events' contents are immutable mappings and sequences of Synapse's own."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
