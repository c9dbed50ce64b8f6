"""Adds the task itself to the observation, for vector environments."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from ldm_wrappers.arguments import check_integer
from ldm_wrappers.belief_observation import with_unbounded_columns
from ldm_wrappers.fixed_attribute import FixedAttribute
from ldm_wrappers.latent_dynamics.transition import FloatArray, TransitionSpec
from ldm_wrappers.vector.batch import check_batch, reset_all
from ldm_wrappers.vector.infos import ended_rows, final_observations, to_object_array
from ldm_wrappers.wrapper_order import refuse_twice


class TaskObservationWrapper(VectorWrapper):
    """Observation ``[s, task]``, float32: the task is shown, so that nothing is left to infer.

    To diagnose the policy learner; not a baseline. ``infos["next_obs"]`` does not include it.

    Args:
        env: Vector environment with ``AutoresetMode.SAME_STEP`` and Box observations whose infos
            contain ``task`` at every reset and step; usually a ``MultiEpisodeWrapper``.
        task_dim: Length of a task vector.

    Raises:
        TypeError: Observations are not a Box.
        ValueError: The autoreset mode is a different one, or the observation already has the task;
            at a reset or step, if infos report no task of ``task_dim`` numbers.
    """

    joins = "the task"
    task_dim = FixedAttribute[int]()

    def __init__(self, env: VectorEnv[Any, Any, Any], task_dim: int) -> None:
        task_dim = check_integer("task_dim", task_dim)
        super().__init__(env)
        check_batch(env, AutoresetMode.SAME_STEP, "TaskObservationWrapper")
        refuse_twice(env, type(self))
        self._spec = TransitionSpec.from_spaces(
            env.single_observation_space, env.single_action_space
        )
        self.task_dim = task_dim
        self.single_observation_space = with_unbounded_columns(
            env.single_observation_space, task_dim
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Reset all environments."""
        observations, infos = reset_all(self.env, seed, options, "TaskObservationWrapper")
        return self._join(observations, infos), infos

    def step(self, actions: Any) -> tuple[FloatArray, Any, Any, Any, dict[str, Any]]:
        """Step all environments."""
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        ended = ended_rows(terminations, truncations)
        if ended.any():
            last = np.zeros_like(observations)
            last[ended] = final_observations(infos, ended)
            final = self._join(last, infos["final_info"], ended)
            infos = {**infos, "final_obs": to_object_array(final, ended)}
        return self._join(observations, infos), rewards, terminations, truncations, infos

    def _join(self, observations: Any, infos: dict[str, Any], rows: Any = True) -> FloatArray:
        tasks = infos.get("task")
        told = np.asarray(infos.get("_task", True), bool) | ~np.asarray(rows, bool)
        if tasks is None or not np.all(told) or np.shape(tasks) != (self.num_envs, self.task_dim):
            raise ValueError(
                f"infos must have 'task' of shape {(self.num_envs, self.task_dim)} at every reset "
                f"and step, got {None if tasks is None else np.shape(tasks)}: adapters of "
                "ldm_envs, such as TaskMethodWrapper, report it"
            )
        return np.concatenate(
            [self._spec.observations(observations), np.asarray(tasks, np.float32)], axis=1
        )
