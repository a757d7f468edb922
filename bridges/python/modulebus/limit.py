"""The end of a task's time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def within(seconds: float, *parts: Coroutine[Any, Any, Any]) -> None:
    """Runs coroutines at the same time, and cancels those that take longer. What they raise is dropped: it is for what may fail."""
    tasks = [asyncio.create_task(part) for part in parts]
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # Else it would be logged.
        task.cancel()


class Limit:
    """Cancels the task that makes it when its time is over, unless `over` is called before. asyncio.wait_for would start a task for
    each question, and its own asyncio.timeout is not in Python 3.10."""

    def __init__(self, seconds: float) -> None:
        self.reached = False
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._reach)

    def _reach(self) -> None:
        self.reached = True
        if self._task is not None:
            self._task.cancel()

    def over(self) -> None:
        """Is called when the task needs no end any more, also one that was cancelled by this: it goes on then."""
        self._timer.cancel()
        uncancel = getattr(self._task, "uncancel", None)
        if self.reached and uncancel is not None:
            uncancel()
