"""A module as a program."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import os
import signal
import ssl
import sys
import threading
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from . import credentials
from .answers import ConfigError
from .homeserver import Homeserver
from .limit import within
from .link import Link, Refusals, connect
from .subjects import Subjects
from .watch import Watch
from .worker import Builder, ClassBuilder, Options, Worker

logger = logging.getLogger("modulebus")

DRAINED, CRASHED, USAGE, REFUSED = 0, 1, 2, 78

LAST = 2.0  # seconds after the drain, or after the worker, until which the process has ended
CLOSE = 0.5  # seconds of it for the connection


def main(module: Callable[[dict[str, Any], Homeserver], Any], *, version: str = "", options: Options | None = None) -> None:
    """Runs a module as a program, and does not return.

    `module` is a class, or any function, that takes the configuration and the homeserver; it may raise ConfigError. Its
    methods that are marked with @callback are asked. Flags or environment variables say where it runs:

        --nats         MODULEBUS_NATS_URL     default nats://127.0.0.1:4222
        --server-name  MODULEBUS_SERVER_NAME  required
        --module       MODULEBUS_MODULE       required
        --credentials  MODULEBUS_CREDENTIALS  a NATS credentials file
        --nats-ca      MODULEBUS_NATS_CA      a PEM file with the authorities that NATS's certificate may come from
        --nats-cert    MODULEBUS_NATS_CERT    a PEM file with the module's own certificate, for a NATS that asks for one
        --nats-key     MODULEBUS_NATS_KEY     a PEM file with its key
        --log-level    MODULEBUS_LOG_LEVEL    default info

    SIGTERM and SIGINT drain, whether or not NATS is there: see Options.drain_timeout. The exit status is 0 after that, 78 when
    the configuration was refused, 2 when flags are wrong, and 1 when anything else ended it.
    """
    flags = parse(argparse.ArgumentParser(), sys.argv[1:])
    builder = ClassBuilder(module)
    sys.exit(asyncio.run(ending(run(builder, version or str(getattr(module, "version", "")), options or Options(), flags))))


def parse(parser: argparse.ArgumentParser, args: list[str]) -> argparse.Namespace:
    """Reads the flags that all programs have, and those that the parser has already, and sets up logging."""
    for name, default in (("nats", "nats://127.0.0.1:4222"), ("server-name", None), ("module", None), ("credentials", None), ("nats-ca", None), ("nats-cert", None), ("nats-key", None), ("log-level", "info")):
        variable = {"nats": "MODULEBUS_NATS_URL"}.get(name, "MODULEBUS_" + name.upper().replace("-", "_"))
        value = os.environ.get(variable) or default
        parser.add_argument(f"--{name}", default=value, help=f"${variable}")
    flags = parser.parse_args(args)
    if flags.server_name is None or flags.module is None:
        parser.error("--server-name and --module are required; busd sets them for the modules that it runs, and for those that it verifies")
    if flags.log_level.upper() not in ("DEBUG", "INFO", "WARN", "WARNING", "ERROR"):
        parser.error("--log-level: use debug, info, warn or error")
    if (flags.nats_cert is None) != (flags.nats_key is None):
        parser.error("--nats-cert and --nats-key belong together")
    logging.basicConfig(level=flags.log_level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    return flags


def context(flags: argparse.Namespace) -> ssl.SSLContext | None:
    """How NATS is trusted, and who the module is to it; None for what is usual."""
    if flags.nats_ca is None and flags.nats_cert is None:
        return None
    made = ssl.create_default_context(cafile=flags.nats_ca)
    if flags.nats_cert is not None:
        made.load_cert_chain(flags.nats_cert, flags.nats_key)
    return made


def admit(flags: argparse.Namespace) -> None:
    """Raises CredentialsError if the credentials cannot be used, and warns if others can read them, or if they are another module's."""
    if flags.credentials is None:
        return
    credentials.check(flags.credentials, flags.module)
    if credentials.exposed(flags.credentials):
        logger.warning("others can read the credentials, and be this module then: chmod 600 %s", flags.credentials)
    of = credentials.module_of(flags.credentials)
    if of is not None and of != flags.module:
        logger.error(
            'the credentials in %s are those of module %s, and NATS turns away what does not belong to that: take what "busd credentials %s" prints',
            *(flags.credentials, of, flags.module),
        )


async def ending(life: Coroutine[Any, Any, int]) -> int:
    """Awaits what is the life of the process, and returns its exit status. However it ended, threads and tasks of the module cannot hold
    up the end of the process for long: a worker that answers nothing must not stay."""
    status = CRASHED
    try:
        status = await life
        return status
    finally:
        cut_off_later(status)


def cut_off_later(status: int) -> None:
    """Ends the process when LAST is over, unless it has ended by then."""
    last = threading.Timer(LAST, _cut_off, [status])
    last.daemon = True
    last.start()
    faulthandler.cancel_dump_traceback_later()


def _cut_off(status: int) -> None:
    faulthandler.dump_traceback()
    os._exit(status)


async def run(builder: Builder, version: str, options: Options, flags: argparse.Namespace) -> int:
    """Runs a worker until a signal comes, and returns the exit status."""
    subjects = Subjects(flags.server_name, flags.module, os.environ.get("MODULEBUS_WORKER") or uuid.uuid4().hex)
    closed, turned_away, refusals = asyncio.Event(), asyncio.Event(), Refusals()
    try:
        admit(flags)
    except credentials.CredentialsError as error:
        logger.error("%s", error)
        return CRASHED

    async def on_closed() -> None:
        closed.set()

    async def on_disconnected() -> None:
        refusals.forget()

    async def on_error(error: Exception) -> None:
        if refusals.hear(error):
            return
        if not credentials.turned_away(error):
            logger.error("NATS: %s", type(error).__name__)
        elif not turned_away.is_set():  # It is tried again several times a second.
            logger.error("%s", credentials.explain(flags.credentials, flags.module))
            turned_away.set()

    async def on_reconnected() -> None:
        turned_away.clear()

    stopping = asyncio.Event()

    def stop() -> None:
        if not stopping.is_set():  # A module, or the client of NATS, may hold up the loop's end, too; stderr says where then.
            faulthandler.dump_traceback_later(options.drain_timeout + LAST, exit=True)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    callbacks = {"closed_cb": on_closed, "disconnected_cb": on_disconnected, "reconnected_cb": on_reconnected, "error_cb": on_error}
    connecting = asyncio.create_task(connect(flags.nats, subjects, flags.credentials, context(flags), **callbacks))
    await _first(connecting, stopping, turned_away)
    if not connecting.done():
        while not connecting.done():  # The client may take a cancellation for the failure of an attempt, and make another one.
            connecting.cancel()
            await asyncio.wait([connecting], timeout=CLOSE)
        return DRAINED if stopping.is_set() else CRASHED
    try:
        client = connecting.result()
    except Exception as error:
        logger.error("cannot connect to NATS: %s", error)
        return CRASHED
    worker = Worker(Link(client, subjects, refusals), builder, version, options)
    watch = Watch()
    watch.start()
    life = asyncio.create_task(worker.run())
    await _first(life, stopping, closed)
    lost = closed.is_set() and not life.done()
    worker.stop()
    try:
        await life
    except ConfigError as error:
        logger.error("the configuration was refused: %s", error)
        return REFUSED
    except Exception:
        if not client.is_closed:
            logger.exception("module stopped")
            return CRASHED
        lost = True  # It is the connection's end that was in its way.
    finally:
        watch.end()
        if not client.is_closed:
            await within(CLOSE, client.close())
    if lost and not stopping.is_set():
        last = client.last_error
        why = credentials.explain(flags.credentials, flags.module) if last and credentials.turned_away(last) else "it does not say why"
        logger.error("module stopped: NATS closed the connection for good: %s", why)
        return CRASHED
    return DRAINED


async def _first(task: asyncio.Task[Any], *events: asyncio.Event) -> None:
    """Waits until the task is done, or one of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait([task, *waits], return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
