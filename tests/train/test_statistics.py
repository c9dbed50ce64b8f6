"""Interquartile means and bootstrap intervals against closed forms, and against rliable."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import trim_mean

from train.analysis.aggregate import estimates
from train.analysis.statistics import bootstrap_interval, interquartile_mean, mean, moving_average


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9])
def test_the_interquartile_mean_cuts_a_quarter_at_each_end(n: int) -> None:
    scores = np.random.default_rng(n).normal(size=n) ** 3
    ordered = sorted(scores)
    cut = int(0.25 * n)
    kept = ordered[cut : n - cut]
    assert interquartile_mean(scores) == pytest.approx(sum(kept) / len(kept))
    stacked = np.stack([scores, scores + 1.0])
    assert interquartile_mean(stacked) == pytest.approx(
        np.array([0.0, 1.0]) + interquartile_mean(scores)
    )


def test_estimates_are_rliables() -> None:
    """IQM and 95 % interval of rliable 1.2.0 (get_interval_estimates, 50 000 resamples)."""
    scores = np.random.default_rng(81).normal(size=8)
    found = bootstrap_interval(scores, rng=np.random.default_rng(0), n_resamples=20_000)
    value, low, high = 0.74781838, 0.098317, 1.18964736
    assert found.value == pytest.approx(value, abs=1e-7)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)


def test_intervals_equal_the_whole_bootstrap_distribution() -> None:
    """Five runs: all 5⁵ resamples by hand."""
    scores = np.array([0.0, 1.0, 4.0, 5.5, 7.0])
    values = [np.mean(draw) for draw in itertools.product(scores, repeat=5)]
    found = bootstrap_interval(scores, mean, rng=np.random.default_rng(0), n_resamples=200_000)
    assert found.value == pytest.approx(np.mean(scores))
    assert found.low == pytest.approx(np.percentile(values, 2.5), abs=0.05)
    assert found.high == pytest.approx(np.percentile(values, 97.5), abs=0.05)


def test_the_same_generator_gives_the_same_interval() -> None:
    scores = np.random.default_rng(1).normal(size=8)
    first, again = (bootstrap_interval(scores, rng=np.random.default_rng(3)) for _ in range(2))
    assert first == again
    assert bootstrap_interval(scores, rng=np.random.default_rng(4)) != first
    assert bootstrap_interval([2.0], rng=np.random.default_rng(0)) == (2.0, 2.0, 2.0)


def test_columns_of_the_summary_are_the_ends_of_their_own_intervals() -> None:
    """Of the mean and of the interquartile mean; for skewed scores all ends differ."""
    scores = np.array([0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 640.0])
    drawn = np.random.default_rng(5).choice(scores, (200_000, 8))
    resampled = {"mean": drawn.mean(1), "iqm": trim_mean(drawn, 0.25, axis=1)}
    found = {name: float(value) for name, value in estimates("return", scores).items()}
    for name, values in resampled.items():
        expected = np.percentile(values, [2.5, 97.5])
        ends = [found[f"return_{name}_low"], found[f"return_{name}_high"]]
        assert ends == pytest.approx(expected, rel=0.1)
    assert found["return_iqm_low"] < found["return_iqm"] < found["return_iqm_high"]


@pytest.mark.parametrize("scores", [[], [[]], [[[1.0]]], [1.0, np.nan], 3.0, [[1.0, 2.0]]])
def test_bad_scores_are_refused(scores: object) -> None:
    with pytest.raises(ValueError, match="expected finite scores"):
        bootstrap_interval(scores, rng=np.random.default_rng(0))


@pytest.mark.parametrize("window", [1, 2, 5, 20])
def test_the_moving_average_is_trailing(window: int) -> None:
    values = np.random.default_rng(0).normal(size=12)
    expected = [values[max(0, i + 1 - window) : i + 1].mean() for i in range(12)]
    np.testing.assert_allclose(moving_average(values, window), expected, atol=1e-12)
    with pytest.raises(ValueError, match="got 0"):
        moving_average(values, 0)
