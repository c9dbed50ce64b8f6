"""Taking over saved states: all of one, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def load_all_or_nothing(
    load: Callable[[dict[str, Any]], None], state: dict[str, Any], kept: dict[str, Any]
) -> None:
    """Call ``load(state)``; if it fails half-way, go back to ``kept`` and raise what it raised."""
    try:
        load(state)
    except Exception:
        load(kept)
        raise


def saved_observations(state: dict[str, Any], own: NDArray[np.float32]) -> NDArray[np.float32]:
    """The last observations of a state.

    Raises:
        ValueError: Their shape is not that of ``own``.
    """
    observations = np.array(state["observations"], dtype=np.float32)
    if observations.shape != own.shape:
        raise ValueError(
            f"saved observations have shape {observations.shape}, expected {own.shape}"
        )
    return observations
