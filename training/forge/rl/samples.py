"""From a batch of the pool to training samples: rewards, advantages, and each completion as a path of tokens.

Every completion is a sample of its own (report §6.1): its exact prompt, then its response, of which every
token is learnt. Credit goes over the whole trajectory. What infrastructure cut off is not learnt from, and
does not count in its group: a partial completion is left out, and a trajectory without an outcome is.

Shapes: S tokens of a sample, T completions of a trajectory, G trajectories of a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.advantages import RewardConfig, composite, group_advantages, normalised, speed_reward
from training.corpus.tokens import Tokenizer
from training.forge.pool.records import OUTCOME, Completion, Trajectory, prompts
from training.forge.rl.settings import RlConfig
from training.objective import MtpLoss
from training.process import inspect, process_reward
from training.trees.edges import Sample

BASELINE = "baseline_seconds"  # a reward's name in the pool: what speed is measured against


@dataclass(frozen=True)
class Learnt:
    """The samples of a step, and what there was to learn.

    `scores` are the verifiers' outcomes, `staleness` in versions of each trained completion's oldest token,
    `left_out` counts trajectories without an outcome and completions that are partial.
    """

    samples: list[Sample]
    scores: list[float]
    rewards: list[float]
    staleness: list[int]
    malformed: int
    left_out: int
    response_tokens: int


@dataclass(frozen=True)
class _Path:
    """One completion with its advantage."""

    group: int
    prompt_S: np.ndarray
    completion: Completion
    advantage: float


def learnt(
    groups: Mapping[int, Sequence[Trajectory]], version: int, config: RlConfig, tokenizer: Tokenizer
) -> Learnt:
    """The samples of a step that makes version `version + 1`."""
    judged = {index: [t for t in group if t.judged and _whole(t)] for index, group in groups.items()}
    scores = {t.trajectory: _score(t) for group in judged.values() for t in group}
    if config.rewards == "shuffled":
        scores = _shuffled(scores, config.seed, version)
    paths: list[_Path] = []
    totals: list[float] = []
    for index, group in judged.items():
        if not group:
            continue
        rewards_GT = [_rewards(t, scores[t.trajectory], config.reward, tokenizer) for t in group]
        totals += [float(reward_T.sum()) for reward_T in rewards_GT]
        advantages_GT = group_advantages(rewards_GT, config.advantage)
        for trajectory, advantage_T in zip(group, advantages_GT, strict=True):
            exact = prompts(trajectory.completions)
            paths += [
                _Path(index, exact[completion.turn], completion, float(advantage))
                for completion, advantage in zip(_whole(trajectory), advantage_T, strict=True)
            ]
    everything = [t for group in groups.values() for t in group]
    partial = sum(bool(c.fault) for t in everything for c in t.completions)
    completions = [path.completion for path in paths]
    return Learnt(
        samples=_samples(paths, config),
        scores=list(scores.values()),
        rewards=totals,
        staleness=[version - c.oldest_version for c in completions],
        malformed=sum(c.malformed > 0 for c in completions),
        left_out=len(everything) - len(scores) + partial,
        response_tokens=sum(len(c.response) for c in completions),
    )


def _whole(trajectory: Trajectory) -> list[Completion]:
    return [c for c in trajectory.completions if not c.fault and len(c.response)]


def _score(trajectory: Trajectory) -> float:
    return next(reward.score for reward in trajectory.rewards if reward.name == OUTCOME)


def _shuffled(scores: dict[str, float], seed: int, version: int) -> dict[str, float]:
    """The same outcomes, given to others: what a control learns from."""
    order = np.random.default_rng((seed, version)).permutation(len(scores))
    values = list(scores.values())
    return {name: values[place] for name, place in zip(scores, order, strict=True)}


def _rewards(trajectory: Trajectory, score: float, config: RewardConfig, tokenizer: Tokenizer) -> np.ndarray:
    """r_t of each whole completion: α · process + β · speed + performance."""
    whole = _whole(trajectory)
    process_T = [process_reward(inspect(tokenizer.decode(c.response.tolist())), config) for c in whole]
    baseline = next((r.score for r in trajectory.rewards if r.name == BASELINE), None)
    took = sum(c.seconds for c in whole)
    speed = speed_reward(took, baseline) if baseline else 0.0
    return composite(process_T, speed, score, config)


def _samples(paths: Sequence[_Path], config: RlConfig) -> list[Sample]:
    if not paths:
        return []
    masks = [np.r_[np.zeros(len(p.prompt_S)), np.ones(len(p.completion.response))] for p in paths]
    weights = normalised(masks, [path.group for path in paths], config.normalizer)
    return [
        _sample(path, weight_S)
        for path, weight_S in zip(paths, weights, strict=True)
        if path.advantage or config.mtp is not MtpLoss.NONE  # without advantage CISPO has no gradient
    ]


def _sample(path: _Path, weight_S: np.ndarray) -> Sample:
    completion, before = path.completion, np.zeros(len(path.prompt_S))
    return Sample(
        tokens_S=np.r_[path.prompt_S, completion.response].astype(np.int64),
        weight_S=weight_S,
        advantage_S=np.r_[before, np.full(len(completion.response), path.advantage)],
        behaviour_S=np.r_[before, completion.logprobs.astype(np.float64)],
    )
