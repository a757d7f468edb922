"""Keeps what a module does to its process within the question that it does it for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")

PROCESS = os.getpid()


class Escaped(Exception):
    """What a module raised would have ended more than what it was asked for."""


async def contained(code: Awaitable[Result]) -> Result:
    """Awaits a module's code. What it raises becomes Escaped where it would do more than fail the question: SystemExit and KeyboardInterrupt
    would end the event loop, a CancelledError that nobody asked for would look as if the question had been withdrawn, and
    other exceptions that are no Exception would leave it without an answer. A process that the module forked ends here: it
    has the worker's connection, and would answer, too.
    """
    try:
        return await code
    except (SystemExit, KeyboardInterrupt) as error:
        raise Escaped(f"{type(error).__name__}: a module does not end its worker; SIGTERM does") from error
    except asyncio.CancelledError as error:
        if _withdrawn():
            raise
        raise Escaped("CancelledError, and nothing was cancelled") from error
    except (Exception, GeneratorExit):  # The latter is the end of this coroutine, which is closed.
        raise
    except BaseException as error:
        raise Escaped(f"{type(error).__name__}, which is no Exception") from error
    finally:
        if os.getpid() != PROCESS:
            os._exit(1)


def _withdrawn() -> bool:
    """Reports whether the task was cancelled by another one. Python 3.10 does not tell."""
    task = asyncio.current_task()
    return task is None or bool(getattr(task, "cancelling", lambda: 1)())
