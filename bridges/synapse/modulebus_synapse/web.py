"""Modules' web resources under Synapse's own listener."""

import logging
import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from modulebus_synapse.answer import Response
from modulebus_synapse.door import Door
from modulebus_synapse.tracing import traceparent

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

    Synapse has read a request's body, into a temporary file if it is large, before it gets here. From there on bytes
    are streamed, both ways at once: a module may answer before it has read all.
    """

    isLeaf = True

    def __init__(self, door: Door):
        super().__init__()  # type: ignore[no-untyped-call]
        self.door = door

    def render(self, request: Request) -> int:
        exchange = Exchange(request)
        connecting = self.door.server.connect(exchange)
        connecting.addErrback(exchange.failed)
        request.notifyFinish().addErrback(exchange.client_left, connecting)
        return NOT_DONE_YET


class Passing(Response):
    """A response that is passed on as it comes."""

    def __init__(self, exchange: "Exchange"):
        super().__init__(exchange.request.method)
        self.exchange = exchange

    @property
    def bodiless(self) -> bool:
        return self.framed and self._left == 0

    def begin(self) -> None:
        self.exchange.begin(self)

    def take(self, piece: bytes) -> None:
        self.exchange.take(piece)


class Exchange(Protocol):
    """One request to busd, on a connection of its own, and its response.

    Twisted's client hands a response over when the request has been sent, which a module that answers while it reads
    would wait for in vain.
    """

    transport: Any

    def __init__(self, request: Request):
        self.request: Any = request
        self.span = traceparent()  # Known only now, while Synapse begins the request.
        self.begun = False  # The response's head has gone to the client.
        self.over = False
        self.response = Passing(self)

    def connectionMade(self) -> None:
        if self.over:
            self.transport.abortConnection()
            return
        content = self.request.content
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        self.transport.write(self._request_head(size))
        if size:
            sending: Deferred[Any] = FileSender().beginFileTransfer(content, self.transport)
            sending.addErrback(lambda _: None)  # The connection is gone, of which connectionLost hears.

    def _request_head(self, size: int) -> bytes:
        request = self.request
        headers = _forwarded(request.requestHeaders)
        _set_origin(headers, request)
        if self.span is not None:
            headers.setRawHeaders(b"traceparent", [self.span])
            headers.removeHeader(b"tracestate")
        headers.removeHeader(b"content-length")
        if size or request.method not in (b"GET", b"HEAD", b"DELETE", b"OPTIONS"):
            headers.setRawHeaders(b"Content-Length", [b"%d" % size])
        headers.removeHeader(b"expect")  # The client has sent it all.
        headers.setRawHeaders(b"Connection", [b"close"])
        lines = [request.method + b" " + request.uri + b" HTTP/1.1"]
        for name, values in headers.getAllRawHeaders():
            lines += [name + b": " + value for value in values]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def dataReceived(self, data: bytes) -> None:
        if self.over:
            return
        try:
            self.response.feed(data)
        except ValueError as e:
            self._break(str(e))
            return
        if self.response.whole and not self.over:
            self._finish()

    def begin(self, response: Passing) -> None:
        """Hands on the head of the response."""
        self.begun = True
        request = self.request
        request.setResponseCode(response.status, response.phrase)
        headers = Headers()
        for name, value in response.fields:
            headers.addRawHeader(name, value)
        for name, values in _forwarded(headers).getAllRawHeaders():
            request.responseHeaders.setRawHeaders(name, values)
        if response.bodiless:
            return
        request.registerProducer(self.transport, True)  # The client sets the pace.
        request.write(b"")  # So that the head is sent before there is a body.

    def take(self, piece: bytes) -> None:
        if not self.over:
            self.request.write(piece)

    def _finish(self) -> None:
        self._end()
        self.request.finish()

    def _end(self) -> None:
        """Nothing of the exchange is of interest any more."""
        if self.begun and not self.over and self.request.producer is self.transport:
            self.request.unregisterProducer()
        self.over = True
        if self.transport:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if self.over:
            return
        self.response.end()  # A body may end with the connection.
        if self.response.whole:
            self._finish()
        else:
            self._break("it has closed the connection")

    def _break(self, reason: str) -> None:
        """Ends a response that will never be whole."""
        if not self.begun:
            self.failed(reason)
            return
        channel = self.request.channel
        self._end()
        if channel:
            channel.loseConnection()  # So that no client takes it for whole.

    def failed(self, reason: object) -> None:
        if self.over:
            return
        self._end()
        logger.warning("cannot hand a request to busd: %s", reason.value if isinstance(reason, Failure) else reason)
        _unavailable(self.request)

    def client_left(self, _: Failure, connecting: "Deferred[Any]") -> None:
        self.begun = False  # There is nobody to take anything from.
        self._end()
        connecting.cancel()


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


def _set_origin(headers: Headers, request: Any) -> None:
    """Says where the request comes from, as Synapse knows it, in place of what the client claims."""
    for name, _ in list(headers.getAllRawHeaders()):
        if name.lower() == b"forwarded" or name.lower().startswith(b"x-forwarded-"):
            headers.removeHeader(name)
    headers.setRawHeaders(b"X-Forwarded-Proto", [b"https" if request.isSecure() else b"http"])
    host = request.getHeader(b"host")
    if host:
        headers.setRawHeaders(b"X-Forwarded-Host", [host])
    address = getattr(request.getClientAddress(), "host", None)  # A Unix socket has none.
    if address:
        headers.setRawHeaders(b"X-Forwarded-For", [address.encode()])


def _unavailable(request: Any) -> None:
    body = b'{"errcode":"M_UNKNOWN","error":"The module that serves this cannot be reached"}'
    request.setResponseCode(502)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()
