"""Notices runs that are there twice: a copy is no further seed."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

_OF_A_GROUP = ("env_id", "method", "preset", "overrides", "environment")


def refuse_copies(runs: Iterable[tuple[str, Hashable, Any]]) -> None:
    """Raise where two runs of one group have the same seed.

    They would count as independent seeds, and intervals would be too narrow.

    Args:
        runs: Name, group and seed of each run.

    Raises:
        ValueError: Two of them; the message names both.
    """
    found: dict[tuple[Hashable, str], str] = {}
    for name, group, seed in runs:
        first = found.get((group, str(seed)))
        if first is not None:
            raise ValueError(
                f"{first} and {name} have the same settings and seed {seed} (settings without "
                "effect aside), so one tells nothing that the other does not: expected each seed "
                "of a group once. Leave one out (a copy or a backup; with --add, delete the rows "
                "of the older one from the CSV files), or train it with another --seed"
            )
        found[group, str(seed)] = name


def refuse_copied_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """:func:`refuse_copies` for rows of ``runs.csv``."""
    refuse_copies(
        (row["run"], tuple(str(row.get(name, "")) for name in _OF_A_GROUP), row.get("seed"))
        for row in rows
    )
