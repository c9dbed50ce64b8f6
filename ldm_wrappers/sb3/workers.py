"""Wrappers around the workers of a ``VecEnv``."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from ldm_wrappers.latent_dynamics import BeliefTracker
from ldm_wrappers.vector import ImaginaryRewardWrapper
from ldm_wrappers.wrapper_order import layers


def wrappers(vec_env: VecEnv) -> list[Any]:
    """Gymnasium's wrappers in a ``VecEnv``, outermost first, including those of single envs."""
    base: Any = vec_env.unwrapped
    roots = [base.env] if hasattr(base, "env") else getattr(base, "envs", [])
    return [layer for root in roots for layer in layers(root)]


def belief_trackers(vec_env: VecEnv) -> list[BeliefTracker]:
    """The trackers of the wrappers around normal workers."""
    found = (getattr(layer, "tracker", None) for layer in wrappers(vec_env))
    return [tracker for tracker in found if isinstance(tracker, BeliefTracker)]


def imaginary_workers(vec_env: VecEnv) -> list[bool]:
    """Whether each worker earns imaginary rewards; empty if that cannot be seen from here."""
    for layer in wrappers(vec_env):
        if isinstance(layer, ImaginaryRewardWrapper):
            return [False] * layer.n_normal + [True] * (layer.num_envs - layer.n_normal)
    base: Any = vec_env.unwrapped
    singles = getattr(base.env.unwrapped if hasattr(base, "env") else base, "envs", [])
    return [
        any(getattr(type(layer), "imagines_rewards", False) for layer in layers(single))
        for single in singles
    ]
