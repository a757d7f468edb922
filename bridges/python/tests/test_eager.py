import asyncio
from typing import Any

import pytest
from twisted.internet import defer

from modulebus.synapse import eager


class Passing:
    """Is waited for once, and then has a result, or raises."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    def __await__(self) -> Any:
        yield self
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


async def adds(*awaited: Any) -> int:
    return sum([await a for a in awaited])


async def test_coroutine_that_waits_for_nothing_is_done_at_once() -> None:
    running = eager.begin(adds(eager.Done(1), eager.Done(2)))
    assert running == eager.Done(3)
    assert await running == 3


async def divides() -> None:
    raise ZeroDivisionError


async def test_what_a_coroutine_raises_at_once_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        eager.begin(divides())


def test_coroutine_that_waits_goes_on_where_it_was() -> None:
    first, second = defer.Deferred[int](), defer.Deferred[int]()
    running = eager.begin(adds(first, eager.Done(10), second))
    assert asyncio.iscoroutine(running)  # As Synapse asks.
    outcome: list[Any] = []
    defer.ensureDeferred(running).addBoth(outcome.append)
    first.callback(1)
    assert not outcome
    second.callback(100)
    assert outcome == [111]


def test_coroutine_that_waits_hears_of_failures_and_of_cancellation() -> None:
    heard: list[BaseException] = []

    async def waits(deferred: Any) -> str:
        try:
            await deferred
        except (ValueError, defer.CancelledError) as error:
            heard.append(error)
        return "goes on"

    for end in (lambda d, waiting: d.errback(ValueError()), lambda d, waiting: waiting.cancel()):
        deferred: Any = defer.Deferred()
        waiting = defer.ensureDeferred(eager.begin(waits(deferred)))
        end(deferred, waiting)
        outcome: list[Any] = []
        waiting.addBoth(outcome.append)
        assert outcome == ["goes on"]
    assert [type(e) for e in heard] == [ValueError, defer.CancelledError]


def test_coroutine_that_is_dropped_is_closed() -> None:
    closed: list[bool] = []

    async def waits() -> None:
        try:
            await Passing(None)
        finally:
            closed.append(True)

    running: Any = eager.begin(waits())
    running.send(None)
    running.close()
    assert closed == [True]
