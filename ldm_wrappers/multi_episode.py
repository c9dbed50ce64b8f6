"""N episodes of one task become one meta-episode (paper, section 3.4)."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, WrapperSpec

from ldm_wrappers.arguments import check_flag, check_integer, scalar_reward
from ldm_wrappers.fixed_attribute import FixedAttribute
from ldm_wrappers.infos import MARK, MULTI_EPISODE_INFOS, copied, set_aside
from ldm_wrappers.latent_dynamics.space_checks import way_out
from ldm_wrappers.reset_guard import CutWatch, ResetGuard
from ldm_wrappers.saved_state import check_like
from ldm_wrappers.task_protocol import TaskWatch, env_name, told_task
from ldm_wrappers.wrapper_order import (
    layers,
    own_statistics,
    present_in_processes,
    refuse_task_wrappers,
)

_ONE = np.zeros(1, np.intp)  # the index of the only worker


def require_array_observations(space: spaces.Space[Any]) -> None:
    """Raise a ``TypeError`` unless the observations of a single space are arrays or numbers."""
    arrays = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    if not isinstance(space, arrays):
        raise TypeError(
            f"MultiEpisodeWrapper needs observations that are arrays, got {space}; {way_out(space)}"
        )


def meta_episode_spec(
    spec: EnvSpec | None, n_episodes: int, limit: int | None = None
) -> EnvSpec | None:
    """A copy of ``spec`` whose ``max_episode_steps`` is that of a meta-episode, N · H.

    Args:
        spec: Specification of the environment.
        n_episodes: N.
        limit: H, if it differs from that of ``spec``.
    """
    spec = copy.deepcopy(spec)
    if spec is not None:
        limit = limit or spec.max_episode_steps
        spec.max_episode_steps = None if limit is None else n_episodes * limit
    return spec


def warn_of_monitor(env: Any) -> None:
    """Warn if Stable-Baselines3's Monitor would report inner episodes as whole ones."""
    here = (type(layer).__module__ == "stable_baselines3.common.monitor" for layer in layers(env))
    if any(here) or any(present_in_processes(env, "get_episode_times")):
        warnings.warn(
            "Monitor inside MultiEpisodeWrapper reports inner episodes: evaluate_policy and "
            "EvalCallback would take the last one for the whole meta-episode. Put it outside: "
            "Monitor(MultiEpisodeWrapper(env, …)), or VecMonitor around the VecEnv "
            "(make_vec_env puts its own Monitor inside wrapper_class)",
            stacklevel=3,
        )


def warn_of_own_statistics(env: Any) -> None:
    """Warn if each environment normalises by its own running statistics."""
    name = own_statistics(env)
    if name:
        warnings.warn(
            f"{name} around a single environment inside MultiEpisodeWrapper: each environment "
            "scales by its own running statistics, which change within a task, differ between "
            "workers and are not saved, so equal transitions have different values. "
            "Expected VecNormalize around the VecEnv, the VAE's own scales (scale_observations, "
            'reward_scale="running"), or a fixed TransformObservation or TransformReward',
            stacklevel=3,
        )


def _time_limit(max_episode_steps: int) -> WrapperSpec:
    return WrapperSpec(
        "TimeLimit",
        "gymnasium.wrappers.common:TimeLimit",
        {"max_episode_steps": max_episode_steps},
    )


class MultiEpisodeWrapper(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Shows ``n_episodes`` episodes of one task as one meta-episode.

    With at most H steps per episode, it has at most H⁺ = N · H steps. When an inner episode ends,
    ``reset(options={"keep_task": True})`` restarts the environment; the new start state is shown
    and no end is reported. The end of the last episode is reported as the environment reported it.
    Infos, at every step and reset:

    * ``episode_start`` (bool): the observation begins an inner episode;
    * ``episode_index`` (int): index, from 0, of the inner episode that the observation belongs to;
    * ``next_obs`` (steps only): the true next state, even when a restart is shown;
    * ``episode_returns``, ``episode_lengths`` (at the end only): arrays (n_episodes,);
    * ``cut_short`` (at the end only): always False; see ``stagger`` of the vector wrapper.

    The environment's own infos of these names are kept as ``environment_<name>``.

    ``spec.max_episode_steps`` is N · H; an environment made from this spec also ends its inner
    episodes after H steps.

    Wrappers that change observations (scaling, flattening) belong inside this one: ``next_obs`` is
    an observation of ``env``, and the latent dynamics model reads both.

    Args:
        env: Environment whose reset accepts ``keep_task`` (as families and adapters of
            ``ldm_envs`` do) and whose infos contain ``task``.
        n_episodes: N, at least 1.
        finite_horizon: Report the end of a meta-episode as terminated, never truncated: the
            horizon H⁺ is then part of the problem, as in the authors' gridworld runs.
        check_tasks: Check that ``info["task"]`` stays the same within a meta-episode, and warn
            once if infos report no task or if all meta-episodes have the same one.

    Raises:
        ValueError: ``n_episodes`` is not an integer of at least 1, or a wrapper inside belongs
            around meta-episodes.
        TaskChangedError: At a step, if the task changed within a meta-episode.
        TaskIgnoredError: At a reset with ``options["task"]``, if infos report a different task.
        gymnasium.error.ResetNeeded: At a step before the first reset, or after the end of a
            meta-episode.
        TypeError: Observations are not arrays (``Dict``, ``Tuple``, …).
    """

    lasts_a_task = True
    n_episodes = FixedAttribute[int]()

    def __init__(
        self,
        env: gym.Env[Any, Any],
        n_episodes: int,
        *,
        finite_horizon: bool = False,
        check_tasks: bool = True,
    ) -> None:
        n_episodes = check_integer("n_episodes", n_episodes)
        finite_horizon = check_flag("finite_horizon", finite_horizon)
        check_tasks = check_flag("check_tasks", check_tasks)
        refuse_task_wrappers(env, "MultiEpisodeWrapper")
        require_array_observations(env.observation_space)
        gym.utils.RecordConstructorArgs.__init__(
            self, n_episodes=n_episodes, finite_horizon=finite_horizon, check_tasks=check_tasks
        )
        super().__init__(env)
        warn_of_monitor(env)
        warn_of_own_statistics(env)
        self.n_episodes = n_episodes
        self.finite_horizon = finite_horizon
        self._episode = 0
        self._returns = np.zeros(n_episodes)
        self._lengths = np.zeros(n_episodes, np.int64)
        self._watch = TaskWatch(env_name(env), 1) if check_tasks else None
        self._guard = ResetGuard("MultiEpisodeWrapper")
        self._cuts = CutWatch(f"all of them in the first of {n_episodes} episodes of a task")

    @property
    def spec(self) -> EnvSpec | None:  # type: ignore[override]
        """Gymnasium's spec, with ``max_episode_steps`` N · H."""
        if self._cached_spec is not None:
            return self._cached_spec
        made = meta_episode_spec(super().spec, self.n_episodes)
        inner = None if self.env.spec is None else self.env.spec.max_episode_steps
        if made is not None and inner is not None:
            # gym.make adds a time limit of N · H around the environment; this is the inner one
            made.additional_wrappers = (_time_limit(inner), *made.additional_wrappers)
        self._cached_spec = made
        return self._cached_spec

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a new meta-episode; ``options`` go to the environment."""
        with self._guard.resetting():
            observation, info = self.env.reset(seed=seed, options=options)
            if self._watch is not None:
                self._watch.begin(_ONE, told_task(info), options)
        if self._guard.state == "running" and self._lengths.any() and self.n_episodes > 1:
            self._cuts.cut()
        self._episode = 0
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self._guard.begin()
        return observation, self._position(set_aside(info, MULTI_EPISODE_INFOS), True)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step, and restart the environment if an inner episode ended."""
        self._guard.check()
        with self._guard.stepping(self.env):
            outcome = self.env.step(action)
        with self._guard.recording():
            return self._record(*outcome)

    def _record(
        self, observation: Any, reward: Any, terminated: bool, truncated: bool, info: dict[str, Any]
    ) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Record the result of an environment step; returns that of the meta-episode."""
        self._returns[self._episode] += scalar_reward(reward)
        self._lengths[self._episode] += 1
        info = {**set_aside(info, MULTI_EPISODE_INFOS), "next_obs": np.array(observation)}
        ended = terminated or truncated
        if ended:
            self._cuts.end()
            info = copied(info)  # a reset, by us or by a batch around us, may overwrite them
        if ended and self._watch is not None:
            self._watch.check(_ONE, told_task(info))
        if ended and self._episode < self.n_episodes - 1:
            self._episode += 1
            observation, reset_info = self.env.reset(options={"keep_task": True})
            if self._watch is not None:
                self._watch.check(_ONE, told_task(reset_info))
            info = {**info, **set_aside(reset_info, MULTI_EPISODE_INFOS)}
            return observation, reward, False, False, self._position(info, True)
        if ended:
            observation = copy.copy(observation)  # batches keep it and reset the environment now
            self._guard.end()
            info["episode_returns"] = self._returns.copy()
            info["episode_lengths"] = self._lengths.copy()
            info["cut_short"] = False
            if self.finite_horizon:
                terminated, truncated = True, False
        return observation, reward, terminated, truncated, self._position(info, False)

    def _position(self, info: dict[str, Any], start: bool) -> dict[str, Any]:
        return {**info, MARK: True, "episode_start": start, "episode_index": self._episode}

    def get_state(self) -> dict[str, Any]:
        """Bookkeeping of the running meta-episode, for an exact resume."""
        return {
            "episode": self._episode,
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
            "guard": self._guard.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`get_state`.

        Raises:
            ValueError: The state has a different number of episodes; nothing is changed then.
        """
        own = {"returns": self._returns, "lengths": self._lengths}
        check_like({name: state[name] for name in own}, own, "meta-episode")
        self._episode = int(state["episode"])
        self._returns[...] = state["returns"]
        self._lengths[...] = state["lengths"]
        self._guard.state = state.get("guard", "running")  # missing in old checkpoints
        if self._watch is not None:
            self._watch.forget()
