"""The gateway's way into the pool: turns of all sessions, several to a transaction.

One thread writes. What comes while it writes goes into its next transaction, so the pool keeps up with any
number of sessions, and a turn waits for at most two commits.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from training.forge.gateway.faults import Fault, Kind
from training.forge.gateway.tree import Turn
from training.forge.pool.pool import Pool
from training.forge.pool.records import Completion
from warehouse.errors import FactoryError

TOGETHER = 256  # most turns of one transaction
Write = tuple[Completion | Callable[[], None], Callable[[FactoryError | None], None]]


@dataclass
class PoolRecorder:
    """Keeps turns in a pool."""

    pool: Pool
    _writes: queue.SimpleQueue[Write | None] = field(default_factory=queue.SimpleQueue)
    _thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        return self.pool.name

    async def turn(self, trajectory: str, turn: Turn) -> None:
        await self._kept(completion(trajectory, turn))

    async def ended(self, trajectory: str, reason: str) -> None:
        await self._kept(lambda: self.pool.end(trajectory, reason))

    async def close(self) -> None:
        """Writes what is left, and closes the pool."""
        if self._thread is not None:
            self._writes.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        self.pool.close()

    async def _kept(self, what: Completion | Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="pool-recorder", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[FactoryError | None] = loop.create_future()

        def told(error: FactoryError | None) -> None:
            loop.call_soon_threadsafe(_resolve, future, error)

        self._writes.put((what, told))
        error = await future
        if error is not None:
            raise Fault(Kind.NOT_RECORDED, str(error), self.name) from error

    def _write(self) -> None:
        """The thread: takes what there is, writes it, tells."""
        while (first := self._writes.get()) is not None:
            found = [first]
            while len(found) < TOGETHER and not self._writes.empty():
                more = self._writes.get()
                if more is None:
                    self._writes.put(None)
                    break
                found.append(more)
            turns = [write for write in found if isinstance(write[0], Completion)]
            self._add(turns)
            for what, told in found:
                if not isinstance(what, Completion):
                    told(_error_of(what))

    def _add(self, writes: list[Write]) -> None:
        """All in one transaction; if that fails, one by one, so that one cannot spoil the others."""
        error = _error_of(lambda: self.pool.add([what for what, _ in writes if isinstance(what, Completion)]))
        for what, told in writes:
            if error is None or len(writes) == 1:
                told(error)
            elif isinstance(what, Completion):
                told(_error_of(lambda what=what: self.pool.add([what])))


def _error_of(write: Callable[[], None]) -> FactoryError | None:
    try:
        write()
    except FactoryError as error:
        return error
    return None


def _resolve(future: asyncio.Future[FactoryError | None], error: FactoryError | None) -> None:
    if not future.done():
        future.set_result(error)


def completion(trajectory: str, turn: Turn) -> Completion:
    """A turn of the gateway as the pool keeps it."""
    return Completion(
        trajectory=trajectory,
        turn=turn.number,
        parent=turn.parent.number if turn.parent else None,
        suffix=turn.suffix,
        response=turn.response,
        logprobs=turn.logprobs,
        oldest_version=turn.versions[0],
        newest_version=turn.versions[1],
        temperature=turn.sampling.temperature,
        top_p=turn.sampling.top_p,
        top_k=turn.sampling.top_k,
        finish=turn.finish.value if turn.finish else "",
        fault=turn.fault.kind.value if turn.fault else "",
        malformed=len(turn.said.malformed),
        growth=turn.growth.value,
        dialect=turn.dialect,
        started=turn.started,
        seconds=turn.seconds,
        routes=turn.routes,
        routes_from=turn.routes_from,
    )
