"""What each worker computes of a step: the same number of micro-batches, about as many tokens.

Weights of samples hold their normaliser over the whole step, so shares may be any partition. Samples that
stand side by side in depth-first order stay together, since a cut costs what they share. Where a worker has
fewer micro-batches than another it computes one that counts nothing, because weights are gathered and
gradients are summed by all workers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.trees.edges import Sample
from training.trees.merge import Batch
from training.trees.split import micro_batches, split
from training.trees.trie import Trie


@dataclass(frozen=True)
class Share:
    """Micro-batches of one worker: those that count, and idle ones to keep step with the others."""

    batches: list[Batch]
    idle: list[Batch]


def shares(
    samples: Sequence[Sample], budget: int, make: Callable[[Sequence[Sample]], Batch], workers: int
) -> list[Share]:
    """The samples of a step in micro-batches of at most `budget` tokens, by worker."""
    if workers == 1:
        return [Share(micro_batches(samples, budget, make), [])]
    trie = make(samples).trie
    rounds, groups = _groups(trie, budget, workers)
    batches = sorted((make([samples[index] for index in group]) for group in groups), key=len, reverse=True)
    dealt: list[list[Batch]] = [[] for _ in range(workers)]
    for batch in batches:  # the largest first, to whom has least
        least = min((own for own in dealt if len(own) < rounds), key=lambda own: sum(map(len, own)))
        least.append(batch)
    shortest = min(samples, key=lambda sample: len(sample.tokens_S))
    idle = make([replace(shortest, weight_S=np.zeros(len(shortest.tokens_S)))])
    return [Share(own, [idle] * (rounds - len(own))) for own in dealt]


def _groups(trie: Trie, budget: int, workers: int) -> tuple[int, list[list[int]]]:
    """Micro-batches a worker, as few as `budget` allows, and the samples of each, as even as can be."""
    groups = split(trie, budget)
    rounds = -(-len(groups) // workers)
    low, high = int(trie.length_P.max()), min(budget, len(trie.tokens_T))
    while low < high:  # the smallest budget that needs no further round
        middle = (low + high) // 2
        found = split(trie, middle)
        if len(found) <= rounds * workers:
            high, groups = middle, found
        else:
            low = middle + 1
    return rounds, groups
