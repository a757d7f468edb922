"""WebSockets of ASGI applications, over a stream that has switched protocols."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from . import frames
from .contained import contained
from .stream import StreamEnded

if TYPE_CHECKING:
    from .homeserver import ASGIApplication
    from .web import Exchange

logger = logging.getLogger("modulebus")

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3

MAX_MESSAGE = 16 << 20
"""How many bytes one message of a WebSocket may have. Beyond: the connection is closed, 1009."""

MAX_WAITING = 256 << 10
"""How many bytes of messages wait for an application that does not ask for them. Beyond: the client has to wait, for answers to pings, too."""

CLOSING = 2.0  # seconds for the peer to answer a close

OVERHEAD = 256  # bytes that a message takes beside its text

NORMAL, ABNORMAL, TOO_BIG, INTERNAL = 1000, 1006, 1009, 1011


class WebSocket:
    """One WebSocket."""

    def __init__(self, exchange: Exchange, request: frames.Request) -> None:
        self._exchange = exchange
        self._request = request
        self._connection = Connection(ConnectionType.SERVER)
        self._connected = False  # the application was told that somebody connects
        self._accepted = self._refused = False  # by the application
        self._closed: tuple[int, str] | None = None  # how the peer closed, or what stands for it
        self._messages: deque[dict[str, Any]] = deque()
        self._waiting = 0  # bytes of messages that the application has not asked for yet
        self._changed = asyncio.Event()
        self._partial = bytearray()  # of a message
        self._writing = asyncio.Lock()  # the next frame begins behind the end of the last one

    async def run(self, application: ASGIApplication, scope: dict[str, Any]) -> None:
        """Has the application hold the conversation, and ends what it left open."""
        listening = asyncio.create_task(self._listen())
        try:
            await contained(application(scope, self._receive, self._send))
        except Exception:
            await self._part(INTERNAL, listening)
            raise
        else:
            if not self._accepted and not self._refused:
                await self._refuse()
            await self._part(NORMAL, listening)
        finally:
            listening.cancel()

    async def _part(self, code: int, listening: asyncio.Task[None]) -> None:
        """Closes, and waits for the client to do so: ending the stream at once, with something unread, would take away the close frame."""
        if not self._accepted:
            return
        await self._close(code, "")
        await asyncio.wait([listening], timeout=CLOSING)
        if not listening.done():
            await self._exchange.reset(frames.Reset(frames.CANCELLED, text="closed the WebSocket"))

    async def _receive(self) -> dict[str, Any]:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while not self._messages and self._closed is None and not self._refused:
            await self._change()
        if self._messages:
            message = self._messages.popleft()
            self._waiting -= _size(message)
            self._changed.set()
            return message
        code, reason = self._closed or (ABNORMAL, "")
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _listen(self) -> None:
        """Takes in what the peer sends, also for an application that asks for nothing: pings want answers, and who leaves is gone."""
        try:
            while await self._hear():
                while self._waiting > MAX_WAITING and self._closed is None:
                    await self._change()
        except (StreamEnded, OSError):
            pass
        except Exception as error:  # NATS's, such as that nothing more can be sent.
            logger.error("WebSocket failed: %s", type(error).__name__)
            self._exchange.stream.fail("the connection failed")
        finally:
            self._ended(ABNORMAL, "")

    async def _hear(self) -> bool:
        """Takes in a piece of the stream, and reports whether more may come."""
        piece, more = await self._exchange.stream.read()
        self._connection.receive_data(piece)
        for event in self._connection.events():
            if isinstance(event, CloseConnection):
                await self._answer(event)
                return False
            await self._take(event)
        return more

    def _ended(self, code: int, reason: str) -> None:
        """Notes how the connection ended, for the application. The first end counts."""
        self._closed = self._closed or (code, reason)
        self._changed.set()

    async def _answer(self, event: CloseConnection) -> None:
        """Answers the peer's close, or closes because what it sent is no WebSocket's (RFC 6455, section 7.1.7)."""
        self._ended(int(event.code), event.reason or "")
        if self._connection.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            await self._write(event.response())
            await self._exchange.stream.finish([])

    async def _take(self, event: Any) -> None:
        if self._closed is not None:
            return
        if isinstance(event, Ping):
            await self._write(event.response())
        elif isinstance(event, TextMessage | BytesMessage):
            await self._gather(event)

    async def _gather(self, event: TextMessage | BytesMessage) -> None:
        """Puts the parts of a message together."""
        text = isinstance(event, TextMessage)
        self._partial += event.data.encode() if isinstance(event, TextMessage) else event.data
        if len(self._partial) > MAX_MESSAGE:
            await self._close(TOO_BIG, "")
        elif event.message_finished:
            whole = self._partial.decode() if text else bytes(self._partial)
            message = {"type": "websocket.receive", "text" if text else "bytes": whole}
            self._messages.append(message)
            self._waiting += _size(message)
            self._partial.clear()
            self._changed.set()

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            await self._accept(message)
        elif kind == "websocket.close" and not self._accepted:
            await self._refuse()
        elif kind == "websocket.close":
            await self._close(message.get("code") or NORMAL, message.get("reason") or "")
        elif kind == "websocket.send":
            await self._say(message)
        else:
            raise RuntimeError(f"ASGI message {kind} is not one of a WebSocket's")

    async def _accept(self, message: dict[str, Any]) -> None:
        if self._accepted or self._refused:
            raise RuntimeError("the WebSocket was accepted or refused already")
        key = next((value for name, value in self._request.fields if name.lower() == b"sec-websocket-key"), b"")
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        fields = [(b"Upgrade", b"websocket"), (b"Sec-Websocket-Accept", accept)]
        if message.get("subprotocol"):
            fields.append((b"Sec-Websocket-Protocol", message["subprotocol"].encode()))
        fields += [(bytes(n), bytes(v)) for n, v in message.get("headers", [])]
        self._accepted = True
        await self._exchange.switch(fields)

    async def _refuse(self) -> None:
        if self._refused:
            raise RuntimeError("the WebSocket was refused already")
        self._refused = True
        self._changed.set()
        self._exchange.start(403, [])
        await self._exchange.body(b"", more=False)

    async def _say(self, message: dict[str, Any]) -> None:
        from .web import ClientGone

        if not self._accepted:
            raise RuntimeError("a message before the WebSocket was accepted")
        if self._connection.state is not ConnectionState.OPEN or self._exchange.stream.failed:
            raise ClientGone("the WebSocket is closed")
        text = message.get("text")
        await self._write(TextMessage(data=text) if text is not None else BytesMessage(data=message["bytes"]))

    async def _close(self, code: int, reason: str) -> None:
        """Closes, unless that was done or nothing was accepted."""
        if self._accepted and self._connection.state is ConnectionState.OPEN:
            self._ended(code, reason)
            await self._write(CloseConnection(code=code, reason=reason))
            await self._exchange.stream.finish([])

    async def _write(self, event: Any) -> None:
        """Sends a frame. When its sender is cancelled half-way, nothing can follow it: the stream fails."""
        from .web import ClientGone

        data, stream = self._connection.send(event), self._exchange.stream
        try:
            async with self._writing:
                end = stream.sent + len(data)
                try:
                    await stream.write(data, last=False)
                finally:
                    if end - len(data) < stream.sent < end:
                        stream.fail("a frame was given up half-way")
        except StreamEnded as error:
            raise ClientGone(str(error)) from None


def _size(message: dict[str, Any]) -> int:
    """Returns about how much a message takes."""
    return len(message.get("text") or message.get("bytes") or "") + OVERHEAD
