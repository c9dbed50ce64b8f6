"""The base of the learners of PEARL, MQL and MIER: visits to train tasks, replay, states."""

from __future__ import annotations

import abc
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger
from torch import nn

from ldm_wrappers.latent_dynamics.generator_state import check_generator_state
from ldm_wrappers.saved_state import (
    check_optimizer,
    check_weights_like,
    load_weights,
    state_part,
    to_tensors,
)
from train.common.envs import base_env, episode_length
from train.common.generators import adapt_generators
from train.common.guard import FiniteCheckWrapper, check_weights
from train.common.learner import AfterIterationHook, AnyVectorEnv, Learner, chosen_device
from train.common.notices import warn_of_unsaved_environments
from train.common.random_state import seed_global_generators
from train.common.same_tasks import check_train_tasks
from train.config.methods import get_method
from train.config.off_policy import OffPolicySettings
from train.off_policy.collection import Behaviour, Sizes, collect
from train.off_policy.episodes import Episode
from train.off_policy.evaluation import InnerEnds
from train.off_policy.notices import short_episodes, untrained
from train.off_policy.replay import TaskReplay
from train.off_policy.streams import DRAWS, ENVS, NOISE, stream_seed
from train.off_policy.tasks import training_tasks

Tensor = torch.Tensor
Array = NDArray[Any]


class OffPolicyLearner(Learner):
    """Alternates visits to train tasks with gradient steps on their replay.

    An iteration is a visit to ``n_workers`` train tasks, followed by ``updates_per_step`` gradient
    steps per environment step. The first iterations visit all train tasks in turn, without gradient
    steps. Each iteration begins with a seeded reset and seeds the global generators, so that
    neither has to be saved for an exact resume.

    Args:
        config: Settings of the run.

    Raises:
        ValueError: If the environment has no task distribution, no step limit, or unsupported
            actions.
    """

    config: OffPolicySettings

    def __init__(self, config: OffPolicySettings) -> None:
        self.config = config
        self.device = chosen_device(config.device)
        self.tasks = training_tasks(config)
        self.horizon = episode_length(config)
        split = get_method(config.method).split
        self.env: AnyVectorEnv = FiniteCheckWrapper(base_env(config, config.n_workers, split))
        try:
            self.sizes = Sizes(self.env.single_observation_space, self.env.single_action_space)
            self.replay = self.new_replay(replay_capacity(config, len(self.tasks), self.horizon))
        except BaseException:
            self.env.close()
            raise
        self.rng = np.random.default_rng(stream_seed(config.seed, DRAWS))
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(stream_seed(config.seed, NOISE))
        self.networks: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.iteration = 0
        self.n_updates = 0
        self.loaded = False  # from the files of a finished run
        self._warned = False  # about a replay with far fewer transitions than its size
        self._steps = 0
        self._owed = 0.0  # gradient steps still to take for the environment steps so far
        self._returns: dict[str, list[float]] = {}
        self._logger: Logger | None = None

    def new_replay(self, capacity: int) -> TaskReplay:
        """An empty replay that keeps ``capacity`` episodes of each train task."""
        sizes = (self.sizes.observation_dim, self.sizes.action_dim)
        return TaskReplay(len(self.tasks), capacity, self.horizon, *sizes)

    # --- defined by each method -----------------------------------------------------------------

    @abc.abstractmethod
    def visit(self, tasks: NDArray[np.int64], initial: bool) -> int:
        """Collect episodes of the tasks (n_workers,); return the number of steps."""

    @abc.abstractmethod
    def update(self) -> Mapping[str, Tensor]:
        """Take one gradient step with all networks; return the losses."""

    @property
    def adapt_from_reached(self) -> bool:
        """Whether present evaluations adapt weights, if the method does so (``adapt_from``)."""
        return self.loaded or self._steps >= self.config.adapts_from

    def replays(self) -> dict[str, TaskReplay]:
        """All replays, by name."""
        return {"replay": self.replay}

    # --- training -------------------------------------------------------------------------------

    @property
    def num_timesteps(self) -> int:
        """Environment steps of training so far, including those of the initial episodes."""
        return self._steps

    @property
    def n_initial_iterations(self) -> int:
        """Number of iterations that visit all train tasks once."""
        return -(-len(self.tasks) // self.config.n_workers)

    def set_logger(self, logger: Logger) -> None:
        """Record metrics into ``logger``."""
        self._logger = logger

    def learn(self, total_timesteps: int, after_iteration: AfterIterationHook) -> None:
        """Repeat: visit ▸ gradient steps ▸ ``after_iteration``."""
        while self._steps < total_timesteps:
            initial = self.iteration < self.n_initial_iterations
            steps = self.visit(self._next_tasks(initial), initial)
            self._steps += steps
            if not initial:
                self._owed += steps * self.config.updates_per_step
                self._learn_from_replay()
            self.iteration += 1
            self._warn_of_short_episodes()
            after_iteration(self.iteration)

    def too_short(self) -> tuple[str, int] | None:
        """As in the base class."""
        if self.n_updates:
            return None
        return untrained(self.config, len(self.tasks), self.n_initial_iterations, self.horizon)

    def _warn_of_short_episodes(self) -> None:
        """Warn once if short episodes fill up a task's slots in the replay."""
        notice = "" if self._warned else short_episodes(self.replay, self.config, self.horizon)
        if notice:
            self._warned = True
            print(f"\nwarning: {notice}", file=sys.stderr)

    def _next_tasks(self, initial: bool) -> NDArray[np.int64]:
        n, n_tasks = self.config.n_workers, len(self.tasks)
        if initial:
            return (self.iteration * n + np.arange(n)) % n_tasks
        orders = [self.rng.permutation(n_tasks) for _ in range(-(-n // n_tasks))]
        return np.concatenate(orders)[:n]

    def _learn_from_replay(self) -> None:
        sums: dict[str, float] = {}
        n = int(self._owed)
        counts: dict[str, int] = {}  # per loss, since some losses are not in every step
        for _ in range(n):
            for name, value in self.update().items():
                sums[name] = sums.get(name, 0.0) + float(value)
                counts[name] = counts.get(name, 0) + 1
            self.n_updates += 1
        self._owed -= n
        if self._logger is not None:
            for name, total in sums.items():
                self._logger.record(f"train/{name}", total / counts[name])
            self._logger.record("train/n_updates", self.n_updates)

    def collect(
        self,
        behaviour: Behaviour,
        tasks: NDArray[np.int64],
        n_episodes: int,
        finished: Callable[[int, int, Episode], None],
    ) -> int:
        """Play training episodes of the tasks (n_workers,); return the number of steps."""
        seed_global_generators(self.config.seed, self.iteration)
        seed = stream_seed(self.config.seed, ENVS, self.iteration)
        return collect(
            self.env, self.sizes, behaviour, self.tasks[tasks], n_episodes, finished, seed
        )

    def note_return(self, name: str, episode: Episode) -> None:
        """Store the return of an episode for the next row of metrics."""
        self._returns.setdefault(name, []).append(float(episode.rewards.sum(dtype=np.float64)))

    def log_statistics(self) -> None:
        """Record mean returns of the episodes since the last row."""
        if self._logger is not None:
            for name, returns in self._returns.items():
                self._logger.record(f"rollout/return_{name}", float(np.mean(returns)))
        self._returns = {}

    def check_finite(self) -> None:
        """Check the weights of all networks."""
        check_weights(**self.networks)

    def position(self) -> str:
        """Iteration and environment step."""
        return f"iteration {self.iteration}, step {self._steps:,}"

    def evaluation_env(self, env: AnyVectorEnv) -> AnyVectorEnv:
        """Meta-episodes with unchanged observations; infos distinguish ends of inner episodes."""
        return InnerEnds.inside(env)

    def close(self) -> None:
        """Close the training environments."""
        self.env.close()

    # --- states ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizers, replay, generators and counters."""
        return {
            "timesteps": self._steps,
            "iteration": self.iteration,
            "n_updates": self.n_updates,
            "owed": self._owed,
            "returns": self._returns,
            "networks": {name: net.state_dict() for name, net in self.networks.items()},
            "optimizers": {name: one.state_dict() for name, one in self.optimizers.items()},
            "replays": {name: replay.state_dict() for name, replay in self.replays().items()},
            "tasks": self.tasks,
            "rng": self.rng.bit_generator.state,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Inverse of :meth:`state_dict`; environments start with a seeded reset."""
        state_part(state, "generator")
        adapt_generators([(self.generator, state)])
        self._check(state)
        for name, network in self.networks.items():
            load_weights(network, state["networks"][name], name)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(to_tensors(state["optimizers"][name]))
        for name, replay in self.replays().items():
            replay.load_state_dict(state["replays"][name])
        self.rng.bit_generator.state = state["rng"]
        self.generator.set_state(torch.from_numpy(np.array(state["generator"])))
        self._steps, self.iteration = int(state["timesteps"]), int(state["iteration"])
        self.n_updates, self._owed = int(state["n_updates"]), float(state["owed"])
        self._returns = {name: list(values) for name, values in state["returns"].items()}
        warn_of_unsaved_environments(self.config, self._steps)
        return True

    def _check(self, state: dict[str, Any]) -> None:
        """Compare a state with this learner before anything is changed."""
        for part in ("timesteps", "iteration", "n_updates", "owed", "returns", "rng"):
            state_part(state, part)
        networks = state_part(state, "networks")
        for name, network in self.networks.items():
            check_weights_like(state_part(networks, name), network, name)
        optimizers = state_part(state, "optimizers")
        for name, optimizer in self.optimizers.items():
            check_optimizer(state_part(optimizers, name), optimizer, name)
        replays = state_part(state, "replays")
        for name, replay in self.replays().items():
            replay.check_state(state_part(replays, name), name)
        if "tasks" in state:  # missing in older checkpoints
            check_train_tasks(self.config, state["tasks"], self.tasks)
        check_generator_state(state_part(state, "generator"), self.generator)
        type(self.rng.bit_generator)().state = state["rng"]

    def artifacts(self) -> dict[str, Any]:
        """The weights of all networks."""
        return {"policy": {name: net.state_dict() for name, net in self.networks.items()}}

    def load_artifacts(self, contents: Mapping[str, Any]) -> None:
        """Inverse of :meth:`artifacts`."""
        weights = contents["policy"]
        for name, network in self.networks.items():
            check_weights_like(state_part(weights, name), network, name)
        for name, network in self.networks.items():
            load_weights(network, weights[name], name)
        self.loaded = True


def replay_capacity(config: OffPolicySettings, n_tasks: int, horizon: int) -> int:
    """Number of episodes that the replay keeps per task.

    Raises:
        ValueError: If the initial episodes do not fit.
    """
    capacity = config.replay_size // (n_tasks * horizon)
    if capacity < config.initial_episodes:
        raise ValueError(
            f"replay_size = {config.replay_size} keeps {capacity} episodes of {horizon} steps of "
            f"each of {n_tasks} train tasks, expected room for initial_episodes = "
            f"{config.initial_episodes}: at least {config.initial_episodes * n_tasks * horizon}"
        )
    return capacity
