"""Checks of arguments: NumPy integers count as integers, booleans do not."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np


def check_integer(name: str, value: Any, least: int | None = 1) -> int:
    """``value`` as an ``int`` of at least ``least`` (``None``: of any size).

    NumPy integers and 0-d arrays of them are accepted.

    Raises:
        ValueError: It is not an integer, or too small; the message shows it.
    """
    try:
        if isinstance(value, (bool, np.bool_)) or getattr(value, "dtype", None) == np.bool_:
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be an integer, got {value!r}") from None
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return number


def check_number(name: str, value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    """``value`` as a ``float``, if it is a finite number, not a boolean, and ``fits``.

    Args:
        name: Name of the value in the message.
        value: Any object.
        expected: What the message says after "must", such as ``be positive``.
        fits: Called for finite numbers only.

    Raises:
        ValueError: It is not such a number; the message shows it.
    """
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    try:
        number = float(value) if is_number and not isinstance(value, bool) else math.nan
    except OverflowError:  # an integer beyond float64
        number = math.inf
    if not math.isfinite(number) or not fits(number):
        raise ValueError(f"{name} must {expected}, got {value!r}")
    return number


def check_flag(name: str, value: Any) -> bool:
    """``value`` as a ``bool``; NumPy booleans are accepted, numbers and strings are not.

    Raises:
        ValueError: It is not a boolean; the message shows it.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_type(name: str, value: Any, kind: type[Any]) -> None:
    """Check that ``value`` is a ``kind``.

    Raises:
        TypeError: It is not; the message shows it.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {value!r}")


def check_protocol(name: str, value: Any, methods: tuple[str, ...], expected: str) -> None:
    """Check that ``value`` is an object, not a class, with these methods.

    Args:
        name: Name of the value in the message.
        value: Any object.
        methods: Names of the methods.
        expected: What the message says after "must be".

    Raises:
        TypeError: It is a class, or a method is missing; the message shows it.
    """
    if isinstance(value, type) or not all(callable(getattr(value, m, None)) for m in methods):
        raise TypeError(f"{name} must be {expected}, got {value!r}")


def scalar_reward(reward: Any) -> float:
    """A step's reward as a ``float``.

    Raises:
        TypeError: It is an array with dimensions, such as one entry per objective.
    """
    if np.ndim(reward):
        raise TypeError(
            f"step() returned the reward {reward!r}, expected a number: weigh the parts of a "
            "reward that has several (mo_gymnasium.wrappers.LinearReward), or write "
            "gymnasium.wrappers.TransformReward(env, lambda reward: float(reward.sum()))"
        )
    return float(reward)


def keep(settings: Any, **values: Any) -> None:
    """Store checked values in a frozen dataclass, as plain numbers, which JSON needs."""
    for name, value in values.items():
        object.__setattr__(settings, name, value)


def check_seed(seed: Any) -> int:
    """A seed as an ``int``; see :func:`check_integer`."""
    return check_integer("seed", seed, least=0)


def check_optional_seed(seed: Any) -> int | None:
    """Like :func:`check_seed`, but ``None`` is accepted."""
    return None if seed is None else check_seed(seed)


def worker_seeds(seed: Any, n_workers: int) -> Any:
    """One seed per worker from the seed of a run, by a ``numpy.random.SeedSequence``.

    Gymnasium's own rule, seed + i, gives worker i + 1 of one run the same stream as worker i of
    the run with the next seed, so that runs with neighbouring seeds are not independent. These
    seeds have 32 bits, the most that older generators accept: two workers of different runs share
    a seed with probability 2^-32. With more workers, the first ones keep their seeds.

    Args:
        seed: Any integer from 0, a sequence of one seed or ``None`` per worker, or ``None``. The
            latter two are returned unchanged.
        n_workers: Number of workers.

    Raises:
        ValueError: A seed is not an integer of at least 0.
    """
    if seed is None or isinstance(seed, (list, tuple)) or np.ndim(seed):
        return seed
    words = np.random.SeedSequence(check_seed(seed)).generate_state(n_workers, np.uint32)
    return [int(word) for word in words]
