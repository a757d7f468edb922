"""One HTTP stream, as the worker's end has it: what came in and is not read yet, what may be sent, and how it ended."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable
from typing import Protocol

from . import frames

CHUNK = (32 << 10) - 64  # bytes of a body in one frame

WINDOW = 256 << 10
"""How many bytes of a request's body may be under way. Beyond: the gateway waits for credit."""

class Send(Protocol):
    """Sends a frame, in pieces: on a channel, "c" or "b", with this stream's token as the reply subject ("" for none)."""

    def __call__(self, channel: str, token: str, *frame: bytes | memoryview) -> Awaitable[None]: ...


class StreamEnded(Exception):
    """The stream ended before its time: the client is gone, the gateway is, or frames were lost."""


class Stream:
    """Carries the bodies of one request. Its methods are for one event loop; those that take frames do not wait."""

    def __init__(self, send: Send, window: int) -> None:
        self._send = send
        self.token = ""  # ours, once the gateway is to send here
        self.heard = time.monotonic()
        self._failure: str | None = None
        self._changed = asyncio.Event()
        self._queue: list[bytes] = []
        self.received = self._consumed = self.granted = 0
        self.ended = False  # the gateway has sent all
        self.trailers: frames.Fields = []
        self._credit = window
        self.chunk, self.window = CHUNK, WINDOW
        self.sent = 0
        self.done = False  # all was sent
        self._accepted = False
        self._missing = (0, -1)  # how often something seemed lost, and what had come in then

    @property
    def failed(self) -> bool:
        return self._failure is not None

    def fail(self, why: str) -> None:
        """Ends the stream. What came in before can still be read."""
        if self._failure is None:
            self._failure = why
            self._wake()

    def _wake(self) -> None:
        self._changed.set()

    async def wait(self) -> None:
        """Returns when anything has changed."""
        self._changed.clear()
        await self._changed.wait()

    def reach(self) -> str:
        """Gives the stream a name, which nobody can guess, and returns it."""
        self.token = self.token or secrets.token_urlsafe(12)
        return self.token

    async def accept(self, granted: int) -> None:
        """Tells the gateway that the request is here, and how much of its body may be sent."""
        self.granted = max(self.granted, granted)
        if not self._accepted:
            self._accepted = True
            await self._send("c", self.token, frames.accept(granted))
        elif granted:
            await self._send("c", self.token, frames.credit(granted))

    def take(self, frame: frames.Incoming) -> int:
        """Takes a frame. Returns the code of the reset that it calls for, or 0."""
        self.heard = time.monotonic()
        if isinstance(frame, frames.Data):
            return self._push(frame)
        if isinstance(frame, frames.End):
            if self.ended or frame.offset != self.received:
                return frames.LOST
            self.ended, self.trailers = True, frame.trailers
        elif isinstance(frame, frames.Credit | frames.Accept):
            self._credit = max(self._credit, frame.offset if isinstance(frame, frames.Credit) else frame.credit)
        elif isinstance(frame, frames.Reset):
            self.fail("the client is gone")
        self._wake()
        return 0

    def _push(self, frame: frames.Data) -> int:
        if self.failed:
            return 0
        if self.ended or frame.offset != self.received:
            return frames.LOST
        if self.received + len(frame.body) > self.granted:
            return frames.FLOW
        self.received += len(frame.body)
        if frame.body:
            self._queue.append(frame.body)
        self.ended = frame.last
        self._wake()
        return 0

    async def read(self) -> tuple[bytes, bool]:
        """Returns the next piece of what comes in, and whether more follows. Raises StreamEnded."""
        while not self._queue:
            if self.ended:
                return b"", False
            if self._failure is not None:
                raise StreamEnded(self._failure)
            await self.wait()
        piece = self._queue.pop(0)
        self._consumed += len(piece)
        if not self.ended and self.granted - self._consumed <= self.window // 2:
            await self.accept(self._consumed + self.window)
        return piece, bool(self._queue) or not self.ended

    async def write(self, body: bytes, last: bool) -> None:
        """Sends a piece of a body, as fast as there is credit. Raises StreamEnded."""
        at, view = 0, memoryview(body)
        while at < len(body):
            while not self.failed and self._credit <= self.sent:
                await self.wait()
            if self._failure is not None:
                raise StreamEnded(self._failure)
            size = min(self.chunk, len(body) - at, self._credit - self.sent)
            self.done = last and at + size == len(body)
            head, piece = frames.data_head(self.done, self.sent), view[at : at + size]
            self.sent += size
            at += size
            await self._send("b", self.token, head, piece)
        if last:
            await self.finish([])

    async def finish(self, trailers: frames.Fields) -> None:
        """Sends that all was sent, unless the last of it said so."""
        if not self.done:
            self.done = True
            await self._send("b", self.token, frames.end(self.sent, trailers))

    def state(self) -> frames.State:
        """Returns what a pong says of the stream. The end counts as one byte more."""
        return frames.State(self.token, self.granted, self.sent + self.done)

    def compare(self, other: frames.State) -> bool:
        """Takes what a ping says of the stream, and reports whether something was lost for sure: nothing came in from one
        ping to the next although the gateway has sent it."""
        self.heard = time.monotonic()
        self._credit = max(self._credit, other.credit)
        self._wake()
        count, seen = self._missing
        missing = not self.ended and (other.gone or other.sent > self.received)
        if not missing or count and seen != self.received:
            count = 0
        self._missing = (count + 1, self.received) if missing else (0, -1)
        return self._missing[0] > 1
