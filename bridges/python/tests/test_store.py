import asyncio
import contextlib
import json
from types import SimpleNamespace
from typing import Any

import pytest

from modulebus import jetstream
from modulebus.leader import Candidate
from modulebus.store import HISTORY, Conflict, Entry, KeyNotFound, NoStore, Store, StoreFull
from modulebus.testing import MemoryBucket


async def test_store_compares_and_keeps_history() -> None:
    store = Store(MemoryBucket())
    for i in range(HISTORY + 2):
        await store.put("a.b", str(i).encode())
    with pytest.raises(Conflict):
        await store.create("a.b", b"")
    await store.delete("a.b")
    with pytest.raises(KeyNotFound):
        await store.get("a.b")
    revision = await store.create("a.b", b"again")  # A key that was deleted is not there.
    kept = await store.history("a.b")
    assert len(kept) == HISTORY and kept[-2].deleted and kept[-1].value == b"again"
    with pytest.raises(Conflict):
        await store.update("a.b", b"late", revision - 1)
    assert await store.update("a.b", b"new", revision) > revision
    await store.put("gone", b"")
    await store.delete("gone")
    assert await store.keys() == ["a.b"]


@pytest.mark.parametrize("key", ["", ".", "a..b", ".a", "a.", "a b", "*", ">", "a.>", "ä"])
async def test_store_refuses_what_is_not_one_key(key: str) -> None:
    with pytest.raises(ValueError, match="a key has"):
        await Store(MemoryBucket()).put(key, b"")


async def test_watch_tells_what_is_there_and_what_changes() -> None:
    store = Store(MemoryBucket())
    await store.put("old", b"1")
    watch: Any = store.watch()

    async def tell() -> Entry:
        entry: Entry = await anext(watch)
        return entry

    assert (await tell()).value == b"1"
    await store.put("new", b"2")
    assert (await tell()).value == b"2"
    await store.delete("old")
    assert (await tell()).deleted
    await watch.aclose()


async def test_watch_tells_of_keys_that_went_with_their_bucket() -> None:
    bucket = MemoryBucket()
    store = Store(bucket)
    await store.put("old", b"1")
    watch: Any = store.watch()
    await anext(watch)
    bucket._entries.clear()
    bucket.epoch += 1
    gone = await anext(watch)
    assert gone.deleted and gone.key == "old"
    await watch.aclose()


async def test_one_candidate_leads_until_it_resigns() -> None:
    bucket, led = MemoryBucket(), asyncio.Queue[str]()

    def candidate(name: str) -> asyncio.Task[None]:
        async def loop() -> None:
            led.put_nowait(name)
            await asyncio.Event().wait()

        return asyncio.create_task(Candidate(name, bucket, lease=0.06).lead([loop]))

    first = candidate("first")
    assert await led.get() == "first"
    second = candidate("second")
    first.cancel()
    assert await led.get() == "second"
    second.cancel()
    for task in (first, second):
        with contextlib.suppress(asyncio.CancelledError):
            await task
    last = await bucket.last("leader")
    assert last is not None and last.deleted


async def test_candidate_whose_lease_was_taken_leads_no_more() -> None:
    bucket, ended = MemoryBucket(), asyncio.Event()

    async def loop() -> None:
        await bucket.write("leader", b"another")  # The server forgot the lease, and another worker took it.
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    leading = asyncio.create_task(Candidate("one", bucket, lease=0.06).lead([loop]))
    await ended.wait()
    leading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leading
    last = await bucket.last("leader")
    assert last is not None and last.value == b"another"


class _FullNATS:
    """Answers as JetStream does for a bucket that is full, and keeps the headers that it was sent."""

    def __init__(self) -> None:
        self.client = self
        self.stats = {"reconnects": 0}
        self.error: dict[str, Any] | None = {"err_code": 10077, "description": "maximum bytes exceeded"}
        self.headers: dict[str, str] = {}

    async def request(self, _subject: str, _body: bytes, _timeout: float, *, headers: dict[str, str] | None = None) -> Any:
        self.headers = headers or {}
        return SimpleNamespace(data=json.dumps({"error": self.error} if self.error else {"seq": 1}).encode())


async def test_store_that_is_full_takes_deletions_that_make_room() -> None:
    nats: Any = _FullNATS()
    bucket = jetstream.Bucket(nats)
    bucket.name = "full"
    with pytest.raises(StoreFull):
        await Store(bucket).put("k", b"large")
    nats.error = None
    await Store(bucket).put("k", b"")  # A full store takes small values.
    await Store(bucket).delete("k")
    assert nats.headers == {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}
    await Store(bucket).put("k", b"large")
    await Store(bucket).delete("k")
    assert nats.headers == {"KV-Operation": "DEL"}
    nats.error = {"err_code": 10054, "description": "message size exceeds maximum allowed"}
    with pytest.raises(StoreFull):
        await Store(bucket).put("k", b"")


async def test_history_fails_at_a_busd_that_has_none() -> None:
    opened = SimpleNamespace(headers={"Content-Type": "application/json"}, data=b'{"name": "b"}')

    async def request(*_: Any, **__: Any) -> Any:
        return opened

    link = SimpleNamespace(
        client=SimpleNamespace(request=request, stats={"reconnects": 0}), request=request, subjects=SimpleNamespace(store=lambda: "s")
    )
    with pytest.raises(NoStore, match="earlier version"):
        await jetstream.Bucket(link).history("k")  # type: ignore[arg-type]
