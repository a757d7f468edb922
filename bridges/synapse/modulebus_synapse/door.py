"""busd's HTTP door, as a client on Synapse's reactor."""

import json
import logging
import os
import urllib.request
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import IO, Any, TypeVar

from synapse.logging.context import make_deferred_yieldable, run_in_background
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.task import cooperate
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseFailed,
    readBody,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from modulebus_synapse.config import Config

logger = logging.getLogger(__name__)

T = TypeVar("T")

_CONNECTIONS = 128  # At once; they are kept alive.
_IDLE = 60.0  # Seconds; busd keeps them longer.
_SHARE = 0.9  # Of the timeout is busd's, so that it has an answer before this side gives up.
_LEAST = 0.1  # Of the timeout must be left to ask at all.
_CHUNK = 1 << 16
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
    """The end of an exchange's time, at which it is cancelled."""

    reached = False

    def reach(self, outcome: "Deferred[Any]") -> None:
        self.reached = True
        outcome.cancel()


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

    def acquire(self) -> "Deferred[bool]":
        """Fires with whether there was a slot in time."""
        if self.free > 0:
            self.free -= 1
            return succeed(True)
        turn: Deferred[bool] = Deferred(self._forget)
        self.waiting.append((turn, self.reactor.seconds()))
        self._watch()
        return turn

    def release(self, progress: bool) -> None:
        if progress:
            self.progress = self.reactor.seconds()
        while self.waiting:
            turn, began = self.waiting.popleft()
            if self.left(began) > self.patience * _LEAST:
                turn.callback(True)
                return
            turn.callback(False)
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


@implementer(IAgentEndpointFactory)
class Endpoints:
    """Connects, and says at once that it cannot: Twisted's own way is to wait for another address of the host's."""

    def __init__(self, reactor: Any, timeout: float):
        self.reactor, self.timeout = reactor, timeout
        self.policy = BrowserLikePolicyForHTTPS()

    def endpointForURI(self, uri: URI) -> Any:
        endpoint: Any
        host = uri.host.decode("ascii").strip("[]")
        if isIPAddress(host):
            endpoint = TCP4ClientEndpoint(self.reactor, host, uri.port, self.timeout)
        elif isIPv6Address(host):
            endpoint = TCP6ClientEndpoint(self.reactor, host, uri.port, self.timeout)
        else:
            endpoint = HostnameEndpoint(self.reactor, host, uri.port, self.timeout, attemptDelay=0.02)
        if uri.scheme == b"https":
            return wrapClientTLS(self.policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return endpoint


@implementer(IBodyProducer)
class BytesBody:
    """A body that is there already."""

    def __init__(self, body: bytes):
        self.body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> "Deferred[None]":
        consumer.write(self.body)
        return succeed(None)

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


@implementer(IBodyProducer)
class StreamBody:
    """A file, with something before it and behind it, of which a chunk is in memory at a time."""

    def __init__(self, file: IO[bytes], size: int, head: bytes = b"", tail: bytes = b""):
        self.file, self.head, self.tail = file, head, tail
        self.length = len(head) + size + len(tail)
        self.task: Any = None

    def startProducing(self, consumer: Any) -> "Deferred[None]":
        self.task = cooperate(self._write(consumer))
        done: Deferred[Any] = self.task.whenDone()
        return done.addCallback(lambda _: None)

    def _write(self, consumer: Any) -> Iterator[None]:
        consumer.write(self.head)
        while chunk := self.file.read(_CHUNK):
            consumer.write(chunk)
            yield
        consumer.write(self.tail)

    def pauseProducing(self) -> None:
        if self.task:
            self.task.pause()

    def resumeProducing(self) -> None:
        if self.task:
            self.task.resume()

    def stopProducing(self) -> None:
        if self.task:
            self.task.stop()


class Door:
    def __init__(self, config: Config, reactor: Any):
        self.config = config
        self.reactor = reactor
        self.pool = pool = HTTPConnectionPool(reactor, persistent=True)
        pool.maxPersistentPerHost = _CONNECTIONS
        pool.cachedConnectionTimeout = int(_IDLE)
        self.endpoints = Endpoints(reactor, config.timeout)
        self.agent = Agent.usingEndpointFactory(reactor, self.endpoints, pool)
        # busd answers before it has read all of a file. What such a connection has left in it is not to be reused.
        single = HTTPConnectionPool(reactor, persistent=False)
        self.uploader = Agent.usingEndpointFactory(reactor, self.endpoints, single)
        self.headers = Headers({b"Content-Type": [b"application/json"]})
        if config.token:
            self.headers.addRawHeader(b"Authorization", b"Bearer " + config.token.encode())
        asking = self.headers.copy()
        asking.addRawHeader(b"X-Modulebus-Timeout", b"%dms" % max(1, int(config.timeout * _SHARE * 1000)))
        self.asking = asking
        self.slots = Slots(self.reactor, _CONNECTIONS, config.timeout)
        self.away = False
        self.next_word = 0.0

    async def ask(self, callback: str, message: bytes, again: bool, path: str | None = None) -> dict[str, Any]:
        """The decision about a callback, by its category/name. With a path, that file goes along.

        With again, it is asked once more when the connection turns out to be gone: the question has no side effects.
        """
        url = f"{self.config.url}/_modulebus/v1/ask/{callback}".encode()

        async def exchange(limit: Limit) -> tuple[int, bytes]:
            try:
                return await self._post(url, message, path)
            except (ResponseFailed, RequestTransmissionFailed) as e:
                if not again or limit.reached or _cancelled(e):
                    raise
                return await self._post(url, message, path)

        began = self.reactor.seconds()
        if not await make_deferred_yieldable(self.slots.acquire()):
            raise self._late()
        answered = False
        try:
            status, body = await self._within(self.slots.left(began), exchange)
            answered = True
        finally:
            self.slots.release(answered)
        if status == 200:
            self._back()
            return _object(body)
        if status == 502:
            self._back()
            raise Failed(_reason(body))
        text = f"busd answered {status}: {_reason(body)}"
        self._gone(text)
        raise Unreachable(text)

    async def _post(self, url: bytes, message: bytes, path: str | None) -> tuple[int, bytes]:
        if path is None:
            return await self._read(b"POST", url, self.asking, BytesBody(message))
        boundary = b"modulebus-" + os.urandom(16).hex().encode()
        headers = self.asking.copy()
        headers.setRawHeaders(b"Content-Type", [b"multipart/form-data; boundary=" + boundary])
        part = b"--%b\r\nContent-Disposition: form-data; name=%b\r\nContent-Type: %b\r\n\r\n"
        head = part % (boundary, b'"request"', b"application/json") + message + b"\r\n"
        head += part % (boundary, b'"file"; filename="file"', b"application/octet-stream")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            body = StreamBody(file, size, head, b"\r\n--%b--\r\n" % boundary)
            return await self._read(b"POST", url, headers, body, self.uploader)

    async def _read(
        self, method: bytes, url: bytes, headers: Headers, body: Any = None, agent: Agent | None = None
    ) -> tuple[int, bytes]:
        response = await (agent or self.agent).request(method, url, headers, body)
        return response.code, await readBody(response)

    async def _within(self, seconds: float, exchange: Callable[["Limit"], Awaitable[T]]) -> T:
        """Runs the exchange, and gives up on it in time."""
        limit = Limit()
        outcome: Deferred[T] = run_in_background(exchange, limit)
        timer = self.reactor.callLater(max(0, seconds), limit.reach, outcome)
        try:
            return await make_deferred_yieldable(outcome)
        except Exception as e:
            if _cancelled(e) and not limit.reached:
                raise CancelledError() from None  # Synapse has given up.
            if limit.reached and not isinstance(e, (ConnectError, ConnectingCancelledError)):
                raise self._late() from None
            text = f"cannot reach busd at {self.config.url}: {_cause(e)}"
            self._gone(text)
            raise Unreachable(text) from None
        finally:
            if timer.active():
                timer.cancel()

    def _late(self) -> "Unreachable":
        """One question took too long. That busd is there is all that others need."""
        text = f"busd gave no answer within {self.config.timeout:g} s"
        now = self.reactor.seconds()
        if now >= self.next_word:
            self.next_word = now + _WORDS
            logger.warning("%s", text)
        return Unreachable(text, outage=False)

    def _gone(self, text: str) -> None:
        if not self.away:
            self.away = True
            logger.error("%s; until it is back, callbacks do as on_failure says", text)

    def _back(self) -> None:
        if self.away:
            self.away = False
            logger.info("busd is back")

    def close(self) -> Any:
        return self.pool.closeCachedConnections()

    async def wants(self, after: int) -> dict[str, Any]:
        """What is wanted, when it is something else than in revision after."""
        url = f"{self.config.url}/_modulebus/v1/wants?after={after}".encode()
        status, body = await self._within(_WANTS, lambda _: self._read(b"GET", url, self.headers))
        if status != 200:
            text = f"busd answered {status}: {_reason(body)}"
            self._gone(text)
            raise Unreachable(text)
        self._back()
        return _object(body)

    def wants_now(self) -> dict[str, Any] | None:
        """What is wanted, at once. It blocks: it is for the start, when nothing is served yet."""
        request = urllib.request.Request(f"{self.config.url}/_modulebus/v1/wants")
        if self.config.token:
            request.add_header("Authorization", f"Bearer {self.config.token}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=self.config.timeout) as response:
                return _object(response.read())
        except (OSError, ValueError, Unreachable) as e:
            self._gone(f"cannot reach busd at {self.config.url}: {_cause(e)}")
            return None


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


def _cancelled(e: Exception) -> bool:
    """Whether it is what comes of cancelling an exchange, of which Twisted has several forms."""
    kinds = (CancelledError, ConnectingCancelledError)
    return isinstance(e, kinds) or any(isinstance(r.value, kinds) for r in getattr(e, "reasons", ()))


def _cause(e: Exception) -> str:
    reasons = getattr(e, "reasons", None)
    if reasons:
        e = reasons[-1].value
    return str(e) or type(e).__name__
