"""Refuses wrappers in an order in which they would work, and mean something else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorWrapper


def refuse_task_wrappers(env: Any, name: str) -> None:
    """Raise a ``ValueError`` if something inside meta-episodes is made to last a whole one.

    Such wrappers have a class attribute ``lasts_a_task = True``. Inside, every inner episode would
    begin another imaginary task, another belief or another trajectory.

    Args:
        env: What the meta-episodes are of; a ``SyncVectorEnv`` is looked into.
        name: What the message calls the wrapper around it.
    """
    for layer in _layers(env):
        if getattr(type(layer), "lasts_a_task", False):
            found = type(layer).__name__
            raise ValueError(
                f"{name} got {found} inside, which begins anew at every reset, so at every inner "
                f"episode; expected {found} around {name}, and each of them once"
            )


def refuse_imaginary_rewards(env: Any, name: str) -> None:
    """Raise a ``ValueError`` if rewards are imaginary already, which no belief may be made of.

    Args:
        env: What a wrapper is put around; a ``SyncVectorEnv`` is looked into.
        name: What the message calls that wrapper.
    """
    for layer in _layers(env):
        if getattr(type(layer), "imagines_rewards", False):
            raise ValueError(
                f"{name} got {type(layer).__name__} inside, expected rewards of the environment's "
                "own: they are imaginary once, and normal workers' beliefs are of true ones"
            )


def refuse_twice(env: Any, wrapper: Any) -> None:
    """Raise a ``ValueError`` if the observation already has what a wrapper joins to it.

    Args:
        env: What the wrapper is put around; a ``SyncVectorEnv`` is looked into.
        wrapper: The wrapper's class. Its attribute ``joins`` says what joins the observation, and
            is the same for scalar and vector environments.
    """
    for layer in _layers(env):
        if getattr(type(layer), "joins", None) == wrapper.joins:
            raise ValueError(
                f"{wrapper.__name__} got {env}, whose observation already has {wrapper.joins} from "
                f"{type(layer).__name__}; expected an environment without it: leave one of them out"
            )


def refuse_joined_columns(env: Any, name: str) -> None:
    """Raise a ``ValueError`` if columns have joined the observation that a VAE is to read.

    It would take a previous reward, a belief or the task for a part of the state, and the reward
    shown there would not be the one that the wrapper pays.

    Args:
        env: What a wrapper with a VAE is put around; a ``SyncVectorEnv`` is looked into.
        name: What the message calls that wrapper.
    """
    for layer in _layers(env):
        if joins := getattr(type(layer), "joins", ""):
            found = type(layer).__name__
            raise ValueError(
                f"{name} got {found} inside, whose observation has {joins} in it, which the VAE "
                f"would take for a part of the state; expected {found} around {name}"
            )


def _layers(env: Any) -> Iterator[Any]:
    layer = env
    while isinstance(layer, (gym.Wrapper, VectorWrapper)):
        yield layer
        layer = layer.env
    for single in getattr(layer, "envs", ()):  # of a SyncVectorEnv
        yield from _layers(single)
