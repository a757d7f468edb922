"""As much of an HTTP/1.1 client as busd takes: requests that are bytes already, over connections that are kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, Any, TypeVar

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure
from twisted.web.client import URI, BrowserLikePolicyForHTTPS

from modulebus_synapse.answer import Answer, Response

R = TypeVar("R", bound=Response)

_IDLE = 60.0  # Seconds; busd keeps connections longer.


class Closed(Exception):
    """The connection was gone before there was a whole answer."""


class Broken(Exception):
    """What came is no answer, or not from a server that is to be believed. Asking again would help nothing."""


class Server:
    """Where busd is. Connects, and says at once that it cannot: Twisted's own way is to wait for another address."""

    def __init__(self, reactor: Any, url: str, timeout: float, ca_file: str | None = None):
        self.reactor, self.timeout, self.ca_file = reactor, timeout, ca_file
        self.uri = URI.fromBytes(url.encode())

    def connect(self, protocol: Protocol) -> "Deferred[Any]":
        connecting: Deferred[Any] = connectProtocol(self._endpoint(), protocol)
        return connecting

    def _endpoint(self) -> Any:
        """One for each connection, since certificates that are trusted may change."""
        uri = self.uri
        if uri.scheme == b"https":
            return wrapClientTLS(self._policy().creatorForNetloc(uri.host, uri.port), self._plain())
        return self._plain()

    def _policy(self) -> BrowserLikePolicyForHTTPS:
        if self.ca_file is None:
            return BrowserLikePolicyForHTTPS()
        texts = re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", Path(self.ca_file).read_bytes(), re.DOTALL)
        return BrowserLikePolicyForHTTPS(trustRootFromCertificates([Certificate.loadPEM(text) for text in texts]))

    def _plain(self) -> Any:
        host, port = self.uri.host.decode("ascii").strip("[]"), self.uri.port
        if isIPAddress(host):
            return TCP4ClientEndpoint(self.reactor, host, port, self.timeout)
        if isIPv6Address(host):
            return TCP6ClientEndpoint(self.reactor, host, port, self.timeout)
        return HostnameEndpoint(self.reactor, host, port, self.timeout, attemptDelay=0.02)


class Connection(Protocol):
    """Sends one request at a time. It is closed when the response's Deferred is cancelled."""

    transport: Any

    def __init__(self, pool: "Connections"):
        self.pool = pool
        self.once = False  # It is not used again.
        self.idle_since = 0.0
        self.lost: Deferred[None] = Deferred()
        self._response = Response()
        self._waiting: Deferred[Any] | None = None

    def send(self, request: bytes, response: R) -> "Deferred[R]":
        """The response, when it is whole; or Closed, or Broken. It is fed as it comes, while the request is still sent."""
        whole: Deferred[R] = Deferred(lambda _: self._abort())
        self._response, self._waiting = response, whole
        response.source = self.transport
        self.transport.write(request)
        return whole

    def send_file(self, head: bytes, file: IO[bytes], tail: bytes, response: R) -> "Deferred[R]":
        """As send, with a piece of the file in memory at a time. The response may come before all of it is read."""
        self.once = True
        whole = self.send(head, response)
        sending: Deferred[Any] = FileSender().beginFileTransfer(file, self.transport)
        sending.addCallbacks(lambda _: self.transport.write(tail), lambda _: None)  # connectionLost hears why.
        return whole

    def dataReceived(self, data: bytes) -> None:
        waiting, response = self._waiting, self._response
        if waiting is None:
            self._abort()  # Nobody has asked.
            return
        try:
            response.feed(data)
        except ValueError as e:
            self._abort()
            waiting.errback(Broken(str(e)))
            return
        if response.whole:
            self._rest()
            waiting.callback(response)

    def _rest(self) -> None:
        """Is there for the next request, if it may be."""
        self._waiting = None
        if self.once or not self._response.reusable:
            self._abort()
        else:
            self.pool.keep(self)

    def _abort(self) -> None:
        """Closes it, whatever is still to be sent."""
        self._waiting = None
        self.pool.forget(self)
        self.transport.unregisterProducer()
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.pool.forget(self)
        waiting, self._waiting = self._waiting, None
        self._response.end()
        if waiting is not None and self._response.whole:
            waiting.callback(self._response)
        elif waiting is not None:
            kind = Closed if reason.check(ConnectionClosed) else Broken  # Such as a certificate that is not trusted, or has expired.
            waiting.errback(kind(reason.getErrorMessage()))
        self.lost.callback(None)


class Connections:
    """Connections to a server. Idle ones are kept for a while; there are no more than are used at once."""

    def __init__(self, reactor: Any, server: Server):
        self.reactor, self.server = reactor, server
        self.idle: list[Connection] = []  # In the order in which they became so.
        self.timer: Any = None  # While some are idle.

    def request(self, request: bytes, fresh: bool = False) -> "Deferred[Answer]":
        """Sends it over the connection that was used last, or over a fresh one."""
        if self.idle and not fresh:
            return self.idle.pop().send(request, Answer())
        return self.server.connect(Connection(self)).addCallback(Connection.send, request, Answer())

    def upload(self, head: bytes, file: IO[bytes], tail: bytes, response: R) -> "Deferred[R]":
        """Sends it over a connection of its own: what has its response early is not to be sent to the end."""
        return self.server.connect(Connection(self)).addCallback(Connection.send_file, head, file, tail, response)

    def keep(self, connection: Connection) -> None:
        connection.idle_since = self.reactor.seconds()
        self.idle.append(connection)
        if self.timer is None:
            self.timer = self.reactor.callLater(_IDLE, self._sweep)

    def forget(self, connection: Connection) -> None:
        if connection in self.idle:
            self.idle.remove(connection)

    def drop(self) -> None:
        """Closes those that are idle, which a server that ends is about to close."""
        while self.idle:
            self.idle.pop().transport.loseConnection()

    def _sweep(self) -> None:
        """Closes those that have been idle for too long, and comes back for the next one."""
        self.timer = None
        while self.idle:
            left = self.idle[0].idle_since + _IDLE - self.reactor.seconds()
            if left > 0:
                self.timer = self.reactor.callLater(left, self._sweep)
                return
            self.idle.pop(0).transport.loseConnection()

    def close(self) -> "Deferred[Any]":
        """Closes those that are idle. It fires when they are gone."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        closing = list(self.idle)
        self.drop()
        return gatherResults([connection.lost for connection in closing])
