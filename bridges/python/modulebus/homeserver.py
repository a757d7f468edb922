"""What a module gets beside its configuration: the Module API, files, web resources and timers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from . import messages
from .api import ModuleApi
from .caller import PIECE, Transport
from .contained import contained
from .store import Store

logger = logging.getLogger("modulebus")

ASGIApplication = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

DecisionReader = Callable[[list[dict[str, Any]], int], Awaitable[None]]
"""Takes records of decisions, and how many it missed before them."""


@dataclass
class Loop:
    """A function that is called every so often, in seconds."""

    interval: float
    function: Callable[[], Awaitable[Any]]
    led: bool = False  # on the worker that leads only

    async def run(self) -> None:
        """Calls the function until the task is cancelled. What it raises is logged."""
        while True:
            await asyncio.sleep(self.interval)
            try:
                await contained(self.function())
            except Exception:
                logger.exception("looping background call failed")


class Homeserver(ModuleApi):
    """The homeserver of a module. Calls of the Module API may be made at any time, also while the module is asked.

    `store` is the module's own key-value store.
    """

    def __init__(self, transport: Transport, server_name: str, module: str, worker: str) -> None:
        super().__init__(transport)
        self.server_name = server_name
        self.module = module
        self.worker = worker
        self.loops: list[Loop] = []
        self.web_resources: dict[str, ASGIApplication] = {}
        self.reader: DecisionReader | None = None
        self.store = Store(transport.bucket())

    def register_web_resource(self, path: str, application: ASGIApplication) -> None:
        """Has requests for the path, and all below it, answered by an ASGI application. Call it in the constructor."""
        self.web_resources[path] = application

    def read_decisions(self, reader: DecisionReader) -> None:
        """Has a coroutine called with the records of all decisions of the homeserver, from now on. Call it in the constructor.

        It gets a list of records, as docs/operating.md has them, and how many came before them that it missed because it was too
        slow. One worker gets each batch, and the next one comes when the coroutine has returned; it is cancelled after 30 seconds.
        Where several busd serve the homeserver, each hands over its own, and the coroutine may run more than once at a time. The
        operator must grant the scope decisions.read to the module, else nothing comes. What it raises is logged.
        """
        self.reader = reader

    async def send_notice(self, room_id: str, sender: str, text: str) -> None:
        """Sends a message for people, which bots do not answer. The sender is a local user who is in the room. It needs rooms.send."""
        event = {"type": "m.room.message", "room_id": room_id, "sender": sender, "content": {"msgtype": "m.notice", "body": text}}
        await self.create_and_send_event_into_room(event_dict=event)

    def looping_background_call(self, interval: float, function: Callable[[], Awaitable[Any]]) -> None:
        """Has a function called every interval, in seconds, on one worker of the module. Call it in the constructor.

        When that worker crashes, another one takes its place within leader.LEASE; while they cannot tell which, none does.
        A call under way is cancelled when its worker ends, or leads no more. It needs JetStream.
        """
        self._loop(Loop(interval, function, led=True))

    def looping_background_call_on_all_instances(self, interval: float, function: Callable[[], Awaitable[Any]]) -> None:
        """Has a function called every interval, in seconds, on each worker. Call it in the constructor."""
        self._loop(Loop(interval, function))

    def _loop(self, loop: Loop) -> None:
        if loop.interval <= 0:
            raise ValueError("the interval must be positive")
        self.loops.append(loop)

    def is_mine(self, user_id: str) -> bool:
        """Reports whether a user, room alias or other ID is of this homeserver."""
        return user_id.partition(":")[2] == self.server_name

    def get_qualified_user_id(self, username: str) -> str:
        """Returns the user ID of a local part; a user ID is returned as it is."""
        return username if username.startswith("@") else f"@{username}:{self.server_name}"

    async def read_file(self, file: messages.FileWrapper) -> AsyncIterator[bytes]:
        """Yields the pieces of a file that a question is about, while the question waits for its answer."""
        offset = 0
        while piece := await self._transport.piece(file.subject, offset, PIECE):
            offset += len(piece)
            yield piece
