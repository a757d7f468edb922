"""The end of a task's time."""

from __future__ import annotations

import asyncio


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
