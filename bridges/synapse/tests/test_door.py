"""The HTTP client, against a busd that misbehaves. Trial's test cases bring the reactor."""

import json
import logging
import os
import tempfile
from collections.abc import Callable
from typing import Any

from modulebus_synapse.config import Config
from modulebus_synapse.door import Door, Failed, Unreachable
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
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


class DoorTest(TestCase):
    def serve(self, factory: Any, **config: Any) -> Door:
        port = REACTOR.listenTCP(0, factory, backlog=1000, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return self.door(f"http://127.0.0.1:{port.getHost().port}", **config)

    def busd(self, answer: Callable[[Request], bytes | int], **config: Any) -> tuple[Door, Busd]:
        busd = Busd(answer)
        return self.serve(Site(busd), **config), busd

    def door(self, url: str, **config: Any) -> Door:
        door = Door(Config(url=url, **{"timeout": 60.0, **config}), REACTOR)
        self.addCleanup(door.close)
        return door

    def ask(self, door: Door, again: bool = False, path: str | None = None) -> "Deferred[Any]":
        return ensureDeferred(door.ask("c/n", b'{"a":1}', again, path))

    def test_asks_over_connections_that_are_kept(self) -> Any:
        peers = set()

        def answer(request: Request) -> bytes:
            peers.add(request.getClientAddress().port)
            return b'{"answer":{"x":1}}'

        door, busd = self.busd(answer, token="secret", timeout=2.0)

        async def go() -> None:
            for _ in range(5):
                self.assertEqual(await door.ask("c/n", b'{"a":1}', False), {"answer": {"x": 1}})

        def check(_: Any) -> None:
            self.assertEqual(len(peers), 1)
            uri, headers, body = busd.seen[0]
            self.assertEqual((uri, body), (b"/_modulebus/v1/ask/c/n", b'{"a":1}'))
            self.assertEqual(headers[b"authorization"], b"Bearer secret")
            self.assertEqual(headers[b"content-type"], b"application/json")
            self.assertEqual(headers[b"x-modulebus-timeout"], b"1800ms")

        return ensureDeferred(go()).addCallback(check)

    def test_a_decision_that_failed(self) -> Any:
        def answer(request: Request) -> bytes:
            request.setResponseCode(502)
            return b'{"errcode":"M_UNKNOWN","error":"m: timeout","module":"m","failure":"timeout"}'

        door, _ = self.busd(answer)
        return self.assertFailure(self.ask(door), Failed)

    def test_gives_up_in_time(self) -> Any:
        door, _ = self.busd(lambda _: NOT_DONE_YET, timeout=0.2)

        def check(e: Unreachable) -> None:
            self.assertFalse(e.outage)

        return self.assertFailure(self.ask(door), Unreachable).addCallback(check)

    def test_who_gives_up_hears_of_that(self) -> Any:
        """Synapse cancels callbacks of clients that left. That is no outage, and nothing to ask again."""
        door, busd = self.busd(lambda _: NOT_DONE_YET, timeout=5.0)
        asking = self.ask(door, again=True)
        REACTOR.callLater(0.2, asking.cancel)

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
                    await door.ask("c/n", b"{}", False)
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
            self.assertEqual(await door.ask("c/n", b"{}", True), {})
            self.assertEqual(await door.ask("c/n", b"{}", True), {})
            self.assertEqual(len(asked), 3)
            # What must not be asked twice is not.
            with self.assertRaises(Unreachable):
                await door.ask("c/n", b"{}", False)
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
        door, busd = self.busd(lambda _: NOT_DONE_YET, timeout=2.0)

        async def one() -> None:
            with self.assertRaises(Unreachable):
                await door.ask("c/n", b"{}", True)

        def check(_: Any) -> None:
            self.assertLessEqual(len(busd.seen), 128)

        return gatherResults([ensureDeferred(one()) for _ in range(400)]).addCallback(check)
