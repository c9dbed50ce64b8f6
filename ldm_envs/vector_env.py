"""Base of the natively batched environments: episodes, tasks, seeds, autoreset, infos.

`TaskVectorEnv` is the batched counterpart of `TaskEnv` plus `gymnasium.wrappers.TimeLimit`, and
behaves as Gymnasium's `SyncVectorEnv` over `num_envs` of them would, infos included. A subclass
adds the dynamics through the methods at the end; it does not handle seeds, splits or autoreset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from ldm_envs.options import parse_vector_reset
from ldm_envs.vector_state import Array, TaskVectorState

Infos = dict[str, Any]


class TaskVectorEnv(TaskVectorState):
    """Base of the batched environments with one hidden task per environment.

    `reset(seed=..., options=...)`: a list has a seed or None for each environment; an int gives
    each an independent stream, through a `numpy.random.SeedSequence`, so that batches with
    different seeds share no stream. Options, all optional:

    - "task": (num_envs, task_dim), or (task_dim,) for all environments;
    - "keep_task": bool or bool array (num_envs,): start a new episode of the same task (a task
      is drawn if there is none yet);
    - "reset_mask": bool array (num_envs,): reset only these; the observations of the others are
      their current ones.

    Autoreset always draws a new task from the split. Infos are plain arrays with boolean masks
    `_key`, as in Gymnasium; same-step autoreset adds `final_obs` and `final_info`. Returned
    arrays are copies that the caller may keep.

    Args:
        num_envs: Number of environments.
        single_observation_space: Observation space of one environment.
        single_action_space: Action space of one environment.
        split: Task set that tasks are drawn from.
        max_episode_steps: Episodes are truncated after this many steps; None: never.
        autoreset_mode: Gymnasium's `AutoresetMode`, or its value as a string.
        render_mode: One of `metadata["render_modes"]`, or None.

    Raises:
        ValueError: For an argument out of range; the message shows it.
    """

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, Infos]:
        """Start new episodes; see the class for `seed` and `options`.

        Returns:
            Observations of all environments, and infos with the masks of those that were reset.

        Raises:
            ValueError: For a bad seed or option, before anything has changed.
            gymnasium.error.ResetNeeded: If "reset_mask" leaves out an environment that was
                never reset.
        """
        request = parse_vector_reset(seed, options, self.task_distribution, self.num_envs)
        chosen = np.zeros(self.num_envs, np.bool_)
        chosen[request.indices] = True
        if not (self._ready or (self._started | chosen).all()):
            missing = np.flatnonzero(~(self._started | chosen)).tolist()
            raise ResetNeeded(f"reset_mask leaves out environments never reset: {missing}")

        for i in request.indices:
            one_seed = request.seeds[i]
            if one_seed is not None or self._rngs[i] is None:
                self._rngs[i], self._seeds[i] = seeding.np_random(one_seed)
        if request.tasks is not None:
            self._tasks[request.indices] = request.tasks[request.indices]
            self._has_task[request.indices] = True
            draw = request.indices[:0]
        else:
            draw = request.indices[~(request.keep_task & self._has_task)[request.indices]]
        self._begin_episodes(request.indices, draw)

        infos: Infos = {}
        self._add(infos, self._start_info(), None if chosen.all() else chosen)
        return self._observe(), infos

    def step(self, actions: Any) -> tuple[Array, Array, Array, Array, Infos]:
        """Take one action in every environment.

        Args:
            actions: An element of `action_space`.

        Returns:
            observations, rewards float64 (num_envs,), terminations and truncations bool
            (num_envs,), infos.

        Raises:
            ValueError: If an action has the wrong shape or lies outside the action space.
            gymnasium.error.ResetNeeded: Before the first reset, and, with autoreset disabled,
                for an environment whose episode is over.
        """
        if not self._ready:
            waiting = np.flatnonzero(~self._started).tolist()
            raise ResetNeeded(f"Call reset() before step(); environments not reset: {waiting}")
        actions = self._check_actions(actions)

        active: NDArray[np.bool_] | None = None
        if np.count_nonzero(self._ended):  # like .any(), in a fifth of the time
            if self.autoreset_mode is AutoresetMode.DISABLED:
                over = np.flatnonzero(self._ended).tolist()
                raise ResetNeeded(
                    f"Episodes of environments {over} are over and autoreset is disabled: reset "
                    "them with options={'reset_mask': ...} before stepping"
                )
            active = ~self._ended
            ended = np.flatnonzero(self._ended)
            self._begin_episodes(ended, ended)
            if not active.any():
                return self._only_started()

        terms, terminated, step_info = self._advance(actions, active)
        self._elapsed += 1 if active is None else active
        values = iter(terms.values())
        rewards = next(values).copy()
        for term in values:
            rewards += term  # left to right, as one would sum the infos
        step_info = {**terms, **step_info}
        if active is not None:
            rewards[~active] = 0.0
            terminated = terminated & active
        if self.max_episode_steps is None:
            truncated = np.zeros(self.num_envs, np.bool_)
        else:
            # An environment reset in this step has elapsed 0 and cannot be truncated.
            truncated = self._elapsed >= self.max_episode_steps

        infos: Infos = {}
        done = terminated | truncated
        if np.count_nonzero(done):
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                observations = self._restart(done, step_info, infos)
                return observations, rewards, terminated, truncated, infos
            self._ended = done
        self._add(infos, self._start_info(), None)
        self._add(infos, step_info, active)
        return self._observe(), rewards, terminated, truncated, infos

    def _restart(self, done: NDArray[np.bool_], step_info: Infos, infos: Infos) -> Array:
        """Same-step autoreset: keep the last observation and info, begin the next episode."""
        last = self._observe()
        final_obs = np.full(self.num_envs, None, dtype=object)
        final_info: Infos = {}
        self._add(final_info, self._start_info(), done)
        self._add(final_info, {key: value.copy() for key, value in step_info.items()}, done)
        indices = np.flatnonzero(done)
        for i in indices:
            final_obs[i] = last[i]  # a row of an array that has no other owner
        self._begin_episodes(indices, indices)
        infos.update(final_obs=final_obs, _final_obs=done.copy())
        infos.update(final_info=final_info, _final_info=done.copy())
        self._add(infos, self._start_info(), None)
        if not done.all():
            self._add(infos, step_info, ~done)
        return self._observe()

    def _only_started(self) -> tuple[Array, Array, Array, Array, Infos]:
        """Result of a next-step autoreset in which every environment was reset."""
        infos: Infos = {}
        self._add(infos, self._start_info(), None)
        no = np.zeros(self.num_envs, np.bool_)
        return self._observe(), np.zeros(self.num_envs), no, no.copy(), infos

    def _begin_episodes(self, indices: NDArray[np.intp], draw: NDArray[np.intp]) -> None:
        """Draw tasks for `draw`, then start states for `indices`, each from its own generator."""
        for i in draw:
            self._tasks[i] = self._draw_task(self._rng(i))
        self._has_task[draw] = True
        self._reset_physics(indices, [self._rng(i) for i in indices])
        self._elapsed[indices] = 0
        self._ended[indices] = False
        self._started[indices] = True
        self._ready = True  # reset() has checked that no environment is left out

    def _start_info(self) -> Infos:
        return {"task": self._tasks.copy(), **self._metrics()}

    def _add(self, infos: Infos, values: dict[str, Array], mask: NDArray[np.bool_] | None) -> None:
        """Put arrays under their keys with their `_key` masks; rows outside the mask become 0."""
        if mask is None:
            mask = self._everyone
        else:
            for value in values.values():
                value[~mask] = 0
        for key, value in values.items():
            infos[key], infos["_" + key] = value, mask.copy()

    # ---------------------------------------------------------------- what a subclass implements

    def _check_actions(self, actions: Any) -> Array:
        """Return the actions as an array, or raise a ValueError that shows the bad ones."""
        raise NotImplementedError

    def _reset_physics(self, indices: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """Put environments `indices` (ascending) into start states drawn from their `rngs`."""
        raise NotImplementedError

    def _advance(
        self, actions: Array, active: NDArray[np.bool_] | None
    ) -> tuple[dict[str, Array], NDArray[np.bool_], dict[str, Array]]:
        """Step the `active` environments (None: all).

        Returns:
            Reward terms by name, terminations, and further infos, each a fresh array
            (num_envs, ...); rows of inactive environments are ignored.
        """
        raise NotImplementedError

    def _observe(self) -> Array:
        """Observations of all environments, a fresh array."""
        raise NotImplementedError

    def _metrics(self) -> dict[str, Array]:
        """Infos that describe the current state, at reset as well as at step; fresh arrays."""
        return {}
