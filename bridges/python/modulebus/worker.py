"""A worker: one process of a module, from its entry to its leave. docs/protocol.md has the steps."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from . import link as wire
from . import redact
from .answers import ConfigError, Failure
from .contained import contained
from .homeserver import Homeserver
from .leader import Candidate
from .limit import Limit, within
from .link import Link
from .module import Handler, handlers
from .subjects import callback_of
from .values import Malformed
from .web import Web

logger = logging.getLogger("modulebus")

BUSD_TIMEOUT = 2.0  # seconds for busd to answer
RETRY = 1.0  # seconds between questions that found no busd, or no entry
HEARD_OF = 0.2  # seconds after busd knows that the worker leaves, in which it may be asked by name: not all have been told, and NATS tells nobody
LAST = 0.2  # seconds for what NATS need not answer
JOIN_EVERY = 5.0  # seconds, where the entry does not say
READ_TIMEOUT = 60.0  # seconds for a reader of decisions, where busd does not say


@dataclass
class Options:
    """How a worker works."""

    concurrency: int = 128
    """How many questions are worked on at once. Beyond: the answer is busy, and another worker is asked."""

    web_concurrency: int = 1024
    """How many requests for web resources are worked on at once. Beyond: another worker is asked."""

    drain_timeout: float = 10.0
    """How many seconds questions and web requests under way may take when the worker ends. Beyond: they are ended, and what holds up
    the process two seconds later, whatever it is, is cut off."""


@dataclass
class Instance:
    """The module under one configuration."""

    homeserver: Homeserver
    handlers: dict[str, Handler]
    revision: str
    loops: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, candidate: Candidate) -> None:
        """Runs the loops; those that one worker runs, when it leads."""
        self.loops = [asyncio.create_task(loop.run()) for loop in self.homeserver.loops if not loop.led]
        if led := [loop.run for loop in self.homeserver.loops if loop.led]:
            self.loops.append(asyncio.create_task(candidate.lead(led)))

    async def stop(self) -> None:
        """Ends the loops, and waits for them."""
        for loop in self.loops:
            loop.cancel()
        if self.loops:
            await asyncio.wait(self.loops, timeout=BUSD_TIMEOUT)


class Stopped(Exception):
    """The worker was told to stop before its module was constructed."""


class Builder(Protocol):
    """Makes a module of a configuration."""

    @property
    def restarts(self) -> bool:
        """Whether a changed configuration needs another process."""
        ...

    async def build(self, config: dict[str, Any], homeserver: Homeserver) -> dict[str, Handler]:
        """Returns the callbacks of a constructed module, by full name. Raises ConfigError."""
        ...


@dataclass
class ClassBuilder:
    """Makes modules that are written with the kit."""

    module: Callable[[dict[str, Any], Homeserver], Any]
    restarts: bool = False

    async def build(self, config: dict[str, Any], homeserver: Homeserver) -> dict[str, Handler]:
        """Implements Builder."""
        return handlers(self.module(config, homeserver))


class Worker:
    """A module on NATS."""

    def __init__(self, link: Link, builder: Builder, version: str, options: Options) -> None:
        self.link = link
        self.builder = builder
        self.version = version
        self.options = options
        self.entry: dict[str, Any] = {}
        self.instance: Instance | None = None
        self.refused: ConfigError | None = None  # the latest configuration's, when it was not taken
        self.subscriptions: dict[str, Subscription] = {}
        self.questions: dict[str, asyncio.Task[None]] = {}  # by reply subject
        self.candidate = Candidate(link.subjects.worker, link.bucket(lease=True))
        self.web = Web(link, options.web_concurrency)
        self.changed = asyncio.Event()
        self.stopping = asyncio.Event()
        self.until = 0.0  # when it has drained, by time.monotonic(); 0 until it stops
        self.said: dict[str, str] = {}

    def stop(self) -> None:
        """Has run drain and return. It may be called again, and from a signal handler of the loop."""
        self.until = self.until or time.monotonic() + self.options.drain_timeout
        self.stopping.set()
        self.changed.set()

    async def run(self) -> None:
        """Lives the life of a worker until stop is called. Raises ConfigError when the first configuration is refused."""
        changes = await self.link.hear(self.link.subjects.changed(), self._on_changed)
        try:
            await self._await_entry()
            if self.stopping.is_set():
                return
            await self._construct()
            await self._serve()
        except Stopped:
            pass
        finally:
            await self._drain()
            await within(LAST, changes.unsubscribe())

    async def _await_entry(self) -> None:
        while not self.stopping.is_set():
            if await self._ask_entry() and self.entry.get("listed"):
                return
            await self._pause(RETRY)

    async def _ask_entry(self) -> bool:
        entry = await self._tell(self.link.subjects.entry(), {})
        if entry is None:
            return False
        self.entry = entry
        self._say("list", "" if entry.get("listed") else "the module is not on busd's list: waiting until it is")
        return True

    async def _tell(self, subject: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Returns what busd answers. None: it does not, or does not take what it is told, and the log says so."""
        try:
            reply = await self.link.request(subject, body, BUSD_TIMEOUT)
            told = wire.header(reply, "Nats-Service-Error")
            self._say(subject, f"busd does not take what this worker tells it: {told}" if told else "")
            return None if told else json.loads(reply.data or b"{}")
        except (nats.errors.Error, ValueError) as error:
            self._say(subject, f"busd does not answer: waiting for it ({type(error).__name__})")
            return None

    def _say(self, about: str, text: str) -> None:
        """Logs what differs from what was logged last about it."""
        if text and text != self.said.get(about):
            logger.warning("%s", text)
        self.said[about] = text

    async def _construct(self) -> None:
        """Makes the first instance, or tells busd why there is none."""
        try:
            self.instance = await self._instance()
        except ConfigError as error:
            self.refused = error
            await self._join()
            raise
        self.instance.start(self.candidate)
        await self._subscribe()

    async def _instance(self) -> Instance:
        subjects = self.link.subjects
        homeserver = Homeserver(self.link, subjects.server_name, subjects.module, subjects.worker)
        config = json.loads(json.dumps(self.entry.get("config") or {}))
        revision = str(self.entry.get("config_revision", "0"))
        building = asyncio.create_task(contained(self.builder.build(config, homeserver)))
        stopping = asyncio.create_task(self.stopping.wait())
        await asyncio.wait([building, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not building.done():
            building.cancel()
            raise Stopped
        return Instance(homeserver, building.result(), revision)

    async def _serve(self) -> None:
        while not self.stopping.is_set():
            self.changed.clear()
            answered = await self._ask_entry()
            if answered and self.entry.get("listed"):
                await self._follow()
                await self._try_again()
                answered = await self._join()
            if self.stopping.is_set():
                return
            every = self.entry.get("join_every_ms", 0) / 1000 or JOIN_EVERY
            await self._pause(every if answered else min(every, RETRY))

    async def _follow(self) -> None:
        """Takes over a changed configuration, or goes on with the old one and says why."""
        revision = str(self.entry.get("config_revision", "0"))
        assert self.instance is not None
        if revision == self.instance.revision:
            self.refused = None
            return
        if self.builder.restarts:
            logger.info("the configuration changed: this process ends, and another one takes its place")
            self.stop()
            return
        try:
            instance = await self._instance()
        except ConfigError as error:
            if self.refused is None or str(self.refused) != str(error):
                logger.error("the new configuration was refused: %s", error)
            self.refused = error
            return
        self.refused = None
        await self.instance.stop()
        self.instance = instance
        self.instance.start(self.candidate)
        await self._subscribe()
        logger.info("took over the new configuration")

    async def _subscribe(self) -> None:
        """Subscribes what the instance is asked on, before it drops what only the last one was asked on."""
        assert self.instance is not None
        subjects = self.link.subjects
        wanted = {subjects.callback(name): subjects.group for name in self.instance.handlers}
        wanted[subjects.asked_by_name()] = ""
        if self.instance.homeserver.reader is not None:
            wanted[subjects.decisions()] = subjects.group
        pages = {subjects.web(path): path for path in self.instance.homeserver.web_resources}
        if pages:
            await self.web.open()
        for subject, group in {**wanted, **dict.fromkeys(pages, subjects.group)}.items():
            if subject not in self.subscriptions:
                on = self._on_request if subject in pages else self._on_decisions if subject == subjects.decisions() else self._on_question
                self.subscriptions[subject] = await self.link.hear(subject, on, group)
        if subjects.cancel() not in self.subscriptions:
            self.subscriptions[subjects.cancel()] = await self.link.hear(subjects.cancel(), self._on_cancel)
        for subject in self.subscriptions.keys() - wanted.keys() - pages.keys() - {subjects.cancel()}:
            await self.subscriptions.pop(subject).drain()  # type: ignore[no-untyped-call]
        await self.link.client.flush()

    async def _try_again(self) -> None:
        """Subscribes again what NATS refused: an operator may have allowed it, and NATS says nothing then."""
        refused = [subject for subject in self.subscriptions if self.link.refusals.why(subject)]
        if not refused or not self.link.client.is_connected:
            return
        try:
            for subject in refused:  # Nothing came on them, so there is nothing to wait for.
                await self.subscriptions.pop(subject).unsubscribe()
            self.link.refusals.try_again(refused)
            await self._subscribe()
        except nats.errors.Error as error:
            self._say("subscribe", f"cannot subscribe again what NATS refused ({type(error).__name__})")
        finally:
            self.link.refusals.try_again([])

    async def _join(self) -> bool:
        subjects = self.link.subjects
        # A batch of one says that the worker listens under its name.
        join: dict[str, Any] = {"worker": subjects.worker, "version": self.version, "json": True, "pulls": True, "batch": 1}
        if self.instance is not None:
            join["callbacks"] = sorted(self.instance.handlers)
            join["needs"] = {name: needs for name, h in self.instance.handlers.items() if (needs := h.needs.join())}
            join["web_resources"] = sorted(self.instance.homeserver.web_resources)
            join["unserved"] = self._unserved(self.instance)
            join["config_revision"] = self.instance.revision
        if self.refused is not None:
            join["config_revision"] = str(self.entry.get("config_revision", "0"))
            join["config_error"] = {"path": self.refused.path, "error": self.refused.error}
        joined = await self._tell(subjects.join(), join)
        if joined is not None:
            self._say("problems", "; ".join(f"busd does not accept: {problem}" for problem in joined.get("problems", [])))
        return joined is not None

    def _unserved(self, instance: Instance) -> dict[str, str]:
        """What the module registered and NATS does not let this worker be asked, and why. It is wanted all the same, and absent."""
        subjects, why = self.link.subjects, self.link.refusals.why
        asked = {name: subjects.callback(name) for name in instance.handlers}
        asked.update((path, subjects.web(path)) for path in instance.homeserver.web_resources)
        return {name: refused for name, subject in asked.items() if (refused := why(subject))}

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.changed.wait(), seconds)
        except (TimeoutError, asyncio.TimeoutError):
            pass

    async def _on_changed(self, msg: Msg) -> None:
        self.changed.set()

    async def _on_cancel(self, msg: Msg) -> None:
        if question := self.questions.get(msg.data.decode(errors="replace")):
            question.cancel()

    async def _on_question(self, msg: Msg) -> None:
        """Begins to answer. The client calls this for one message after the other, so each question is a task of its own."""
        if len(self.questions) >= self.options.concurrency:
            text = f"{self.options.concurrency} questions are under way"
            await self.link.respond(msg, b"", wire.failure("busy", text))
            return
        question = asyncio.create_task(self._answer(msg))
        self.questions[msg.reply] = question
        question.add_done_callback(lambda _: self.questions.pop(msg.reply, None))

    async def _on_request(self, msg: Msg) -> None:
        """Begins to answer a request for a web resource with the application that the instance of now has."""
        pages = self.instance.homeserver.web_resources if self.instance else {}
        for path, application in pages.items():
            if msg.subject == self.link.subjects.web(path):
                self.web.serve(msg, application)

    async def _on_decisions(self, msg: Msg) -> None:
        """Has records of decisions read. busd sends the next ones when it has a reply, whatever it is."""
        reading = asyncio.create_task(self._read(msg))
        self.questions[msg.reply] = reading
        reading.add_done_callback(lambda _: self.questions.pop(msg.reply, None))

    async def _read(self, msg: Msg) -> None:
        reader = self.instance.homeserver.reader if self.instance else None
        seconds = _time_left(msg, READ_TIMEOUT)
        limit = Limit(seconds)
        try:
            batch = json.loads(await self.link.question(msg))
            if reader is not None:
                await contained(reader(batch.get("decisions", []), batch.get("lost", 0)))
        except asyncio.CancelledError:
            if not limit.reached:
                raise
            logger.error("reading decisions took longer than %.3f s", seconds)
        except Exception:
            logger.exception("reading decisions failed")
        finally:
            limit.over()
        await self.link.respond(msg, b"", wire.JSON)

    async def _answer(self, msg: Msg) -> None:
        name = callback_of(msg.subject)
        handler = self.instance.handlers.get(name) if self.instance else None
        if handler is None:
            await self.link.respond(msg, b"{}", wire.JSON)  # What is not known has no opinion.
            return
        seconds = self._seconds(msg, name)
        wire.deadline.set(time.monotonic() + seconds)
        wire.news.set(wire.header(msg, "Modulebus-News"))
        wire.trace.set({name: value for name in wire.TRACE if (value := wire.header(msg, name))})
        body, headers = await self._ask(handler, msg, seconds)
        await self.link.respond(msg, body, headers)

    def _seconds(self, msg: Msg, name: str) -> float:
        default = self.entry.get("timeout_ms") or 1000
        return _time_left(msg, float(self.entry.get("timeouts_ms", {}).get(name, default)) / 1000)

    async def _ask(self, handler: Handler, msg: Msg, seconds: float) -> tuple[bytes, dict[str, str]]:
        """Returns the payload and the headers of the reply."""
        name, limit = handler.callback.full_name, Limit(seconds)
        request = None
        try:
            request = handler.read(json.loads((await self.link.question(msg)).decode() or "{}"))
            answer = await contained(handler.function(request))
            return wire.dumps(handler.write(answer, self.link.subjects.worker)), wire.JSON
        except (Malformed, UnicodeDecodeError, json.JSONDecodeError) as error:
            return b"", wire.failure("malformed", str(error) if isinstance(error, Malformed) else "the question is not JSON")
        except asyncio.CancelledError:
            if not limit.reached:
                raise
            return b"", wire.failure("timeout", f"{name} took longer than {seconds:.3f} s")
        except (TimeoutError, asyncio.TimeoutError):
            return b"", wire.failure("timeout", f"{name} gave up waiting")
        except Failure as error:
            return b"", wire.failure(error.kind, str(error))
        except Exception as error:
            logger.error("%s failed\n%s", name, redact.text(traceback.format_exc().rstrip(), request))
            return b"", wire.failure("panic", f"{name} raised {type(error).__name__}; the module's log has more")
        finally:
            limit.over()

    async def _drain(self) -> None:
        """Takes no more questions, says so, and finishes those under way: also those that NATS gave to this worker before it knew. NATS
        may be gone, or may be silent: neither makes it longer than the time that there is, and a second."""
        self.stop()
        mine = {self.link.subjects.asked_by_name(), self.link.subjects.cancel()}
        await self._release(self.subscriptions.keys() - mine)
        await within(min(BUSD_TIMEOUT, self._left()), self._leave(), *([self.instance.stop()] if self.instance else []))
        if self.link.client.is_connected:
            await asyncio.sleep(min(HEARD_OF, self._left() / 2))  # The rest is for what comes meanwhile.
        await self._release(mine & self.subscriptions.keys())
        if self.questions:
            await asyncio.wait(list(self.questions.values()), timeout=self._left())
        for question in list(self.questions.values()):
            question.cancel()
        await self.web.drain(self._left())
        await within(LAST, self.web.close())

    def _left(self) -> float:
        return max(0.0, self.until - time.monotonic())

    async def _release(self, subjects: Collection[str]) -> None:
        await within(min(BUSD_TIMEOUT, self._left()), *(self._hear_no_more(self.subscriptions[subject]) for subject in subjects))

    async def _hear_no_more(self, subscription: Subscription) -> None:
        """What NATS has handed over is still served; without a connection there is nobody to say what that is, and without time there is no use:
        nats-py takes it for an error of the connection when NATS's answer comes to somebody who waits no more."""
        if self.link.client.is_connected and self._left() > 0:
            await subscription.drain()  # type: ignore[no-untyped-call]
        else:
            await subscription.unsubscribe()

    async def _leave(self) -> None:
        if self.link.client.is_connected:  # Else it is known, and busd forgets who does not join again.
            await self.link.request(self.link.subjects.leave(), {"worker": self.link.subjects.worker}, BUSD_TIMEOUT)


def _time_left(msg: Msg, default: float) -> float:
    """Returns how many seconds there are for an answer."""
    left = wire.header(msg, "Modulebus-Timeout")
    return int(left) / 1000 if left.isdecimal() else default
