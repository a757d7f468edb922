"""busd's HTTP door, as a client on Synapse's reactor."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from typing import IO, Any
from urllib.parse import quote, urlsplit

import attr
from synapse.logging.context import make_deferred_yieldable
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.task import deferLater

from modulebus_synapse.answer import Answer
from modulebus_synapse.blocking import fetch
from modulebus_synapse.config import Config
from modulebus_synapse.connection import Closed, Connections, Server
from modulebus_synapse.patience import Breaker, Budget, Budgets, patience
from modulebus_synapse.slots import LEAST, Slots
from modulebus_synapse.tracing import traceparent

logger = logging.getLogger(__name__)

_CONNECTIONS = 128
"""How many questions one process of Synapse asks at once. Beyond: they wait their turn, while busd answers others."""

_FOREIGN = "busd answered something that is not its JSON; is the url right?"
_SHARE = 0.9  # Of the time is busd's, so that it has an answer before this side gives up.
_WORDS = 10.0  # Seconds between two lines about questions that got no answer.
_WHILE = 2.0  # Seconds for which a poll is open whose connection is not closed because nobody is there.
_AGAIN = (0.05, 0.25)  # Seconds until a busd that restarts is asked again: at first, and at most.
_SILENCE = 0.5  # Seconds for which nobody asks a busd that says it cannot be asked now, so that it sees an end and restarts.

_POLL = 25.0
"""How many seconds a poll for what is wanted takes, less than common proxies wait. Beyond: it is answered with what is known already."""

_START = 5.0
"""How many seconds the start of Synapse waits for a busd that starts as well. Beyond: on_failure holds for each callback that decides."""

_OF_THE_QUESTION = (400, 406, 413, 415, 422, 431)
"""Statuses that what is in a question can have caused, of busd or of a proxy that has limits and rules of its own."""

_RESTART = 10.0
"""How many seconds a busd that is away may just be restarting. Beyond: no question waits for it."""


class Unreachable(Exception):
    """busd could not be asked, or gave no answer in time."""

    def __init__(self, text: str, outage: bool = True):
        super().__init__(text)
        self.outage = outage  # Rather than this one question that took too long.


class Held(Unreachable):
    """A user's request has been held for as long as it may be, so the question got less time than its modules may take."""


class Failed(Exception):
    """busd was asked, and there is no decision: a module failed whose policy is to fail."""

    def __init__(self, text: str, body: dict[str, Any]):
        super().__init__(text)
        self.body = body


class _Late(Exception):
    """There was no answer in time."""


class _Unreadable(Exception):
    """JSON that Python does not read, as it is nested too deeply or has a number of too many digits; or that is no answer."""


class Refused(Exception):
    """busd does not take this one question, whatever others it takes, or what it answers to it cannot be read."""


@attr.s(auto_attribs=True, frozen=True, slots=True)
class Question:
    callback: str  # category/name
    message: bytes  # JSON.
    seconds: float  # In which there has to be an answer.
    again: bool = False  # Asking twice does nothing twice.
    path: str | None = None  # Of a file that goes along.
    bounded: bool = True  # By what a user's request may be held for in all.


Send = Callable[[bool], "Deferred[Answer]"]  # With whether it has to be over a fresh connection.
Ours = Callable[[dict[str, Any]], object]  # Whether it is busd that says this.


class Limit:
    """The end of an exchange's time, at which what it waits for is cancelled."""

    def __init__(self, reactor: Any, seconds: float):
        self.reached = False
        self.outcome: Deferred[Any] | None = None
        self.timer = reactor.callLater(max(0, seconds), self._reach)

    def _reach(self) -> None:
        self.reached = True
        if self.outcome is not None:
            self.outcome.cancel()

    async def wait(self, outcome: "Deferred[Answer]") -> Answer:
        self.outcome = outcome
        return await make_deferred_yieldable(outcome)

    def over(self) -> None:
        if self.timer.active():
            self.timer.cancel()


class Door:
    def __init__(self, config: Config, reactor: Any, server_name: str = ""):
        self.config = config
        self.reactor = reactor
        self.server_name = server_name
        self.server = Server(reactor, config.url, config.timeout, config.ca_file)
        self.connections = Connections(reactor, self.server)
        self.slots = Slots(self.reactor, _CONNECTIONS, config.timeout)
        self.budgets, self.breaker = Budgets(), Breaker()
        self.away_since: float | None = None
        self.told_away = False  # The log says so.
        self.recognised = False  # busd has said what is wanted, as nothing else does. Until then nothing is asked.
        self.next_word = 0.0
        self.not_before = 0.0  # Nobody asks earlier.
        self.path = urlsplit(config.url).path.encode()
        self.fields = b" HTTP/1.1\r\nHost: %b\r\n" % self.server.uri.netloc
        if config.token:
            self.fields += b"Authorization: Bearer %b\r\n" % config.token.encode()

    @property
    def away(self) -> bool:
        return self.away_since is not None

    async def ask(self, question: Question) -> dict[str, Any]:
        """The decision about a callback.

        A request of a user is held no longer than the question's time, in all. After that, only answers that come
        quickly are waited for, so that many of them fail nothing. A question that is not bounded has all of its time, and
        takes none of the others'. While busd is only restarting, the question waits for it.
        """
        began = self.reactor.seconds()
        budget = self.budgets.current()
        bounded = question.bounded and budget.users
        if bounded and budget.spent:
            raise self._held(question.seconds)
        if question.seconds - budget.waited <= question.seconds * LEAST or not self.breaker.enter():
            raise self._late(question.seconds)
        answered: bool | None = False
        if bounded:
            budget.begin(began)
        try:
            answer = await self._answer(question, began, budget)
            answered = True
        except (Unreachable, CancelledError) as e:
            answered = None if isinstance(e, Held) else isinstance(e, CancelledError) or e.outage
            budget.missed(began, self.reactor.seconds())
            raise
        finally:
            if bounded:
                budget.end(self.reactor.seconds())
            self.breaker.leave(answered)
        return self._decision(question, answer)

    async def _answer(self, question: Question, began: float, budget: Budget) -> Answer:
        """What busd answers when it is its turn to."""
        if not await self.slots.acquire():
            raise self._late(question.seconds)
        progress = False
        now = self.reactor.seconds()
        held = budget.answered(now) if question.bounded and budget.users else 0.0
        short = held > question.seconds * (1 - _SHARE)  # Of time that its modules may take.
        try:
            end = now + self.slots.left(began) + question.seconds - self.config.timeout - budget.waited
            answer = await self._patiently(question, end, now + patience(question.seconds, held))
            progress = True
            return answer
        except (_Late, Unreachable) as e:
            if short:
                budget.spent = True
                raise self._held(question.seconds) from None
            raise self._late(question.seconds) if isinstance(e, _Late) else e from None
        finally:
            self.slots.release(progress)

    async def _patiently(self, question: Question, end: float, limit: float) -> Answer:
        """Asks, and asks a busd that restarts once more, as long as there is time left.

        Busd has until the end. The limit, which may be earlier, is this side's alone, so that a user whose requests are
        many questions makes no module seem slow.
        """
        pause = _AGAIN[0]
        while True:
            now = self.reactor.seconds()
            if self.not_before >= min(end, limit):
                raise self._gone("busd has asked not to be asked now, for longer than there is time left")
            await self._sleep(self.not_before - now)
            now = self.reactor.seconds()
            seconds, patience = max(end - now, 0.001), max(min(end, limit) - now, 0.001)
            failure: Exception | str | None
            try:
                answer = await self._exchange(self._sender(question, seconds), question.again, patience)
                failure = _restarting(answer, question.again)
                if answer.field(b"retry-after"):
                    self.not_before = self.reactor.seconds() + _SILENCE
            except (ConnectError, Closed) as e:
                failure = e
            if failure is None:
                return answer
            self._missed()
            wait = max(pause, self.not_before - self.reactor.seconds())
            if not self._may_be_back(failure, question, min(end, limit) - wait):
                raise self._gone(failure)
            self.connections.drop()
            await self._sleep(wait)
            pause = min(2 * pause, _AGAIN[1])

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            await make_deferred_yieldable(deferLater(self.reactor, seconds))

    def _may_be_back(self, failure: Exception | str, question: Question, end: float) -> bool:
        """Whether busd may be just restarting, and can be asked the same in time."""
        if isinstance(failure, Closed) and not question.again:
            return False
        now = self.reactor.seconds()
        in_time = end - now > question.seconds * LEAST
        return in_time and self.away_since is not None and now - self.away_since < _RESTART

    def _sender(self, question: Question, seconds: float) -> Send:
        head = b"POST %b/_modulebus/v1/ask/%b" % (self.path, question.callback.encode()) + self.fields
        head += b"X-Modulebus-Timeout: %dms\r\n" % max(1, round(seconds * _SHARE * 1000))
        if (span := traceparent()) is not None:
            head += b"traceparent: %b\r\n" % span
        if question.path is not None:
            return self._upload(head, question.message, question.path)
        request = b"%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        whole = request % (head, len(question.message), question.message)
        return lambda fresh: self.connections.request(whole, fresh)

    def _upload(self, head: bytes, message: bytes, path: str) -> Send:
        boundary = b"modulebus-" + os.urandom(16).hex().encode()
        part = b"--%b\r\nContent-Disposition: form-data; name=%b\r\nContent-Type: %b\r\n\r\n"
        before = part % (boundary, b'"request"', b"application/json") + message + b"\r\n"
        before += part % (boundary, b'"file"; filename="file"', b"application/octet-stream")
        after = b"\r\n--%b--\r\n" % boundary
        head += b"Connection: close\r\nContent-Type: multipart/form-data; boundary=%b\r\n" % boundary

        def send(_: bool) -> "Deferred[Answer]":
            file = open(path, "rb")
            length = len(before) + os.fstat(file.fileno()).st_size + len(after)
            begin = head + b"Content-Length: %d\r\n\r\n" % length + before
            return self.connections.upload(begin, file, after, Answer()).addBoth(_closing, file)

        return send

    async def _exchange(self, send: Send, again: bool, seconds: float) -> Answer:
        """Sends a request, and gives up on it in time. Again is over a fresh connection.

        Raises ConnectError or Closed where busd is away, _Late, or CancelledError where Synapse has given up.
        """
        limit = Limit(self.reactor, seconds)
        try:
            try:
                return await limit.wait(send(False))
            except Closed:
                if not again:
                    raise
                return await limit.wait(send(True))
        except (CancelledError, ConnectingCancelledError) as e:
            if not limit.reached:
                raise CancelledError() from None  # Synapse has given up.
            if isinstance(e, ConnectingCancelledError):
                raise self._gone(e) from None
            raise _Late() from None
        except (ConnectError, Closed):
            raise
        except Exception as e:
            raise self._gone(e) from None
        finally:
            limit.over()

    def _decision(self, question: Question, answer: Answer) -> dict[str, Any]:
        """What an answer to a question says."""
        if answer.status == 502 and _has(answer, "failure"):
            self._back()
            raise Failed(_reason(answer), _fields(answer))
        if _of_the_question(answer):
            if _has(answer, "errcode"):
                self._back()
            raise self._refused(f"busd does not take a question about {question.callback}: {answer.status}, {_reason(answer)}")
        if answer.status == 504:  # Of a proxy that waits for less time than this side.
            raise self._late(question.seconds)
        try:
            found = self._ok(answer, lambda found: not self.recognised or revision(found))
            if not isinstance(found.get("answer") or {}, dict):
                raise _Unreadable("the answer is not an object")
            return found
        except _Unreadable as e:
            raise self._refused(f"cannot read what busd answers about {question.callback}: {e}") from None

    def _refused(self, text: str) -> Refused:
        self._say(text)
        return Refused(text)

    def _ok(self, answer: Answer, ours: Ours) -> dict[str, Any]:
        """What it says, where ours finds that it is busd's."""
        if answer.status != 200:
            raise self._gone(_said(answer))
        found = _object(answer)
        if found is None or not ours(found):
            raise self._gone(_FOREIGN)
        self._back()
        return found

    def _late(self, seconds: float) -> Unreachable:
        """One question took too long. That busd is there is all that others need."""
        text = f"busd gave no answer within {seconds:g} s"
        self._say(text)
        return Unreachable(text, outage=False)

    def _held(self, seconds: float) -> Held:
        text = f"a request of a user got no answer in what earlier ones left of its {seconds:g} s: what it decides fails"
        self._say(text)
        return Held(text, outage=False)

    def _say(self, text: str) -> None:
        """Says something that may happen to many questions, every few seconds."""
        now = self.reactor.seconds()
        if now >= self.next_word:
            self.next_word = now + _WORDS
            logger.warning("%s", text)

    def _missed(self) -> None:
        """Remembers since when busd is away. The log says it when somebody feels it."""
        if self.away_since is None:
            self.away_since = self.reactor.seconds()

    def _gone(self, reason: Exception | str) -> Unreachable:
        self._missed()
        text = reason if isinstance(reason, str) else f"cannot reach busd at {self.config.url}: {reason or type(reason).__name__}"
        if not self.told_away:
            self.told_away = True
            logger.error("%s; until it is back, callbacks do as on_failure says", text)
        return Unreachable(text)

    def _back(self) -> None:
        if self.told_away:
            logger.info("busd is back")
        self.away_since, self.told_away = None, False

    def close(self) -> Any:
        return self.connections.close()

    async def wants(self, after: int) -> dict[str, Any] | None:
        """What is wanted, when it is something else than in revision after. None when there was no news for a while.

        Proxies end a poll with 504, or close its connection, when it takes longer than they wait. Of a busd that is gone,
        the next one hears at once.
        """
        request = self._wants(b"&after=%d&wait=%ds" % (after, _POLL)) + b"\r\n"
        began = self.reactor.seconds()
        try:
            answer = await self._exchange(lambda fresh: self.connections.request(request, fresh), True, _POLL + 5.0)
        except Closed as e:
            if self.reactor.seconds() - began >= _WHILE:
                return None
            raise self._gone(e) from None
        except ConnectError as e:
            raise self._gone(e) from None
        except _Late:
            return None
        return None if answer.status == 504 else self._wanted(answer, tells)

    def _wanted(self, answer: Answer, ours: Ours) -> dict[str, Any]:
        try:
            found = self._ok(answer, ours)
        except _Unreadable as e:
            raise self._gone(f"cannot read what busd answers: {e}") from None
        self.recognised = self.recognised or tells(found)
        return found

    def wants_now(self) -> dict[str, Any] | None:
        """What is wanted. It blocks: it is for the start, when nothing is served yet, and waits for a busd that starts, too."""
        request = self._wants(b"") + b"Connection: close\r\n\r\n"
        end = time.monotonic() + _START
        while True:
            coming = False
            try:
                answer = fetch(self.config.url, request, self.config.timeout, self.config.ca_file)
                coming = _restarting(answer, True) is not None
                return self._wanted(answer, lambda _: True)  # The caller looks who says it.
            except (OSError, ValueError) as e:
                coming = isinstance(e, (ConnectionRefusedError, ConnectionResetError, TimeoutError))
                self._gone(e)
            except Unreachable:
                pass
            if not coming or time.monotonic() >= end:
                return None
            time.sleep(_AGAIN[1])

    def _wants(self, more: bytes) -> bytes:
        name = quote(self.server_name, safe="").encode()
        return b"GET %b/_modulebus/v1/wants?server_name=%b%b%b" % (self.path, name, more, self.fields)


def revision(found: dict[str, Any]) -> int:
    """The revision of the roster, which busd says in each answer. 0 where it is not busd that answers, or it has no roster yet."""
    number = found.get("roster_revision")
    return number if isinstance(number, int) else 0


def tells(found: dict[str, Any]) -> bool:
    """Whether it is busd that says what is wanted, and knows."""
    return revision(found) > 0 and isinstance(found.get("callbacks"), dict)


def _restarting(answer: Answer, again: bool) -> str | None:
    """What busd, or a proxy in front of it, says while it restarts and has not taken the question."""
    refused = answer.status == 503 and (again or answer.field(b"retry-after"))
    lost = answer.status == 502 and again and not _has(answer, "failure")
    return _said(answer) if refused or lost else None


def _said(answer: Answer) -> str:
    return f"busd answered {answer.status}: {_reason(answer)}"


def _object(answer: Answer) -> dict[str, Any] | None:
    """Raises _Unreadable."""
    try:
        found = json.loads(answer.body)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    except (ValueError, RecursionError) as e:
        raise _Unreadable(str(e)) from None
    return found if isinstance(found, dict) else None


def _fields(answer: Answer) -> dict[str, Any]:
    """What an error says, where it says something."""
    try:
        return _object(answer) or {}
    except _Unreadable:
        return {}


def _of_the_question(answer: Answer) -> bool:
    """Whether what is in the question may be why it was not taken. A 403 of busd itself is about the token."""
    return answer.status in _OF_THE_QUESTION or answer.status == (404 if _has(answer, "errcode") else 403)


def _has(answer: Answer, field: str) -> bool:
    return field in _fields(answer)


def _reason(answer: Answer) -> str:
    return str(_fields(answer).get("error", "without a reason"))


def _closing(result: Any, file: IO[bytes]) -> Any:
    file.close()
    return result
