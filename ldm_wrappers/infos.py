"""Infos of ``MultiEpisodeWrapper``, told apart from an environment's own.

An environment may report infos of the same names, of another meaning. ``MultiEpisodeWrapper``
keeps them under other names, and marks infos as its own; whoever reads ``next_obs`` or
``episode_start`` asks for the mark first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

MARK = "ldm_wrappers.MultiEpisodeWrapper"
"""Info (True) of every reset and step of a ``MultiEpisodeWrapper``, scalar or vector."""

MULTI_EPISODE_INFOS = (
    "episode_start",
    "episode_index",
    "next_obs",
    "episode_returns",
    "episode_lengths",
    "cut_short",
)


def set_aside(info: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """``info`` with the environment's own entries of these names as ``environment_<name>``.

    Masks of vector infos (``_<name>``) move with them; the argument stays as it is.
    """
    taken = [name for name in names if name in info]
    if not taken:
        return info
    moved = {*taken, *(f"_{name}" for name in taken)}
    result = {key: value for key, value in info.items() if key not in moved}
    for name in taken:
        renamed = f"environment_{name}"
        while renamed in info:
            renamed = f"environment_{renamed}"
        result[renamed] = info[name]
        if f"_{name}" in info:
            result[f"_{renamed}"] = info[f"_{name}"]
    return result


def true_next_observation(info: dict[str, Any], observation: Any) -> Any:
    """The true next state of a step, where ``observation`` may show a restart instead.

    Raises:
        ValueError: Another wrapper has changed what is shown.
    """
    if MARK not in info or "next_obs" not in info:
        return observation
    if not begins_episode(info):
        check_unchanged(observation, info["next_obs"])
    return info["next_obs"]


def check_unchanged(shown: Any, true_next: Any) -> None:
    """Raise a ``ValueError`` unless what is shown after a step is its true next observation.

    Where they differ, a wrapper around ``MultiEpisodeWrapper`` changes observations: s would be
    scaled, say, and s' would not.
    """
    shown, true_next = np.asarray(shown), np.asarray(true_next)
    same = shown.size == true_next.size
    if same and not np.array_equal(shown, true_next):  # flattened, or in another dtype
        expected = true_next.reshape(shown.shape).astype(shown.dtype)
        same = bool(((shown == expected) | (shown != shown)).all())  # NaN is refused elsewhere
    if not same:
        raise ValueError(
            f"the observation {shown!r:.200} is not the infos' next_obs {true_next!r:.200}: a "
            "wrapper around MultiEpisodeWrapper changes observations, of which next_obs knows "
            "nothing; put it around the environment, inside MultiEpisodeWrapper"
        )


def begins_episode(info: dict[str, Any]) -> bool:
    """Whether a ``MultiEpisodeWrapper`` says that the observation begins an inner episode."""
    return MARK in info and bool(info["episode_start"])


def copied_arrays(infos: dict[str, Any]) -> dict[str, Any]:
    """Infos with copies of their arrays, which an environment may reuse when it is reset."""
    copies: dict[str, Any] = {}
    for key, value in infos.items():
        if isinstance(value, dict):
            copies[key] = copied_arrays(value)
        else:
            copies[key] = value.copy() if isinstance(value, np.ndarray) else value
    return copies
