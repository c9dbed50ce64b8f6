"""Helpers for the infos of vector environments, which are dicts of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ldm_wrappers.infos import MARK, check_unchanged

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
Infos = dict[str, Any]


def ended_rows(terminations: Any, truncations: Any) -> BoolArray:
    """Where an episode has ended, bool (n,); a batch of one's own may report 0 and 1."""
    return np.asarray(terminations, bool) | np.asarray(truncations, bool)


def merge_rows(infos: Infos, new: Infos, rows: BoolArray) -> Infos:
    """``infos`` with the entries of ``new`` in ``rows``; neither argument is changed.

    Values of ``new`` that its masks (``_key``) exclude replace nothing. An entry without a mask
    that ``infos`` lacks gets ``rows`` as its mask.
    """
    merged = dict(infos)
    for key, value in new.items():
        of_masks = key.startswith("_") and key[1:] in new
        told: Any = value if of_masks else new.get(f"_{key}")
        inside = rows & told if np.shape(told) == rows.shape else rows
        old = infos.get(key)
        if isinstance(value, dict):
            merged[key] = merge_rows(old if isinstance(old, dict) else {}, value, inside)
            continue
        if not isinstance(value, np.ndarray) or value.shape[:1] != rows.shape:
            merged[key] = value
            continue
        if isinstance(old, np.ndarray) and old.shape == value.shape:
            result = old.astype(np.result_type(old, value)) if old.dtype != object else old.copy()
        else:
            result = np.zeros_like(value)
            if told is None:
                merged[f"_{key}"] = inside.copy()
        result[inside] = value[inside]
        merged[key] = result
    return merged


def clear_rows(infos: Infos, rows: BoolArray) -> Infos:
    """``infos`` without the masked entries (``_key``) in ``rows``; the argument is not changed.

    As in Gymnasium's ``SAME_STEP``: for an environment that ended, infos describe the start of its
    new episode, and ``final_info`` the end of the old one.
    """
    cleared = dict(infos)
    for key, value in infos.items():
        mask = infos.get(f"_{key}")
        if isinstance(mask, np.ndarray) and mask.shape == rows.shape:
            cleared[f"_{key}"] = mask & ~rows
            if isinstance(value, np.ndarray) and value.shape[:1] == rows.shape:
                cleared[key] = value.copy()
                cleared[key][rows] = None if value.dtype == object else 0
        if isinstance(value, dict):
            cleared[key] = clear_rows(value, rows)
    return cleared


def info_row(infos: Infos, index: int) -> dict[str, Any]:
    """Infos of environment ``index``: those whose masks (``_key``), if any, include it."""
    row = {}
    for key, value in infos.items():
        mask = infos.get(f"_{key}")
        if mask is not None and not mask[index]:
            continue
        if key.startswith("_") and key[1:] in infos:
            continue
        if isinstance(value, dict):
            row[key] = info_row(value, index)
        elif isinstance(value, np.ndarray) and value.ndim:
            row[key] = value[index]
        else:
            row[key] = value
    return row


def final_observations(infos: Infos, rows: BoolArray) -> list[Any]:
    """``infos["final_obs"]`` of the environments in ``rows``, a list of ``rows.sum()``.

    Raises:
        ValueError: They are missing.
    """
    last = [infos["final_obs"][i] if "final_obs" in infos else None for i in np.flatnonzero(rows)]
    if any(observation is None for observation in last):
        raise ValueError(
            f"environments {np.flatnonzero(rows).tolist()} ended, expected their last observations "
            f"in infos['final_obs'] as in Gymnasium's SAME_STEP, got {sorted(infos)}"
        )
    return last


def where_rows(mask: BoolArray, one: Any, other: Any) -> Any:
    """Rows of ``one`` (n, …) where a mask (n,) is true, and rows of ``other`` elsewhere."""
    return np.where(mask.reshape(-1, *(1,) * (one.ndim - 1)), one, other)


def to_object_array(values: np.ndarray[Any, Any], rows: BoolArray) -> np.ndarray[Any, Any]:
    """Gymnasium's ``final_obs``: an object array with ``values[i]`` in ``rows``, else ``None``."""
    result = np.full(len(rows), None, dtype=object)
    for index in np.flatnonzero(rows):
        result[index] = values[index].copy()
    return result


def meta_episode_rows(infos: Infos, key: str, num_envs: int) -> BoolArray:
    """Where ``infos[key]`` is ``MultiEpisodeWrapper``'s and not the environment's, bool (n,).

    The wrapper may be around the batch, or around each environment of a ``SyncVectorEnv`` or
    ``AsyncVectorEnv``, whose infos have masks.
    """
    rows = np.zeros(num_envs, bool)
    if MARK in infos and key in infos:
        rows |= np.asarray(infos[MARK], bool) & np.asarray(infos.get(f"_{key}", True), bool)
    return rows


def true_next_observations(
    observations: np.ndarray[Any, Any], infos: Infos, ended: BoolArray
) -> np.ndarray[Any, Any]:
    """The true next states s' of the last step, even if the environment showed a new start.

    ``MultiEpisodeWrapper`` keeps them in ``infos["next_obs"]``. Without it, an environment that
    ended shows its new start, and its last state is in ``infos["final_obs"]``.

    Args:
        observations: Observations of the step, (n, …).
        infos: Infos of the step.
        ended: Environments that ended with it, bool (n,).

    Raises:
        ValueError: Another wrapper has changed the observations.
    """
    kept = meta_episode_rows(infos, "next_obs", len(observations))
    unchanged = kept & ~episode_starts(infos, ended) & ~ended
    if unchanged.any():
        true_next = infos["next_obs"]
        if not unchanged.all():
            true_next = np.stack(list(infos["next_obs"][unchanged]))
        check_unchanged(observations if unchanged.all() else observations[unchanged], true_next)
    if kept.all():
        return np.asarray(infos["next_obs"])
    result = observations.copy()
    if kept.any():
        result[kept] = infos["next_obs"][kept]
    lost = ended & ~kept
    if lost.any():
        result[lost] = np.stack(final_observations(infos, lost))
    return result


def episode_starts(infos: Infos, ended: BoolArray) -> BoolArray:
    """Where the observation shown begins an inner episode, bool (n,); ``ended``: a new task."""
    rows = meta_episode_rows(infos, "episode_start", len(ended))
    if not rows.any():
        return ended
    return np.where(rows, np.asarray(infos["episode_start"], bool), ended)
