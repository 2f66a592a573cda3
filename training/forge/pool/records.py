"""What the pool keeps: completions, rewards, and what a training step took. Frozen, with natural keys.

A completion holds what is new in it: the ids after its parent's context (`suffix`) and the sampled ids. Its
exact prompt follows from its parents (`prompts`).

Shapes: one-dimensional arrays, int32 ids and float32 log-probabilities; routes [tokens, layers, experts per
token].
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Floats = NDArray[np.float32]

OUTCOME = "outcome"
"""The reward without which a trajectory is not judged."""


@dataclass(frozen=True, eq=False)
class Completion:
    """One completion. Key: trajectory and turn."""

    trajectory: str
    turn: int
    parent: int | None
    suffix: Ids
    response: Ids
    logprobs: Floats
    oldest_version: int
    newest_version: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    finish: str = ""
    fault: str = ""
    """Why it is partial; empty: it is whole."""
    malformed: int = 0
    """Tool calls that were not well formed."""
    growth: str = ""
    dialect: str = ""
    started: float = 0.0
    """Seconds since the epoch."""
    seconds: float = 0.0
    routes: NDArray[Any] | None = None
    routes_from: int = 0
    """The context's token that the first of `routes` is of."""

    def __post_init__(self) -> None:
        if len(self.response) != len(self.logprobs):
            raise ValueError(f"{len(self.response)} tokens have {len(self.logprobs)} log-probabilities")
        if self.parent is not None and not 0 <= self.parent < self.turn:
            raise ValueError(f"turn {self.turn} cannot continue turn {self.parent}")

    def facts(self) -> str:
        """All but the arrays, as JSON."""
        plain = {
            key: value for key, value in vars(self).items() if key not in ARRAYS | {"trajectory", "turn"}
        }
        return json.dumps(plain, sort_keys=True)

    def arrays(self) -> bytes:
        """The arrays, as bytes; equal arrays are equal bytes."""
        out = io.BytesIO()
        routes = np.empty(0, np.uint8) if self.routes is None else self.routes
        for array in (
            self.suffix.astype("<i4"), self.response.astype("<i4"), self.logprobs.astype("<f4"), routes,
        ):  # fmt: skip
            np.lib.format.write_array(out, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
        return out.getvalue()

    @classmethod
    def read(cls, trajectory: str, turn: int, facts: str, arrays: bytes) -> Completion:
        """A completion as it was kept."""
        data = io.BytesIO(arrays)
        suffix, response, logprobs, routes = (
            np.lib.format.read_array(data, allow_pickle=False) for _ in range(4)
        )
        return cls(
            trajectory=trajectory,
            turn=turn,
            suffix=suffix,
            response=response,
            logprobs=logprobs,
            routes=routes if routes.ndim > 1 else None,
            **json.loads(facts),
        )


ARRAYS = {"suffix", "response", "logprobs", "routes"}


@dataclass(frozen=True)
class Reward:
    """One reward of a trajectory. Key: trajectory and name."""

    trajectory: str
    name: str
    score: float
    turn: int | None = None
    """Of one completion; None: of the whole trajectory."""
    evidence: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise ValueError(f"the {self.name} of {self.trajectory} is {self.score}, which is no reward")


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A rollout as far as it is known."""

    trajectory: str
    group: int | None
    sample: int | None
    attempt: int
    ended: bool
    reason: str
    """Why it ended early; empty: its agent ended as it should."""
    completions: tuple[Completion, ...]
    rewards: tuple[Reward, ...]

    @property
    def judged(self) -> bool:
        return any(reward.name == OUTCOME for reward in self.rewards)

    @property
    def partial(self) -> bool:
        """Something of it is missing: it may be learnt from, but not taken for a whole one."""
        return bool(self.reason) or not self.judged or any(c.fault for c in self.completions)


@dataclass(frozen=True)
class Batch:
    """What training step `step` takes: groups, and the trajectories of each, in their order."""

    step: int
    groups: tuple[int, ...]
    trajectories: tuple[tuple[str, ...], ...]
    trained: bool


def prompts(completions: Iterable[Completion]) -> Mapping[int, Ids]:
    """The exact prompt of each turn of one trajectory."""
    contexts: dict[int, Ids] = {}
    found: dict[int, Ids] = {}
    for completion in sorted(completions, key=lambda completion: completion.turn):
        above = contexts[completion.parent] if completion.parent is not None else np.empty(0, np.int32)
        found[completion.turn] = np.concatenate([above, completion.suffix])
        contexts[completion.turn] = np.concatenate([found[completion.turn], completion.response])
    return found
