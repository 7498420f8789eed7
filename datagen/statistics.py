"""Intervals and tests: the one place for both.

    wilson, share                          a share of independent rows
    newcombe                               the difference of two such shares
    bootstrap_mean, bootstrap_difference   rows that share a clip or a question text: whole clusters are drawn
    clustered_mean                         the same in any number of clusters
    mean_over_seeds                        of a run that was repeated with other seeds: seeds and clusters are drawn
    permutation_test, mcnemar, holm        paired comparisons: clustered, by rows, and over a family
    equivalence                            a gate: is the excess over chance *shown* to be small?
    chi_square, entropy, kappa             counts against what is expected; how even they are; agreement of two judges

Every draw comes from the seed that the caller gives.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Clusters = Sequence[Hashable] | NDArray[np.int64]

__all__ = [
    "Equivalence",
    "Estimate",
    "bootstrap_difference",
    "bootstrap_mean",
    "chi_square",
    "clustered_mean",
    "equivalence",
    "holm",
    "kappa",
    "mcnemar",
    "mean_over_seeds",
    "newcombe",
    "permutation_test",
    "share",
    "wilson",
]

MOST_DRAWN = 500
"""Clusters up to which `clustered_mean` draws; above, the normal approximation is as good, takes no time, and is what
`filters/length.py` drops by."""
MOST_REMEMBERED = 1_000_000
"""Numbers of draws (8 MB) that are kept for the next figure of the same clusters: a dozen gates have the same."""
MOST_ENUMERATED = 14
"""Clusters with a difference up to which `permutation_test` looks at every one of their 2^k sign patterns."""


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


def wilson(correct: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953).

    `correct` may be fractional, where ties are split, and `n`, where it is an effective number of rows. No rows tell
    nothing: (0, 1). Raises ValueError unless 0 <= correct <= n.
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


def newcombe(a: float, n_a: int, b: float, n_b: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a/n_a - b/n_b, two independent shares, from the Wilson interval of each.

    Method 10 of Newcombe 1998 (https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I). A
    share of no rows tells nothing. Raises ValueError unless 0 <= a <= n_a and 0 <= b <= n_b.
    """
    (low_a, high_a), (low_b, high_b) = wilson(a, n_a, confidence), wilson(b, n_b, confidence)
    p_a, p_b = a / n_a if n_a else 0.5, b / n_b if n_b else 0.5
    low = p_a - p_b - math.hypot(p_a - low_a, high_b - p_b)
    return low, p_a - p_b + math.hypot(high_a - p_a, p_b - low_b)


def share(correct: float, n: int) -> dict[str, Any]:
    """`correct` of `n` as scripts read it: correct, n, accuracy (None without rows), 95 % interval low, high."""
    low, high = wilson(correct, n)
    return {"correct": correct, "n": n, "accuracy": correct / n if n else None, "low": low, "high": high}


def bootstrap_mean(
    values: ArrayLike, clusters: Clusters, *, seed: int, draws: int = 2_000, confidence: float = 0.95
) -> Estimate:
    """The mean of `values` with the percentile interval of a bootstrap that draws whole clusters with replacement.

    `values`: (rows,) numbers; `clusters`: the group of each row. The mean of a draw is that of the rows in it, so a
    cluster weighs by its size. Source: Davison & Hinkley 1997, §2.4 and §3.8. Raises ValueError without rows.
    """
    import numpy as np

    numbers, sums, sizes = _by_cluster(values, clusters)
    k, means = len(sizes), np.empty(draws)
    if k * draws <= MOST_REMEMBERED:
        times = _times(seed, k, draws)
        means[:] = (times @ sums) / (times @ sizes)
    else:
        rng, at_once = np.random.default_rng(seed), max(1, 4_000_000 // k)
        for start in range(0, draws, at_once):
            times = rng.multinomial(k, np.full(k, 1 / k), size=min(at_once, draws - start)).astype(np.float64)
            means[start : start + len(times)] = (times @ sums) / (times @ sizes)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Estimate(float(numbers.mean()), float(low), float(high), len(numbers), k)


@lru_cache(maxsize=2)
def _times(seed: int, k: int, draws: int) -> NDArray[np.float64]:
    """How often each of `k` clusters is drawn, (draws, k): the same for every figure of the same clusters."""
    import numpy as np

    return np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), size=draws).astype(np.float64)


def bootstrap_difference(
    a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable], *, seed: int, draws: int = 2_000, confidence: float = 0.95
) -> Estimate:
    """The mean of a - b over paired rows, with the clustered bootstrap interval of `bootstrap_mean`."""
    import numpy as np

    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"bootstrap: {first.shape} against {second.shape} values; the rows must be pairs")
    return bootstrap_mean(first - second, clusters, seed=seed, draws=draws, confidence=confidence)


def _by_cluster(
    values: ArrayLike, clusters: Clusters
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The values (rows,), and the sum and the number of rows of each cluster (clusters,).

    In order of appearance; where the names are an array, which is 10 times as fast, in theirs.
    """
    import numpy as np

    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or len(numbers) != len(clusters) or not len(numbers):
        raise ValueError(f"bootstrap: {numbers.shape} values and {len(clusters)} cluster names; give one of each a row")
    if isinstance(clusters, np.ndarray):
        group = np.unique(clusters, return_inverse=True)[1]
    else:
        order: dict[Hashable, int] = {}
        group = np.array([order.setdefault(name, len(order)) for name in clusters])
    sums, sizes = np.bincount(group, weights=numbers), np.bincount(group)
    return numbers, sums.astype(np.float64), sizes.astype(np.float64)


def mean_over_seeds(
    values: ArrayLike, clusters: Sequence[Hashable], *, seed: int, draws: int = 4_000, confidence: float = 0.95
) -> tuple[Estimate, float]:
    """The mean of `values` (seeds, rows), its interval, and the two-sided p of "it is 0", both by a bootstrap that
    draws seeds and clusters of rows with replacement, each for itself: every seed was asked the same rows.

    k drawn seeds vary by (k - 1) / k of what seeds do, so their deviations are widened by the root of its inverse. With
    one seed there is nothing to tell how much seeds differ, and interval and p are those of the clusters alone. Few
    seeds give an interval that is somewhat too narrow all the same: its tails are normal, not Student's (see
    tests/test_statistics.py for the coverage). Source: Davison & Hinkley 1997, §3.8; Owen 2007,
    https://doi.org/10.1214/07-AOAS122. Raises ValueError without rows.
    """
    import numpy as np

    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"mean over seeds: {table.shape} values; give a row a seed")
    sums = np.stack([_by_cluster(row, clusters)[1] for row in table])
    sizes = _by_cluster(table[0], clusters)[2]
    k, n = sums.shape
    if k > 1:
        centre = sums.mean(0)
        sums = centre + math.sqrt(k / (k - 1)) * (sums - centre)
    rng, means = np.random.default_rng(seed), np.empty(draws)
    at_once = max(1, 4_000_000 // n)
    for start in range(0, draws, at_once):
        number = min(at_once, draws - start)
        times = rng.multinomial(n, np.full(n, 1 / n), size=number).astype(np.float64)
        weights = rng.multinomial(k, np.full(k, 1 / k), size=number) / k
        means[start : start + number] = np.einsum("dn,kn,dk->d", times, sums, weights, optimize=True) / (times @ sizes)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    side = min(int((means <= 0).sum()), int((means >= 0).sum()))
    p = min(1.0, 2 * (side + 1) / (draws + 1))
    return Estimate(float(table.mean()), float(low), float(high), table.shape[1], n), p


# ── paired tests ─────────────────────────────────────────────────────────────────────────────────────────────────────


def permutation_test(
    a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable], *, seed: int, draws: int = 10_000
) -> float:
    """Two-sided p of "a and b differ in nothing but chance", swapping a and b for whole clusters of paired rows.

    Under the null hypothesis the two models may be swapped within any cluster; p is the share of sign patterns whose
    sum of differences is at least as large as the one seen. Every pattern where at most 14 clusters differ; else
    `draws` of them, with the one seen counted in (Phipson & Smyth 2010), so that p is never 0. Raises ValueError
    without rows or for rows that are no pairs.
    """
    import numpy as np

    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"permutation: {first.shape} against {second.shape} values; the rows must be pairs")
    sums = _by_cluster(first - second, clusters)[1]
    sums = sums[np.abs(sums) > 1e-12]
    seen, k = abs(sums.sum()) - 1e-9, len(sums)
    if k <= MOST_ENUMERATED:
        patterns = (np.arange(2**k)[:, None] >> np.arange(k)) & 1
        return float((np.abs((patterns * 2 - 1) @ sums) >= seen).mean())
    rng, extreme = np.random.default_rng(seed), 0
    at_once = max(1, 4_000_000 // k)
    for start in range(0, draws, at_once):
        signs = rng.integers(0, 2, size=(min(at_once, draws - start), k), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ sums) >= seen).sum())
    return (extreme + 1) / (draws + 1)


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided McNemar test: p of `only_a` rows that a alone has right against `only_b` that b alone has.

    Takes rows for independent; `permutation_test` is the one for rows in clusters. Source: McNemar 1947.
    """
    from scipy.stats import binomtest

    if only_a < 0 or only_b < 0:
        raise ValueError(f"mcnemar: {only_a} and {only_b} are no counts")
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p of each test of a family, in the order given (Holm 1979)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


# ── gates ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Equivalence:
    """What can be said of an excess over chance against the limit that it must stay below."""

    estimate: Estimate
    limit: float
    outcome: Literal["pass", "fail", "too_few"]
    """pass: the whole interval is at most the limit; fail: all of it is above; too_few: the rows cannot tell."""

    @property
    def ok(self) -> bool | None:
        """True, False, or None where the rows cannot tell."""
        return {"pass": True, "fail": False, "too_few": None}[self.outcome]


def equivalence(
    excess: ArrayLike, clusters: Clusters, *, seed: int, limit: float = 0.02, confidence: float = 0.95
) -> Equivalence:
    """An equivalence gate on the mean of `excess` (right − chance, per row) with its clustered interval.

    A gate of the form "chance is inside the interval" passes whatever is small and nothing that is large; this one asks
    for the upper end of the interval (that of `clustered_mean`) to be at most `limit`. No rows are too few.
    """
    if not len(clusters):
        return Equivalence(Estimate(0.0, -1.0, 1.0, 0, 0), limit, "too_few")
    found = clustered_mean(excess, clusters, seed=seed, confidence=confidence)
    outcome: Literal["pass", "fail", "too_few"] = "too_few"
    # One cluster has a bootstrap interval of no width, which says nothing of the rest of the world.
    if found.clusters > 1 and found.high <= limit:
        outcome = "pass"
    elif found.clusters > 1 and found.low > limit:
        outcome = "fail"
    return Equivalence(found, limit, outcome)


def clustered_mean(values: ArrayLike, clusters: Clusters, *, seed: int, confidence: float = 0.95) -> Estimate:
    """The mean with an interval in which the rows of a cluster count as one.

    Up to 500 clusters that of `bootstrap_mean`, above it the linearised one of a ratio (Cochran 1977, §6.4).
    """
    import numpy as np

    numbers, sums, sizes = _by_cluster(values, clusters)
    if len(sizes) <= MOST_DRAWN:
        return bootstrap_mean(values, clusters, seed=seed, confidence=confidence)
    k, mean = len(sizes), float(numbers.mean())
    error = math.sqrt(k / (k - 1) * float(np.square(sums - mean * sizes).sum())) / len(numbers)
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * error
    return Estimate(mean, mean - half, mean + half, len(numbers), k)


# ── counts and judges ────────────────────────────────────────────────────────────────────────────────────────────────


def chi_square(observed: Sequence[float], expected: Sequence[float]) -> tuple[float, float]:
    """Pearson's statistic and its p, with cells of no expectation left out; (0, 1) where fewer than two are left."""
    from scipy.special import chdtrc  # scipy.stats takes a second to import

    cells = [(o, e) for o, e in zip(observed, expected, strict=True) if e > 0]
    if len(cells) < 2:
        return 0.0, 1.0
    statistic = sum((o - e) ** 2 / e for o, e in cells)
    return statistic, float(chdtrc(len(cells) - 1, statistic))


def entropy(counts: Sequence[int]) -> float:
    """Shannon's entropy of counts, in bits (Shannon 1948); 0 where one of them is all."""
    total = sum(counts)
    return 0.0 - sum(n / total * math.log2(n / total) for n in counts if n)


def kappa(a: Sequence[Hashable], b: Sequence[Hashable], weights: Sequence[float] | None = None) -> float | None:
    """Cohen's kappa of two judges on the same items (Cohen 1960); None where chance leaves nothing to agree on.

    `weights`: how many items each one stands for, where some were drawn more often than others; None is one each.
    """
    held = [1.0] * len(a) if weights is None else weights
    if not len(a) == len(b) == len(held):
        raise ValueError(f"kappa: {len(a)} against {len(b)} verdicts; the items must be the same")
    total = sum(held)
    if not total:
        return None
    agreed = sum(w for x, y, w in zip(a, b, held, strict=True) if x == y) / total
    first, second = _totals(a, held), _totals(b, held)
    by_chance = sum(weight * second.get(value, 0.0) for value, weight in first.items()) / total**2
    # One value alone on both sides is chance 1, which sums of weights may miss by an ulp.
    return None if by_chance > 1 - 1e-12 else (agreed - by_chance) / (1 - by_chance)


def _totals(values: Sequence[Hashable], weights: Sequence[float]) -> dict[Hashable, float]:
    """Value → the sum of its weights."""
    found: dict[Hashable, float] = {}
    for value, weight in zip(values, weights, strict=True):
        found[value] = found.get(value, 0.0) + weight
    return found
