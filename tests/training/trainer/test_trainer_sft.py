"""The trainer: the loss falls, a run is exact and resumable, and what goes wrong is said and leaves order."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from training.model import checkpoint  # noqa: E402
from training.settings import (  # noqa: E402
    DomainConfig,
    MtpConfig,
    OptimizerConfig,
    SftConfig,
    StageConfig,
)
from training.trainer import sft as trainer_sft  # noqa: E402
from training.trainer import step as trainer_step  # noqa: E402
from training.trainer.optimizer import learning_rate  # noqa: E402
from training.trainer.phases import Phase, phase  # noqa: E402
from training.trainer.sft import run_sft  # noqa: E402
from training.trainer.step import Diverged  # noqa: E402
from warehouse.errors import FactoryError  # noqa: E402
from warehouse.loader import load  # noqa: E402
from warehouse.query import Reader  # noqa: E402
from warehouse.settings import Settings  # noqa: E402

REPO = Path(__file__).parents[3]


def logged(folder: Path) -> list[dict]:
    """metrics.jsonl without the times."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)["model"]


def events(folder: Path) -> dict[str, list[int]]:
    """Steps by name of the points that TensorBoard would show: records are length, crc, content, crc."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[int]] = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
            content = content[16 + length :]
    return found


def test_loss_falls_and_the_warehouse_knows(config: SftConfig, settings: Settings) -> None:
    told: list[tuple[int, float]] = []
    config = config.model_copy(update={"steps": 30})
    report = run_sft(config, settings, lambda step, loss: told.append((step, loss)))
    assert report.first_loss == pytest.approx(5.77, abs=0.02)  # ln 320
    assert report.last_loss < 3.2
    assert report.left_out == {}
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
    real = trainer_step.run_step
    calls = iter(range(100))

    def poisoned(model, batches, objective):
        if next(calls) == 4:
            model.norm.weight.data[0] = float("nan")
        return real(model, batches, objective)

    monkeypatch.setattr(trainer_step, "run_step", poisoned)
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
    code = "import sys; sys.modules['torch'] = None\nimport training.trainer.sft"
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


def test_what_a_run_leaves(config: SftConfig, settings: Settings) -> None:
    folder = run_sft(config, settings).folder
    for name in ("loss.png", "balance.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG\r\n")
    assert SftConfig.read(folder / "config.toml") == config.resolved()
    points = events(folder)
    assert points["loss/trunk"] == points["experts/fullest_over_mean"] == list(range(8))
    saved = checkpoint.load(folder / "model").state_dict()
    assert all(torch.equal(saved[name], weight) for name, weight in weights(folder).items())


def test_a_started_model_goes_on_and_grows(config: SftConfig, settings: Settings) -> None:
    first = run_sft(config, settings)
    again = config.model_copy(
        update={
            "start": str(first.folder / "model"),
            "steps": 12,
            "mtp": MtpConfig(expand_to=3, alone_steps=6, settled_steps=3, settled_change=0.0),
        }
    )
    report = run_sft(again, settings)
    metrics = logged(report.folder)
    assert [m["phase"] for m in metrics] == ["mtp"] * 6 + ["joint"] * 6
    assert metrics[5]["mtp_loss"] < metrics[0]["mtp_loss"]
    assert len(metrics[0]["imbalance"]) == 4
    before, after = weights(first.folder), weights(report.folder)
    assert not torch.equal(before["embedding.weight"], after["embedding.weight"])
    short = run_sft(again.model_copy(update={"steps": 6}), settings)
    alone = weights(short.folder)
    assert all(torch.equal(before[name], alone[name]) for name in before if not name.startswith("mtp."))


def test_mtp_modules_learn_alone_until_they_settle() -> None:
    config = MtpConfig(alone_steps=100, settled_steps=3, settled_change=0.01)
    falling = [5.0 * 0.9**n for n in range(20)]
    assert phase(falling, [Phase.MTP] * 20, config) is Phase.MTP
    settled = [*falling, *[1.0] * 6]
    assert phase(settled, [Phase.MTP] * 26, config) is Phase.JOINT
    assert phase(falling, [*[Phase.MTP] * 19, Phase.JOINT], config) is Phase.JOINT
    assert phase(falling * 5, [Phase.MTP] * 100, config) is Phase.JOINT
    assert phase([], [], MtpConfig()) is Phase.JOINT


def test_stages_change_mixture_context_and_rope(config: SftConfig, settings: Settings, shard: Path) -> None:
    domains = {
        name: DomainConfig(data=str(shard), where=f"task_id {sign} 'task5'")
        for name, sign in (("early", "<"), ("late", ">="))
    }
    stages = (
        StageConfig(name="short", steps=4, sequence_length=250, ratios={"early": 1}),
        StageConfig(
            name="long", steps=5, context={"early": 300}, ratios={"early": 1, "late": 2}, rope_theta=1e7
        ),
    )
    staged = config.model_copy(update={"data": "", "domains": domains, "stages": stages})
    whole = run_sft(staged.model_copy(update={"out": config.out / "whole"}), settings)
    assert [m["stage"] for m in logged(whole.folder)] == ["short"] * 4 + ["long"] * 5

    def killed(step: int, loss: float) -> None:
        if step == 6:
            raise RuntimeError("stands for kill -9")

    with pytest.raises(RuntimeError):
        run_sft(staged, settings, killed)
    rest = run_sft(staged, settings)
    assert rest.resumed_at == 6
    assert logged(rest.folder) == logged(whole.folder)
    assert all(
        torch.equal(a, b)
        for a, b in zip(weights(rest.folder).values(), weights(whole.folder).values(), strict=True)
    )
    assert checkpoint.load(rest.folder / "model").config.rope_theta == 1e7


def test_a_process_killed_at_any_time_goes_on(config: SftConfig, settings: Settings, tmp_path: Path) -> None:
    whole = run_sft(config.model_copy(update={"out": tmp_path / "whole"}), settings)
    (tmp_path / "run.toml").write_text(config.to_toml())
    code = f"""
import os, sys
from pathlib import Path
from training.settings import SftConfig
from training.trainer.sft import run_sft
from warehouse.settings import Settings
def note(step, loss):
    if step == 4: os.kill(os.getpid(), 9)
config = SftConfig.read(Path({str(tmp_path / "run.toml")!r}))
run_sft(config, Settings(home=Path({str(settings.home)!r})), note)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=REPO, check=False)
    assert done.returncode == -9, done.stderr
    rest = run_sft(config, settings)
    assert rest.resumed_at == 3
    assert logged(rest.folder) == logged(whole.folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("cut", "cannot be continued"),
        ("dtype", "norm.weight is torch.float64 [32], but the run's weights are torch.float32"),
        ("unknown", "checkpoint.pt holds unknown norm.scale"),
        ("foreign", "it is of run other"),
        ("log", "do not belong together"),
    ],
)
def test_a_wrong_checkpoint_is_said(config: SftConfig, settings: Settings, damage: str, said: str) -> None:
    config = config.model_copy(update={"steps": 2})
    folder = run_sft(config, settings).folder
    path = folder / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "log":
        (folder / "metrics.jsonl").write_text("")
    else:
        model = state["model"]
        if damage == "dtype":
            model["norm.weight"] = model["norm.weight"].double()
        elif damage == "unknown":
            model["norm.scale"] = model["norm.weight"]
        else:
            state["run_id"] = "other"
        torch.save(state, path)
    with pytest.raises(FactoryError, match=r"cannot be continued .*delete it to start afresh") as error:
        run_sft(config, settings)
    assert said in str(error.value)


def test_a_vocabulary_that_does_not_fit_is_said(config: SftConfig, settings: Settings) -> None:
    small = config.model_copy(update={"model": config.model.replace(vocab_size=100)})
    with pytest.raises(FactoryError, match=r"tokenizer bytes has 263 tokens, but the model only 100"):
        run_sft(small, settings)


def test_a_checkpoint_for_less_context_is_said(config: SftConfig, settings: Settings) -> None:
    first = run_sft(
        config.model_copy(update={"steps": 1, "model": config.model.replace(max_positions=500)}), settings
    )
    longer = config.model_copy(update={"start": str(first.folder / "model"), "sequence_length": 600})
    with pytest.raises(FactoryError, match=r"meant for 500 positions, but sequence_length is 600"):
        run_sft(longer, settings)


def test_merging_and_micro_batches_change_no_loss(config: SftConfig, settings: Settings) -> None:
    base = config.model_copy(update={"dtype": "float64", "steps": 4})
    plain = logged(run_sft(base.model_copy(update={"merge": False}), settings).folder)
    merged = logged(run_sft(base, settings).folder)
    cut = logged(run_sft(base.model_copy(update={"micro_batch_tokens": 500}), settings).folder)
    assert merged[0]["computed"] < plain[0]["computed"] == plain[0]["tokens"]
    assert cut[0]["computed"] > merged[0]["computed"]
    for other in (merged, cut):
        for a, b in zip(plain, other, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-10)
            assert a["mtp_loss"] == pytest.approx(b["mtp_loss"], rel=1e-10)
            assert a["imbalance"] == b["imbalance"]


def test_merging_is_checked_if_asked(
    config: SftConfig, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = config.model_copy(update={"steps": 3, "verify_merge": 2})
    plain = run_sft(config.model_copy(update={"steps": 3, "out": config.out / "plain"}), settings)
    assert logged(run_sft(checked, settings).folder) == logged(plain.folder)
    real = trainer_sft.verify_merge
    calls = []

    def wrong(*arguments):
        calls.append(arguments)
        return dataclasses.replace(real(*arguments), loss_error=1.0)

    monkeypatch.setattr(trainer_sft, "verify_merge", wrong)
    with pytest.raises(FactoryError, match=r"Merging changes the gradient.*train unmerged"):
        run_sft(checked.model_copy(update={"out": config.out / "again"}), settings)
    assert len(calls) == 1
