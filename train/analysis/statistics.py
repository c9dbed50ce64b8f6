"""Interquartile means and bootstrap intervals over runs, as rliable defines them.

Agarwal, Schwarzer, Castro, Courville and Bellemare, "Deep Reinforcement Learning at the Edge of
the Statistical Precipice" (NeurIPS 2021), section 4; https://github.com/google-research/rliable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
_CONFIDENCE = 0.95  # share of resamples inside an interval


class Interval(NamedTuple):
    """A point estimate and its bootstrap percentile interval."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: Floats) -> Floats:
    """Mean of the middle half of the scores: (..., runs) to (...).

    A quarter of the runs, rounded down, is cut off at each end, as in rliable
    (``scipy.stats.trim_mean`` with 0.25).
    """
    ordered = np.sort(scores, axis=-1)
    cut = ordered.shape[-1] // 4
    return np.asarray(ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1))


def mean(scores: Floats) -> Floats:
    """Mean over runs: (..., runs) to (...)."""
    return np.asarray(np.mean(scores, axis=-1))


def bootstrap_interval(
    scores: ArrayLike,
    statistic: Statistic = interquartile_mean,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
) -> Interval:
    """A statistic and its 95 % percentile interval over runs drawn with replacement.

    The tasks of a run share its policy and are not independent, so the score of a run is the mean
    over its tasks.

    Args:
        scores: float (runs,).
        statistic: Function of (..., runs).
        rng: Generator of the resamples.
        n_resamples: Number of resamples.

    Raises:
        ValueError: If there are no runs, or scores have another shape or are not finite.
    """
    known = np.asarray(scores, float)
    if known.ndim != 1 or not len(known) or not np.isfinite(known).all():
        raise ValueError(f"expected finite scores of shape (runs,), got {scores!r}")
    chosen = rng.integers(len(known), size=(n_resamples, len(known)))
    tail = 100 * (1.0 - _CONFIDENCE) / 2
    low, high = np.percentile(statistic(known[chosen]), [tail, 100 - tail])
    return Interval(float(statistic(known)), float(low), float(high))


def sample_deviation(scores: Floats) -> float:
    """Standard deviation over runs (denominator n - 1), NaN for fewer than two."""
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan


def interval_over_runs(scores: Floats, statistic: Statistic, rng: np.random.Generator) -> Interval:
    """:func:`bootstrap_interval`, with NaN for both ends if there are fewer than three runs.

    Resamples of two runs have only four outcomes, and of one run only one: their percentiles are
    not a meaningful interval.
    """
    found = bootstrap_interval(scores, statistic, rng=rng)
    return found if len(scores) > 2 else Interval(found.value, math.nan, math.nan)


def moving_average(values: Any, window: int = 5) -> Floats:
    """Mean over the last ``window`` entries along axis 0, over fewer at the start.

    The paper smooths its curves with a moving average of window 5 (section 5). It does not say
    whether the window is centred; a trailing one does not use future values.
    """
    array = np.asarray(values, float)
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    total = np.cumsum(array, axis=0)
    total[window:] = total[window:] - total[:-window]
    count = np.minimum(np.arange(1, len(array) + 1), window)
    return np.asarray(total / count.reshape(-1, *[1] * (array.ndim - 1)))
