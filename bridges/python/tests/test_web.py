import asyncio
from typing import Any, cast

import pytest
from nats.aio.client import Client

from modulebus import frames, websocket
from modulebus.link import Link
from modulebus.subjects import Subjects
from modulebus.web import Exchange, Web


class Wire:
    """A client of NATS whose messages nobody gets."""

    max_payload = 1 << 20

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        pass


class Disconnected(Exception):
    """What frameworks make of it when nobody takes a response."""


async def streaming(scope: Any, receive: Any, send: Any) -> None:
    try:
        await send({"type": "http.response.start", "status": 200})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(0)
    except OSError:
        raise Disconnected from None


async def broken(scope: Any, receive: Any, send: Any) -> None:
    raise Disconnected


@pytest.mark.parametrize(("application", "logged"), [(streaming, 0), (broken, 1)])
async def test_client_that_goes_away_is_no_failure_of_the_module(application: Any, logged: int, caplog: pytest.LogCaptureFixture) -> None:
    exchange = Exchange(Web(Link(cast(Client, Wire()), Subjects("example.com", "m", "w")), 1), "g.c.t")
    request = frames.Request(True, False, False, 0, 1 << 20, 0, "", "http", "GET", "h", "/", [], [], b"")
    running = asyncio.create_task(exchange.run(request, application))
    while not exchange.stream.sent and not running.done():
        await asyncio.sleep(0)
    exchange.stream.fail("the client is gone")
    await running
    assert len([r for r in caplog.records if r.getMessage().startswith("web resource failed: Disconnected\n")]) == logged


class Odd(BaseException):
    """As SystemExit, it is no Exception; but it lets a test go on."""


async def odd(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    raise Odd


@pytest.mark.parametrize("upgrade", [False, True])
async def test_application_that_raises_no_exception_fails_its_request_alone(upgrade: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSING", 0.0)
    exchange = Exchange(Web(Link(cast(Client, Wire()), Subjects("example.com", "m", "w")), 1), "g.c.t")
    fields = [(b"Upgrade", b"websocket")] if upgrade else []
    await exchange.run(frames.Request(not upgrade, upgrade, False, 0, 1 << 20, 0, "", "http", "GET", "h", "/", fields, [], b""), odd)
    assert "web resource failed: Odd\n" in caplog.text
    assert "raise Odd" in caplog.text


@pytest.mark.parametrize("declared", [5, 400_000])
@pytest.mark.parametrize(("sent", "fails"), [((0,), False), ((0, 0), False), ((1,), True), ((0, 1), True), ((-1,), True), ((-1, 0), True)])
async def test_body_that_is_not_as_long_as_declared_is_the_applications_failure(declared: int, sent: tuple[int, ...], fails: bool) -> None:
    """Each piece but the first is as long as it says, the first so much longer than declared."""
    raised: list[Exception] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(declared).encode())]})
        try:
            for i, size in enumerate((declared + sent[0], *sent[1:])):
                await send({"type": "http.response.body", "body": bytes(size), "more_body": i + 1 < len(sent)})
        except RuntimeError as error:
            raised.append(error)

    exchange = Exchange(Web(Link(cast(Client, Wire()), Subjects("example.com", "m", "w")), 1), "g.c.t")
    await exchange.run(frames.Request(True, False, False, 0, 1 << 20, 0, "", "http", "GET", "h", "/", [], [], b""), application)
    assert [str(declared) in str(error) for error in raised] == [True] * fails
