"""Reads a module's source for what cannot work outside of Synapse's process.

What fails only when it is called is too late: a module that catches the failure itself goes on, and its rules are off.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Attributes of a ModuleApi, or of its homeserver, behind which are Synapse's database and handlers.
OUT_OF_REACH = frozenset(
    ["run_db_interaction", "_store", "_storage_controllers", "_auth", "_auth_handler", "_account_data_handler", "_registration_handler",
     "_push_rules_handler", "_pusherpool", "_device_handler", "_state", "_presence_stream", "get_datastores", "get_storage_controllers"]
)  # fmt: skip


@dataclass(frozen=True)
class Use:
    """A place where something out of reach is used."""

    name: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line} uses {self.name}"


def uses(files: Iterable[Path]) -> list[Use]:
    """Returns the uses in source files, in order."""
    found = []
    for file in sorted(files):
        for node in ast.walk(ast.parse(file.read_text("utf-8", errors="replace"))):
            if isinstance(node, ast.Attribute) and node.attr in OUT_OF_REACH and _of_api(node.value):
                found.append(Use(node.attr, str(file), node.lineno))
    return sorted(found, key=lambda use: (use.file, use.line))


def _of_api(owner: ast.expr) -> bool:
    """Reports whether an expression is likely to be a ModuleApi or its homeserver, by its last name."""
    name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
    return name.strip("_") in ("api", "module_api", "hs", "homeserver")


def files_of(module: str) -> list[Path]:
    """Returns the source files of the package, or the file, that a dotted name is in; empty for what has no source."""
    top = module.split(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [file for folder in spec.submodule_search_locations for file in Path(folder).rglob("*.py")]
    return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []
