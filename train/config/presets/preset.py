"""A preset: values that differ from the defaults of a script's settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Preset:
    """Values for all methods, and changes for individual methods.

    Changes for variBAD also apply to its oracle, before the oracle's own changes.
    """

    values: dict[str, Any]
    methods: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def also(self, methods: Iterable[str], values: dict[str, Any]) -> Preset:
        """This preset with additional ``values`` for some methods."""
        return dataclasses.replace(self, methods={**self.methods, **dict.fromkeys(methods, values)})
