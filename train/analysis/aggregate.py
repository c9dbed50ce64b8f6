"""Results of many runs as committed CSV files, and the numbers that figures are drawn from.

``runs.csv`` has a row per run, ``curves.csv`` one per run, evaluation, split and episode, and
``tasks.csv`` one per run, split, task and episode (first and last), a mean of the last five
evaluations. :func:`collect` writes them from run folders; everything else reads only them.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ldm_wrappers.state_file import StateFileError
from train.analysis.condense import LAST, curve_rows, evaluations, run_row, task_rows
from train.analysis.statistics import (
    interquartile_mean,
    interval_over_runs,
    mean,
    moving_average,
    sample_deviation,
)
from train.analysis.tables import write_csv
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder

Array = np.ndarray[Any, np.dtype[Any]]
Key = tuple[str, int]  # split and episode
BUDGET = "total_timesteps"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of the files.

    Attributes:
        name: Its name in the files.
        row: Its row of runs.csv.
        returns: Per split and episode, mean returns by timestep.
        reached: Per split and episode, tasks reached by timestep; empty where nothing is reached.
        tasks: Number of tasks per split.
    """

    name: str
    row: dict[str, str]
    returns: dict[Key, dict[int, float]]
    reached: dict[Key, dict[int, float]]
    tasks: dict[str, int]

    @property
    def overrides(self) -> dict[str, str]:
        """Settings that differ from the preset, as text."""
        pairs = (part.partition("=") for part in self.row["overrides"].split())
        return {name: value for name, _, value in pairs}

    @property
    def group(self) -> str:
        """What the run shares with the other seeds of its group."""
        preset = "" if self.row["preset"] == "default" else self.row["preset"]
        return " ".join(filter(None, [self.row["method"], preset, self.row["overrides"]]))

    @property
    def last_episode(self) -> int:
        """N, the last episode of a task."""
        return int(self.row["n_episodes"])

    def series(self, split: str, episode: int, *, missed: bool) -> dict[int, float]:
        """Mean return, or tasks missed, by timestep."""
        if not missed:
            return self.returns.get((split, episode), {})
        reached = self.reached.get((split, episode), {})
        return {step: self.tasks[split] - value for step, value in reached.items()}


@dataclasses.dataclass(frozen=True)
class Series:
    """A quantity of a group of runs over time; every array is (n_timesteps,).

    Attributes:
        steps: Environment steps.
        runs: Runs that were evaluated there.
        mean: Mean over runs of moving averages.
        std: Their standard deviation; NaN for fewer than two runs.
        iqm: Their interquartile mean.
        low: Lower end of its 95 % bootstrap interval; NaN for fewer than three runs.
        high: Upper end.
    """

    steps: Array
    runs: Array
    mean: Array
    std: Array
    iqm: Array
    low: Array
    high: Array


def collect(runs: Iterable[tuple[str, RunFolder]], out: Path) -> list[Path]:
    """Condense run folders into the three files; what they held before is replaced.

    Args:
        runs: Names and folders.
        out: Where the files go.

    Raises:
        ValueError: Two runs of one name, or none that has been evaluated.
    """
    tables: dict[str, list[dict[str, Any]]] = {"runs": [], "curves": [], "tasks": []}
    seen: set[str] = set()
    for name, folder in runs:
        if name in seen:
            raise ValueError(f"two runs are called {name!r}")
        seen.add(name)
        rows = evaluations(folder)
        if not rows:
            continue
        tables["runs"].append({"run": name, **run_row(folder, rows)})
        tables["curves"] += [{"run": name, **row} for row in curve_rows(rows)]
        tables["tasks"] += [{"run": name, **row} for row in task_rows(rows)]
    if not tables["runs"]:
        raise ValueError("none of the runs has been evaluated yet")
    return [write_csv(out / f"{name}.csv", rows) for name, rows in tables.items()]


def read_runs(folder: Path) -> list[Run]:
    """The runs of ``runs.csv`` and ``curves.csv``, in their order.

    Raises:
        StateFileError: A file does not fit.
    """
    by_run: dict[str, list[dict[str, str]]] = defaultdict(list)
    try:
        for row in read_csv(folder / "curves.csv"):
            by_run[row["run"]].append(row)
        return [_run(row, by_run[row["run"]]) for row in read_csv(folder / "runs.csv")]
    except (KeyError, ValueError, TypeError) as error:
        raise StateFileError(f"the results of {folder} are damaged: {error!r}") from None


def _run(row: dict[str, str], rows: list[dict[str, str]]) -> Run:
    returns: dict[Key, dict[int, float]] = defaultdict(dict)
    reached: dict[Key, dict[int, float]] = defaultdict(dict)
    for one in rows:
        key, step = (one["split"], int(one["episode"])), int(one["timesteps"])
        returns[key][step] = float(one["return"])
        if one["reached"] != "":
            reached[key][step] = float(one["reached"])
    tasks = {one["split"]: int(one["tasks"]) for one in rows}
    return Run(row["run"], row, dict(returns), dict(reached), tasks)


def groups(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs by group, in order of appearance."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.group, []).append(run)
    return found


def series(runs: list[Run], split: str, episode: int, *, missed: bool = False) -> Series | None:
    """A group's curve with the paper's smoothing, ``None`` if there is nothing to show.

    Each run is smoothed by a moving average over five evaluations (section 5); the intervals'
    resamples come from a generator of its own, so that the same files give the same figure.
    """
    curves = []
    for run in runs:
        values = run.series(split, episode, missed=missed)
        if values:
            steps = sorted(values)
            smooth = moving_average([values[step] for step in steps])
            curves.append(dict(zip(steps, smooth.tolist(), strict=True)))
    if not curves:
        return None
    rng = np.random.default_rng(0)
    steps = sorted(set().union(*curves))
    rows = []
    for step in steps:
        scores = np.array([curve[step] for curve in curves if step in curve])
        interval = interval_over_runs(scores, interquartile_mean, rng)
        rows.append((len(scores), scores.mean(), sample_deviation(scores), *interval))
    return Series(np.array(steps), *(np.array(column) for column in zip(*rows, strict=True)))


def final_scores(runs: list[Run], split: str, episode: int, *, missed: bool = False) -> Array:
    """Per run, the mean of its last five evaluations."""
    curves = [run.series(split, episode, missed=missed) for run in runs]
    return np.array(
        [np.mean([curve[step] for step in sorted(curve)[-LAST:]]) for curve in curves if curve]
    )


def summary_rows(runs: list[Run]) -> list[dict[str, Any]]:
    """Final returns and tasks reached of every group, with 95 % intervals over runs."""
    rows = []
    for env_id in dict.fromkeys(run.row["env_id"] for run in runs):
        own = groups(run for run in runs if run.row["env_id"] == env_id)
        for name, members in own.items():
            last = members[0].last_episode
            for split in members[0].tasks:
                for episode in sorted({1, last}):
                    row: dict[str, Any] = {
                        "env_id": env_id,
                        "group": name,
                        "split": split,
                        "episode": episode,
                        "runs": len(members),
                        "tasks": members[0].tasks[split],
                    }
                    row |= estimates("return", final_scores(members, split, episode))
                    missed = final_scores(members, split, episode, missed=True)
                    row |= estimates("reached", members[0].tasks[split] - missed)
                    rows.append(row)
    return rows


def estimates(name: str, scores: Array) -> dict[str, str]:
    """Columns of a table: mean, standard deviation and interquartile mean of runs.

    What no run, or so few of them, cannot tell is empty.
    """
    columns = ("mean", "mean_low", "mean_high", "std", "iqm", "iqm_low", "iqm_high")
    values = [math.nan] * len(columns)
    if len(scores):
        average = interval_over_runs(scores, mean, np.random.default_rng(0))
        middle = interval_over_runs(scores, interquartile_mean, np.random.default_rng(0))
        values = [*average, sample_deviation(scores), *middle]
    return {f"{name}_{c}": number(v) for c, v in zip(columns, values, strict=True)}


def number(value: float) -> str:
    """A number in a table, empty if unknown (NaN)."""
    return "" if math.isnan(value) else f"{value:.6g}"
