"""Runs a module against a scripted homeserver, without NATS: for the tests of a module.

    from modulebus.testing import Bench

    async def test_evil_is_refused():
        gate = Bench(Gate, {"deny": ["@evil:example.com"]})
        answer = await gate.ask("user_may_create_room", user_id="@evil:example.com")
        assert answer.refusal.errcode == "M_FORBIDDEN"

Requests and answers are written and read as on the bus, so what a module gets and says here is what it gets and says there. Of the
room's state and of a login, it gets what its callback names in `state` and `keys`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from . import messages, table, values
from .answers import NoHomeserver
from .homeserver import ASGIApplication, Homeserver
from .link import dumps
from .module import handlers
from .store import HISTORY, Conflict, Entry


def _narrow(request: dict[str, Any], fields: tuple[table.Field, ...], needs: dict[str, Any]) -> None:
    """Leaves out of a request, in JSON, what a bus does not send a module that needs no more."""
    names = {mark: field.name for field in fields for mark in field.marks}
    state = needs.get("state", {})
    if names.get("state") in request and not state.get("all"):
        events = request[names["state"]]
        request[names["state"]] = [e for e in events if any(_selects(key, e) for key in state.get("keys", ()))]
    if "keyed" in names:
        registered = {key["value"]: key["fields"] for key in needs.get("keys", ())}
        members = registered.get(request.get(names["key"], ""), ())
        request[names["keyed"]] = {k: v for k, v in (request.get(names["keyed"]) or {}).items() if k in members}


def _selects(key: dict[str, Any], event: dict[str, Any]) -> bool:
    state_key = event.get("state_key", "")
    return bool(key["type"] == event.get("type", "") and key.get("state_key", state_key) == state_key)


class MemoryBucket:
    """A bucket that keeps entries in memory. It implements store.Bucket."""

    epoch = 0

    def __init__(self) -> None:
        self._entries: dict[str, list[Entry]] = {}
        self._revision = 0
        self._heard: list[asyncio.Queue[str]] = []

    async def last(self, key: str) -> Entry | None:
        """Implements store.Bucket."""
        return self._entries[key][-1] if key in self._entries else None

    async def write(self, key: str, value: bytes, *, after: int | None = None, delete: bool = False) -> int:
        """Implements store.Bucket."""
        last = await self.last(key)
        if after is not None and after != (last.revision if last else 0):
            raise Conflict(key)
        self._revision += 1
        entry = Entry(key, b"" if delete else value, self._revision, datetime.now(timezone.utc), delete)
        self._entries[key] = [*self._entries.get(key, []), entry][-HISTORY:]
        for heard in self._heard:
            heard.put_nowait(key)
        return self._revision

    async def all(self) -> list[Entry]:
        """Implements store.Bucket."""
        return [entries[-1] for entries in self._entries.values()]

    async def history(self, key: str) -> list[Entry]:
        """Implements store.Bucket."""
        return list(self._entries.get(key, []))

    async def hints(self) -> AsyncIterator[str]:
        """Implements store.Bucket."""
        heard: asyncio.Queue[str] = asyncio.Queue()
        self._heard.append(heard)
        try:
            yield ""
            while True:
                yield await heard.get()
        finally:
            self._heard.remove(heard)


class Bench:
    """A constructed module, and the homeserver that it sees.

    `methods` answer its calls of the Module API, by name: each is a response, an exception to raise, or a function of the
    request, also an async one. A method that is not scripted raises NoHomeserver. `files` are contents by subject.
    Constructing raises what the module raises, such as ConfigError.
    """

    def __init__(
        self,
        module: Callable[[dict[str, Any], Homeserver], Any],
        config: Mapping[str, Any] | None = None,
        *,
        methods: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
        server_name: str = "example.com",
    ) -> None:
        self.calls: list[tuple[str, Any]] = []  # of the Module API, with their requests, in order
        self._methods = dict(methods or {})
        self._files = dict(files or {})
        self.homeserver = Homeserver(self, server_name, "module", "worker")
        self.module = module(json.loads(json.dumps(dict(config or {}))), self.homeserver)
        self._handlers = {h.callback.name: h for h in handlers(self.module).values()}

    async def ask(self, callback: str, request: Any = None, /, **fields: Any) -> Any:
        """Asks a callback, with a request or with its fields, and returns the response, which is empty for no opinion.

        What the callback raises is raised. KeyError: the module has no such callback.
        """
        if callback not in self._handlers:
            raise KeyError(f"the module has no callback {callback}: it has {', '.join(sorted(self._handlers)) or 'none'}")
        handler = self._handlers[callback]
        request = handler.request(**fields) if request is None else request
        sent = json.loads(dumps(values.write(handler.callback.request, request)))
        _narrow(sent, handler.callback.request, handler.needs.join())
        asked = handler.read(sent)
        reply = handler.write(await handler.function(asked), self.homeserver.worker)
        return values.read(handler.response, handler.callback.reply, json.loads(dumps(reply)))

    def needs(self, callback: str) -> dict[str, Any]:
        """Returns what the module says in its join that it needs of a callback's requests."""
        return self._handlers[callback].needs.join()

    def web_resource(self, path: str) -> ASGIApplication:
        """Returns the ASGI application that serves a path: the one with the longest path that it is at or below. KeyError: none does."""
        at = [p for p in self.homeserver.web_resources if path == p or path.startswith(p.rstrip("/") + "/")]
        if not at:
            raise KeyError(path)
        return self.homeserver.web_resources[max(at, key=len)]

    async def tick(self) -> None:
        """Calls each looping background call once, in the order in which they were registered."""
        for loop in self.homeserver.loops:
            await loop.function()

    async def call(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        """Implements caller.Transport."""
        known = table.methods()[method]
        read = values.read(getattr(messages, f"{table.class_name(method)}Request"), known.request, json.loads(dumps(request)))
        self.calls.append((method, read))
        if method not in self._methods:
            raise NoHomeserver(f"{method} is not scripted")
        answer = self._methods[method]
        if callable(answer) and not isinstance(answer, type):
            answer = answer(read)
            if inspect.isawaitable(answer):
                answer = await answer
        if isinstance(answer, BaseException):
            raise answer
        return json.loads(dumps(values.write(known.reply, answer)))  # type: ignore[no-any-return]

    def bucket(self, *, lease: bool = False) -> MemoryBucket:
        """Implements caller.Transport."""
        return MemoryBucket()

    async def piece(self, subject: str, offset: int, length: int) -> bytes:
        """Implements caller.Transport."""
        return self._files[subject][offset : offset + length]
