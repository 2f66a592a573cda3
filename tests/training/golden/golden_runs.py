"""The runs whose losses are kept: 50 steps of SFT and of RL on fixed data.

`python tests/training/golden/golden_runs.py` writes the files anew; do so only for a change that is meant to
change the losses, and say why in the commit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.advantages import AdvantageConfig, Normalizer, group_advantages, normalised
from training.chat import m2
from training.chat.messages import Message, ToolCall
from training.corpus.corpus import Example, Selected, encode
from training.corpus.mixture import batches, samples
from training.corpus.tokens import ByteTokenizer
from training.model.config import ModelConfig
from training.model.model import Model
from training.objective import Loss, MtpLoss, Objective
from training.settings import OptimizerConfig, StageConfig
from training.trainer.interruption import Flag
from training.trainer.optimizer import learning_rate
from training.trainer.sharding import Group, process_group, shard
from training.trainer.shares import shares
from training.trainer.step import StepResult, Trainer
from training.trainer.workers import Progress
from training.trees.edges import Sample
from training.trees.merge import merged
from training.trees.step import evaluate

FOLDER = Path(__file__).parent
STEPS = 50
OPTIMIZER = OptimizerConfig(lr=5e-3, warmup_steps=3)
MODEL = ModelConfig(hidden=48, heads=4, kv_heads=2, head_dim=16, expert_hidden=24, mtp_depth=1)
SFT = Objective(mtp_weight=0.3)
RL = Objective(loss=Loss.CISPO, ratio_max=2.0, mtp=MtpLoss.POLICY, mtp_weight=0.3, mtp_top_k=16)
DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Setting:
    """What must not change a loss: threads, and the tokens computed at once."""

    threads: int = 1
    budget: int = 1 << 20


def losses(kind: str, dtype: str, setting: Setting, steps: int = STEPS) -> list[float]:
    """The loss of each step."""
    return train(kind, dtype, setting, steps)[0]


def train(kind: str, dtype: str, setting: Setting, steps: int = STEPS) -> tuple[list[float], Model]:
    """The loss of each step, and what was trained."""
    made, model = results(kind, dtype, setting, steps)
    return [result.tally.loss for result in made], model


def as_worker(
    kind: str, setting: Setting, steps: int, group: Group, progress: Progress | None, stop: Flag | None
) -> tuple[list[float], list[list[list[int]]]]:
    """Losses and expert counts in float64, as one of several workers finds them."""
    with process_group(group):
        return plain(results(kind, "float64", setting, steps, group)[0])


def plain(made: Sequence[StepResult]) -> tuple[list[float], list[list[list[int]]]]:
    """Losses and expert counts."""
    counts = [result.tally.expert_counts_LE for result in made]
    return [result.tally.loss for result in made], [[] if c is None else c.tolist() for c in counts]


def results(
    kind: str, dtype: str, setting: Setting, steps: int, group: Group | None = None
) -> tuple[list[StepResult], Model]:
    """What each step came to, and what was trained; of this worker's share if it is one of a group."""
    group = group or Group()
    before = torch.get_num_threads()
    torch.set_num_threads(setting.threads)
    try:
        model = Model(MODEL.replace(mtp_depth=2 if kind == "rl" else 1), seed=7).to(DTYPES[dtype])
        if group.shards(dtype):
            shard(model, group, dtype)
        trainer = Trainer(model, OPTIMIZER, group)
        todo = _sft_steps(steps) if kind == "sft" else [_rl_samples()] * steps
        return [_step(trainer, kind, n, found, setting) for n, found in enumerate(todo)], model
    finally:
        torch.set_num_threads(before)


def advantage_gained(model: Model) -> float:
    """Σ weight · advantage · log π over the RL batch: what its rewards ask for."""
    weighted = [Sample(s.tokens_S, s.weight_S * s.advantage_S) for s in _rl_samples()]
    batch = merged(weighted)
    with torch.no_grad():
        return -float(evaluate(model, batch.forest, batch.edges, Objective(mtp=MtpLoss.NONE)).loss)


def read(kind: str, dtype: str) -> list[float]:
    """The losses that are kept."""
    lines = (FOLDER / f"{kind}_{dtype}.txt").read_text(encoding="utf-8").splitlines()
    return [float(line) for line in lines]


def _step(trainer: Trainer, kind: str, number: int, found: Sequence[Sample], setting: Setting) -> StepResult:
    share = shares(found, setting.budget, merged, trainer.group.size)[trainer.group.rank]
    return trainer.step(
        share.batches,
        SFT if kind == "sft" else RL,
        idle=share.idle,
        lr=learning_rate(number, STEPS, OPTIMIZER),
        bias_rate=1e-3 if kind == "sft" else 0.0,
    )


def _sft_steps(steps: int) -> list[list[Sample]]:
    examples = tuple(example for number in range(12) for example in _examples(number))
    stage = StageConfig(steps=steps, sequence_length=600)
    drawn = batches(Selected({"all": examples}, 0, 0, 0), stage, 600, seed=1)
    return [samples(next(drawn)) for _ in range(steps)]


def _examples(number: int) -> list[Example]:
    """A conversation with a tool loop and a second user turn: two samples that share a prefix."""
    name = f"mod{number}"
    conversation = [
        Message(role="system", content="Mend the code."),
        Message(role="user", content=f"{name} is off by {number % 3 + 1}."),
        Message(
            role="assistant",
            reasoning=f"Look at {name}.",
            calls=(ToolCall(name="run", arguments={"cmd": f"cat {name}.py"}),),
        ),
        Message(role="tool", content=f"return {number}"),
        Message(role="assistant", reasoning="Found it.", content=f"-return {number}\n+return {number + 1}"),
        Message(role="user", content="Thanks. Why?"),
        Message(role="assistant", reasoning="Explain.", content=f"It counted from {number % 2}."),
    ]
    encoded = [encode(sample, ByteTokenizer()) for sample in m2.samples(conversation)]
    return [Example(name, "all", tokens, learnt, 1.0 + number % 2, None) for tokens, learnt in encoded]


def _rl_samples() -> list[Sample]:
    """Three groups of four rollouts of two steps each: a sample a step, with the context it was taken in."""
    tokens, masks, groups, advantages = [], [], [], []
    for group in range(3):
        prompt = list(f"Question {group}: how many?".encode())
        rewards = [[0.1 * ((group + rollout) % 2), float(rollout % 3 == group)] for rollout in range(4)]
        for rollout, advantage_T in enumerate(group_advantages(rewards, AdvantageConfig(gamma=0.9))):
            path = prompt
            for step, advantage in enumerate(advantage_T):
                said = list(f" step {step} by {rollout % 2 if step == 0 else rollout};".encode())
                tokens.append(np.array(path + said))
                masks.append(np.array([0] * len(path) + [1] * len(said)))
                groups.append(group)
                advantages.append(np.full(len(path) + len(said), advantage))
                path = path + said + list(b" seen;")
    weights = normalised(masks, groups, Normalizer.GROUP)
    uniform = -math.log(MODEL.vocab_size)  # what a new policy says, nearly
    return [
        Sample(t, weight, advantage, uniform + 0.5 * np.sin(np.arange(len(t)) + n))
        for n, (t, weight, advantage) in enumerate(zip(tokens, weights, advantages, strict=True))
    ]


if __name__ == "__main__":
    for kind in ("sft", "rl"):
        for dtype in DTYPES:
            lines = [f"{loss!r}\n" for loss in losses(kind, dtype, Setting())]
            (FOLDER / f"{kind}_{dtype}.txt").write_text("".join(lines), encoding="utf-8")
