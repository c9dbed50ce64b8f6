"""Combine folders of committed tables, to compare runs that were collected apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from train.analysis.copies import refuse_copied_rows, refuse_other_tasks
from train.analysis.tables import stored_rows, with_all_columns

Rows = list[dict[str, Any]]
_TABLES = ("runs", "curves", "tasks")


def merge(folders: list[Path]) -> dict[str, Rows]:
    """Rows of ``runs.csv``, ``curves.csv`` and ``tasks.csv`` of several folders.

    A run is then called ``folder/run``. What shows single runs (beliefs, mixtures, goals, paths)
    stays where it is.

    Args:
        folders: Folders that ``--collect`` or ``--add`` has written.

    Raises:
        ValueError: If two folders have the same name, a folder lacks a table, or runs of two
            folders have the same settings and seed, or the same settings but other tasks.
    """
    names = Counter(folder.resolve().name for folder in folders)
    tables: dict[str, Rows] = {name: [] for name in _TABLES}
    for folder in folders:
        called = folder.resolve().name
        if names[called] > 1:
            raise ValueError(
                f"{names[called]} of the folders are called {called!r}, and runs are named after "
                "their folder: expected each folder once, under a name of its own"
            )
        for name in _TABLES:
            rows = stored_rows(folder / f"{name}.csv")
            if not rows:
                raise ValueError(
                    f"{folder / f'{name}.csv'} is missing or has no rows; expected a folder that "
                    "--collect RUN… --out FOLDER has written"
                )
            tables[name] += [{**row, "run": f"{called}/{row['run']}"} for row in rows]
    refuse_copied_rows(tables["runs"])
    refuse_other_tasks(tables["runs"], tables["tasks"])
    return {name: with_all_columns(rows) for name, rows in tables.items()}
