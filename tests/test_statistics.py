from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from datagen.statistics import (
    MOST_DRAWN,
    bootstrap_difference,
    bootstrap_mean,
    chi_square,
    equivalence,
    holm,
    kappa,
    mcnemar,
    mean_over_seeds,
    permutation_test,
    share,
    wilson,
)


@pytest.mark.parametrize("n", [1, 2, 10, 1000, 10**7])
@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.99, 1])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_wilson_is_scipys(part, n, confidence):
    correct = round(part * n)
    expected = stats.binomtest(correct, n).proportion_ci(confidence, method="wilson")
    assert wilson(correct, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_known_values():
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_of_nothing_tells_nothing():
    assert wilson(0, 0) == (0, 1)
    assert share(0, 0) == {"correct": 0, "n": 0, "accuracy": None, "low": 0, "high": 1}


@pytest.mark.parametrize("n", [1, 3, 7, 10**6])
def test_wilson_stays_within_0_and_1(n):
    assert wilson(0, n)[0] == 0
    assert wilson(n, n)[1] == 1
    assert wilson(0.5, n)[0] < 0.5 / n < wilson(0.5, n)[1]


@pytest.mark.parametrize(("correct", "n"), [(-1, 5), (6, 5), (1, 0), (float("nan"), 5)])
def test_wilson_refuses_what_is_no_share(correct, n):
    with pytest.raises(ValueError, match="no share"):
        wilson(correct, n)


def test_share_is_json():
    assert json.loads(json.dumps(share(2.5, 10)))["accuracy"] == 0.25


def test_bootstrap_of_single_rows_is_scipys():
    values = np.random.default_rng(0).normal(size=200)
    found = bootstrap_mean(values, range(200), seed=1, draws=20_000)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=2).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert (found.value, found.n, found.clusters) == (pytest.approx(values.mean()), 200, 200)


def test_bootstrap_against_every_draw():
    """Two clusters: half of the draws take both, a quarter each twice. The quartiles are known exactly."""
    found = bootstrap_mean([1, 1, 1, 0], ["a", "a", "a", "b"], seed=0, draws=10_000, confidence=0.4)
    assert (found.value, found.low, found.high) == (0.75, 0.75, 0.75)
    found = bootstrap_mean([1, 1, 1, 0], ["a", "a", "a", "b"], seed=0, draws=10_000, confidence=0.6)
    assert (found.low, found.high) == (0, 1)


def test_rows_of_one_cluster_count_as_one():
    values, clusters = np.repeat([0.0, 1.0] * 50, 10), np.repeat(np.arange(100), 10)
    together = bootstrap_mean(values, clusters.tolist(), seed=0)
    alone = bootstrap_mean(values, range(1000), seed=0)
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(10**0.5, rel=0.1)


def test_bootstrap_depends_on_the_seed_alone():
    values, clusters = [0.1, 0.5, 0.2, 0.9], ["x", "y", "x", "z"]
    assert bootstrap_mean(values, clusters, seed=5) == bootstrap_mean(values, clusters, seed=5)
    assert bootstrap_mean(values, clusters, seed=5) == bootstrap_mean(values, [0, 1, 0, 2], seed=5)


def test_difference_is_paired():
    a = np.random.default_rng(0).normal(size=300)
    found = bootstrap_difference(a + 0.5, a, range(300), seed=0)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


@pytest.mark.parametrize(("values", "clusters"), [([], []), ([1.0], []), ([[1.0]], ["a"])])
def test_bootstrap_refuses_odd_shapes(values, clusters):
    with pytest.raises(ValueError, match="bootstrap"):
        bootstrap_mean(values, clusters, seed=0)
    with pytest.raises(ValueError, match="pairs"):
        bootstrap_difference([1.0], [1.0, 2.0], ["a"], seed=0)


def test_permutation_of_few_clusters_is_exact():
    """Five single rows that all favour a: of 32 patterns two are as extreme."""
    assert permutation_test([1] * 5, [0] * 5, range(5), seed=0) == 2 / 32
    assert permutation_test([1, 0, 1], [0, 1, 1], range(3), seed=0) == 1
    assert permutation_test([1, 0], [1, 0], range(2), seed=0) == 1


def test_permutation_of_many_rows_is_mcnemars():
    """Single rows with a 0/1 score: the permutation test is the sign test."""
    a, b = np.r_[np.ones(40), np.zeros(22), np.ones(100)], np.r_[np.zeros(40), np.ones(22), np.ones(100)]
    assert permutation_test(a, b, range(162), seed=3, draws=40_000) == pytest.approx(mcnemar(40, 22), abs=0.006)


def test_permutation_swaps_whole_clusters():
    """Ten rows of one clip are one piece of evidence, not ten."""
    a, b, clusters = np.ones(60), np.zeros(60), np.repeat(np.arange(6), 10)
    assert permutation_test(a, b, clusters.tolist(), seed=0) == 2 / 64
    assert permutation_test(a, b, range(60), seed=0) == 1 / 10_001


def test_permutation_holds_its_level():
    """Under the null hypothesis at most 5 % of p lie below 0.05, with differences in clusters of very unequal size."""
    rng = np.random.default_rng(0)
    small = 0
    for _ in range(400):
        clusters = rng.integers(0, 30, size=120)
        shift = rng.normal(size=30)[clusters] * rng.choice([-1, 1], size=30)[clusters]
        small += permutation_test(shift, np.zeros(120), clusters.tolist(), seed=1, draws=500) < 0.05
    assert small <= 34  # 20 expected; 34 is beyond three standard deviations


def test_mcnemar_known_values():
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 0) == pytest.approx(0.0625)
    assert mcnemar(10, 2) == pytest.approx(stats.binomtest(10, 12).pvalue)
    with pytest.raises(ValueError, match="counts"):
        mcnemar(-1, 2)


def test_holm_known_values():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_equivalence_has_three_outcomes():
    rng = np.random.default_rng(0)
    chance = (rng.random(20_000) < 0.25) - 0.25
    assert equivalence(chance, range(20_000), seed=0).outcome == "pass"
    assert equivalence(chance + 0.1, range(20_000), seed=0).outcome == "fail"
    assert equivalence(chance[:100], range(100), seed=0).outcome == "too_few"
    assert equivalence([], [], seed=0).ok is None
    assert equivalence([-0.25] * 50, ["one"] * 50, seed=0).ok is None


def test_equivalence_counts_clusters_not_rows():
    """A thousand rows of two clips show nothing."""
    rng = np.random.default_rng(0)
    values = (rng.random(1000) < 0.25) - 0.25
    halves = (np.arange(1000) < 500).astype(float) * 0.4 - 0.2
    assert equivalence(values + halves, ["a"] * 500 + ["b"] * 500, seed=0).outcome == "too_few"


def test_many_clusters_have_the_interval_of_few():
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 15_000, size=40_000).tolist()
    values = rng.random(40_000)
    drawn = equivalence(values, clusters, seed=0).estimate
    more = [*clusters, *range(15_000, 15_000 + 10_000)]
    assert len(set(more)) > MOST_DRAWN
    linear = equivalence([*values, *rng.random(10_000)], more, seed=0).estimate
    assert linear.high - linear.low == pytest.approx((drawn.high - drawn.low) * (4 / 5) ** 0.5, rel=0.1)


def test_chi_square_is_scipys():
    assert chi_square([30, 20, 50], [25, 25, 50]) == pytest.approx(tuple(stats.chisquare([30, 20, 50], [25, 25, 50])))
    assert chi_square([3, 0], [3, 0]) == (0, 1)


def test_kappa_known_values():
    assert kappa("yyyynnnn", "yyynnnny") == pytest.approx(0.5)
    assert kappa("yyn", "yyn") == 1
    assert kappa("yy", "yy") is None
    assert kappa("", "") is None
    with pytest.raises(ValueError, match="same"):
        kappa("y", "yn")


def test_kappa_with_weights_is_that_of_as_many_items():
    a, b, times = "yynyn", "ynnyy", [3, 1, 4, 2, 5]
    repeated = ["".join(x * n for x, n in zip(judge, times, strict=True)) for judge in (a, b)]
    assert kappa(a, b, weights=times) == pytest.approx(kappa(*repeated))
    assert kappa(a, b, weights=times) != pytest.approx(kappa(a, b))
    assert kappa("yy", "yy", weights=[0.1, 0.7]) is None
    assert kappa("yn", "yn", weights=[0, 0]) is None


def test_an_interval_over_seeds_covers_the_truth_about_as_often_as_it_says():
    """Simulated: an effect of 0.1, seeds and clusters that vary, items that are right or wrong."""
    rng = np.random.default_rng(0)
    covered = {3: 0, 8: 0}
    clusters = [item // 2 for item in range(120)]
    for _ in range(200):
        for k in covered:
            shift = rng.normal(0, 0.05, (k, 1)) + np.repeat(rng.normal(0, 0.05, 60), 2)
            values = (rng.random((k, 120)) < 0.6 + shift).astype(float) - (rng.random((k, 120)) < 0.5)
            found, _ = mean_over_seeds(values, clusters, seed=1, draws=400)
            covered[k] += found.low <= 0.1 <= found.high
    assert covered[3] / 200 > 0.88 and 0.91 < covered[8] / 200 < 0.995, covered


def test_an_effect_that_one_lucky_seed_made_is_no_finding_over_seeds():
    rng = np.random.default_rng(0)
    clusters = list(range(200))
    lucky = np.stack([(rng.random(200) < p) * 1.0 - 0.5 for p in (0.9, 0.5, 0.5)])
    steady = np.stack([(rng.random(200) < p) * 1.0 - 0.5 for p in (0.64, 0.62, 0.64)])
    assert mean_over_seeds(lucky, clusters, seed=0)[1] > 0.05 > mean_over_seeds(steady, clusters, seed=0)[1]
    assert bootstrap_mean(lucky.mean(0), clusters, seed=0).low > 0  # which items alone do not tell


def test_one_seed_has_the_interval_of_its_clusters():
    values = np.random.default_rng(0).random(100) - 0.4
    clusters = [n // 3 for n in range(100)]
    alone, of_one = bootstrap_mean(values, clusters, seed=0), mean_over_seeds(values[None], clusters, seed=0)[0]
    assert of_one.value == alone.value and of_one.clusters == alone.clusters == 34
    assert of_one.low == pytest.approx(alone.low, abs=0.01) and of_one.high == pytest.approx(alone.high, abs=0.01)
    with pytest.raises(ValueError, match="give a row a seed"):
        mean_over_seeds(values, clusters, seed=0)
