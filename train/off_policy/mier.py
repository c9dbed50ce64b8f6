"""MIER: a context identified by gradient steps on a model, SAC conditioned on it, relabelling.

Mendonca et al. (arXiv 2006.07178).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from train.config.off_policy import MierSettings
from train.off_policy.context_model import ContextModel, adapt_context
from train.off_policy.episodes import (
    Episode,
    Transitions,
    joined,
    one_task,
    rows_of,
    whole_episodes,
)
from train.off_policy.learner import OffPolicyLearner
from train.off_policy.mier_acting import MierActor, MierExploration
from train.off_policy.networks import SquashedGaussian, adam, descend, seeded_weights
from train.off_policy.replay import TaskReplay
from train.off_policy.sac import TwinSAC
from train.off_policy.streams import EVALUATION, WEIGHTS, stream_seed

Tensor = torch.Tensor
Array = NDArray[Any]
GRADIENT_CLIP = 10.0
LATER_CONTEXT_RATE = 0.001  # learning rate of context steps at test time beyond context_steps


class MierLearner(OffPolicyLearner):
    """Alternates visits to train tasks with gradient steps of the model and of SAC.

    Args:
        config: Settings of the run.
    """

    config: MierSettings

    def __init__(self, config: MierSettings) -> None:
        super().__init__(config)
        self.context = self.new_replay(self.replay.capacity)  # episodes collected with φ_0
        with seeded_weights(stream_seed(config.seed, WEIGHTS)):
            self.model = ContextModel(
                self.sizes.observation_dim,
                self.sizes.action_dim,
                config.context_dim,
                config.model_hidden_sizes,
                config.model_dynamics,
            ).to(self.device)
            self.sac = TwinSAC(
                self.sizes.observation_dim + config.context_dim,
                self.sizes.action_dim,
                config.net_arch,
                rate=config.learning_rate,
                gamma=config.gamma,
                tau=config.tau,
                target_entropy=config.target_entropy,
                reward_scale=config.reward_scale,
            ).to(self.device)
        self.initial_context = torch.nn.Parameter(
            torch.zeros(config.context_dim, device=self.device),
            requires_grad=config.learn_initial_context,
        )
        self.networks = {
            "model": self.model,
            "sac": self.sac,
            "initial_context": torch.nn.ParameterList([self.initial_context]),
        }
        learned = [*self.model.parameters()]
        learned += [self.initial_context] if config.learn_initial_context else []
        self.optimizers = {
            "model": adam(learned, config.model_learning_rate),
            **self.sac.optimizers,
        }

    def replays(self) -> dict[str, TaskReplay]:
        """All episodes, and those collected with φ_0."""
        return {"replay": self.replay, "context": self.context}

    def visit(self, tasks: NDArray[np.int64], initial: bool) -> int:
        """Collect episodes with φ_0, then with φ adapted on those of this visit."""
        config = self.config
        n_prior = config.initial_episodes if initial else config.prior_episodes
        n_episodes = n_prior if initial else n_prior + config.adapted_episodes
        behaviour = MierExploration(self, n_prior)

        def finished(row: int, number: int, episode: Episode) -> None:
            self.replay.add(tasks[row], episode)
            if number < n_prior:
                self.context.add(tasks[row], episode)
                behaviour.episodes[row].append(episode)
            self.note_return("prior" if number < n_prior else "adapted", episode)

        return self.collect(behaviour, tasks, n_episodes, finished)

    def update(self) -> Mapping[str, Tensor]:
        """Take a step of the model, through the inner steps, and one of SAC on adapted contexts."""
        config = self.config
        tasks = self.rng.integers(len(self.tasks), size=config.meta_batch)
        size = config.batch_size
        before = self.context.take(self.context.draw(tasks, size, self.rng), self.device)
        batch = self.replay.take(self.replay.draw(tasks, size, self.rng), self.device)
        loss, contexts = self.model_loss(before, batch)
        optimizer = self.optimizers["model"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in optimizer.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], GRADIENT_CLIP)
        optimizer.step()
        losses = self.sac_step(self.sac, batch, contexts.detach(), self.generator)
        norm = contexts.detach().norm(dim=-1).mean()
        return {"model_loss": loss.detach(), "context_norm": norm, **losses}

    def model_loss(self, before: Transitions, batch: Transitions) -> tuple[Tensor, Tensor]:
        """Mean loss on ``batch`` after adapting to ``before``, and the contexts (tasks, …)."""
        config = self.config
        start = self.initial_context.expand(len(before.rewards), -1)
        rates = [config.context_learning_rate] * config.context_steps
        contexts = adapt_context(
            self.model, before, start, rates, GRADIENT_CLIP, differentiable=True
        )
        return self.model.losses(batch, contexts).mean() + self.model.bound_penalty(), contexts

    @staticmethod
    def sac_step(
        sac: TwinSAC, batch: Transitions, contexts: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Take a step of SAC on transitions (tasks, n, …) with constant contexts (tasks, …)."""
        columns = contexts.unsqueeze(1).expand(-1, batch.rewards.shape[1], -1)
        inputs = torch.cat([batch.observations, columns], dim=-1)
        following = torch.cat([batch.next_observations, columns], dim=-1)
        losses = sac.update(batch, inputs, following, generator)
        return {name: loss.detach() for name, loss in losses.items()}

    # --- adaptation -----------------------------------------------------------------------------

    @property
    def relabels(self) -> bool:
        """Whether evaluations relabel experience at this point of the training."""
        return self.adapt_from_reached and self.config.relabel_updates > 0

    def identify(self, episodes: list[Episode], n_steps: int | None = None) -> Tensor:
        """φ after gradient steps on some episodes of a task, (context_dim,)."""
        config = self.config
        batch = one_task(whole_episodes(episodes, self.device))
        n_steps = config.context_steps if n_steps is None else n_steps
        early = min(n_steps, config.context_steps)
        rates = [config.context_learning_rate] * early
        rates += [LATER_CONTEXT_RATE] * (n_steps - early)
        start = self.initial_context.detach().unsqueeze(0)
        return adapt_context(self.model, batch, start, rates, GRADIENT_CLIP)[0]

    def relabel(self, episodes: list[Episode], row: int = 0) -> tuple[SquashedGaussian, Tensor]:
        """A policy and φ for the task of some episodes; the learner itself does not change.

        This is the off-policy form of the paper's experience relabelling: SAC continues on
        transitions of the train tasks, with rewards predicted by the model for this task, and on
        the real ones.

        Args:
            episodes: Episodes of the new task.
            row: Index of the task, for independent random numbers.
        """
        config = self.config
        seed = stream_seed(config.seed, EVALUATION, 1 + row)
        rng = np.random.default_rng(seed)
        generator = torch.Generator(self.device)
        generator.manual_seed(seed)
        context = self.identify(episodes, n_steps=config.test_context_steps)
        model = self._tuned_model(episodes, context)
        sac = copy.deepcopy(self.sac)
        sac.optimizers = sac.fresh_optimizers()
        real = whole_episodes(episodes, self.device)
        n_real = n_of_share(config.real_share, config.relabel_batch_size)
        for _ in range(config.relabel_updates):
            chosen = torch.from_numpy(rng.integers(0, len(real.rewards), size=n_real))
            places = self.replay.draw_any(config.relabel_batch_size - n_real, rng)
            old = self.relabelled(self.replay.take(places, self.device), model, context, generator)
            batch = one_task(joined(old, rows_of(real, chosen.to(self.device))))
            self.sac_step(sac, batch, context.unsqueeze(0), generator)
        return sac.policy, context

    def relabelled(
        self, old: Transitions, model: ContextModel, context: Tensor, generator: torch.Generator
    ) -> Transitions:
        """The transitions (n, …) with rewards r ~ p̂(· | s, a, φ)."""
        rewards = model.sample_rewards(old.observations, old.actions, context, generator)
        return dataclasses.replace(old, rewards=rewards)

    def _tuned_model(self, episodes: list[Episode], context: Tensor) -> ContextModel:
        """The model after ``test_model_updates`` Adam steps on the new task's episodes."""
        model = copy.deepcopy(self.model)
        if self.config.test_model_updates:
            optimizer = adam(model.parameters(), self.config.model_learning_rate)
            batch = one_task(whole_episodes(episodes, self.device))
            for _ in range(self.config.test_model_updates):
                loss = model.losses(batch, context.unsqueeze(0)).mean() + model.bound_penalty()
                descend(optimizer, loss)
        return model

    def actor(self) -> MierActor:
        """Plays N − 1 stochastic episodes with φ_0, and a deterministic one with the adapted φ."""
        return MierActor(self)

    def artifacts(self) -> dict[str, Any]:
        """Weights, and the replay if it is relabelled for test tasks."""
        found = super().artifacts()
        if self.config.relabel_updates:
            found["replay"] = self.replay.state_dict()
        return found

    def load_artifacts(self, contents: Mapping[str, Any]) -> None:
        """Inverse of :meth:`artifacts`."""
        replay = contents["replay"] if self.config.relabel_updates else None
        if replay is not None:
            self.replay.check_state(replay)
        super().load_artifacts(contents)
        if replay is not None:
            self.replay.load_state_dict(replay)


def n_of_share(share: float, n: int) -> int:
    """``share`` of ``n`` as an integer, which is 0 or ``n`` only for a share of 0 or 1."""
    lowest, highest = int(share > 0.0), n - int(share < 1.0)
    return min(max(round(share * n), lowest), highest)
