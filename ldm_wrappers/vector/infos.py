"""Helpers on the infos of vector environments, which are dicts of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
Infos = dict[str, Any]


def autoreset_mode(env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """The autoreset mode an environment declares in its metadata."""
    mode = env.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise ValueError(
            f"{env} must declare metadata['autoreset_mode'] as an AutoresetMode, got {mode!r}"
        )
    return mode


def require_autoreset_mode(
    env: VectorEnv[Any, Any, Any], expected: AutoresetMode, wrapper: str
) -> None:
    """Raise a ``ValueError`` unless ``env`` resets its ended environments as ``expected``.

    Nor may its next step overwrite the observations of the last one, which wrappers keep.
    """
    mode = autoreset_mode(env)
    if mode is not expected:
        raise ValueError(
            f"{wrapper} needs an environment with autoreset_mode={expected.name}, got {mode.name}"
        )
    if getattr(env.unwrapped, "copy", True) is False:
        raise ValueError(f"{wrapper} needs an environment that returns copies, got copy=False")


def merge_rows(infos: Infos, new: Infos, rows: BoolArray) -> Infos:
    """``infos`` with the entries of ``new`` in ``rows``; neither argument is changed."""
    merged = dict(infos)
    for key, value in new.items():
        if isinstance(value, dict):
            old = infos.get(key)
            merged[key] = merge_rows(old if isinstance(old, dict) else {}, value, rows)
            continue
        if not isinstance(value, np.ndarray) or value.shape[:1] != rows.shape:
            merged[key] = value
            continue
        old = infos.get(key)
        if isinstance(old, np.ndarray) and old.shape == value.shape:
            result = old.astype(np.result_type(old, value)) if old.dtype != object else old.copy()
        else:
            result = np.zeros_like(value)
        result[rows] = value[rows]
        merged[key] = result
    return merged


def clear_rows(infos: Infos, rows: BoolArray) -> Infos:
    """``infos`` without what masks (``_key``) say to be there in ``rows``; the argument stays.

    Gymnasium's ``SAME_STEP``: of an environment that ended, infos tell how its new episode begins,
    and ``final_info`` how the old one ended.
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


def final_observations(infos: Infos, rows: BoolArray) -> np.ndarray[Any, Any]:
    """Stack ``infos["final_obs"]`` of the environments in ``rows``: (rows.sum(), …)."""
    return np.stack([infos["final_obs"][index] for index in np.flatnonzero(rows)])


def object_rows(values: np.ndarray[Any, Any], rows: BoolArray) -> np.ndarray[Any, Any]:
    """Gymnasium's ``final_obs``: an object array with ``values[i]`` in ``rows``, else ``None``."""
    result = np.full(len(rows), None, dtype=object)
    for index in np.flatnonzero(rows):
        result[index] = values[index].copy()
    return result


def successors(observations: np.ndarray[Any, Any], infos: Infos) -> np.ndarray[Any, Any]:
    """The true next states s' of the last step, whatever the environment showed instead.

    ``MultiEpisodeWrapper`` keeps them in ``infos["next_obs"]``; without it an environment that
    ended shows its new start, and its last state is in ``infos["final_obs"]``.
    """
    if "next_obs" in infos:
        return np.asarray(infos["next_obs"])
    if "final_obs" not in infos:
        return observations
    ended = np.asarray(infos["_final_obs"])
    result = observations.copy()
    result[ended] = final_observations(infos, ended)
    return result


def require_full_reset(options: dict[str, Any] | None, wrapper: str) -> None:
    """Raise a ``ValueError`` for ``reset_mask`` above a wrapper that restarts tasks itself."""
    if options is not None and "reset_mask" in options:
        raise ValueError(
            f"{wrapper} resets all environments at once, got options {sorted(options)}; tasks "
            "begin anew by themselves where they end"
        )
