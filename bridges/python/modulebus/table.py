"""What schemas/ says of callbacks and of methods of the Module API, read once from two generated tables."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Field:
    """A field of a message."""

    name: str
    type: str
    list: bool = False
    map: bool = False
    optional: bool = False
    argument: int = 0  # which of Synapse's arguments it is, from 1, where that is not its place
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Callback:
    """A callback, by Synapse's name."""

    category: str
    name: str
    all_or_none: bool
    request: tuple[Field, ...]
    reply: tuple[Field, ...]
    verdict: str = ""
    follows: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.category}.{self.name}"

    @property
    def keyed(self) -> bool:
        """Whether a module says which keys, such as login types, it is to be asked about."""
        return any("key" in field.marks for field in self.request)

    @property
    def stateful(self) -> bool:
        """Whether a module says which state of the room it needs."""
        return any("state" in field.marks for field in self.request)


@dataclass(frozen=True)
class Method:
    """A method of the Module API."""

    name: str
    request: tuple[Field, ...]
    reply: tuple[Field, ...]
    of: str = ""  # what has it in Synapse, as attributes that lead there from the ModuleApi; empty for the ModuleApi

    @property
    def of_another(self) -> str:
        """As a module's source has it where it is not the ModuleApi's, such as _store.get_users_paginate."""
        return f"{self.of.rpartition('.')[2]}.{self.name}" if self.of else ""


def class_name(name: str) -> str:
    """Returns how the classes of a callback's or a method's messages begin, such as Ask4U for ask_4u."""
    return re.sub(r"(?:^|_|(?<=\d))([a-z0-9])", lambda found: found[1].upper(), name)


def _fields(rows: list[dict[str, Any]]) -> tuple[Field, ...]:
    known = Field.__dataclass_fields__
    return tuple(Field(**{**{k: v for k, v in row.items() if k in known}, "marks": tuple(row.get("marks", ()))}) for row in rows)


def _load(file: str) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(resources.files(__package__).joinpath(file).read_text("utf-8"))
    return table


@cache
def callbacks() -> dict[str, Callback]:
    """All callbacks, by name. No name is in two categories."""
    return {
        row["callback"]: Callback(
            row["category"], row["callback"], row.get("all_or_none", False), _fields(row["request"]), _fields(row["reply"]), row.get("verdict", ""), tuple(row.get("follows", ()))
        )
        for row in _load("callbacks.json")["callbacks"]
    }


@cache
def methods() -> dict[str, Method]:
    """All methods of the Module API, by name."""
    return {
        row["method"]: Method(row["method"], _fields(row["request"]), _fields(row["reply"]), row.get("of", ""))
        for row in _load("module_api.json")["methods"]
    }


@cache
def types() -> dict[str, tuple[Field, ...]]:
    """The messages that requests and replies have in their fields, by name."""
    both = {**_load("callbacks.json")["types"], **_load("module_api.json")["types"]}
    return {name: _fields(rows) for name, rows in both.items()}
