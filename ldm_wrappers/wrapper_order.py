"""Refuses wrappers in an order in which they would work, and mean something else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, VectorWrapper
from gymnasium.wrappers import vector as vector_wrappers

from ldm_wrappers.latent_dynamics.buffer import TrajectoryBuffer

_ELSEWHERE = "a wrapper in the worker processes (ldm_wrappers.vector has it for all workers)"


def refuse_task_wrappers(env: Any, name: str) -> None:
    """Raise a ``ValueError`` if something inside meta-episodes is made to last a whole one.

    Such wrappers have a class attribute ``lasts_a_task = True``. Inside, every inner episode would
    begin another imaginary task, another belief or another trajectory.

    Args:
        env: What the meta-episodes are of, sub-environments of a vector environment included.
        name: What the message calls the wrapper around it.
    """
    for found, _ in _marked(env, "lasts_a_task"):
        raise ValueError(
            f"{name} got {found} inside, which restarts at every reset, so at every inner "
            f"episode; expected {found} around {name}, and each of them once"
        )


def refuse_imaginary_rewards(env: Any, name: str) -> None:
    """Raise a ``ValueError`` if rewards are imaginary already, which no belief may be made of.

    Args:
        env: What a wrapper is put around, sub-environments included.
        name: What the message calls that wrapper.
    """
    for found, _ in _marked(env, "imagines_rewards"):
        raise ValueError(
            f"{name} got {found} inside, expected rewards of the environment's "
            "own: they are imaginary once, and normal workers' beliefs are of true ones"
        )


def refuse_second_record(env: Any, buffer: TrajectoryBuffer | None, name: str) -> None:
    """Raise a ``ValueError`` if a buffer would hold trajectories twice, or imaginary ones.

    Args:
        env: What the wrapper is put around, sub-environments included; a buffer cannot be shared
            with those in other processes.
        buffer: What the wrapper keeps trajectories in.
        name: What the message calls it.
    """
    if buffer is None:
        return
    for found, _ in _marked(env, "imagines_rewards"):
        raise ValueError(
            f"{name} got a buffer around {found}, whose mixture workers' rewards are imaginary: "
            "the VAE would learn from them; expected buffer=None here, and the buffer where "
            "rewards are true: vector.ImaginaryRewardWrapper(…, buffer=…) keeps the normal "
            "workers' trajectories, BeliefPublisherWrapper(…, buffer=…) those of one environment"
        )
    for layer in layers(env):
        if getattr(getattr(layer, "tracker", None), "buffer", None) is buffer:
            raise ValueError(
                f"{name} got the buffer of {type(layer).__name__} inside, so that it would hold "
                "each trajectory twice; expected buffer=None for one of them"
            )


def refuse_twice(env: Any, wrapper: Any) -> None:
    """Raise a ``ValueError`` if the observation already has what a wrapper joins to it.

    Args:
        env: What the wrapper is put around, sub-environments included.
        wrapper: The wrapper's class. Its attribute ``joins`` says what joins the observation, and
            is the same for scalar and vector environments.
    """
    for found, joins in _marked(env, "joins"):
        if joins == wrapper.joins:
            raise ValueError(
                f"{wrapper.__name__} got {env}, whose observation already has {wrapper.joins} from "
                f"{found}; expected an environment without it: leave one of them out"
            )


def refuse_joined_columns(env: Any, name: str) -> None:
    """Raise a ``ValueError`` if columns have joined the observation that a VAE is to read.

    It would take a previous reward, a belief or the task for a part of the state, and the reward
    shown there would not be the one that the wrapper returns.

    Args:
        env: What a wrapper with a VAE is put around, sub-environments included.
        name: What the message calls that wrapper.
    """
    for found, joins in _marked(env, "joins"):
        raise ValueError(
            f"{name} got {found} inside, whose observation has {joins} in it, which the VAE "
            f"would take for a part of the state; expected {found} around {name}"
        )


def refuse_around_vae(env: Any, name: str, buffer: TrajectoryBuffer | None = None) -> None:
    """Raise a ``ValueError`` if a VAE cannot read what is inside, or a buffer cannot keep it.

    See :func:`refuse_joined_columns`, :func:`refuse_own_statistics`, :func:`refuse_second_record`.
    """
    refuse_joined_columns(env, name)
    refuse_own_statistics(env, name)
    refuse_second_record(env, buffer, name)


def own_statistics(env: Any) -> str:
    """Name of a wrapper that scales by running statistics of its own, or "".

    One that has stopped to update them (``update_running_mean = False``) has a fixed scale.
    """
    kinds = (
        gym.wrappers.NormalizeObservation,
        gym.wrappers.NormalizeReward,
        vector_wrappers.NormalizeObservation,
        vector_wrappers.NormalizeReward,
    )
    for layer in layers(env):
        if isinstance(layer, kinds) and layer.update_running_mean:
            return type(layer).__name__
    return ""


def refuse_own_statistics(env: Any, name: str) -> None:
    """Raise a ``ValueError`` if the scale of what a VAE is to read changes while it is read.

    Args:
        env: What a wrapper with a VAE is put around, sub-environments included.
        name: What the message calls that wrapper.
    """
    found = own_statistics(env)
    if found:
        raise ValueError(
            f"{name} got {found} inside, which scales by what it has seen so far: the VAE would "
            "learn that equal transitions have different observations or rewards. Expected scales "
            'of the VAE (scale_observations, reward_scale="running"), '
            f"{found} around {name} or VecNormalize around the VecEnv, or statistics that stay as "
            f"they are (its attribute update_running_mean = False before {name} is put around)"
        )


def layers(env: Any) -> Iterator[Any]:
    """Wrappers from the outside in, those of a ``SyncVectorEnv``'s environments included."""
    layer = env
    while isinstance(layer, (gym.Wrapper, VectorWrapper)):
        yield layer
        layer = layer.env
    for single in getattr(layer, "envs", ()):
        yield from layers(single)


def _marked(env: Any, mark: str) -> Iterator[tuple[str, Any]]:
    """Names of the layers whose class has an attribute, from the outside in, and its values.

    Of the processes of an ``AsyncVectorEnv`` the outermost such layer is seen.
    """
    for layer in layers(env):
        if value := getattr(type(layer), mark, None):
            yield type(layer).__name__, value
    single: Any = env.unwrapped
    if isinstance(single, AsyncVectorEnv):
        # asked first: an attribute that is missing in one of them ends the processes
        present = single.call("has_wrapper_attr", mark)
        if any(present):
            value = single.get_attr(mark)[0] if all(present) else True
            yield _ELSEWHERE, value
