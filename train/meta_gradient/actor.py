"""The actor for evaluations: explore, take one inner step, and be greedy in the last episode."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from train.common.rollout import Step
from train.meta_gradient.episodes import task_batch
from train.meta_gradient.gradient import adapt_in_chunks
from train.meta_gradient.objectives import Objective
from train.meta_gradient.policy import MetaPolicy, Parameters
from train.meta_gradient.recorder import EpisodeRecorder


class AdaptingActor:
    """Samples actions from the meta-policy in all but the last episode of each meta-episode.

    It then takes one inner step on these episodes, and plays the mean or most probable action of
    the adapted policy in the last one. Each row adapts separately, even if episodes end at
    different steps. :meth:`begin` always uses the same seed, so that evaluations are reproducible.

    Args:
        policy: The policy.
        parameters: The meta-parameters.
        objective: Form and size of the inner step.
        n_episodes: Episodes N of a meta-episode, at least 2.
        length: Usual number of steps of an episode.
        gamma: Discount factor of the advantages.
        gae_lambda: λ of generalised advantage estimation.
        seed: Seed of the actions.
    """

    def __init__(
        self,
        policy: MetaPolicy,
        parameters: Parameters,
        objective: Objective,
        n_episodes: int,
        length: int,
        gamma: float,
        gae_lambda: float,
        seed: int,
    ) -> None:
        self.policy = policy
        self.parameters = {name: value.detach().clone() for name, value in parameters.items()}
        self.objective = objective
        self.n_episodes = n_episodes
        self.length = length
        self.gamma = gamma
        self.gae_lambda = gae_lambda
        self.seed = seed
        self._recorder: EpisodeRecorder | None = None
        self._generator: torch.Generator | None = None
        self._own: Parameters = {}

    def begin(self, n: int) -> None:
        """Start ``n`` meta-episodes with the meta-parameters."""
        self._generator = torch.Generator(self.policy.device).manual_seed(self.seed)
        self._recorder = EpisodeRecorder(n, self.n_episodes - 1, self.length)
        self._own = {
            name: value.expand(n, *value.shape).clone() for name, value in self.parameters.items()
        }

    def act(self, observations: NDArray[Any], episode_starts: NDArray[np.bool_]) -> NDArray[Any]:
        """Sampled actions, and greedy ones in rows that have adapted."""
        assert self._recorder is not None and self._generator is not None
        if episode_starts.any():
            self._recorder.forget(episode_starts)
            for name, value in self.parameters.items():
                self._own[name][torch.as_tensor(episode_starts)] = value
        self._shown = self.policy.observation_tensor(observations)
        with torch.no_grad():
            states = self.policy.distribution(self._own, self._shown.unsqueeze(1))
            drawn = states.sample(self._generator).squeeze(1)  # rows stay independent
            greedy = states.mode().squeeze(1)
        explores = torch.as_tensor(self._recorder.running, device=drawn.device)
        column = explores.reshape(-1, *(1,) * (drawn.dim() - 1))
        self._actions = torch.where(column, drawn, greedy)
        return self.policy.env_actions(self._actions)

    def observe(self, step: Step) -> None:
        """Record the step; rows whose last exploration episode has ended adapt."""
        assert self._recorder is not None
        explored = self._recorder.running
        ended = step.ended | (np.asarray(step.infos["episode_index"]) != step.episode)
        shown, actions = self._shown.cpu().numpy(), self._actions.cpu().numpy()
        self._recorder.add(shown, actions, step.rewards, ended)
        through = explored & ~self._recorder.running & ~step.over
        if through.any():
            self._adapt(through)

    def end(self) -> None:
        """Discard the episodes."""
        self._recorder, self._generator, self._own = None, None, {}

    def _adapt(self, rows: NDArray[np.bool_]) -> None:
        """One inner step on the recorded episodes of ``rows`` (n,)."""
        assert self._recorder is not None
        episodes = self._recorder.episodes(rows)
        batch = task_batch(self.policy, self.parameters, episodes, self.gamma, self.gae_lambda)
        adapted = adapt_in_chunks(self.policy, self.parameters, batch, self.objective)
        for name, value in adapted.items():
            self._own[name][torch.as_tensor(rows)] = value
