"""Messages and their form on the wire: protobuf's JSON mapping, with the names of the .proto files."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

from . import messages, table

_INTEGERS = frozenset(["int32", "int64", "uint32", "uint64"])


class Malformed(Exception):
    """What came is not what it should be. The text names the field and repeats nothing of its value."""


def read(kind: type, fields: tuple[table.Field, ...], data: Any) -> Any:
    """Makes a message of what its JSON was read into. Unknown fields are ignored, and null is absent."""
    if not isinstance(data, dict):
        raise Malformed("must be an object")
    values = {f.name: _read_field(f, data[f.name]) for f in fields if data.get(f.name) is not None}
    return kind(**values)


def _read_field(field: table.Field, value: Any) -> Any:
    try:
        if field.list:
            return [_read_one(field.type, one) for one in value]
        if field.map:
            return {key: _read_one(field.type, one) for key, one in value.items()}
        return _read_one(field.type, value)
    except Malformed as error:
        raise Malformed(f"{field.name}: {error}") from None
    except (TypeError, ValueError, AttributeError):
        raise Malformed(f"{field.name}: must be a {field.type}") from None


def _read_one(kind: str, value: Any) -> Any:
    if kind in _INTEGERS:
        return int(value)
    if kind == "double":
        return float(value)
    if kind == "bytes":
        return base64.b64decode(value)
    if kind in table.types():
        return read(getattr(messages, kind), table.types()[kind], value)
    return value


def write(fields: tuple[table.Field, ...], message: Any) -> dict[str, Any]:
    """Makes of a message what its JSON is written from. What has the value that its type starts with is left out."""
    out = {}
    for field in fields:
        value = getattr(message, field.name)
        if value is not None and (field.optional or value not in (0, "", False, b"", [], {})):
            out[field.name] = _write_field(field, value)
    return out


def _write_field(field: table.Field, value: Any) -> Any:
    if field.list:
        return [_write_one(field.type, one) for one in value]
    if field.map:
        return {key: _write_one(field.type, one) for key, one in value.items()}
    return _write_one(field.type, value)


def _write_one(kind: str, value: Any) -> Any:
    if kind == "int64" or kind == "uint64":
        return str(value)
    if kind == "bytes":
        return base64.b64encode(value).decode()
    if dataclasses.is_dataclass(value):
        return write(table.types()[kind], value)
    return value
