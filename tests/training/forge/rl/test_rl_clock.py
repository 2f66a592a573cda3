"""Under the virtual clock a run is a function of its settings: ten kills change no batch and no loss."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import toy_run

from training.forge.pool.sqlite import SqlitePool
from training.forge.rl.clock import Timetable
from training.forge.rl.rollouts import Stream
from training.forge.rl.settings import ClockConfig
from training.forge.scheduler.queue import GroupQueue
from training.forge.scheduler.settings import SchedulerConfig
from training.trainer import state
from warehouse.errors import FactoryError

KILLS, STEPS, BREAKING = 10, 7, 9
CLOCK = {
    "clock": {"mean": 1.5, "sigma": 1.0},
    "reward": {"beta": 0.0},
    "scheduler": SchedulerConfig(policy="cohorts", bound=2, burst=1),
    "save_every": 3,
    "tries": 2,
}


def go(folder: Path) -> None:
    toy_run.go(folder, STEPS, breaking=BREAKING, **CLOCK)


def killed(folder: Path, moments: int) -> None:
    """Runs, and dies by SIGKILL before or after its `moments`-th commit or checkpoint."""
    left = [2 * moments]

    def count() -> None:
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    transaction, write = SqlitePool._transaction, state.write

    @contextmanager
    def counted(self: SqlitePool, *, write: bool = True) -> Generator[sqlite3.Connection]:
        count()
        with transaction(self, write=write) as db:
            yield db
        count()

    def written(path: Path, content: bytes) -> None:
        count()
        write(path, content)
        count()

    SqlitePool._transaction, state.write = counted, written
    go(folder)


def found(folder: Path) -> list[tuple]:
    """What each step was trained on, to the bit, and what came of it."""
    (run,) = folder.glob("runs/*")
    pool, steps = SqlitePool(run / "pool.sqlite", create=False), []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        told = {name: value for name, value in json.loads(line).items() if not name.endswith("_seconds")}
        batch = pool.batch(told["step"])
        assert batch is not None
        assert batch.trained
        made = [pool.trajectory(name) for names in batch.trajectories for name in names]
        steps.append(
            (told, [(t.group, t.sample, t.judged, [(r.name, r.score) for r in t.rewards]) for t in made],
             [(c.arrays(), c.oldest_version, c.newest_version) for t in made for c in t.completions])
        )  # fmt: skip
    pool.close()
    return steps


def test_ten_kills_change_no_bit(tmp_path: Path) -> None:
    process = multiprocessing.get_context("forkserver")
    process.set_forkserver_preload(["toy_run", "training.forge.rl.run"])
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        toy_run.config(folder, STEPS, **CLOCK)
    go(whole)
    rng, kills = random.Random(2), 0
    while kills < KILLS:
        running = process.Process(target=killed, args=(broken, rng.randrange(4, 70)))
        running.start()
        running.join(300)
        assert running.exitcode in (-signal.SIGKILL, 0)
        if running.exitcode == 0:
            break
        kills += 1
    assert kills == KILLS, "the run was over before it had been killed often enough"
    go(broken)
    unbroken = found(whole)
    assert found(broken) == unbroken
    assert len(unbroken) == STEPS
    trained = [made for _, made, _ in unbroken]
    assert any(not judged for made in trained for _, _, judged, _ in made), "none was broken for good"
    oldest = {told["staleness_max"] for told, _, _ in unbroken}
    assert max(oldest) > 0, "everything was trained at once"
    (lives,) = (
        sqlite3.connect(path).execute("SELECT count(*) FROM attempts WHERE reason = 'lost'").fetchone()
        for path in broken.glob("runs/*/pool.sqlite")
    )
    assert lives[0] > 0, "no kill lost a sample"


@pytest.mark.parametrize(
    "scheduler",
    [
        SchedulerConfig(policy="cohorts", bound=3, block=2, long_share=0.2),
        SchedulerConfig(policy="windowed", slots=12, window=3),
        SchedulerConfig(policy="capped", slots=12, bound=2),
    ],
    ids=lambda s: s.policy,
)
def test_a_timetable_is_a_function_of_its_settings(scheduler: SchedulerConfig) -> None:
    def turns(seed: int) -> list:
        stream = Stream({"vowels": toy_run.Vowels()}, {"vowels": 1.0}, seed=1)
        policy = scheduler.policy_for(2)
        table = iter(Timetable(policy, GroupQueue(2), ClockConfig(seed=seed, sigma=1.2), stream.next))
        return [next(table) for _ in range(40)]

    first = turns(1)
    assert turns(1) == first
    assert turns(2) != first
    assert [turn.version for turn in first] == list(range(40))
    taken = [index for turn in first for index in turn.batch]
    assert len(taken) == len(set(taken)) == 80
    dropped = {index for turn in first for index in turn.dropped}
    assert bool(dropped) == (scheduler.policy == "capped")
    finished = [index for turn in first for index in turn.finished]
    assert len(finished) == len(set(finished))
    assert set(taken) <= set(finished)


def test_a_run_of_another_timetable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        toy_run.go(tmp_path, 4, stop_after=2, **CLOCK)
    monkeypatch.setattr(Timetable, "_duration", lambda self, index: float(-index % 5))
    with pytest.raises(FactoryError, match="other batches than its settings' clock gives"):
        toy_run.go(tmp_path, 4, **CLOCK)


@pytest.mark.parametrize(
    ("change", "said"), [({"engine": "vllm"}, "engine = 'own'"), ({"reward": {"beta": 0.1}}, "reward.beta")]
)
def test_what_a_clock_cannot_order_is_refused(tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        toy_run.config(tmp_path, 2, **CLOCK | change)
