"""Resets each environment of a batch of scalar environments to its own task."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv, VectorWrapper

from ldm_wrappers.arguments import worker_seeds
from ldm_wrappers.vector.infos import BoolArray, Infos, clear_rows, merge_rows, where_rows

_ROW_OPTIONS = ("task", "keep_task")


class TaskRowsWrapper(VectorWrapper):
    """``reset(options={"task": (num_envs, task_dim)})`` gives each environment its row.

    Gymnasium's ``SyncVectorEnv`` and ``AsyncVectorEnv`` pass one options dict to all environments.
    ``keep_task`` may also be a bool array (num_envs,). Batched environments accept rows
    themselves and are not affected. ``MultiEpisodeWrapper`` includes this.

    Args:
        env: Vector environment of a family with hidden tasks.
    """

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those of ``options["reset_mask"]``, each to its own task."""
        return reset_rows(self.env, seed, options)


def reset_rows(
    env: VectorEnv[Any, Any, Any], seed: Any, options: dict[str, Any] | None
) -> tuple[Any, Infos]:
    """``env.reset`` with rows of ``task`` and ``keep_task``, one per environment.

    Environments with equal rows are reset together. Without a ``reset_mask``, all but the first
    such group are reset twice (Gymnasium's batches can only begin as a whole), which makes no
    difference if they are seeded.

    Raises:
        ValueError: The number of rows is not the number of environments; nothing is changed then.
    """
    rows = option_rows(env, options)
    seeds = worker_seeds(seed, env.num_envs)
    if rows is None or not np.any((options or {}).get("reset_mask", True)):
        # a copy: Gymnasium's batches remove the mask from the dict that they get
        return env.reset(seed=seeds, options=None if options is None else dict(options))
    assert options is not None
    others = {key: value for key, value in options.items() if key not in _ROW_OPTIONS}
    mask = others.pop("reset_mask", None)
    observations, infos = None, {}
    groups = _groups(rows, mask, env.num_envs)
    groups.sort(key=lambda group: not group[1].get("keep_task", False))
    for group, values in groups:  # a reset of all environments must not lose a kept task
        first_of_all = mask is None and observations is None
        where = {} if first_of_all else {"reset_mask": group.copy()}
        new, new_infos = env.reset(seed=seeds, options={**others, **values, **where})
        if observations is None:
            observations, infos = new, new_infos
        else:
            observations = where_rows(group, new, observations)
            infos = merge_rows(clear_rows(infos, group), new_infos, group)
    return observations, infos


def option_rows(
    env: VectorEnv[Any, Any, Any], options: dict[str, Any] | None
) -> dict[str, np.ndarray[Any, Any]] | None:
    """The options that have a row for each environment; ``None`` if there are none.

    Raises:
        ValueError: The number of rows is not the number of environments.
    """
    if not options or not isinstance(env.unwrapped, (SyncVectorEnv, AsyncVectorEnv)):
        return None
    rows = {}
    for name, n_axes in zip(_ROW_OPTIONS, (2, 1), strict=True):
        if name not in options:
            continue
        array = np.asarray(options[name])
        if array.ndim == n_axes:
            rows[name] = array
            if len(array) != env.num_envs:
                raise ValueError(
                    f"options[{name!r}] needs a row for each of {env.num_envs} environments, got "
                    f"shape {array.shape}: {options[name]!r}"
                )
    if not rows:
        return None
    return {**{key: options[key] for key in _ROW_OPTIONS if key in options}, **rows}


def _groups(
    rows: dict[str, np.ndarray[Any, Any]], mask: BoolArray | None, num_envs: int
) -> list[tuple[BoolArray, dict[str, Any]]]:
    """Masks of environments with equal rows, and the options of each such group."""
    groups: dict[Any, tuple[BoolArray, dict[str, Any]]] = {}
    for index in range(num_envs) if mask is None else np.flatnonzero(mask):
        values = {
            name: value[index] if np.ndim(value) == (2 if name == "task" else 1) else value
            for name, value in rows.items()
        }
        if "keep_task" in values:
            values["keep_task"] = bool(values["keep_task"])
        key = tuple((name, np.asarray(value).tobytes()) for name, value in values.items())
        group, _ = groups.setdefault(key, (np.zeros(num_envs, bool), values))
        group[index] = True
    return list(groups.values())
