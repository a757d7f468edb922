"""The HTTP client, against a busd that misbehaves. Trial's test cases bring the reactor."""

import gc
import json
import logging
import os
import socket
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from threading import Thread
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from modulebus_synapse import door as door_module
from modulebus_synapse.config import Config
from modulebus_synapse.door import Door, Failed, Held, Question, Refused, Unreachable
from modulebus_synapse.patience import Budget, Budgets
from synapse.logging.context import SENTINEL_CONTEXT, ContextRequest, LoggingContext, current_context, run_in_background
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

REACTOR: Any = reactor


class Busd(Resource):
    isLeaf = True

    def __init__(self, answer: Callable[[Request], bytes | int]):
        super().__init__()  # type: ignore[no-untyped-call]
        self.answer = answer
        self.seen: list[tuple[bytes, dict[bytes, bytes], bytes]] = []

    def render(self, request: Request) -> bytes | int:
        assert request.content is not None
        headers = {k.lower(): v[0] for k, v in request.requestHeaders.getAllRawHeaders()}
        self.seen.append((request.uri, headers, request.content.read()))
        return self.answer(request)


CLOSE = b"!"


class Wire(Protocol):
    """A connection of a busd that says these bytes, one of them each time that it hears something."""

    def __init__(self, says: list[bytes]):
        self.says, self.heard = says, b""
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self.say(self.says.pop(0) if self.says else b"")

    def say(self, what: bytes) -> None:
        """Writes it, and closes the connection where it ends so."""
        transport: Any = self.transport
        transport.write(what.removesuffix(CLOSE))
        if what.endswith(CLOSE):
            transport.loseConnection()

    def connectionLost(self, *_: Any) -> None:
        self.lost.callback(None)


def a_request(url: str = "/_matrix/client/v3/createRoom") -> ContextRequest:
    values = {a.name: url for a in ContextRequest.__attrs_attrs__}
    return ContextRequest(**values)  # type: ignore[arg-type]


def question(door: Door, message: bytes = b"{}", again: bool = False, path: str | None = None) -> Question:
    return Question("c/n", message, door.config.timeout, again, path)


class Frozen:
    """The reactor, with connections as they are, and a time that passes only when a test says so."""

    def __init__(self) -> None:
        clock = Clock()
        self.seconds, self.callLater, self.advance = clock.seconds, clock.callLater, clock.advance

    def __getattr__(self, name: str) -> Any:
        return getattr(REACTOR, name)

    def soon(self, seconds: float) -> int:
        """Has that time pass while a request is not answered."""
        REACTOR.callLater(0, self.advance, seconds)
        return NOT_DONE_YET


YES = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def speak(server: socket.socket, raw: bytes) -> None:
    """Says that to the first who says something."""
    connection, _ = server.accept()
    with connection:
        connection.recv(1 << 16)
        connection.sendall(raw)


class DoorTest(TestCase):
    def serve(self, factory: Any, **config: Any) -> Door:
        port = REACTOR.listenTCP(0, factory, backlog=1000, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return self.door(f"http://127.0.0.1:{port.getHost().port}", **config)

    def busd(self, answer: Callable[[Request], bytes | int], **config: Any) -> tuple[Door, Busd]:
        busd = Busd(answer)
        return self.serve(Site(busd), **config), busd

    def wires(self, *connections: list[bytes], **config: Any) -> tuple[Door, list[Wire]]:
        """A busd that says this on its first connection, its second, and so on."""
        scripts = list(connections)
        wires: list[Wire] = []

        class Wires(Factory):
            noisy = False

            def buildProtocol(self, _: Any) -> Wire:
                wires.append(Wire(scripts.pop(0)))
                return wires[-1]

        return self.serve(Wires(), **config), wires

    def door(self, url: str, time: Any = REACTOR, **config: Any) -> Door:
        door = Door(Config(url=url, **{"timeout": 60.0, **config}), time)
        self.addCleanup(door.close)
        return door

    def ask(self, door: Door, again: bool = False, path: str | None = None) -> "Deferred[Any]":
        return ensureDeferred(door.ask(question(door, b'{"a":1}', again, path)))

    def test_asks_over_connections_that_are_kept(self) -> Any:
        peers = set()

        def answer(request: Request) -> bytes:
            peers.add(request.getClientAddress().port)
            return b'{"answer":{"x":1}}'

        door, busd = self.busd(answer, token="secret", timeout=2.0)

        async def go() -> None:
            for _ in range(5):
                self.assertEqual(await door.ask(question(door, b'{"a":1}')), {"answer": {"x": 1}})

        def check(_: Any) -> None:
            self.assertEqual(len(peers), 1)
            uri, headers, body = busd.seen[0]
            self.assertEqual((uri, body), (b"/_modulebus/v1/ask/c/n", b'{"a":1}'))
            self.assertEqual(headers[b"authorization"], b"Bearer secret")
            self.assertEqual(headers[b"content-type"], b"application/json")
            self.assertEqual(headers[b"x-modulebus-timeout"], b"1800ms")

        return ensureDeferred(go()).addCallback(check)

    def test_asks_as_part_of_the_trace_that_synapse_is_in(self) -> Any:
        door, busd = self.busd(lambda _: b"{}")

        async def go() -> None:
            await door.ask(question(door, b"{}"))
            self.patch(door_module, "traceparent", lambda: b"00-span")
            await door.ask(question(door, b"{}"))

        def check(_: Any) -> None:
            self.assertEqual([headers.get(b"traceparent") for _, headers, _ in busd.seen], [None, b"00-span"])

        return ensureDeferred(go()).addCallback(check)

    def test_a_decision_that_failed(self) -> Any:
        def answer(request: Request) -> bytes:
            request.setResponseCode(502)
            return b'{"errcode":"M_UNKNOWN","error":"m: timeout","module":"m","failure":"timeout"}'

        door, _ = self.busd(answer)
        return self.assertFailure(self.ask(door), Failed)

    def test_gives_up_in_time(self) -> Any:
        time = Frozen()
        door, _ = self.busd(lambda _: time.soon(2.0), time=time, timeout=2.0)

        def check(e: Unreachable) -> None:
            self.assertFalse(e.outage)

        return self.assertFailure(self.ask(door), Unreachable).addCallback(check)

    def test_who_gives_up_hears_of_that(self) -> Any:
        """Synapse cancels callbacks of clients that left. That is no outage, and nothing to ask again."""

        def answer(_: Request) -> int:
            REACTOR.callLater(0, asking.cancel)
            return NOT_DONE_YET

        door, busd = self.busd(answer)
        asking = self.ask(door, again=True)

        def check(_: Any) -> None:
            self.assertFalse(door.away)
            self.assertEqual((len(busd.seen), door.slots.free), (1, 128))

        return self.assertFailure(asking, CancelledError).addCallback(check)

    def test_one_line_per_outage_and_recovery_by_itself(self) -> Any:
        status = 503

        def answer(request: Request) -> bytes:
            request.setResponseCode(status)
            return b"{}"

        door, _ = self.busd(answer)

        async def go() -> None:
            nonlocal status
            for status in (503, 503, 200, 200, 503):
                try:
                    await door.ask(question(door))
                except Unreachable:
                    self.assertEqual(status, 503)

        logs = self.assertLogs("modulebus_synapse.door", logging.INFO)
        seen = logs.__enter__()

        def check(_: Any) -> None:
            logs.__exit__(None, None, None)
            self.assertEqual([r.levelname for r in seen.records], ["ERROR", "INFO", "ERROR"])

        return ensureDeferred(go()).addCallback(check)

    def test_nobody_listens(self) -> Any:
        door = self.door("http://127.0.0.1:1")
        return self.assertFailure(self.ask(door), Unreachable).addCallback(lambda e: self.assertTrue(e.outage))

    def test_a_certificate_that_has_expired_is_an_outage_at_once(self) -> Any:
        """A busd that restarts would be asked again, for as long as there is time left."""
        now = datetime.now(timezone.utc)
        key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
        made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(2), now - timedelta(1))
        made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), True)
        pem = made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with tempfile.NamedTemporaryFile(delete=False) as f:
            f.write(pem)
        self.addCleanup(os.unlink, f.name)
        came: list[Any] = []

        class Counting(Factory):
            noisy = False

            def buildProtocol(self, address: Any) -> Wire:
                came.append(address)
                return Wire([])

        port = REACTOR.listenSSL(0, Counting(), PrivateCertificate.loadPEM(pem + private).options(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        door = self.door(f"https://127.0.0.1:{port.getHost().port}", ca_file=f.name)

        def check(e: Unreachable) -> None:
            self.assertTrue(e.outage)
            self.assertEqual(len(came), 1)

        return self.assertFailure(self.ask(door, again=True), Unreachable).addCallback(check)

    def test_what_is_not_json(self) -> Any:
        door, _ = self.busd(lambda _: b"<html>")
        return self.assertFailure(self.ask(door), Unreachable)

    def test_asks_again_where_the_connection_is_gone(self) -> Any:
        """A server that closes each connection when the second request comes, as one does that was restarted."""
        asked: list[bytes] = []

        class Closes(Protocol):
            count = 0

            def dataReceived(self, data: bytes) -> None:
                asked.append(data)
                self.count += 1
                transport: Any = self.transport
                if self.count == 2:
                    transport.loseConnection()
                    return
                transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        door = self.serve(Factory.forProtocol(Closes))

        async def go() -> None:
            self.assertEqual(await door.ask(question(door, again=True)), {})
            self.assertEqual(await door.ask(question(door, again=True)), {})
            self.assertEqual(len(asked), 3)
            # What must not be asked twice is not.
            with self.assertRaises(Unreachable):
                await door.ask(question(door))
            self.assertEqual(len(asked), 4)

        return ensureDeferred(go())

    def test_files(self) -> Any:
        with tempfile.NamedTemporaryFile(delete=False) as f:
            content = os.urandom(300_000)
            f.write(content)
        self.addCleanup(os.unlink, f.name)
        door, busd = self.busd(lambda _: b"{}")

        def check(_: Any) -> None:
            _, headers, body = busd.seen[0]
            kind, _, boundary = headers[b"content-type"].partition(b"; boundary=")
            self.assertEqual(kind, b"multipart/form-data")
            parts = body.split(b"--" + boundary)
            self.assertEqual(parts[0] + parts[3], b"--\r\n")
            self.assertIn(b'name="request"', parts[1])
            self.assertEqual(json.loads(parts[1].split(b"\r\n\r\n", 1)[1]), {"a": 1})
            self.assertIn(b'name="file"', parts[2])
            self.assertEqual(parts[2].split(b"\r\n\r\n", 1)[1], content + b"\r\n")

        return self.ask(door, path=f.name).addCallback(check)

    def test_many_at_once(self) -> Any:
        open_now, most = 0, 0

        class Counting(Site):
            def buildProtocol(self, address: Any) -> Any:
                nonlocal open_now, most
                open_now += 1
                most = max(most, open_now)
                return super().buildProtocol(address)  # type: ignore[no-untyped-call]

        door = self.serve(Counting(Busd(lambda _: b"{}")))

        def check(all: Any) -> None:
            self.assertEqual(all, [{}] * 1000)
            self.assertLessEqual(most, 128)

        return gatherResults([self.ask(door) for _ in range(1000)]).addCallback(check)

    def test_those_who_wait_their_turn_do_not_wait_longer(self) -> Any:
        """Who waits for a turn gives up when who was asked does: so nobody is asked late."""
        time = Frozen()
        door, busd = self.busd(lambda _: time.soon(2.0 if len(busd.seen) == 128 else 0.0), time=time, timeout=2.0)

        async def one() -> None:
            with self.assertRaises(Unreachable):
                await door.ask(question(door, again=True))

        def check(_: Any) -> None:
            self.assertEqual(len(busd.seen), 128)

        return gatherResults([ensureDeferred(one()) for _ in range(400)]).addCallback(check)

    async def heard(self, wires: list[Wire], count: int = 1) -> None:
        """Waits until so many connections have heard something."""
        while len(wires) < count or not all(w.heard for w in wires):
            await deferLater(REACTOR, 0)

    def test_an_answer_in_pieces(self) -> Any:
        raw = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"x\r\n4\r\n":1}\r\n0\r\n\r\n'
        door, wires = self.wires([])

        async def go() -> None:
            asking = self.ask(door)
            await self.heard(wires)
            for i in range(len(raw)):
                self.assertFalse(asking.called)
                wires[0].say(raw[i : i + 1])
                await deferLater(REACTOR, 0)
            self.assertEqual(await asking, {"x": 1})
            self.assertEqual(len(door.connections.idle), 1)

        return ensureDeferred(go())

    def test_connections_that_are_not_kept(self) -> Any:
        door, wires = self.wires(
            [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"],
            [b"HTTP/1.1 200 OK\r\n\r\n{}" + CLOSE],
            [YES + b"HTTP/1.1 200 OK\r\n"],
            [YES],
        )

        async def go() -> None:
            for count in range(1, 5):
                self.assertEqual(await self.ask(door), {})
                self.assertEqual((len(wires), len(door.connections.idle)), (count, count == 4))
            for wire in wires[:3]:
                await wire.lost

        return ensureDeferred(go())

    def test_a_connection_that_is_closed_while_it_is_idle(self) -> Any:
        """As that of a busd which was restarted. It costs nothing, not even what must not be asked twice."""
        door, wires = self.wires([YES], [YES], [YES])

        async def go() -> None:
            for unasked in (CLOSE, b"HTTP/1.1 408 Request Timeout\r\n\r\n"):
                await self.ask(door)
                (idle,) = door.connections.idle
                wires[-1].say(unasked)
                await idle.lost
                self.assertEqual(door.connections.idle, [])
            await self.ask(door)
            self.assertEqual((len(wires), door.away), (3, False))

        return ensureDeferred(go())

    def test_connections_that_are_idle_for_long(self) -> Any:
        clock = Clock()
        door, wires = self.wires([YES, YES], [YES, YES])
        door.connections.reactor = clock

        async def go() -> None:
            await gatherResults([self.ask(door), self.ask(door)])
            unused, used = door.connections.idle
            clock.advance(59)
            await self.ask(door)
            clock.advance(1)
            await unused.lost
            self.assertEqual(door.connections.idle, [used])
            clock.advance(59)
            await used.lost
            self.assertEqual((door.connections.idle, clock.getDelayedCalls()), ([], []))

        return ensureDeferred(go())

    def test_what_breaks_off_is_asked_again_over_a_fresh_connection(self) -> Any:
        part = b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"x"' + CLOSE
        door, wires = self.wires([YES, part], [YES, part], [YES, part])

        def asked() -> list[int]:
            return sorted(wire.heard.count(b"POST") for wire in wires)

        async def go() -> None:
            await gatherResults([self.ask(door), self.ask(door)])
            self.assertEqual(await self.ask(door, again=True), {})
            self.assertEqual(asked(), [1, 1, 2])
            await self.assertFailure(self.ask(door), Unreachable)  # What must not be asked twice is not.
            self.assertEqual(asked(), [1, 2, 2])

        return ensureDeferred(go())

    def test_what_is_no_answer(self) -> Any:
        huge = b"HTTP/1.1 200 OK\r\nContent-Length: 123456789012\r\n\r\n"
        door, wires = self.wires([b"SSH-2.0-x\r\n\r\n"], [huge])

        async def go() -> None:
            for says in ("its answer is not HTTP", "its answer is too large"):
                e = await self.assertFailure(self.ask(door, again=True), Unreachable)
                self.assertIn(says, str(e))
                self.assertTrue(e.outage)
                await wires[-1].lost
            self.assertEqual(len(wires), 2)

        return ensureDeferred(go())

    def test_half_an_answer_in_time(self) -> Any:
        time = Frozen()
        door, wires = self.wires([YES[:-1]], time=time, timeout=2.0)

        async def go() -> None:
            asking = self.ask(door, again=True)
            await self.heard(wires)
            time.advance(2.0)
            e = await self.assertFailure(asking, Unreachable)
            self.assertFalse(e.outage)
            await wires[0].lost
            self.assertEqual((len(wires), door.connections.idle), (1, []))

        return ensureDeferred(go())

    def test_who_gives_up_closes_the_connection(self) -> Any:
        door, wires = self.wires([])

        async def go() -> None:
            asking = self.ask(door, again=True)
            await self.heard(wires)
            asking.cancel()
            await self.assertFailure(asking, CancelledError)
            await wires[0].lost
            self.assertEqual((len(wires), door.connections.idle), (1, []))

        return ensureDeferred(go())

    def test_a_file_that_is_answered_before_it_is_read(self) -> Any:
        """The connection is gone, and the file closed, however much of it was still to be sent."""
        door, wires = self.wires([YES], [b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"])
        with tempfile.NamedTemporaryFile(delete=False) as f:
            f.truncate(1 << 30)
        self.addCleanup(os.unlink, f.name)

        async def go() -> None:
            self.assertEqual(await self.ask(door, path=f.name), {})
            await self.assertFailure(self.ask(door, path=f.name), Unreachable)
            for wire in wires:
                await wire.lost
                self.assertLess(len(wire.heard), 1 << 29)
            self.assertEqual(door.connections.idle, [])

        return ensureDeferred(go())

    def test_a_file_that_cannot_be_read(self) -> Any:
        door = self.door("http://127.0.0.1:1")
        return self.assertFailure(self.ask(door, path="/nowhere"), Unreachable)

    def test_a_token_is_in_no_log(self) -> Any:
        door, _ = self.wires([b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"], [CLOSE], token="hush")

        async def go() -> None:
            with self.assertLogs(level=logging.DEBUG) as seen:
                await self.assertFailure(self.ask(door), Unreachable)
                await door.close()
                door.told_away = False
                await self.assertFailure(self.ask(door), Unreachable)
            self.assertEqual(len(seen.output), 2)
            self.assertNotIn("hush", "".join(seen.output))

        return ensureDeferred(go())

    def test_what_is_not_ours_at_the_start(self) -> None:
        body = b'{"error":"this is not the token"}'
        refuses = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for raw, says in (
            (b"SSH-2.0-x\r\n", "cannot reach busd"),
            (YES[:-1] + b"]", "busd answered something that is not its JSON"),
            (refuses, "busd answered 401: this is not the token"),
        ):
            with socket.create_server(("127.0.0.1", 0)) as server:
                speaking = Thread(target=speak, args=(server, raw))
                speaking.start()
                door = self.door(f"http://127.0.0.1:{server.getsockname()[1]}")
                with self.assertLogs("modulebus_synapse.door", logging.ERROR) as seen:
                    self.assertIsNone(door.wants_now())
                speaking.join()
            self.assertEqual(len(seen.output), 1)
            self.assertIn(says, seen.output[0])

    def test_the_start_waits_for_a_busd_that_starts(self) -> None:
        starts = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
        with socket.create_server(("127.0.0.1", 0)) as server:
            speaking = Thread(target=lambda: [speak(server, raw) for raw in (starts, starts, YES)])
            speaking.start()
            self.assertIsNotNone(self.door(f"http://127.0.0.1:{server.getsockname()[1]}").wants_now())
            speaking.join()

    def test_each_asker_stays_in_its_context(self) -> Any:
        """Also one that lets another go on, which has waited for its turn."""
        door, _ = self.busd(lambda _: b"{}")

        async def one(name: str) -> None:
            with LoggingContext(name=name, server_name="localhost") as context:
                await door.ask(question(door))
                self.assertIs(current_context(), context)

        asking = [run_in_background(one, str(i)) for i in range(300)]
        self.assertIs(current_context(), SENTINEL_CONTEXT)
        return gatherResults(asking)

    async def unanswered(self, door: Door) -> None:
        """Asks a question that gets no answer."""
        with self.assertRaises(Unreachable):
            await door.ask(question(door))

    def test_a_request_waits_for_nothing_no_longer_than_for_one_question(self) -> Any:
        time = Frozen()
        door, busd = self.busd(lambda _: time.soon(2.0), time=time, timeout=2.0)

        async def go() -> None:
            with LoggingContext(name="r", server_name="localhost", request=a_request()):
                await self.unanswered(door)
                for _ in range(20):
                    await self.unanswered(door)
            self.assertEqual(len(busd.seen), 1)
            with LoggingContext(name="s", server_name="localhost", request=a_request()):
                await self.unanswered(door)
            self.assertEqual(len(busd.seen), 2)

        return ensureDeferred(go())

    def test_questions_that_are_answered_cost_a_request_nothing(self) -> Any:
        door, _ = self.busd(lambda _: b"{}")

        async def go() -> None:
            with LoggingContext(name="r", server_name="localhost", request=a_request()):
                for _ in range(30):
                    await door.ask(question(door))
                self.assertEqual(door.budgets.current().waited, 0)

        return ensureDeferred(go())

    def test_what_a_request_waited_is_forgotten_with_it(self) -> None:
        budgets = Budgets()
        with LoggingContext(name="r", server_name="localhost", request=a_request()):
            budgets.current().missed(0, 1)
            budgets.current().missed(1, 1.5)
            self.assertEqual(budgets.current().waited, 1.5)
        gc.collect()
        self.assertEqual(budgets._budgets, {})

    def test_what_was_waited_for_at_the_same_time_counts_once(self) -> None:
        budget = Budget(users=True)
        for began, now, waited in ((0, 2, 2), (0, 2, 2), (1, 3, 3), (5, 6, 4), (4, 7, 6), (2, 8, 8), (8, 9, 9)):
            budget.missed(began, now)
            self.assertEqual(budget.waited, waited)

    def slow(self, *takes: float) -> tuple[Door, Frozen, list[float]]:
        """A busd whose answers take so many seconds, one after the other, for a bridge that waits for two."""
        time, asked, left = Frozen(), list[float](), list(takes)

        def answer(request: Request) -> int:
            asked.append(time.seconds())
            took = left.pop(0)

            def done() -> None:
                time.advance(took)
                if not request._disconnected:  # The other side may have given up.
                    request.write(b"{}")
                    request.finish()

            REACTOR.callLater(0, done)
            return NOT_DONE_YET

        door, _ = self.busd(answer, time=time, timeout=2.0)
        return door, time, asked

    def test_a_user_is_held_no_longer_than_the_timeout_by_answers_that_come(self) -> Any:
        door, time, asked = self.slow(0.9, 0.9, 0.9)

        async def go() -> None:
            with LoggingContext(name="r", server_name="localhost", request=a_request()):
                await door.ask(question(door))
                await door.ask(question(door))
                for _ in range(3):
                    with self.assertRaises(Held):
                        await door.ask(question(door))
            self.assertEqual(len(asked), 3, "what is asked after that")

        return ensureDeferred(go())

    def test_quick_answers_fail_no_request_however_many_they_are(self) -> Any:
        door, time, _ = self.slow(*[0.3] * 40)

        async def go() -> None:
            with LoggingContext(name="r", server_name="localhost", request=a_request()):
                for _ in range(40):
                    await door.ask(question(door))
            self.assertAlmostEqual(time.seconds(), 12)

        return ensureDeferred(go())

    def test_another_servers_request_is_held_for_all_of_its_answers(self) -> Any:
        door, _, asked = self.slow(*[0.9] * 10)

        async def go() -> None:
            with LoggingContext(name="r", server_name="localhost", request=a_request("/_matrix/federation/v1/send/1")):
                for _ in range(10):
                    await door.ask(question(door))
            self.assertEqual(len(asked), 10)

        return ensureDeferred(go())

    def test_events_of_other_servers_have_all_their_time_and_take_none(self) -> Any:
        """A user who joins a room has thousands of them checked."""
        door, _, asked = self.slow(*[1.5] * 6)

        async def go() -> None:
            with LoggingContext(name="r", server_name="localhost", request=a_request("/_matrix/client/v3/join/%21r")):
                for _ in range(5):
                    await door.ask(Question("c/n", b"{}", 2.0, bounded=False))
                await door.ask(question(door))
            self.assertEqual(len(asked), 6)

        return ensureDeferred(go())

    def test_a_request_that_is_over_stays_so_whatever_else_it_waits_for(self) -> Any:
        time = Frozen()
        door, _ = self.busd(lambda _: NOT_DONE_YET, time=time, timeout=2.0)
        request = a_request()

        async def go() -> None:
            with LoggingContext(name="r", server_name="localhost", request=request):
                patient = run_in_background(door.ask, Question("c/patient", b"{}", 10.0))
                time.advance(1)
                quick = run_in_background(door.ask, question(door))
            time.advance(1)
            await self.assertFailure(quick, Held)
            time.advance(8)
            await self.assertFailure(patient, Unreachable)
            with LoggingContext(name="r", server_name="localhost", request=request):
                await self.assertFailure(run_in_background(door.ask, question(door)), Held)

        return ensureDeferred(go())

    def test_requests_that_are_over_say_nothing_of_busd(self) -> Any:
        door, _, _ = self.slow(*[0.9] * 9)
        requests = [a_request() for _ in range(3)]

        async def go() -> None:
            for _ in range(2):
                for request in requests:
                    with LoggingContext(name="r", server_name="localhost", request=request):
                        await door.ask(question(door))
            for request in requests:
                with LoggingContext(name="r", server_name="localhost", request=request), self.assertRaises(Held):
                    await door.ask(question(door))
            self.assertFalse(door.breaker.open)

        return ensureDeferred(go())

    def test_an_outage_within_a_request_is_one_where_it_was_hardly_held(self) -> Any:
        door, _, _ = self.slow(0.1, 5)

        async def go() -> None:
            with LoggingContext(name="r", server_name="localhost", request=a_request()):
                await door.ask(question(door))
                with self.assertRaises(Unreachable) as raised:
                    await door.ask(question(door))
            self.assertNotIsInstance(raised.exception, Held)

        return ensureDeferred(go())

    def test_a_busd_that_answers_nobody_is_asked_one_question_at_a_time(self) -> Any:
        time, answers = Frozen(), b""
        door, busd = self.busd(lambda _: answers or time.soon(2.0), time=time, timeout=2.0)

        async def go() -> None:
            nonlocal answers
            for _ in range(3):
                await self.unanswered(door)
            self.assertEqual(len(busd.seen), 3)
            await gatherResults([ensureDeferred(self.unanswered(door)) for _ in range(50)])
            self.assertEqual(len(busd.seen), 4)
            answers = b"{}"
            await door.ask(question(door))
            await gatherResults([self.ask(door) for _ in range(50)])
            self.assertEqual(len(busd.seen), 55)

        return ensureDeferred(go())

    def test_waits_for_a_busd_that_restarts(self) -> Any:
        """Nobody listens, then it is not ready, then it is: no question is lost, whether it may be asked twice or not."""
        asked = 0

        def answer(request: Request) -> bytes:
            nonlocal asked
            asked += 1
            if asked <= 4:
                request.setResponseCode(503)
                request.setHeader(b"Retry-After", b"1")
            return b"{}"

        port = REACTOR.listenTCP(0, Site(Busd(answer)), interface="127.0.0.1")
        number = port.getHost().port
        door = self.door(f"http://127.0.0.1:{number}", timeout=10.0)

        async def go() -> None:
            await port.stopListening()
            asking = [self.ask(door), self.ask(door, again=True)]
            while not door.away:
                await deferLater(REACTOR, 0)
            again = REACTOR.listenTCP(number, Site(Busd(answer)), interface="127.0.0.1")
            self.addCleanup(again.stopListening)
            with self.assertNoLogs("modulebus_synapse.door"):  # Nobody feels it.
                self.assertEqual(await gatherResults(asking), [{}, {}])
            self.assertFalse(door.away)

        return ensureDeferred(go())

    def test_a_busd_that_stays_away_is_not_waited_for(self) -> Any:
        door = self.door("http://127.0.0.1:1", timeout=0.3)

        async def go() -> None:
            await self.unanswered(door)
            door.away_since = REACTOR.seconds() - 60  # Longer than a restart takes.
            tried = []
            door.connections.drop = lambda: tried.append(1)  # type: ignore[method-assign]
            await self.unanswered(door)
            self.assertEqual(tried, [])

        return ensureDeferred(go())

    def test_what_busd_does_not_take_is_one_questions_failure(self) -> Any:
        status = 0

        def answer(request: Request) -> bytes:
            request.setResponseCode(status)
            return b'{"errcode":"M_TOO_LARGE","error":"too large"}'

        door, _ = self.busd(answer)

        async def go() -> None:
            nonlocal status
            with self.assertLogs("modulebus_synapse.door", logging.INFO) as seen:
                for status in (400, 413, 404):
                    with self.assertRaises(Refused):
                        await door.ask(question(door))
            self.assertFalse(door.away)
            self.assertEqual([r.levelname for r in seen.records], ["WARNING"])
            self.assertIn("c/n", seen.output[0])
            self.assertNotIn("back", seen.output[0])

        return ensureDeferred(go())

    def test_a_poll_without_news_is_no_outage(self) -> Any:
        """Proxies end what takes them too long, with 504."""

        def answer(request: Request) -> bytes:
            request.setResponseCode(504)
            return b"<html>"

        door, busd = self.busd(answer)

        async def go() -> None:
            self.assertIsNone(await door.wants(7))
            self.assertFalse(door.away)
            uri, _, _ = busd.seen[0]
            self.assertEqual(uri, b"/_modulebus/v1/wants?server_name=a.example%3A8448&after=7&wait=25s")

        door.server_name = "a.example:8448"
        return ensureDeferred(go())

    def test_a_poll_whose_connection_is_closed_after_a_while_is_no_outage(self) -> Any:
        """Some proxies close the connection, and say nothing. Where it is closed at once, nobody answers."""
        time = Frozen()
        door, wires = self.wires([], [CLOSE], [CLOSE], [CLOSE], time=time)

        async def go() -> None:
            polling = ensureDeferred(door.wants(7))
            await self.heard(wires)
            time.advance(10.0)
            wires[0].say(CLOSE)
            self.assertIsNone(await polling)
            self.assertFalse(door.away)
            e = await self.assertFailure(ensureDeferred(door.wants(7)), Unreachable)
            self.assertTrue(e.outage)

        return ensureDeferred(go())

    def test_what_another_server_answers_is_no_news_and_no_opinion(self) -> Any:
        """A proxy's page for maintenance, or whatever else has busd's address now, may answer with 200 and JSON."""
        body = b""
        door, _ = self.busd(lambda _: body)
        ours = b'{"roster_revision":3,"callbacks":{}}'

        async def go() -> None:
            nonlocal body
            for body in (b"{}", b'{"status":"ok"}', b'{"callbacks":{}}', b'{"roster_revision":3}', b'{"roster_revision":0,"callbacks":{}}'):
                e = await self.assertFailure(ensureDeferred(door.wants(0)), Unreachable)
                self.assertTrue(e.outage)
            body = ours
            self.assertEqual(await door.wants(0), json.loads(ours))
            self.assertFalse(door.away)
            for body in (b"{}", b'{"answer":{}}', b'{"roster_revision":"3"}'):
                for again in (True, False):
                    e = await self.assertFailure(self.ask(door, again), Unreachable)
                    self.assertTrue(e.outage)
            body = b'{"roster_revision":3}'
            self.assertEqual(await self.ask(door), {"roster_revision": 3})

        return ensureDeferred(go())

    def test_what_a_proxy_does_not_take_is_one_questions_failure(self) -> Any:
        """It has limits and rules of its own, and says so with a page."""
        status = 0

        def answer(request: Request) -> bytes:
            request.setResponseCode(status)
            return b"<html>"

        door, _ = self.busd(answer)

        async def go() -> None:
            nonlocal status
            for status in (400, 403, 413, 431):
                await self.assertFailure(self.ask(door), Refused)
            self.assertFalse(door.away)
            for status in (401, 404, 500):  # Whatever is in it.
                await self.assertFailure(self.ask(door), Unreachable)

        return ensureDeferred(go())

    def test_a_token_that_may_not_ask_is_an_outage_that_is_told_once(self) -> Any:
        """busd refuses polls and questions alike, whatever is in them, so what the operator says of outages holds."""

        def answer(request: Request) -> bytes:
            request.setResponseCode(403)
            return b'{"errcode":"M_FORBIDDEN","error":"this token has the scope read, and this needs ask: see http.tokens"}'

        door, _ = self.busd(answer)

        async def go() -> None:
            with self.assertLogs(door_module.logger, "ERROR") as logged:
                for _ in range(2):
                    await self.assertFailure(ensureDeferred(door.wants(0)), Unreachable)
                    await self.assertFailure(self.ask(door), Unreachable)
            self.assertEqual(len(logged.records), 1)

        return ensureDeferred(go())

    def test_an_answer_that_python_does_not_read_is_one_questions_failure(self) -> Any:
        status, body = 200, b""

        def answer(request: Request) -> bytes:
            request.setResponseCode(status)
            return body

        door, _ = self.busd(answer)

        async def go() -> None:
            nonlocal status, body
            body = b'{"answer":"x"}'
            await self.assertFailure(self.ask(door), Refused)
            for body in (b'{"answer":' + b'{"x":' * 100_000 + b"1" + b"}" * 100_001, b'{"answer":{"x":' + b"1" * 5000 + b"}}"):
                status = 200
                await self.assertFailure(self.ask(door), Refused)
                self.assertFalse(door.away)
                self.assertFalse(door.breaker.unanswered)
                e = await self.assertFailure(ensureDeferred(door.wants(0)), Unreachable)  # That is not about a question.
                self.assertTrue(e.outage)
                status = 502
                await self.assertFailure(self.ask(door), Unreachable)
                door._back()

        return ensureDeferred(go())

    def test_a_busd_that_asks_for_silence_holds_nobody_past_their_time(self) -> Any:
        time = Frozen()

        def answer(request: Request) -> bytes:
            request.setResponseCode(503)
            request.setHeader(b"Retry-After", b"1")
            return b"{}"

        door, busd = self.busd(answer, time=time, timeout=0.4)

        async def go() -> None:
            await self.assertFailure(self.ask(door), Unreachable)
            self.assertEqual((time.seconds(), len(busd.seen)), (0, 1))
            await self.assertFailure(self.ask(door), Unreachable)  # It would be silent for half a second.
            self.assertEqual((time.seconds(), len(busd.seen)), (0, 1))

        return ensureDeferred(go())
