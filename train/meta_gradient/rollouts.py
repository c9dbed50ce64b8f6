"""Collect exactly R whole episodes of each task, before and after adaptation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ldm_wrappers.task_protocol import TaskWatch, env_name, told_tasks
from ldm_wrappers.vector.infos import where_rows
from ldm_wrappers.vector.task_rows import reset_rows
from train.common.learner import AnyVectorEnv
from train.meta_gradient.episodes import Episodes
from train.meta_gradient.policy import MetaPolicy, Parameters
from train.meta_gradient.recorder import EpisodeRecorder


class TaskRollouts:
    """Episodes of ``n_tasks`` tasks on ``env``, which has a multiple of that many environments.

    Neighbouring environments share a task and its R episodes: each plays R / (environments per
    task) of them, in sequence. Environments that have finished theirs continue stepping, without
    being recorded, until all have finished. Episodes are never cut off, so that tasks whose
    episodes end early do not get more of them than others.

    Args:
        env: Vector environment without autoreset that supports ``keep_task``, and ``task`` if tasks
            are given.
        policy: The policy.
        n_tasks: Number of tasks T, a divisor of the number of environments.
        n_episodes: Episodes R per task, a multiple of the environments per task.
        length: Usual number of steps of an episode.
    """

    def __init__(
        self, env: AnyVectorEnv, policy: MetaPolicy, n_tasks: int, n_episodes: int, length: int
    ) -> None:
        self.env = env
        self.policy = policy
        self.n_tasks = n_tasks
        self.n_episodes = n_episodes
        self.length = length
        self._per_env = n_episodes * n_tasks // env.num_envs
        self._watch = TaskWatch(env_name(env), env.num_envs)
        self._fresh: Any = None

    def begin(self, seed: int, tasks: NDArray[np.float32] | None) -> None:
        """Start new tasks.

        Args:
            seed: Seed of the environments.
            tasks: Tasks (n_tasks, task_dim). ``None`` lets the environments draw them; there must
                then be one environment per task.
        """
        options = None
        if tasks is not None:
            rows = np.repeat(tasks, self.env.num_envs // self.n_tasks, axis=0)
            options = {"task": rows}
        self._fresh, infos = reset_rows(self.env, seed, options)
        workers = np.arange(self.env.num_envs)
        self._watch.begin(workers, told_tasks(infos, workers), options)

    def collect(self, parameters: Parameters, generator: torch.Generator) -> Episodes:
        """Play R episodes of each task.

        Args:
            parameters: Shared parameters, or one set per task.
            generator: Generator of the actions.

        Raises:
            TaskChangedError: If a reset with ``keep_task`` changed the task.
        """
        n = self.env.num_envs
        recorder = EpisodeRecorder(n, self._per_env, self.length)
        observations, self._fresh = self._fresh, None
        if observations is None:
            observations = self._restart(np.ones(n, bool))
        while True:
            shown, actions = self._draw(parameters, observations, generator)
            observations, rewards, terminations, truncations, _ = self.env.step(
                self.policy.env_actions(actions)
            )
            ended = np.asarray(terminations | truncations)
            recorder.add(shown.cpu().numpy(), actions.cpu().numpy(), rewards, ended)
            if not recorder.running.any():
                return self._by_task(recorder.episodes())
            if ended.any():
                observations = where_rows(ended, self._restart(ended), observations)

    @torch.no_grad()
    def _draw(
        self, parameters: Parameters, observations: Any, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Observations and actions of all environments, (n, …)."""
        shown = self.policy.observation_tensor(observations)
        by_task = shown.reshape(self.n_tasks, -1, shown.shape[-1])
        actions = self.policy.distribution(parameters, by_task).sample(generator)
        return shown, actions.reshape(len(shown), *actions.shape[2:])

    def _restart(self, mask: NDArray[np.bool_]) -> Any:
        """Start another episode of the same task where ``mask`` (n,) is true."""
        options = {"reset_mask": mask.copy(), "keep_task": True}
        observations, infos = self.env.reset(options=options)
        workers = np.flatnonzero(mask)
        self._watch.check(workers, told_tasks(infos, workers))
        return observations

    def _by_task(self, episodes: Episodes) -> Episodes:
        """Rows of environments (n, R / n per task, …) as rows of tasks (n_tasks, R, …)."""
        parts = {}
        for field in dataclasses.fields(episodes):
            values = getattr(episodes, field.name)
            parts[field.name] = values.reshape(self.n_tasks, self.n_episodes, *values.shape[2:])
        return Episodes(**parts)
