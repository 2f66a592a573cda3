"""The trainer: the loss falls, a run is exact and resumable, and what goes wrong is said and leaves order."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from training import sft  # noqa: E402
from training.settings import OptimizerConfig, SftConfig, TinyConfig  # noqa: E402
from training.sft import Diverged, learning_rate, run_sft  # noqa: E402
from warehouse.errors import FactoryError  # noqa: E402
from warehouse.loader import load  # noqa: E402
from warehouse.query import Reader  # noqa: E402
from warehouse.settings import Settings  # noqa: E402

REPO = Path(__file__).parents[2]


@pytest.fixture
def config(shard: Path, tmp_path: Path) -> SftConfig:
    return SftConfig(
        data=str(shard),
        out=tmp_path / "runs",
        steps=8,
        batch_tokens=1000,
        sequence_length=500,
        save_every=3,
        threads=1,
        model=TinyConfig(layers=1, hidden=32, heads=2),
        optimizer=OptimizerConfig(lr=1e-2),
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def logged(folder: Path) -> list[dict]:
    """metrics.jsonl without the times."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)["model"]


def test_loss_falls_and_the_warehouse_knows(config: SftConfig, settings: Settings) -> None:
    told: list[tuple[int, float]] = []
    config = config.model_copy(update={"steps": 30})
    report = run_sft(config, settings, lambda step, loss: told.append((step, loss)))
    assert report.first_loss == pytest.approx(5.56, abs=0.01)  # ln 260
    assert report.last_loss < 3.2
    assert (report.steps, report.examples, report.dropped, report.resumed_at) == (30, 12, 0, 0)
    assert told == [(m["step"], m["loss"]) for m in logged(report.folder)]
    load(settings)
    with Reader(settings) as reader:
        rows = reader.sql("SELECT step, loss, metrics->>'outcome' FROM training_runs ORDER BY step").rows
    assert [tuple(r) for r in rows] == [(-1, report.last_loss, "completed"), *((s, x, None) for s, x in told)]


def test_a_run_that_is_done_is_not_done_again(config: SftConfig, settings: Settings) -> None:
    first = run_sft(config, settings)
    again = run_sft(config, settings)
    assert again.resumed_at == again.steps == 8
    assert (again.run_id, again.last_loss, again.seconds) == (first.run_id, first.last_loss, first.seconds)
    other = run_sft(config.model_copy(update={"seed": 1}), settings)
    assert other.run_id != first.run_id


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_resumed_is_bit_for_bit_uninterrupted(
    config: SftConfig, settings: Settings, tmp_path: Path, stop_after: int
) -> None:
    whole = run_sft(config.model_copy(update={"out": tmp_path / "whole"}), settings)

    def killed(step: int, loss: float) -> None:
        if step == stop_after:
            raise RuntimeError("stands for kill -9: no step after this one, and no save")

    with pytest.raises(RuntimeError):
        run_sft(config, settings, killed)
    rest = run_sft(config, settings)
    assert rest.resumed_at == stop_after // 3 * 3
    assert rest.run_id == whole.run_id
    assert logged(rest.folder) == logged(whole.folder)
    a, b = weights(rest.folder), weights(whole.folder)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_first_loss_does_not_depend_on_the_global_seed(config: SftConfig, settings: Settings) -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    a = run_sft(config, settings)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(456)
    b = run_sft(config.model_copy(update={"out": config.out / "other"}), settings)
    assert logged(a.folder) == logged(b.folder)


def test_ctrl_c_ends_the_step_and_saves(config: SftConfig, settings: Settings) -> None:
    def interrupt(step: int, loss: float) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_sft(config, settings, interrupt)
    rest = run_sft(config, settings)
    assert rest.resumed_at == 5
    assert [m["step"] for m in logged(rest.folder)] == list(range(8))


def test_divergence_is_said_and_recorded(
    config: SftConfig, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sft.sft_loss
    calls = iter(range(100))

    def poisoned(model, batch):
        loss, learnt = real(model, batch)
        return (loss * float("nan") if next(calls) == 4 else loss), learnt

    monkeypatch.setattr(sft, "sft_loss", poisoned)
    with pytest.raises(Diverged, match=r"diverged at step 4: loss nan.*lower optimizer.lr"):
        run_sft(config, settings)
    load(settings)
    with Reader(settings) as reader:
        rows = reader.sql("SELECT max(step), any_value(metrics->>'outcome') FROM training_runs").rows
    assert [tuple(r) for r in rows] == [(3, "diverged")]


def test_a_damaged_run_is_said(config: SftConfig, settings: Settings) -> None:
    folder = run_sft(config, settings).folder
    (folder / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(FactoryError, match=r"cannot be continued.*delete it to start afresh"):
        run_sft(config, settings)
    assert not list(folder.glob(".tmp-*"))


def test_out_that_cannot_be_made(config: SftConfig, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FactoryError, match=r"Cannot write .*Not a directory"):
        run_sft(config.model_copy(update={"out": tmp_path / "file"}), settings)


def test_learning_rate_warms_up_and_decays() -> None:
    config = OptimizerConfig(lr=1.0, warmup_steps=3)
    rates = [learning_rate(step, 20, config) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)


def test_without_torch_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None\nimport training.sft"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, check=False)
    assert "FactoryError: Training needs torch" in done.stderr
    assert "pip install torch==2.13.0" in done.stderr


def test_full_disk_is_said_and_mendable(config: SftConfig, settings: Settings) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # a file that may not grow fails a write as a full disk does
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(FactoryError, match=r"disk that holds .*checkpoint\.pt is full"):
            run_sft(config, settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run_sft(config, settings).steps == 8
