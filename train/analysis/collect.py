"""Condense run folders into the tables in which results are committed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from train.analysis.condense import curve_table, evaluations, run_row, task_table, text_rows
from train.analysis.copies import refuse_copied_rows, refuse_other_tasks
from train.persistence.run_folder import RunFolder


def collect(runs: Iterable[tuple[str, RunFolder]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of ``runs.csv``, ``curves.csv`` and ``tasks.csv``, by the files' stems.

    Args:
        runs: Names and folders.

    Raises:
        ValueError: If two runs have the same name, the same settings and seed, or the same settings
            but different tasks; or if none has been evaluated.
    """
    tables: dict[str, list[dict[str, Any]]] = {"runs": [], "curves": [], "tasks": []}
    seen: set[str] = set()
    for name, folder in runs:
        if name in seen:
            raise ValueError(f"two runs are called {name!r}")
        seen.add(name)
        table = evaluations(folder)
        if table.empty:
            print(f"warning: {folder.path} is left out, not evaluated yet", file=sys.stderr)
            continue
        row = run_row(folder.config, int(table["timesteps"].max()))
        if row["evaluated_timesteps"] < row["total_timesteps"]:
            print(
                f"warning: {folder.path} has only been evaluated up to step "
                f"{row['evaluated_timesteps']:,} of {row['total_timesteps']:,}; the last "
                "evaluations up to then count as its final ones",
                file=sys.stderr,
            )
        tables["runs"].append({"run": name, **row, "commit": folder.short_commit})
        tables["curves"] += [{"run": name, **row} for row in text_rows(curve_table(table))]
        final = task_table(table, folder.config.adapts_from)
        tables["tasks"] += [{"run": name, **row} for row in text_rows(final)]
    if not tables["runs"]:
        raise ValueError("none of the runs has been evaluated yet")
    refuse_copied_rows(tables["runs"])
    refuse_other_tasks(tables["runs"], tables["tasks"])
    return tables
