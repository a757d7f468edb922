"""Responses of HTTP/1.1, from whatever pieces they arrive in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

HEAD_LIMIT = 1 << 16
"""How many bytes the head of busd's answer may have. Beyond: it is as if busd could not be reached."""

BODY_LIMIT = 1 << 26
"""How many bytes busd's answer may have; NATS has no larger messages. Beyond: it is as if busd could not be reached."""

_LINE_LIMIT = 1 << 12
"""How many bytes the line before a chunk of busd's answer may have. Beyond: it is as if busd could not be reached."""

NOT_HTTP = "its answer is not HTTP"


class Response:
    """Reads one response. What is done with its head and its body is said by a class that is derived from this one."""

    def __init__(self, method: bytes = b"POST"):
        self.method = method
        self.status = 0  # Until its head is whole.
        self.phrase = b""
        self.fields: list[tuple[bytes, bytes]] = []  # Names as they came.
        self.whole = False
        self.reusable = False  # Its connection, when it is whole.
        self.framed = False  # Its end can be seen without the connection's.
        self.source: Any = None  # What it comes over, and can be paused.
        self._head = bytearray()  # Until it is whole.
        self._left: int | None = None  # Bytes of the body, or of the chunk.
        self._chunks: _Chunks | None = None

    def begin(self) -> None:
        """Is called when the head is whole."""

    def take(self, piece: bytes) -> None:
        """Is called with each piece of the body."""

    def feed(self, data: bytes) -> None:
        """Takes what came next. Raises ValueError where that is no response; its text is about "its answer"."""
        if not self.status:
            data = self._feed_head(data)
        if self.status and not self.whole:
            self._feed_body(data)
        elif data:
            self.reusable = False

    def end(self) -> None:
        """Says that no more comes, which is the end of a body that announced neither a length nor chunks."""
        self.whole = self.whole or self.status > 0 and not self.framed

    def _feed_head(self, data: bytes) -> bytes:
        """Returns what is of the body already."""
        self._head += data
        while not self.status:
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if len(head) > HEAD_LIMIT:
                raise ValueError("the head of its answer is too large")
            if not end:
                return b""
            self._head = rest
            self._read_head(bytes(head))
        rest, self._head = self._head, bytearray()
        return bytes(rest)

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        version, status, self.phrase = _status_line(first)
        if status < 200:
            return  # Its answer is still to come.
        self.fields = [_field(line) for line in lines]
        self._read_framing(status)
        closes = b"close" in self._values(b"connection").lower()
        self.reusable = version == b"HTTP/1.1" and self.framed and not closes
        self.status = status
        self.begin()
        if self._left == 0:
            self.whole = True

    def _values(self, name: bytes) -> bytes:
        """The values of a field. Of one that is there twice both are in it, which is no length and no coding."""
        return b", ".join(value for n, value in self.fields if n.lower() == name)

    def _read_framing(self, status: int) -> None:
        coding, length = self._values(b"transfer-encoding"), self._values(b"content-length")
        if status in (204, 304) or self.method == b"HEAD":
            self._left = 0
        elif coding:
            if coding.lower() != b"chunked":
                raise ValueError("its answer has an unknown transfer coding")
            self._chunks = _Chunks(self.take)
        elif length:
            if not length.isdigit() or len(length) > 18:
                raise ValueError("its answer has no valid length")
            self._left = int(length)
        self.framed = self._left is not None or self._chunks is not None

    def _feed_body(self, data: bytes) -> None:
        rest = b""
        if self._chunks is not None:
            rest = self._chunks.feed(data)
            self.whole = self._chunks.over
        elif self._left is None:
            self.take(data)
        else:
            piece, rest = data[: self._left], data[self._left :]
            self._left -= len(piece)
            if piece:
                self.take(piece)
            self.whole = self._left == 0
        self.reusable = self.reusable and not rest


class Answer(Response):
    """A response whose body is kept, up to BODY_LIMIT."""

    def __init__(self) -> None:
        super().__init__()
        self._body = bytearray()

    @property
    def body(self) -> bytes:
        return bytes(self._body)

    def field(self, name: bytes) -> bytes:
        return self._values(name)

    def begin(self) -> None:
        self._bound(self._left or 0)

    def take(self, piece: bytes) -> None:
        self._bound(len(self._body) + len(piece))
        self._body += piece

    def _bound(self, size: int) -> None:
        if size > BODY_LIMIT:
            raise ValueError("its answer is too large")


class _Chunks:
    """A body in chunks, of which trailers are read and dropped."""

    def __init__(self, take: Callable[[bytes], None]):
        self.take = take
        self.over = False
        self._waiting = bytearray()
        self._left = 0  # Bytes of the chunk.
        self._state = self._size

    def feed(self, data: bytes) -> bytes:
        """Returns what comes after the body."""
        self._waiting += data
        while not self.over and self._state():
            pass
        if not self.over:
            return b""
        rest, self._waiting = self._waiting, bytearray()
        return bytes(rest)

    def _line(self) -> bytes | None:
        line, end, rest = self._waiting.partition(b"\r\n")
        if len(line) > _LINE_LIMIT:
            raise ValueError(NOT_HTTP)
        if not end:
            return None
        self._waiting = rest
        return bytes(line)

    def _size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        digits = line.partition(b";")[0].strip()
        if not digits or len(digits) > 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise ValueError(NOT_HTTP)
        self._left = int(digits, 16)
        self._state = self._data if self._left else self._trailer
        return True

    def _data(self) -> bool:
        piece = bytes(self._waiting[: self._left])
        del self._waiting[: self._left]
        self._left -= len(piece)
        if piece:
            self.take(piece)
        if self._left == 0:
            self._state = self._end_of_chunk
        return self._left == 0

    def _end_of_chunk(self) -> bool:
        if len(self._waiting) < 2:
            return False
        if self._waiting[:2] != b"\r\n":
            raise ValueError(NOT_HTTP)
        del self._waiting[:2]
        self._state = self._size
        return True

    def _trailer(self) -> bool:
        line = self._line()
        self.over = line == b""
        return line is not None


def _status_line(line: bytes) -> tuple[bytes, int, bytes]:
    version, _, rest = line.partition(b" ")
    status, _, phrase = rest.partition(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or len(status) != 3 or not status.isdigit() or status < b"100":
        raise ValueError(NOT_HTTP)
    if status == b"101":
        raise ValueError("its answer is another protocol, that nobody asked for")
    return version, int(status), phrase.strip()


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or name != name.strip():
        raise ValueError(NOT_HTTP)
    return name, value.strip()
