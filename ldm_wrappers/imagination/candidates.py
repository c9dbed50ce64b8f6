"""Which of many candidates become imaginary tasks."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def keep_rare(paid: Array, count: int, rng: np.random.Generator) -> Array:
    """Draw candidates without replacement, with probabilities ∝ 1 / commonness.

    A transition is as common as the share of candidates that pay it, itself included; a candidate
    is as common as the transitions that it pays are on average. One that pays none has commonness
    1, the most there is. So each of the places that candidates pay is drawn about equally often,
    however many candidates pay it.

    Args:
        paid: Whether each candidate pays for each transition, bool (n_candidates, n_transitions).
        count: How many to draw, at most n_candidates.
        rng: Generator of the draw.

    Returns:
        Indices of the candidates that are kept, int (count,).
    """
    commonness = np.ones(len(paid))
    np.divide(paid @ paid.mean(0), paid.sum(1), out=commonness, where=paid.any(1))
    keys = rng.gumbel(size=len(paid)) - np.log(commonness)  # the Gumbel-max trick
    return np.argsort(-keys, kind="stable")[:count]
