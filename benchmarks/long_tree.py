"""A tree of a million tokens, path by path: is memory bounded by its longest path?

    python benchmarks/long_tree.py                     1 000 000 tokens, paths of at most 4 096
    python benchmarks/long_tree.py --tokens 100000

The same model trains trees of the same longest path and ever more tokens, each in a process of its own, and
the growth of resident memory while it does is printed: if it is bounded by the longest path, it does not grow
with the tree beyond what the tree itself, its edges and its weights take (listed beside it). A tree that fits
is also run at once, to compare seconds and gradients. Exits with status 1 where memory grows or gradients
differ.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from training.model.config import ModelConfig
from training.model.model import Model
from training.objective import MtpLoss, Objective
from training.trees.edges import Sample
from training.trees.merge import Batch, merged
from training.trees.paths import run_by_paths
from training.trees.verify import gradients_of, relative_errors

CONFIG = ModelConfig(
    vocab_size=256,
    hidden=32,
    layers=2,
    heads=2,
    kv_heads=1,
    head_dim=16,
    rotary_dim=8,
    experts=4,
    experts_per_token=1,
    expert_hidden=32,
    mtp_depth=1,
)
OBJECTIVE = Objective(mtp=MtpLoss.TARGETS)
LONGEST = 4096
PIECE = 2048


def agent_tree(tokens: int, longest: int, seed: int = 0) -> list[Sample]:
    """Samples of up to `longest` tokens that leave earlier ones at random depths, until `tokens` are new."""
    rng, samples, new = np.random.default_rng(seed), [], 0
    paths = [rng.integers(0, CONFIG.vocab_size, longest)]
    while new < tokens:
        start = paths[rng.integers(max(0, len(paths) - 30), len(paths))] if new else paths[0]
        kept = int(rng.integers(0, len(start))) if new else 0
        added = min(int(rng.integers(64, 1200)), longest - kept) if new else longest
        path = start if not new else np.concatenate([start[:kept], rng.integers(0, CONFIG.vocab_size, added)])
        paths.append(path)
        new += added
        weight = np.zeros(len(path))
        weight[kept:] = (rng.random(len(path) - kept) < 0.4) / tokens
        samples.append(Sample(path, weight))
    return samples


def resident_mib() -> float:
    """The highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def held_mib(batch: Batch) -> float:
    """What the tree and its edges hold in arrays."""
    arrays = [getattr(part, item.name) for part in (batch.trie, batch.edges) for item in fields(part)]
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray)) / 2**20


def run(tokens: int, longest: int, whole: bool) -> dict[str, Any]:
    """One tree in this process."""
    torch.set_num_threads(1)
    model, samples = Model(CONFIG), agent_tree(tokens, longest)
    batch = merged(samples)
    run_by_paths(model, merged(samples[:1]), OBJECTIVE, PIECE)  # what is loaded once is loaded
    model.zero_grad()
    before = resident_mib()
    started = time.perf_counter()
    tally = run_by_paths(model, batch, OBJECTIVE, PIECE)
    seconds = time.perf_counter() - started
    found: dict[str, Any] = {
        "tokens": len(batch),
        "path_tokens": int(batch.trie.length_P.sum()),
        "paths": len(samples),
        "longest": int(batch.trie.length_P.max()),
        "seconds": seconds,
        "tokens_per_s": len(batch) / seconds,
        "grown_mib": resident_mib() - before,
        "tree_mib": held_mib(batch),
        "loss": tally.loss,
    }
    if whole:
        pieces = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        before, started = resident_mib(), time.perf_counter()
        _, gradients = gradients_of(model, [batch], OBJECTIVE)
        found["at_once_seconds"] = time.perf_counter() - started
        found["at_once_grown_mib"] = resident_mib() - before
        found["max_rel_grad_error"] = max(relative_errors(pieces, gradients, gradients).values())
    return found


def alone(tokens: int, longest: int, whole: bool) -> dict[str, Any]:
    """`run` in a fresh process, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(run, (tokens, longest, whole))


def main() -> int:
    """Run and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--longest", type=int, default=LONGEST)
    options = parser.parse_args()
    small = alone(min(options.tokens // 10, 50_000), options.longest, whole=True)
    large = alone(options.tokens, options.longest, whole=False)
    print(json.dumps({"small": small, "large": large}, indent=2))
    # Ten times the tokens may take the allocator's slack, not ten times the memory.
    bounded = large["grown_mib"] <= 1.5 * small["grown_mib"] + 64
    return int(not bounded or small["max_rel_grad_error"] > 2e-5)


if __name__ == "__main__":
    sys.exit(main())
