"""Learning curves of a run, from their metrics.csv and evaluations.csv."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ldm_wrappers.state_file import StateFileError
from train.analysis.condense import evaluations
from train.common.env_source import EnvSource
from train.common.envs import evaluation_tasks
from train.persistence.files import read_log
from train.persistence.run_folder import RunFolder
from train.plots.optimal_returns import optimal_returns
from train.plots.style import figure, plot_line, save, split_colour, step_unit, tidy

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class Curve:
    """Greedy evaluations of one split during training.

    Attributes:
        steps: Environment steps of each evaluation, (n,).
        returns: Mean return per inner episode, (n, n_episodes).
        missed: Tasks not reached in each inner episode, (n, n_episodes); ``None`` if the
            environment does not report success.
        n_tasks: Number of tasks.
    """

    steps: Array
    returns: Array
    missed: Array | None
    n_tasks: int


def read_curves(folder: RunFolder) -> dict[str, Curve]:
    """A curve per split, from a run's evaluations.csv.

    Raises:
        StateFileError: If the file does not contain evaluations.
    """
    table = evaluations(folder)
    if table.empty:
        raise StateFileError(f"{folder.evaluations} does not contain evaluations")
    return {str(split): _curve(rows) for split, rows in table.groupby("split", sort=False)}


def _curve(rows: pd.DataFrame) -> Curve:
    means = rows.pivot_table(["return", "reached"], "timesteps", "episode", dropna=False)
    n_tasks = int((rows["timesteps"] == means.index[-1]).sum()) // rows["episode"].nunique()
    missed = None
    if rows["reached"].notna().all():
        missed = n_tasks * (1 - means["reached"].to_numpy())
    return Curve(means.index.to_numpy(), means["return"].to_numpy(), missed, n_tasks)


def read_rollouts(folder: RunFolder, n_episodes: int) -> tuple[Array, Array]:
    """Steps and returns of the exploring policy in the N-th episode, from metrics.csv."""
    name = f"rollout/return_episode_{n_episodes}"
    rows = read_log(folder.metrics) if folder.metrics.exists() else []
    try:
        known = [(row["timesteps"], row[name]) for row in rows if row.get(name)]
        values = np.array(known, float).reshape(-1, 2)
    except (KeyError, ValueError) as error:
        raise StateFileError(f"{folder.metrics} is damaged: {error!r}") from None
    return values[:, 0], values[:, 1]


def plot_curves(folder: RunFolder, path: Path) -> Path:
    """Draw one run: return per split in the N-th and the first episode, and tasks missed."""
    config, curves = folder.config, read_curves(folder)
    counts = any(curve.missed is not None for curve in curves.values())
    drawing = figure(3.9 * (len(curves) + counts), 3.3)
    drawing.suptitle(f"{config.env_id}, {config.method}, seed {config.seed}", fontsize=10)
    panels = drawing.subplots(1, len(curves) + counts, squeeze=False)[0]
    unit, label = step_unit(max(float(curve.steps[-1]) for curve in curves.values()))
    best, last = mean_optimal_returns(folder), config.n_episodes
    for axes, (split, curve) in zip(panels, curves.items(), strict=False):
        steps, colour = curve.steps / unit, split_colour(split)
        if split == "train":
            explored, values = read_rollouts(folder, last)
            name = f"episode {last}, exploring"
            plot_line(axes, explored / unit, values, color="#bbbbbb", lw=1, label=name, zorder=2)
        if last > 1:
            style = {"color": colour, "lw": 1, "ls": ":", "label": "episode 1"}
            plot_line(axes, steps, curve.returns[:, 0], **style)
        plot_line(axes, steps, curve.returns[:, -1], color=colour, lw=1.8, label=f"episode {last}")
        finish_returns(axes, best.get(split), label)
        axes.set_title(f"{split}: {curve.n_tasks} tasks, greedy policy", fontsize=9)
    if counts:
        plot_missed(panels[-1], [(s, c, split_colour(s), "-") for s, c in curves.items()], unit)
        panels[-1].set(xlabel=label, ylabel=f"tasks missed in episode {last}")
        panels[-1].set_title("tasks missed", fontsize=9)
    return save(drawing, path)


def plot_missed(axes: Axes, lines: list[tuple[str, Curve, str, str]], unit: float) -> None:
    """Draw tasks missed in the last episode; ``lines`` are split, curve, colour, line style."""
    for _, curve, colour, style in lines:
        if curve.missed is not None:
            plot_line(axes, curve.steps / unit, curve.missed[:, -1], color=colour, ls=style)
    for split in dict.fromkeys(line[0] for line in lines):
        own = [line for line in lines if line[0] == split]
        colour = own[0][2] if len({line[2] for line in own}) == 1 else "#666666"
        label = f"{split}, of {own[0][1].n_tasks}"
        axes.plot([], [], color=colour, ls=own[0][3], label=label)
    axes.set_ylim(bottom=-0.5)
    axes.legend(fontsize=7, loc="best")
    tidy(axes)


def mean_optimal_returns(folder: RunFolder) -> dict[str, float]:
    """Mean optimal return per split, if there is a formula."""
    source = EnvSource.of(folder.config)
    found = {
        split: optimal_returns(source, tasks)
        for split, tasks in evaluation_tasks(folder.config).items()
    }
    return {split: float(best.mean()) for split, best in found.items() if best is not None}


def finish_returns(axes: Axes, optimal: float | None, steps_label: str) -> None:
    """Finish a panel of returns: a line at the optimal return if known, labels and legend."""
    if optimal is not None:
        label = f"known task: {optimal:.2f}"
        axes.axhline(optimal, color="#444444", ls="--", lw=1, label=label)
    axes.set(xlabel=steps_label, ylabel="mean return of an episode")
    axes.legend(fontsize=7, loc="best")
    tidy(axes)
