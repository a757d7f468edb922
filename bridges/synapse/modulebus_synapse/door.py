"""busd's HTTP door, as a client on Synapse's reactor."""

import http.client
import json
import logging
import os
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from typing import IO, Any
from urllib.parse import urlsplit

from synapse.logging.context import PreserveLoggingContext, make_deferred_yieldable
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError

from modulebus_synapse.answer import Answer
from modulebus_synapse.config import Config
from modulebus_synapse.connection import Closed, Connections, Server

logger = logging.getLogger(__name__)

_CONNECTIONS = 128  # At once.
_SHARE = 0.9  # Of the timeout is busd's, so that it has an answer before this side gives up.
_LEAST = 0.1  # Of the timeout must be left to ask at all.
_WORDS = 10.0  # Seconds between two lines about answers that are late.
_WANTS = 70.0  # Seconds; busd answers within 60.


class Unreachable(Exception):
    """busd could not be asked, or gave no answer in time."""

    def __init__(self, text: str, outage: bool = True):
        super().__init__(text)
        self.outage = outage  # Rather than this one question that took too long.


class Failed(Exception):
    """busd was asked, and there is no decision: a module failed whose policy is to fail."""


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
        """Seconds of patience with busd, for who has waited since then."""
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
            in_time = self.left(began) > self.patience * _LEAST
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


class Door:
    def __init__(self, config: Config, reactor: Any):
        self.config = config
        self.reactor = reactor
        self.server = Server(reactor, config.url, config.timeout)
        self.connections = Connections(reactor, self.server)
        self.slots = Slots(self.reactor, _CONNECTIONS, config.timeout)
        self.away = False
        self.next_word = 0.0
        self.path = urlsplit(config.url).path.encode()
        self.fields = b" HTTP/1.1\r\nHost: %b\r\n" % self.server.uri.netloc
        if config.token:
            self.fields += b"Authorization: Bearer %b\r\n" % config.token.encode()
        milliseconds = max(1, int(config.timeout * _SHARE * 1000))
        self.asking = self.fields + b"X-Modulebus-Timeout: %dms\r\n" % milliseconds
        self.asking_json = self.asking + b"Content-Type: application/json\r\nContent-Length: "

    async def ask(self, callback: str, message: bytes, again: bool, path: str | None = None) -> dict[str, Any]:
        """The decision about a callback, by its category/name. With a path, that file goes along.

        With again, it is asked once more when the connection turns out to be gone: the question has no side effects.
        """
        began = self.reactor.seconds()
        if not await self.slots.acquire():
            raise self._late()
        answered = False
        try:
            send = self._question(callback, message) if path is None else self._upload(callback, message, path)
            answer = await self._exchange(send, again, self.slots.left(began))
            answered = True
        finally:
            self.slots.release(answered)
        if answer.status == 502:
            self._back()
            raise Failed(_reason(answer.body))
        return self._ok(answer)

    def _question(self, callback: str, message: bytes) -> Callable[[bool], "Deferred[Answer]"]:
        line = b"POST %b/_modulebus/v1/ask/%b" % (self.path, callback.encode())
        request = b"%b%b%d\r\n\r\n%b" % (line, self.asking_json, len(message), message)
        return lambda fresh: self.connections.request(request, fresh)

    def _upload(self, callback: str, message: bytes, path: str) -> Callable[[bool], "Deferred[Answer]"]:
        boundary = b"modulebus-" + os.urandom(16).hex().encode()
        part = b"--%b\r\nContent-Disposition: form-data; name=%b\r\nContent-Type: %b\r\n\r\n"
        before = part % (boundary, b'"request"', b"application/json") + message + b"\r\n"
        before += part % (boundary, b'"file"; filename="file"', b"application/octet-stream")
        after = b"\r\n--%b--\r\n" % boundary
        head = b"POST %b/_modulebus/v1/ask/%b" % (self.path, callback.encode()) + self.asking
        head += b"Connection: close\r\nContent-Type: multipart/form-data; boundary=%b\r\n" % boundary

        def send(_: bool) -> "Deferred[Answer]":
            file = open(path, "rb")
            length = len(before) + os.fstat(file.fileno()).st_size + len(after)
            begin = head + b"Content-Length: %d\r\n\r\n" % length + before
            return self.connections.upload(begin, file, after).addBoth(_closing, file)

        return send

    async def _exchange(self, send: Callable[[bool], "Deferred[Answer]"], again: bool, seconds: float) -> Answer:
        """Sends a request, and gives up on it in time. Again is over a fresh connection."""
        limit = Limit(self.reactor, seconds)
        try:
            try:
                return await limit.wait(send(False))
            except Closed:
                if not again:
                    raise
                return await limit.wait(send(True))
        except Exception as e:
            raise self._failure(e, limit.reached) from None
        finally:
            limit.over()

    def _failure(self, e: Exception, late: bool) -> Exception:
        """What it means for the asker that an exchange ended so."""
        if isinstance(e, (CancelledError, ConnectingCancelledError)) and not late:
            return CancelledError()  # Synapse has given up.
        if late and not isinstance(e, (ConnectError, ConnectingCancelledError)):
            return self._late()
        return self._gone(f"cannot reach busd at {self.config.url}: {str(e) or type(e).__name__}")

    def _ok(self, answer: Answer) -> dict[str, Any]:
        if answer.status != 200:
            raise self._gone(f"busd answered {answer.status}: {_reason(answer.body)}")
        self._back()
        return _object(answer.body)

    def _late(self) -> Unreachable:
        """One question took too long. That busd is there is all that others need."""
        text = f"busd gave no answer within {self.config.timeout:g} s"
        now = self.reactor.seconds()
        if now >= self.next_word:
            self.next_word = now + _WORDS
            logger.warning("%s", text)
        return Unreachable(text, outage=False)

    def _gone(self, text: str) -> Unreachable:
        if not self.away:
            self.away = True
            logger.error("%s; until it is back, callbacks do as on_failure says", text)
        return Unreachable(text)

    def _back(self) -> None:
        if self.away:
            self.away = False
            logger.info("busd is back")

    def close(self) -> Any:
        return self.connections.close()

    async def wants(self, after: int) -> dict[str, Any]:
        """What is wanted, when it is something else than in revision after."""
        request = b"GET %b/_modulebus/v1/wants?after=%d%b\r\n" % (self.path, after, self.fields)
        return self._ok(await self._exchange(lambda fresh: self.connections.request(request, fresh), True, _WANTS))

    def wants_now(self) -> dict[str, Any] | None:
        """What is wanted, at once. It blocks: it is for the start, when nothing is served yet."""
        try:
            return self._wants_now()
        except Unreachable as e:
            self._gone(str(e))
        except (OSError, ValueError, http.client.HTTPException) as e:
            self._gone(f"cannot reach busd at {self.config.url}: {str(e) or type(e).__name__}")
        return None

    def _wants_now(self) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.config.url}/_modulebus/v1/wants")
        if self.config.token:
            request.add_header("Authorization", f"Bearer {self.config.token}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=self.config.timeout) as response:
                return _object(response.read())
        except urllib.error.HTTPError as e:
            raise Unreachable(f"busd answered {e.code}: {_reason(e.read())}") from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unreachable("busd answered something that is not its JSON; is the url right?")
    return found


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return "without a reason"


def _closing(result: Any, file: IO[bytes]) -> Any:
    file.close()
    return result
