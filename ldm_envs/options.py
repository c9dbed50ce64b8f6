"""Parsing of `seed` and `options` of `reset`, for the scalar and the batched environments.

Everything is checked before anything changes, so a rejected reset leaves an environment as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldm_envs.arguments import whole_number
from ldm_envs.task_sets import FloatArray
from ldm_envs.tasks import TaskDistribution


@dataclass(frozen=True)
class ScalarReset:
    """What one environment is asked to do: use `task`, or keep its task, or draw a new one."""

    task: FloatArray | None
    keep_task: bool


@dataclass(frozen=True)
class VectorReset:
    """What a batch is asked to do.

    Attributes:
        indices: Environments to reset, ascending.
        tasks: float32 (num_envs, task_dim) or None; only rows of `indices` are meaningful.
        keep_task: bool (num_envs,).
        seeds: One seed or None per environment.
    """

    indices: NDArray[np.intp]
    tasks: FloatArray | None
    keep_task: NDArray[np.bool_]
    seeds: list[int | None]


def parse_scalar_reset(
    options: Mapping[str, Any] | None, distribution: TaskDistribution
) -> ScalarReset:
    """Check the `options` of a scalar `reset`; ValueError names what is wrong."""
    options = _known_options(options, ("task", "keep_task"))
    keep = options.get("keep_task", False)
    if not isinstance(keep, (bool, np.bool_)):
        raise ValueError(f"options['keep_task'] must be a bool, got {keep!r}")
    if "task" not in options:
        return ScalarReset(None, bool(keep))
    if keep:
        raise ValueError(_both_message(options["task"]))
    return ScalarReset(distribution.validate(options["task"]), False)


def parse_vector_reset(
    seed: Any, options: Mapping[str, Any] | None, distribution: TaskDistribution, num_envs: int
) -> VectorReset:
    """Check `seed` and `options` of a batched `reset`; ValueError names what is wrong."""
    options = _known_options(options, ("task", "keep_task", "reset_mask"))
    mask = options.get("reset_mask")
    if mask is None:
        if "reset_mask" in options:
            raise ValueError(_mask_message(mask, num_envs))
        indices = np.arange(num_envs)
    else:
        if not (
            isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == (num_envs,)
        ):
            raise ValueError(_mask_message(mask, num_envs))
        if not mask.any():
            raise ValueError(f"options['reset_mask'] selects no environment: {mask!r}")
        indices = np.flatnonzero(mask)

    keep = np.asarray(options.get("keep_task", False))
    if keep.dtype != np.bool_ or keep.shape not in ((), (num_envs,)):
        raise ValueError(
            f"options['keep_task'] must be a bool or a bool array of shape ({num_envs},), "
            f"got {options['keep_task']!r}"
        )
    keep = np.broadcast_to(keep, (num_envs,)).copy()

    tasks: FloatArray | None = None
    if "task" in options:
        if keep[indices].any():
            raise ValueError(_both_message(options["task"]))
        tasks = _vector_tasks(options["task"], indices, distribution, num_envs)
    return VectorReset(indices, tasks, keep, parse_seeds(seed, num_envs))


def parse_seeds(seed: Any, num_envs: int) -> list[int | None]:
    """One seed per environment: those of a list, or independent ones derived from an int.

    An int is the entropy of a `numpy.random.SeedSequence`, whose first 32-bit words are the seeds.
    With Gymnasium's seed + i, environment i + 1 of one batch would have the same stream as
    environment i of the batch with the next seed.
    """
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, (list, tuple)) or np.ndim(seed):
        if len(seed) != num_envs:
            raise ValueError(f"Expected {num_envs} seeds, one per env, got {len(seed)}: {seed!r}")
        return [None if one is None else parse_seed(one) for one in seed]
    words = np.random.SeedSequence(parse_seed(seed)).generate_state(num_envs, np.uint32)
    return [int(word) for word in words]


def parse_seed(seed: Any) -> int:
    """A seed of one environment as an int."""
    value = whole_number(seed, least=0)
    if value is None:
        raise ValueError(f"A seed must be a non-negative integer, got {seed!r}")
    return value


def _vector_tasks(
    task: Any, indices: NDArray[np.intp], distribution: TaskDistribution, num_envs: int
) -> FloatArray:
    dim = distribution.task_dim
    try:
        array = np.array(task, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"options['task'] must be numeric, got {task!r}") from error
    if array.shape == (dim,):
        return np.tile(distribution.validate(array), (num_envs, 1))
    if array.shape != (num_envs, dim):
        raise ValueError(
            f"options['task'] must have shape ({num_envs}, {dim}) or ({dim},), "
            f"got shape {array.shape}: {task!r}"
        )
    # Rows outside the mask are not used, so they may contain anything.
    distribution.validate(array[indices], (len(indices),))
    return array


def _known_options(options: Any, known: tuple[str, ...]) -> Mapping[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ValueError(f"options must be a dict with keys among {known}, got {options!r}")
    unknown = [key for key in options if key not in known]
    if unknown:
        raise ValueError(f"Unknown reset options {unknown!r}, expected keys among {known}")
    return options


def _mask_message(mask: Any, num_envs: int) -> str:
    shape = f" of shape {mask.shape} and dtype {mask.dtype}" if hasattr(mask, "shape") else ""
    return f"options['reset_mask'] must be a bool array of shape ({num_envs},), got {mask!r}{shape}"


def _both_message(task: Any) -> str:
    return (
        "options['task'] and options['keep_task'] exclude each other for one environment, "
        f"got keep_task with task {task!r}"
    )
