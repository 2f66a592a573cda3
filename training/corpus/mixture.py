"""Batches of a stage: whole examples of several domains in given shares of the tokens.

The next example is of the domain that is furthest behind its share; within a domain, epochs are shuffled
anew. So every domain is within one example of its share at any time, and batch n is a function of the
examples, the seed and n alone: a run resumes exactly by drawing again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np

from training.advantages import Normalizer, normalised
from training.corpus.corpus import Example, Selected
from training.settings import StageConfig
from training.trees.edges import Sample


def batches(selected: Selected, stage: StageConfig, batch_tokens: int, seed: int) -> Iterator[list[Example]]:
    """Endless batches, each at most `batch_tokens` long."""
    shares = _shares(selected, stage)
    streams = {
        name: _epochs(examples, f"{seed}/{stage.name}/{name}") for name, examples in selected.examples.items()
    }
    drawn = dict.fromkeys(shares, 0)
    batch: list[Example] = []
    size = 0
    while True:
        total = sum(drawn.values())
        name = max(shares, key=lambda name: shares[name] * total - drawn[name])
        example = next(streams[name])
        drawn[name] += len(example)
        if size + len(example) > batch_tokens:
            yield batch
            batch, size = [], 0
        batch.append(example)
        size += len(example)


def samples(batch: Sequence[Example]) -> list[Sample]:
    """A step's samples: each learnt token weighs its example's weight over the sum of the step's."""
    weights = normalised(
        [example.learnt_S * example.weight for example in batch], [0] * len(batch), Normalizer.GLOBAL
    )
    return [Sample(example.tokens_S, weight_S) for example, weight_S in zip(batch, weights, strict=True)]


def learnt(batch: Sequence[Example]) -> int:
    """Learnt tokens of a batch."""
    return sum(int(np.count_nonzero(example.learnt_S[1:])) for example in batch)


def _shares(selected: Selected, stage: StageConfig) -> dict[str, float]:
    sizes = {name: float(sum(map(len, examples))) for name, examples in selected.examples.items()}
    given = {name: stage.ratios[name] for name in sizes} if stage.ratios else sizes
    return {name: share / sum(given.values()) for name, share in given.items()}


def _epochs(examples: Sequence[Example], key: str) -> Iterator[Example]:
    for epoch in count():
        order = list(examples)
        random.Random(f"{key}/{epoch}").shuffle(order)
        yield from order
