"""Checks of constructor arguments, and rebuilding of environments from them."""

from __future__ import annotations

import copy
import inspect
import operator
from typing import Any

import numpy as np


def check_positive(name: str, value: Any) -> int:
    """`value` as an int of at least 1, or a ValueError."""
    number = whole_number(value, least=1)
    if number is None:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return number


def whole_number(value: Any, least: int) -> int | None:
    """`value` as an int, None if it is smaller than `least` or not an integer.

    NumPy integers and 0-d arrays are integers, booleans are not.
    """
    if isinstance(value, (bool, np.bool_)) or getattr(value, "dtype", None) == np.bool_:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return number if number >= least else None


def check_render_mode(render_mode: str | None, known: list[str]) -> None:
    """Raise a ValueError for a `render_mode` that is neither None nor among `known`."""
    if render_mode is not None and render_mode not in known:
        raise ValueError(f"render_mode must be None or one of {known}, got {render_mode!r}")


def require_render_mode(render_mode: str | None, known: list[str]) -> str:
    """`render_mode`, which `render` needs; ValueError if it is None."""
    if render_mode is None:
        raise ValueError(f"render() needs a render_mode, one of {known}; got None")
    return render_mode


def check_arguments_known(cls: type, kwargs: dict[str, Any], place: str) -> None:
    """Refuse to copy an environment if arguments of its constructor would be lost.

    Args:
        cls: Its class.
        kwargs: The arguments that a copy would be made with.
        place: Where a subclass adds its own arguments, for the message.

    Raises:
        TypeError: The constructor has other named arguments, whose values would be lost.
    """
    named = inspect.signature(cls).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    lost = [one.name for one in named if one.kind not in variadic and one.name not in kwargs]
    if lost:
        raise TypeError(
            f"{cls.__name__} cannot be copied or pickled: the values of {', '.join(lost)} would be "
            f"lost; add them to {place}"
        )


def own_spaces(env: Any, *names: str) -> dict[str, Any]:
    """The spaces of an environment by attribute name: copies, with their generators."""
    return {name: copy.deepcopy(getattr(env, name)) for name in names}


def rebuild(
    cls: Any,
    kwargs: dict[str, Any],
    spec: Any,
    state: dict[str, Any] | None,
    spaces: dict[str, Any] | None = None,
) -> Any:
    """An environment made from its constructor arguments and saved state (for `__reduce__`).

    Args:
        cls: Its class.
        kwargs: Arguments of its constructor.
        spec: Its specification.
        state: What `get_state` returned; None for one that has not been reset.
        spaces: Its spaces, which have generators of their own; missing in older pickles.
    """
    env = cls(**kwargs)
    env.spec = spec
    for name, space in (spaces or {}).items():
        setattr(env, name, space)
    if state is not None:
        env.set_state(state)
    return env
