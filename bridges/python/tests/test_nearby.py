import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from nats.aio.client import Client

from modulebus import frames, nearby
from modulebus.link import Link
from modulebus.subjects import Subjects
from modulebus.web import Exchange, Web

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has gateways looked for in the working directory: the path of a socket must be short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nearby, "place", lambda gateway: gateway)


@asynccontextmanager
async def gateway(script: Script) -> AsyncIterator[list[Any]]:
    """Has a gateway called G do what the script says with each line that it is asked for. It yields what the scripts returned or raised."""
    came: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            came.append(await script(reader, writer))
        except (OSError, asyncio.IncompleteReadError) as error:
            came.append(error)
        finally:
            writer.close()

    async with await asyncio.start_unix_server(serve, "G"):
        yield came


async def greeted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Takes the line, and returns the token."""
    token = await reader.readexactly((await reader.readexactly(1))[0])
    writer.write(b"+")
    return token.decode()


async def sent(reader: asyncio.StreamReader) -> list[Any]:
    """Returns the frames that a worker sends until it leaves."""
    got = []
    while length := await reader.read(4):
        raw = await reader.readexactly(int.from_bytes(length + await reader.readexactly(4 - len(length)), "big"))
        got.append(frames.decode(raw))
    return got


def framed(*parts: bytes) -> bytes:
    return b"".join(len(p).to_bytes(4, "big") + p for p in parts)


async def until(holds: Callable[[], Any]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


class Ends:
    """What a line said to its stream."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.parted = 0

    def take(self, frame: bytearray) -> bool:
        self.frames.append(bytes(frame))
        return True

    def part(self) -> None:
        self.parted += 1

    async def reach(self) -> nearby.Line | None:
        return await nearby.reach("G", "token", self.take, self.part)


async def test_line_carries_frames_in_order_and_ends_behind_them(here: None) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
        token = await greeted(reader, writer)
        writer.write(framed(b"one", b"x" * 100_000, b"two"))
        return token, await reader.read()

    async with gateway(script) as came:
        ends = Ends()
        line = await ends.reach()
        assert line is not None
        large = os.urandom(900_000)
        await line.send(b"a", memoryview(b"b"))
        await line.send(large)
        line.leave()
        await until(lambda: came and ends.parted)
    assert came == [("token", framed(b"ab", large))]
    assert ends.frames == [b"one", b"x" * 100_000, b"two"]
    assert ends.parted == 1


@pytest.mark.parametrize("answer", [b"", b"-", b"++"])
async def test_gateway_that_takes_no_line_is_left_alone(here: None, answer: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(6)
        writer.write(answer)
        writer.write_eof()
        await reader.read()

    async with gateway(script) as came:
        ends = Ends()
        line = await ends.reach()
        await until(lambda: came)
        if line is not None:  # It was taken, and what follows is no length of a frame.
            await until(lambda: ends.parted)
            with pytest.raises(OSError):
                await line.send(b"x")
    assert (line is not None) == answer.startswith(b"+")


async def test_gateway_that_says_nothing_is_not_waited_for(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearby, "HANDSHAKE", 0.3)  # Time enough to connect, also on a busy machine.

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        return await reader.read()

    async with gateway(script) as came:
        assert await Ends().reach() is None
        await until(lambda: came)
    assert came == [b"\x05token"]


async def test_line_ends_at_what_is_no_frame(here: None) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        await greeted(reader, writer)
        writer.write(b"\xff\xff\xff\xff")
        return await reader.read()

    async with gateway(script) as came:
        ends = Ends()
        assert await ends.reach() is not None
        await until(lambda: came and ends.parted)
    assert not ends.frames


async def test_gateway_that_takes_nothing_is_given_up(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearby, "PATIENCE", 0.05)
    ended = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greeted(reader, writer)
        await ended.wait()

    async with gateway(script):
        ends = Ends()
        line = await ends.reach()
        assert line is not None
        with pytest.raises(OSError):
            while True:
                await line.send(bytes(nearby.CHUNK))
        assert ends.parted == 1
        left = await ends.reach()
        assert left is not None
        left.leave()
        await until(lambda: ends.parted == 2)
        ended.set()


async def test_line_that_was_left_with_something_to_send_is_closed_in_time(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearby, "PATIENCE", 0.1)
    left, ended = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greeted(reader, writer)
        await left.wait()
        await reader.read()
        await ended.wait()

    async with gateway(script):
        ends = Ends()
        line = await ends.reach()
        assert line is not None
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(line.send(bytes(nearby.MAX_FRAME)), 0.01)
        line.leave()
        left.set()
        await until(lambda: ends.parted)
        ended.set()


def test_place_is_in_a_folder_of_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / f"modulebus-{os.geteuid()}"
    assert nearby.place("G") is None
    folder.mkdir(mode=0o700)
    assert nearby.place("G4") == str(folder / "G4")
    assert [name for name in ("", "..", "../G", "a/b", "a.b", "ä", "G\0") if nearby.place(name) is not None] == []
    folder.chmod(0o755)
    assert nearby.place("G") is None
    folder.chmod(0o700)
    if os.geteuid() == 0:  # Only root can give it to somebody else.
        os.chown(folder, 10001, 10001)
        assert nearby.place("G") is None
    folder.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)
    assert nearby.place("G") is None


class Wire:
    """A client of NATS that keeps what is published, by channel."""

    max_payload = 1 << 20

    def __init__(self) -> None:
        self.published: dict[str, list[bytes]] = {"c": [], "b": []}

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        self.published[subject.split(".")[-2]].append(payload)


def exchange(wire: Wire) -> Exchange:
    web = Web(Link(cast(Client, wire), Subjects("example.com", "m", "w")), 1)
    return Exchange(web, "modulebus.example%2Ecom.webg.1.m.G.c.token")


def request(length: int = 0) -> frames.Request:
    return frames.Request(length == 0, False, False, 0, 1 << 30, length, "", "http", "POST", "h", "/", [], [], b"")


def responding(size: int, declared: bool, pieces: int = 4) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", str(size).encode())] if declared else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(pieces):
            await send({"type": "http.response.body", "body": bytes(size // pieces), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return application


async def collected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[Any]:
    await greeted(reader, writer)
    return await sent(reader)


@pytest.mark.parametrize(("size", "declared", "near"), [(1 << 20, True, True), (1 << 20, False, True), (200_000, True, False), (4000, False, False)])
async def test_large_response_passes_nats_by(here: None, size: int, declared: bool, near: bool) -> None:
    wire = Wire()
    async with gateway(collected) as came:
        await exchange(wire).run(request(), responding(size, declared))
        if near:
            await until(lambda: came)
            assert sum(len(f.body) for f in came[0] if isinstance(f, frames.Data)) == size
            assert came[0][-1] == frames.End(size, [])
    assert bool(wire.published["b"]) != near


async def test_large_response_goes_over_nats_without_a_gateway_nearby(here: None) -> None:
    wire = Wire()
    await exchange(wire).run(request(), responding(1 << 20, True))
    bodies = [frames.decode(raw) for raw in wire.published["b"]]
    assert sum(len(f.body) for f in bodies if isinstance(f, frames.Data)) == 1 << 20


async def test_response_that_fails_is_reset_behind_its_data(here: None) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        raise RuntimeError("secret")

    async with gateway(collected) as came:
        await exchange(Wire()).run(request(), application)
        await until(lambda: came)
    assert came == [[frames.Data(False, 0, bytes(100_000)), frames.Reset(frames.PANIC, text="failed")]]


async def test_application_learns_that_its_line_broke(here: None) -> None:
    raised = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await responding(1 << 30, True, 1 << 10)(scope, receive, send)
        except OSError as error:
            raised.append(error)
            raise

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greeted(reader, writer)
        await reader.readexactly(100_000)

    wire = Wire()
    async with gateway(script):
        await exchange(wire).run(request(), application)
    assert len(raised) == 1
    assert not wire.published["b"]  # What is not sent on a line is not sent over NATS either.


@pytest.mark.parametrize("whole", [True, False])
async def test_large_request_is_read_from_the_line(here: None, whole: bool) -> None:
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while not seen or seen[-1].get("more_body"):
            seen.append(await receive())
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ok"})

    wire = Wire()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greeted(reader, writer)
        await until(lambda: wire.published["c"])  # There is credit.
        body = bytes(nearby.WINDOW // 2)
        writer.write(framed(frames.data_head(False, 0) + body))
        if whole:
            writer.write(framed(frames.data_head(True, len(body)) + body))
            await reader.read()

    async with gateway(script):
        await exchange(wire).run(request(nearby.WINDOW), application)
    read = sum(len(m.get("body", b"")) for m in seen)
    assert (read, seen[-1]["type"]) == ((nearby.WINDOW, "http.request") if whole else (nearby.WINDOW // 2, "http.disconnect"))
    assert frames.decode(wire.published["c"][0]) == frames.Accept(nearby.WINDOW)


async def test_request_with_more_than_was_granted_ends_its_line(here: None) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        await greeted(reader, writer)
        writer.write(framed(frames.data_head(False, 77) + b"x"))
        return await reader.read()

    async with gateway(script) as came:
        await exchange(Wire()).run(request(1 << 20), application)
        await until(lambda: came)


async def test_lines_are_bounded(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearby, "MAX_LINES", 0)
    wire = Wire()
    async with gateway(collected) as came:
        await exchange(wire).run(request(), responding(1 << 20, True))
    assert not came and wire.published["b"]


@pytest.mark.parametrize("moment", ["while it responds", "after it"])
async def test_body_that_is_read_too_late_holds_nothing(here: None, moment: str) -> None:
    reading: list[asyncio.Task[Any]] = []
    answered = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def read() -> Any:
            if moment == "after it":
                await answered.wait()
            return await receive()

        reading.append(asyncio.create_task(read()))
        if moment != "after it":
            await until(lambda: came)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ok"})

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        came.append(await reader.readexactly(6))
        await answered.wait()
        writer.write(b"+")
        return await reader.read()

    async with gateway(script) as came:
        one = exchange(Wire())
        await one.run(request(1 << 20), application)
        answered.set()
        assert (await reading[0])["type"] == "http.disconnect"
        assert not one.web.near and not one.web.streams
        if moment != "after it":
            await until(lambda: len(came) == 2)
    assert came == ([] if moment == "after it" else [b"\x05token", b""])
