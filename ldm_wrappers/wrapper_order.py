"""Refuses orders of wrappers that would run without an error but do something else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, VectorWrapper
from gymnasium.wrappers import vector as vector_wrappers

from ldm_wrappers.latent_dynamics.buffer import TrajectoryBuffer

_ELSEWHERE = "a wrapper in the worker processes (ldm_wrappers.vector has it for all workers)"


def refuse_task_wrappers(env: Any, name: str) -> None:
    """Raise a ``ValueError`` if ``env`` has a wrapper that belongs around meta-episodes.

    Such wrappers have a class attribute ``lasts_a_task = True``. Inside, they would begin another
    imaginary task, belief or trajectory at every inner episode.

    Args:
        env: Environment to be wrapped, including sub-environments of a vector environment.
        name: Name of the outer wrapper in the message.
    """
    for found, _ in _marked(env, "lasts_a_task"):
        raise ValueError(
            f"{name} got {found} inside, which restarts at every reset and so at every "
            f"inner episode; expected {found} around {name}, each used once"
        )


def refuse_imaginary_rewards(env: Any, name: str) -> None:
    """Raise a ``ValueError`` if rewards are already imaginary; beliefs need real ones.

    Args:
        env: Environment to be wrapped, including sub-environments.
        name: Name of the outer wrapper in the message.
    """
    for found, _ in _marked(env, "imagines_rewards"):
        raise ValueError(
            f"{name} got {found} inside, expected the environment's own rewards: "
            "they can be replaced only once, and normal workers' beliefs come from real rewards"
        )


def refuse_second_record(env: Any, buffer: TrajectoryBuffer | None, name: str) -> None:
    """Raise a ``ValueError`` if a buffer would store trajectories twice or imaginary ones.

    Args:
        env: Environment to be wrapped, including sub-environments; those in other processes
            cannot share a buffer.
        buffer: Buffer of the outer wrapper.
        name: Name of the outer wrapper in the message.
    """
    if buffer is None:
        return
    for found, _ in _marked(env, "imagines_rewards"):
        raise ValueError(
            f"{name} got a buffer around {found}, whose mixture workers' rewards are imaginary: "
            "the VAE would learn from them; expected buffer=None here, and the buffer where "
            "rewards are real: vector.ImaginaryRewardWrapper(…, buffer=…) stores the normal "
            "workers' trajectories, BeliefPublisherWrapper(…, buffer=…) those of one environment"
        )
    for layer in layers(env):
        if getattr(getattr(layer, "tracker", None), "buffer", None) is buffer:
            raise ValueError(
                f"{name} got the buffer of {type(layer).__name__} inside, so that it would store "
                "each trajectory twice; expected buffer=None for one of them"
            )


def refuse_twice(env: Any, wrapper: Any) -> None:
    """Raise a ``ValueError`` if the observation already has the columns that a wrapper adds.

    Args:
        env: Environment to be wrapped, including sub-environments.
        wrapper: Class of the outer wrapper. Its attribute ``joins`` says what it adds, and is the
            same for scalar and vector environments.
    """
    for found, joins in _marked(env, "joins"):
        if joins == wrapper.joins:
            raise ValueError(
                f"{wrapper.__name__} got {env}, whose observation already has {wrapper.joins} from "
                f"{found}; expected an environment without it: leave one of them out"
            )


def refuse_joined_columns(env: Any, name: str) -> None:
    """Raise a ``ValueError`` if a wrapper has added columns to the observation that a VAE reads.

    The VAE would treat a previous reward, a belief or the task as part of the state, and the
    reward in the observation would not be the one that the wrapper returns.

    Args:
        env: Environment to be wrapped by a wrapper with a VAE, including sub-environments.
        name: Name of that wrapper in the message.
    """
    for found, joins in _marked(env, "joins"):
        raise ValueError(
            f"{name} got {found} inside, whose observation contains {joins}, which the VAE "
            f"would take for part of the state; expected {found} around {name}"
        )


def refuse_around_vae(env: Any, name: str, buffer: TrajectoryBuffer | None = None) -> None:
    """Raise a ``ValueError`` if a VAE cannot read the environment, or a buffer cannot store it.

    See :func:`refuse_joined_columns`, :func:`refuse_own_statistics`, :func:`refuse_second_record`.
    """
    refuse_joined_columns(env, name)
    refuse_own_statistics(env, name)
    refuse_second_record(env, buffer, name)


def own_statistics(env: Any) -> str:
    """Name of a wrapper that scales by its own running statistics, or "".

    One that no longer updates them (``update_running_mean = False``) has a fixed scale. In the
    processes of an ``AsyncVectorEnv`` only the outermost such wrapper is seen.
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
    if any(in_processes(env, "update_running_mean")):
        return "NormalizeObservation or NormalizeReward (in the worker processes)"
    return ""


def refuse_own_statistics(env: Any, name: str) -> None:
    """Raise a ``ValueError`` if the scale of what a VAE reads changes over time.

    Args:
        env: Environment to be wrapped by a wrapper with a VAE, including sub-environments.
        name: Name of that wrapper in the message.
    """
    found = own_statistics(env)
    if found:
        raise ValueError(
            f"{name} got {found} inside, which scales by its own running statistics: to the VAE, "
            "equal transitions would have different observations or rewards. Expected the VAE's "
            'own scales (scale_observations, reward_scale="running"), '
            f"{found} around {name}, VecNormalize around the VecEnv, or fixed statistics (set its "
            f"attribute update_running_mean = False before wrapping it in {name})"
        )


def layers(env: Any) -> Iterator[Any]:
    """Wrappers, outermost first, including those of a ``SyncVectorEnv``'s environments."""
    layer = env
    while isinstance(layer, (gym.Wrapper, VectorWrapper)):
        yield layer
        layer = layer.env
    for single in getattr(layer, "envs", ()):
        yield from layers(single)


def _marked(env: Any, mark: str) -> Iterator[tuple[str, Any]]:
    """Names of the layers whose class has an attribute, outermost first, and its values.

    In the processes of an ``AsyncVectorEnv`` only the outermost such layer is seen.
    """
    for layer in layers(env):
        if value := getattr(type(layer), mark, None):
            yield type(layer).__name__, value
    for value in in_processes(env, mark)[:1]:
        yield _ELSEWHERE, value


def in_processes(env: Any, name: str) -> list[Any]:
    """Values of an attribute of the environments in the processes of an ``AsyncVectorEnv``.

    Those of the outermost layer that has it. Empty if no environment has it, or if ``env`` is
    something else; True if only some have it.
    """
    present = present_in_processes(env, name)
    return list(env.unwrapped.get_attr(name)) if present and all(present) else [True] * any(present)


def present_in_processes(env: Any, name: str) -> list[bool]:
    """Whether each environment of an ``AsyncVectorEnv`` has an attribute; else an empty list.

    An attribute that is missing in one of the processes ends them all if it is read.
    """
    batch: Any = env.unwrapped
    is_elsewhere = isinstance(batch, AsyncVectorEnv)
    return list(batch.call("has_wrapper_attr", name)) if is_elsewhere else []
