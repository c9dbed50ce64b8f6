"""Selection of imaginary tasks among candidates."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def keep_rare(rewarded: Array, count: int, rng: np.random.Generator) -> Array:
    """Draw candidates without replacement, with probabilities ∝ 1 / commonness.

    The commonness of a transition is the share of candidates that reward it. The commonness of a
    candidate is the mean over the transitions that it rewards, or 1, the maximum, if it rewards
    none. So each of the places that candidates reward is drawn about equally often, however many
    candidates reward it.

    Args:
        rewarded: Whether each candidate rewards each transition, bool (n_candidates,
            n_transitions).
        count: How many to draw, at most n_candidates.
        rng: Generator of the draw.

    Returns:
        Indices of the candidates that are kept, int (count,).
    """
    commonness = np.ones(len(rewarded))
    shares = rewarded @ rewarded.mean(0)
    np.divide(shares, rewarded.sum(1), out=commonness, where=rewarded.any(1))
    keys = rng.gumbel(size=len(rewarded)) - np.log(commonness)  # the Gumbel-max trick
    return np.argsort(-keys, kind="stable")[:count]
