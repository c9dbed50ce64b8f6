"""Environments of the wrapper tests, and a meta-episode stepped by hand."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

Row = np.ndarray[Any, Any]


class ScriptedEnv(gym.Env[Row, Any]):
    """Every observation is unique: (task, number of the episode, step, position).

    Episode e lasts ``lengths[e % len(lengths)]`` steps; episodes end truncated and terminated in
    turn. The task is a random number that ``keep_task`` keeps. Nothing else is random.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 1}

    def __init__(
        self,
        lengths: tuple[int, ...] = (3, 5, 2),
        action: str = "discrete",
        start: int = 0,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = render_mode
        self.lengths = lengths
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.action_space: spaces.Space[Any] = spaces.Discrete(3, start=start)
        if action == "box":
            self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.episode = -1
        self.task = 0.0

    def _observation(self) -> Row:
        return np.array([self.task, self.episode, self.t, self.position], np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Row, dict[str, Any]]:
        super().reset(seed=seed)
        options = options or {}
        if "task" in options:
            self.task = float(options["task"])
        elif not options.get("keep_task"):
            self.task = float(self.np_random.uniform(-1.0, 1.0))
        self.episode += 1
        self.t, self.position = 0, 0.0
        return self._observation(), {"task": np.array([self.task], np.float32)}

    def step(self, action: Any) -> tuple[Row, float, bool, bool, dict[str, Any]]:
        self.t += 1
        self.position += 0.1 * float(np.sum(action))
        reward = math.sin(self.t + 3.0 * self.task) + 0.5 * self.position
        over = self.t >= self.lengths[self.episode % len(self.lengths)]
        terminated = over and self.episode % 2 == 1
        info = {"task": np.array([self.task], np.float32), "t": self.t}
        return self._observation(), reward, terminated, over and not terminated, info

    def render(self) -> Row:
        return np.full((4, 4, 3), self.t, np.uint8)


def scripted_vector(*lengths: tuple[int, ...], **kwargs: Any) -> SyncVectorEnv:
    """One ScriptedEnv per tuple of episode lengths, without autoreset."""
    makers = [lambda one=one: ScriptedEnv(one, **kwargs) for one in lengths]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)


def seeds_of(seed: int, n_workers: int) -> list[int]:
    """What a vector wrapper makes of the seed of a run: the first words of a SeedSequence."""
    return [int(word) for word in np.random.SeedSequence(seed).generate_state(n_workers)]


def actions_for(env: Any, n_steps: int, seed: int = 0) -> list[Any]:
    """A fixed sequence of random actions of ``env`` (scalar or vector)."""
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(n_steps)]


class Transition(NamedTuple):
    observation: Row
    action: Any
    reward: float
    next_observation: Row


class PlainWorker:
    """A meta-episode by hand: a plain environment, stepped and restarted with if statements."""

    def __init__(self, env: gym.Env[Any, Any], n_episodes: int, seed: int | None) -> None:
        self.env, self.n_episodes = env, n_episodes
        self.state, _ = env.reset(seed=seed)
        self.episode = 0
        self.running: list[Transition] = []
        self.finished: list[list[Transition]] = []

    def step(self, action: Any) -> tuple[Transition, bool]:
        """The true transition, and whether it ended the meta-episode."""
        observation, reward, terminated, truncated, _ = self.env.step(action)
        transition = Transition(self.state, action, float(reward), observation)
        self.running.append(transition)
        self.state = observation
        if not (terminated or truncated):
            return transition, False
        if self.episode < self.n_episodes - 1:
            self.episode += 1
            self.state, _ = self.env.reset(options={"keep_task": True})
            return transition, False
        self.episode = 0
        self.state, _ = self.env.reset()
        self.finished.append(self.running)
        self.running = []
        return transition, True
