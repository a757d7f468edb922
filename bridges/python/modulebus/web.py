"""Web resources: HTTP and WebSockets over NATS, answered by ASGI applications (ASGI 3.0, specification 2.4)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import traceback
import urllib.parse
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from . import frames, nearby
from .contained import Escaped, contained
from .homeserver import ASGIApplication
from .link import Link
from .stream import WINDOW, Stream, StreamEnded
from .websocket import WebSocket

logger = logging.getLogger("modulebus")

INLINE = 32 << 10  # bytes of a body in the same frame as the head
ACCEPT_AFTER = 0.05  # seconds a handler may be silent before the gateway is told that it is at work
BEAT = 1.0  # seconds between looks for silent gateways
PEERS = "_ctl"  # the token of what is between two processes

SILENCE = 20.0
"""How many seconds a gateway may say nothing. Beyond: its streams end."""

_NO_BODY = (204, 304)
_EARLY_HINTS = 103


class ClientGone(OSError):
    """What an application's send raises when nobody takes the response any more."""


class Web:
    """Serves the web resources of a worker."""

    def __init__(self, link: Link, concurrency: int) -> None:
        self.link = link
        self.concurrency = concurrency
        self.streams: dict[str, Stream] = {}  # by our token
        self.tasks: set[asyncio.Task[None]] = set()
        self.near: set[Exchange] = set()  # those that have a line, or have looked for one
        self._subscriptions: list[Subscription] = []
        self._beat: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listens for frames of streams. It must be called before requests may come."""
        if self._beat is not None:
            return
        for channel in "cb":
            subject = self.link.subjects.stream(channel, "*")
            self._subscriptions.append(await self.link.hear(subject, self._on_frame))
        self._beat = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Stops listening. Streams under way are lost."""
        if self._beat is not None:
            self._beat.cancel()
        for subscription in self._subscriptions:
            await subscription.unsubscribe()

    async def drain(self, timeout: float) -> None:
        """Waits for requests under way, and ends those that take longer than that many seconds."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=timeout)
        for task in list(self.tasks):
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=1)

    def serve(self, msg: Msg, application: ASGIApplication) -> None:
        """Begins to answer a request, in a task of its own."""
        task = asyncio.create_task(self._answer(msg, application))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _answer(self, msg: Msg, application: ASGIApplication) -> None:
        exchange = Exchange(self, msg.reply)
        if len(self.tasks) > self.concurrency:
            text = f"has {self.concurrency} requests under way"
            await exchange.reset(frames.Reset(frames.REFUSED, 503, text, retryable=True))
            return
        try:
            request = frames.decode(msg.data)
            if not isinstance(request, frames.Request):
                raise frames.MalformedFrame("is not a request")
        except frames.MalformedFrame as error:
            await exchange.reset(frames.Reset(frames.MALFORMED, text=f"cannot read the request: {error}"))
            return
        await exchange.run(request, application)

    async def _on_frame(self, msg: Msg) -> None:
        token = msg.subject.rpartition(".")[2]
        try:
            frame = frames.decode(msg.data)
        except frames.MalformedFrame as error:
            frame = frames.Reset(frames.MALFORMED, text=str(error))
        if token == PEERS:
            if isinstance(frame, frames.Ping):
                await self._on_ping(msg, frame)
            return
        stream = self.streams.get(token)
        if stream is not None and (code := stream.take(frame)):
            await self.link.client.publish(msg.reply, frames.reset(frames.Reset(code)))
            stream.fail("frames were lost")
        if stream is None and isinstance(frame, frames.Data) and msg.reply:
            await self.link.client.publish(msg.reply, frames.reset(frames.Reset(frames.CANCELLED, text="takes no more of the request")))

    async def _on_ping(self, msg: Msg, ping: frames.Ping) -> None:
        states = []
        for other in ping.states:
            stream = self.streams.get(other.token)
            states.append(stream.state() if stream else frames.State(other.token, gone=True))
            if stream and stream.compare(other):
                stream.fail("frames were lost")
        if ping.answer and msg.reply:
            await self.link.client.publish(msg.reply, frames.pong(states))

    async def _look(self) -> None:
        """Ends the streams of gateways that nothing was heard of for too long."""
        while True:
            await asyncio.sleep(BEAT)
            for stream in list(self.streams.values()):
                if time.monotonic() - stream.heard > SILENCE:
                    stream.fail("the gateway is gone")


class Exchange:
    """One request and its response."""

    def __init__(self, web: Web, gateway: str) -> None:
        self.web = web
        self._gateway = {"c": gateway, "b": _on_channel(gateway, "b")}
        self._line: nearby.Line | None = None  # None: bodies go over NATS
        self._joining = asyncio.Lock()  # held while a line is opened: the response does not begin meanwhile
        self.stream = Stream(self._send, 0)
        self._request: frames.Request
        self._status = 0  # until the application began to respond
        self._fields: frames.Fields = []
        self._length = -1  # unknown
        self._handed = 0  # bytes of the body that the application has handed over
        self._began = False  # the head was sent
        self._sent = False  # the application has handed over all of the body
        self._trailing: frames.Fields | None = None  # what is there of the trailers that follow the body; None where none do
        self._over = False  # the response was sent
        self._asked = False  # all of the request's body was handed out
        self.clock: asyncio.Task[None] | None = None

    async def _send(self, channel: str, token: str, *frame: bytes | memoryview) -> None:
        if channel == "b" and self._line is not None:
            try:
                await self._line.send(*frame)
            except OSError as error:
                raise StreamEnded(str(error)) from None
            return
        reply = self.web.link.subjects.stream(channel, token) if token else ""
        await self.web.link.client.publish(self._gateway[channel], b"".join(frame), reply)

    async def reset(self, r: frames.Reset) -> None:
        """Breaks the response off: behind what was sent last, so that it overtakes none of it."""
        self._over = True
        with contextlib.suppress(StreamEnded):  # The line is closed, which says the same.
            await self._send("b" if self.stream.sent else "c", "", frames.reset(r))

    async def run(self, request: frames.Request, application: ASGIApplication) -> None:
        """Has an application answer, and sends what it left."""
        self._request = request
        self.stream = Stream(self._send, request.window)
        self.clock = asyncio.create_task(self._accept_later())
        seconds = request.deadline_ms / 1000 or None
        try:
            await asyncio.wait_for(self._call(application), seconds)
            if not self._over:
                await self.reset(frames.Reset(frames.ABORTED, text="sent no whole response"))
        except (ClientGone, StreamEnded):
            pass  # Nobody is there to be told.
        except (TimeoutError, asyncio.TimeoutError):
            await self.reset(frames.Reset(frames.ABORTED, 504, "took too long"))
        except asyncio.CancelledError:
            await asyncio.shield(self.reset(frames.Reset(frames.GOING_AWAY, 503, "stops")))
            raise
        except Exception as error:
            if self.stream.failed and not self._over:
                return  # Nobody is there to be told; frameworks raise an error of their own then.
            raised = (isinstance(error, Escaped) and error.__cause__) or error
            where = "".join(traceback.format_tb(raised.__traceback__)).rstrip()  # What it says may be what a visitor sent: ADR 89.
            logger.error("web resource failed: %s\n%s", type(raised).__name__, where)
            if not self._over:
                await self.reset(frames.Reset(frames.PANIC, text="failed"))
        finally:
            self.clock.cancel()
            self.stream.fail("the request is over")  # Whatever the application left running holds no stream, and opens no line.
            self.web.streams.pop(self.stream.token, None)
            self.web.near.discard(self)
            if self._line is not None:
                self._line.leave()

    async def _call(self, application: ASGIApplication) -> None:
        if self._request.upgrade and _field(self._request.fields, b"Upgrade").lower() == b"websocket":
            await WebSocket(self, self._request).run(application, self._scope("websocket"))
            return
        await contained(application(self._scope("http"), self._receive, self._respond))

    async def _accept_later(self) -> None:
        """Tells the gateway that the application is at work."""
        await asyncio.sleep(ACCEPT_AFTER)
        await self.accept(0)

    async def accept(self, granted: int) -> None:
        """Lets the gateway send to the stream, unless it has ended."""
        if self.stream.failed:
            return
        self.web.streams[self.stream.reach()] = self.stream
        await self.stream.accept(granted)

    async def _shorten(self) -> None:
        """Has bodies go past NATS, where the gateway is on this machine and the response has not begun."""
        async with self._joining:
            if self._line is not None or self._began or self.stream.failed or len(self.web.near) >= nearby.MAX_LINES:
                return
            self.web.near.add(self)
            gateway, _, token = self._gateway["c"].split(".")[-3:]
            line = await nearby.reach(gateway, token, self._receive_nearby, self._parted)
            if line is not None and self.stream.failed:
                line.close()
            elif line is not None:
                self._line = line
                self.stream.chunk, self.stream.window = nearby.CHUNK, nearby.WINDOW

    def _receive_nearby(self, frame: bytearray) -> bool:
        try:
            return not self.stream.take(frames.decode(frame))
        except frames.MalformedFrame:
            return False

    def _parted(self) -> None:
        self.stream.fail("the gateway is gone")

    @property
    def _bodiless(self) -> bool:
        """Whether the response has a head alone, whatever the application sends."""
        return self._request.method == "HEAD" or self._status in _NO_BODY

    def _scope(self, kind: str) -> dict[str, Any]:
        r = self._request
        path, _, query = r.target.partition("?")
        scheme = {"http": "ws", "https": "wss"}.get(r.scheme, "ws") if kind == "websocket" else r.scheme
        headers = [(b"host", r.authority.encode("latin-1"))] + [(name.lower(), value) for name, value in r.fields]
        if r.length > 0 or r.length == 0 and r.method in ("POST", "PUT", "PATCH"):
            headers.append((b"content-length", str(r.length).encode()))
        return {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "2" if r.http2 else "1.1",
            "method": r.method,
            "scheme": scheme,
            "path": urllib.parse.unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": headers,
            "client": _address(r.remote),
            "server": None,
            "subprotocols": [p.strip() for p in _field(r.fields, b"Sec-Websocket-Protocol").decode("latin-1").split(",") if p.strip()],
            "state": {},
            "extensions": {} if kind == "websocket" else {"http.response.trailers": {}, "http.response.early_hint": {}},
        }

    async def _receive(self) -> dict[str, Any]:
        """Is the application's receive."""
        if self._asked:
            while not (self._over or self.stream.failed):
                await self.stream.wait()
            return {"type": "http.disconnect"}
        if self._request.whole:
            self._asked = True
            return {"type": "http.request", "body": self._request.body, "more_body": False}
        if not self.stream.granted:
            if not 0 <= self._request.length < nearby.LEAST:
                await self._shorten()
            await self.accept(self.stream.window)
        try:
            body, more = await self.stream.read()
        except StreamEnded:
            return {"type": "http.disconnect"}
        self._asked = not more
        return {"type": "http.request", "body": body, "more_body": more}

    async def _respond(self, message: dict[str, Any]) -> None:
        """Is the application's send."""
        if self.stream.failed and not self._over:
            raise ClientGone("the client is gone")
        try:
            await self._take(message)
        except StreamEnded as error:
            raise ClientGone(str(error)) from None

    async def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.start(message["status"], _pairs(message), bool(message.get("trailers", False)))
        elif message["type"] == "http.response.body":
            await self.body(bytes(message.get("body", b"")), bool(message.get("more_body", False)))
        elif message["type"] == "http.response.trailers":
            await self.trailers(_pairs(message), bool(message.get("more_trailers", False)))
        elif message["type"] == "http.response.early_hint":
            await self.hint([(b"Link", bytes(link)) for link in message.get("links", [])])
        else:
            raise RuntimeError(f"ASGI message {message['type']} is not one of HTTP's")

    async def hint(self, fields: frames.Fields) -> None:
        """Sends 103 Early Hints (RFC 8297), before the response."""
        if self._status:
            raise RuntimeError("an early hint after the response has begun")
        await self._send("c", "", frames.info(_EARLY_HINTS, fields))

    def start(self, status: int, headers: frames.Fields, trailers: bool = False) -> None:
        """Takes the head of the response. Its Content-Length travels as a number, and not at all where trailers follow the body."""
        if self._status:
            raise RuntimeError("the response has begun already")
        length = _field(headers, b"Content-Length")
        self._status = status
        self._trailing = [] if trailers and not self._bodiless else None
        self._length = int(length) if length.isdigit() and self._trailing is None else -1
        self._fields = [(n, v) for n, v in headers if n.lower() != b"content-length"]

    async def body(self, body: bytes, more: bool) -> None:
        """Sends a piece of the response's body. A response that fits one frame is one."""
        if not self._status:
            raise RuntimeError("a body before the response has begun")
        if self._over or self._sent:
            raise RuntimeError("a body after the response has ended")
        if self._bodiless:
            body = b""
        else:
            self._measure(len(body), more)
        last, self._sent = not more and self._trailing is None, not more
        if not self._began and last and len(body) <= min(INLINE, self.web.link.client.max_payload // 2):
            await self._whole(body)
            return
        if not self._began:
            if not self._bodiless and (self._length >= nearby.LEAST or self._length < 0 and len(body) > INLINE):
                await self._shorten()
            async with self._joining:
                self._began = True
            self.web.streams[self.stream.reach()] = self.stream
            await self._send("c", self.stream.token, frames.response(self._status, self._length, self._fields, None))
        await self.stream.write(body, last)
        if last:
            self._end()

    def _measure(self, size: int, more: bool) -> None:
        """Raises RuntimeError for a body that is not as long as its Content-Length says: no client would take it for whole."""
        self._handed += size
        if self._length >= 0 and (self._handed > self._length or self._handed < self._length and not more):
            raise RuntimeError(f"a body of {self._handed} bytes, and a Content-Length of {self._length}")

    async def trailers(self, fields: frames.Fields, more: bool) -> None:
        """Sends the fields after a body, once all are there. A response that has no body has no trailers either."""
        if not self._sent or self._trailing is None and not self._bodiless:
            raise RuntimeError("trailers before the end of the body, or of a response that did not announce them")
        if self._trailing is None:
            return
        self._trailing += fields
        if not more:
            await self.stream.finish(self._trailing)
            self._end()

    async def _whole(self, body: bytes) -> None:
        length = self._length
        if length < 0 and not self._bodiless:
            length = len(body)
        await self._send("c", "", frames.response(self._status, length, self._fields, body))
        self._end()

    def _end(self) -> None:
        self._over = True
        self.stream.fail("the response was sent")

    async def switch(self, fields: frames.Fields) -> None:
        """Has the stream carry another protocol from now on."""
        await self.accept(WINDOW)
        self._began = self._over = True
        await self._send("c", self.stream.token, frames.response(101, -1, fields, None, upgrade=True))


def _on_channel(subject: str, channel: str) -> str:
    head, _, token = subject.rpartition(".")
    return f"{head.rpartition('.')[0]}.{channel}.{token}"


def _field(fields: frames.Fields, name: bytes) -> bytes:
    """Returns the values of a field, with commas between them."""
    return b", ".join(value for n, value in fields if n.lower() == name.lower())


def _pairs(message: dict[str, Any]) -> frames.Fields:
    return [(bytes(name), bytes(value)) for name, value in message.get("headers", [])]


def _address(remote: str) -> tuple[str, int] | None:
    host, _, port = remote.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdecimal() else None
