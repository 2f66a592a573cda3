"""Random samples that share prefixes in every way a tree has: the strategy of the exactness tests.

Small numbers draw a seed-like shape: each sample takes a prefix of an earlier one (all of it, so that one
ends inside the other; or more, so that they are equal) and adds its own tokens. A vocabulary of three makes
chance sharing common. Forests come from prefixes of nothing, single tokens from short additions.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from training.trees.edges import Sample

SHAPES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 12), st.integers(0, 7)), min_size=1, max_size=7)


@st.composite
def random_samples(draw: st.DrawFn, vocab: int = 320) -> list[Sample]:
    """Samples with advantages of both signs and behaviour log-probabilities on both sides of a bound."""
    shapes = draw(SHAPES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    symbols = draw(st.sampled_from([3, vocab]))
    return samples_of(shapes, rng, symbols)


def samples_of(shapes: list[tuple[int, int, int]], rng: np.random.Generator, symbols: int) -> list[Sample]:
    """One sample a shape: (which sample to start from, how much of it, tokens to add)."""
    sequences: list[np.ndarray] = [np.empty(0, np.int64)]
    for parent, prefix, added in shapes:
        start = sequences[parent % len(sequences)][:prefix]
        sequences.append(np.concatenate([start, rng.integers(0, symbols, added)]))
    if not any(len(sequence) for sequence in sequences):
        sequences.append(np.array([1], np.int64))
    return [sample_of(sequence, rng) for sequence in sequences]


def sample_of(tokens_S: np.ndarray, rng: np.random.Generator) -> Sample:
    """A sample that learns about two in three of its tokens, with weights as a normaliser leaves them."""
    size = len(tokens_S)
    weight_S = (rng.random(size) < 0.65) * rng.uniform(0.2, 1.0, size) / 50
    return Sample(tokens_S, weight_S, rng.normal(size=size), -5.8 + rng.normal(size=size))
