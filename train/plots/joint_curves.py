"""Learning curves of several runs in one figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from train.analysis.tables import group_runs
from train.common.env_source import EnvSource
from train.persistence.run_folder import RunFolder
from train.plots.curves import (
    Curve,
    finish_returns,
    mean_optimal_returns,
    plot_missed,
    read_curves,
)
from train.plots.style import figure, group_colours, group_label, plot_line, save, step_unit

Group = tuple[str, str, list[dict[str, Curve]]]  # name, colour, curves per split of each run


def plot_joint_curves(folders: list[RunFolder], path: Path) -> Path:
    """Draw several runs: a row per environment, a panel per split, a colour per group of runs.

    Runs that differ only in their seed form a group. Thin lines are runs; a thick line is the mean
    of a group, if its runs were evaluated at the same steps.
    """
    groups = group_runs(folders)
    curves = {id(folder): read_curves(folder) for folder in folders}
    env_ids = list(dict.fromkeys(folder.config.env_id for folder in folders))
    splits = list(dict.fromkeys(split for by_split in curves.values() for split in by_split))
    counts = any(c.missed is not None for by_split in curves.values() for c in by_split.values())
    drawing = figure(3.9 * (len(splits) + counts), 3.2 * len(env_ids) + 0.3)
    panels = drawing.subplots(len(env_ids), len(splits) + counts, squeeze=False)
    for row, env_id in zip(panels, env_ids, strict=True):
        here = {n: runs for n, runs in groups.items() if runs[0].config.env_id == env_id}
        colours = group_colours({name: runs[0].config.method for name, runs in here.items()})
        chosen = [
            (name.removeprefix(f"{env_id} "), colours[name], [curves[id(run)] for run in runs])
            for name, runs in here.items()
        ]
        _plot_row(row, [run for runs in here.values() for run in runs], splits, chosen)
    return save(drawing, path)


def _plot_row(
    panels: np.ndarray, folders: list[RunFolder], splits: list[str], groups: list[Group]
) -> None:
    """Draw the panels of one environment's splits, and tasks missed if there is another panel."""
    known = [curve for _, _, runs in groups for run in runs for curve in run.values()]
    unit, label = step_unit(max(float(curve.steps[-1]) for curve in known))
    configs = [folder.config for folder in folders]
    alike = len({EnvSource.of(config) for config in configs}) == 1
    best = mean_optimal_returns(folders[0]) if alike else {}
    numbers = {config.n_episodes for config in configs}
    episode = f"episode {numbers.pop()}" if len(numbers) == 1 else "last episode"
    for axes, split in zip(panels, splits, strict=False):
        if not any(split in run for _, _, runs in groups for run in runs):
            axes.set_axis_off()
            continue
        for name, colour, runs in groups:
            _plot_group(axes, [run[split] for run in runs if split in run], name, colour, unit)
        finish_returns(axes, best.get(split), label)
        axes.set_title(f"{configs[0].env_id}: {split}, {episode}", fontsize=9)
    if len(panels) == len(splits):
        return
    styles = dict(zip(splits, ("--", "-", ":", "-."), strict=False))
    lines = [
        (split, curve, colour, styles.get(split, "-"))
        for _, colour, runs in groups for run in runs for split, curve in run.items()
        if curve.missed is not None
    ]  # fmt: skip
    if not lines:
        panels[-1].set_axis_off()
        return
    plot_missed(panels[-1], lines, unit)
    panels[-1].set(xlabel=label, ylabel="tasks missed in the last episode")


def _plot_group(axes: Axes, group: list[Curve], name: str, colour: str, unit: float) -> None:
    if not group:
        return
    same = all(np.array_equal(curve.steps, group[0].steps) for curve in group)
    averaged = len(group) > 1 and same
    seeds = f"{len(group)} seeds" if averaged else f"{len(group)} seeds, evaluated at other steps"
    label = group_label(f"{name} ({seeds})" if len(group) > 1 else name)
    for index, curve in enumerate(group):
        style = {"lw": 0.7 if averaged else 1.6, "color": colour}
        shown = label if index == 0 and not averaged else None
        plot_line(axes, curve.steps / unit, curve.returns[:, -1], label=shown, **style)
    if averaged:
        mean = np.mean([curve.returns[:, -1] for curve in group], axis=0)
        plot_line(axes, group[0].steps / unit, mean, color=colour, lw=2.2, label=label)
