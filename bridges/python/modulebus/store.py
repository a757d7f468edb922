"""A module's own key-value store, which all its workers share."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

logger = logging.getLogger("modulebus")

HISTORY = 8
"""How many entries of a key are kept."""

RETRY = 1.0  # seconds until a watch tries again what failed, and looks whether the store was made anew
SETTLE = (0.005, 0.02, 0.1, 0.5, 2.0)  # seconds until a key is looked at again, each since the last look
MOST = 1024  # keys that a watch looks at one by one. Beyond, it lists the whole store.

_KEY = re.compile(r"[A-Za-z0-9\-_/=]+(\.[A-Za-z0-9\-_/=]+)*")


class NoStore(Exception):
    """There is no JetStream on this NATS, or busd cannot make the store. The text says why."""


class StoreFull(NoStore):
    """The module stores as much as busd lets it (nats.max_store in busd.yaml), so nothing was written. Deletions make room."""


class KeyNotFound(Exception):
    """The store has no such key, or it was deleted."""


class Conflict(Exception):
    """Somebody else wrote the key meanwhile, so nothing was written."""


@dataclass(frozen=True)
class Entry:
    """A value of a key, or that the key was deleted."""

    key: str
    value: bytes
    revision: int  # of the store: later entries have larger ones
    created: datetime  # by the server's clock
    deleted: bool = False  # value is empty then


class Bucket(Protocol):
    """Keeps entries by key. JetStream's is jetstream.Bucket."""

    @property
    def epoch(self) -> int:
        """Changes when any key may have changed unheard: after a reconnect, and when the bucket was made anew."""
        ...

    async def last(self, key: str) -> Entry | None:
        """Returns the last entry of a key, also a deletion."""
        ...

    async def write(self, key: str, value: bytes, *, after: int | None = None, delete: bool = False) -> int:
        """Returns the new revision. Conflict: the key's last entry has another revision than `after`; 0 is none."""
        ...

    async def all(self) -> list[Entry]:
        """Returns the last entry of each key, deletions among them."""
        ...

    async def history(self, key: str) -> list[Entry]:
        """Returns the entries of a key that are kept, the oldest first."""
        ...

    def hints(self) -> AsyncIterator[str]:
        """Yields "" when it listens, and then keys that somebody may have written, before the write can be read."""
        ...


class Store:
    """A module's own key-value store. It takes the place of run_db_interaction in Synapse.

    A key has letters, digits and any of - _ / = and single dots between them; a value has at most the server's max_payload,
    1 MiB by default, less a little for the key. Methods raise NoStore, and TimeoutError after 10 seconds. They may be called
    for several tasks at once. A Store may be kept as long as the module runs: when busd was restarted and the store went
    with it, the next use makes it anew, empty.

    It is as durable as the JetStream that keeps it: with NATS inside busd, it is in state_dir.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def get(self, key: str) -> Entry:
        """Returns the value of a key. KeyNotFound: it has none."""
        entry = await self._bucket.last(_checked(key))
        if entry is None or entry.deleted:
            raise KeyNotFound(key)
        return entry

    async def put(self, key: str, value: bytes) -> int:
        """Sets the value of a key, whatever it was, and returns its revision."""
        return await self._bucket.write(_checked(key), value)

    async def create(self, key: str, value: bytes) -> int:
        """Sets the value of a key that has none, and returns its revision. Conflict: it has one."""
        return await create(self._bucket, _checked(key), value)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """Sets the value of a key that still has the revision, and returns its new one. Conflict: it has another."""
        return await self._bucket.write(_checked(key), value, after=revision)

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Deletes a key, if it still has the revision where one is given. Conflict: it has another."""
        await self._bucket.write(_checked(key), b"", after=revision, delete=True)

    async def keys(self) -> list[str]:
        """Returns all keys that have a value, sorted."""
        return sorted(entry.key for entry in await self._bucket.all() if not entry.deleted)

    async def history(self, key: str) -> list[Entry]:
        """Returns the last entries of a key, HISTORY at most, deletions among them, the oldest first."""
        return await self._bucket.history(_checked(key))

    async def watch(self) -> AsyncIterator[Entry]:
        """Yields each key's value, and then what changes, deletions among it: of each key the newest entry, though not each
        of several that followed one another at once.

        It outlives reconnects and a store that was made anew: then it yields a deletion for each key that is gone. While the
        store cannot be read, it tries again each second, and says so in the log. It ends when its reader closes it.
        """
        dirty = _Dirty()
        listening = asyncio.create_task(_listen(self._bucket, dirty))
        known: dict[str, Entry] = {}
        try:
            while True:
                for entry in await self._changes(await dirty.take(self._bucket), known, dirty):
                    yield entry
        finally:
            listening.cancel()
            dirty.close()

    async def _changes(self, keys: set[str] | None, known: dict[str, Entry], dirty: _Dirty) -> list[Entry]:
        """Returns what changed of some keys, or of all, since it was told last."""
        try:
            if keys is None:
                found: dict[str, Entry | None] = {entry.key: entry for entry in await self._bucket.all()}
                found = {**dict.fromkeys(known), **found}
            else:
                found = {key: await self._bucket.last(key) for key in keys}
        except (NoStore, TimeoutError, asyncio.TimeoutError, OSError) as error:
            logger.warning("cannot watch the store: trying again: %s", error)
            await asyncio.sleep(RETRY)
            dirty.mark_all()
            return []
        return [entry for key, last in found.items() if (entry := _news(known, key, last)) is not None]


async def create(bucket: Bucket, key: str, value: bytes) -> int:
    """Writes a key that is not there. A key that was deleted counts as one that is not there."""
    try:
        return await bucket.write(key, value, after=0)
    except Conflict:
        last = await bucket.last(key)
        if last is None or not last.deleted:
            raise
        return await bucket.write(key, value, after=last.revision)


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"key {key!r}: a key has letters, digits and any of - _ / = and single dots between them")
    return key


def _news(known: dict[str, Entry], key: str, last: Entry | None) -> Entry | None:
    """Returns what a watch has to tell of a key, and keeps it as known."""
    before = known.get(key)
    if last is None or last.deleted:
        known.pop(key, None)
        return None if before is None else last or Entry(key, b"", 0, before.created, deleted=True)
    known[key] = last
    return None if before is not None and before.revision == last.revision else last


async def _listen(bucket: Bucket, dirty: _Dirty) -> None:
    while True:
        try:
            async for key in bucket.hints():
                dirty.hint(key) if key else dirty.mark_all()
        except (NoStore, TimeoutError, asyncio.TimeoutError, OSError):
            pass  # Looking at the store says why.
        await asyncio.sleep(RETRY)


class _Dirty:
    """The keys that a watch has to look at. A hint can be heard before its write can be read: so it is looked at again."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.all = True
        self.epoch = 0
        self.woken = asyncio.Event()
        self.settling: dict[str, asyncio.TimerHandle] = {}

    def mark(self, key: str) -> None:
        self.keys.add(key)
        self.all = self.all or len(self.keys) > MOST
        self.woken.set()

    def mark_all(self) -> None:
        self.all = True
        self.woken.set()

    def hint(self, key: str) -> None:
        self.mark(key)
        if timer := self.settling.pop(key, None):
            timer.cancel()
        if len(self.settling) < MOST:
            self._settle(key, 0)
        else:
            self.mark_all()

    def _settle(self, key: str, stage: int) -> None:
        def again() -> None:
            del self.settling[key]
            self.mark(key)
            if stage + 1 < len(SETTLE):
                self._settle(key, stage + 1)

        self.settling[key] = asyncio.get_running_loop().call_later(SETTLE[stage], again)

    async def take(self, bucket: Bucket) -> set[str] | None:
        """Waits until there is something to look at, and returns the keys, or None for all."""
        while True:
            if bucket.epoch != self.epoch:
                self.all = True
            if self.all or self.keys:
                keys, everything = self.keys, self.all
                self.keys, self.all, self.epoch = set(), False, bucket.epoch
                self.woken.clear()
                return None if everything else keys
            try:
                await asyncio.wait_for(self.woken.wait(), RETRY)
            except (TimeoutError, asyncio.TimeoutError):
                pass

    def close(self) -> None:
        for timer in self.settling.values():
            timer.cancel()
