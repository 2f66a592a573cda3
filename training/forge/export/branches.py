"""A trajectory's tree as branches: paths from a first prompt to a last answer, each one flat token sequence.

Other trainers take sequences, not trees. A branch is what they call a sample: a prompt, then a response in
which the tokens that the model sampled alternate with those that the environment put in. Where branches share
a turn (compaction, sub-agents, retries, a template that drops reasoning), its tokens are learnt in the first
of them and are context in the others, so that each sampled token is learnt exactly once, as in our own
trainer. A turn that a fault cut off is never learnt.

The advantage is the group's own: outcome minus the mean outcome of its judged trajectories. A trainer that
computes its own from rewards and groups counts a trajectory once for each of its branches; SkyRL (step-wise)
and slime (`rollout_id`) know which belong together.

Shapes: P prompt tokens, R response tokens, S = P + R; routes [S, layers, experts per token].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.forge.pool.records import OUTCOME, Completion, Floats, Ids, Trajectory


@dataclass(frozen=True, eq=False)
class Branch:
    """One sample. `group` and `sample` are those of its trajectory, -1 where it has none."""

    trajectory: str
    group: int
    sample: int
    last: bool
    """No other branch of the trajectory follows."""
    prompt_P: Ids
    response_R: Ids
    learnt_R: NDArray[np.bool_]
    logprobs_R: Floats
    """0 where nothing was sampled."""
    temperature_R: Floats
    reward: float
    advantage: float
    oldest_version: int
    newest_version: int
    finish: str
    turns: int
    seconds: float
    routes_SLK: NDArray[Any] | None
    """None unless the engine told them for every token but the last, whose row is 0."""


@dataclass(frozen=True)
class Branches:
    """Branches of some trajectories, those of one trajectory in a row; `left_out` had no outcome, or nothing
    to learn."""

    branches: tuple[Branch, ...]
    left_out: int


def branches(trajectories: Sequence[Trajectory]) -> Branches:
    """The branches of whole groups of trajectories, in the order given."""
    scores = {t.trajectory: _outcome(t) for t in trajectories if t.judged}
    of_group: dict[int, list[float]] = {}
    for trajectory in trajectories:
        if trajectory.group is not None and trajectory.judged:
            of_group.setdefault(trajectory.group, []).append(scores[trajectory.trajectory])
    found: list[Branch] = []
    left_out = 0
    for trajectory in trajectories:
        if not trajectory.judged:
            left_out += 1
            continue
        score = scores[trajectory.trajectory]
        others = of_group.get(trajectory.group, [score]) if trajectory.group is not None else [score]
        own = list(_branches(trajectory, score, score - sum(others) / len(others)))
        left_out += not own
        found += own
    return Branches(tuple(found), left_out)


def _outcome(trajectory: Trajectory) -> float:
    return next(reward.score for reward in trajectory.rewards if reward.name == OUTCOME)


def _whole(completion: Completion) -> bool:
    return not completion.fault and len(completion.response) > 0


def _branches(trajectory: Trajectory, reward: float, advantage: float) -> Iterator[Branch]:
    turns = {completion.turn: completion for completion in trajectory.completions}
    paths = [_path(turns, turn) for turn in sorted(turns) if _whole(turns[turn])]
    inner = {completion.turn for path in paths for completion in path[:-1]}
    leaves = [path for path in paths if path[-1].turn not in inner]
    done: set[int] = set()
    for place, path in enumerate(leaves):
        learnt = [_whole(completion) and completion.turn not in done for completion in path]
        done.update(completion.turn for completion in path)
        response = _Response(path, learnt)
        yield Branch(
            trajectory=trajectory.trajectory,
            group=-1 if trajectory.group is None else trajectory.group,
            sample=-1 if trajectory.sample is None else trajectory.sample,
            last=place == len(leaves) - 1,
            prompt_P=path[0].suffix,
            response_R=response.joined(path[0].response, lambda c: c.suffix, lambda c: c.response, np.int32),
            learnt_R=response.marked(np.bool_, lambda c, on: on),
            logprobs_R=response.joined(
                path[0].logprobs, lambda c: np.zeros(len(c.suffix)), lambda c: c.logprobs, np.float32
            ),
            temperature_R=response.marked(np.float32, lambda c, on: c.temperature, 1.0),
            reward=reward,
            advantage=advantage,
            oldest_version=min(completion.oldest_version for completion in path),
            newest_version=max(completion.newest_version for completion in path),
            finish=path[-1].finish,
            turns=len(path),
            seconds=sum(completion.seconds for completion in path),
            routes_SLK=_routes(path),
        )


def _path(turns: dict[int, Completion], turn: int) -> list[Completion]:
    """From the root to a turn."""
    path = [turns[turn]]
    while (parent := path[-1].parent) is not None:
        path.append(turns[parent])
    return path[::-1]


@dataclass(frozen=True)
class _Response:
    """The tokens after the first prompt: a response, then for each later turn its suffix and response."""

    path: list[Completion]
    learnt: list[bool]

    def joined(self, first: Any, suffix: Any, response: Any, dtype: Any) -> Any:
        parts = [first]
        for completion in self.path[1:]:
            parts += [suffix(completion), response(completion)]
        return np.concatenate(parts).astype(dtype)

    def marked(self, dtype: Any, value: Any, outside: Any = False) -> Any:
        """`value` of each turn on its sampled tokens, `outside` elsewhere."""
        parts: list[np.ndarray] = []
        for place, (completion, on) in enumerate(zip(self.path, self.learnt, strict=True)):
            if place:
                parts.append(np.full(len(completion.suffix), outside, dtype))
            parts.append(np.full(len(completion.response), value(completion, on), dtype))
        return np.concatenate(parts)


def _routes(path: list[Completion]) -> NDArray[Any] | None:
    told = [completion.routes for completion in path if completion.routes is not None]
    if len(told) != len(path):
        return None
    size = sum(len(completion.suffix) + len(completion.response) for completion in path)
    routes_SLK, known_S = np.zeros((size, *told[0].shape[1:]), told[0].dtype), np.zeros(size, bool)
    for completion, rows in zip(path, told, strict=True):
        end = min(size, completion.routes_from + len(rows))
        routes_SLK[completion.routes_from : end] = rows[: end - completion.routes_from]
        known_S[completion.routes_from : end] = True
    return routes_SLK if known_S[:-1].all() else None
