"""Acting in meta-episodes: the base of the three methods' actors."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from ldm_wrappers.vector import MultiEpisodeWrapper
from train.common.learner import AnyVectorEnv
from train.common.rollout import Step
from train.off_policy.collection import Recorder, Sizes
from train.off_policy.episodes import Episode

Array = NDArray[Any]


class InnerEnds(VectorWrapper):
    """Adds ``infos["episode_terminated"]``: whether the environment ended the inner episode.

    Args:
        env: Environments without autoreset, inside the meta-episodes.
    """

    handles_reset_mask = True  # for MultiEpisodeWrapper: there is no state per environment

    @classmethod
    def inside(cls, env: VectorEnv[Any, Any, Any]) -> AnyVectorEnv:
        """Meta-episodes like those of ``env``, with this wrapper inside."""
        assert isinstance(env, MultiEpisodeWrapper)
        return MultiEpisodeWrapper(cls(env.env), env.n_episodes)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step, and also report terminations in the infos."""
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        infos = {**infos, "episode_terminated": np.array(terminations, bool)}
        return observations, rewards, terminations, truncations, infos


class EpisodeActor(abc.ABC):
    """Acts greedily in meta-episodes, one row per task, and keeps a row's finished episodes.

    A row whose meta-episode is over continues unchanged while others are running. It does not
    start another episode, so it never adapts again.

    Args:
        sizes: Sizes of observations and actions.

    Attributes:
        episodes: Finished episodes of each row's meta-episode.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.episodes: list[list[Episode]] = []
        self._recorder = Recorder(0)
        self._begins, self._over = np.zeros(0, bool), np.zeros(0, bool)
        self._actions: Array = np.zeros(0)

    def begin(self, n: int) -> None:
        """Start ``n`` meta-episodes."""
        self.episodes = [[] for _ in range(n)]
        self._recorder = Recorder(n)
        self._begins, self._over = np.ones(n, bool), np.zeros(n, bool)

    def act(self, observations: Array, episode_starts: NDArray[np.bool_]) -> Array:
        """Actions (n, …) of the environment."""
        for row in np.flatnonzero(episode_starts).tolist():
            self.episodes[row] = []
        for row in np.flatnonzero((self._begins | episode_starts) & ~self._over).tolist():
            self.begin_episode(row, len(self.episodes[row]))
        self._begins[:] = False
        self._actions = np.asarray(self.actions(self.sizes.flat(observations)), np.float32)
        return self.sizes.environment_actions(self._actions)

    def observe(self, step: Step) -> None:
        """Record the step; finish episodes that ended with it."""
        shown = self.sizes.flat(step.observations)
        following = self.sizes.flat(step.infos["next_obs"])
        self.observe_rows(shown, self._actions, np.asarray(step.rewards, np.float32))
        starts = step.ended | np.asarray(step.infos["episode_index"] != step.episode)
        for row in range(len(shown)):
            transition = (shown[row], self._actions[row], step.rewards[row], following[row])
            self._recorder.add(row, transition)
            if starts[row]:
                terminated = bool(np.asarray(step.infos["episode_terminated"])[row])
                self.episodes[row].append(self._recorder.finish(row, terminated))
        self._begins, self._over = starts, step.over

    def end(self) -> None:
        """Discard the meta-episodes."""
        self.begin(0)

    @abc.abstractmethod
    def begin_episode(self, row: int, episode: int) -> None:
        """Start inner episode ``episode`` in a row; ``self.episodes[row]`` has the earlier ones."""

    @abc.abstractmethod
    def actions(self, observations: NDArray[np.float32]) -> Array:
        """Actions in [-1, 1], (n, action_dim)."""

    def observe_rows(self, observations: Array, actions: Array, rewards: Array) -> None:
        """Process a step: observations before it, actions in [-1, 1] and rewards, (n, …)."""
        return
