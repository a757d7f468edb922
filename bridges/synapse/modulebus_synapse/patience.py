"""For how long answers are waited for that do not come."""

from __future__ import annotations

import weakref
from typing import Any

import attr
from synapse.logging.context import current_context

_UNANSWERED = 3
"""How many questions in a row may get no answer. Beyond: one question at a time is asked, until one is answered."""


_QUICK = 20
"""How many hundredths of `timeout` a question has when the answers to earlier ones of its request took all of it. Beyond: what decides fails, whatever its policy."""

_USERS = ("/_matrix/client/", "/_matrix/media/", "/_synapse/client/")  # Whose requests are users', and not other servers'.


@attr.s(auto_attribs=True, slots=True)
class Budget:
    """For how long the questions of one request have held it."""

    users: bool  # And not another server's, or nobody's.
    waited: float = 0.0  # Seconds for answers that did not come.
    spent: bool = False  # A question of a request that was held for its time did not come quickly.
    _over: float = 0.0  # Seconds of questions that are over.
    _pending: int = 0
    _since: float = 0.0  # When the first of those that are pending began.
    _missed: list[tuple[float, float]] = attr.Factory(list)  # What was waited for answers that did not come, from when to when.

    def begin(self, now: float) -> None:
        self._since = self._since if self._pending else now
        self._pending += 1

    def end(self, now: float) -> None:
        self._pending -= 1
        if not self._pending:
            self._over += now - self._since

    def missed(self, began: float, now: float) -> None:
        """Counts the wait for an answer that did not come. What was waited for several at the same time counts once."""
        while self._missed and self._missed[-1][1] > began:
            start, end = self._missed.pop()
            self.waited -= end - start
            began = min(began, start)
        self._missed.append((began, now))
        self.waited += now - began

    def answered(self, now: float) -> float:
        """Seconds for which answers that came held it."""
        held = self._over + (now - self._since if self._pending else 0.0)
        return max(0.0, held - self.waited)


def patience(seconds: float, answered: float) -> float:
    """For how long a question that may take so long is waited for, when answers have held its request for that time."""
    return max(seconds - answered, seconds * _QUICK / 100)


class Budgets:
    """The budget of each request, for as long as it lasts."""

    def __init__(self) -> None:
        self._budgets: dict[int, tuple[weakref.ref[Any], Budget]] = {}

    def current(self) -> Budget:
        """That of the current request. What is no request has a new one for each question."""
        request = _request()
        if request is None:
            return Budget(users=False)
        key = id(request)
        if key not in self._budgets:
            gone = weakref.ref(request, lambda _: self._budgets.pop(key, None))
            self._budgets[key] = gone, Budget(str(request.url).startswith(_USERS))
        return self._budgets[key][1]


def _request() -> Any:
    """What Synapse keeps of a request for as long as it lasts, also in what the request starts."""
    return getattr(current_context(), "request", None)


class Breaker:
    """Lets one question at a time through to a busd that gives no answers, until it gives one."""

    def __init__(self) -> None:
        self.unanswered = 0
        self.probing = False

    @property
    def open(self) -> bool:
        return self.unanswered >= _UNANSWERED

    def enter(self) -> bool:
        """Whether a question may be asked. Leave has to be called if so."""
        if not self.open:
            return True
        if self.probing:
            return False
        self.probing = True
        return True

    def leave(self, answered: bool | None) -> None:
        """None says nothing of busd: the question was given up before busd's time was over."""
        self.probing = False
        if answered is not None:
            self.unanswered = 0 if answered else self.unanswered + 1
