"""The processes of a run with several workers: started here, watched from here, and gone when this returns.

This process computes nothing: it hands each worker the same work, passes on what the first one reports, and
turns Ctrl-C into a flag that the first worker shares with the others, so that all end after the same step.
When one fails or dies, the others wait for it in vain; they are ended at once, and the error says who failed.
A worker whose parent is gone ends itself. What they share before they meet is a folder, which goes with them.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol

import torch

from training.trainer.interruption import Flag, interruption
from training.trainer.sharding import Group
from warehouse.errors import FactoryError

Progress = Callable[[int, float], None]
POLL = 0.2  # seconds between looks at Ctrl-C
GRACE = 5.0  # seconds that the others have to tell their own error after the first


class Work(Protocol):
    """What each worker does; the first one's result is the run's. Both must be picklable."""

    def __call__(self, group: Group, progress: Progress, stop: Flag) -> Any: ...


@dataclass(frozen=True)
class Stop:
    """A flag that processes share: a file that is there or not."""

    path: Path

    def set(self) -> None:
        self.path.touch()

    def is_set(self) -> bool:
        return self.path.exists()


@dataclass(frozen=True)
class Outcome:
    """How a worker ended, and when: a result, an error that a person reads, or another's traceback."""

    result: Any = None
    error: FactoryError | KeyboardInterrupt | None = None
    trace: str = ""
    at: float = field(default_factory=time.monotonic)

    @property
    def well(self) -> bool:
        return self.error is None and not self.trace


@dataclass
class Worker:
    """A process, its last step and when it was heard of before its end, and how it ended."""

    group: Group
    process: SpawnProcess
    inbox: Connection
    step: int | None = None
    heard: float = field(default_factory=time.monotonic)
    outcome: Outcome | None = None
    gone: bool = False

    def hear(self) -> list[tuple[int, float]]:
        """The steps it has told of since."""
        told: list[tuple[int, float]] = []
        try:
            while not self.gone and self.inbox.poll():
                message = self.inbox.recv()
                if isinstance(message, Outcome):
                    self.outcome, self.gone = message, True
                else:
                    self.step, self.heard = message[0], time.monotonic()
                    told.append(message)
        except (EOFError, OSError):
            self.gone = True
        return told

    def sentence(self, what: str) -> str:
        """That it `what`, and when."""
        when = "before its first step" if self.step is None else f"after step {self.step}"
        return f"Worker {self.group.rank} of {self.group.size} {what} {when}"


def run_workers(work: Work, count: int, device: str, timeout: float, progress: Progress | None) -> Any:
    """What the first of `count` workers returns; `progress` is told its steps.

    `device` is cpu or cuda, where each worker has a GPU of its own. Raises what a worker raised, FactoryError
    where one died or did not answer for `timeout` seconds, and KeyboardInterrupt after Ctrl-C.
    """
    _require(count, device)
    context = get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="verifactory-workers-") as folder, interruption() as interrupted:
        stop = Stop(Path(folder) / "stop")
        team: list[Worker] = []
        try:
            for rank in range(count):
                place = f"cuda:{rank}" if device == "cuda" else device
                group = Group(rank, count, place, Path(folder), timeout)
                inbox, outbox = context.Pipe(duplex=False)
                process = context.Process(target=_main, args=(work, group, stop, outbox), daemon=True)
                process.start()
                outbox.close()  # its end is the worker's alone, so that its death is seen here
                team.append(Worker(group, process, inbox))
            return _watch(team, stop, interrupted, progress)
        finally:
            for worker in team:
                worker.process.kill()
                worker.process.join()


def _require(count: int, device: str) -> None:
    if device == "cuda" and torch.cuda.device_count() < count:
        raise FactoryError(
            f"workers = {count} needs {count} GPUs, one each, but torch finds {torch.cuda.device_count()}; "
            "lower workers, or set device to 'cpu'."
        )


def _watch(
    team: Sequence[Worker], stop: Stop, interrupted: threading.Event, progress: Progress | None
) -> Any:
    until = float("inf")
    while not all(worker.gone for worker in team) and time.monotonic() < until:
        if interrupted.is_set():
            stop.set()
        wait([worker.inbox for worker in team if not worker.gone], POLL)
        for worker in team:
            for step, loss in worker.hear():
                if progress and worker.group.first:
                    progress(step, loss)
        if until == float("inf") and any(_failed(worker) for worker in team):
            until = time.monotonic() + GRACE
    if any(map(_failed, team)):
        raise _error(team)
    assert team[0].outcome is not None
    return team[0].outcome.result


def _failed(worker: Worker) -> bool:
    return worker.gone and (worker.outcome is None or not worker.outcome.well)


def _error(team: Sequence[Worker]) -> BaseException:
    """Why the run ended. An error that a person can mend comes first, then a worker that is no more."""
    for worker in team:
        if worker.outcome and worker.outcome.error:
            return worker.outcome.error
    for worker in team:
        if worker.gone and worker.outcome is None:
            worker.process.join(GRACE)
            died = f"died ({_status(worker.process.exitcode)})"
            return FactoryError(
                f"{worker.sentence(died)}, and the others were ended; run the command again to go on from "
                "the last checkpoint, and lower micro_batch_tokens if memory ran out."
            )
    ended = [(worker.outcome, worker) for worker in team if worker.outcome and worker.outcome.trace]
    outcome, first = min(ended, key=lambda pair: pair[0].at)
    silent = [worker for worker in team if not worker.gone]
    if silent and outcome.at - first.heard >= first.group.timeout:
        return FactoryError(
            f"{silent[0].sentence('stopped answering')}, and worker {first.group.rank} waited "
            f"{first.group.timeout:.0f} s for it in vain; run the command again to go on from the last "
            "checkpoint, and raise worker_timeout if a step or a checkpoint takes longer."
        )
    return RuntimeError(f"{first.sentence('failed')}:\n{outcome.trace}")


def _status(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"status {code}"


def _main(work: Work, group: Group, stop: Stop, outbox: Connection) -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells all at once; the parent's word counts
    threading.Thread(target=_end_with_parent, args=(stop.path.parent,), daemon=True).start()
    try:
        outcome = Outcome(result=work(group, lambda step, loss: outbox.send((step, loss)), stop))
    except (FactoryError, KeyboardInterrupt) as error:
        outcome = Outcome(error=error)
    except Exception:
        outcome = Outcome(trace=traceback.format_exc())
    outbox.send(outcome)


def _end_with_parent(folder: Path) -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
