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
from train.off_policy.evaluation import EpisodeActor
from train.off_policy.learner import EVALUATION, WEIGHTS, OffPolicyLearner, stream_seed
from train.off_policy.networks import seeded_weights
from train.off_policy.propensity import (
    effective_sample_size,
    logistic_regression,
    propensity_weights,
)
from train.off_policy.replay import Episode, Places, TaskReplay
from train.off_policy.td3 import TD3, HistoryActor, HistoryBatch, squared_distance

Tensor = torch.Tensor
Array = NDArray[Any]


class Histories:
    """The last steps of each row, as :meth:`TaskReplay.windows` has them.

    Args:
        length: Steps remembered.
        n: Rows.
        columns: Columns of a step: action, reward and observation.
    """

    def __init__(self, length: int, n: int, columns: int) -> None:
        self.windows = np.zeros((length, n, columns), np.float32)

    def forget(self, row: int) -> None:
        """An episode begins in a row."""
        self.windows[:, row] = 0.0

    def add(self, actions: Array, rewards: Array, observations: Array) -> None:
        """Take in a step of all rows."""
        self.windows[:-1] = self.windows[1:].copy()
        self.windows[-1] = np.concatenate([actions, rewards[:, None], observations], axis=1)


class MqlLearner(OffPolicyLearner):
    """Multi-task TD3 on one replay of all train tasks, and what test tasks adapt from it.

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
        """Columns of a step of the history."""
        return self.sizes.action_dim + 1 + self.sizes.observation_dim

    # --- training -------------------------------------------------------------------------------

    def visit(self, tasks: NDArray[np.int64], initial: bool) -> int:
        """Random episodes at first, then the actor's with Gaussian noise."""
        config = self.config

        def finished(row: int, number: int, episode: Episode) -> None:
            self.replay.add(tasks[row], episode)
            self.note_return("random" if initial else "training", episode)

        n_episodes = config.initial_episodes if initial else config.episodes_per_visit
        return self.collect(_Noisy(self, initial), tasks, n_episodes, finished)

    def update(self) -> Mapping[str, Tensor]:
        """A step of the critics, and every ``policy_freq``-th time of actor and targets."""
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
        config = self.config
        return self.loaded or self._steps >= config.adapt_from * config.total_timesteps

    def adapt(self, episodes: list[Episode], row: int = 0) -> TD3:
        """A copy of the networks, adapted to the task of some episodes; nothing else changes.

        Section 4.2 of the paper: gradient steps on the new transitions, then on old ones that
        count by how much they resemble the new ones, near the meta-trained weights.

        Args:
            episodes: The new task's.
            row: Tells the random numbers of several tasks apart.
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
        replay = TaskReplay(1, len(episodes), self.horizon, *sizes)
        for episode in episodes:
            replay.add(0, episode)
        lengths = [len(episode) for episode in episodes]
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
        """The meta-trained actor's context, and the observation where the settings say so."""
        context = self.td3.actor.encoder(batch.windows)
        if self.config.propensity_features == "observation-context":
            context = torch.cat([batch.steps.observations, context], dim=-1)
        return np.asarray(context.cpu().numpy(), np.float64)

    def actor(self) -> MqlActor:
        """N − 1 episodes of the meta-trained actor; the last one of the adapted networks."""
        return MqlActor(self)

    def artifacts(self) -> dict[str, Any]:
        """Weights, and the replay that test tasks adapt from."""
        return {**super().artifacts(), "replay": self.replay.state_dict()}

    def load_artifacts(self, contents: Mapping[str, Any]) -> None:
        """Inverse of :meth:`artifacts`."""
        replay = contents["replay"]
        state_part(replay, "lengths")
        self.replay.check_state(replay)
        super().load_artifacts(contents)
        self.replay.load_state_dict(replay)


def td3_step(
    td3: TD3,
    optimizers: Mapping[str, torch.optim.Optimizer],
    batch: HistoryBatch,
    generator: torch.Generator,
    moves_actor: bool,
    weights: Tensor | None = None,
    prox: tuple[float, TD3] | None = None,
) -> dict[str, Tensor]:
    """One step of the critics, and of actor and targets if asked for.

    Args:
        td3: What is trained.
        optimizers: Its optimizers.
        batch: Transitions with histories.
        generator: Of the target's noise.
        moves_actor: Whether this step moves actor and targets too.
        weights: Of the transitions, (n,).
        prox: λ and θ̂ of the penalty λ ‖θ − θ̂‖².
    """
    losses = {"critic_loss": td3.critic_loss(batch, generator, weights)}
    _descend(optimizers["critics"], losses["critic_loss"], td3.critics, prox, "critics")
    if moves_actor:
        losses["actor_loss"] = td3.actor_loss(batch, weights)
        _descend(optimizers["actor"], losses["actor_loss"], td3.actor, prox, "actor")
        td3.move_targets()
    return {name: loss.detach() for name, loss in losses.items()}


def _descend(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    module: torch.nn.Module,
    prox: tuple[float, TD3] | None,
    name: str,
) -> None:
    if prox is not None:
        loss = loss + prox[0] * squared_distance(module, getattr(prox[1], name))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


class _Noisy:
    """Behaviour of training episodes: random, or the actor's with Gaussian noise."""

    def __init__(self, learner: MqlLearner, random: bool) -> None:
        self.learner, self.random = learner, random
        n = learner.config.n_workers
        self.histories = Histories(learner.config.history_length, n, learner.columns)

    def begin_episode(self, row: int, episode: int) -> None:
        self.histories.forget(row)

    def act(self, observations: NDArray[np.float32]) -> Array:
        learner = self.learner
        shape = (len(observations), learner.sizes.action_dim)
        if self.random:
            return learner.rng.uniform(-1.0, 1.0, shape).astype(np.float32)
        actions = greedy(learner.td3.actor, observations, self.histories.windows, learner.device)
        noise = learner.config.exploration_noise * learner.rng.standard_normal(shape, np.float32)
        return np.clip(actions + noise, -1.0, 1.0)

    def observe(self, actions: Array, rewards: Array, observations: Array) -> None:
        self.histories.add(actions, rewards, observations)


@torch.no_grad()
def greedy(actor: HistoryActor, observations: Array, windows: Array, device: str) -> Array:
    """Actions of a network, (n, action_dim)."""
    rows, before = torch.from_numpy(observations), torch.from_numpy(windows)
    return np.asarray(actor(rows.to(device), before.to(device)).cpu().numpy())


class MqlActor(EpisodeActor):
    """The deterministic actor; in the last episode that of the networks adapted to the row's task.

    Args:
        learner: Whose networks act; they are never changed.

    Attributes:
        adapted: The adapted networks of each row, ``None`` before its last episode.
    """

    def __init__(self, learner: MqlLearner) -> None:
        super().__init__(learner.sizes)
        self.learner = learner
        self.adapted: list[TD3 | None] = []
        self._histories = Histories(learner.config.history_length, 0, learner.columns)

    def begin(self, n: int) -> None:
        """Begin ``n`` meta-episodes."""
        super().begin(n)
        self.adapted = [None] * n
        learner = self.learner
        self._histories = Histories(learner.config.history_length, n, learner.columns)

    def begin_episode(self, row: int, episode: int) -> None:
        """The history begins again; before the last episode the networks adapt."""
        learner = self.learner
        self._histories.forget(row)
        self.adapted[row] = None
        if episode == learner.config.n_episodes - 1 and learner.adapts:
            self.adapted[row] = learner.adapt(self.episodes[row], row)

    def actions(self, observations: NDArray[np.float32]) -> Array:
        """Deterministic actions in [-1, 1]."""
        device, windows = self.learner.device, self._histories.windows
        actions = greedy(self.learner.td3.actor, observations, windows, device)
        for row, td3 in enumerate(self.adapted):
            if td3 is not None:
                one = slice(row, row + 1)
                actions[row] = greedy(td3.actor, observations[one], windows[:, one], device)[0]
        return actions

    def observe_rows(self, observations: Array, actions: Array, rewards: Array) -> None:
        """Remember the step."""
        self._histories.add(actions, rewards, observations)
