"""Trajectories as other trainers' records: each sampled token once, in its place, with its probability."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from training.forge.export.branches import Branch, branches
from training.forge.export.files import export_trajectories
from training.forge.export.peers import RECORDS
from training.forge.pool.ledger import Ledger
from training.forge.pool.records import OUTCOME, Completion, Reward, prompts
from training.forge.pool.sqlite import SqlitePool
from warehouse.errors import FactoryError

# turn → its parent: an extension, a branch from the first turn, and a second root
PARENTS = {0: None, 1: 0, 2: 1, 3: 0, 4: None}
CUT, ROUTED = 2, (0, 4)  # a turn that a fault cut off; turns whose experts are known


def completion(trajectory: str, turn: int) -> Completion:
    rng = np.random.default_rng([len(trajectory), turn])
    size, new = 3 + turn, 2 + turn
    whole = turn in ROUTED
    return Completion(
        trajectory=trajectory,
        turn=turn,
        parent=PARENTS[turn],
        suffix=rng.integers(0, 200_000, new).astype(np.int32),
        response=rng.integers(0, 200_000, size).astype(np.int32),
        logprobs=-rng.random(size).astype(np.float32),
        oldest_version=turn,
        newest_version=turn + 1,
        temperature=0.5 + turn / 10,
        fault="engine_died" if turn == CUT else "",
        finish="length" if turn == 4 else "stop",
        routes=rng.integers(1, 9, (size + new - 1, 2, 2)).astype(np.uint8) if whole else None,
    )


@pytest.fixture
def pool(tmp_path: Path) -> SqlitePool:
    """Two groups in a batch of one step each; one sample of the second has no outcome."""
    made = SqlitePool(tmp_path / "pool.sqlite", batch=1, samples=2)
    ledger = Ledger(made)
    ledger.start(ledger.offer([("one", None), ("two", None)]))
    for group in (0, 1):
        for sample in (0, 1):
            name = made.open(group, sample)
            made.add([completion(name, turn) for turn in PARENTS])
            if (group, sample) != (1, 1):
                made.reward([Reward(name, OUTCOME, float(sample == 0))])
            made.end(name, "" if (group, sample) != (1, 1) else "unjudged: no")
    made.overdue(end_seconds=3600, reward_seconds=0)
    ledger.settle()
    for group in (0, 1):
        ledger.take([ledger.queue.live[group]])
        ledger.trained(group)
    return made


def test_each_sampled_token_is_learnt_once_and_where_it_was_sampled(pool: SqlitePool) -> None:
    names = ["g0-s0-a0", "g0-s1-a0"]
    found = branches([pool.trajectory(name) for name in names])
    assert found.left_out == 0
    for name in names:
        own = [branch for branch in found.branches if branch.trajectory == name]
        assert [branch.turns for branch in own] == [2, 2, 1], "0-1, 0-3 and 4; 2 is not whole"
        assert [branch.last for branch in own] == [False, False, True]
        turns = pool.trajectory(name).completions
        exact = prompts(turns)
        wanted = [
            (int(token), float(logprob), turn.temperature)
            for turn in sorted((t for t in turns if not t.fault), key=lambda turn: turn.turn)
            for token, logprob in zip(turn.response, turn.logprobs, strict=True)
        ]
        learnt = [
            (int(token), float(logprob), pytest.approx(float(temperature)))
            for branch in own
            for token, logprob, temperature, on in zip(
                branch.response_R, branch.logprobs_R, branch.temperature_R, branch.learnt_R, strict=True
            )
            if on
        ]
        assert learnt == wanted
        for branch, last in zip(own, (1, 3, 4), strict=True):
            whole = [*exact[last].tolist(), *turns[last].response.tolist()]
            assert np.r_[branch.prompt_P, branch.response_R].tolist() == whole
    assert [branch.advantage for branch in found.branches] == [0.5] * 3 + [-0.5] * 3
    assert [branch.routes_SLK is None for branch in found.branches[:3]] == [True, True, False]
    routed = found.branches[2].routes_SLK
    assert routed is not None
    assert routed[:-1].all()
    assert not routed[-1].any()


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def whole(branch: Branch, values: np.ndarray, before: float) -> list[float]:
    return [*[before] * len(branch.prompt_P), *values.tolist()]


# layout → what of a record has to be equal to what of its branch
SCHEMAS: dict[str, dict[str, Callable[[Branch], object]]] = {
    "trl": {
        "input_ids": lambda b: [*b.prompt_P.tolist(), *b.response_R.tolist()],
        "completion_mask": lambda b: whole(b, b.learnt_R, 0),
        "old_log_probs": lambda b: whole(b, b.logprobs_R, 0.0),
        "advantage": lambda b: b.advantage,
        "group_id": lambda b: b.group,
        "model_version": lambda b: 0 if b.turns > 1 else 4,
        "prompt": lambda b: [],
        "completion": lambda b: [],
        "metrics": lambda b: {"reward": b.reward},
    },
    "verl": {
        "prompt_ids": lambda b: b.prompt_P.tolist(),
        "response_ids": lambda b: b.response_R.tolist(),
        "response_mask": lambda b: b.learnt_R.astype(int).tolist(),
        "response_logprobs": lambda b: b.logprobs_R.tolist(),
        "reward_score": lambda b: b.reward,
        "num_turns": lambda b: 2 * b.turns,
        "metrics": lambda b: {"generate_sequences": 0.0},
        "extra_fields": lambda b: {
            "uid": f"g{b.group}", "trajectory": b.trajectory, "min_global_steps": b.oldest_version,
            "max_global_steps": b.newest_version,
        },
    },
    "skyrl": {
        "prompt_token_ids": lambda b: b.prompt_P.tolist(),
        "response_ids": lambda b: b.response_R.tolist(),
        "rewards": lambda b: b.reward,
        "loss_masks": lambda b: b.learnt_R.astype(int).tolist(),
        "stop_reasons": lambda b: b.finish,
        "rollout_logprobs": lambda b: b.logprobs_R.tolist(),
        "trajectory_ids": lambda b: {"instance_id": f"g{b.group}", "repetition_id": b.sample},
        "is_last_step": lambda b: b.last,
    },
    "prime-rl": {
        "token_ids": lambda b: [*b.prompt_P.tolist(), *b.response_R.tolist()],
        "mask": lambda b: whole(b, b.learnt_R, False),
        "logprobs": lambda b: whole(b, b.logprobs_R, 0.0),
        "temperatures": lambda b: whole(b, b.temperature_R, 1.0),
        "advantages": lambda b: whole(b, b.learnt_R * b.advantage, 0.0),
        "env_name": lambda b: "verifactory",
        "routed_experts": lambda b: None if b.routes_SLK is None else {
            "data": b.routes_SLK.tobytes(), "shape": list(b.routes_SLK.shape), "dtype": "uint8",
        },
    },
    "slime": {
        "tokens": lambda b: [*b.prompt_P.tolist(), *b.response_R.tolist()],
        "response_length": lambda b: len(b.response_R),
        "loss_mask": lambda b: b.learnt_R.astype(int).tolist(),
        "rollout_log_probs": lambda b: b.logprobs_R.tolist(),
        "rollout_routed_experts": lambda b: None if b.routes_SLK is None else b.routes_SLK[:-1].tolist(),
        "reward": lambda b: b.reward,
        "group_index": lambda b: b.group,
        "status": lambda b: "truncated" if b.finish == "length" else "completed",
    },
}  # fmt: skip


@pytest.mark.parametrize("layout", sorted(RECORDS))
def test_records_hold_the_branches(pool: SqlitePool, tmp_path: Path, layout: str) -> None:
    report = export_trajectories(pool, layout, tmp_path / "out")
    assert (report.steps, report.trajectories, report.samples, report.left_out) == (2, 3, 9, 1)
    found, wanted = [], []
    for step in (0, 1):
        batch = pool.batch(step)
        assert batch is not None
        wanted += branches([pool.trajectory(n) for names in batch.trajectories for n in names]).branches
    if layout == "slime":
        for step in (0, 1):
            saved = torch.load(tmp_path / "out" / f"{step}.pt", weights_only=True)
            assert saved["rollout_id"] == step
            found += saved["samples"]
        siblings = {row["rollout_id"] for row in found[:3]}
        assert len(siblings) == 1
        assert [row["index"] for row in found] == list(range(9))
    else:
        found = rows(tmp_path / "out")
        assert set(found[0]) == set(SCHEMAS[layout])
    assert len(found) == len(wanted) == 9
    for row, branch in zip(found, wanted, strict=True):
        for name, value in SCHEMAS[layout].items():
            assert row[name] == value(branch), name


def test_the_command_exports_a_gateways_own_pool_too(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sqlite"
    lone = SqlitePool(path)
    for name in ("a", "b"):
        lone.add([completion(name, turn) for turn in PARENTS])
        lone.end(name)
    lone.reward([Reward("a", OUTCOME, 0.5)])
    lone.close()
    program = str(Path(sys.executable).with_name("verifactory"))
    command = [program, "export", "skyrl", str(tmp_path / "out"), "--pool"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 samples of 1 trajectories" in done.stdout
    assert [row["trajectory_ids"]["instance_id"] for row in rows(tmp_path / "out")] == ["a"] * 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["skyrl", "OUT"], "want --pool"),
        (["harbor", "OUT", "--pool", "POOL"], "no layout of trajectories called 'harbor'"),
        (["trl", "OUT", "--pool", "POOL", "--where", "true"], "--where chooses tasks"),
        (["trl", "OUT", "--pool", "NONE"], "There is no pool"),
        (["trl", "OUT", "--pool", "POOL"], "no trajectory that has ended and is judged"),
    ],
)
def test_what_cannot_be_exported_is_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    from pipelines.cli.data import export

    SqlitePool(tmp_path / "POOL").close()
    places = {name: tmp_path / name for name in ("OUT", "POOL", "NONE")}
    given = [places.get(argument, argument) for argument in arguments]
    options = dict(zip((str(key)[2:] for key in given[2::2]), given[3::2], strict=True))
    where = str(options.get("where", "status = 'published'"))
    with pytest.raises(FactoryError, match=said):
        export(str(given[0]), Path(given[1]), where=where, pool=options.get("pool"))  # type: ignore[arg-type]
    assert not (tmp_path / "OUT").exists()
