"""How long rollouts take: drawn from a seeded distribution, or read from a file of measured ones.

Units are the caller's; the benchmark measures in training steps, so a mean of 2.4 is 2.4 steps. A
*prediction* orders groups by expected length. Its correlation with the truth is that of their normal scores
(ranks put through the inverse normal), which for log-normal durations is the correlation of the logarithms;
that of the raw values is lower.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import NormalDist

import numpy as np

from warehouse.errors import FactoryError

Durations = np.ndarray  # float64 [groups]


def lognormal(rng: np.random.Generator, groups: int, *, sigma: float, mean: float) -> Durations:
    """Log-normal durations with this mean; `sigma` is the standard deviation of the logarithm."""
    return rng.lognormal(math.log(mean) - sigma * sigma / 2, sigma, groups)


def pareto(rng: np.random.Generator, groups: int, *, alpha: float, mean: float) -> Durations:
    """Pareto durations (minimum > 0) with this mean; a smaller `alpha` (> 1) is a heavier tail."""
    return mean * (alpha - 1) / alpha * (1 + rng.pareto(alpha, groups))


def measured(path: Path) -> Durations:
    """Durations in a file: one number a line, or a JSON list of numbers. All positive and finite.

    Raises:
        FactoryError: the file holds something else.
    """
    text = path.read_text()
    try:
        values = json.loads(text) if text.lstrip().startswith("[") else [float(line) for line in text.split()]
        durations = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise FactoryError(
            f"{path}: expected one duration a line or a JSON list of numbers: {error}"
        ) from error
    if (
        durations.ndim != 1
        or not len(durations)
        or not np.isfinite(durations).all()
        or (durations <= 0).any()
    ):
        raise FactoryError(f"{path}: durations must be positive numbers, at least one")
    return durations


def resampled(rng: np.random.Generator, groups: int, *, source: Durations) -> Durations:
    """As many durations as asked for, drawn from measured ones with replacement."""
    return rng.choice(source, groups)


def predictions(rng: np.random.Generator, durations: Durations, *, correlation: float) -> Durations:
    """Predicted normal scores whose correlation with the durations' own is `correlation`."""
    ranks = durations.argsort(kind="stable").argsort(kind="stable")
    inverse = NormalDist().inv_cdf
    scores = np.array([inverse((rank + 0.5) / len(ranks)) for rank in range(len(ranks))])[ranks]
    return correlation * scores + math.sqrt(1 - correlation**2) * rng.standard_normal(len(ranks))
