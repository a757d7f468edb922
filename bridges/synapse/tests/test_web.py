"""The reverse proxy, between a busd that says what the test says and a client that sees every byte."""

from typing import Any

from modulebus_synapse import web
from modulebus_synapse.config import Config
from modulebus_synapse.door import Door
from modulebus_synapse.web import ProxyResource
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

REACTOR: Any = reactor
GET = b"GET /web/a%2Fb?c HTTP/1.1\r\nHost: example.org\r\nX-Own: 1\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n"


class Busd(Protocol):
    def __init__(self, says: bytes):
        self.says, self.heard = says, b""

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        self.heard += data
        if b"\r\n\r\n" in self.heard:
            transport.write(self.says)
            transport.loseConnection()


class Early(Protocol):
    """A busd that answers when it has a request's head, and takes no more of it."""

    transport: Any

    def __init__(self, says: bytes):
        self.says = says
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.transport.pauseProducing()
        self.transport.write(self.says)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)


class Client(Protocol):
    transport: Any

    def __init__(self, says: bytes):
        self.says, self.heard = says, b""
        self.first: Deferred[None] = Deferred()
        self.done: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self.says)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if not self.first.called:
            self.first.callback(None)

    def connectionLost(self, reason: Any = None) -> None:
        self.done.callback(self.heard)


class WebTest(TestCase):
    timeout = 20

    async def exchange(self, response: bytes | None, request: bytes = GET) -> tuple[bytes, bytes]:
        """What busd heard, and what the client did."""
        busd = Busd(response or b"")
        port = REACTOR.listenTCP(0, Factory.forProtocol(lambda: busd), interface="127.0.0.1")
        number = port.getHost().port
        if response is None:
            await port.stopListening()
        else:
            self.addCleanup(port.stopListening)
        client = await self.client(number, request)
        seen = await client.done
        return busd.heard, seen

    async def client(self, port: int, request: bytes) -> Client:
        """One that sends this to a page of the busd at the port."""
        url = f"http://127.0.0.1:{port}"
        root: Any = Resource()  # type: ignore[no-untyped-call]
        root.putChild(b"web", ProxyResource(Door(Config(url=url), REACTOR)))
        front = REACTOR.listenTCP(0, Site(root), interface="127.0.0.1")
        self.addCleanup(front.stopListening)
        client = Client(request)
        endpoint = TCP4ClientEndpoint(REACTOR, "127.0.0.1", front.getHost().port)
        await endpoint.connect(Factory.forProtocol(lambda: client))
        return client

    async def early(self, says: bytes) -> tuple[Early, Client]:
        """A busd that says this while the client's request is still on its way to it."""
        busd = Early(says)
        port = REACTOR.listenTCP(0, Factory.forProtocol(lambda: busd), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        size = 16 << 20
        head = b"POST /web HTTP/1.1\r\nHost: example.org\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size
        return busd, await self.client(port.getHost().port, head + b"x" * size)

    async def test_head_and_body(self) -> None:
        heard, seen = await self.exchange(
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
            b"HTTP/1.1 201 Made\r\nContent-Length: 3\r\nX-Own: a\r\nX-Own: b\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\nyes"
        )
        head, _, body = seen.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201 Made\r\n")
        assert body == b"yes"
        assert head.lower().count(b"\r\nx-own: ") == 2
        assert b"x-hop" not in head.lower()
        assert b"link" not in head.lower()

    async def test_what_busd_hears(self) -> None:
        body = b"x" * 200_000
        request = b"POST /web/a%2Fb?c HTTP/1.1\r\nHost: example.org\r\nContent-Length: 200000\r\nConnection: close\r\n\r\n"
        busd, _ = await self.exchange(b"HTTP/1.1 204 No Content\r\n\r\n", request + body)
        assert busd.startswith(b"POST /web/a%2Fb?c HTTP/1.1\r\n")
        busd, _ = await self.exchange(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert b"x-hop" not in busd.lower()
        fields = busd.lower().split(b"\r\n")
        assert [f for f in fields if f.startswith(b"x-forwarded-for")] == [b"x-forwarded-for: 127.0.0.1"]
        assert b"x-forwarded-proto: http" in fields
        assert b"x-forwarded-host: example.org" in fields

    async def test_span_of_synapse_stands_in_place_of_what_the_client_says(self) -> None:
        request = GET.replace(b"\r\n\r\n", b"\r\nTraceparent: 00-client\r\nTracestate: client\r\n\r\n", 1)
        self.patch(web, "traceparent", lambda: b"00-synapse")
        busd, _ = await self.exchange(b"HTTP/1.1 204 No Content\r\n\r\n", request)
        fields = [f for f in busd.lower().split(b"\r\n") if f.startswith(b"trace")]
        assert fields == [b"traceparent: 00-synapse"]

    async def test_chunks(self) -> None:
        _, seen = await self.exchange(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        chunks = seen.partition(b"\r\n\r\n")[2].split(b"\r\n")
        assert b"".join(chunks[1::2]) == b"abcde"
        assert seen.endswith(b"0\r\n\r\n")

    async def test_a_body_that_ends_with_the_connection_is_whole(self) -> None:
        _, seen = await self.exchange(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        assert b"all of it" in seen
        assert seen.endswith(b"0\r\n\r\n")

    async def test_what_breaks_off_is_not_taken_for_whole(self) -> None:
        _, seen = await self.exchange(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        assert not seen.endswith(b"0\r\n\r\n")
        _, seen = await self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        assert not seen.endswith(b"0\r\n\r\n")

    async def test_no_body(self) -> None:
        head = GET.replace(b"GET", b"HEAD", 1)
        _, seen = await self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", head)
        assert seen.startswith(b"HTTP/1.1 200 OK\r\n")
        assert seen.endswith(b"\r\n\r\n")
        _, seen = await self.exchange(b"HTTP/1.1 304 Not Modified\r\n\r\n")
        assert seen.startswith(b"HTTP/1.1 304 ")

    async def test_busd_that_is_not_there_or_makes_no_sense(self) -> None:
        for response in (None, b"", b"SSH-2.0\r\n\r\n", b"x" * 100_000):
            _, seen = await self.exchange(response)
            assert seen.startswith(b"HTTP/1.1 502 "), response
            assert b"M_UNKNOWN" in seen

    async def test_a_response_is_not_kept_until_the_request_is_sent(self) -> None:
        busd, client = await self.early(b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!")
        assert (await client.done).startswith(b"HTTP/1.1 403 ")
        assert client.heard.endswith(b"no!")
        REACTOR.callLater(0, busd.transport.resumeProducing)  # It looks whether somebody is there.
        await busd.lost

    async def test_a_client_that_leaves_ends_it(self) -> None:
        busd, client = await self.early(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        client.first.addCallback(lambda _: client.transport.abortConnection())
        await client.done
        busd.transport.resumeProducing()
        await busd.lost
