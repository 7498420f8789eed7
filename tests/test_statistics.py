from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from datagen.statistics import bootstrap_difference, bootstrap_mean, share, wilson


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
