"""Intervals and tests: the one place for both.

Wilson's score interval stands beside every share; it takes rows for independent. Where rows share a clip or a question
text, the bootstrap here draws whole clusters instead. Every draw comes from the seed that the caller gives.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Estimate", "bootstrap_difference", "bootstrap_mean", "share", "wilson"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval."""

    value: float
    low: float
    high: float
    n: int
    """Rows."""
    clusters: int
    """Groups of rows that are drawn as one."""


def wilson(correct: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953).

    `correct` may be fractional, where ties are split. No rows tell nothing: (0, 1). Raises ValueError unless
    0 <= correct <= n.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"wilson: {correct} of {n} is no share")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p, spread = correct / n, z * z / n
    centre = (p + spread / 2) / (1 + spread)
    half = z * math.sqrt(p * (1 - p) / n + spread / (4 * n)) / (1 + spread)
    # At 0 and at n the formula meets the bound exactly; in floating point it misses it by an ulp.
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == n else centre + half)


def share(correct: float, n: int) -> dict[str, Any]:
    """`correct` of `n` as scripts read it: correct, n, accuracy (None without rows), 95 % interval low, high."""
    low, high = wilson(correct, n)
    return {"correct": correct, "n": n, "accuracy": correct / n if n else None, "low": low, "high": high}


def bootstrap_mean(
    values: ArrayLike, clusters: Sequence[Hashable], *, seed: int, draws: int = 2_000, confidence: float = 0.95
) -> Estimate:
    """The mean of `values` with the percentile interval of a bootstrap that draws whole clusters with replacement.

    `values`: (rows,) numbers; `clusters`: the group of each row. The mean of a draw is that of the rows in it, so a
    cluster weighs by its size. Source: Davison & Hinkley 1997, §2.4 and §3.8. Raises ValueError without rows.
    """
    import numpy as np

    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or len(numbers) != len(clusters) or not len(numbers):
        raise ValueError(f"bootstrap: {numbers.shape} values and {len(clusters)} cluster names; give one of each a row")
    order: dict[Hashable, int] = {}
    group = np.array([order.setdefault(name, len(order)) for name in clusters])
    sums, sizes = np.bincount(group, weights=numbers), np.bincount(group).astype(np.float64)
    rng, k = np.random.default_rng(seed), len(sizes)
    means = np.empty(draws)
    at_once = max(1, 4_000_000 // k)
    for start in range(0, draws, at_once):
        times = rng.multinomial(k, np.full(k, 1 / k), size=min(at_once, draws - start)).astype(np.float64)
        means[start : start + len(times)] = (times @ sums) / (times @ sizes)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Estimate(float(numbers.mean()), float(low), float(high), len(numbers), k)


def bootstrap_difference(
    a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable], *, seed: int, draws: int = 2_000, confidence: float = 0.95
) -> Estimate:
    """The mean of a - b over paired rows, with the clustered bootstrap interval of `bootstrap_mean`."""
    import numpy as np

    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"bootstrap: {first.shape} against {second.shape} values; the rows must be pairs")
    return bootstrap_mean(first - second, clusters, seed=seed, draws=draws, confidence=confidence)
