"""How much merging can save: what a step computes, and what the shares of an unmerged step fall to.

    limit = 1 / (f_lin / rho + f_attn / alpha + f_edge / rho_e + f_fixed)

f are shares of the unmerged step's time. What is done once a token falls by rho, the ratio of tokens;
attention by alpha, the ratio of (query, key) pairs; the head and the loss by rho_e, the ratio of supervised
edges; what a step costs whatever its tokens does not fall. Tokens that micro-batches compute again are
counted again. Branches that are long against what they share have alpha < rho.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.model.config import ModelConfig
from training.trees.merge import Batch


@dataclass(frozen=True)
class Work:
    """What a step computes: tokens, pairs of attention, supervised edges."""

    tokens: int
    pairs: int
    edges: int

    @classmethod
    def of(cls, batches: Sequence[Batch]) -> Work:
        """Counted from micro-batches."""
        return cls(
            sum(len(batch) for batch in batches),
            sum(int((batch.trie.position_T + 1).sum()) for batch in batches),
            sum(len(batch.edges) for batch in batches),
        )


def limit_of(shares: Mapping[str, float], unmerged: Work, tree: Work) -> float:
    """The largest speed-up for `shares` (linear, attention, edges, fixed) of the unmerged step."""
    return 1 / (
        shares["linear"] * tree.tokens / unmerged.tokens
        + shares["attention"] * tree.pairs / unmerged.pairs
        + (shares["edges"] * tree.edges / unmerged.edges if unmerged.edges else 0.0)
        + shares["fixed"]
    )


def own_seconds(measured: Sequence[tuple[float, int, int]]) -> float:
    """Of the seconds of attention those that go with pairs; of those of the head those that go with edges.

    `measured` holds seconds, pairs (or edges) and tokens of micro-batches; least squares tell them apart.
    What goes with tokens (sums and gathering of rows, whatever they look at) is linear work.
    """
    table = np.array(measured, np.float64)
    (per_amount, per_token), *_ = np.linalg.lstsq(table[:, 1:], table[:, 0], rcond=None)
    if per_token < 0:
        return float(table[:, 0].sum())
    return float(max(per_amount, 0.0) * table[:, 1].sum())


def shares_elsewhere(shares: Mapping[str, float], measured: Work, other: Work) -> dict[str, float]:
    """The shares of a step of `other` work, at the `measured` one's costs of a token, pair and edge."""
    cost = {
        "linear": shares["linear"] * other.tokens / measured.tokens,
        "attention": shares["attention"] * other.pairs / measured.pairs,
        "edges": shares["edges"] * other.edges / measured.edges,
        "fixed": shares["fixed"],
    }
    return {name: part / sum(cost.values()) for name, part in cost.items()}


def shares_by_operations(config: ModelConfig, work: Work) -> dict[str, float]:
    """Shares of a step from multiplications: 1 a weight and token, 2 a pair, head and width."""
    parts = {
        "linear": float(config.counts().blocks_active) * work.tokens,
        "attention": 2.0 * config.layers * config.heads * config.head_dim * work.pairs,
        "edges": float(config.hidden) * config.vocab_size * work.edges,
        "fixed": 0.0,
    }
    whole = sum(parts.values())
    return {name: part / whole for name, part in parts.items()}


@dataclass(frozen=True)
class Episodes:
    """Rollouts of one task: a prompt, then turns of generated and observed tokens (the last is not observed).

    Closed forms of what they hold as one sample a request, and merged, where rollouts share only the prompt.
    """

    prompt: int
    generated: int
    observed: int
    turns: int
    rollouts: int

    @property
    def length(self) -> int:
        """Tokens of the last request of a rollout."""
        return self.prompt + self.turns * (self.generated + self.observed) - self.observed

    def per_request(self) -> Work:
        """One sample for every turn."""
        first, turn = self.prompt + self.generated, self.generated + self.observed
        lengths = [first + turn * index for index in range(self.turns)]
        return Work(
            self.rollouts * sum(lengths),
            self.rollouts * sum(length * (length + 1) // 2 for length in lengths),
            self.rollouts * self.turns * self.generated,
        )

    def tree(self) -> Work:
        """All rollouts merged."""
        shared = self.prompt * (self.prompt + 1) // 2
        own = self.length * (self.length + 1) // 2 - shared
        return Work(
            self.prompt + self.rollouts * (self.length - self.prompt),
            shared + self.rollouts * own,
            self.rollouts * self.turns * self.generated,
        )


def limit_by_operations(config: ModelConfig, episodes: Episodes) -> dict[str, float]:
    """The limit for `episodes` on a model of any size, shares taken from operation counts, nothing split."""
    unmerged, tree = episodes.per_request(), episodes.tree()
    shares = shares_by_operations(config, unmerged)
    return {
        "token_ratio": unmerged.tokens / tree.tokens,
        "attention_ratio": unmerged.pairs / tree.pairs,
        "attention_share": shares["attention"],
        "limit": limit_of(shares, unmerged, tree),
    }
