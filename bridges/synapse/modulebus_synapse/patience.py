"""For how long answers are waited for that do not come."""

import weakref
from typing import Any

from synapse.logging.context import current_context

_UNANSWERED = 3
"""How many questions in a row may get no answer. Beyond: one question at a time is asked, until one is answered."""


class Budgets:
    """How long each request of a user has waited for answers that did not come: of all its questions together."""

    def __init__(self) -> None:
        self._waited: dict[int, tuple[weakref.ref[Any], float]] = {}

    def waited(self) -> float:
        """Seconds that the current request has waited. What is no request of anybody has no budget."""
        return self._waited.get(id(_request()), (None, 0.0))[1]

    def wait(self, seconds: float) -> None:
        """Says that the current request has waited for nothing."""
        request = _request()
        if request is not None:
            key = id(request)
            self._waited[key] = (weakref.ref(request, lambda _: self._waited.pop(key, None)), self.waited() + seconds)


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

    def leave(self, answered: bool) -> None:
        self.probing = False
        self.unanswered = 0 if answered else self.unanswered + 1
