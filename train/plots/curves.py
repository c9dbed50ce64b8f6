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
from train.common.envs import evaluation_tasks
from train.persistence.run_folder import RunFolder
from train.plots.optimal_returns import best_returns
from train.plots.style import figure, plot_line, save, split_colour, step_unit, tidy

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class Curve:
    """Greedy evaluations of one split during training.

    Attributes:
        steps: Environment steps of each evaluation, (n,).
        returns: Mean return per inner episode, (n, n_episodes).
        missed: Tasks not reached in each inner episode, (n, n_episodes); ``None`` where the
            environment reports no success.
        n_tasks: Number of tasks.
    """

    steps: Array
    returns: Array
    missed: Array | None
    n_tasks: int


def read_curves(folder: RunFolder) -> dict[str, Curve]:
    """A curve per split, from a run's evaluations.csv.

    Raises:
        StateFileError: The file does not hold evaluations.
    """
    table = evaluations(folder)
    if table.empty:
        raise StateFileError(f"{folder.evaluations} holds no evaluation")
    return {str(split): _curve(rows) for split, rows in table.groupby("split", sort=False)}


def _curve(rows: pd.DataFrame) -> Curve:
    means = rows.pivot_table(["return", "reached"], "timesteps", "episode", dropna=False)
    n_tasks = int((rows["timesteps"] == means.index[-1]).sum()) // rows["episode"].nunique()
    missed = None
    if rows["reached"].notna().all():
        missed = n_tasks * (1 - means["reached"].to_numpy())
    return Curve(means.index.to_numpy(), means["return"].to_numpy(), missed, n_tasks)


def read_rollouts(folder: RunFolder, n_episodes: int) -> tuple[Array, Array]:
    """Steps and returns at the N-th episode of the exploring policy, from metrics.csv."""
    name = f"rollout/return_episode_{n_episodes}"
    try:
        table = pd.read_csv(folder.metrics)
        values = table.reindex(columns=["timesteps", name]).dropna().to_numpy(float)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        values = np.empty((0, 2))
    except ValueError as error:
        raise StateFileError(f"{folder.metrics} is damaged: {error!r}") from None
    return values[:, 0], values[:, 1]


def draw_curves(folder: RunFolder, path: Path) -> Path:
    """One run: return per split at the N-th and first episode, and tasks missed."""
    config = folder.config
    curves = read_curves(folder)
    counts = any(curve.missed is not None for curve in curves.values())
    drawing = figure(3.9 * (len(curves) + counts), 3.3)
    drawing.suptitle(f"{config.env_id}, {config.method}, seed {config.seed}", fontsize=10)
    panels = drawing.subplots(1, len(curves) + counts, squeeze=False)[0]
    unit, label = step_unit(max(float(curve.steps[-1]) for curve in curves.values()))
    best = ceilings(folder)
    last = config.n_episodes
    for axes, (split, curve) in zip(panels, curves.items(), strict=False):
        steps, colour = curve.steps / unit, split_colour(split)
        if split == "train":
            rollout_steps, values = read_rollouts(folder, last)
            plot_line(
                axes,
                rollout_steps / unit,
                values,
                color="#bbbbbb",
                lw=1,
                label=f"episode {last}, exploring",
            )
        if last > 1:
            plot_line(
                axes, steps, curve.returns[:, 0], color=colour, lw=1, ls=":", label="episode 1"
            )
        plot_line(axes, steps, curve.returns[:, -1], color=colour, lw=1.8, label=f"episode {last}")
        draw_ceiling(axes, best.get(split))
        axes.set_title(f"{split}: {curve.n_tasks} tasks, greedy policy", fontsize=9)
        axes.set(xlabel=label, ylabel="mean return of an episode")
        axes.legend(fontsize=7, loc="best")
        tidy(axes)
    if counts:
        draw_missed(panels[-1], [(s, c, split_colour(s), "-") for s, c in curves.items()], unit)
        panels[-1].set(xlabel=label, ylabel=f"tasks missed in episode {last}")
        panels[-1].set_title("tasks missed", fontsize=9)
    return save(drawing, path)


def draw_missed(axes: Axes, lines: list[tuple[str, Curve, str, str]], unit: float) -> None:
    """Tasks missed at the last episode; ``lines`` hold split, curve, colour and line style."""
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


def ceilings(folder: RunFolder) -> dict[str, float]:
    """Mean best return per split, where a formula exists."""
    means = {}
    for split, tasks in evaluation_tasks(folder.config).items():
        best = best_returns(folder.config.env_id, tasks)
        if best is not None:
            means[split] = float(best.mean())
    return means


def draw_ceiling(axes: Axes, value: float | None) -> None:
    """A dashed line at the mean best return, if there is one."""
    if value is not None:
        axes.axhline(value, color="#444444", ls="--", lw=1, label=f"known task: {value:.2f}")
