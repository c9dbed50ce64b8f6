"""N episodes of one task become one meta-episode, for vector environments."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper

from ldm_wrappers.arguments import check_flag, check_integer, worker_seeds
from ldm_wrappers.fixed_attribute import FixedAttribute
from ldm_wrappers.infos import MARK, MULTI_EPISODE_INFOS, copied, set_aside
from ldm_wrappers.multi_episode import (
    meta_episode_spec,
    require_array_observations,
    warn_of_monitor,
    warn_of_own_statistics,
)
from ldm_wrappers.reset_guard import ResetGuard
from ldm_wrappers.saved_state import check_like
from ldm_wrappers.step_limit import step_limit
from ldm_wrappers.task_protocol import TaskWatch, env_name, told_tasks
from ldm_wrappers.vector.batch import check_batch
from ldm_wrappers.vector.infos import (
    BoolArray,
    clear_rows,
    merge_rows,
    to_object_array,
    where_rows,
)
from ldm_wrappers.vector.masked_resets import check_masked_resets, refuse_moved_rows
from ldm_wrappers.vector.stagger import Stagger, spread_lengths
from ldm_wrappers.vector.task_rows import option_rows, reset_rows
from ldm_wrappers.wrapper_order import refuse_task_wrappers

_OWN_INFOS = (*MULTI_EPISODE_INFOS, "final_obs", "final_info")


class MultiEpisodeWrapper(VectorWrapper):
    """Shows ``n_episodes`` episodes of one task as one meta-episode, then draws a new task.

    Inside a meta-episode an environment whose episode ends is restarted on the same task by
    ``reset(options={"reset_mask": …, "keep_task": True})``; the new start state is shown and no
    end is reported. The end of the last episode is reported as the environment reported it, and a
    new task begins in the same step (``AutoresetMode.SAME_STEP``). Source: paper, section 3.4.

    Infos, arrays over environments, at every step and reset:

    * ``episode_start`` (bool): the observation begins an inner episode;
    * ``episode_index`` (int64): index, from 0, of the inner episode of the observation;
    * ``next_obs`` (steps only): the true next state, even when a restart is shown;
    * ``final_obs``, ``final_info`` as in Gymnasium, where a meta-episode ended; the latter
      contains ``episode_returns`` and ``episode_lengths``, (num_envs, n_episodes), and
      ``cut_short`` (bool): whether ``stagger`` ended the meta-episode.

    The environments' own infos of these names are kept as ``environment_<name>``.
    ``spec.max_episode_steps`` is N · H. An integer seed becomes one independent stream per
    environment (:func:`ldm_wrappers.arguments.worker_seeds`).

    Wrappers that change observations (scaling, flattening) belong inside this one: ``next_obs`` is
    an observation of ``env``, and the latent dynamics model reads both.

    Args:
        env: Vector environment with ``AutoresetMode.DISABLED`` whose reset accepts ``keep_task``
            (as families and adapters of ``ldm_envs`` do) and whose infos contain ``task``.
        n_episodes: N, at least 1.
        finite_horizon: Report the end of a meta-episode as terminated, never truncated: the
            horizon H⁺ is then part of the problem, as in the authors' gridworld runs, and a
            learner does not bootstrap beyond it.
        stagger: Truncate the first meta-episode of every worker but the last, each at a different
            step before N · H. Workers are then in different phases of their meta-episodes, so that
            a short rollout covers all phases. Inner episodes that a shortened meta-episode does not
            reach have length 0 in ``final_info``.
        check_tasks: Check that ``infos["task"]`` stays the same within a meta-episode, and warn
            once if infos report no task or if all meta-episodes have the same one.

    Raises:
        ValueError: ``n_episodes`` is below 1, the environment resets by itself, one environment
            is used for several rows, ``stagger`` is used with an environment that declares no
            ``max_episode_steps``, a vector wrapper inside keeps state that resetting only some
            environments would corrupt, or a wrapper inside belongs around meta-episodes.
        TypeError: Observations are not arrays (``Dict``, ``Tuple``, …).
        TaskChangedError: At a step, if the task changed within a meta-episode.
        TaskIgnoredError: At a reset with ``options["task"]``, if infos report a different task.
        gymnasium.error.ResetNeeded: At a step or a reset of some environments, before the first
            reset of all or after an error in a step or a reset.
    """

    n_episodes = FixedAttribute[int]()

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        n_episodes: int,
        *,
        finite_horizon: bool = False,
        stagger: bool = False,
        check_tasks: bool = True,
    ) -> None:
        n_episodes = check_integer("n_episodes", n_episodes)
        finite_horizon = check_flag("finite_horizon", finite_horizon)
        stagger = check_flag("stagger", stagger)
        check_tasks = check_flag("check_tasks", check_tasks)
        super().__init__(env)
        check_batch(env, AutoresetMode.DISABLED, "MultiEpisodeWrapper")
        require_array_observations(env.single_observation_space)
        check_masked_resets(env)
        warn_of_monitor(env)
        warn_of_own_statistics(env)
        refuse_task_wrappers(env, "MultiEpisodeWrapper")
        self.n_episodes = n_episodes
        self.finite_horizon = finite_horizon
        self.metadata = {**env.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self._episode = np.zeros(self.num_envs, np.int64)
        self._returns = np.zeros((self.num_envs, n_episodes))
        self._lengths = np.zeros((self.num_envs, n_episodes), np.int64)
        self._rows = np.arange(self.num_envs)
        self._inner_limits = np.zeros(self.num_envs, bool)
        lengths = np.zeros(self.num_envs, np.int64)
        if stagger:
            lengths = spread_lengths(self.num_envs, n_episodes, step_limit(env))
        self._stagger = Stagger(lengths)
        self._watch = TaskWatch(env_name(env), self.num_envs) if check_tasks else None
        self._guard = ResetGuard("MultiEpisodeWrapper")
        self._masks_are_known = isinstance(env.unwrapped, (SyncVectorEnv, AsyncVectorEnv))

    @property
    def spec(self) -> EnvSpec | None:  # type: ignore[override]
        """The environments' spec, with ``max_episode_steps`` N · H."""
        return meta_episode_spec(self.env.spec, self.n_episodes, step_limit(self.env))

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a new meta-episode everywhere, or where ``options["reset_mask"]`` is true.

        ``options["task"]`` of shape (num_envs, task_dim) gives each environment its row, even
        if ``env`` is one of Gymnasium's batches of scalar environments.
        """
        mask = np.ones(self.num_envs, bool)
        if options is not None and "reset_mask" in options:
            mask = np.array(options["reset_mask"], bool)
        if not mask.all():
            self._guard.check_partial()
        seeds = worker_seeds(seed, self.num_envs)
        option_rows(self.env, options)  # refused before anything changes
        with self._guard.resetting():
            observations, infos = reset_rows(self.env, seeds, options)
            observations = observations.copy()
            self._guard.begin()
            self._begin(mask)
            self._stagger.reset(mask)
            self._watch_begin(mask, infos, options)
        return observations, self._position(set_aside(infos, _OWN_INFOS))

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all environments, restart ended inner episodes, report ended meta-episodes."""
        self._guard.check()
        with self._guard.stepping(self.env):
            returned = self.env.step(actions)
        with self._guard.recording():
            return self._record(*returned)

    def _record(
        self, observations: Any, *returned: Any
    ) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Record the result of a step of the environments; returns that of the meta-episodes."""
        *outcome, infos = returned
        # copies: an environment may reuse its arrays when it is reset below
        rewards = np.array(outcome[0])
        terminations, truncations = (np.array(flags, bool) for flags in outcome[1:])
        self._returns[self._rows, self._episode] += rewards
        self._lengths[self._rows, self._episode] += 1
        next_obs = observations.copy()  # the caller may scale what is shown in place
        infos = {**set_aside(infos, _OWN_INFOS), "next_obs": next_obs}
        early = self._stagger.step()
        ended = terminations | truncations | early
        self._inner_limits = np.zeros(self.num_envs, bool)
        if not ended.any():
            observations = observations.copy()
            return observations, rewards, terminations, truncations, self._position(infos)

        last = (terminations | truncations) & (self._episode == self.n_episodes - 1)
        early &= ~last
        last |= early
        inner = ended & ~last
        self._inner_limits = inner & truncations & ~terminations
        self._watch_inside(ended, infos)
        shown, infos = self._restart(inner, copied(infos))
        shown, infos = self._begin_tasks(last, early, shown, infos)
        if self.finite_horizon:
            terminations, truncations = last & ~early, early
        else:
            terminations, truncations = terminations & last & ~early, truncations & last | early
        return shown, rewards, terminations, truncations, self._position(infos)

    def _restart(self, inner: BoolArray, infos: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode of the same task in ``inner``; returns observations and infos."""
        next_obs = infos["next_obs"]
        if not inner.any():
            return next_obs, infos
        self._episode[inner] += 1
        options = {"reset_mask": inner.copy(), "keep_task": True}
        fresh, reset_infos = self.env.reset(options=options)
        self._check_mask(inner, fresh, next_obs)
        self._watch_inside(inner, reset_infos)
        infos = merge_rows(infos, set_aside(reset_infos, _OWN_INFOS), inner)
        return where_rows(inner, fresh, next_obs), infos

    def _begin_tasks(
        self, last: BoolArray, early: BoolArray, shown: Any, infos: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a new task in ``last``, like ``SAME_STEP`` autoreset; ``early`` ones were cut."""
        if not last.any():
            return shown, infos
        next_obs = infos["next_obs"]
        final_info = {key: value for key, value in infos.items() if not key.startswith("_")}
        final_info = self._position(final_info)
        final_info["episode_returns"] = self._returns.copy()
        final_info["episode_lengths"] = self._lengths.copy()
        final_info["cut_short"] = early.copy()
        names = [key for key in final_info if not key.startswith("_")]
        final_info |= {f"_{key}": last & infos.get(f"_{key}", last) for key in names}
        fresh, reset_infos = self.env.reset(options={"reset_mask": last.copy()})
        self._check_mask(last, fresh, shown)
        self._begin(last)
        self._stagger.remaining[last] = 0
        self._watch_begin(last, reset_infos)
        infos = merge_rows(clear_rows(infos, last), set_aside(reset_infos, _OWN_INFOS), last)
        infos |= {
            "next_obs": next_obs,
            "final_obs": to_object_array(next_obs, last),
            "_final_obs": last,
            "final_info": final_info,
            "_final_info": last,
        }
        return where_rows(last, fresh, shown), infos

    def _check_mask(self, mask: BoolArray, shown: Any, before: Any) -> None:
        """Raise if a reset of some environments has moved others; checked once."""
        if not (self._masks_are_known or mask.all()):
            self._masks_are_known = True
            refuse_moved_rows(env_name(self.env), mask, shown, before)

    def inner_time_limits(self) -> BoolArray:
        """Where the last step ended an episode by its time limit, but not the meta-episode."""
        return self._inner_limits

    def _begin(self, mask: BoolArray) -> None:
        self._episode[mask] = 0
        self._returns[mask] = 0.0
        self._lengths[mask] = 0

    def _watch_begin(
        self, mask: BoolArray, infos: dict[str, Any], options: dict[str, Any] | None = None
    ) -> None:
        if self._watch is not None:
            workers = np.flatnonzero(mask)
            self._watch.begin(workers, told_tasks(infos, workers), options)

    def _watch_inside(self, mask: BoolArray, infos: dict[str, Any]) -> None:
        if self._watch is not None:
            workers = np.flatnonzero(mask)
            self._watch.check(workers, told_tasks(infos, workers))

    def _position(self, infos: dict[str, Any]) -> dict[str, Any]:
        own = {
            MARK: np.ones(self.num_envs, bool),
            "episode_start": self._lengths[self._rows, self._episode] == 0,
            "episode_index": self._episode.copy(),
        }
        everyone = np.ones(self.num_envs, bool)
        told = [*own, "next_obs"] if "next_obs" in infos else own
        return {**infos, **own, **{f"_{key}": everyone for key in told}}

    def get_state(self) -> dict[str, Any]:
        """Bookkeeping of the running meta-episodes, for an exact resume."""
        return {
            "episode": self._episode.copy(),
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
            "remaining": self._stagger.remaining.copy(),
            "guard": self._guard.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`get_state`.

        Raises:
            ValueError: The state has a different number of episodes or environments; nothing is
                changed then.
        """
        own = {"episode": self._episode, "returns": self._returns, "lengths": self._lengths}
        check_like({name: state[name] for name in own}, own, "meta-episodes")
        self._episode[...] = state["episode"]
        self._returns[...] = state["returns"]
        self._lengths[...] = state["lengths"]
        self._stagger.remaining[...] = state.get("remaining", 0)  # missing in old checkpoints
        self._guard.state = state.get("guard", "running")
        if self._watch is not None:
            self._watch.forget()
