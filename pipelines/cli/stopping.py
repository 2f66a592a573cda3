"""Ctrl-C and SIGTERM: cancel what runs, let it put its sandboxes away, and leave.

A terminal sends Ctrl-C to the whole process group, so Prefect's ephemeral server dies of it too, and Prefect
would then wait for its server for minutes. What must survive is on disk by then (records are flushed as whole
units), so the process leaves as soon as its sandboxes are gone, whatever else is still being waited for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from envs.docker.backend import any_open

T = TypeVar("T")

GRACE_SECONDS = 50.0  # a busy daemon takes its time to stop a few containers
SETTLE_SECONDS = 0.5  # for a cancelled start to unwind
STOPPED = "Stopped. Nothing is lost: run the same command again to go on."


def run_stoppable(main: Coroutine[Any, Any, T], before_leaving: Callable[[], None] = lambda: None) -> T:
    """`asyncio.run`; a stop signal cancels `main` and ends the process with 128 + its number.

    No exit handler runs then; `before_leaving` is what must be undone all the same, such as a hidden cursor.
    """

    async def guarded() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main)
        leaving: list[asyncio.Task[None]] = []

        def stop(number: signal.Signals) -> None:
            task.cancel()
            if not leaving:
                logging.disable(logging.CRITICAL)  # what Prefect says of its dead server helps nobody
                leaving.append(loop.create_task(put_away(number, before_leaving)))

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        try:
            return await task
        finally:
            if leaving:
                await leaving[0]

    return asyncio.run(guarded())


async def put_away(number: signal.Signals, before_leaving: Callable[[], None]) -> None:
    """Wait until no sandbox backend is open, at most `GRACE_SECONDS`; then end the process."""
    deadline = time.monotonic() + GRACE_SECONDS
    await asyncio.sleep(SETTLE_SECONDS)
    while any_open() and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    before_leaving()
    leave(number)


def leave(number: signal.Signals) -> None:
    """Say that it stopped, and end the process at once."""
    sys.stderr.write(f"verifactory: {STOPPED}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(128 + number)
