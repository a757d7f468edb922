"""NATS, as a worker uses it: requests in JSON, failures told apart from answers, and calls of the homeserver."""

from __future__ import annotations

import asyncio
import json
import math
import re
import secrets
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from .answers import Failure, MatrixError, NoHomeserver
from .caller import PIECE
from .jetstream import Bucket
from .subjects import Subjects

JSON = {"Content-Type": "application/json"}

MAX_QUESTION = 256 << 20
"""How many bytes a question may have that is read in pieces. Beyond: the module has failed."""

CALL_TIMEOUT = 60.0
"""How many seconds a call of the Module API may take, where no question sets an earlier end. Beyond: it has failed."""

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""When the question that this task answers is over, by time.monotonic(); calls made for it end then."""

TRACE = ("traceparent", "tracestate")

trace: ContextVar[dict[str, str]] = ContextVar("trace")
"""The headers that say which trace the question that this task answers is part of; calls made for it are part of it, too."""

news: ContextVar[str] = ContextVar("news", default="")


def news_id() -> str:
    """Names what the callback that calls it is told, where the operator has that delivered at least once: the same each time, and no
    other's. A module that must not do a thing twice remembers it. Empty elsewhere."""
    return news.get()


def header(msg: Msg, name: str) -> str:
    """Returns a header whatever its case, and "" if there is none: some clients write all names in lower case."""
    headers = msg.headers
    if not headers:
        return ""
    if headers == JSON:  # The usual question.
        return JSON.get(name, "")
    if (value := headers.get(name)) is not None:
        return str(value)
    wanted = name.lower()
    return next((str(value) for key, value in headers.items() if key.lower() == wanted), "")


def dumps(value: Any) -> bytes:
    """Writes JSON as short as it gets. A refusal that repeats what a client typed must arrive, so half a surrogate pair, which JSON has
    and UTF-8 has not, is an escape, and a number that Python read as infinite is the largest there is."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return json.dumps(_finite(value), separators=(",", ":")).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else math.copysign(sys.float_info.max, value)
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


VIOLATION = re.compile(r'permissions violation for subscription to "([^"]+)"', re.IGNORECASE)


class Refusals:
    """The subscriptions that NATS refused since it was last connected. It says so later; the client's subscription looks as if all were
    well."""

    def __init__(self) -> None:
        self._subjects: set[str] = set()
        self._again: set[str] = set()  # those that are being subscribed again

    def hear(self, error: Exception) -> bool:
        """Takes in an error of the connection. Reports whether it only says once more what was refused before."""
        found = VIOLATION.search(str(error))
        if found is None:
            return False
        subject = found[1].lower()  # nats-py has errors in lower case.
        self._subjects.add(subject)
        return subject in self._again

    def try_again(self, subjects: Iterable[str]) -> None:
        """Is called before they are subscribed again, and with none when the connection has been flushed. The server answers in order: what
        it has not refused then is allowed."""
        self._again = {subject.lower() for subject in subjects}
        self._subjects -= self._again

    def forget(self) -> None:
        """Is called when the connection is lost: the server says anew what it refuses."""
        self._subjects.clear()

    def why(self, subject: str) -> str:
        """Says that the subject was refused, or nothing."""
        return f"NATS does not let this worker subscribe {subject}" if subject.lower() in self._subjects else ""


class Link:
    """A worker's connection. It implements caller.Transport."""

    def __init__(self, client: Client, subjects: Subjects, refusals: Refusals | None = None) -> None:
        self.client = client
        self.subjects = subjects
        self.refusals = refusals or Refusals()

    async def hear(self, subject: str, on: Callable[[Msg], Awaitable[None]], group: str = "") -> Subscription:
        """Subscribes to a subject, and drops messages that JetStream read from a stream. A client that may read a stream can have
        its messages sent to any subject: see "Forged questions" in docs/protocol.md."""

        async def genuine(msg: Msg) -> None:
            if not header(msg, "Nats-Stream"):
                await on(msg)

        return await self.client.subscribe(subject, group, cb=genuine)

    async def request(self, subject: str, body: Any, timeout: float, headers: dict[str, str] | None = None) -> Msg:
        """Sends a request in JSON, and waits for the reply."""
        return await self.client.request(subject, dumps(body), timeout, headers={**JSON, **(headers or {})})

    async def call(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        """Implements caller.Transport. A call whose task is cancelled is cancelled at the homeserver, too."""
        end = deadline.get()
        timeout = CALL_TIMEOUT if end is None else max(end - time.monotonic(), 0.001)
        name = secrets.token_urlsafe(16)
        headers = {**trace.get({}), "Modulebus-Timeout": str(int(timeout * 1000) or 1), "Modulebus-Call": name}
        try:
            reply = await self.request(self.subjects.call(method), request, timeout, headers)
        except nats.errors.NoRespondersError:
            raise NoHomeserver(f"{method}: no homeserver can be called on this bus") from None
        except nats.errors.TimeoutError:
            raise TimeoutError(f"{method}: the homeserver did not answer within {timeout:.1f} s") from None
        except asyncio.CancelledError:
            await asyncio.shield(self.client.publish(self.subjects.cancel_call(), name.encode()))
            raise
        if code := header(reply, "Nats-Service-Error-Code"):
            raise _matrix_error(code, reply.data)
        return json.loads(reply.data or b"{}")  # type: ignore[no-any-return]

    def bucket(self, *, lease: bool = False) -> Bucket:
        """Implements caller.Transport."""
        return Bucket(self, lease=lease)

    async def piece(self, subject: str, offset: int, length: int) -> bytes:
        """Implements caller.Transport. It asks again as long as the homeserver is busy."""
        while True:
            end = deadline.get()
            timeout = CALL_TIMEOUT if end is None else max(end - time.monotonic(), 0.001)
            reply = await self.request(subject, {"offset": str(offset), "length": length}, timeout)
            code = header(reply, "Nats-Service-Error-Code")
            if not code:
                return bytes(reply.data)
            if code != "busy":
                raise OSError(header(reply, "Nats-Service-Error"))
            await asyncio.sleep(0.01)

    async def question(self, msg: Msg) -> bytes:
        """Returns the payload of a question, and reads one in pieces that is larger than a message. Raises Failure."""
        subject = header(msg, "Modulebus-Question")
        if not subject:
            return bytes(msg.data)
        size = header(msg, "Modulebus-Question-Size")
        if not size.isdecimal() or int(size) > MAX_QUESTION:
            raise Failure(f"a question may take {MAX_QUESTION} bytes")
        question = bytearray()
        try:
            while len(question) < int(size):
                piece = await self.piece(subject, len(question), PIECE)
                if not piece:
                    raise OSError("it is shorter than was said")
                question += piece
        except (OSError, nats.errors.NoRespondersError) as error:
            raise Failure(f"cannot read the question of {size} bytes: {error}") from None
        return bytes(question)

    async def respond(self, msg: Msg, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Answers a question, if an answer is wanted. An answer that NATS would not carry becomes a failure that says so."""
        if not msg.reply:
            return
        if len(body) + 1024 > self.client.max_payload:  # Headers count, too.
            headers = failure("error", f"the answer of {len(body)} bytes is larger than the server's max_payload")
            body = b""
        await self.client.publish(msg.reply, body, headers=headers)


def failure(kind: str, text: str) -> dict[str, str]:
    """Returns the headers of a failure. The text becomes one line of at most 512 bytes."""
    line = " ".join(text.split()).encode()[:512].decode(errors="ignore")
    return {"Nats-Service-Error-Code": kind, "Nats-Service-Error": line}


def _matrix_error(code: str, body: bytes) -> MatrixError:
    try:
        fields = json.loads(body)
        errcode, error = fields.pop("errcode"), fields.pop("error", "")
    except (ValueError, KeyError, AttributeError, TypeError):
        fields, errcode, error = {}, "M_UNKNOWN", ""
    return MatrixError(int(code) if code.isdecimal() else 500, errcode, error, fields)


async def connect(url: str, subjects: Subjects, credentials: str | None, tls: ssl.SSLContext | None = None, **callbacks: Any) -> Client:
    """Connects, and tries again for ever, also later."""
    client = Client()
    await client.connect(
        url.split(","),
        name=f"{subjects.module}/{subjects.worker}",
        inbox_prefix=subjects.inbox().encode(),
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,  # type: ignore[arg-type]
        user_credentials=credentials,
        tls=tls,
        allow_reconnect=True,
        **callbacks,
    )
    return client
