"""The learner of methods whose policy Stable-Baselines3 trains on-policy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ldm_wrappers.imagination import SavedBeliefs
from ldm_wrappers.latent_dynamics import LatentDynamics, LatentDynamicsTrainer
from ldm_wrappers.saved_state import (
    check_optimizer,
    check_weights_like,
    load_weights,
    state_part,
)
from ldm_wrappers.sb3 import LatentDynamicsCallback, SingleThreadedRollouts
from ldm_wrappers.sb3.saved_state import (
    algorithm_state,
    check_algorithm_state,
    load_algorithm_state,
    load_normalization,
    normalization_state,
)
from ldm_wrappers.vector import ImaginaryRewardWrapper
from ldm_wrappers.wrapper_order import layers
from train.common.callbacks import AfterIteration, FiniteRollouts, MetaEpisodeStatistics
from train.common.generators import adapt_generators
from train.common.guard import FiniteCheckWrapper, check_weights
from train.common.layer_states import UnsavedLayers, env_state, load_env_state, stateful_layers
from train.common.learner import AfterIterationHook, AnyVectorEnv, Learner, PolicyActor
from train.common.parts import saved_mixture
from train.common.random_state import random_state, restore_random_state
from train.config.methods import get_method
from train.config.on_policy import OnPolicySettings


class OnPolicyLearner(Learner):
    """A Stable-Baselines3 on-policy algorithm, and the VAE that is trained in parallel.

    Args:
        config: Settings of the run.
        env: The Gymnasium part of the wrapper chain.
        algorithm: The policy learner on the Stable-Baselines3 part of the chain.
        show: Wraps meta-episodes to show the observations of the policy.
        trainer: Trains the latent dynamics model, if the method has one.
    """

    def __init__(
        self,
        config: OnPolicySettings,
        env: AnyVectorEnv,
        algorithm: OnPolicyAlgorithm,
        show: Callable[[AnyVectorEnv], AnyVectorEnv],
        trainer: LatentDynamicsTrainer | None = None,
    ) -> None:
        self.config: OnPolicySettings = config
        self.env = env
        self.algorithm = algorithm
        self.trainer = trainer
        self.latent_dynamics: LatentDynamics | None = None if trainer is None else trainer.model
        self.average: AveragedModel | None = None
        if config.policy_ema_decay:
            rule = get_ema_multi_avg_fn(config.policy_ema_decay)
            self.average = AveragedModel(algorithm.policy, multi_avg_fn=rule)
        self.statistics = MetaEpisodeStatistics(config.n_normal_workers)
        self._show = show
        self._unsaved = UnsavedLayers(env)
        self._warned = False

    @property
    def num_timesteps(self) -> int:
        """Environment steps of training so far."""
        return self.algorithm.num_timesteps

    @property
    def vec_env(self) -> VecEnv:
        """The Stable-Baselines3 part of the wrapper chain."""
        vec_env = self.algorithm.get_env()
        assert vec_env is not None
        return vec_env

    @property
    def normalizer(self) -> VecNormalize | None:
        """Running statistics of observations and rewards, if the run normalises."""
        return self.algorithm.get_vec_normalize_env()

    @property
    def evaluated_policy(self) -> ActorCriticPolicy:
        """The policy to evaluate and save, with averaged weights or with the newest ones."""
        policy: Any = self.algorithm.policy if self.average is None else self.average.module
        assert isinstance(policy, ActorCriticPolicy)
        return policy

    def set_logger(self, logger: Logger) -> None:
        """Let the algorithm and its callbacks record into ``logger``."""
        self.algorithm.set_logger(logger)

    def learn(self, total_timesteps: int, after_iteration: AfterIterationHook) -> None:
        """Repeat: rollout ▸ policy update, and VAE updates in parallel ▸ ``after_iteration``.

        The order of the callbacks matters: a rollout is checked before it is learned from, and the
        VAE's updates, which run in their own thread, are finished before the hook runs.
        """

        def finished(iteration: int) -> None:
            if self.average is not None:
                self.average.update_parameters(self.algorithm.policy)
            after_iteration(iteration)

        updates: BaseCallback = SingleThreadedRollouts()
        if self.trainer is not None:
            updates = LatentDynamicsCallback(self.trainer, self.config.vae_updates)
        self.algorithm.learn(
            total_timesteps - self.num_timesteps,
            [self.statistics, FiniteRollouts(), updates, AfterIteration(finished)],
            log_interval=None,  # type: ignore[arg-type]
            reset_num_timesteps=self.num_timesteps == 0,
        )

    def log_statistics(self) -> None:
        """Record mean returns of meta-episodes that normal workers finished since the last row."""
        for name, value in self.statistics.pop_means().items():
            self.algorithm.logger.record(name, value)

    def check_finite(self) -> None:
        """Check the weights of policy and VAE."""
        check_weights(policy=self.algorithm.policy, VAE=self.latent_dynamics)

    def position(self) -> str:
        """Iteration and step of each worker."""
        step, per_iteration = self._guard().steps, self.config.n_steps
        return f"iteration {-(-step // per_iteration)}, step {step} of each worker"

    def evaluation_env(self, env: AnyVectorEnv) -> AnyVectorEnv:
        """The observations that the policy was trained on."""
        return self._show(env)

    def actor(self) -> PolicyActor:
        """The greedy policy."""
        return PolicyActor(self.evaluated_policy, self.normalizer, self.env.single_action_space)

    def state_dict(self) -> dict[str, Any]:
        """Policy, VAE, statistics, environments, and every random generator."""
        state: dict[str, Any] = {
            "algorithm": algorithm_state(self.algorithm),
            "env": env_state(self.env),
            "random": random_state(self.algorithm.device),
            "statistics": self.statistics.returns,
        }
        if not self._warned and (lost := self._unsaved.names()):
            self._warned = True
            print(
                f"warning: the state of {', '.join(lost)} is not saved in checkpoints; to save it, "
                "define get_state and set_state",
                file=sys.stderr,
            )
        if self.normalizer is not None:
            state["normalization"] = normalization_state(self.normalizer)
        if self.average is not None:
            state["policy_average"] = self.average.state_dict()
        if self.trainer is not None:
            state["latent_dynamics"] = self.trainer.model.state_dict()
            state["trainer"] = self.trainer.state_dict()
            state["buffer"] = self.trainer.buffer.state_dict(copy=False)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Inverse of :meth:`state_dict`."""
        complete = state_part(state, "env") is not None
        self._check(state, complete)
        self._adapt_generators(state)
        load_algorithm_state(self.algorithm, state["algorithm"], complete)
        if self.trainer is not None:
            load_weights(self.trainer.model, state["latent_dynamics"], "latent dynamics")
            self.trainer.load_state_dict(state["trainer"])
            self.trainer.buffer.load_state_dict(state["buffer"])
        if self.normalizer is not None:
            load_normalization(self.normalizer, state["normalization"])
        if self.average is not None:
            load_weights(self.average, state["policy_average"], "policy average")
        self.statistics.returns = state["statistics"]
        self._guard().steps = self.num_timesteps // self.config.n_workers
        if complete:
            load_env_state(self.env, state["env"])
        else:  # a new random stream, for tasks not drawn before
            entropy = np.random.SeedSequence((self.config.seed, self.num_timesteps))
            *words, own = entropy.generate_state(5).tolist()
            self.vec_env.seed(sum(word << 32 * i for i, word in enumerate(words)))
            for layer in layers(self.env):
                if isinstance(layer, ImaginaryRewardWrapper):
                    layer.imagination.seed(own)
        restore_random_state(state["random"], self.algorithm.device)
        return complete

    def artifacts(self) -> dict[str, Any]:
        """Policy, normalisation statistics, VAE, and beliefs about the newest tasks."""
        contents: dict[str, Any] = {"policy": self.evaluated_policy.state_dict()}
        if self.normalizer is not None:
            contents["normalization"] = normalization_state(self.normalizer)
        if self.trainer is not None:
            contents["latent_dynamics"] = self.trainer.model.to_state()
            if len(self.trainer.buffer):
                contents["beliefs"] = self._beliefs(self.trainer).to_state()
        return contents

    def _beliefs(self, trainer: LatentDynamicsTrainer) -> SavedBeliefs:
        """Beliefs about the newest tasks, and how this run makes imaginary tasks of them."""
        config, means = self.config, sample_beliefs(trainer)
        if not get_method(config.method).imaginary:
            return SavedBeliefs(means)
        return SavedBeliefs(means, saved_mixture(config, len(means)), config.imagination)

    def load_artifacts(self, contents: Mapping[str, Any]) -> None:
        """Inverse of :meth:`artifacts`, except for the sample beliefs."""
        load_weights(self.algorithm.policy, contents["policy"], "policy")
        self.average = None  # the saved weights are the average
        if self.latent_dynamics is not None:
            saved = state_part(contents["latent_dynamics"], "weights")
            load_weights(self.latent_dynamics, saved, "latent dynamics")
        if self.normalizer is not None:
            load_normalization(self.normalizer, contents["normalization"])

    def close(self) -> None:
        """Close the training environments."""
        self.vec_env.close()

    def _guard(self) -> FiniteCheckWrapper:
        layer: Any = self.env
        while not isinstance(layer, FiniteCheckWrapper):
            layer = layer.env
        return layer

    def _check(self, state: dict[str, Any], complete: bool) -> None:
        """Compare a state with this learner before anything is changed."""
        check_algorithm_state(self.algorithm, state_part(state, "algorithm"), complete)
        if self.average is not None:
            saved = state_part(state, "policy_average")
            check_weights_like(saved, self.average, "policy average")
        if self.trainer is not None:
            saved = state_part(state, "latent_dynamics")
            check_weights_like(saved, self.trainer.model, "latent dynamics")
            saved = state_part(state_part(state, "trainer"), "optimizer")
            check_optimizer(saved, self.trainer.optimizer, "VAE")
            self.trainer.buffer.check_state(state_part(state, "buffer"))

    def _adapt_generators(self, state: dict[str, Any]) -> None:
        """Keep this learner's own generators if the saved ones are of another type of device."""
        pairs: list[tuple[torch.Generator, dict[str, Any]]] = []
        if self.trainer is not None:
            pairs.append((self.trainer.generator, state["trainer"]))
        for layer, saved in zip(stateful_layers(self.env), state["env"] or [], strict=False):
            imagination = saved.get("imagination") if isinstance(saved, dict) else None
            source = getattr(getattr(layer, "imagination", None), "generator", None)
            # user-defined imaginary tasks need not have a PyTorch generator
            if isinstance(source, torch.Generator) and imagination and "generator" in imagination:
                pairs.append((source, imagination))
        adapt_generators(pairs)


@torch.no_grad()
def sample_beliefs(trainer: LatentDynamicsTrainer, n: int = 256) -> np.ndarray[Any, Any]:
    """Belief means along the newest ``n`` training trajectories: (n, H⁺ + 1, latent_dim).

    They can be replayed as ``SavedBeliefs`` for imaginary tasks without a training run.
    """
    batch = trainer.buffer.newest(n, trainer.model.device)
    posterior = trainer.model.encoder(batch.actions, batch.rewards, batch.next_observations)
    means = posterior.mean
    # shorter trajectories are padded with their last belief
    times = torch.arange(len(means), device=means.device).unsqueeze(-1)
    index = torch.minimum(times, batch.lengths).unsqueeze(-1).expand_as(means)
    return means.gather(0, index).transpose(0, 1).cpu().numpy()
