"""Processes of a run, to be killed: a writer, a scheduler with its trainer, and whoever gives rewards."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from training.forge.pool.ledger import Ledger
from training.forge.pool.pool import PoolClosed
from training.forge.pool.records import OUTCOME, Completion, Reward, Trajectory
from training.forge.pool.sqlite import SqlitePool
from training.forge.scheduler.policies import Cohorts

GROUPS, BATCH, SAMPLES = 60, 3, 2


def made(trajectory: str, turn: int) -> Completion:
    """A completion that only its name decides."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{trajectory}/{turn}".encode()).digest()[:8]))
    size = int(rng.integers(0, 60))
    return Completion(
        trajectory=trajectory,
        turn=turn,
        parent=turn - 1 if turn and turn % 3 else None,
        suffix=rng.integers(0, 2**31 - 1, int(rng.integers(1, 90))).astype(np.int32),
        response=rng.integers(0, 2**31 - 1, size).astype(np.int32),
        logprobs=rng.normal(size=size).astype(np.float32),
        oldest_version=turn,
        newest_version=turn + 1,
        routes=rng.integers(0, 255, (4, 2, 2)).astype(np.uint8) if turn % 2 else None,
        fault="engine_died" if turn % 7 == 6 else "",
    )


def write(path: Path, number: int, trajectories: int, turns: int, done: Path) -> None:
    """Writes everything that `done` does not list yet; a kill loses at most what was not acknowledged."""
    pool = SqlitePool(path)
    listed = set(done.read_text().splitlines()) if done.exists() else set()
    rng = random.Random()
    with done.open("a") as log:
        for n in range(trajectories):
            name = f"w{number}-{n}"
            if name in listed:
                continue
            turn = 0
            while turn < turns:
                size = rng.randint(1, 5)
                pool.add([made(name, t) for t in range(turn, min(turn + size, turns))])
                turn += size
            pool.reward([Reward(name, OUTCOME, float(n)), Reward(name, "process", -0.5, turn=0)])
            pool.end(name)
            log.write(f"{name}\n")
            log.flush()


def digest(trajectories: list[Trajectory]) -> str:
    found = hashlib.sha256()
    for trajectory in trajectories:
        for completion in trajectory.completions:
            found.update(completion.facts().encode() + completion.arrays())
        found.update(repr(trajectory.rewards).encode())
    return found.hexdigest()


def schedule(path: Path, folder: Path) -> None:
    """Rolls out, schedules and trains; `checkpoint` is the version on disk, `log` every step that was run."""
    pool = SqlitePool(path, batch=BATCH, samples=SAMPLES, durable=True)
    ledger = Ledger(pool)
    policy = Cohorts(bound=2, batch=BATCH, burst=2)
    rng = random.Random()

    def train(step: int) -> None:
        batch = pool.batch(step)
        assert batch is not None
        seen = digest([pool.trajectory(name) for names in batch.trajectories for name in names])
        with (folder / "log").open("a") as log:
            log.write(json.dumps({"step": step, "groups": batch.groups, "digest": seen}) + "\n")
        new = folder / "checkpoint.new"
        new.write_text(str(step + 1))
        if (step + 1) % 2 == 0 or step + 1 == GROUPS // BATCH:  # not every step makes a checkpoint
            os.replace(new, folder / "checkpoint")
        ledger.trained(step)

    there = folder / "checkpoint"
    for batch in ledger.replay(int(there.read_text()) if there.exists() else 0):
        train(batch.step)
    todo = [(group, sample) for group in ledger.queue.live for sample in pool.missing(group)]
    while ledger.queue.live or ledger.queue.waiting or not ledger.queue.closed:
        while ledger.queue.fresh < policy.lookahead and ledger.queue.offered < GROUPS:
            ledger.offer([(f"task {ledger.queue.offered}", None)])
        if ledger.queue.offered == GROUPS and not ledger.queue.closed:
            ledger.close()
        started = policy.admit(ledger.queue)
        if started:
            ledger.start(started)
            todo += [(group.index, sample) for group in started for sample in range(SAMPLES)]
        rng.shuffle(todo)
        for group, sample in todo[:2]:
            name = pool.open(group, sample)
            for turn in range(rng.randint(1, 4)):
                pool.add([made(name, turn)])
            # Told first: killed between the two, it is made anew, and never ended without a judge's knowing.
            (folder / "ended" / name).touch()
            pool.end(name)
        del todo[:2]
        ledger.settle()
        chosen = policy.select(ledger.queue)
        if chosen:
            train(ledger.take(chosen).step)
        time.sleep(0.02)
    (folder / "finished").touch()


def judge(path: Path, folder: Path) -> None:
    """Gives every trajectory that ends its outcome, in any order."""
    pool = SqlitePool(path, batch=BATCH, samples=SAMPLES)
    while not (folder / "finished").exists():
        names = sorted(os.listdir(folder / "ended"))
        random.shuffle(names)
        for name in names:
            with suppress(PoolClosed):  # a new attempt has taken its place
                pool.reward([Reward(name, OUTCOME, len(name) / 7)])
            (folder / "ended" / name).unlink(missing_ok=True)
        time.sleep(0.002)


if __name__ == "__main__":
    role, path, *rest = sys.argv[1:]
    if role == "write":
        write(Path(path), int(rest[0]), int(rest[1]), int(rest[2]), Path(rest[3]))
    elif role == "schedule":
        schedule(Path(path), Path(rest[0]))
    else:
        judge(Path(path), Path(rest[0]))
