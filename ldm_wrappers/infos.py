"""Infos of ``MultiEpisodeWrapper``, told apart from an environment's own.

An environment may report infos of the same names, of another meaning. ``MultiEpisodeWrapper``
keeps them under other names, and marks infos as its own; whoever reads ``next_obs`` or
``episode_start`` asks for the mark first.
"""

from __future__ import annotations

from typing import Any

MARK = "ldm_wrappers.MultiEpisodeWrapper"
"""Info (True) of every reset and step of a ``MultiEpisodeWrapper``, scalar or vector."""

MULTI_EPISODE_INFOS = (
    "episode_start",
    "episode_index",
    "next_obs",
    "episode_returns",
    "episode_lengths",
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
    """The true next state of a step, where ``observation`` may show a restart instead."""
    return info["next_obs"] if MARK in info and "next_obs" in info else observation


def begins_episode(info: dict[str, Any]) -> bool:
    """Whether a ``MultiEpisodeWrapper`` says that the observation begins an inner episode."""
    return MARK in info and bool(info["episode_start"])
