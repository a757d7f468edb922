"""Keeps what is declared secret out of what is logged about a question. See docs/adr/0046-secrets-are-declared-and-looked-for.md."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

MARK = "[redacted]"
SHORTEST = 4  # characters of what is looked for: what is shorter stands in other words by chance


def text(said: str, about: object) -> str:
    """Returns what is said about a question, such as a traceback, without the values of its fields that are secret, as they are and as
    JSON and Python write them. What has no such fields leaves the text as it is."""
    for value in sorted(set(_spellings(about)), key=len, reverse=True):
        said = said.replace(value, MARK)
    return said


def _spellings(about: object) -> Iterator[str]:
    for value in _secrets(about):
        if len(value) >= SHORTEST:
            yield from (value, json.dumps(value)[1:-1], repr(value)[1:-1])


def _secrets(value: Any, secret: bool = False) -> Iterator[str]:
    """Yields what is in fields that are no part of their message's repr: those with debug_redact in schemas/."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for f in dataclasses.fields(value):
            yield from _secrets(getattr(value, f.name), secret or not f.repr)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _secrets(one, secret)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _secrets(one, secret)
    elif secret and isinstance(value, bytes):
        yield value.decode(errors="replace")
    elif secret and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)
