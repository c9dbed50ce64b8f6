"""The fixed parts of a batched environment: arguments, spaces, generators, saved state.

`TaskVectorEnv` (in `vector_env`) derives from `TaskVectorState` and adds `reset` and `step`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ldm_envs.arguments import (
    check_arguments_known,
    check_positive,
    check_render_mode,
    own_spaces,
    rebuild,
)
from ldm_envs.split import DrawsFromSplit
from ldm_envs.task_sets import FloatArray
from ldm_envs.tasks import TaskDistribution

Array = NDArray[Any]


class TaskVectorState(DrawsFromSplit, VectorEnv[Array, Array, Array]):
    """Arguments, generators and state of a batch; see `TaskVectorEnv` for what they mean."""

    task_distribution: TaskDistribution
    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        num_envs: int,
        single_observation_space: spaces.Space[Any],
        single_action_space: spaces.Space[Any],
        *,
        split: str,
        max_episode_steps: int | None,
        autoreset_mode: AutoresetMode | str,
        render_mode: str | None,
    ) -> None:
        self.num_envs = check_positive("num_envs", num_envs)
        self._set_split(split)
        if max_episode_steps is not None:
            max_episode_steps = check_positive("max_episode_steps", max_episode_steps)
        self.max_episode_steps = max_episode_steps
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        render_modes = self.metadata["render_modes"]
        if render_mode is not None and not render_modes:
            raise ValueError(
                f"this batch does not render, expected render_mode=None, got {render_mode!r}; "
                "gym.make_vec(…, vectorization_mode='sync') makes a batch that does"
            )
        check_render_mode(render_mode, render_modes)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}

        self.single_observation_space = single_observation_space
        self.single_action_space = single_action_space
        self.observation_space = batch_space(single_observation_space, self.num_envs)
        self.action_space = batch_space(single_action_space, self.num_envs)

        n = self.num_envs
        self._rngs: list[np.random.Generator | None] = [None] * n
        self._seeds: list[int | None] = [None] * n
        self._tasks: FloatArray = np.zeros((n, self.task_distribution.task_dim), np.float32)
        self._has_task = np.zeros(n, np.bool_)
        self._started = np.zeros(n, np.bool_)  # has a state to step from
        self._ended = np.zeros(n, np.bool_)  # its episode is over and it has not been reset
        self._elapsed = np.zeros(n, np.int64)
        self._everyone = np.ones(n, np.bool_)
        self._ready = False  # cached _started.all(), which every step needs

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generators, one per environment (made from fresh entropy where not yet seeded)."""
        self._make_generators()
        return tuple(self._rng(i) for i in range(self.num_envs))

    @property
    def np_random_seed(self) -> tuple[int | None, ...]:  # type: ignore[override]
        """The seed of each generator."""
        self._make_generators()
        return tuple(self._seeds)

    def _make_generators(self) -> None:
        for i, rng in enumerate(self._rngs):
            if rng is None:
                self._rngs[i], self._seeds[i] = seeding.np_random()

    def _rng(self, i: int) -> np.random.Generator:
        rng = self._rngs[i]
        assert rng is not None, "reset() makes the generators"
        return rng

    def _abandon(self) -> None:
        """Require a full reset: after a failed step no environment has a trustworthy state."""
        self._started[:] = False
        self._ready = False

    def get_state(self) -> dict[str, Any]:
        """Everything that determines how this batch continues, bit for bit after `set_state`.

        Leaves are NumPy arrays or JSON-able values.

        Raises:
            gymnasium.error.ResetNeeded: Before the first `reset`.
        """
        if not self._ready:
            raise ResetNeeded("Call reset() before get_state()")
        return {
            "num_envs": self.num_envs,
            "rngs": [rng.bit_generator.state for rng in self.np_random],
            "seeds": list(self._seeds),
            "tasks": self._tasks.copy(),
            "has_task": self._has_task.copy(),
            "ended": self._ended.copy(),
            "elapsed": self._elapsed.copy(),
            "physics": self._get_physics(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from what `get_state` returned on a batch built with the same arguments.

        Raises:
            ValueError: If the state is from another number of environments or another family.
        """
        if state["num_envs"] != self.num_envs:
            raise ValueError(
                f"The state has {state['num_envs']} environments, expected {self.num_envs}"
            )
        tasks = self.task_distribution.validate(state["tasks"], (self.num_envs,))
        rngs: list[np.random.Generator | None] = []
        for one in state["rngs"]:
            rng, _ = seeding.np_random(0)
            rng.bit_generator.state = one
            rngs.append(rng)
        self._set_physics(state["physics"])
        self._rngs, self._seeds, self._tasks = rngs, list(state["seeds"]), tasks
        self._has_task = np.array(state["has_task"], np.bool_)
        self._ended = np.array(state["ended"], np.bool_)
        self._elapsed = np.array(state["elapsed"], np.int64)
        self._started[:] = True
        self._ready = True

    def _constructor_kwargs(self) -> dict[str, Any]:
        """Constructor arguments for a copy; a subclass adds its own."""
        return {
            "num_envs": self.num_envs,
            "split": self.split,
            "max_episode_steps": self.max_episode_steps,
            "autoreset_mode": self.autoreset_mode,
            "render_mode": self.render_mode,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy as constructor arguments, spaces and state: no threads, no windows."""
        state = self.get_state() if self._ready else None
        kwargs = self._constructor_kwargs()
        check_arguments_known(type(self), kwargs, "_constructor_kwargs")
        names = ("observation_space", "action_space")
        own = own_spaces(self, *names, *(f"single_{name}" for name in names))
        return rebuild, (type(self), kwargs, self.spec, state, own)

    def _get_physics(self) -> dict[str, Any]:
        """The dynamics' part of `get_state`."""
        raise NotImplementedError

    def _set_physics(self, physics: dict[str, Any]) -> None:
        """Restore a `_get_physics` dict; ValueError, before any change, if it does not fit."""
        raise NotImplementedError


def _autoreset_mode(value: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(value)
    except ValueError:
        known = [mode.value for mode in AutoresetMode]
        raise ValueError(
            f"autoreset_mode must be a gymnasium.vector.AutoresetMode or one of {known}, "
            f"got {value!r}"
        ) from None
