"""How a worker ends when it is told to: a process of its own, on a NATS that does what the test wants."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

MODULE = """
import asyncio, sys, threading, modulebus
from modulebus import program, table

def callback(name):
    async def answer(self, request):
        print("asked", flush=True)
        if kind == "leaving":
            asyncio.get_running_loop().call_soon(sys.exit, 3)
        if kind == "base":
            raise BaseException("not an Exception")
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if kind != "stubborn":
                    raise
    answer.__name__ = name
    return modulebus.callback(answer)

kind, drain = sys.argv.pop(1), 0.1
if kind in ("threaded", "leaving"):
    program.LAST, drain = 0.2, 60  # Nothing is under way: what matters is the time after the worker.
    threading.Thread(target=threading.Event().wait).start()  # It never ends, and Python waits for it.
spam_checker = [c.name for c in table.callbacks().values() if c.category == "spam_checker"]
module = type("Module", (), {name: callback(name) for name in spam_checker})
modulebus.main(lambda config, homeserver: module(), options=modulebus.Options(drain_timeout=drain))
"""
ROOT = Path(__file__).parents[1]


CONNECTING = """
import asyncio, modulebus
from modulebus import program

async def connect(*args, **options):
    print("connects", flush=True)
    for _ in range(2):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass  # As asyncio.wait_for does before Python 3.12, where the connection fails at the same time.
    await asyncio.sleep(3600)

program.connect = connect
modulebus.main(lambda config, homeserver: None, options=modulebus.Options(drain_timeout=30))
"""


class Server:
    """As much of NATS as a worker needs, until it is silent."""

    def __init__(self) -> None:
        self.subscriptions: dict[str, str] = {}  # by subject, the ids
        self.joined = asyncio.Event()
        self.replied: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.silent = False
        self.connections: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        writer.write(b'INFO {"headers":true,"max_payload":1048576,"proto":1,"version":"2.11.0"}\r\n')
        while line := (await reader.readline()).split():
            if self.silent:
                continue
            if line[0] == b"PING":
                writer.write(b"PONG\r\n")
            elif line[0] == b"SUB":
                self.subscriptions[line[1].decode()] = line[-1].decode()
            elif line[0] == b"HPUB":
                message = await reader.readexactly(int(line[-1]) + 2)
                if line[1] == b"reply":
                    self.replied.set_result(message)
                else:
                    self.answer(writer, line[1].decode(), line[2].decode())

    def answer(self, writer: asyncio.StreamWriter, subject: str, reply: str) -> None:
        if subject.endswith(".join"):
            self.joined.set()
        self.send(writer, reply, json.dumps({"listed": True, "join_every_ms": 60_000}).encode())

    def send(self, writer: asyncio.StreamWriter, subject: str, data: bytes, reply: str = "") -> None:
        sid = next(sid for pattern, sid in self.subscriptions.items() if subject.startswith(pattern.rstrip("*")))
        writer.write(f"MSG {subject} {sid} {reply} {len(data)}\r\n".encode() + data + b"\r\n")


class Trial:
    """A worker on a server."""

    def __init__(self, kind: str) -> None:
        self.kind, self.server = kind, Server()

    async def __aenter__(self) -> Trial:
        self.listener = await asyncio.start_server(self.server.serve, "127.0.0.1", 0)
        port = self.listener.sockets[0].getsockname()[1]
        self.worker = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MODULE, self.kind, "--nats", f"nats://127.0.0.1:{port}", "--server-name", "example.com", "--module", "m",
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        await self.server.joined.wait()
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.listener.close()
        if self.worker.returncode is None:
            self.worker.kill()

    async def ask(self) -> None:
        subject = next(s for s in self.server.subscriptions if ".user_may_create_room." in s)
        self.server.send(self.server.connections[0], subject, b"{}", "reply")
        assert self.worker.stdout is not None
        assert await self.worker.stdout.readline() == b"asked\n"

    async def end(self) -> tuple[int, str]:
        """Returns the exit status after a SIGTERM, and what was written to stderr."""
        self.worker.send_signal(signal.SIGTERM)
        _, said = await self.worker.communicate()
        assert self.worker.returncode is not None
        return self.worker.returncode, said.decode()


@pytest.mark.parametrize("nats", ["there", "silent", "gone"])
async def test_worker_that_is_told_to_end_drains_whatever_nats_does(nats: str) -> None:
    async with Trial("willing") as trial:
        await trial.ask()
        trial.server.silent = nats != "there"
        if nats == "gone":
            trial.listener.close()
            for connection in trial.server.connections:
                connection.transport.abort()
        status, said = await trial.end()
        assert status == 0, said
        assert "Traceback" not in said


async def test_worker_ends_though_its_module_holds_it_up() -> None:
    async with Trial("stubborn") as trial:
        await trial.ask()
        status, said = await trial.end()
        assert status in (0, 1), said  # The latter where the machine is so busy that draining takes as long.
        assert "most recent call first" in said


async def test_worker_ends_though_its_module_has_a_thread_that_does_not() -> None:
    async with Trial("threaded") as trial:
        status, said = await trial.end()
        assert status == 0, said


async def test_process_whose_worker_was_ended_by_its_module_does_not_stay() -> None:
    async with Trial("leaving") as trial:
        await trial.ask()
        _, said = await trial.worker.communicate()
        assert trial.worker.returncode != 0, said


async def test_callback_that_raises_no_exception_is_answered_for() -> None:
    async with Trial("base") as trial:
        await trial.ask()
        assert b"raised Escaped" in await trial.server.replied


async def test_worker_ends_that_cannot_connect_when_nats_goes() -> None:
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CONNECTING, "--server-name", "example.com", "--module", "m",
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"connects\n"
    worker.send_signal(signal.SIGTERM)
    assert await worker.wait() == 0
