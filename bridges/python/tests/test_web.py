import asyncio
from typing import Any, cast

import pytest
from nats.aio.client import Client

from modulebus import frames
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
