"""Statistics that the checks share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Of the central intervals whose coverage is looked at.
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Correlation:
    """How two series go together.

    `low` and `high` bound the rank correlation with 95 % confidence (Fisher's transformation,
    Bonett and Wright 2000), taking the pairs as independent.
    """

    pairs: int
    pearson: float
    spearman: float
    low: float
    high: float


def correlation(x: Array, y: Array) -> Correlation:
    """Of the finite pairs of x and y, [K] each; NaN where there are fewer than 4, or a constant."""
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(x) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(len(x), math.nan, math.nan, math.nan, math.nan)
    pearson, spearman = (float(np.corrcoef(*pair)[0, 1]) for pair in ((x, y), (ranks(x), ranks(y))))
    centre = math.atanh(max(-0.9999999, min(0.9999999, spearman)))
    width = 1.96 * math.sqrt((1 + spearman**2 / 2) / (len(x) - 3))
    return Correlation(
        len(x), pearson, spearman, math.tanh(centre - width), math.tanh(centre + width)
    )


def ranks(x: Array) -> Array:
    """Ranks from 0, ties by their mean."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    result: Array = (ends - (counts + 1) / 2)[inverse]
    return result


def coverage(quantile: Array, levels: tuple[float, ...] = LEVELS) -> Array:
    """How often a central interval held what happened, [levels, ...].

    Args:
        quantile: where in its predicted distribution each observation lies, [K, ...].
    """
    centred = np.abs(2 * quantile - 1)
    return np.stack([(centred <= level).mean(0) for level in levels])


def chance_error(observations: int, levels: tuple[float, ...] = LEVELS) -> float:
    """The calibration error that a perfect model would show by chance."""
    p = np.array(levels)
    return float(np.sqrt(2 / math.pi * p * (1 - p) / observations).mean())


def evenly(rows: range | Array, most: int) -> NDArray[np.int64]:
    """At most so many of the rows, evenly spaced."""
    every = np.asarray(rows, dtype=np.int64)
    if len(every) <= most:
        return every
    result: NDArray[np.int64] = every[np.linspace(0, len(every) - 1, most).round().astype(int)]
    return result
