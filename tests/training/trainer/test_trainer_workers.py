"""Several workers and bfloat16: the run of one process, whoever computes it, and a clear end if one fails."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed")

import worker_jobs  # noqa: E402
from test_trainer_sft import logged, weights  # noqa: E402

from training.model import checkpoint  # noqa: E402
from training.settings import MtpConfig, SftConfig  # noqa: E402
from training.trainer.sft import run_sft  # noqa: E402
from training.trainer.shares import shares  # noqa: E402
from training.trainer.workers import run_workers  # noqa: E402
from training.trees.edges import Sample  # noqa: E402
from training.trees.merge import merged, side_by_side  # noqa: E402
from training.trees.split import split  # noqa: E402
from warehouse.errors import FactoryError  # noqa: E402
from warehouse.loader import load  # noqa: E402
from warehouse.query import Reader  # noqa: E402
from warehouse.settings import Settings  # noqa: E402

REPO = Path(__file__).parents[3]


def close(a: float, b: float, tolerance: float) -> bool:
    return abs(a - b) <= tolerance * max(1.0, abs(a))


def test_a_run_may_change_hands(config: SftConfig, settings: Settings) -> None:
    config = config.model_copy(
        update={
            "steps": 12,
            "dtype": "float64",
            "micro_batch_tokens": 500,
            "router_bias_rate": 1e-2,
            "model": config.model.replace(layers=2, mtp_depth=2, experts=5),
        }
    )
    alone = run_sft(config.model_copy(update={"out": config.out / "alone"}), settings)
    two = config.model_copy(update={"workers": 2})

    def interrupt(step: int, loss: float) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_sft(two, settings, interrupt)
    assert active_children() == []

    def killed(step: int, loss: float) -> None:
        if step == 8:
            raise RuntimeError("stands for kill -9: no step after this one, and no save")

    with pytest.raises(RuntimeError, match="kill -9"):
        run_sft(config, settings, killed)
    told: list[tuple[int, float]] = []
    rest = run_sft(two, settings, lambda step, loss: told.append((step, loss)))
    assert (rest.run_id, rest.resumed_at, rest.steps) == (alone.run_id, 6, 12)
    found = logged(rest.folder)
    assert told == [(m["step"], m["loss"]) for m in found[6:]]
    for one, other in zip(logged(alone.folder), found, strict=True):
        for name in ("loss", "mtp_loss", "grad_norm"):
            assert close(one[name], other[name], 1e-10)
        assert one["imbalance"] == other["imbalance"]
    a, b = weights(alone.folder), weights(rest.folder)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        # the second moments of seldom used weights are near eps, where AdamW divides
        assert torch.allclose(a[name], b[name], rtol=0, atol=1e-7)
        if name.endswith("router.bias"):
            assert a[name].any()
            assert torch.equal(a[name], b[name])
    saved = checkpoint.load(rest.folder / "model", dtype=torch.float64).state_dict()
    assert all(torch.equal(saved[name], weight) for name, weight in b.items())
    load(settings)
    with Reader(settings) as reader:
        rows = reader.sql("SELECT step, loss FROM training_runs WHERE step >= 0 ORDER BY step, loss").rows
    assert len(rows) == len({step for step, _ in rows}) == 12


@pytest.fixture
def bfloat16(config: SftConfig) -> SftConfig:
    return config.model_copy(
        update={"dtype": "bfloat16", "steps": 12, "model": config.model.replace(mtp_depth=2)}
    )


def test_bfloat16_stays_near_float32_and_resumes(bfloat16: SftConfig, settings: Settings) -> None:
    high = run_sft(bfloat16.model_copy(update={"dtype": "float32"}), settings)
    whole = run_sft(bfloat16.model_copy(update={"out": bfloat16.out / "whole"}), settings)
    losses, near = ([m["loss"] for m in logged(run.folder)] for run in (whole, high))
    assert losses != near
    assert losses[-1] < losses[0] - 1.5
    assert max(abs(a - b) for a, b in zip(losses, near, strict=True)) < 0.02
    assert {weight.dtype for weight in weights(whole.folder).values()} == {torch.float32}
    assert not torch.distributed.is_initialized()

    def killed(step: int, loss: float) -> None:
        if step == 7:
            raise RuntimeError("stands for kill -9")

    with pytest.raises(RuntimeError):
        run_sft(bfloat16, settings, killed)
    rest = run_sft(bfloat16, settings)
    assert rest.resumed_at == 6
    assert logged(rest.folder) == logged(whole.folder)
    a, b = weights(rest.folder), weights(whole.folder)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_two_workers_in_bfloat16_with_new_mtp_modules(bfloat16: SftConfig, settings: Settings) -> None:
    first = run_sft(bfloat16.model_copy(update={"steps": 2, "dtype": "float32"}), settings)
    grown = bfloat16.model_copy(
        update={
            "start": str(first.folder / "model"),
            "mtp": MtpConfig(expand_to=3, alone_steps=3, settled_steps=1, settled_change=0.0),
            "steps": 5,
        }
    )
    alone = run_sft(grown.model_copy(update={"out": grown.out / "alone"}), settings)
    two = run_sft(grown.model_copy(update={"workers": 2}), settings)
    one, other = logged(alone.folder), logged(two.folder)
    assert [m["phase"] for m in one] == [m["phase"] for m in other] == ["mtp"] * 3 + ["joint"] * 2
    assert all(close(a["loss"], b["loss"], 0.02) for a, b in zip(one, other, strict=True))
    assert all(close(a["mtp_loss"], b["mtp_loss"], 0.02) for a, b in zip(one, other, strict=True))


@hypothesis_settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40)), min_size=1, max_size=12),
    st.integers(60, 200),
    st.integers(1, 5),
    st.booleans(),
)
def test_shares_are_whole_even_and_in_step(
    shapes: list[tuple[int, int]], budget: int, workers: int, merge: bool
) -> None:
    found = []
    for number, (family, length) in enumerate(shapes):
        tokens = np.r_[np.full(20, family), np.full(length, 10 + number)]
        found.append(Sample(tokens, np.r_[0, np.ones(19 + length)]))
    make = merged if merge else side_by_side
    dealt = shares(found, budget, make, workers)
    assert len(dealt) == workers
    assert len({len(share.batches) + len(share.idle) for share in dealt}) == 1
    batches = [batch for share in dealt for batch in share.batches]
    assert all(0 < len(batch) <= budget for batch in batches)
    own = sorted(batch.trie.tokens_T[batch.trie.path(p)].tolist() for batch in batches
                 for p in range(len(batch.trie.last_P)))  # fmt: skip
    assert own == sorted(sample.tokens_S.tolist() for sample in found)
    assert sum(float(b.edges.weight_M.sum()) for b in batches) == sum(float(s.weight_S.sum()) for s in found)
    assert all(not len(batch.edges) and len(batch) for share in dealt for batch in share.idle)
    rounds = len(dealt[0].batches) + len(dealt[0].idle)
    largest, longest = max(map(len, batches)), max(len(sample.tokens_S) for sample in found)
    if workers > 1 and largest > longest:  # smaller micro-batches would take another round
        assert len(split(make(found).trie, largest - 1)) > rounds * workers


def test_workers_meet_and_the_first_answers() -> None:
    told: list[tuple[int, float]] = []
    assert run_workers(worker_jobs.meet, 2, "cpu", 600, lambda *step: told.append(step)) == 40
    assert told == [(0, 0.0), (1, 0.0)]
    assert active_children() == []


@pytest.mark.parametrize(
    ("work", "timeout", "kind", "said"),
    [
        (worker_jobs.mendable, 600, FactoryError, "^The disk of worker 1 is full; free some space.$"),
        (worker_jobs.mistaken, 600, RuntimeError, "^Worker 1 of 2 failed before its first step:\n.*KeyError"),
        (worker_jobs.silent, 12, FactoryError, "^Worker 1 of 2 stopped answering after step 0, and worker 0"),
    ],
    ids=["mendable", "mistaken", "silent"],
)
def test_a_worker_that_fails_ends_all(work, timeout: float, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=f"(?s){said}"):
        run_workers(work, 2, "cpu", timeout, None)
    assert active_children() == []


def test_a_worker_that_dies_ends_the_command(config: SftConfig, tmp_path: Path) -> None:
    config = config.model_copy(update={"workers": 2, "steps": 10_000, "save_every": 10_000})
    (tmp_path / "run.toml").write_text(config.to_toml())
    program = Path(sys.executable).parent / "verifactory"
    command = [str(program), "train", "sft", str(tmp_path / "run.toml")]
    environment = os.environ | {"VERIFACTORY_HOME": str(tmp_path / "home")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=REPO, env=environment) as running:
        assert running.stderr is not None
        first = running.stderr.readline()
        assert first.startswith("step    0  loss 5.7")
        children = psutil.Process(running.pid).children()
        team = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(team) == 2
        max(team, key=lambda child: child.pid).kill()
        said = running.stderr.read()
    assert running.returncode == 1
    # Worker 0 tells of its first step when worker 1 may still have to tell of its own.
    when = "(after step [0-9]+|before its first step)"
    assert re.search(rf"Worker 1 of 2 died \(signal SIGKILL\) {when}, and", " ".join(said.split()))
    assert "run the command again to go on from the last checkpoint" in " ".join(said.split())
    assert psutil.wait_procs(children, timeout=60)[1] == []


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="this machine has several GPUs")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"workers": 2, "device": "cuda"}, r"workers = 2 needs 2 GPUs, one each, but torch finds [01]"),
        ({"workers": 2, "verify_merge": 1}, r"verify_merge compares gradients in one process, in float32"),
        ({"dtype": "bfloat16", "verify_merge": 1}, r"set workers to 1 and dtype to one of these"),
    ],
)
def test_what_cannot_be_is_said_at_once(
    config: SftConfig, settings: Settings, change: dict, said: str
) -> None:
    with pytest.raises(FactoryError, match=said):
        run_sft(config.model_copy(update=change), settings)
    assert not config.out.exists()


def test_a_run_is_named_by_what_it_learns_not_by_who_computes(config: SftConfig, settings: Settings) -> None:
    report = run_sft(config.model_copy(update={"steps": 1}), settings)
    assert json.loads((report.folder / "metrics.jsonl").read_text())["step"] == 0
    moved = config.model_copy(update={"steps": 1, "worker_timeout": 5.0, "save_every": 7})
    assert run_sft(moved, settings).run_id == report.run_id
