"""Conversion of the actions of a stable-baselines3 policy to those of the environment.

stable-baselines3 counts discrete actions from 0 and samples real numbers for every ``Box``. An
environment may count from a different number (``Discrete(3, start=1)``) or need integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ldm_wrappers.latent_dynamics.space_checks import has_bounds


def policy_action_space(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space of a policy's actions in an environment with the single action space ``space``.

    Discrete actions begin at 0, ``MultiDiscrete`` and ``MultiBinary`` actions have one axis,
    integer boxes become float32 boxes of the same bounds; all other spaces are unchanged.

    Raises:
        ValueError: A ``Box`` without finite bounds, which stable-baselines3 cannot clip to.
    """
    if isinstance(space, spaces.Discrete):
        return space if not space.start else spaces.Discrete(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        plain = space.nvec.ndim == 1 and not np.any(space.start)
        return space if plain else spaces.MultiDiscrete(space.nvec.ravel())
    if isinstance(space, spaces.MultiBinary):
        return space if isinstance(space.n, int) else spaces.MultiBinary(int(np.prod(space.shape)))
    if not isinstance(space, spaces.Box):
        return space
    if not has_bounds(space):
        raise ValueError(
            f"stable-baselines3 clips actions to finite bounds, got {space}; put "
            "gymnasium.wrappers.TransformAction around each environment, with a bounded "
            "action_space and a function that converts its actions"
        )
    if space.dtype.kind == "f":
        return space
    low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    return spaces.Box(low, high, dtype=np.float32)


def environment_actions(space: spaces.Space[Any], actions: Any) -> NDArray[Any]:
    """Convert a policy's batch of actions (n, …) to those of the environment.

    Discrete actions are shifted by ``start`` and get the shape of the space; for an integer ``Box``
    they are rounded to the nearest integer within its bounds.

    Args:
        space: Single action space of the environment.
        actions: Actions in :func:`policy_action_space`, (n, …).
    """
    array = np.array(actions)  # a copy: the environment's wrappers may change theirs in place
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)) and len(space.shape) > 1:
        array = array.reshape(*array.shape[:-1], *space.shape)
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        return array + space.start if np.any(space.start) else array
    if isinstance(space, spaces.MultiBinary):  # stable-baselines3 samples 0.0 and 1.0
        return array.astype(space.dtype)
    if isinstance(space, spaces.Box) and space.dtype.kind != "f":
        if array.dtype.kind == "f":
            array = np.rint(array.astype(np.float64))
        return np.clip(array, space.low, space.high).astype(space.dtype)
    return array
