"""Says in the log when a module blocks the event loop, and where: nothing else of the worker can."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback

logger = logging.getLogger("modulebus")

BLOCKED = 1.0  # seconds without a turn of the loop, after which it is said
LOOK = 0.25  # seconds between looks
FRAMES = 6  # of the stack, the innermost, that are said


class Watch(threading.Thread):
    """A thread that looks whether the event loop of the one that made it goes round."""

    def __init__(self) -> None:
        super().__init__(name="modulebus watch", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._turned = time.monotonic()
        self._ended = threading.Event()

    def end(self) -> None:
        """Has the thread end."""
        self._ended.set()

    def run(self) -> None:
        """Is the thread's."""
        said = 0.0  # since when the loop was blocked that was said last
        while not self._ended.wait(LOOK):
            since = self._turned
            if said and since > said:
                logger.warning("the event loop goes round again after %.1f s", since - said)
                said = 0.0
            if not said and time.monotonic() - since > BLOCKED:
                said = since
                logger.warning("the event loop is blocked, so nothing else is answered: use asyncio.to_thread for\n%s", self._place())
            try:
                self._loop.call_soon_threadsafe(self._turn)
            except RuntimeError:
                return  # The loop is closed.

    def _turn(self) -> None:
        self._turned = time.monotonic()

    def _place(self) -> str:
        """Returns where the loop's thread is."""
        frame = sys._current_frames().get(self._watched)
        return "".join(traceback.format_stack(frame)[-FRAMES:])
