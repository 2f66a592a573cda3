"""Gradients of more than 1 000 random trees against their separate paths: the largest errors, per precision.

    python benchmarks/tree_exactness.py                1 008 trees in each precision
    python benchmarks/tree_exactness.py --trees 96     a short run

Every tree draws its samples (prefixes, duplicates, samples inside others, forests, single tokens), MTP depth
0 to 3, SFT with MTP targets or CISPO with MTP policy KL, whole or split into micro-batches, or run path by
path. The error of a tensor is that of `training.trees.verify`. float64 must stay under 1e-12; float32 under
2e-5, and 99 % of its tensors under 2e-6. Exits with status 1 otherwise, or where expert counts differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from training.model.config import preset
from training.model.model import Model
from training.objective import Loss, MtpLoss, Objective
from training.trees.edges import Sample
from training.trees.merge import merged
from training.trees.paths import run_by_paths
from training.trees.verify import gradients_of, relative_errors, verify_merge

OBJECTIVES = (
    Objective(loss=Loss.SFT, mtp=MtpLoss.TARGETS),
    Objective(loss=Loss.CISPO, ratio_max=2.0, mtp=MtpLoss.POLICY, mtp_top_k=8),
)
DEPTHS = (0, 1, 2, 3)
BUDGETS = (None, 48, "paths")


@dataclass
class Found:
    """Errors of one precision."""

    errors: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    flips: int = 0
    flipped_trees: int = 0
    counts_differ: int = 0
    tokens: int = 0
    tree_tokens: int = 0
    trees: int = 0

    def summary(self) -> dict[str, Any]:
        """What is printed."""
        errors = np.array(self.errors)
        return {
            "trees": self.trees,
            "tensors": len(errors),
            "max": float(errors.max()),
            "p99": float(np.quantile(errors, 0.99)),
            "median": float(np.median(errors)),
            "max_loss_error": max(self.losses),
            "route_flips": self.flips,
            "trees_with_flips": self.flipped_trees,
            "trees_with_other_expert_counts": self.counts_differ,
            "path_tokens": self.tokens,
            "tree_tokens": self.tree_tokens,
        }


def random_samples(rng: np.random.Generator, vocab: int) -> list[Sample]:
    """Samples that start from others, with weights, advantages and behaviour log-probabilities."""
    symbols = int(rng.choice([2, 3, vocab]))
    sequences = [rng.integers(0, symbols, rng.integers(1, 24))]
    for _ in range(int(rng.integers(0, 12))):
        start = sequences[rng.integers(len(sequences))]
        kept = start[: rng.integers(0, len(start) + 1)]
        added = rng.integers(0, symbols, rng.integers(0 if len(kept) else 1, 16))
        sequences.append(np.concatenate([kept, added]))
    samples = []
    for tokens in (sequences[index] for index in rng.permutation(len(sequences))):
        weight = (rng.random(len(tokens)) < 0.65) * rng.uniform(0.2, 1, len(tokens)) / 100
        old = -np.log(vocab) + rng.normal(size=len(tokens))
        samples.append(Sample(tokens, weight, rng.normal(size=len(tokens)), old))
    return samples


def compare(model: Model, samples: list[Sample], objective: Objective, budget: Any, found: Found) -> None:
    """Adds one tree's errors."""
    report = verify_merge(model, samples, objective, None if budget == "paths" else budget)
    found.trees += 1
    found.errors += report.errors.values()
    found.losses.append(report.loss_error)
    found.flips += report.flips
    found.flipped_trees += bool(report.flips)
    found.counts_differ += not report.counts_equal
    found.tokens += report.tokens
    found.tree_tokens += report.tree_tokens
    if budget == "paths":
        batch = merged(samples)
        _, whole = gradients_of(model, [batch], objective)
        model.zero_grad()
        run_by_paths(model, batch, objective, tokens=8)
        names = model.named_parameters()
        pieces = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in names}
        model.zero_grad()
        found.errors += relative_errors(pieces, whole, whole).values()


def main() -> int:
    """Compare and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trees", type=int, default=1008, help="trees in each precision")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)  # the products are tiny
    result, failed, started = {}, False, time.monotonic()
    for dtype, limit, limit_p99 in ((torch.float64, 1e-12, 1e-12), (torch.float32, 2e-5, 2e-6)):
        found = Found()
        config = preset("tiny")
        models = {depth: Model(config.replace(mtp_depth=depth, init_std=0.1)).to(dtype) for depth in DEPTHS}
        for index in range(options.trees):
            rng = np.random.default_rng((options.seed, index))
            budget = BUDGETS[index // (len(DEPTHS) * len(OBJECTIVES)) % len(BUDGETS)]
            objective = OBJECTIVES[index // len(DEPTHS) % len(OBJECTIVES)]
            samples = random_samples(rng, config.vocab_size)
            compare(models[DEPTHS[index % len(DEPTHS)]], samples, objective, budget, found)
            if index % 100 == 99:
                print(f"{dtype} {index + 1} {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        summary = found.summary()
        result[str(dtype).removeprefix("torch.")] = summary
        failed |= summary["max"] > limit or summary["p99"] > limit_p99 or found.counts_differ > 0
    print(json.dumps(result, indent=2))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
