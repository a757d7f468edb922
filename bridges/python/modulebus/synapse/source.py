"""Reads a module's source: what cannot work outside of Synapse's process, and what it will need.

What fails only when it is called is too late: a module that catches the failure itself goes on, and its rules are off.

This file needs nothing but Python, and is also run by itself, in the environment in which a module is installed:
`python -c "$(cat source.py)" _store.get_users_paginate,… package.Class …` prints what it found of each, as JSON. busd import
does that. The first argument is what is called over the bus although it is of a part that is out of reach.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import re
import sys
from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

# Attributes of a ModuleApi, or of its homeserver, behind which are Synapse's database and handlers.
OUT_OF_REACH = frozenset(
    ["run_db_interaction", "_store", "_storage_controllers", "_auth", "_auth_handler", "_account_data_handler", "_registration_handler",
     "_push_rules_handler", "_pusherpool", "_device_handler", "_state", "_presence_stream"]
)  # fmt: skip

# What a homeserver without a database has. Its other get_… need the database.
WITHOUT_DATABASE = frozenset(
    ["get_clock", "get_reactor", "get_simple_http_client", "get_proxied_http_client", "get_proxied_blocklisted_http_client",
     "get_instance_name", "get_instance_id"]
)  # fmt: skip

_REGISTERS = re.compile("register_(web_resource|[a-z_]+_callbacks)")


@dataclass(frozen=True)
class Use:
    """A place where something out of reach is used."""

    name: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line} uses {self.name}"


@dataclass
class Survey:
    """What the source of a module says."""

    module: str
    version: str = ""  # of the package that it is from, where it is known
    uses: list[Use] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)  # all names that are used as attributes, such as methods
    callbacks: list[str] = field(default_factory=list)  # that it registers by name
    registers: bool = False  # callbacks or a web resource, or has compiled parts that may
    pages: list[str] = field(default_factory=list)  # paths of web resources that it registers by a literal
    missing: list[str] = field(default_factory=list)  # packages that it imports and that are not installed
    problem: str = ""  # why there was nothing to read


def survey(module: str, served: Container[str] = ()) -> Survey:
    """Reads a module, which is named as in homeserver.yaml. Nothing of it is imported."""
    found = Survey(module)
    try:
        trees = trees_of(module)
    except (ImportError, ValueError, SyntaxError) as error:
        found.problem = f"cannot be read: {error}"
        return found
    if not trees:
        found.problem = "has no Python source here"
        return found
    found.version = version(module)
    found.uses = uses(trees, served)
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    found.attributes = sorted({node.attr for node in nodes if isinstance(node, ast.Attribute)})
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    found.registers = any(_REGISTERS.fullmatch(name) for name in texts.union(found.attributes)) or _compiled(trees)
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            _registration(found, node.func.attr, node)
    found.missing = sorted({top for tree in trees.values() for top in _imported(tree.body) if not _installed(top)})
    return found


def _registration(found: Survey, name: str, call: ast.Call) -> None:
    if name == "register_web_resource":
        path = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "path"), None)
        if isinstance(path, ast.Constant) and isinstance(path.value, str):
            found.pages.append(path.value)
    elif _REGISTERS.fullmatch(name):
        found.callbacks += [keyword.arg for keyword in call.keywords if keyword.arg]


def _compiled(trees: Iterable[Path]) -> bool:
    """Reports whether beside a package's Python there are parts in another language."""
    return any(other.suffix in (".so", ".pyd") for file in trees if file.name == "__init__.py" for other in file.parent.iterdir())


def _imported(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yields the packages that a file cannot be imported without: those of its first level, outside of try and if."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def _installed(top: str) -> bool:
    try:
        return top in sys.builtin_module_names or importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8", errors="replace"), str(file))


def version(module: str) -> str:
    """Returns the version of the package that a module is from, where it is known."""
    packages = importlib.metadata.packages_distributions().get(module.split(".")[0], [])
    return importlib.metadata.version(packages[0]) if packages else ""


def uses(trees: dict[Path, ast.Module], served: Container[str] = ()) -> list[Use]:
    """Returns the uses of what is out of reach, in order of files and lines. Methods that are served are within reach."""
    found = []
    for file, tree in trees.items():
        attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        within = [part for node in attributes if isinstance(part := _part(node), ast.Attribute) and f"{part.attr}.{node.attr}" in served]
        for node in attributes:
            if _out_of_reach(node) and node not in within:
                found.append(Use(node.attr, str(file), node.lineno))
    return sorted(found, key=lambda use: (use.file, use.line))


def _part(node: ast.Attribute) -> ast.expr:
    """Returns what an attribute is of: of what a call returned, what was called."""
    return node.value.func if isinstance(node.value, ast.Call) else node.value


def _out_of_reach(node: ast.Attribute) -> bool:
    """Reports whether it is one of a ModuleApi or of its homeserver, which its owner's last name tells."""
    owner = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id if isinstance(node.value, ast.Name) else ""
    owner = owner.strip("_")
    if owner in ("hs", "homeserver"):
        return node.attr.startswith("get_") and node.attr not in WITHOUT_DATABASE
    return owner in ("api", "module_api") and node.attr in OUT_OF_REACH


def trees_of(module: str) -> dict[Path, ast.Module]:
    """Returns the parsed files of a module's package. SyntaxError: one of them is not Python."""
    return {file: _parse(file) for file in files_of(module)}


def files_of(module: str) -> list[Path]:
    """Returns the source files of the package, or the file, that a dotted name is in; empty for what has no source."""
    top = module.split(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise ModuleNotFoundError(f"package {top} is not installed in {sys.prefix}")
    if spec.submodule_search_locations:
        return sorted(file for folder in spec.submodule_search_locations for file in Path(folder).rglob("*.py") if "tests" not in file.parts)
    return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []


if __name__ == "__main__":
    json.dump([asdict(survey(module, sys.argv[1].split(","))) for module in sys.argv[2:]], sys.stdout)
