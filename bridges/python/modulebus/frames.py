"""The frames of HTTP over NATS. docs/protocol.md, "Web resources", has the grammar; there is one spelling for each frame."""

from __future__ import annotations

from dataclasses import dataclass, field

REQUEST, RESPONSE, INFO, DATA, END, ACCEPT, CREDIT, RESET, PING, PONG = range(0x11, 0x1B)
_INFO, _DATA, _END, _ACCEPT, _CREDIT, _RESET = 0x13, 0x14, 0x15, 0x16, 0x17, 0x18

MALFORMED, PANIC, ABORTED, TOO_LARGE, CANCELLED, LOST, FLOW, REFUSED, GOING_AWAY, BODY_BROKEN = range(1, 11)
"""Codes of a reset."""

MAX_STATES = 256
"""How many streams one ping or pong may tell of. Beyond: it is malformed."""

MAX_FIELDS = 1024
"""How many fields, and how many trailers, one frame may have. Beyond: it is malformed."""

MAX_TEXT = 512
"""How many bytes the text of a reset may have. Beyond: it is cut."""

Fields = list[tuple[bytes, bytes]]


class MalformedFrame(Exception):
    """A frame that cannot be read."""


@dataclass
class Request:
    whole: bool
    upgrade: bool
    http2: bool
    deadline_ms: int
    window: int
    length: int  # -1 is unknown
    remote: str
    scheme: str
    method: str
    authority: str
    target: str
    fields: Fields
    trailers: Fields
    body: bytes


@dataclass
class Data:
    last: bool
    offset: int
    body: bytes


@dataclass
class End:
    offset: int
    trailers: Fields


@dataclass
class Accept:
    credit: int


@dataclass
class Credit:
    offset: int


@dataclass
class Reset:
    code: int
    status: int = 502
    text: str = ""
    retryable: bool = False


@dataclass
class State:
    token: str
    credit: int = 0
    sent: int = 0
    gone: bool = False


@dataclass
class Ping:
    answer: bool
    states: list[State] = field(default_factory=list)


Incoming = Request | Data | End | Accept | Credit | Reset | Ping


class _Reader:
    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data
        self.at = 2

    def uint(self) -> int:
        value = shift = 0
        while True:
            if self.at >= len(self.data) or shift > 63:
                raise MalformedFrame("a number is cut")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def octets(self) -> bytes:
        size = self.uint()
        if size > len(self.data) - self.at:
            raise MalformedFrame("a string is cut")
        self.at += size
        return bytes(self.data[self.at - size : self.at])

    def string(self) -> str:
        return self.octets().decode("latin-1")

    def fields(self) -> Fields:
        count = self.uint()
        if count > MAX_FIELDS:
            raise MalformedFrame(f"{count} fields")
        return [(self.octets(), self.octets()) for _ in range(count)]

    def states(self) -> list[State]:
        count = self.uint()
        if count > MAX_STATES:
            raise MalformedFrame(f"{count} states")
        return [State(self.string(), self.uint(), self.uint(), self._flag()) for _ in range(count)]

    def _flag(self) -> bool:
        if self.at >= len(self.data):
            raise MalformedFrame("a state is cut")
        self.at += 1
        return self.data[self.at - 1] == 1

    def rest(self) -> bytes:
        return bytes(memoryview(self.data)[self.at :])


def decode(data: bytes | bytearray) -> Incoming:
    """Reads a frame that a gateway sends. Raises MalformedFrame."""
    if len(data) < 2:
        raise MalformedFrame("shorter than a prelude")
    kind, flags, r = data[0], data[1], _Reader(data)
    if kind == REQUEST:
        return _request(flags, r)
    if kind == _DATA:
        return Data(flags & 1 == 1, r.uint(), r.rest())
    if kind == _END:
        return End(r.uint(), r.fields())
    if kind == _ACCEPT:
        return Accept(r.uint())
    if kind == _CREDIT:
        return Credit(r.uint())
    if kind == _RESET:
        return Reset(r.uint(), r.uint(), r.string(), flags & 0x10 != 0)
    if kind == PING:
        return Ping(flags & 1 == 1, r.states())
    raise MalformedFrame(f"type {kind:#x}")


def _request(flags: int, r: _Reader) -> Request:
    size, deadline, window, length = r.uint(), r.uint(), r.uint(), r.uint() - 1
    remote, scheme, method, authority, target = (r.string() for _ in range(5))
    fields, trailers, body = r.fields(), r.fields(), r.rest()
    whole = flags & 1 == 1
    if size != len(body) or whole and length >= 0 and length != size or not whole and body:
        raise MalformedFrame(f"{len(body)} bytes of body, {size} declared")
    return Request(whole, flags & 2 != 0, flags & 4 != 0, deadline, window, length, remote, scheme, method, authority, target, fields, trailers, body)


def _uint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _string(data: bytes) -> bytes:
    return _uint(len(data)) + data


def _fields(fields: Fields) -> bytes:
    return _uint(len(fields)) + b"".join(_string(canonical(name)) + _string(value) for name, value in fields)


def canonical(name: bytes) -> bytes:
    """Spells a field's name as frames have it: Content-Type."""
    return b"-".join(part[:1].upper() + part[1:].lower() for part in name.split(b"-"))


def response(status: int, length: int, fields: Fields, body: bytes | None, upgrade: bool = False, trailers: Fields | None = None) -> bytes:
    """Writes a response. `body` is all of it, or None when it follows. `length` is -1 when it is unknown."""
    flags = (body is not None) | upgrade << 1
    head = bytes([RESPONSE, flags]) + _uint(len(body or b"")) + _uint(status) + _uint(length + 1)
    return head + _fields(fields) + _fields(trailers or []) + (body or b"")


def info(status: int, fields: Fields) -> bytes:
    return bytes([_INFO, 0]) + _uint(status) + _fields(fields)


def data_head(last: bool, offset: int) -> bytes:
    """Writes what is before the bytes of a data frame."""
    return bytes([_DATA, last]) + _uint(offset)


def end(offset: int, trailers: Fields) -> bytes:
    return bytes([_END, 1]) + _uint(offset) + _fields(trailers)


def accept(granted: int) -> bytes:
    return bytes([_ACCEPT, 0]) + _uint(granted)


def credit(granted: int) -> bytes:
    return bytes([_CREDIT, 0]) + _uint(granted)


def reset(r: Reset) -> bytes:
    return bytes([_RESET, 0x11 if r.retryable else 0x01]) + _uint(r.code) + _uint(r.status) + _string(r.text.encode()[:MAX_TEXT])


def pong(states: list[State]) -> bytes:
    return bytes([PONG, 0]) + _uint(len(states)) + b"".join(
        _string(s.token.encode("latin-1")) + _uint(s.credit) + _uint(s.sent) + bytes([s.gone]) for s in states
    )
