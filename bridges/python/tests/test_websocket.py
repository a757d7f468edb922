import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, cast

import nats.errors
import pytest
from nats.aio.client import Client
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from modulebus import frames, websocket
from modulebus.link import Link
from modulebus.subjects import Subjects
from modulebus.web import Exchange, Web

Application = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

REQUEST = frames.Request(
    False, True, False, 0, 1 << 20, -1, "", "http", "GET", "h", "/", [(b"Upgrade", b"websocket"), (b"Sec-Websocket-Key", b"a2V5")], [], b""
)
ACCEPT = {"type": "websocket.accept"}


class Peer:
    """A client of an application's WebSocket, at the other end of the frames."""

    max_payload = 1 << 20

    def __init__(self, application: Application) -> None:
        self.connection = Connection(ConnectionType.CLIENT)
        self.heard: list[Event] = []
        self.resets = 0
        self.sent = 0
        self.exchange = Exchange(Web(Link(cast(Client, self), Subjects("example.com", "m", "w")), 1), "g.c.t")
        self.running = asyncio.create_task(self.exchange.run(REQUEST, application))

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        with contextlib.suppress(frames.MalformedFrame):  # The head of the response is for gateways.
            frame = frames.decode(payload)
            self.resets += isinstance(frame, frames.Reset)
            if isinstance(frame, frames.Data):
                self.connection.receive_data(frame.body)
                self.heard += self.connection.events()

    async def open(self) -> None:
        while not self.exchange.stream.granted:
            await asyncio.sleep(0)

    def say(self, *events: Event) -> None:
        self.send(b"".join(self.connection.send(event) for event in events))

    def send(self, data: bytes) -> None:
        assert self.exchange.stream.take(frames.Data(False, self.sent, data)) == 0
        self.sent += len(data)

    def leave(self) -> None:
        """Ends what the client sends, as one does that half-closes its connection."""
        assert self.exchange.stream.take(frames.End(self.sent, [])) == 0

    async def hears(self, kind: type[Event]) -> Any:
        while not (found := [event for event in self.heard if isinstance(event, kind)]):
            await asyncio.sleep(0)
        return found[0]


class Scripted:
    """An application that accepts, keeps what it receives until it is told that the client is gone, and then sends or raises."""

    def __init__(self, *then: dict[str, Any] | Exception) -> None:
        self.then = then
        self.received: list[dict[str, Any]] = []
        self.raised: list[Exception] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.received.append(await receive())
        await send(ACCEPT)
        while self.received[-1]["type"] != "websocket.disconnect":
            self.received.append(await receive())
        for message in self.then:
            if isinstance(message, Exception):
                raise message
            try:
                await send(message)
            except Exception as error:
                self.raised.append(error)


async def deaf(scope: Any, receive: Any, send: Any) -> None:
    """Accepts, and asks for nothing."""
    await receive()
    await send(ACCEPT)
    await asyncio.Event().wait()


async def test_ping_to_an_application_that_receives_nothing_is_answered() -> None:
    peer = Peer(deaf)
    await peer.open()
    peer.say(TextMessage("unread"), Ping(b"there?"))
    assert (await peer.hears(Pong)).payload == b"there?"
    peer.running.cancel()


async def test_client_that_closes_is_answered_by_an_application_that_receives_nothing() -> None:
    peer = Peer(deaf)
    await peer.open()
    peer.say(CloseConnection(4001, "enough"))
    assert (await peer.hears(CloseConnection)).code == 4001
    peer.running.cancel()


async def test_application_that_receives_nothing_has_its_client_wait() -> None:
    peer = Peer(deaf)
    await peer.open()
    with contextlib.suppress(AssertionError):  # There is no more credit.
        while True:
            before = peer.exchange.stream.granted
            peer.say(BytesMessage(bytes(30_000)))
            for _ in range(10):
                await asyncio.sleep(0)
            assert peer.sent < 1 << 22, before
    assert peer.sent < websocket.MAX_WAITING + (1 << 20)
    peer.running.cancel()


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "away"), (4321, "ünd")])
async def test_application_is_told_how_the_client_closed(code: int, reason: str) -> None:
    application = Scripted({"type": "websocket.send", "text": "late"})
    peer = Peer(application)
    await peer.open()
    peer.say(TextMessage("a"), BytesMessage(b"b"), CloseConnection(code, reason))
    await peer.running
    assert application.received[1:] == [
        {"type": "websocket.receive", "text": "a"},
        {"type": "websocket.receive", "bytes": b"b"},
        {"type": "websocket.disconnect", "code": code, "reason": reason},
    ]
    assert [type(e).__mro__[1] for e in application.raised] == [OSError]
    assert [e.code for e in peer.heard if isinstance(e, CloseConnection)] == [code]


async def test_client_that_half_closes_is_gone_and_hears_the_rest() -> None:
    application = Scripted({"type": "websocket.send", "text": "the rest"})
    peer = Peer(application)
    await peer.open()
    peer.say(TextMessage("a"))
    peer.leave()
    await peer.running
    assert application.received[-1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert [getattr(e, "data", None) or getattr(e, "code", None) for e in peer.heard] == ["the rest", 1000]


@pytest.mark.parametrize(("sent", "code"), [(b"\x81\x82\0\0\0\0\xc3\x28", 1007), (b"\xc1\x80\0\0\0\0", 1002), (b"\x83\x80\0\0\0\0", 1002)])
async def test_client_that_sends_what_is_no_websocket_is_told_so(sent: bytes, code: int) -> None:
    application = Scripted()
    peer = Peer(application)
    await peer.open()
    peer.send(sent)
    assert (await peer.hears(CloseConnection)).code == code
    await peer.running
    assert application.received[-1]["code"] == code


async def test_message_in_many_parts_takes_no_more_memory_than_its_bytes() -> None:
    application = Scripted()
    peer = Peer(application)
    await peer.open()
    for i in range(2000):
        peer.say(TextMessage("ü" if i % 2 else "", message_finished=i == 1999))
        await asyncio.sleep(0)
    peer.say(CloseConnection(1000))
    await peer.running
    assert application.received[1] == {"type": "websocket.receive", "text": "ü" * 1000}


async def test_message_that_is_too_large_closes_the_websocket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 1000)
    application = Scripted()
    peer = Peer(application)
    await peer.open()
    peer.say(TextMessage("x" * 1001))
    assert (await peer.hears(CloseConnection)).code == 1009
    peer.send(b"\x81\x81\0\0\0\0y")
    peer.leave()
    await peer.running
    assert [m["type"] for m in application.received] == ["websocket.connect", "websocket.disconnect"]


async def test_application_that_raises_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer(Scripted(ValueError("secret")))
    await peer.open()
    peer.leave()
    await peer.running
    assert [e.code for e in peer.heard if isinstance(e, CloseConnection)] == [1011]
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(("raises", "code", "reason"), [(False, 4000, "x" * 123), (True, 1011, "")])
async def test_close_waits_for_the_clients_answer(monkeypatch: pytest.MonkeyPatch, raises: bool, code: int, reason: str) -> None:
    """Else what the client has sent meanwhile would reset the connection, and take the close frame away."""

    async def closing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        if raises:
            raise ValueError
        await send({"type": "websocket.close", "code": 4000, "reason": "x" * 200})

    monkeypatch.setattr(websocket, "CLOSING", 60.0)
    peer = Peer(closing)
    closed = await peer.hears(CloseConnection)
    assert (closed.code, closed.reason or "") == (code, reason)
    assert not peer.running.done()
    peer.say(CloseConnection(code))
    await peer.running
    assert peer.resets == 0
    monkeypatch.setattr(websocket, "CLOSING", 0.0)
    silent = Peer(closing)
    await silent.running
    assert silent.resets == 1


async def test_application_is_told_that_nats_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def publish(*_: Any) -> None:
        raise nats.errors.ConnectionClosedError

    application = Scripted({"type": "websocket.send", "text": "late"})
    peer = Peer(application)
    await peer.open()
    monkeypatch.setattr(peer, "publish", publish)
    peer.say(Ping())
    await peer.running
    assert application.received[-1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert [isinstance(e, OSError) for e in application.raised] == [True]


@pytest.mark.parametrize("messages", [[ACCEPT, ACCEPT], [{"type": "websocket.send", "text": "early"}], [ACCEPT, {"type": "http.response.start"}]])
async def test_message_at_the_wrong_time_is_the_applications_error(messages: list[dict[str, Any]]) -> None:
    raised: list[Exception] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            for message in messages:
                await send(message)
        except RuntimeError as error:
            raised.append(error)

    peer = Peer(application)
    if messages[0] is ACCEPT:
        await peer.open()
        peer.leave()
    await peer.running
    assert len(raised) == 1


async def test_frame_that_is_given_up_half_way_ends_the_stream() -> None:
    """What followed would be taken for the rest of it."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        sending = asyncio.create_task(send({"type": "websocket.send", "bytes": bytes(4 << 20)}))
        while not peer.exchange.stream.sent:
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])
        await send({"type": "websocket.send", "text": "the next"})

    peer = Peer(application)
    await peer.running
    assert not [e for e in peer.heard if isinstance(e, TextMessage | CloseConnection)]
