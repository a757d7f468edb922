"""Between the JSON of the Module API's messages and the Python values of Synapse's ModuleApi."""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import attr
from synapse.events import EventBase
from synapse.api.errors import Codes, SynapseError

from modulebus_synapse import encode
from modulebus_synapse.table import Field, Fields, fields_of

JsonDict = dict[str, Any]


@attr.s(auto_attribs=True, frozen=True, slots=True)
class Method:
    name: str
    request: Fields
    reply: Fields
    reads: bool = False  # It may be cancelled half way. Synapse has what writes go on to its end.
    runs_on: str = ""  # MAIN, PRESENCE_WRITER or anywhere.
    attributes: bool = False  # The reply's fields are attributes of Synapse's ModuleApi.
    of: str = ""  # What has it, as attributes that lead there from Synapse's ModuleApi; empty for the ModuleApi.

    @property
    def returns(self) -> bool:
        """Whether the reply is what Synapse returns, rather than what it writes as the response to a request."""
        return not any(f.name == "status" for f in self.reply)


_FACTS = ("reads", "runs_on", "attributes", "of")


def _method(raw: JsonDict) -> Method:
    facts = {name: raw[name] for name in _FACTS if name in raw}
    return Method(raw["method"], fields_of(raw["request"]), fields_of(raw["reply"]), **facts)


_RAW = json.loads(resources.files(__package__).joinpath("module_api.json").read_text(encoding="utf-8"))

METHODS = {m["method"]: _method(m) for m in _RAW["methods"]}

_TYPES: dict[str, Fields] = {name: fields_of(fields) for name, fields in _RAW["types"].items()}

_INTEGERS = ("int32", "int64", "uint32", "uint64")
_DEFAULTS: JsonDict = {"string": "", "bool": False, "double": 0.0, **dict.fromkeys(_INTEGERS, 0)}


def arguments(fields: Fields, message: JsonDict, path: str = "") -> JsonDict:
    """The keyword arguments that a message holds. What is optional and absent is left to Synapse's own default."""
    found: JsonDict = {}
    for field in fields:
        at = path + field.name
        raw = message.get(field.name)
        if raw is None:
            if not field.optional:
                found[field.name] = _default(field)
        elif field.map:
            found[field.name] = {k: _read(field, v, f"{at}[*]") for k, v in _typed(raw, dict, at, "an object").items()}
        elif field.list:
            items = _typed(raw, list, at, "a list")
            found[field.name] = [_read(field, item, f"{at}[{i}]") for i, item in enumerate(items)]
        else:
            found[field.name] = _read(field, raw, at)
    return found


def _default(field: Field) -> Any:
    if field.list:
        return []
    if field.map or field.type == "json":
        return {}
    return _DEFAULTS.get(field.type)


def _read(field: Field, raw: Any, at: str) -> Any:
    """One value. A message is the tuple of its values, as Synapse takes them."""
    if field.type in _INTEGERS:
        return _integer(raw, at, field.type.startswith("u"))
    if field.type == "string":
        return _typed(raw, str, at, "a string")
    if field.type == "bool":
        return _typed(raw, bool, at, "true or false")
    members = _typed(raw, dict, at, "an object")
    if field.type == "json":
        return members
    inner = _TYPES[field.type]
    values = arguments(inner, members, f"{at}.")
    return tuple(values.get(f.name) for f in inner)


def _integer(raw: Any, at: str, unsigned: bool) -> int:
    """The JSON mapping writes 64-bit integers as strings, and reads numbers, too."""
    digits = isinstance(raw, str) and len(raw) <= 20 and re.fullmatch(r"-?[0-9]+", raw)
    whole = isinstance(raw, float) and raw.is_integer()
    if digits or whole or isinstance(raw, int) and not isinstance(raw, bool):
        value = int(raw)
        if (0 if unsigned else -(2**63)) <= value < 2**63:
            return value
    raise bad(f"field {at}: must be an integer{' that is not negative' if unsigned else ''}")


def _typed(raw: Any, kind: type, at: str, called: str) -> Any:
    if not isinstance(raw, kind):
        raise bad(f"field {at}: must be {called}")
    return raw


def bad(text: str) -> SynapseError:
    return SynapseError(400, text, Codes.BAD_JSON)


def reply(method: Method, result: Any) -> JsonDict:
    """The reply message: of one field it is the result, of several the result has them."""
    if len(method.reply) == 1:
        return _message(method.reply, (result,))
    return _message(method.reply, result)


def _message(fields: Fields, value: Any) -> JsonDict:
    """The message of a mapping, of a tuple with the values in order, or of an object with attributes of these names."""
    message: JsonDict = {}
    for i, field in enumerate(fields):
        if isinstance(value, Mapping):
            member = value.get(field.name)
        elif isinstance(value, tuple):
            member = value[i] if i < len(value) else None
        else:
            member = getattr(value, field.name, None)
        if member is None:
            continue
        if field.map:
            message[field.name] = {str(k): _write(field, v) for k, v in member.items()}
        elif field.list:
            message[field.name] = [_write(field, v) for v in _ordered(member)]
        else:
            message[field.name] = _write(field, member)
    return message


def _ordered(values: Iterable[Any]) -> Iterable[Any]:
    if isinstance(values, Mapping):
        return values.values()
    return sorted(values) if isinstance(values, (set, frozenset)) else values


def _write(field: Field, value: Any) -> Any:
    if field.type == "json":
        return value
    if field.type == "string":
        return encode.text(value)
    if field.type == "bool":
        return bool(value)
    if field.type in _INTEGERS:
        return str(int(value)) if field.type.endswith("64") else int(value)
    if field.type == "bytes":
        return base64.b64encode(value).decode()
    if field.type == "Event":
        return encode.event(value)
    if field.type == "StateEvent" and isinstance(value, EventBase):
        return {"type": value.type, "state_key": value.state_key, "event": encode.event(value)}
    return _message(_TYPES[field.type], value)
