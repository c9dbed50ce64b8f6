"""Schemes that are frozen dataclasses: names, plain dictionaries, and checks of their values."""

from __future__ import annotations

import dataclasses
import re
from numbers import Integral
from typing import Any


class SavedScheme:
    """Base of schemes that are frozen dataclasses: they become plain dictionaries."""

    @classmethod
    def kind(cls) -> str:
        """Name of the scheme in files and on the command line: ``plausible-tasks``."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary of the settings and of the ``kind``."""
        return {"kind": self.kind(), **dataclasses.asdict(self)}  # type: ignore[call-overload]


def check_integers(settings: Any, least_values: dict[str, int]) -> None:
    """Raise a ``ValueError`` that shows the first setting that is below its least value."""
    for name, least in least_values.items():
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
