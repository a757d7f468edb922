"""JetStream's key-value buckets, as far as a module may use them: without consumers. docs/protocol.md has the requests."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

import nats.errors
from nats.aio.msg import Msg

from .store import Conflict, Entry, NoStore, StoreFull

if TYPE_CHECKING:
    from .link import Link

Result = TypeVar("Result")

TIMEOUT = 10.0  # seconds for one use, and for each page of a list
BUSD_TIMEOUT = 2.0  # seconds for busd to answer
LISTED = 64  # values that are requested before the first of them is waited for
ASK_AGAIN = 0.01  # seconds before a busd that is busy is asked again, the first time
WRONG_LAST = (10071, 10164)  # JetStream's codes for a key that has another revision
TOO_LARGE = 10054  # JetStream's code for a message that is larger than the bucket takes
NO_STREAM = 10059  # JetStream's code for a bucket that is not there

OLDER = "busd is of an earlier version, which reads neither lists nor histories: upgrade it"
BUSY = "busy"  # what busd's failure is called where it has no place for a request

CROWDED = 4096
"""How many hints of changes in a store may wait to be read. Beyond: the whole store is listed instead."""


class _Gone(Exception):
    """There is no such bucket, or no JetStream just now."""


class Bucket:
    """A bucket that busd makes, and makes again when it is gone: NATS without a folder was restarted. It implements store.Bucket."""

    def __init__(self, link: Link, *, lease: bool = False) -> None:
        self.link = link
        self.lease = lease
        self.name = ""  # empty until it is opened
        self.opened = 0
        self.refused = 0  # size of the last write that it had no room for, until one as large is stored; 0 for none
        self.opening = asyncio.Lock()

    @property
    def epoch(self) -> int:
        """Implements store.Bucket."""
        return self.opened + int(self.link.client.stats["reconnects"])

    async def open(self) -> str:
        """Returns the name of the bucket, which is made if need be."""
        async with self.opening:
            if not self.name:
                try:
                    reply = await self.link.request(self.link.subjects.store(), {"lease": self.lease}, BUSD_TIMEOUT)
                    made = json.loads(reply.data or b"{}")
                except (nats.errors.Error, ValueError) as error:
                    raise NoStore(f"busd does not answer ({type(error).__name__})") from None
                if not made.get("name"):
                    raise NoStore(made.get("problem") or "busd cannot make the store now")
                self.name = made["name"]
                self.opened += 1
            return self.name

    async def _use(self, do: Callable[[str], Awaitable[Result]]) -> Result:
        """Does something with the bucket, for as long as one use may take."""
        return await asyncio.wait_for(self._use_long(do), TIMEOUT)

    async def _use_long(self, do: Callable[[str], Awaitable[Result]]) -> Result:
        """Does something with the bucket, once more with one made anew if it is gone."""
        try:
            return await do(await self.open())
        except (_Gone, nats.errors.NoRespondersError):
            self.name = ""
        try:
            return await do(await self.open())
        except (_Gone, nats.errors.NoRespondersError):
            self.name = ""
            raise NoStore("JetStream does not answer") from None

    async def _request(self, subject: str, body: bytes, headers: dict[str, str] | None = None) -> Msg:
        try:
            return await self.link.client.request(subject, body, TIMEOUT, headers=headers)
        except nats.errors.NoRespondersError:
            raise
        except nats.errors.TimeoutError:
            raise TimeoutError("JetStream did not answer in time") from None
        except nats.errors.Error as error:
            raise NoStore(f"NATS: {type(error).__name__}") from None

    async def last(self, key: str) -> Entry | None:
        """Implements store.Bucket."""

        async def do(name: str) -> Entry | None:
            return _entry(name, await self._request(f"$JS.API.DIRECT.GET.KV_{name}.$KV.{name}.{key}", b""))

        return await self._use(do)

    async def write(self, key: str, value: bytes, *, after: int | None = None, delete: bool = False) -> int:
        """Implements store.Bucket."""
        headers = {} if after is None else {"Nats-Expected-Last-Subject-Sequence": str(after)}
        if delete:
            headers |= {"KV-Operation": "PURGE", "Nats-Rollup": "sub"} if self.refused else {"KV-Operation": "DEL"}

        async def do(name: str) -> int:
            return int(_answer(await self._request(f"$KV.{name}.{key}", value, headers or None))["seq"])

        size = len(value) + 1  # An empty value has a size, too.
        try:
            revision = await self._use(do)
        except StoreFull:
            self.refused = max(self.refused, size) if delete else size
            raise
        if not delete and size >= self.refused:  # A full store takes small values.
            self.refused = 0
        return revision

    async def all(self) -> list[Entry]:
        """Implements store.Bucket. busd reads the values, and leaves out those that are large, which are read after that."""

        async def do(name: str) -> list[Entry]:
            last: dict[str, dict[str, Any]] = {}
            after = "0"
            while page := await asyncio.wait_for(self._page(after), TIMEOUT):
                last.update((value["key"], value) for value in page)
                after = page[-1]["revision"]
            entries = [_listed(value) for value in last.values() if not value.get("left_out")]
            left_out = [key for key, value in last.items() if value.get("left_out")]
            for i in range(0, len(left_out), LISTED):
                entries += await asyncio.wait_for(self._list(name, left_out[i : i + LISTED]), TIMEOUT)
            return entries

        return await self._use_long(do)

    async def _page(self, after: str) -> list[dict[str, Any]]:
        """Returns the values that come after a revision, as many as come at once; none is the end."""
        message = await self._read({"list": True, "after": after})
        _check(message)
        page = json.loads(message.data or b"{}")
        if not page.get("listed"):
            raise NoStore(OLDER)
        return page.get("values") or []

    async def _list(self, name: str, keys: list[str]) -> list[Entry]:
        """Reads the last entries of some keys."""
        messages = await asyncio.gather(*(self._request(f"$JS.API.DIRECT.GET.KV_{name}.$KV.{name}.{key}", b"") for key in keys))
        return [entry for message in messages if (entry := _entry(name, message))]

    async def _read(self, what: dict[str, Any]) -> Msg:
        """Has busd read values, again where it is busy."""
        body, headers = json.dumps({"lease": self.lease} | what).encode(), {"Content-Type": "application/json"}
        wait = ASK_AGAIN
        while True:
            message = await self._request(self.link.subjects.store(), body, headers)
            if (message.headers or {}).get("Nats-Service-Error-Code") != BUSY:
                return message
            await asyncio.sleep(wait)
            wait *= 2

    async def history(self, key: str) -> list[Entry]:
        """Implements store.Bucket."""

        async def do(name: str) -> list[Entry]:
            entries: list[Entry] = []
            while True:
                entry = _entry(name, await self._read({"key": key, "after": str(entries[-1].revision if entries else 0)}))
                if entry is None:
                    return entries
                entries.append(entry)

        return await self._use(do)

    async def hints(self) -> AsyncIterator[str]:
        """Implements store.Bucket."""
        name = await self.open()
        start = f"{self.link.subjects.stored()}.$KV.{name}."
        heard: asyncio.Queue[str] = asyncio.Queue()

        async def on(message: Msg) -> None:
            if heard.qsize() < CROWDED:
                heard.put_nowait(message.subject.removeprefix(start))
            elif heard.qsize() == CROWDED:
                heard.put_nowait("")  # Too much to say what.

        subscription = await self.link.client.subscribe(start + ">", cb=on)
        try:
            await self.link.client.flush()
            yield ""
            while True:
                yield await heard.get()
        finally:
            await subscription.unsubscribe()


def _answer(message: Msg) -> dict[str, Any]:
    """Returns what JetStream answered in JSON."""
    answer: dict[str, Any] = json.loads(message.data or b"{}")
    error = answer.get("error")
    if not error:
        return answer
    if error.get("err_code") in WRONG_LAST:
        raise Conflict(error.get("description", ""))
    if error.get("err_code") == NO_STREAM:
        raise _Gone
    if error.get("err_code") == TOO_LARGE or "maximum bytes" in error.get("description", ""):
        raise StoreFull("the store is full: delete what is not needed, or have nats.max_store in busd.yaml raised")
    raise NoStore(f"JetStream: {error.get('description', '')}")


def _check(message: Msg) -> bool:
    """Reports whether what was asked for is there. It raises an error where that is not known."""
    status = (message.headers or {}).get("Status", "")
    if status == "404":
        return False
    if status == "503":
        raise _Gone
    if failure := (message.headers or {}).get("Nats-Service-Error"):
        raise NoStore(failure)
    if status:
        raise NoStore(f"JetStream: {status} {(message.headers or {}).get('Description', '')}")
    return True


def _entry(name: str, message: Msg) -> Entry | None:
    """Returns the entry that JetStream answered with; None: there is none."""
    if not _check(message):
        return None
    if "Nats-Sequence" not in (message.headers or {}):  # It opened the bucket, where a value was asked for.
        raise NoStore(OLDER)
    return _present(name, message)


def _listed(value: dict[str, Any]) -> Entry:
    """Returns the entry that stands on a page."""
    deleted = bool(value.get("deleted"))
    data = b"" if deleted else base64.b64decode(value.get("value") or "")
    return Entry(value["key"], data, int(value["revision"]), _time(value["created"]), deleted)


def _present(name: str, message: Msg) -> Entry:
    headers = message.headers or {}
    deleted = bool(headers.get("KV-Operation"))
    key = headers["Nats-Subject"].removeprefix(f"$KV.{name}.")
    return Entry(key, b"" if deleted else message.data, int(headers["Nats-Sequence"]), _time(headers["Nats-Time-Stamp"]), deleted)


def _time(text: str) -> datetime:
    """Reads RFC 3339 with as many digits as there are; Python keeps six of them."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    at = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return at.replace(microsecond=int(fraction[:6].ljust(6, "0")))
