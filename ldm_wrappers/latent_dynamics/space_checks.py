"""Which spaces the wrappers support, and what to do about the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

MAX_IMAGE_VALUES = 4096
"""Largest observation with two axes or more that is flattened; larger ones count as images."""

_ORDER = "put it inside MultiEpisodeWrapper, around each environment"


def check_observation_space(space: spaces.Space[Any]) -> spaces.Box:
    """``space`` if it is a ``Box`` of supported size.

    Raises:
        TypeError: It is another kind of space, or an image; the message says what to do.
    """
    if not isinstance(space, spaces.Box):
        raise TypeError(f"the observation space must be a Box, got {space}; {way_out(space)}")
    if len(space.shape) > 1 and int(np.prod(space.shape)) > MAX_IMAGE_VALUES:
        raise TypeError(
            f"observations of shape {space.shape} have {int(np.prod(space.shape))} values, but "
            "there is no convolutional encoder: observations with several axes may have at most "
            f"{MAX_IMAGE_VALUES} values. Show a smaller array or the environment's state instead "
            "(gymnasium.wrappers.ResizeObservation, GrayscaleObservation or TransformObservation), "
            "or flatten it on purpose with gymnasium.wrappers.FlattenObservation"
        )
    return space


def check_action_space(space: spaces.Space[Any]) -> None:
    """Raise a ``TypeError`` that says what to do unless actions of ``space`` can be encoded."""
    if isinstance(space, spaces.MultiDiscrete) and np.any(space.start != 0):
        raise TypeError(
            f"MultiDiscrete actions must start at 0, got {space}; shift them with "
            "gymnasium.wrappers.TransformAction"
        )
    if not isinstance(
        space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    ):
        raise TypeError(
            "the action space must be Box, Discrete, MultiDiscrete or MultiBinary, got "
            f"{space}; translate actions of one of these with gymnasium.wrappers.TransformAction"
        )


def has_bounds(space: spaces.Box) -> bool:
    """Whether actions can be scaled to the bounds of ``space``.

    They are finite, and their distance fits the floating-point type. float64 must tell integers
    within them apart, so the limits of a 64-bit type are no bounds.
    """
    if not space.is_bounded():
        return False
    if space.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return bool(np.isfinite(space.high - space.low).all())
    bounds = np.stack([space.low, space.high]).astype(np.float64)
    return bool((np.abs(bounds) <= 2**53).all())


def way_out(space: spaces.Space[Any]) -> str:
    """What turns observations of another kind into a ``Box``."""
    if isinstance(space, spaces.Dict):
        return _dict_way_out(space)
    if _flattens(space):
        return f"gymnasium.wrappers.FlattenObservation converts it to one: {_ORDER}"
    return (
        "such observations have no fixed size: gymnasium.wrappers.TransformObservation with a "
        f"function to a Box of fixed shape converts them: {_ORDER}"
    )


def _dict_way_out(space: spaces.Dict) -> str:
    if "mission" in space.spaces:
        return (
            "MiniGrid's own minigrid.wrappers.ImgObsWrapper or FlatObsWrapper converts it to one: "
            f"{_ORDER}"
        )
    kept = [
        key
        for key, one in space.spaces.items()
        if key not in ("desired_goal", "achieved_goal") and _flattens(one)
    ]
    why = "keeps what the agent may see"
    if "desired_goal" in space.spaces:
        why = "leaves out 'desired_goal', which shows the hidden task"
    return (
        f"gymnasium.wrappers.FilterObservation(env, {kept}) {why}, and FlattenObservation around "
        f"that converts it to one: {_ORDER}"
    )


def _flattens(space: spaces.Space[Any]) -> bool:
    """Whether FlattenObservation converts it to a Box."""
    return isinstance(spaces.flatten_space(space), spaces.Box) if space.is_np_flattenable else False
