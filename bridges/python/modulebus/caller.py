"""How a module calls its homeserver, whatever carries the call."""

from __future__ import annotations

from typing import Any, Protocol

from . import messages, table, values
from .store import Bucket

PIECE = 128 << 10
"""Bytes of a file that come at once, at most."""


class Transport(Protocol):
    """Carries calls to the homeserver, and pieces of files from it."""

    async def call(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        """Returns the homeserver's reply. Raises MatrixError, NoHomeserver and TimeoutError."""
        ...

    async def piece(self, subject: str, offset: int, length: int) -> bytes:
        """Returns a piece of a file; it may be shorter than asked, and is empty at the end."""
        ...


    def bucket(self, *, lease: bool = False) -> Bucket:
        """Returns the bucket of the module's store, or the one of its leader's lease. Nothing is asked before it is used."""
        ...


class Caller:
    """Calls methods of the Module API by name. ModuleApi has a typed method for each."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def call(self, method: str, request: Any) -> Any:
        """Calls a method with a request of its kind, and returns its response. Raises MatrixError, NoHomeserver and TimeoutError."""
        known = table.methods()[method]
        reply = await self._transport.call(method, values.write(known.request, request))
        kind = getattr(messages, type(request).__name__.removesuffix("Request") + "Response")
        return values.read(kind, known.reply, reply)
