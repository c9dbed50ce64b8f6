"""Results of many runs, read from committed CSV files, and the numbers that figures show.

``runs.csv`` has a row per run, ``curves.csv`` one per run, evaluation, split and episode, and
``tasks.csv`` one per run, split, task and episode (first and last), a mean of the last five
evaluations (of those with adaptation, where only the last ones have it).
:mod:`train.analysis.collect` writes them from run folders; everything else reads only them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ldm_wrappers.state_file import StateFileError
from train.analysis.common_steps import common_table, side_by_side, usual_distance
from train.analysis.condense import (
    final_steps,
    format_number,
    group_name,
    read_table,
    successes_known,
)
from train.analysis.copies import refuse_copied_rows
from train.analysis.statistics import (
    interquartile_mean,
    interval_over_runs,
    mean,
    moving_average,
    sample_deviation,
)
from train.common.env_source import EnvSource
from train.config.old_runs import row_with_present_names
from train.persistence.files import read_csv, require_columns
from train.persistence.run_folder import check_module

BUDGET = "total_timesteps"
_CURVE_COLUMNS = "run timesteps split episode tasks return reached"
_RUN_COLUMNS = "run env_id method preset seed overrides n_mixture_workers beta p_drop n_episodes"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of the files.

    Attributes:
        row: Its row of runs.csv.
        table: Its rows of curves.csv, one per evaluation, split and episode.
    """

    row: dict[str, str]
    table: pd.DataFrame

    @property
    def name(self) -> str:
        """Its name in the files."""
        return self.row["run"]

    @property
    def overrides(self) -> dict[str, str]:
        """Settings that differ from the preset, as text."""
        pairs = (part.partition("=") for part in self.row["overrides"].split())
        return {name: value for name, _, value in pairs}

    @property
    def group(self) -> str:
        """What the run shares with the other seeds of its group."""
        return group_name(self.row)

    @functools.cached_property
    def source(self) -> EnvSource:
        """Where its environments come from."""
        changed: dict[str, Any] = json.loads(self.row.get("environment") or "{}")
        for name in {"env_kwargs", "observation_keys"} & changed.keys():
            changed[name] = tuple(changed[name])  # JSON knows lists only
        return EnvSource(**{**changed, "env_id": self.row["env_id"]})

    @property
    def adapted_from(self) -> int:
        """Steps from which its evaluations adapt to their tasks; 0: all do, or none."""
        return int(self.row.get("adapted_from") or 0)

    @property
    def last_episode(self) -> int:
        """N, the last episode of a task."""
        return int(self.row["n_episodes"])

    @functools.cached_property
    def tasks(self) -> dict[str, int]:
        """Number of tasks per split."""
        counts = self.table.groupby("split", sort=False)["tasks"].last()
        return {str(split): int(n) for split, n in counts.items()}

    @property
    def reports_success(self) -> bool:
        """Whether its environment says when a task has been reached."""
        return bool(self.table["reached"].notna().any())

    def curve(self, split: str, episode: int, *, missed: bool = False) -> pd.Series[float]:
        """Mean return, or tasks missed, by timestep in ascending order."""
        own = self.table[(self.table["split"] == split) & (self.table["episode"] == episode)]
        own = own.set_index("timesteps").sort_index()
        return (own["tasks"] - own["reached"]).dropna() if missed else own["return"]


@dataclasses.dataclass(frozen=True)
class GroupCurve:
    """A quantity of a group of runs over time; every array is float64 (n_timesteps,).

    Attributes:
        steps: Environment steps.
        runs: Runs that were evaluated there.
        mean: Mean over runs of moving averages.
        std: Their standard deviation; NaN for fewer than two runs.
        iqm: Their interquartile mean.
        low: Lower end of its 95 % bootstrap interval; NaN for fewer than three runs.
        high: Upper end.
    """

    steps: NDArray[Any]
    runs: NDArray[Any]
    mean: NDArray[Any]
    std: NDArray[Any]
    iqm: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]


def read_runs(folder: Path) -> list[Run]:
    """The runs of ``runs.csv`` and ``curves.csv``, in their order.

    Raises:
        StateFileError: A file does not fit, or two runs have the same settings and seed.
    """
    try:
        curves = read_table(folder / "curves.csv")
        require_columns(folder / "curves.csv", curves, _CURVE_COLUMNS)
        rows = [row_with_present_names(row) for row in read_csv(folder / "runs.csv")]
        for row in rows[:1]:
            require_columns(folder / "runs.csv", row, _RUN_COLUMNS)
        for row in rows:
            check_module(row["env_id"])
        refuse_copied_rows(rows)
        places = {row["run"]: f"{row['env_id']} {row.get('environment')}" for row in rows}
        curves = successes_known(curves, [curves["run"].map(places), "split"])
        tables = dict(list(curves.groupby("run", sort=False)))
        return [Run(row, tables[row["run"]]) for row in rows]
    except StateFileError:
        raise
    except ValueError as error:
        raise StateFileError(f"{folder / 'runs.csv'}: {error}") from None
    except (KeyError, TypeError) as error:
        raise StateFileError(f"the results of {folder} are damaged: {error!r}") from None


def common_source(runs: Iterable[Run]) -> EnvSource | None:
    """Where the environments of all runs come from; ``None`` if it is not one place."""
    sources = {run.source for run in runs}
    return sources.pop() if len(sources) == 1 else None


def groups(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs by group, in order of appearance."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.group, []).append(run)
    return found


def group_curve(
    runs: list[Run], split: str, episode: int, *, missed: bool = False
) -> GroupCurve | None:
    """A group's curve with the paper's smoothing, ``None`` if there is nothing to show.

    Each run is smoothed by a moving average over five evaluations (section 5), of those where the
    method adapts to its tasks apart from those before; the intervals' resamples come from a
    generator of its own, so that the same files give the same figure. The moments are those of
    :func:`common_table`.
    """
    pairs = [(run.curve(split, episode, missed=missed), run.adapted_from) for run in runs]
    curves = [_smoothed(curve, adapted_from) for curve, adapted_from in pairs if len(curve)]
    if not curves:
        return None
    rng = np.random.default_rng(0)
    table = common_table(curves)
    rows = []
    for values in table.to_numpy():
        scores = values[~np.isnan(values)]
        interval = interval_over_runs(scores, interquartile_mean, rng)
        rows.append((len(scores), scores.mean(), sample_deviation(scores), *interval))
    return GroupCurve(table.index.to_numpy(), *np.array(rows).T)


def _smoothed(curve: pd.Series[float], adapted_from: int) -> pd.Series[float]:
    parts = [curve[curve.index < adapted_from], curve[curve.index >= adapted_from]]
    return pd.concat([pd.Series(moving_average(part), part.index) for part in parts if len(part)])


def evaluated_differently(runs: list[Run]) -> str:
    """What to know of a group whose runs were evaluated at different steps; empty for others.

    ``--eval-interval`` does not make a group of its own, and it decides what a mean is of.
    """
    last, split = runs[0].last_episode, next(iter(runs[0].tasks))
    found = {run.name: run.curve(split, last) for run in runs}
    curves = {name: curve for name, curve in found.items() if len(curve)}
    if len(curves) < 2:
        return ""
    table, shared = side_by_side(list(curves.values()))
    if shared.all():
        return ""
    spans = [
        f"{name} {usual_distance(curve):,.0f}" if len(curve) > 1 else f"{name} once"
        for name, curve in curves.items()
    ]
    consequence = "curves are means of other runs from moment to moment"
    if table.notna().all(axis=1).any():
        consequence = f"curves leave out {(~shared).sum()} of {len(shared)} moments"
    return (
        f"runs of {runs[0].row['env_id']}, {runs[0].group}, were evaluated at different steps "
        f"(usual distance: {', '.join(spans)}): {consequence}, and the last five evaluations of "
        "final numbers cover different parts of the runs"
    )


def final_scores(
    runs: list[Run], split: str, episode: int, *, missed: bool = False
) -> NDArray[np.float64]:
    """Per run, the mean of its last five evaluations, of those where the method adapts."""
    scores = []
    for run in runs:
        curve = run.curve(split, episode, missed=missed)
        if len(curve):
            scores.append(curve[final_steps(curve.index, run.adapted_from)].mean())
    return np.array(scores)


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


def estimates(name: str, scores: NDArray[np.float64]) -> dict[str, str]:
    """Columns of a table: mean, standard deviation and interquartile mean of runs.

    Empty where there are too few runs.
    """
    columns = ("mean", "mean_low", "mean_high", "std", "iqm", "iqm_low", "iqm_high")
    values = [math.nan] * len(columns)
    if len(scores):
        average = interval_over_runs(scores, mean, np.random.default_rng(0))
        middle = interval_over_runs(scores, interquartile_mean, np.random.default_rng(0))
        values = [*average, sample_deviation(scores), *middle]
    return {f"{name}_{c}": format_number(v) for c, v in zip(columns, values, strict=True)}
