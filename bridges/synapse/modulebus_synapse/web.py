"""Modules' web resources under Synapse's own listener."""

import logging
import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

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
    are streamed, both ways at once: a module may answer before it has read all. Twisted's client hands a response over
    when the request has been sent, which a module that answers while it reads would wait for in vain.
    """

    isLeaf = True

    def __init__(self, door: Door):
        super().__init__()  # type: ignore[no-untyped-call]
        self.door = door

    def render(self, request: Any) -> int:
        head = _head(request, traceparent())
        passing = Passing(request)
        exchange = self.door.connections.upload(head, request.content, b"", passing)
        exchange.addCallbacks(passing.finish, passing.fail)
        request.notifyFinish().addErrback(passing.client_left, exchange)
        return NOT_DONE_YET


class Passing(Response):
    """A response that is passed on as it comes."""

    def __init__(self, request: Any):
        super().__init__(request.method)
        self.request = request
        self.begun = False  # The head has gone to the client.
        self.left = False  # By the client.

    def begin(self) -> None:
        """Hands on the head."""
        self.begun = True
        request = self.request
        request.setResponseCode(self.status, self.phrase)
        headers = Headers()
        for name, value in self.fields:
            headers.addRawHeader(name, value)
        for name, values in _forwarded(headers).getAllRawHeaders():
            request.responseHeaders.setRawHeaders(name, values)
        if self.framed and self._left == 0:
            return
        request.registerProducer(self.source, True)  # The client sets the pace.
        request.write(b"")  # So that the head is sent before there is a body.

    def take(self, piece: bytes) -> None:
        if not self.left:
            self.request.write(piece)

    def finish(self, _: "Passing") -> None:
        self._rest()
        self.request.finish()

    def fail(self, failure: Failure) -> None:
        """Ends a response that will never be whole."""
        if self.left:
            return
        if self.begun:
            self._rest()
            self.request.channel.loseConnection()  # So that no client takes it for whole.
            return
        logger.warning("cannot hand a request to busd: %s", failure.value)
        _unavailable(self.request)

    def client_left(self, _: Failure, exchange: "Deferred[Any]") -> None:
        self.left = True
        exchange.cancel()

    def _rest(self) -> None:
        if self.request.producer is self.source:
            self.request.unregisterProducer()


def _head(request: Any, span: bytes | None) -> bytes:
    """The head of what busd is sent."""
    size = request.content.seek(0, os.SEEK_END)
    request.content.seek(0)
    headers = _forwarded(request.requestHeaders)
    _set_origin(headers, request)
    if span is not None:
        headers.setRawHeaders(b"traceparent", [span])
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
