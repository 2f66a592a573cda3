"""An RL run on our own model: it learns from what was committed, once, whatever is killed."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import toy_run

from training.config_file import read_config
from training.forge.pool.sqlite import SqlitePool
from training.forge.rl.settings import RlConfig
from training.forge.scheduler.settings import SchedulerConfig
from warehouse.errors import FactoryError
from warehouse.loader import load
from warehouse.query import Reader
from warehouse.settings import Settings


def batches(folder: Path) -> list[tuple[int, tuple[tuple[str, ...], ...]]]:
    """What each step was trained on, by the pool."""
    (path,) = folder.glob("runs/*/pool.sqlite")
    pool = SqlitePool(path, create=False)
    found = []
    for step in range(100):
        if (batch := pool.batch(step)) is None:
            break
        found.append((step, batch.trajectories))
    pool.close()
    return found


def require_once(folder: Path, steps: int, samples: int) -> None:
    """Every step has one batch, and no trajectory is in two."""
    found = batches(folder)
    assert [step for step, _ in found][:steps] == list(range(steps))
    names = [name for _, groups in found for group in groups for name in group]
    assert len(names) == len(set(names)) == len(found) * 2 * samples


def test_a_run_ends_with_a_model_metrics_and_a_plot(tmp_path: Path) -> None:
    report = toy_run.go(tmp_path, 4)
    assert [m.step for m in report.metrics] == [0, 1, 2, 3]
    assert all(m.rollouts == 6 for m in report.metrics)
    assert all(m.staleness_max <= 1 for m in report.metrics)
    assert report.metrics[0].ratio_mean == pytest.approx(1, abs=1e-4)  # the engine's log-probs are ours
    for name in ("config.toml", "model/config.json", "rl.png", "checkpoint.pt"):
        assert (report.folder / name).exists()
    require_once(tmp_path, 4, 3)
    settings = Settings(home=tmp_path / "home")
    load(settings)
    query = "SELECT count(*), max(stage) FROM training_runs WHERE step >= 0"
    assert Reader(settings).sql(query).rows == [(4, "rl")]


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        toy_run.go(tmp_path, 5, stop_after=3)
    before = batches(tmp_path)
    report = toy_run.go(tmp_path, 5)
    assert report.resumed_at == 3
    assert all(m.left_out == 0 for m in report.metrics), "samples in flight were given up, not made again"
    assert [m.step for m in report.metrics] == list(range(5))
    assert batches(tmp_path)[: len(before)] == before
    require_once(tmp_path, 5, 3)


def test_kills_lose_and_repeat_nothing(tmp_path: Path) -> None:
    """The process dies at any point; what it had committed is what is trained."""
    rng, known = random.Random(4), []
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, toy_run.__file__, str(tmp_path), "8"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(rng.randrange(1, 4)):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = batches(tmp_path)
        assert found[: len(known)] == known
        known = found
    report = toy_run.go(tmp_path, 8)
    assert [m.step for m in report.metrics] == list(range(8))
    assert batches(tmp_path)[: len(known)] == known
    require_once(tmp_path, 8, 3)
    (path,) = tmp_path.glob("runs/*/pool.sqlite")
    untrained = sqlite3.connect(path).execute("SELECT count(*) FROM batches WHERE trained IS NULL").fetchone()
    assert untrained == (0,)


def test_attempts_that_break_are_made_again(tmp_path: Path) -> None:
    report = toy_run.go(tmp_path, 3, breaking=4, tries=8)
    assert [m.rollouts for m in report.metrics] == [6, 6, 6]


def test_what_nobody_can_judge_is_partial_and_the_run_goes_on(tmp_path: Path) -> None:
    report = toy_run.go(tmp_path, 2, breaking=1, tries=2)
    assert [(m.rollouts, m.left_out, m.loss) for m in report.metrics] == [(0, 6, 0.0)] * 2
    assert report.metrics[0].score is None


def test_shuffled_outcomes_are_the_same_ones(tmp_path: Path) -> None:
    report = toy_run.go(tmp_path, 2, rewards="shuffled")
    assert all(m.rollouts == 6 for m in report.metrics)


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    good = toy_run.config(tmp_path, 2).model_dump()
    for change, said in (
        ({"sampling": {"temperature": 0}}, "draws one answer"),
        ({"samples": 1}, "samples"),
        ({"domains": {}}, "domains"),
        ({"nothing": 1}, "nothing"),
    ):
        with pytest.raises(ValueError, match=said):
            RlConfig.model_validate(good | change)
    with pytest.raises(ValueError, match="uses bound"):
        SchedulerConfig(policy="fifo", slots=3)


def test_the_settings_that_are_printed_give_the_same_run(tmp_path: Path) -> None:
    config = toy_run.config(tmp_path, 2)
    (tmp_path / "printed.toml").write_text(config.to_toml())
    assert read_config(RlConfig, tmp_path / "printed.toml") == config


def test_a_checkpoint_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match=r"no config\.json"):
        toy_run.go(tmp_path, 2, start=str(tmp_path / "nowhere"))
