"""GridNavi: find a hidden goal cell on a 7x7 grid; its extrapolation and validation variants.

Paper section 5.1 (Figure 1) and section 5.1.2 (Figure 5).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from ldm_envs.arguments import check_render_mode, require_render_mode
from ldm_envs.grid_rendering import Window, draw_ansi, draw_rgb
from ldm_envs.grid_rules import (
    GRID_NAVI_EXTRAPOLATION_TASKS,
    GRID_NAVI_TASKS,
    GRID_NAVI_VALIDATION_TASKS,
    GRID_SIZE,
    MAX_EPISODE_STEPS,
    MOVES,
    cell_space,
    checked_positions,
    next_position,
    on_goal,
    reward_terms,
)
from ldm_envs.task_env import TaskEnv
from ldm_envs.vector_env import TaskVectorEnv
from ldm_envs.vector_state import Array

# ------------------------------------------------------------------ scalar environments


class GridNaviEnv(TaskEnv[NDArray[np.float32], np.int64]):
    """Walk on a 7x7 grid to a hidden goal cell and stay there.

    **Task.** The goal cell (x, y), float32 (2,), whole numbers in [0, 6]. Splits, by the larger
    coordinate m = max(x, y) of the cell: train m in {2, 6} (18 cells); test and eval m in
    {3, 4, 5} (27 cells); all = train and test together (45). Cells with m <= 1 are not tasks.
    Tasks are drawn uniformly.

    **Observation.** `Box(0, 6, (2,), float32)`: the agent's cell (x, y). The goal is hidden.

    **Action.** `Discrete(5)`: 0 stay, 1 up (y + 1), 2 right (x + 1), 3 down (y - 1),
    4 left (x - 1). A move into a wall leaves the agent where it is.

    **Start.** Always the cell (0, 0).

    **Reward.** 1 when the action ends on the goal (reaching it or staying), otherwise -0.1; in
    `info` as `reward_goal` + `reward_step`. With a known goal d steps away, the best return of an
    episode is 31.1 - 1.1 d; its mean is 23.28 over the train goals and 24.50 over the test goals.

    **End.** Never terminates; truncated after 30 steps (by `TimeLimit`, from the registration).

    **Info.** `task` at reset and step; the reward terms and `is_success` (the agent is on the
    goal) at step.

    **Source.** Paper, section 5.1 and Figure 1. No deviations known. (The paper plays N = 4
    episodes per task; here a wrapper does that, with `keep_task`.)

    `reset` options: `{"task": (2,)}` pins the goal, `{"keep_task": True}` plays the same goal
    again (or draws one if there is none yet).

    Args:
        split: Task set that goals are drawn from.
        render_mode: None, "ansi", "rgb_array" or "human" (which needs pygame).

    Raises:
        ValueError: For an unknown split or render mode, a bad reset option, or a bad action.
    """

    metadata = {"render_modes": ["ansi", "rgb_array", "human"], "render_fps": 8}
    task_distribution = GRID_NAVI_TASKS

    def __init__(self, split: str = "train", render_mode: str | None = None) -> None:
        self._set_split(split)
        check_render_mode(render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.observation_space = cell_space()
        self.action_space = spaces.Discrete(len(MOVES))
        self._position = np.zeros(2, dtype=np.int64)
        self._window: Window | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self._begin_episode(seed, options)
        self._position = np.zeros(2, dtype=np.int64)
        if self.render_mode == "human":
            self.render()
        return self._position.astype(np.float32), self._task_info()

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        task = self._current_task()
        if not self.action_space.contains(action):
            raise ValueError(f"Expected an action in {self.action_space}, got {action!r}")
        self._position = next_position(self._position, int(action))
        success = bool(on_goal(self._position, task))
        terms = {name: float(term) for name, term in reward_terms(success).items()}
        info = {**self._task_info(), **terms, "is_success": success}
        if self.render_mode == "human":
            self.render()
        return self._position.astype(np.float32), sum(terms.values()), False, False, info

    def render(self) -> Any:
        """A string (ansi), a uint8 array (height, width, 3) (rgb_array), or a window (human)."""
        goal = self._current_task()
        if self.render_mode == "ansi":
            return draw_ansi(self._position, goal, GRID_SIZE)
        require_render_mode(self.render_mode, self.metadata["render_modes"])
        frame = draw_rgb(self._position, goal, GRID_SIZE)
        if self.render_mode == "rgb_array":
            return frame
        if self._window is None:
            self._window = Window("GridNavi", self.metadata["render_fps"])
        self._window.show(frame)
        return None

    def close(self) -> None:
        if self._window is not None:
            self._window.close()
            self._window = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the window, which can neither be pickled nor copied."""
        return {**vars(self), "_window": None}

    def _get_physics(self) -> dict[str, Any]:
        return {"position": self._position.copy()}

    def _set_physics(self, physics: dict[str, Any]) -> None:
        self._position = checked_positions(physics["position"], (2,))


class GridNaviExtrapolationEnv(GridNaviEnv):
    """GridNavi with some test goals outside the convex hull of the train goals.

    Like `GridNaviEnv` except for the splits, by m = max(x, y): train m in {2, 5} (16 cells);
    test1 m in {3, 4} (16, inside the hull); test2 m = 6 (13, outside it); test = eval = test1 and
    test2 together; all = train and test together (45).

    **Source.** Paper, section 5.1.2 and Figure 5. The paper prints this split only as a picture;
    the sets above are our reading of "shift the outermost cells of M_train inside".
    """

    task_distribution = GRID_NAVI_EXTRAPOLATION_TASKS


class GridNaviValidationEnv(GridNaviEnv):
    """GridNavi's train tasks only, with some of them held out, for design choices.

    Like `GridNaviEnv` except for the splits: test and eval are 7 of its 18 train cells, (1, 2),
    (2, 1), (2, 2), (2, 6), (4, 6), (6, 2), (6, 4); train is the other 11; all = the 18. The
    held-out cells lie in the convex hull of the kept ones, as GridNavi's test goals do, and none of
    GridNavi's 27 test goals is ever seen.

    **Source.** Our own; the paper names no validation tasks.
    """

    task_distribution = GRID_NAVI_VALIDATION_TASKS


# ------------------------------------------------------------------ batched environments


class GridNaviVectorEnv(TaskVectorEnv):
    """Batched `GridNaviEnv`: the same MDP, `num_envs` times, in NumPy.

    See `GridNaviEnv` for the MDP and `TaskVectorEnv` for seeds, options, autoreset and infos.
    Observations float32 (num_envs, 2), actions int (num_envs,), infos `task`, `reward_goal`,
    `reward_step`, `is_success`.

    Args:
        num_envs: Number of environments.
        split: Task set that goals are drawn from.
        max_episode_steps: Length of an episode; None for no limit.
        autoreset_mode: Gymnasium's `AutoresetMode`, or its value as a string.
        render_mode: None, "ansi" or "rgb_array": `render` returns one frame per environment.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 8}
    task_distribution = GRID_NAVI_TASKS

    def __init__(
        self,
        num_envs: int = 1,
        split: str = "train",
        max_episode_steps: int | None = MAX_EPISODE_STEPS,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            num_envs,
            cell_space(),
            spaces.Discrete(len(MOVES)),
            split=split,
            max_episode_steps=max_episode_steps,
            autoreset_mode=autoreset_mode,
            render_mode=render_mode,
        )
        self._positions = np.zeros((self.num_envs, 2), dtype=np.int64)

    def render(self) -> tuple[Any, ...]:
        """One string (ansi) or uint8 (height, width, 3) array (rgb_array) per environment.

        Raises:
            ValueError: Without a render_mode.
            gymnasium.error.ResetNeeded: Before the first `reset`.
        """
        require_render_mode(self.render_mode, self.metadata["render_modes"])
        if not self._ready:
            raise ResetNeeded("Call reset() before render()")
        draw: Any = draw_ansi if self.render_mode == "ansi" else draw_rgb
        pairs = zip(self._positions, self._tasks, strict=True)
        return tuple(draw(position, goal, GRID_SIZE) for position, goal in pairs)

    def _check_actions(self, actions: Any) -> Array:
        array = np.asarray(actions)
        if array.shape != (self.num_envs,) or array.dtype.kind not in "iu":
            raise ValueError(
                f"Expected integer actions of shape ({self.num_envs},), "
                f"got {actions!r} of shape {array.shape}, dtype {array.dtype}"
            )
        if array.min() < 0 or array.max() >= len(MOVES):
            bad = np.flatnonzero((array < 0) | (array >= len(MOVES)))
            raise ValueError(
                f"Expected actions in {self.single_action_space}, got {array[bad].tolist()} "
                f"in environments {bad.tolist()}"
            )
        return array

    def _reset_physics(self, indices: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        self._positions[indices] = 0

    def _advance(
        self, actions: Array, active: NDArray[np.bool_] | None
    ) -> tuple[dict[str, Array], NDArray[np.bool_], dict[str, Array]]:
        moved = next_position(self._positions, actions)
        self._positions = (
            moved if active is None else np.where(active[:, None], moved, self._positions)
        )
        success = on_goal(self._positions, self._tasks)
        never = np.zeros(self.num_envs, np.bool_)
        return reward_terms(success), never, {"is_success": success}

    def _observe(self) -> Array:
        return self._positions.astype(np.float32)

    def _get_physics(self) -> dict[str, Any]:
        return {"position": self._positions.copy()}

    def _set_physics(self, physics: dict[str, Any]) -> None:
        self._positions = checked_positions(physics["position"], (self.num_envs, 2))


class GridNaviExtrapolationVectorEnv(GridNaviVectorEnv):
    """Batched `GridNaviExtrapolationEnv`; same arguments as `GridNaviVectorEnv`."""

    task_distribution = GRID_NAVI_EXTRAPOLATION_TASKS


class GridNaviValidationVectorEnv(GridNaviVectorEnv):
    """Batched `GridNaviValidationEnv`; same arguments as `GridNaviVectorEnv`."""

    task_distribution = GRID_NAVI_VALIDATION_TASKS
