import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

import modulebus
from modulebus import messages
from modulebus.homeserver import Homeserver
from modulebus.link import MAX_QUESTION, Link
from modulebus.module import handlers
from modulebus.subjects import Subjects
from modulebus.worker import ClassBuilder, Instance, Options, Worker

ASKED = "spam_checker.user_may_create_room"
USER = "@" + "a" * 300_000 + ":example.com"
QUESTION = json.dumps({"user_id": USER}).encode()


class Gate:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.waits = asyncio.Event()

    @modulebus.callback
    async def user_may_create_room(self, request: messages.UserMayCreateRoomRequest) -> Any:
        self.asked.append(request.user_id)
        if request.user_id == "@slow:example.com":
            await self.waits.wait()
        return messages.Refusal("M_FORBIDDEN", "no")


class Wire:
    """A client of NATS of which one question can be read in pieces. Each second piece is refused once, as busy."""

    max_payload = 1 << 20

    def __init__(self, question: bytes = b"", failing: Exception | None = None, refusal: str = "") -> None:
        self.question, self.failing, self.refusal = question, failing, refusal
        self.requests: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: asyncio.Queue[tuple[bytes, dict[str, str]]] = asyncio.Queue()

    async def publish(self, subject: str, payload: bytes = b"", reply: str = "", headers: Any = None) -> None:
        self.answers.put_nowait((payload, headers or {}))

    async def request(self, subject: str, payload: bytes, timeout: float, headers: Any) -> Any:
        asked = json.loads(payload)
        self.requests.append((subject, asked))
        self.headers.append(headers)
        if self.failing is not None:
            raise self.failing
        if self.refusal:
            return SimpleNamespace(data=b"", headers={"Nats-Service-Error-Code": "429", "Nats-Service-Error": self.refusal})
        if len(self.requests) % 2 == 0:
            return SimpleNamespace(data=b"", headers={"Nats-Service-Error-Code": "busy"})
        offset = int(asked.get("offset", 0))
        return SimpleNamespace(data=self.question[offset : offset + asked.get("length", 0)], headers=None)

    async def asked(self, worker: Worker, data: bytes, **headers: str) -> tuple[Any, str]:
        """Asks the worker, and returns the reply and what failed."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        await worker._on_question(cast(Msg, SimpleNamespace(subject=worker.link.subjects.callback(ASKED), reply="r", data=data, headers=names)))
        payload, said = await self.answers.get()
        return json.loads(payload or b"{}"), said.get("Nats-Service-Error-Code", "") + said.get("Nats-Service-Error", "")


def worker_on(wire: Wire) -> tuple[Worker, Gate]:
    link = Link(cast(Client, wire), Subjects("example.com", "gate", "w"))
    gate = Gate()
    worker = Worker(link, ClassBuilder(lambda config, homeserver: gate), "1", Options())
    worker.instance = Instance(Homeserver(link, "example.com", "gate", "w"), handlers(gate), "1")
    return worker, gate


class Leaks:
    """A module that repeats the password in what it raises."""

    @modulebus.callback
    async def check_3pid_auth(self, request: messages.Check3PidAuthRequest) -> Any:
        raise ValueError(f"no {request.password!r} of {request.address}")


async def test_what_a_callback_raises_is_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire()
    worker, _ = worker_on(wire)
    assert worker.instance is not None
    worker.instance.handlers = handlers(Leaks())
    asked = json.dumps({"medium": "email", "address": "alice@example.org", "password": 'hunter2 "one" é'}).encode()
    subject = worker.link.subjects.callback("password_auth_provider.check_3pid_auth")
    await worker._on_question(cast(Msg, SimpleNamespace(subject=subject, reply="r", data=asked, headers={})))
    payload, said = await wire.answers.get()
    assert (payload, said["Nats-Service-Error-Code"]) == (b"", "panic")
    assert "Traceback" in caplog.text and "ValueError: no '[redacted]' of [redacted]" in caplog.text
    assert "hunter2" not in caplog.text + str(said) and "alice@" not in caplog.text + str(said)


def pulled(size: int) -> dict[str, str]:
    return {"Modulebus_Question": "where", "Modulebus_Question_Size": str(size)}


async def test_large_question_is_read_in_pieces_to_its_end() -> None:
    wire = Wire(QUESTION)
    worker, gate = worker_on(wire)
    reply, failed = await wire.asked(worker, b"\0", **pulled(len(QUESTION)))
    assert (reply["refusal"]["errcode"], failed, gate.asked) == ("M_FORBIDDEN", "", [USER])
    assert {subject for subject, _ in wire.requests} == {"where"}
    offsets = [int(asked["offset"]) for _, asked in wire.requests]
    assert offsets == [0, 131_072, 131_072, 262_144, 262_144], "a piece that was refused as busy is asked for again"


@pytest.mark.parametrize(
    ("size", "failing", "said"),
    [
        (len(QUESTION) + 1, None, "shorter than was said"),
        (MAX_QUESTION + 1, None, f"may take {MAX_QUESTION} bytes"),
        (len(QUESTION), nats.errors.NoRespondersError(), "cannot read the question"),
        (len(QUESTION), nats.errors.TimeoutError(), "timeout"),
    ],
)
async def test_large_question_that_cannot_be_read_is_a_failure(size: int, failing: Exception | None, said: str) -> None:
    wire = Wire(QUESTION, failing)
    worker, gate = worker_on(wire)
    reply, failed = await wire.asked(worker, b"\0", **pulled(size))
    assert (reply, gate.asked) == ({}, [])
    assert said in failed


async def test_worker_says_that_it_reads_large_questions() -> None:
    wire = Wire()
    worker, _ = worker_on(wire)
    await worker._join()
    assert wire.requests[0][1]["pulls"] is True
    assert wire.requests[0][1]["batch"] == 1


async def test_worker_that_busd_turns_down_keeps_its_entry_and_joins_again(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(refusal="too often")
    worker, _ = worker_on(wire)
    worker.entry = {"listed": True, "timeout_ms": 30_000, "join_every_ms": 60_000}
    serving = asyncio.create_task(worker._serve())
    while len(wire.requests) < 2:
        await asyncio.sleep(0.01)
    serving.cancel()
    assert worker.entry["timeout_ms"] == 30_000
    assert not await worker._join()
    assert [r.getMessage().endswith("tells it: too often") for r in caplog.records] == [True, True], "one for the entry, one for the join"


async def test_calls_are_part_of_the_trace_of_their_question() -> None:
    class Caller(Gate):
        @modulebus.callback
        async def user_may_create_room(self, request: messages.UserMayCreateRoomRequest) -> Any:
            await worker.link.call("is_user_admin", {})

    wire = Wire(b"{}")
    worker, _ = worker_on(wire)
    assert worker.instance is not None
    worker.instance.handlers = handlers(Caller())
    await wire.asked(worker, b"{}", Traceparent="00-a-b-01", tracestate="c=d")
    await wire.asked(worker, b"{}")
    assert [(sent.get("traceparent"), sent.get("tracestate")) for sent in wire.headers] == [("00-a-b-01", "c=d"), (None, None)]


async def test_question_that_takes_too_long_times_out_and_ends() -> None:
    wire = Wire()
    worker, gate = worker_on(wire)
    reply, failed = await wire.asked(worker, b'{"user_id":"@slow:example.com"}', Modulebus_Timeout="1")
    assert (reply, failed.startswith("timeout"), gate.asked) == ({}, True, ["@slow:example.com"])
    await asyncio.sleep(0)
    assert worker.questions == {}


async def test_decisions_that_are_read_for_too_long_are_given_up() -> None:
    wire, ended = Wire(), asyncio.Event()
    worker, _ = worker_on(wire)

    async def read(records: list[dict[str, Any]], lost: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    assert worker.instance is not None
    worker.instance.homeserver.read_decisions(read)
    await worker._on_decisions(cast(Msg, SimpleNamespace(subject="s", reply="r", data=b"{}", headers={"Modulebus-Timeout": "1"})))
    await asyncio.wait_for(ended.wait(), 60)
    await asyncio.wait_for(wire.answers.get(), 60)
    await asyncio.sleep(0)
    assert worker.questions == {}


async def test_question_that_is_withdrawn_is_not_answered() -> None:
    wire = Wire()
    worker, gate = worker_on(wire)
    asking = asyncio.create_task(wire.asked(worker, b'{"user_id":"@slow:example.com"}'))
    while not gate.asked:
        await asyncio.sleep(0)
    await worker._on_cancel(cast(Msg, SimpleNamespace(data=b"r")))
    while worker.questions:
        await asyncio.sleep(0)
    assert wire.answers.empty()
    asking.cancel()


class Away:
    """A client that knows what it has subscribed. NATS does not answer it."""

    is_connected = True

    def __init__(self) -> None:
        self.live: list[str] = []

    async def subscribe(self, subject: str, queue: str, cb: Any) -> SimpleNamespace:
        self.live.append(subject)

        async def unsubscribe() -> None:
            self.live.remove(subject)

        return SimpleNamespace(unsubscribe=unsubscribe, drain=self.flush)  # What cannot be drained stays, and is subscribed when NATS is back.

    async def flush(self) -> None:
        raise nats.errors.TimeoutError


async def test_what_nats_refused_is_subscribed_once_when_nats_goes_away_meanwhile() -> None:
    away = Away()
    worker, _ = worker_on(cast(Wire, away))
    with pytest.raises(nats.errors.TimeoutError):
        await worker._subscribe()
    subjects = sorted(worker.subscriptions)
    for subject in subjects:
        worker.link.refusals.hear(nats.errors.Error(f'nats: permissions violation for subscription to "{subject}"'))
    await worker._try_again()
    assert (sorted(worker.subscriptions), sorted(away.live)) == (subjects, subjects)
    assert not worker.link.refusals.hear(nats.errors.Error(f'nats: permissions violation for subscription to "{subjects[0]}"'))


class Heard(Away):
    """A client that knows what it hears when it tells busd that it leaves."""

    max_payload = 1 << 20
    left_with: list[str] | None = None

    async def subscribe(self, subject: str, queue: str, cb: Any) -> SimpleNamespace:
        subscription = await super().subscribe(subject, queue, cb)
        subscription.drain = subscription.unsubscribe
        return subscription

    async def flush(self) -> None:
        pass

    async def request(self, subject: str, payload: bytes, timeout: float, headers: Any) -> Any:
        assert subject.endswith(".leave")
        self.left_with = sorted(self.live)
        return SimpleNamespace(data=b"{}", headers={})


async def test_worker_that_leaves_is_asked_by_name_until_busd_knows() -> None:
    client = Heard()
    worker, _ = worker_on(cast(Wire, client))
    await worker._subscribe()
    await worker._drain()
    subjects = worker.link.subjects
    assert client.left_with == sorted([subjects.asked_by_name(), subjects.cancel()])
    assert client.live == []
