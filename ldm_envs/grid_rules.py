"""What the grids share: cells, task sets, moves and rewards (paper, sections 5.1 and 5.1.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ldm_envs.task_sets import FiniteTaskSet
from ldm_envs.tasks import TaskDistribution
from ldm_envs.vector_state import Array

GRID_SIZE = 7
GOAL_REWARD = 1.0
STEP_REWARD = -0.1
MAX_EPISODE_STEPS = 30

# Displacement (x, y) per action: stay, up, right, down, left.
MOVES = np.array([(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)], dtype=np.int64)


def _cells(*rings: int) -> FiniteTaskSet:
    """The cells whose larger coordinate is one of `rings`."""
    cells = [(x, y) for x in range(GRID_SIZE) for y in range(GRID_SIZE) if max(x, y) in rings]
    return FiniteTaskSet(cells, tolerance=0.0)  # cells are whole numbers


_COMPONENTS = ("x (cell)", "y (cell)")
GRID_NAVI_TASKS = TaskDistribution(
    {
        "train": _cells(2, 6),
        "test": _cells(3, 4, 5),
        "eval": _cells(3, 4, 5),
        "all": _cells(2, 3, 4, 5, 6),
    },
    _COMPONENTS,
)
GRID_NAVI_EXTRAPOLATION_TASKS = TaskDistribution(
    {
        "train": _cells(2, 5),
        "test": _cells(3, 4, 6),
        "test1": _cells(3, 4),
        "test2": _cells(6),
        "eval": _cells(3, 4, 6),
        "all": _cells(2, 3, 4, 5, 6),
    },
    _COMPONENTS,
)
# Cells of GridNavi's train set, away from the ends of its two rings.
_HELD_OUT = [(1, 2), (2, 1), (2, 2), (2, 6), (4, 6), (6, 2), (6, 4)]
_KEPT = [(x, y) for x, y in _cells(2, 6).tasks.astype(int).tolist() if (x, y) not in _HELD_OUT]
GRID_NAVI_VALIDATION_TASKS = TaskDistribution(
    {
        "train": FiniteTaskSet(_KEPT, tolerance=0.0),
        "test": FiniteTaskSet(_HELD_OUT, tolerance=0.0),
        "eval": FiniteTaskSet(_HELD_OUT, tolerance=0.0),
        "all": _cells(2, 6),
    },
    _COMPONENTS,
)

# ------------------------------------------------------------------ dynamics and reward


def next_position(position: NDArray[np.int64], action: Any) -> NDArray[np.int64]:
    """Cell after `action`, for positions (..., 2) and actions (...); walls clip."""
    moved: NDArray[np.int64] = position + MOVES[action]
    return np.minimum(np.maximum(moved, 0), GRID_SIZE - 1)


def on_goal(position: NDArray[np.int64], goal: Array) -> Any:
    """Whether positions (..., 2) are on the goals (..., 2)."""
    return (position[..., 0] == goal[..., 0]) & (position[..., 1] == goal[..., 1])


def reward_terms(success: Any) -> dict[str, Array]:
    """Reward terms by name; they sum to the reward. `success` (...): the next state is the goal."""
    return {
        "reward_goal": np.where(success, GOAL_REWARD, 0.0),
        "reward_step": np.where(success, 0.0, STEP_REWARD),
    }


def cell_space() -> spaces.Box[np.float32]:
    """Observations: the agent's cell (x, y)."""
    return spaces.Box(0.0, GRID_SIZE - 1.0, (2,), dtype=np.float32)


def checked_positions(value: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Cells of a saved state as integers; a ValueError for others, or for another shape."""
    positions = np.array(value, dtype=np.int64)
    if positions.shape != shape or not ((positions >= 0) & (positions < GRID_SIZE)).all():
        raise ValueError(f"Expected cells of shape {shape} in [0, {GRID_SIZE - 1}], got {value!r}")
    return positions
