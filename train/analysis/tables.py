"""Evaluation results as text for a terminal and as CSV."""

from __future__ import annotations

import csv
import io
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd

from train.analysis.copies import refuse_copies, warn_of_other_commits
from train.common.evaluation import SplitResult
from train.config.grouping import IGNORED_IN_GROUPS, value_text
from train.config.old_runs import row_with_present_names
from train.config.settings import flattened
from train.config.unused import unused_settings
from train.persistence.files import read_csv, require_equal_lengths, write_text
from train.persistence.run_folder import RunFolder


def summary_rows(results: list[SplitResult]) -> list[dict[str, Any]]:
    """One row per split and episode: number of tasks, mean return, tasks reached."""
    return [
        {
            "split": result.split,
            "episode": episode + 1,
            "tasks": len(result.returns),
            "mean_return": repr(mean),
            "std_return": repr(float(result.returns[:, episode].std())),
            "tasks_reached": "" if result.n_reached is None else result.n_reached[episode],
        }
        for result in results
        for episode, mean in enumerate(result.mean_returns)
    ]


def joint_rows(runs: list[tuple[RunFolder, list[SplitResult]]]) -> list[dict[str, Any]]:
    """Like :func:`summary_rows`, for several runs, with columns that identify the run."""
    rows = []
    for folder, results in runs:
        config = folder.config
        run = {
            "run": str(folder.path),
            "env_id": config.env_id,
            "method": config.method,
            "seed": config.seed,
        }
        rows += [{**run, **row} for row in summary_rows(results)]
    return rows


def group_runs(folders: list[RunFolder]) -> dict[str, list[RunFolder]]:
    """Groups of runs that differ only in seed and location, by a name that identifies the group.

    Raises:
        ValueError: If two runs of one group have the same seed.
    """
    settings = []
    for folder in folders:
        ignored = IGNORED_IN_GROUPS | unused_settings(folder.config)
        own = flattened(folder.config.to_dict())
        settings.append({k: v for k, v in own.items() if k not in ignored})
    groups: dict[str, list[RunFolder]] = {}
    for folder, own in zip(folders, settings, strict=True):
        alike = [
            s for s in settings if (s["env_id"], s["method"]) == (own["env_id"], own["method"])
        ]
        # settings that only some runs use need no mention: the settings that enable them differ
        differing = [k for k in own if any(k in s and s[k] != own[k] for s in alike)]
        differing = [k for k in differing if k != "preset"]
        env = own["env_id"] if len({s["env_id"] for s in settings}) > 1 else ""
        parts = [env, own["method"], *(f"{k} {value_text(own[k])}" for k in differing)]
        groups.setdefault(" ".join(part for part in parts if part), []).append(folder)
    refuse_copies(
        (str(folder.path.resolve()), name, folder.config.seed)
        for name, group in groups.items()
        for folder in group
    )
    warn_of_other_commits(
        (folder.path.name, name, folder.short_commit)
        for name, group in groups.items()
        for folder in group
    )
    return groups


def print_table(results: list[SplitResult]) -> None:
    """Print the mean return per split and episode, and the tasks reached in the last one."""
    _print(_shown(results))


def print_joint_table(runs: list[tuple[RunFolder, list[SplitResult]]]) -> None:
    """Print such a table for several runs, one below the other."""
    groups = group_runs([folder for folder, _ in runs])
    names = {id(folder): name for name, group in groups.items() for folder in group}
    _print(
        [
            {"run": f"{names[id(folder)]}, seed {folder.config.seed}", **row}
            for folder, results in runs
            for row in _shown(results)
        ]
    )


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows with equal columns to a CSV file, atomically."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())
    return path


def stored_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a table of a collection, with the present names of settings; none without the file.

    Raises:
        StateFileError: If a row is too short or too long.
    """
    rows = read_csv(path) if path.exists() else []
    require_equal_lengths(path, rows)
    return [row_with_present_names(row) for row in rows]


def with_all_columns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that all have the columns of any of them, empty where a row had none."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column, "") for column in columns} for row in rows]


def write_tables(out: Path, tables: dict[str, list[dict[str, Any]]]) -> list[Path]:
    """Write a file for each table with rows; delete the old file of a table without rows."""
    written = []
    for name, rows in tables.items():
        if rows:
            written.append(write_csv(out / f"{name}.csv", rows))
        else:
            (out / f"{name}.csv").unlink(missing_ok=True)
    return written


def _shown(results: list[SplitResult]) -> list[dict[str, str]]:
    rows = []
    for result in results:
        means = {f"return {k}": f"{value:.2f}" for k, value in enumerate(result.mean_returns, 1)}
        reached = "-" if result.n_reached is None else str(result.n_reached[-1])
        last = {f"reached at {len(means)}": reached}
        rows.append({"split": result.split, "tasks": str(len(result.returns)), **means, **last})
    return rows


def _print(rows: list[dict[str, str]]) -> None:
    print(textwrap.indent(pd.DataFrame(rows).fillna("").to_string(index=False), "  "))
