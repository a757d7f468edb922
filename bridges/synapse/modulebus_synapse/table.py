"""What callbacks there are, read from the table that is generated out of the schemas."""

from __future__ import annotations

import json
import re
from importlib import metadata, resources
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
    user: str = ""  # Whom it has to name: LOCAL, REGISTERED or anybody.
    form: str = ""  # What Synapse takes in its place: USER_ID, ROOM_ID, PUSH_ACTIONS, EVENT, or the value itself.
    only: str = ""  # The one value that Synapse can do anything with.


Fields = tuple[Field, ...]


@attr.s(auto_attribs=True, frozen=True, slots=True)
class Setting:
    """A setting of Synapse's, which the Module API does not tell."""

    section: str
    name: str
    default: Any


@attr.s(auto_attribs=True, frozen=True, slots=True)
class Callback:
    category: str
    name: str
    rule: str
    on_failure: str
    since: str
    request: Fields  # In the order of Synapse's arguments.
    reply: Fields
    all_or_none: bool = False
    on_failure_federated: str = ""
    refusal: dict[str, Any] = attr.Factory(dict)
    speculative: bool = False
    follows: tuple[str, ...] = ()
    verdict: str = ""  # What Synapse takes for an answer that can be a refusal.
    setting: Setting | None = None  # What holds without an opinion, where Synapse has to be told.

    @property
    def full_name(self) -> str:
        return f"{self.category}.{self.name}"

    @property
    def decides(self) -> bool:
        """Whether an answer can keep somebody from something."""
        return self.rule in ("FIRST", "FOLD")

    @property
    def adds(self) -> bool:
        """Whether an answer only adds to what somebody gets."""
        return self.rule == "MERGE"

    def reply_field(self, name: str) -> Field | None:
        return next((f for f in self.reply if f.name == name), None)


@attr.s(auto_attribs=True, frozen=True, slots=True)
class Table:
    callbacks: dict[str, Callback]  # By name: what Synapse calls.
    follow_ups: dict[str, Callback]  # By the name of the callback that they follow.
    types: dict[str, Fields]


def fields_of(raw: list[dict[str, Any]]) -> Fields:
    return tuple(Field(**{**f, "marks": tuple(f.get("marks", ()))}) for f in raw)


def _callback(raw: dict[str, Any], synapse: str) -> Callback:
    raw = dict(raw)
    earlier = raw.pop("earlier", None)
    if earlier and _release(synapse) < _release(earlier["before"]):
        raw["verdict"] = earlier["verdict"]
    return Callback(
        name=raw.pop("callback"),
        request=fields_of(raw.pop("request")),
        reply=fields_of(raw.pop("reply")),
        follows=tuple(raw.pop("follows", ())),
        setting=Setting(**raw.pop("setting")) if "setting" in raw else None,
        **raw,
    )


def _release(version: str) -> tuple[int, ...]:
    """1.61 of 1.61.0rc1."""
    return tuple(int(digits) for digits in re.findall("[0-9]+", version)[:2])


def load(synapse: str) -> Table:
    """The table as it holds for a version of Synapse."""
    raw = json.loads(resources.files(__package__).joinpath("callbacks.json").read_text(encoding="utf-8"))
    every = [_callback(c, synapse) for c in raw["callbacks"]]
    return Table(
        callbacks={c.name: c for c in every if not c.follows},
        follow_ups={name: c for c in every for name in c.follows},
        types={name: fields_of(fields) for name, fields in raw["types"].items()},
    )


TABLE = load(metadata.version("matrix-synapse"))
