"""Which worker of a module leads: it is the one that runs looping background calls."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from .store import Bucket, Conflict, NoStore, create

logger = logging.getLogger("modulebus")

LEASE = 15.0  # seconds for which a worker that leads is taken for alive without a sign of it
RENEWALS = 3  # in the time of a lease
KEY = "leader"


class Candidate:
    """A worker that leads if it can. The lease is a key that the server forgets when it is not renewed."""

    def __init__(self, worker: str, bucket: Bucket, lease: float = LEASE) -> None:
        self.worker = worker
        self.bucket = bucket
        self.lease = lease
        self.revision = 0  # of the lease; 0 if this worker does not have it
        self.until = 0.0  # as this worker's own clock has it, and earlier than the server's
        self.said = ""

    def leads(self) -> bool:
        return time.monotonic() < self.until

    async def lead(self, loops: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """Waits to lead, runs the loops as long as this worker does, and waits again, until the task is cancelled."""
        try:
            while True:
                await self.stand()
                if self.leads():
                    await self._run(loops)
                else:
                    await asyncio.sleep(self.lease / RENEWALS)
        finally:
            await self.resign()

    async def _run(self, loops: Sequence[Callable[[], Awaitable[None]]]) -> None:
        running = [asyncio.ensure_future(loop()) for loop in loops]
        try:
            while self.leads():
                await asyncio.sleep(self.lease / RENEWALS)
                await self.stand()
        finally:
            for loop in running:
                loop.cancel()
            await asyncio.wait(running)

    async def stand(self) -> None:
        """Takes the lease if it is free, and renews it if this worker has it. What cannot be renewed runs out."""
        until = time.monotonic() + self.lease * (RENEWALS - 1) / RENEWALS
        try:
            self.revision = await asyncio.wait_for(self._write(), self.lease / RENEWALS)
            self.until = until
        except Conflict:  # Another leads, or this worker's lease is gone.
            self.revision = 0
        except (NoStore, TimeoutError, asyncio.TimeoutError) as error:
            self._say(str(error) or "JetStream did not answer in time")

    async def _write(self) -> int:
        if self.revision:
            return await self.bucket.write(KEY, self.worker.encode(), after=self.revision)
        return await create(self.bucket, KEY, self.worker.encode())

    def _say(self, text: str) -> None:
        if text != self.said:
            logger.warning("cannot tell which worker leads: looping background calls do not run here: %s", text)
        self.said = text

    async def resign(self) -> None:
        """Gives the lease back, so that another worker need not wait for its end."""
        had, self.revision, self.until = self.revision, 0, 0.0
        if had:
            try:
                await asyncio.wait_for(self.bucket.write(KEY, b"", after=had, delete=True), 1)
            except (NoStore, Conflict, TimeoutError, asyncio.TimeoutError):
                pass  # It runs out by itself.
