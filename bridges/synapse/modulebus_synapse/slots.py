"""How many may ask at once, and for how long others wait their turn."""

from collections import deque
from typing import Any

from synapse.logging.context import PreserveLoggingContext, make_deferred_yieldable
from twisted.internet.defer import Deferred

LEAST = 0.1  # Of the patience must be left to ask at all.


class Slots:
    """Lets so many ask at once, and others wait their turn, for as long as there is progress.

    Synapse may want to know of ten thousand events at once, which is more than there can be connections. What counts
    as waiting for busd is the time in which busd has answered nobody.
    """

    def __init__(self, reactor: Any, count: int, patience: float):
        self.reactor, self.free, self.patience = reactor, count, patience
        self.progress = 0.0
        self.waiting: deque[tuple[Deferred[bool], float]] = deque()  # With the time since when.
        self.timer: Any = None  # While somebody is waiting.

    def left(self, began: float) -> float:
        """Seconds for which a request that has waited since then goes on waiting for busd."""
        return max(began, self.progress) + self.patience - float(self.reactor.seconds())

    async def acquire(self) -> bool:
        """Whether there was a slot in time."""
        if self.free > 0:
            self.free -= 1
            return True
        turn: Deferred[bool] = Deferred(self._forget)
        self.waiting.append((turn, self.reactor.seconds()))
        self._watch()
        return await make_deferred_yieldable(turn)

    def release(self, progress: bool) -> None:
        if progress:
            self.progress = self.reactor.seconds()
        while self.waiting:
            turn, began = self.waiting.popleft()
            in_time = self.left(began) > self.patience * LEAST
            with PreserveLoggingContext():
                turn.callback(in_time)
            if in_time:
                return
        self.free += 1
        self._watch()

    def _watch(self) -> None:
        """Sees to it that the first in the queue, whose patience ends first, does not wait longer than that."""
        if self.timer is not None and not self.waiting:
            self.timer.cancel()
            self.timer = None
        elif self.timer is None and self.waiting:
            self.timer = self.reactor.callLater(max(0.001, self.left(self.waiting[0][1])), self._expire)

    def _expire(self) -> None:
        self.timer = None
        while self.waiting and self.left(self.waiting[0][1]) <= 0:
            self.waiting.popleft()[0].callback(False)
        self._watch()

    def _forget(self, turn: "Deferred[bool]") -> None:
        self.waiting = deque(w for w in self.waiting if w[0] is not turn)
