"""The schemes that settings and saved runs can name; a new one is added to these two unions."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, TypeAlias

from ldm_wrappers.imagination.expected_reward import ExpectedReward
from ldm_wrappers.imagination.mixture import DirichletMixture
from ldm_wrappers.imagination.plausible_tasks import PlausibleTasks

Mixture: TypeAlias = DirichletMixture
Imagination: TypeAlias = ExpectedReward | PlausibleTasks


def scheme_kinds(union: Any) -> dict[str, Any]:
    """The classes of ``Mixture`` or ``Imagination`` by their kind."""
    return {kind.kind(): kind for kind in typing.get_args(union) or (union,)}


def mixture_from_dict(values: dict[str, Any]) -> Mixture:
    """Inverse of ``to_dict`` of a mixture scheme.

    Raises:
        ValueError: The kind or a setting is not known, or a setting is missing.
    """
    mixture: Mixture = _from_dict(values, Mixture)
    return mixture


def imagination_from_dict(values: dict[str, Any]) -> Imagination:
    """Inverse of ``to_dict`` of an imagination scheme; errors as in :func:`mixture_from_dict`."""
    imagination: Imagination = _from_dict(values, Imagination)
    return imagination


def _from_dict(values: dict[str, Any], union: Any) -> Any:
    kinds, settings = scheme_kinds(union), dict(values)
    if settings.get("kind") == ExpectedReward.kind():
        settings.setdefault("belief_samples", False)  # missing in some runs of version 0.2
    kind = settings.pop("kind", None)
    if kind not in kinds:
        raise ValueError(f"kind must be one of {sorted(kinds)}, got {kind!r}")
    known = {field.name for field in dataclasses.fields(kinds[kind])}
    if set(settings) != known:
        raise ValueError(f"{kind} has the settings {sorted(known)}, got {sorted(settings)}")
    return kinds[kind](**settings)
