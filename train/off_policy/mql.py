"""MQL: TD3 on a context of the recent history, and its adaptation to a test task.

Fakoor et al., "Meta-Q-Learning" (arXiv 1910.00125).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ldm_wrappers.saved_state import state_part
from train.config.off_policy import MqlSettings
from train.off_policy.episodes import Episode
from train.off_policy.learner import OffPolicyLearner
from train.off_policy.mql_acting import MqlActor, MqlExploration
from train.off_policy.networks import seeded_weights
from train.off_policy.propensity import (
    effective_sample_size,
    logistic_regression,
    propensity_weights,
)
from train.off_policy.replay import Places, TaskReplay
from train.off_policy.streams import EVALUATION, WEIGHTS, stream_seed
from train.off_policy.td3 import TD3, HistoryBatch, td3_step

Tensor = torch.Tensor
Array = NDArray[Any]


class MqlLearner(OffPolicyLearner):
    """Multi-task TD3 on one replay of all train tasks, which is also used to adapt to test tasks.

    Args:
        config: Settings of the run.
    """

    config: MqlSettings

    def __init__(self, config: MqlSettings) -> None:
        super().__init__(config)
        with seeded_weights(stream_seed(config.seed, WEIGHTS)):
            self.td3 = TD3(
                self.sizes.observation_dim,
                self.sizes.action_dim,
                config.context_dim,
                config.net_arch,
                gamma=config.gamma,
                tau=config.tau,
                target_noise=config.target_noise,
            ).to(self.device)
        self.networks = {"td3": self.td3}
        self.optimizers = self.td3.optimizers(config.learning_rate)

    @property
    def columns(self) -> int:
        """Number of columns of a step in the history."""
        return self.sizes.action_dim + 1 + self.sizes.observation_dim

    # --- training -------------------------------------------------------------------------------

    def visit(self, tasks: NDArray[np.int64], initial: bool) -> int:
        """Collect random episodes at first, then episodes of the actor with Gaussian noise."""
        config = self.config

        def finished(row: int, number: int, episode: Episode) -> None:
            self.replay.add(tasks[row], episode)
            self.note_return("random" if initial else "training", episode)

        n_episodes = config.initial_episodes if initial else config.episodes_per_visit
        return self.collect(MqlExploration(self, initial), tasks, n_episodes, finished)

    def update(self) -> Mapping[str, Tensor]:
        """Update the critics, and every ``policy_freq``-th time actor and targets."""
        places = self.replay.draw_any(self.config.batch_size, self.rng)
        batch = self.batch(self.replay, places)
        moves = (self.n_updates + 1) % self.config.policy_freq == 0
        return td3_step(self.td3, self.optimizers, batch, self.generator, moves)

    def batch(self, replay: TaskReplay, places: Places) -> HistoryBatch:
        """Transitions with their histories."""
        following = Places(places.tasks, places.slots, places.times + 1)
        length = self.config.history_length
        return HistoryBatch(
            replay.take(places, self.device),
            replay.windows(places, length, self.device),
            replay.windows(following, length, self.device),
        )

    # --- adaptation -----------------------------------------------------------------------------

    @property
    def adapts(self) -> bool:
        """Whether evaluations adapt weights at this point of the training."""
        return self.adapt_from_reached and self.config.test_updates > 0

    def adapt(self, episodes: list[Episode], row: int = 0) -> TD3:
        """A copy of the networks, adapted to the task of some episodes; nothing else changes.

        As in the paper: gradient steps on the new transitions, then on old ones, weighted by their
        similarity to the new ones, with a penalty towards the meta-trained weights.

        Args:
            episodes: Episodes of the new task.
            row: Index of the task, for independent random numbers.
        """
        config = self.config
        seed = stream_seed(config.seed, EVALUATION, row)
        rng = np.random.default_rng(seed)
        generator = torch.Generator(self.device)
        generator.manual_seed(seed)
        td3 = copy.deepcopy(self.td3)
        optimizers = td3.optimizers(config.adapt_learning_rate)
        new = self.new_batch(episodes)
        for index in range(config.snapshot_updates):
            moves = (index + 1) % config.policy_freq == 0
            td3_step(td3, optimizers, new, generator, moves)
        weights, bias = self.propensity(new, rng)
        for index in range(config.replay_updates):
            places = self.replay.draw_any(config.adapt_batch_size, rng)
            batch = self.batch(self.replay, places)
            log_odds = self.features(batch) @ weights + bias
            beta = propensity_weights(log_odds, config.propensity_clip)
            prox = config.prox if config.prox is not None else 1.0 - effective_sample_size(beta)
            moves = (index + 1) % config.policy_freq == 0
            shares = torch.from_numpy(beta.astype(np.float32)).to(self.device)
            td3_step(td3, optimizers, batch, generator, moves, shares, (prox, self.td3))
        return td3

    def new_batch(self, episodes: list[Episode]) -> HistoryBatch:
        """The newest ``snapshot_size`` transitions of a new task, in order."""
        sizes = (self.sizes.observation_dim, self.sizes.action_dim)
        lengths = [len(episode) for episode in episodes]
        replay = TaskReplay(1, len(episodes), max(lengths), *sizes)  # may be of eval_env_id
        for episode in episodes:
            replay.add(0, episode)
        slots = np.repeat(np.arange(len(episodes)), lengths)
        times = np.concatenate([np.arange(length) for length in lengths])
        newest = slice(-self.config.snapshot_size, None)
        places = Places(np.zeros_like(slots)[newest], slots[newest], times[newest])
        return self.batch(replay, places)

    def propensity(self, new: HistoryBatch, rng: np.random.Generator) -> tuple[Array, float]:
        """Log odds of "old" against "new" as a linear function of the features."""
        config, n_new = self.config, len(new.steps.rewards)
        n_each = n_new // len(self.tasks) + 2
        drawn = [
            self.replay.recent(task, n_each, config.snapshot_size, rng)
            for task in range(len(self.tasks))
            if self.replay.n_transitions[task]
        ]
        places = Places(
            *(np.concatenate([getattr(p, name) for p in drawn]) for name in vars(drawn[0]))
        )
        old = self.features(self.batch(self.replay, places))
        return logistic_regression(
            old, self.features(new), config.propensity_c, correct_sizes=config.correct_class_sizes
        )

    @torch.no_grad()
    def features(self, batch: HistoryBatch) -> Array:
        """The meta-trained actor's context, and the observation if the settings say so."""
        context = self.td3.actor.encoder(batch.windows)
        if self.config.propensity_features == "observation-context":
            context = torch.cat([batch.steps.observations, context], dim=-1)
        return np.asarray(context.cpu().numpy(), np.float64)

    def actor(self) -> MqlActor:
        """Plays N − 1 episodes with the meta-trained actor, and the last with adapted networks."""
        return MqlActor(self)

    def artifacts(self) -> dict[str, Any]:
        """Weights, and the replay that is used to adapt to test tasks."""
        return {**super().artifacts(), "replay": self.replay.state_dict()}

    def load_artifacts(self, contents: Mapping[str, Any]) -> None:
        """Inverse of :meth:`artifacts`."""
        replay = contents["replay"]
        state_part(replay, "lengths")
        self.replay.check_state(replay)
        super().load_artifacts(contents)
        self.replay.load_state_dict(replay)
