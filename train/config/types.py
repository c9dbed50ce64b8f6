"""Whether values have the types that a dataclass declares for its fields."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from typing import Any


def check_types(settings: Any) -> None:
    """Raise a ``ValueError`` that names the first field whose value is of another type."""
    declared = _declared(type(settings))  # type: ignore[arg-type]  # a class has a hash
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if not _fits(value, declared[field.name]):
            raise ValueError(f"{field.name} must be {field.type}, got {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field.name} must be a finite number, got {value}")


@functools.cache
def _declared(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _fits(value: Any, declared: Any) -> bool:
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin is typing.Literal:
        return value in arguments and isinstance(value, str)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is tuple:  # tuple[X, ...]
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if declared is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if declared is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, declared)
