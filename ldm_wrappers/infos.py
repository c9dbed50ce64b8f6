"""Distinguishes infos of ``MultiEpisodeWrapper`` from an environment's own.

An environment may report infos with the same names but a different meaning. ``MultiEpisodeWrapper``
keeps them under other names, and marks infos as its own; readers of ``next_obs`` or
``episode_start`` check the mark first.
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

    Masks of vector infos (``_<name>``) are renamed as well; the argument is not changed.
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
    """The true next state of a step whose ``observation`` may be that of a restart.

    Raises:
        ValueError: Another wrapper has changed the observation.
    """
    if MARK not in info or "next_obs" not in info:
        return observation
    if not begins_episode(info):
        check_unchanged(observation, info["next_obs"])
    return info["next_obs"]


def check_unchanged(shown: Any, true_next: Any) -> None:
    """Raise a ``ValueError`` unless the observation shown after a step is the true next one.

    If they differ, a wrapper around ``MultiEpisodeWrapper`` changes observations; for instance, s
    would be scaled and s' would not.
    """
    shown, true_next = np.asarray(shown), np.asarray(true_next)
    same = shown.size == true_next.size
    if same and not np.array_equal(shown, true_next):  # flattened, or in another dtype
        expected = true_next.reshape(shown.shape).astype(shown.dtype)
        same = bool(((shown == expected) | (shown != shown)).all())  # NaN is refused elsewhere
    if not same:
        raise ValueError(
            f"the observation {shown!r:.200} is not the infos' next_obs {true_next!r:.200}: a "
            "wrapper around MultiEpisodeWrapper changes observations but not next_obs; put it "
            "around the environment, inside MultiEpisodeWrapper"
        )


def begins_episode(info: dict[str, Any]) -> bool:
    """Whether a ``MultiEpisodeWrapper`` says that the observation begins an inner episode."""
    return MARK in info and bool(info["episode_start"])


def copied(value: Any) -> Any:
    """A value of infos with copies of the arrays, dicts, lists and tuples in it.

    An environment may change its own in place when it is stepped or reset. Other objects are kept
    as they are: only their owner knows how to copy them.
    """
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [copied(inner) for inner in value]
    if isinstance(value, tuple):
        return getattr(value, "_make", tuple)(copied(inner) for inner in value)  # namedtuples
    if not isinstance(value, np.ndarray):
        return value
    copies = value.copy()
    if value.dtype == object and value.ndim:
        for index in np.ndindex(value.shape):
            copies[index] = copied(value[index])
    return copies
