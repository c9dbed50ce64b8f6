"""Schemes that are frozen dataclasses: names, plain dictionaries, and checks of their values."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from ldm_wrappers.arguments import check_flag, check_integer, keep


class SavedScheme:
    """Base of schemes that are frozen dataclasses, with conversion to plain dictionaries."""

    @classmethod
    def kind(cls) -> str:
        """Name of the scheme in files and on the command line: ``plausible-tasks``."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary of the ``kind`` and the settings."""
        return {"kind": self.kind(), **dataclasses.asdict(self)}  # type: ignore[call-overload]


def keep_integers(settings: Any, least_values: dict[str, int]) -> None:
    """Store settings as ``int``; a ``ValueError`` shows the first one below its minimum."""
    for name, least in least_values.items():
        keep(settings, **{name: check_integer(name, getattr(settings, name), least)})


def keep_flags(settings: Any, *names: str) -> None:
    """Store settings as ``bool``; a ``ValueError`` shows the first one that is not a boolean."""
    for name in names:
        keep(settings, **{name: check_flag(name, getattr(settings, name))})
