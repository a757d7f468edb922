"""Answers of HTTP/1.1, from whatever pieces they arrive in."""

from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError

HEAD_LIMIT = 1 << 16  # Bytes.
BODY_LIMIT = 1 << 26  # Bytes; NATS has no larger messages.


class Answer:
    def __init__(self) -> None:
        self.status = 0  # Until its head is whole.
        self.whole = False
        self.reusable = False  # Its connection, when it is whole.
        self._received = bytearray()  # Of the head first, then of the body.
        self._length: int | None = None  # Of the body, where that was announced.
        self._chunks: _ChunkedTransferDecoder | None = None

    @property
    def body(self) -> bytes:
        return bytes(self._received)

    def feed(self, data: bytes) -> None:
        """Takes what came next. Raises ValueError where that makes no answer; its text is about "its answer"."""
        if not self.status:
            data = self._feed_head(data)
        if self.status:
            self._feed_body(data)

    def end(self) -> None:
        """Says that no more comes, which is the end of a body that announced neither a length nor chunks."""
        self.whole = self.whole or self.status > 0 and not self._framed()

    def _framed(self) -> bool:
        return self._length is not None or self._chunks is not None

    def _feed_head(self, data: bytes) -> bytes:
        """Returns what is of the body already."""
        self._received += data
        while not self.status:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if len(head) > HEAD_LIMIT:
                raise ValueError("the head of its answer is too large")
            if not end:
                return b""
            self._received = rest
            self._read_head(bytes(head))
        self._received = bytearray()
        return bytes(rest)

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        version, status = _status_line(first)
        if status < 200:
            return  # Its answer is still to come.
        fields = _fields(lines)
        self._read_framing(status, fields)
        closes = b"close" in fields.get(b"connection", b"").lower()
        self.reusable = version == b"HTTP/1.1" and self._framed() and not closes
        self.status = status

    def _read_framing(self, status: int, fields: dict[bytes, bytes]) -> None:
        coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
        if status in (204, 304):
            self._length = 0
        elif coding is not None:
            if coding.lower() != b"chunked":
                raise ValueError("its answer has an unknown transfer coding")
            self._chunks = _ChunkedTransferDecoder(self._add, self._finish)
        elif length is not None:
            if not length.isdigit() or len(length) > 18:
                raise ValueError("its answer has no valid length")
            self._length = int(length)
            _bound(self._length)

    def _feed_body(self, data: bytes) -> None:
        if self._chunks is not None:
            self._feed_chunks(self._chunks, data)
        elif self._length is None:
            self._add(data)
        else:
            left = self._length - len(self._received)
            self._received += data[:left]
            if len(data) >= left:
                self._finish(data[left:])

    def _feed_chunks(self, chunks: _ChunkedTransferDecoder, data: bytes) -> None:
        try:
            chunks.dataReceived(data)
        except _MalformedChunkedDataError:
            raise ValueError("its answer is not HTTP") from None

    def _add(self, data: bytes) -> None:
        _bound(len(self._received) + len(data))
        self._received += data

    def _finish(self, rest: bytes) -> None:
        self.whole = True
        self.reusable = self.reusable and not rest


def _bound(size: int) -> None:
    if size > BODY_LIMIT:
        raise ValueError("its answer is too large")


def _status_line(line: bytes) -> tuple[bytes, int]:
    version, _, rest = line.partition(b" ")
    status = rest.partition(b" ")[0]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or len(status) != 3 or not status.isdigit() or status < b"100":
        raise ValueError("its answer is not HTTP")
    if status == b"101":
        raise ValueError("its answer is another protocol, that nobody asked for")
    return version, int(status)


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    """The header's fields. Of one that is there twice both values are in it, which is no length and no coding."""
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or name != name.strip():
            raise ValueError("its answer is not HTTP")
        name, value = name.lower(), value.strip()
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields
