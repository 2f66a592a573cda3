"""Tokens per second of the trie builder on one core, with tokens alone and with routes.

    python benchmarks/trie_build.py

Three workloads: the agent group of the prefix-tree benchmark at a hundredth, a tenth and full size (47.9 M
tokens of requests, shuffled), episodes that fork anywhere, and short completions of shared prompts. Routes
are two layers of two experts, and the 62 of eight of MiniMax-M2, whose 496 bytes a token are most of the
work. The fastest of some runs counts. Prints JSON; exits with status 1 where tokens alone are built at less
than 100 M a second.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from numpy.typing import NDArray

from training.trees.limit import Episodes
from training.trees.trie import build_trie

Ints = NDArray[np.int32]
TARGET = 100e6


def agents(shape: Episodes, rng: np.random.Generator) -> list[Ints]:
    """Every request of a group, in no order."""
    prompt = rng.integers(0, 200_000, shape.prompt, dtype=np.int32)
    turn, sequences = shape.generated + shape.observed, []
    for _ in range(shape.rollouts):
        own = rng.integers(0, 200_000, shape.turns * turn, dtype=np.int32)
        episode = np.concatenate([prompt, own])
        first = shape.prompt + shape.generated
        sequences += [episode[: first + turn * index].copy() for index in range(shape.turns)]
    return [sequences[index] for index in rng.permutation(len(sequences))]


def forks(count: int, length: int, rng: np.random.Generator) -> list[Ints]:
    """Episodes that leave an earlier one anywhere."""
    sequences = [rng.integers(0, 200_000, length, dtype=np.int32)]
    while len(sequences) < count:
        start = sequences[rng.integers(len(sequences))]
        kept = int(rng.integers(length))
        sequences.append(
            np.concatenate([start[:kept], rng.integers(0, 200_000, length - kept, dtype=np.int32)])
        )
    return [sequences[index] for index in rng.permutation(count)]


def completions(prompts: int, each: int, rng: np.random.Generator) -> list[Ints]:
    """Completions of 200 to 800 tokens after prompts of 1 000."""
    sequences = []
    for _ in range(prompts):
        prompt = rng.integers(0, 200_000, 1000, dtype=np.int32)
        for _ in range(each):
            own = rng.integers(0, 200_000, rng.integers(200, 800), dtype=np.int32)
            sequences.append(np.concatenate([prompt, own]))
    return [sequences[index] for index in rng.permutation(len(sequences))]


def rate(sequences: list[Ints], routes: list[NDArray[np.uint8]] | None = None) -> dict[str, float]:
    """Millions of tokens a second, the fastest of runs for about a second."""
    total, best, spent = sum(map(len, sequences)), float("inf"), 0.0
    unique = 0
    while spent < 1 or best == float("inf"):
        started = time.perf_counter()
        unique = len(build_trie(sequences, routes).tokens_T)
        best = min(best, time.perf_counter() - started)
        spent += time.perf_counter() - started
    return {"tokens": total, "unique": unique, "m_tokens_per_s": round(total / best / 1e6, 1)}


def routed(sequences: list[Ints], layers: int, experts: int) -> list[NDArray[np.uint8]]:
    """Routes that depend on the token alone, so that equal prefixes have equal routes."""
    table = np.random.default_rng(1).integers(0, 256, (1009, layers, experts), dtype=np.uint8)
    return [table[sequence % 1009] for sequence in sequences]


def main() -> int:
    """Measure and print."""
    rng = np.random.default_rng(0)
    hundredth = agents(Episodes(200, 4, 6, turns=60, rollouts=16), rng)
    alone = {
        "agents, a hundredth": rate(hundredth),
        "agents, a tenth": rate(agents(Episodes(2000, 40, 60, turns=60, rollouts=16), rng)),
        "agents, full": rate(agents(Episodes(20_000, 400, 600, turns=60, rollouts=16), rng)),
        "forks": rate(forks(1000, 4000, rng)),
        "completions": rate(completions(64, 16, rng)),
    }
    few = hundredth[:100]
    with_routes = {
        "agents, 2 layers of 2": rate(hundredth, routed(hundredth, 2, 2)),
        "agents, 62 layers of 8": rate(few, routed(few, 62, 8)),
    }
    print(json.dumps({"tokens_alone": alone, "with_routes": with_routes}, indent=2))
    return int(any(found["m_tokens_per_s"] * 1e6 < TARGET for found in alone.values()))


if __name__ == "__main__":
    sys.exit(main())
