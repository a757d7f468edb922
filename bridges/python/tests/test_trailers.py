from types import SimpleNamespace
from typing import Any, cast

import pytest
from nats.aio.client import Client

from modulebus import frames
from modulebus.link import Link
from modulebus.subjects import Subjects
from modulebus.web import Exchange, Web

START = {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}
BODY = {"type": "http.response.body", "body": b"body"}
TRAILERS = {"type": "http.response.trailers", "headers": [(b"x-last", b"1")]}


async def sent(*messages: dict[str, Any]) -> tuple[int, Exception | None]:
    """Answers a HEAD request with an application that sends the messages. It returns how many frames there were, and what failed."""
    published: list[bytes] = []
    failed: Exception | None = None

    async def publish(subject: str, payload: bytes, reply: str = "") -> None:
        published.append(payload)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal failed
        try:
            for message in messages:
                await send(message)
        except Exception as error:
            failed = error

    client = cast(Client, SimpleNamespace(publish=publish, max_payload=1 << 20))
    exchange = Exchange(Web(Link(client, Subjects("example.com", "gate", "w")), 1), "g.c.t")
    request = frames.Request(True, False, False, 0, 1 << 18, 0, "127.0.0.1:1", "http", "HEAD", "example.com", "/", [], [], b"")
    await exchange.run(request, application)
    return len(published), failed


async def test_trailers_of_a_response_without_a_body_are_dropped() -> None:
    assert await sent(START, BODY, TRAILERS) == (1, None)


@pytest.mark.parametrize("late", [BODY, START])
async def test_application_that_goes_on_after_its_response_is_told_so(late: dict[str, Any]) -> None:
    frames_sent, failed = await sent(START, BODY, late)
    assert frames_sent == 1
    assert isinstance(failed, RuntimeError)
