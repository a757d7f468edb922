"""A module whose callback does what the user's name says, for tests of what a worker stands."""

import asyncio
import os
import subprocess
import sys
import time
from typing import Any

import modulebus
from modulebus.messages import Refusal, UserMayCreateRoomRequest


class Faulty:
    version = "1.0.0"

    def __init__(self, config: dict[str, Any], homeserver: modulebus.Homeserver) -> None:
        if config.get("exits"):
            sys.exit("the constructor exits")
        self.ticks = 0
        homeserver.looping_background_call_on_all_instances(0.05, self.tick)

    async def tick(self) -> None:
        self.ticks += 1
        if self.ticks == 1:
            raise RuntimeError("a tick fails")
        if self.ticks == 2:
            sys.exit("a tick exits")

    @modulebus.callback
    async def user_may_create_room(self, request: UserMayCreateRoomRequest) -> Refusal | None:
        act = getattr(self, request.user_id[1:].partition(":")[0], None)
        if act is not None:
            await act()
        return Refusal("M_FORBIDDEN", f"{os.getpid()} refuses after {min(self.ticks, 3)} ticks")

    async def blocks(self) -> None:
        time.sleep(4)

    async def exits(self) -> None:
        sys.exit(0)

    async def cancels(self) -> None:
        raise asyncio.CancelledError

    async def prints(self) -> None:
        sys.stdout.write("x" * (8 << 20))
        for i in range(100_000):
            print("line", i, file=sys.stderr)

    async def forks(self) -> None:
        if os.fork() == 0:
            return

    async def starts(self) -> None:
        subprocess.Popen(["sleep", "600"])

    async def crashes(self) -> None:
        os.abort()


if __name__ == "__main__":
    modulebus.main(Faulty)
