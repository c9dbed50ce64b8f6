"""MQL's propensity scores: how much old transitions resemble a new task (arXiv 1910.00125)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def logistic_regression(
    old: Array, new: Array, C: float, *, correct_sizes: bool = False
) -> tuple[Array, float]:
    """Minimise ½‖w‖² + C Σ log(1 + exp(-y (w·x + b))), y = +1 for old rows and -1 for new ones.

    Newton's method with backtracking, in float64; the bias is not penalised.

    Args:
        old: (n_old, d) features of the training tasks.
        new: (n_new, d) features of the new task.
        C: Weight of the data (inverse regularisation strength), positive.
        correct_sizes: Add log(n_new / n_old) to the bias, so that w·x + b is the log ratio of the
            two densities, without the effect of the class sizes.

    Returns:
        w (d,) and b: log odds of "old" are w·x + b.

    Raises:
        ValueError: If shapes do not fit, a class is empty, or a value is not finite.
    """
    if (
        old.ndim != 2
        or new.ndim != 2
        or old.shape[1] != new.shape[1]
        or not (len(old) and len(new))
    ):
        raise ValueError(f"expected two shapes (n >= 1, d), got {old.shape} and {new.shape}")
    if not C > 0:
        raise ValueError(f"C must be positive, got {C}")
    x = np.concatenate([old, new]).astype(np.float64)
    if not np.isfinite(x).all():
        raise ValueError("features of the propensity are not finite")
    x = np.column_stack([x, np.ones(len(x))])
    y = np.repeat([1.0, -1.0], [len(old), len(new)])
    ridge = np.append(np.ones(x.shape[1] - 1), 0.0)
    weights = _newton(x, y, C, ridge)
    bias = float(weights[-1]) + (np.log(len(new) / len(old)) if correct_sizes else 0.0)
    return weights[:-1], bias


def _newton(x: Array, y: Array, C: float, ridge: Array) -> Array:
    def objective(w: Array) -> float:
        loss = np.logaddexp(0.0, -y * (x @ w)).sum()
        return float(0.5 * (ridge * w * w).sum() + C * loss)

    weights = np.zeros(x.shape[1])
    for _ in range(100):
        p = 0.5 * (1.0 + np.tanh(0.5 * (x @ weights)))
        gradient = ridge * weights + C * (x.T @ (p - (y > 0)))
        hessian = np.diag(ridge) + C * (x.T * (p * (1.0 - p))) @ x
        hessian[-1, -1] += 1e-12  # if the classes are separated, the bias has no curvature
        step = np.linalg.solve(hessian, gradient)
        rate, start, slope = 1.0, objective(weights), float(gradient @ step)
        while objective(weights - rate * step) > start - 1e-4 * rate * slope and rate > 1e-8:
            rate *= 0.5
        weights = weights - rate * step
        if np.abs(gradient).max() < 1e-9 * max(1.0, C * len(x)):
            break
    return weights


def propensity_weights(log_odds: Array, clip: float, smallest: float = 0.1) -> Array:
    """β = exp(-max(f, -clip)) for log odds f of "old"; β below ``smallest`` becomes 0."""
    beta = np.exp(-np.maximum(log_odds, -clip))
    return np.where(beta < smallest, 0.0, beta)


def effective_sample_size(weights: Array) -> float:
    """Normalised ESS (Σβ)² / (n Σβ²), in [1/n, 1]; 0 if all weights are 0.

    Raises:
        ValueError: If there are no weights, or one is negative or not finite.
    """
    weights = np.asarray(weights, np.float64)
    if not weights.size or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"expected finite weights >= 0, got {weights!r}")
    square = float(np.square(weights).sum())
    return 0.0 if square == 0.0 else float(weights.sum() ** 2 / (weights.size * square))
