"""Coroutines that wait for nothing, as most callbacks are, and for which Twisted's Deferreds cost more than they do."""

from __future__ import annotations

import functools
import types
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Done(Generic[Result]):
    """An awaitable whose result is there."""

    result: Result

    def __await__(self) -> Generator[Any, Any, Result]:
        return self.result
        yield


def begin(coroutine: Coroutine[Any, Any, Result]) -> Done[Result] | Coroutine[Any, Any, Result]:
    """Runs a coroutine until it waits for something or ends, as ensureDeferred does, and returns what to await for its result. What it
    raises so early is raised."""
    try:
        awaited = coroutine.send(None)
    except StopIteration as end:
        return Done(end.value)
    return _rest(coroutine, awaited)


async def _rest(coroutine: Coroutine[Any, Any, Result], awaited: Any) -> Result:
    return await _go_on(coroutine, awaited)


@types.coroutine
def _go_on(coroutine: Coroutine[Any, Any, Result], awaited: Any) -> Generator[Any, Any, Result]:
    """Passes on what a coroutine that has begun waits for, and what comes of that."""
    while True:
        try:
            step = functools.partial(coroutine.send, (yield awaited))
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            step = functools.partial(coroutine.throw, error)
        try:
            awaited = step()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
