"""The bridge on Twisted's Agent, in place of its own HTTP client: what that client is held against."""

from typing import Any

from modulebus_synapse import ModuleBus, door
from modulebus_synapse.answer import Answer
from modulebus_synapse.connection import Server
from twisted.internet.defer import Deferred, succeed
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

_AGENTS_OWN = (b"content-length", b"connection")  # Fields that Agent writes itself.


@implementer(IBodyProducer)
class Body:
    """A body that is bytes already, sent at once."""

    def __init__(self, body: bytes):
        self.body, self.length = body, len(body)

    def startProducing(self, consumer: Any) -> "Deferred[None]":
        consumer.write(self.body)
        return succeed(None)

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


class Connections:
    """Has the methods of modulebus_synapse.connection.Connections that questions need."""

    def __init__(self, reactor: Any, server: Server):
        self.origin = server.uri.scheme + b"://" + server.uri.netloc
        self.pool = HTTPConnectionPool(reactor)
        self.pool.maxPersistentPerHost = 128
        self.agent = Agent(reactor, pool=self.pool)

    def request(self, request: bytes, fresh: bool = False) -> "Deferred[Answer]":
        head, _, body = request.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        method, path, _ = line.split(b" ")
        headers = Headers()
        for name, value in (field.split(b": ", 1) for field in fields):
            if name.lower() not in _AGENTS_OWN:
                headers.addRawHeader(name, value)
        producer: Any = Body(body) if body else None
        answer: Deferred[Any] = self.agent.request(method, self.origin + path, headers, producer)
        return answer.addCallback(_read)

    def drop(self) -> None:
        pass

    def close(self) -> "Deferred[Any]":
        closing: Deferred[Any] = self.pool.closeCachedConnections()
        return closing


def _read(response: Any) -> "Deferred[Answer]":
    answer = Answer()
    answer.status, answer.phrase, answer.whole = response.code, response.phrase, True
    answer.fields = [(name, value) for name, values in response.headers.getAllRawHeaders() for value in values]

    def whole(body: bytes) -> Answer:
        answer.take(body)
        return answer

    return readBody(response).addCallback(whole)


setattr(door, "Connections", Connections)  # noqa: B010 # It is the bridge's own name for its client.


class AgentBus(ModuleBus):
    """The bridge, in a process in which it asks with Agent."""
