"""SIGKILL at any moment: nothing acknowledged is lost, nothing doubled, batches replay as they were."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pool_processes as processes
import pytest

from training.forge.pool.records import OUTCOME
from training.forge.pool.sqlite import SqlitePool

KILLS = 10
SECONDS = 300.0


@contextmanager
def process(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen([sys.executable, processes.__file__, *map(str, arguments)])
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def killed_now_and_then(rng: random.Random, kills: int, *arguments: object, least: float) -> int:
    """Runs a role to its end through so many kills; how many there were."""
    for kill in range(kills):
        with process(*arguments) as running:
            try:
                if running.wait(least + rng.uniform(0, 0.4)) == 0:
                    return kill
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"{arguments[0]} failed by itself")
    with process(*arguments) as running:
        assert running.wait(SECONDS) == 0
    return kills


@pytest.fixture
def start_seconds(tmp_path: Path) -> float:
    """How long such a process takes until it does something."""
    began = time.monotonic()
    path = tmp_path / "start.sqlite"
    with process("write", path, 0, 1, 1, tmp_path / "start") as running:
        assert running.wait(SECONDS) == 0
    return time.monotonic() - began


def test_four_writers_killed_lose_and_double_nothing(tmp_path: Path, start_seconds: float) -> None:
    path, trajectories, turns = tmp_path / "pool.sqlite", 150, 6
    rng = random.Random(5)
    logs = [tmp_path / f"done-{n}" for n in range(4)]
    roles = [("write", path, n, trajectories, turns, logs[n]) for n in range(4)]
    for _ in range(KILLS // 2):
        running = [subprocess.Popen([sys.executable, processes.__file__, *map(str, r)]) for r in roles]
        time.sleep(2 * start_seconds + rng.uniform(0, 0.2))
        acknowledged = [set(log.read_text().splitlines()) if log.exists() else set() for log in logs]
        for one in running:
            one.kill()
            one.wait()
        pool = SqlitePool(path)
        for names in acknowledged:
            for name in sorted(names)[:: max(len(names) // 20, 1)]:
                assert len(pool.trajectory(name).completions) == turns
        pool.close()
        if all(len(names) == trajectories for names in acknowledged):
            break
    for role in roles:
        with process(*role) as last:
            assert last.wait(SECONDS) == 0
    pool = SqlitePool(path)
    for n in range(4):
        for number in range(trajectories):
            found = pool.trajectory(f"w{n}-{number}")
            wanted = [processes.made(found.trajectory, turn) for turn in range(turns)]
            assert [c.arrays() for c in found.completions] == [c.arrays() for c in wanted]
            assert [c.facts() for c in found.completions] == [c.facts() for c in wanted]
            assert [(r.name, r.score) for r in found.rewards] == [(OUTCOME, float(number)), ("process", -0.5)]
            assert found.ended
    count = pool._db.execute("SELECT count(*) FROM completions").fetchone()[0]
    assert count == 4 * trajectories * turns
    pool.close()


def test_a_killed_run_replays_its_batches_and_trains_each_once(tmp_path: Path, start_seconds: float) -> None:
    path, folder = tmp_path / "pool.sqlite", tmp_path
    (folder / "ended").mkdir()
    with process("judge", path, folder):
        kills = killed_now_and_then(random.Random(3), KILLS, "schedule", path, folder, least=start_seconds)
    assert kills >= KILLS // 2
    steps: dict[int, set[str]] = {}
    order: list[int] = []
    for line in (folder / "log").read_text().splitlines():
        told = json.loads(line)
        steps.setdefault(told["step"], set()).add(json.dumps([told["groups"], told["digest"]]))
        order.append(told["step"])
    assert sorted(steps) == list(range(processes.GROUPS // processes.BATCH))
    assert all(len(runs) == 1 for runs in steps.values()), "a step was replayed with another batch"
    # Every run goes on at a checkpoint, and skips nothing from there.
    assert all(after <= before + 1 for before, after in pairwise(order))
    pool = SqlitePool(path, create=False)
    batches = [pool.batch(step) for step in sorted(steps)]
    groups = [group for batch in batches if batch is not None for group in batch.groups]
    assert sorted(groups) == list(range(processes.GROUPS))
    for batch in batches:
        assert batch is not None
        assert batch.trained
        for names in batch.trajectories:
            found = [pool.trajectory(name) for name in names]
            assert [trajectory.sample for trajectory in found] == list(range(processes.SAMPLES))
            assert all(trajectory.judged and trajectory.ended for trajectory in found)
    assert pool.state().groups == ()
    assert (folder / "checkpoint").read_text() == str(processes.GROUPS // processes.BATCH)
    pool.close()


def test_a_pool_held_by_a_stopped_process_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.forge.pool.sqlite.BUSY_SECONDS", 0.2)
    path = tmp_path / "pool.sqlite"
    pool, other = SqlitePool(path), SqlitePool(path)
    with (
        pool._transaction(),
        pytest.raises(Exception, match=r"Another process has held the pool .* for 0.2 s"),
    ):
        other.end("t")
    other.end("t")
    pool.close()
    other.close()
