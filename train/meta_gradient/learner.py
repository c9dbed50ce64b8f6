"""The learner of ProMP and E-MAML: roll out, adapt, roll out again, update."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger

from ldm_wrappers.saved_state import (
    check_like,
    check_optimizer,
    check_weights_like,
    load_weights,
    state_part,
    to_tensors,
)
from train.common.guard import check_weights
from train.common.learner import AfterIterationHook, AnyVectorEnv, Learner
from train.common.notices import warn_of_unsaved_environments
from train.common.random_state import seed_global_generators
from train.config.meta_gradient import MetaGradientSettings
from train.meta_gradient.actor import AdaptingActor
from train.meta_gradient.episodes import Episodes, TaskBatch, task_batch
from train.meta_gradient.gradient import adapt_in_chunks, mean_kl, meta_gradient
from train.meta_gradient.objectives import Objective, exploration_credit
from train.meta_gradient.policy import MetaPolicy, Parameters
from train.meta_gradient.rollouts import TaskRollouts
from train.meta_gradient.tasks import draw_tasks

_INITIAL, _ITERATION, _EVALUATION = 0, 1, 2  # purposes of the streams of a run's seed


class MetaGradientLearner(Learner):
    """Learns meta-parameters θ that adapt to a task by one gradient step on its episodes.

    Each iteration seeds its environments, tasks and actions from new random streams, derived from
    the seed of the run and the number of the iteration.

    Args:
        config: Settings of the run.
        policy: The policy, a function of its parameters.
        objective: The objective to minimise.
        rollouts: Collects episodes before and after adaptation.
        task_set: Task set to draw from; ``None`` lets the environments draw the tasks.
        length: Usual number of steps of an episode.
    """

    def __init__(
        self,
        config: MetaGradientSettings,
        policy: MetaPolicy,
        objective: Objective,
        rollouts: TaskRollouts,
        task_set: Any | None,
        length: int,
    ) -> None:
        self.config: MetaGradientSettings = config
        self.policy = policy
        self.objective = objective
        self.rollouts = rollouts
        self.task_set = task_set
        self.length = length
        self.iterations = 0
        initial = torch.Generator().manual_seed(self._seeds(_INITIAL, 0)[0])
        self.weights = torch.nn.ParameterDict(policy.initial_parameters(initial))
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=config.learning_rate)
        self._steps = 0
        self._returns: list[list[float]] = []  # before and after adaptation, since the last row
        self._logger: Logger | None = None

    @property
    def num_timesteps(self) -> int:
        """Environment steps of all episodes so far, before and after adaptation."""
        return self._steps

    @property
    def parameters(self) -> Parameters:
        """Copies of the meta-parameters."""
        return {name: value.detach().clone() for name, value in self.weights.items()}

    def set_logger(self, logger: Logger) -> None:
        """Record metrics into ``logger``."""
        self._logger = logger

    def learn(self, total_timesteps: int, after_iteration: AfterIterationHook) -> None:
        """Train whole iterations until ``total_timesteps``, with ``after_iteration`` after each."""
        while self._steps < total_timesteps:
            self.iterate()
            after_iteration(self.iterations)

    def iterate(self) -> None:
        """Tasks ▸ episodes ▸ inner step ▸ episodes ▸ outer updates on all episodes."""
        task_seed, env_seed, action_seed = self._seeds(_ITERATION, self.iterations)
        actions = torch.Generator(self.policy.device).manual_seed(action_seed)
        seed_global_generators(self.config.seed, self.iterations)
        old = self.parameters
        with one_thread():
            self.rollouts.begin(env_seed, self._tasks(task_seed))
            before = self.rollouts.collect(old, actions)
        before_batch = self._batch(old, before)
        adapted = adapt_in_chunks(self.policy, old, before_batch, self.objective)
        check_weights(**{"adapted policy": torch.nn.ParameterDict(adapted)})
        with one_thread():
            after = self.rollouts.collect(adapted, actions)
        after_batch = self._batch(adapted, after)
        credit = torch.as_tensor(exploration_credit(after)).to(after_batch.weights)
        values = self._update(old, before_batch, after_batch, credit)
        values["inner_kl"] = mean_kl(self.policy, old, self.parameters, before_batch)
        values["adaptation_kl"] = mean_kl(self.policy, old, adapted, after_batch)
        self.iterations += 1
        self._steps += before.n_steps + after.n_steps
        self._returns.append([float(before.returns.mean()), float(after.returns.mean())])
        self._record(values)

    def _update(
        self, old: Parameters, before: TaskBatch, after: TaskBatch, credit: torch.Tensor
    ) -> dict[str, float]:
        """Take the outer updates, each on all episodes; return mean losses over the updates."""
        found: list[dict[str, float]] = []
        for _ in range(self.config.n_epochs):
            parameters = dict(self.weights.items())
            gradient, values = meta_gradient(
                self.policy, parameters, before, after, old, credit, self.objective
            )
            for name, weight in self.weights.items():
                weight.grad = gradient[name]
            self.optimizer.step()
            found.append(values)
        return {name: float(np.mean([values[name] for values in found])) for name in found[0]}

    def _batch(self, parameters: Parameters, episodes: Episodes) -> TaskBatch:
        gamma, gae_lambda = self.config.gamma, self.config.gae_lambda
        return task_batch(self.policy, parameters, episodes, gamma, gae_lambda)

    def _tasks(self, seed: int) -> NDArray[np.float32] | None:
        if self.task_set is None:
            return None
        return draw_tasks(self.task_set, np.random.default_rng(seed), self.rollouts.n_tasks)

    def _seeds(self, purpose: int, number: int) -> list[int]:
        """Independent seeds, derived from the run's seed, a purpose and a number."""
        sequence = np.random.SeedSequence(self.config.seed, spawn_key=(purpose, number))
        return [int(word) for word in sequence.generate_state(3)]

    def _record(self, values: dict[str, float]) -> None:
        if self._logger is None:
            return
        for name, value in values.items():
            self._logger.record(f"train/{name}", value)
        if "log_std" in self.weights:
            std = float(self.weights["log_std"].detach().exp().mean())
            self._logger.record("train/std", std)

    def log_statistics(self) -> None:
        """Record mean returns before and after adaptation, both with sampled actions."""
        if self._logger is None or not self._returns:
            return
        before, after = np.mean(self._returns, axis=0)
        self._returns = []
        self._logger.record("rollout/return_before", float(before))
        self._logger.record("rollout/return_after", float(after))
        self._logger.record("rollout/gain", float(after - before))
        # shown in learning curves of all methods: the last episode, here with sampled actions
        self._logger.record(f"rollout/return_episode_{self.config.n_episodes}", float(after))

    def check_finite(self) -> None:
        """Check the weights."""
        check_weights(policy=self.weights)

    def position(self) -> str:
        """Iteration and step."""
        return f"iteration {self.iterations + 1}, after {self._steps:,} steps"

    def evaluation_env(self, env: AnyVectorEnv) -> AnyVectorEnv:
        """The environment's own observations."""
        return env

    def actor(self) -> AdaptingActor:
        """An actor that explores, adapts, and is greedy in the last episode."""
        return AdaptingActor(
            self.policy,
            self.parameters,
            self.objective,
            self.config.n_episodes,
            self.length,
            self.config.gamma,
            self.config.gae_lambda,
            self._seeds(_EVALUATION, 0)[0],
        )

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and counters; no episode is in progress between two iterations."""
        return {
            "weights": self.weights.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "iterations": self.iterations,
            "num_timesteps": self._steps,
            "returns": self._returns,
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Inverse of :meth:`state_dict`."""
        check_weights_like(state_part(state, "weights"), self.weights, "policy")
        check_optimizer(state_part(state, "optimizer"), self.optimizer, "policy")
        counters = {"iterations": 0, "num_timesteps": 0}
        check_like({name: state_part(state, name) for name in counters}, counters, "counters")
        returns = state_part(state, "returns")
        load_weights(self.weights, state["weights"], "policy")
        self.optimizer.load_state_dict(to_tensors(state["optimizer"]))
        self.iterations, self._steps = state["iterations"], state["num_timesteps"]
        self._returns = [list(pair) for pair in returns]
        warn_of_unsaved_environments(self.config, self._steps)
        return True

    def artifacts(self) -> dict[str, Any]:
        """The meta-parameters."""
        return {"policy": self.weights.state_dict()}

    def load_artifacts(self, contents: Mapping[str, Any]) -> None:
        """Inverse of :meth:`artifacts`."""
        load_weights(self.weights, contents["policy"], "policy")

    def close(self) -> None:
        """Close the training environments."""
        self.rollouts.env.close()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Use one PyTorch thread inside the block; steps of a batch are too small for several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
