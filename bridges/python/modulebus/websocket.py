"""WebSockets of ASGI applications, over a stream that has switched protocols."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import RemoteProtocolError

from . import frames
from .stream import StreamEnded

if TYPE_CHECKING:
    from .homeserver import ASGIApplication
    from .web import Exchange

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3

MAX_MESSAGE = 16 << 20
"""How many bytes one message of a WebSocket may have. Beyond: the connection is closed, 1009."""

NORMAL, ABNORMAL, TOO_BIG, INTERNAL = 1000, 1006, 1009, 1011


class WebSocket:
    """One WebSocket."""

    def __init__(self, exchange: Exchange, request: frames.Request) -> None:
        self._exchange = exchange
        self._request = request
        self._connection: Connection | None = None  # until the application accepts
        self._connected = False  # the application was told that somebody connects
        self._closed: int | None = None  # the code that the peer closed with, or what stands for it
        self._refused = False
        self._messages: list[dict[str, Any]] = []
        self._partial: list[Any] = []
        self._size = 0

    async def run(self, application: ASGIApplication, scope: dict[str, Any]) -> None:
        """Has the application hold the conversation, and ends what it left open."""
        try:
            await application(scope, self._receive, self._send)
        except Exception:
            if self._connection is None and not self._refused:
                raise
            await self._close(INTERNAL, "")
            raise
        if self._connection is None and not self._refused:
            await self._refuse()
        await self._close(NORMAL, "")

    async def _receive(self) -> dict[str, Any]:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while not self._messages and self._closed is None and self._connection is not None:
            await self._read()
        if self._messages:
            return self._messages.pop(0)
        return {"type": "websocket.disconnect", "code": self._closed or ABNORMAL, "reason": ""}

    async def _read(self) -> None:
        """Takes in a piece of the stream."""
        assert self._connection is not None
        try:
            piece, more = await self._exchange.stream.read()
            self._connection.receive_data(piece if piece or more else None)
            for event in self._connection.events():
                await self._take(event)
            if not more and self._closed is None:
                self._closed = ABNORMAL
        except StreamEnded:
            self._closed = ABNORMAL
        except RemoteProtocolError as error:
            await self._close(error.event_hint.code if isinstance(error.event_hint, CloseConnection) else 1002, "")

    async def _take(self, event: Any) -> None:
        assert self._connection is not None
        if isinstance(event, Ping):
            await self._write(self._connection.send(event.response()))
        elif isinstance(event, CloseConnection):
            self._closed = event.code
            if self._connection.state is ConnectionState.REMOTE_CLOSING:
                await self._write(self._connection.send(event.response()))
                await self._exchange.stream.finish([])
        elif isinstance(event, TextMessage | BytesMessage):
            await self._gather(event)

    async def _gather(self, event: TextMessage | BytesMessage) -> None:
        """Puts the parts of a message together."""
        self._partial.append(event.data)
        self._size += len(event.data)
        if self._size > MAX_MESSAGE:
            await self._close(TOO_BIG, "")
            return
        if event.message_finished:
            text = isinstance(event, TextMessage)
            whole = "".join(self._partial) if text else b"".join(bytes(p) for p in self._partial)
            self._partial, self._size = [], 0
            self._messages.append({"type": "websocket.receive", "text" if text else "bytes": whole})

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            await self._accept(message)
        elif kind == "websocket.close" and self._connection is None:
            await self._refuse()
        elif kind == "websocket.close":
            await self._close(message.get("code", NORMAL), message.get("reason") or "")
        elif kind == "websocket.send":
            await self._say(message)
        else:
            raise RuntimeError(f"ASGI message {kind} is not one of a WebSocket's")

    async def _accept(self, message: dict[str, Any]) -> None:
        key = next((value for name, value in self._request.fields if name.lower() == b"sec-websocket-key"), b"")
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        fields = [(b"Upgrade", b"websocket"), (b"Sec-Websocket-Accept", accept)]
        if message.get("subprotocol"):
            fields.append((b"Sec-Websocket-Protocol", message["subprotocol"].encode()))
        fields += [(bytes(n), bytes(v)) for n, v in message.get("headers", [])]
        self._connection = Connection(ConnectionType.SERVER)
        await self._exchange.switch(fields)

    async def _refuse(self) -> None:
        self._refused = True
        self._exchange.start(403, [])
        await self._exchange.body(b"", more=False)

    async def _say(self, message: dict[str, Any]) -> None:
        from .web import ClientGone

        if self._connection is None or self._connection.state is not ConnectionState.OPEN:
            raise ClientGone("the WebSocket is closed")
        text = message.get("text")
        event = TextMessage(data=text) if text is not None else BytesMessage(data=message["bytes"])
        await self._write(self._connection.send(event))

    async def _close(self, code: int, reason: str) -> None:
        """Closes, unless that was done."""
        if self._connection is not None and self._connection.state is ConnectionState.OPEN:
            await self._write(self._connection.send(CloseConnection(code=code, reason=reason)))
            self._closed = code
            await self._exchange.stream.finish([])

    async def _write(self, data: bytes) -> None:
        from .web import ClientGone

        try:
            await self._exchange.stream.write(data, last=False)
        except StreamEnded as error:
            raise ClientGone(str(error)) from None
