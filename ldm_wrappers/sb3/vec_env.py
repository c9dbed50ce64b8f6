"""A Gymnasium vector environment as a stable-baselines3 ``VecEnv``."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3.common.vec_env.base_vec_env import (
    VecEnv,
    VecEnvIndices,
    VecEnvObs,
    VecEnvStepReturn,
)

from ldm_wrappers.arguments import worker_seeds
from ldm_wrappers.infos import copied
from ldm_wrappers.sb3.actions import environment_actions, policy_action_space
from ldm_wrappers.vector.batch import check_batch, check_reset_infos
from ldm_wrappers.vector.infos import ended_rows, final_observations, info_row

# attributes of a vector environment that are those of all its environments together
_OF_ONE = {
    "observation_space": "single_observation_space",
    "action_space": "single_action_space",
}
_OF_EACH = ("np_random", "np_random_seed")
_OF_STEPS = ("next_obs", "environment_reward")  # infos of our wrappers that resets do not report


class VectorEnvAdapter(VecEnv):
    """Adapts one ``gymnasium.vector.VectorEnv`` to SB3's ``VecEnv``, without copies per worker.

    At the end of an episode, a worker's info contains SB3's ``terminal_observation`` and
    ``TimeLimit.truncated`` and everything in ``final_info`` for that worker, and nothing that only
    resets report; ``reset_infos`` has the infos at the start of its new episode. ``VecNormalize``,
    ``VecMonitor`` and the other SB3 wrappers go around it as usual.

    A policy of stable-baselines3 counts discrete actions from 0 and samples real numbers: its
    actions are shifted by ``Discrete.start``, and rounded for an integer ``Box``, before the
    environment sees them. ``seed`` gives each worker an independent stream
    (:func:`ldm_wrappers.arguments.worker_seeds`), not seed + i.

    Args:
        env: Vector environment with ``AutoresetMode.SAME_STEP``.
        info_keys: Infos that each worker's dict contains at every step; ``None`` for all. An empty
            tuple is fastest: dicts are then filled only at the end of episodes.

    Raises:
        TypeError: ``env`` is not a vector environment, or ``info_keys`` is one string.
        ValueError: The environment's autoreset mode is a different one, its actions have no finite
            bounds, or its discrete observations do not begin at 0.
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], *, info_keys: Sequence[str] | None = None
    ) -> None:
        if not isinstance(env, VectorEnv):
            raise TypeError(
                f"VectorEnvAdapter needs a gymnasium.vector.VectorEnv, got {env!r}; "
                "stable-baselines3's DummyVecEnv takes functions that make one environment"
            )
        check_batch(env, AutoresetMode.SAME_STEP, "VectorEnvAdapter")
        _check_observations(env.single_observation_space)
        if isinstance(info_keys, str):  # of which tuple() would make letters
            raise TypeError(f"info_keys must be several names, [{info_keys!r}], got {info_keys!r}")
        self.env = env
        self.info_keys = None if info_keys is None else tuple(info_keys)
        self._actions: np.ndarray[Any, Any] | None = None
        self._told_at_reset: set[str] = set()
        super().__init__(
            env.num_envs,
            env.single_observation_space,
            policy_action_space(env.single_action_space),
        )
        self.render_mode = env.render_mode
        self.metadata = {**env.metadata, **self.metadata}  # VecVideoRecorder reads render_fps

    def reset(self) -> VecEnvObs:
        """Reset all workers with the seeds and options set before; observations (n, …)."""
        seed = None if all(s is None for s in self._seeds) else list(self._seeds)
        options = self._options[0] or None
        if not all(_same(other, self._options[0]) for other in self._options[1:]):
            raise ValueError(
                "a vector environment is reset with one options dict for all workers, such as "
                "set_options({'task': tasks}) with a row of tasks for each, got "
                f"{self._options}"
            )
        observations, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        check_reset_infos(infos, "VectorEnvAdapter")
        self.reset_infos = self._rows(infos)
        self._told_at_reset = {key for row in self.reset_infos for key in row}
        self._reset_seeds()
        self._reset_options()
        return deepcopy(observations)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed each worker's next reset with its own stream; ``None`` gives fresh ones.

        Returns:
            The seed of each worker.
        """
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self._seeds = list(worker_seeds(seed, self.num_envs))
        return self._seeds

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Convert the actions for the environment and store them for :meth:`step_wait`."""
        self._actions = environment_actions(self.env.single_action_space, actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Step all workers: observations, float32 rewards, dones, list of info dicts."""
        observations, rewards, terminations, truncations, infos = self.env.step(self._actions)
        dones = ended_rows(terminations, truncations)
        rows = self._rows(infos)
        ended = np.flatnonzero(dones)
        last = final_observations(infos, dones) if len(ended) else ()
        told = copied(infos["final_info"]) if len(ended) and "final_info" in infos else None
        for index, observation in zip(ended, last, strict=True):
            self.reset_infos[index] = self._of_start(rows[index])
            if told is not None:
                row = {k: v for k, v in rows[index].items() if k not in self._told_at_reset}
                rows[index] = {**row, **info_row(told, int(index))}
            row = rows[index]
            row["terminal_observation"] = observation
            row["TimeLimit.truncated"] = bool(truncations[index] and not terminations[index])
        # copies: SB3 adds to rewards in place, and stores observations only after the next step,
        # which may overwrite them
        return deepcopy(observations), np.array(rewards, np.float32), dones, rows

    def _rows(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        """One dict per worker with copies of the requested infos."""
        skipped = ("final_obs", "_final_obs", "final_info", "_final_info")
        keys = infos.keys() if self.info_keys is None else self.info_keys
        wanted = {key: infos[key] for key in keys if key in infos and key not in skipped}
        if not wanted:
            return [{} for _ in range(self.num_envs)]
        masks = {f"_{key}": infos[f"_{key}"] for key in wanted if f"_{key}" in infos}
        present = copied({**wanted, **masks})
        return [info_row(present, index) for index in range(self.num_envs)]

    def _of_start(self, row: dict[str, Any]) -> dict[str, Any]:
        """As in DummyVecEnv, infos of the new episode: a row of a step without what a step adds."""
        added = {key for key in _OF_STEPS if key not in self._told_at_reset}
        return {key: value for key, value in row.items() if key not in added}

    def close(self) -> None:
        """Close the vector environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the vector wrappers, or else of each single environment.

        An attribute of a vector wrapper (the outermost that has it) is shared by all workers; its
        spaces are those of one worker, and of generators and their seeds each has its own.

        Raises:
            AttributeError: None of them has it.
        """
        workers = self._get_indices(indices)
        layer = self._layer_with(attr_name)
        if layer is not None:
            value = getattr(layer, _OF_ONE.get(attr_name, attr_name))
            own = attr_name in _OF_EACH and isinstance(value, tuple)
            return [value[index] if own else value for index in workers]
        values = self._batch(attr_name).get_attr(attr_name)
        return [values[index] for index in workers]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute where :meth:`get_attr` finds it.

        A new attribute is set on the single environments, or on the outermost wrapper if a batch
        has none.

        Raises:
            ValueError: It is new or shared by all workers, and ``indices`` selects some.
        """
        workers = list(self._get_indices(indices))
        layer: Any = self._layer_with(attr_name)
        batch: Any = self.env.unwrapped
        of_singles = layer is None and isinstance(batch, (SyncVectorEnv, AsyncVectorEnv))
        if of_singles and len(workers) < self.num_envs:
            try:
                values = self.get_attr(attr_name)
            except AttributeError:
                raise ValueError(
                    f"no environment has {attr_name!r} yet, so indices must be None, got "
                    f"{indices!r}"
                ) from None
            for index in workers:
                values[index] = value
            batch.set_attr(attr_name, values)
        elif of_singles:
            batch.set_attr(attr_name, [value] * self.num_envs)
        elif len(workers) < self.num_envs:
            raise ValueError(f"{attr_name} is shared by all workers, so indices must be None")
        else:
            setattr(self.env if layer is None else layer, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method where :meth:`get_attr` finds it; that of a vector wrapper is called once.

        Raises:
            AttributeError: None of them has it.
            ValueError: ``indices`` selects some of the environments of an ``AsyncVectorEnv``.
        """
        workers = list(self._get_indices(indices))
        layer = self._layer_with(method_name)
        if layer is not None:
            result = getattr(layer, method_name)(*args, **kwargs)
            return [result for _ in workers]
        batch = self._batch(method_name)
        if isinstance(batch, SyncVectorEnv):
            methods = [batch.envs[index].get_wrapper_attr(method_name) for index in workers]
            return [method(*args, **kwargs) for method in methods]
        if len(workers) != self.num_envs:
            raise ValueError(
                "AsyncVectorEnv calls a method of all its environments, so indices must be None, "
                f"got {indices!r}"
            )
        return list(batch.call(method_name, *args, **kwargs))

    def _layer_with(self, name: str) -> Any:
        """The outermost vector environment with an attribute; Gymnasium's wrappers forward none."""
        env: Any = self.env
        while env is not None and not hasattr(env, name):
            env = getattr(env, "env", None)
        return env

    def _batch(self, name: str) -> SyncVectorEnv | AsyncVectorEnv:
        """The batch of single environments, for access to their attribute ``name``."""
        batch = self.env.unwrapped
        if isinstance(batch, SyncVectorEnv):
            return batch
        # asked first: an attribute that is missing in one of the processes ends them all
        if isinstance(batch, AsyncVectorEnv) and all(batch.call("has_wrapper_attr", name)):
            return batch
        raise AttributeError(f"neither {self.env} nor an environment inside it has {name!r}")

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """Whether a vector wrapper, or one of the single environment, is a ``wrapper_class``.

        The environments of an ``AsyncVectorEnv`` are in other processes and are not checked.
        """
        workers = self._get_indices(indices)
        if _is_wrapped(self.env, wrapper_class):
            return [True for _ in workers]
        batch = self.env.unwrapped
        if not isinstance(batch, SyncVectorEnv):
            return [False for _ in workers]
        return [_is_wrapped(batch.envs[index], wrapper_class) for index in workers]

    def get_images(self) -> Sequence[np.ndarray[Any, Any] | None]:
        """One rendered frame per worker."""
        frames: Any = self.env.render()
        return [None] * self.num_envs if frames is None else list(frames)


def _check_observations(space: Any) -> None:
    """Refuse categories that stable-baselines3, which counts them from 0, cannot encode."""
    for part in space.values() if isinstance(space, spaces.Dict) else [space]:
        if np.any(getattr(part, "start", 0)):
            raise ValueError(
                f"stable-baselines3 counts discrete observations from 0, got {part}; put "
                "gymnasium.wrappers.FlattenObservation around each environment"
            )


def _is_wrapped(env: Any, wrapper_class: type) -> bool:
    while not isinstance(env, wrapper_class) and hasattr(env, "env"):
        env = env.env
    return isinstance(env, wrapper_class)


def _same(options: dict[str, Any], others: dict[str, Any]) -> bool:
    """Whether two dicts of options, whose values may be arrays, are equal."""
    return options.keys() == others.keys() and all(
        np.array_equal(value, others[key]) for key, value in options.items()
    )
