"""Results of many runs, read from committed CSV files, and the numbers shown in figures.

``runs.csv`` has a row per run, ``curves.csv`` one per run, evaluation, split and episode, and
``tasks.csv`` one per run, split, task and episode, always of the first and the last episode.
``tasks.csv`` averages over the last five evaluations (only those with adaptation, if not all have
it). :mod:`train.analysis.collect` writes these files from run folders; everything else reads only
the files.
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
    require_same_rows,
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
from train.analysis.tables import stored_rows
from train.common.env_source import EnvSource
from train.persistence.files import require_columns
from train.persistence.run_folder import check_module

BUDGET = "total_timesteps"
_CURVE_COLUMNS = "run timesteps split episode tasks return reached"
_RUN_COLUMNS = "run env_id method preset seed overrides n_mixture_workers beta p_drop n_episodes"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run, as read from the files.

    Attributes:
        row: Its row in runs.csv.
        table: Its rows in curves.csv, one per evaluation, split and episode.
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
        """Name of the run's group, which all its seeds share."""
        return group_name(self.row)

    @functools.cached_property
    def source(self) -> EnvSource:
        """Where its environments come from."""
        changed: dict[str, Any] = json.loads(self.row.get("environment") or "{}")
        for name in {"env_kwargs", "observation_keys"} & changed.keys():
            changed[name] = tuple(changed[name])  # JSON has only lists
        return EnvSource(**{**changed, "env_id": self.row["env_id"]})

    @property
    def adapted_from(self) -> int:
        """Step from which on its evaluations adapt to their tasks; 0 if all do, or none."""
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
        """Whether its environment reports when a task is reached."""
        return bool(self.table["reached"].notna().any())

    def curve(self, split: str, episode: int, *, missed: bool = False) -> pd.Series[float]:
        """Mean return, or number of missed tasks, by timestep in ascending order."""
        own = self.table[(self.table["split"] == split) & (self.table["episode"] == episode)]
        own = own.set_index("timesteps").sort_index()
        return (own["tasks"] - own["reached"]).dropna() if missed else own["return"]


@dataclasses.dataclass(frozen=True)
class GroupCurve:
    """A quantity of a group of runs over time; all arrays are float64 (n_timesteps,).

    Attributes:
        steps: Environment steps.
        runs: Number of runs evaluated at that step.
        mean: Mean over runs of their moving averages.
        std: Standard deviation over runs; NaN for fewer than two runs.
        iqm: Interquartile mean over runs.
        low: Lower end of its 95 % bootstrap interval; NaN for fewer than three runs.
        high: Upper end of the interval.
    """

    steps: NDArray[Any]
    runs: NDArray[Any]
    mean: NDArray[Any]
    std: NDArray[Any]
    iqm: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]


def read_runs(folder: Path) -> list[Run]:
    """The runs in ``runs.csv`` and ``curves.csv``, in the order of the files.

    Raises:
        StateFileError: If a file does not fit, or two runs have the same settings and seed.
    """
    try:
        curves = read_table(folder / "curves.csv")
        require_columns(folder / "curves.csv", curves, _CURVE_COLUMNS)
        rows = stored_rows(folder / "runs.csv")
        for row in rows[:1]:
            require_columns(folder / "runs.csv", row, _RUN_COLUMNS)
        for row in rows:
            check_module(row["env_id"])
        if len({row["run"] for row in rows}) < len(rows):
            raise ValueError("expected each run once, got two rows of the same name")
        refuse_copied_rows(rows)
        places = {row["run"]: f"{row['env_id']} {row.get('environment')}" for row in rows}
        curves = successes_known(curves, [curves["run"].map(places), "split"])
        tables = dict(list(curves.groupby("run", sort=False)))
        for table in tables.values():
            require_same_rows(folder / "curves.csv", table, ["run", "split", "episode"])
        return [Run(row, tables[row["run"]]) for row in rows]
    except StateFileError:
        raise
    except ValueError as error:
        raise StateFileError(f"{folder / 'runs.csv'}: {error}") from None
    except (KeyError, TypeError) as error:
        raise StateFileError(f"the results of {folder} are damaged: {error!r}") from None


def common_source(runs: Iterable[Run]) -> EnvSource | None:
    """The source of the environments of all runs; ``None`` if they have several."""
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

    Each run is smoothed by a moving average over five evaluations (section 5), separately for
    evaluations with and without adaptation. The resamples of the intervals come from a separate
    generator, so that the same files give the same figure. The steps are those of
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
    """A warning about a group whose runs were evaluated at different steps; empty for others.

    Runs with different ``--eval-interval`` are in one group, but their means cover different steps.
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
    consequence = "curves are means of different runs at different steps"
    if table.notna().all(axis=1).any():
        consequence = f"curves leave out {(~shared).sum()} of {len(shared)} steps"
    return (
        f"runs of {runs[0].row['env_id']}, {runs[0].group}, were evaluated at different steps "
        f"(usual distance: {', '.join(spans)}): {consequence}, and the last five evaluations of "
        "final numbers cover different parts of the runs"
    )


def final_scores(
    runs: list[Run], split: str, episode: int, *, missed: bool = False
) -> NDArray[np.float64]:
    """Per run, the mean of its last five evaluations (with adaptation, if the method adapts)."""
    scores = []
    for run in runs:
        curve = run.curve(split, episode, missed=missed)
        if len(curve):
            scores.append(curve[final_steps(curve.index, run.adapted_from)].mean())
    return np.array(scores)


def summary_rows(runs: list[Run]) -> list[dict[str, Any]]:
    """Final returns and tasks reached of each group, with 95 % intervals over runs."""
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
    """Columns of a table: mean, standard deviation and interquartile mean over runs.

    Values are empty if there are too few runs.
    """
    columns = ("mean", "mean_low", "mean_high", "std", "iqm", "iqm_low", "iqm_high")
    values = [math.nan] * len(columns)
    if len(scores):
        average = interval_over_runs(scores, mean, np.random.default_rng(0))
        middle = interval_over_runs(scores, interquartile_mean, np.random.default_rng(0))
        values = [*average, sample_deviation(scores), *middle]
    return {f"{name}_{c}": format_number(v) for c, v in zip(columns, values, strict=True)}
