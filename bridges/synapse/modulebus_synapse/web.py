"""Modules' web resources under Synapse's own listener."""

import logging
import os
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from modulebus_synapse.door import Door, StreamBody

logger = logging.getLogger(__name__)

_HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}


class ProxyResource(Resource):
    """Hands requests of a path, and of all below it, to busd.

    Synapse has read a request's body into a temporary file before it gets here. From there, and all the way back, the
    bytes are streamed.
    """

    isLeaf = True

    def __init__(self, door: Door):
        super().__init__()  # type: ignore[no-untyped-call]
        self.door = door

    def render(self, request: Request) -> int:
        exchange = _Exchange(self.door, request)
        exchange.start()
        return NOT_DONE_YET


class _Exchange:
    def __init__(self, door: Door, request: Request):
        self.door = door
        self.request = request
        self.gone = False
        self.body: _Body | None = None
        self.running: Deferred[None] | None = None

    def start(self) -> None:
        self.request.notifyFinish().addErrback(self._client_left)
        self.running = ensureDeferred(self._run())
        self.running.addErrback(_ignore_cancelled)

    def _client_left(self, _: Failure) -> None:
        self.gone = True
        if self.running:
            self.running.cancel()
        if self.body:
            self.body.stop()

    async def _run(self) -> None:
        request = self.request
        try:
            response = await self._ask()
        except CancelledError:
            raise
        except Exception as e:
            if not self.gone:
                logger.warning("cannot hand %s to busd: %s", request.path.decode("ascii", "replace"), e)
                _unavailable(request)
            return
        if self.gone:
            return
        request.setResponseCode(response.code, response.phrase)
        for name, values in _forwarded(response.headers).getAllRawHeaders():
            request.responseHeaders.setRawHeaders(name, values)
        if response.length and isinstance(response.length, int) and request.method != b"HEAD":
            request.responseHeaders.setRawHeaders(b"content-length", [b"%d" % response.length])
        self.body = _Body(self)
        cast(Any, response).deliverBody(self.body)

    async def _ask(self) -> Any:
        request = self.request
        headers = _forwarded(request.requestHeaders)
        headers.removeHeader(b"content-length")  # It is the body producer's to say.
        address = request.getClientAddress()
        headers.addRawHeader(b"X-Forwarded-For", str(getattr(address, "host", "")).encode())
        headers.setRawHeaders(b"X-Forwarded-Proto", [b"https" if request.isSecure() else b"http"])
        content = request.content
        assert content is not None
        content.seek(0, os.SEEK_END)
        size = content.tell()
        content.seek(0)
        body: Any = StreamBody(cast(Any, content), size) if size else None
        url = self.door.config.url.encode() + request.uri
        return await self.door.agent.request(request.method, url, headers, body)


class _Body(Protocol):
    """Passes the response's body on, no faster than the client takes it."""

    def __init__(self, exchange: _Exchange):
        self.exchange = exchange
        self.producing = False

    def connectionMade(self) -> None:
        if self.exchange.gone:
            self.stop()
            return
        self.producing = True
        self.exchange.request.registerProducer(cast(IPushProducer, self.transport), True)

    def dataReceived(self, data: bytes) -> None:
        if not self.exchange.gone:
            self.exchange.request.write(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        request = self.exchange.request
        if self.exchange.gone:
            return
        if self.producing:
            request.unregisterProducer()
        if reason.check(ResponseDone, PotentialDataLoss):
            request.finish()
        elif request.channel:
            request.channel.loseConnection()  # So that the client does not take it for whole.

    def stop(self) -> None:
        transport: Any = self.transport
        if transport:
            transport.loseConnection()


def _ignore_cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)


def _forwarded(headers: Headers) -> Headers:
    """The headers without those that are between two hops alone."""
    dropped = set(_HOP_BY_HOP)
    for line in headers.getRawHeaders(b"connection", []):
        dropped |= {name.strip().lower() for name in line.split(b",")}
    out = Headers()
    for name, values in headers.getAllRawHeaders():
        if name.lower() not in dropped:
            out.setRawHeaders(name, list(values))
    return out


def _unavailable(request: Request) -> None:
    body = b'{"errcode":"M_UNKNOWN","error":"The module that serves this cannot be reached"}'
    request.setResponseCode(502)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()
