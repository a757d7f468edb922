"""Large bodies past NATS, through a Unix socket of a gateway of this machine and user. docs/protocol.md, "Streams", has the words, and
docs/adr/0058-large-bodies-stay-on-the-machine.md the reasons."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from typing import Any

LEAST = 256 << 10
"""How many bytes a body must have to be worth a line. Below: it goes over NATS."""

CHUNK = (256 << 10) - 64  # bytes of a body in one frame

WINDOW = 1 << 20
"""How many bytes of a request's body may be under way on a line. Beyond: the gateway waits for credit."""

MAX_LINES = 256
"""How many lines a worker has at once. Beyond: bodies go over NATS."""

MAX_FRAME = 1 << 20
"""How many bytes a frame on a line may have. Beyond: the line is closed, and its stream fails."""

HANDSHAKE = 1.0  # seconds for the gateway to take the line

PATIENCE = 15.0
"""How many seconds the gateway may take none of what it is sent, and may leave a line open that the worker has left. Beyond: it does
not run, and the line is closed."""

MAX_TOKEN = 255
"""How many bytes a stream's token may have. Beyond: bodies go over NATS."""

_ACCEPTED = b"+"


class Line(asyncio.BufferedProtocol):
    """Carries the bodies of one stream, as frames behind their lengths. `take` is called with each frame that comes, and reports whether
    that is one; `parted` is called when no more will come. It is for one event loop."""

    def __init__(self, take: Callable[[bytearray], bool], parted: Callable[[], None]) -> None:
        self._take = take
        self._parted = parted
        self._transport: asyncio.Transport | None = None
        self._joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writable = asyncio.Event()
        self._writable.set()
        self._broken = False  # something that was to be sent is not
        self._left = False  # nothing more is to be sent
        self._patience: asyncio.TimerHandle | None = None
        self._expect(len(_ACCEPTED), self._answered)

    async def open(self, path: str, token: str) -> None:
        """Connects, and waits until the gateway takes the line for its stream. Raises OSError."""
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: self, path)
        transport.write(bytes([len(token)]) + token.encode())
        await self._joined

    async def send(self, *frame: bytes | memoryview) -> None:
        """Sends a frame, in pieces, and returns when the system has all of it. Raises OSError."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the gateway has closed the line")
        self._transport.write(b"".join((sum(map(len, frame)).to_bytes(4, "big"), *frame)))
        await self._writable.wait()
        if self._broken:
            raise ConnectionError("the gateway has closed the line")

    def leave(self) -> None:
        """Ends the worker's side. What was sent arrives, and the gateway closes the other."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()
            self._left = True
            self._wait()

    def close(self) -> None:
        """Ends the line at once."""
        if self._transport is not None:
            self._transport.abort()

    def _wait(self) -> None:
        """Closes the line if nothing changes."""
        self._wait_no_more()
        self._patience = asyncio.get_running_loop().call_later(PATIENCE, self.close)

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    def _expect(self, size: int, then: Callable[[bytearray], None]) -> None:
        self._memory, self._filled, self._then = bytearray(size), 0, then

    def _answered(self, answer: bytearray) -> None:
        self._expect(4, self._announced)
        if answer != _ACCEPTED:
            self.close()
        elif not self._joined.done():
            self._joined.set_result(None)

    def _announced(self, length: bytearray) -> None:
        size = int.from_bytes(length, "big")
        if 0 < size <= MAX_FRAME:
            self._expect(size, self._received)
        else:
            self.close()

    def _received(self, frame: bytearray) -> None:
        self._expect(4, self._announced)
        if not self._take(frame):
            self.close()

    def connection_made(self, transport: Any) -> None:
        """Implements asyncio.BaseProtocol."""
        self._transport = transport
        transport.set_write_buffer_limits(high=0)  # The system has what was sent, also when the process ends.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Implements asyncio.BufferedProtocol."""
        return memoryview(self._memory)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Implements asyncio.BufferedProtocol."""
        self._filled += nbytes
        if self._filled == len(self._memory):
            self._then(self._memory)

    def pause_writing(self) -> None:
        """Implements asyncio.BaseProtocol."""
        self._writable.clear()
        self._wait()

    def resume_writing(self) -> None:
        """Implements asyncio.BaseProtocol."""
        self._writable.set()
        if self._left:
            self._wait()
        else:
            self._wait_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Implements asyncio.BaseProtocol."""
        self._wait_no_more()
        self._broken = not self._writable.is_set()
        self._writable.set()
        if not self._joined.done():
            self._joined.set_exception(ConnectionError("the gateway does not take the line"))
        elif not self._joined.cancelled():
            self._parted()


async def reach(gateway: str, token: str, take: Callable[[bytearray], bool], parted: Callable[[], None]) -> Line | None:
    """Opens the line of the stream that the gateway calls `token`. None: the gateway is on another machine, or another user's, or does
    not answer within a second."""
    path = place(gateway)
    if path is None or len(token) > MAX_TOKEN:
        return None
    line, joined = Line(take, parted), False
    try:
        await asyncio.wait_for(line.open(path, token), HANDSHAKE)
        joined = True
    except (OSError, TimeoutError, asyncio.TimeoutError):
        return None
    finally:
        if not joined:
            line.close()
    return line


def place(gateway: str) -> str | None:
    """Returns where a gateway's socket is: in a folder that nobody but this user can enter. None: there is no such folder."""
    if not hasattr(os, "geteuid") or not (gateway.isascii() and gateway.isalnum()):
        return None
    folder = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"modulebus-{os.geteuid()}")
    try:
        found = os.lstat(folder)
    except OSError:
        return None
    private = stat.S_ISDIR(found.st_mode) and found.st_mode & 0o777 == 0o700 and found.st_uid == os.geteuid()
    return os.path.join(folder, gateway) if private else None
