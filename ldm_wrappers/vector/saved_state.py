"""Loading of saved states, completely or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def load_all_or_nothing(
    load: Callable[[dict[str, Any]], None], state: dict[str, Any], kept: dict[str, Any]
) -> None:
    """Call ``load(state)``; if it fails half-way, restore ``kept`` and raise its error."""
    try:
        load(state)
    except Exception:
        load(kept)
        raise
