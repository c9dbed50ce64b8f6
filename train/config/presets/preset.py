"""A preset: what differs from the defaults of a script's settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Preset:
    """Values for every method, and what single methods change.

    What variBAD changes, its oracle does too; the oracle's own changes come on top.
    """

    values: dict[str, Any]
    methods: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def also(self, methods: Iterable[str], values: dict[str, Any]) -> Preset:
        """This preset with ``values`` for further methods."""
        return dataclasses.replace(self, methods={**self.methods, **dict.fromkeys(methods, values)})
