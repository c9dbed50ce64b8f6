"""Schemes that are frozen dataclasses: names, plain dictionaries, and checks of their values."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from ldm_wrappers.arguments import check_integer


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
        check_integer(name, getattr(settings, name), least)
