"""The evaluations of a run as a table, and condensed into a few rows."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldm_wrappers.state_file import StateFileError
from train.common.env_source import EnvSource
from train.config.grouping import group_text, value_text
from train.config.settings import RunSettings
from train.persistence.files import read_csv, read_log, require_equal_lengths
from train.persistence.run_folder import RunFolder, resume_command

LAST = 5
"""Number of evaluations at the end of a run that its final results are averaged over."""

_NUMBERS: dict[str, type] = {
    **dict.fromkeys(("timesteps", "episode", "tasks"), int),
    **dict.fromkeys(("return", "reached", "value"), float),
}


def read_table(path: Path) -> pd.DataFrame:
    """A CSV file of evaluations, with known columns as numbers and all others as text.

    ``reached`` is NaN if the environment does not report success.

    Raises:
        StateFileError: If a row is too short or too long, or has text instead of a number, or a
            return or value that is not finite, or if two rows are of the same thing.
    """
    rows = read_csv(path)
    require_equal_lengths(path, rows)
    table = _numbers(path, rows)
    keys = [name for name in table if name not in ("tasks", "return", "reached", "value")]
    if keys and (again := table.duplicated(keys)).any():
        twice = ", ".join(
            f"{name} {value}" for name, value in table.loc[again, keys].iloc[0].items()
        )
        raise StateFileError(f"{path} is damaged: it has two rows of {twice}")
    return table


def _numbers(path: Path, rows: list[dict[str, str]]) -> pd.DataFrame:
    try:
        table = pd.DataFrame(rows, columns=list(rows[0]) if rows else None, dtype=object)
        if "reached" in table:
            table["reached"] = table["reached"].replace("", "nan")
        table = table.astype({k: kind for k, kind in _NUMBERS.items() if k in table})
        for name in {"return", "value"} & set(table):
            if not np.isfinite(table[name]).all():
                raise ValueError(f"a {name} is not finite")
        return table
    except ValueError as error:
        raise StateFileError(f"{path} is damaged: {error}") from None


def evaluations(folder: RunFolder, *, running: bool = False) -> pd.DataFrame:
    """A run's evaluations.csv, without rows if it has not been evaluated yet.

    An evaluation with missing rows, because the run was killed or is still writing, is left out
    with a warning.

    Args:
        folder: The run.
        running: Whether the run is in progress, so that an incomplete evaluation needs no warning.

    Raises:
        StateFileError: If the file contains something else, or evaluations before the last one
            have different numbers of rows.
    """
    if not folder.evaluations.exists():
        return pd.DataFrame()
    table = _numbers(folder.evaluations, read_log(folder.evaluations))
    expected = {"timesteps", "split", "task", "episode", "return", "reached"}
    if len(table) and not expected <= set(table):
        raise StateFileError(f"{folder.evaluations} does not contain evaluations")
    if table.empty:
        return table
    table = successes_known(table, ["split"])
    cut = cut_evaluation(table["timesteps"].tolist()) or _cut_only_evaluation(table)
    if cut is not None:
        last, n_rows, expected_rows = cut
        least = "" if table["timesteps"].nunique() > 1 else "at least "
        if not running:
            print(
                f"warning: the evaluation of {folder.path} at step {last:,} is left out, since it "
                f"has {n_rows} of {least}{expected_rows} rows; continue the run with "
                f"{resume_command(folder.config, folder.path)}",
                file=sys.stderr,
            )
        table = table[table["timesteps"] != last]
    if table.empty:
        return table
    require_same_rows(folder.evaluations, table, ["split", "episode"])
    return table


def require_same_rows(path: Path, table: pd.DataFrame, keys: list[str]) -> None:
    """Raise a ``StateFileError`` if evaluations have different numbers of rows of a kind.

    Tasks are only counted: their texts may change when a run is resumed on another machine.

    Args:
        path: The file, for the message.
        table: Its rows, with a column ``timesteps``.
        keys: Columns that identify a kind of rows.
    """
    counts = table.groupby([*keys, "timesteps"]).size().unstack(fill_value=0)
    differs = np.argwhere(counts.ne(counts.iloc[:, 0], axis=0).to_numpy())
    if len(differs):
        row, column = differs[0]
        named = ", ".join(f"{k} {v}" for k, v in zip(keys, counts.index[row], strict=True))
        raise StateFileError(
            f"{path} is damaged: it has {counts.iat[row, column]} rows of {named} at step "
            f"{counts.columns[column]}, but {counts.iat[row, 0]} at step {counts.columns[0]}; "
            "expected as many in every evaluation"
        )


def cut_evaluation(steps: Iterable[int]) -> tuple[int, int, int] | None:
    """An incomplete last evaluation: its step, its number of rows, and that of the one before.

    Args:
        steps: The step of each row, in the order of writing.
    """
    sizes = Counter(steps)
    *before, last = sizes
    if not before or sizes[last] >= sizes[before[-1]]:
        return None
    return last, sizes[last], sizes[before[-1]]


def _cut_only_evaluation(table: pd.DataFrame) -> tuple[int, int, int] | None:
    """As :func:`cut_evaluation`, for a single one: one whose last task lacks episodes.

    The number of rows is then the least that it can have been: whole tasks may be missing too.
    """
    tasks = table.groupby(["split", "episode"]).size().unstack(fill_value=0)
    most = tasks.max(axis=1)
    if table["timesteps"].nunique() > 1 or tasks.eq(most, axis=0).all(axis=None):
        return None
    return int(table["timesteps"].iloc[0]), len(table), int(most.sum()) * tasks.shape[1]


def successes_known(table: pd.DataFrame, environment: list[Any]) -> pd.DataFrame:
    """``table`` with 0 instead of unknown for tasks reached, if the environment reports success.

    Many environments set ``is_success`` only at a success, so an evaluation without successes does
    not report any. Means over evaluations and runs would otherwise skip these.

    Args:
        table: Evaluations.
        environment: Columns, or their names, that identify an environment and split. It reports
            success if any of its rows does.
    """
    reports = table.groupby(environment)["reached"].transform("count") > 0
    return table.assign(reached=table["reached"].mask(reports & table["reached"].isna(), 0.0))


def curve_table(table: pd.DataFrame) -> pd.DataFrame:
    """Number of tasks, mean return and tasks reached, per evaluation and split.

    For the first and the last episode, as :func:`task_table`: those in between are most of the rows
    of methods with many episodes, and no figure or table shows them.
    """
    groups = _first_and_last(table).groupby(["timesteps", "split", "episode"], sort=False)
    columns = {"tasks": groups.size(), "return": groups["return"].mean()}
    reached = groups["reached"].agg(_known_mean) * columns["tasks"]
    return pd.DataFrame({**columns, "reached": reached.round()}).reset_index()


def final_steps(steps: Iterable[int], adapts_from: int) -> list[int]:
    """The last five evaluations, without those before the method adapts if there are others.

    Args:
        steps: Steps of all evaluations of a run.
        adapts_from: See :attr:`~train.config.settings.RunSettings.adapts_from`.
    """
    ordered = sorted(set(steps))
    return [step for step in ordered if step >= adapts_from][-LAST:] or ordered[-LAST:]


def task_table(table: pd.DataFrame, adapts_from: int = 0) -> pd.DataFrame:
    """Means over the final evaluations, per split, task and episode (first and last)."""
    steps = final_steps(table["timesteps"].tolist(), adapts_from)
    shown = _first_and_last(table[table["timesteps"].isin(steps)])
    groups = shown.groupby(["split", "task", "episode"], sort=False)
    means = {name: groups[name].agg(_known_mean) for name in ("return", "reached")}
    return pd.DataFrame(means).reset_index()


def _first_and_last(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first and the last episode."""
    return table[table["episode"].isin([1, table["episode"].max()])]


def text_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as written to CSV: six digits, and empty if a number is unknown."""
    written = table.assign(
        **{name: table[name].map(format_number) for name in ("return", "reached")}
    )
    return [{str(k): v for k, v in row.items()} for row in written.to_dict("records")]


def run_row(config: RunSettings, evaluated_timesteps: int) -> dict[str, Any]:
    """Row of runs.csv: everything that determines a run's group; empty if not applicable."""
    beta = getattr(getattr(config, "mixture", None), "beta", None)
    p_drop = getattr(config, "p_drop", None)
    return {
        "env_id": config.env_id,
        "method": config.method,
        "preset": config.preset,
        "seed": config.seed,
        "overrides": group_text(config),
        "n_workers": getattr(config, "n_workers", ""),
        "n_mixture_workers": getattr(config, "n_mixture_workers", ""),
        "beta": "" if beta is None else value_text(beta),
        "p_drop": "" if p_drop is None else value_text(p_drop),
        "n_episodes": config.n_episodes,
        "total_timesteps": config.total_timesteps,
        "evaluated_timesteps": evaluated_timesteps,
        "adapted_from": config.adapts_from or "",
        "environment": environment_text(config),
    }


def group_name(row: Mapping[str, Any]) -> str:
    """The group of a row of ``runs.csv``, which all its seeds share."""
    preset = "" if row["preset"] == "default" else row["preset"]
    return " ".join(filter(None, [row["method"], preset, row["overrides"]]))


def environment_text(config: RunSettings) -> str:
    """Settings of a run's environments other than their id, as JSON; empty if there are none."""
    own = dataclasses.asdict(EnvSource.of(config))
    usual = dataclasses.asdict(EnvSource(config.env_id))
    changed = {name: value for name, value in own.items() if value != usual[name]}
    return json.dumps(changed) if changed else ""


def format_number(value: float) -> str:
    """A number as text for a table, empty if unknown (NaN)."""
    return "" if math.isnan(value) else f"{value:.6g}"


def _known_mean(values: pd.Series[float]) -> float:
    """Mean, or NaN if any value is unknown."""
    return float(values.mean(skipna=False))
