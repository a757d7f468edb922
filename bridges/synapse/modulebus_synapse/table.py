"""What callbacks there are, read from the table that is generated out of the schemas."""

import json
from importlib import resources
from typing import Any

import attr


@attr.s(auto_attribs=True, frozen=True, slots=True)
class Field:
    name: str
    type: str  # A scalar of protobuf, "json", or the name of a message in Table.types.
    list: bool = False
    map: bool = False
    optional: bool = False
    marks: tuple[str, ...] = ()


Fields = tuple[Field, ...]


@attr.s(auto_attribs=True, frozen=True, slots=True)
class Callback:
    category: str
    name: str
    rule: str
    on_failure: str
    since: str
    request: Fields
    reply: Fields
    all_or_none: bool = False
    on_failure_federated: str = ""
    refusal: dict[str, Any] = attr.Factory(dict)
    speculative: bool = False
    follows: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.category}.{self.name}"

    def reply_field(self, name: str) -> Field | None:
        return next((f for f in self.reply if f.name == name), None)


@attr.s(auto_attribs=True, frozen=True, slots=True)
class Table:
    callbacks: dict[str, Callback]  # By name: what Synapse calls.
    follow_ups: dict[str, Callback]  # By the name of the callback that they follow.
    types: dict[str, Fields]


def _fields(raw: list[dict[str, Any]]) -> Fields:
    return tuple(Field(**{**f, "marks": tuple(f.get("marks", ()))}) for f in raw)


def _callback(raw: dict[str, Any]) -> Callback:
    raw = dict(raw)
    return Callback(
        name=raw.pop("callback"),
        request=_fields(raw.pop("request")),
        reply=_fields(raw.pop("reply")),
        follows=tuple(raw.pop("follows", ())),
        **raw,
    )


def load() -> Table:
    raw = json.loads(resources.files(__package__).joinpath("callbacks.json").read_text(encoding="utf-8"))
    every = [_callback(c) for c in raw["callbacks"]]
    return Table(
        callbacks={c.name: c for c in every if not c.follows},
        follow_ups={name: c for c in every for name in c.follows},
        types={name: _fields(fields) for name, fields in raw["types"].items()},
    )


TABLE = load()
