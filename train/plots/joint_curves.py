"""Learning curves of several runs in one figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from train.analysis.tables import group_runs
from train.persistence.run_folder import RunFolder
from train.plots.curves import Curve, ceilings, draw_ceiling, draw_missed, read_curves
from train.plots.style import figure, group_colours, plot_line, save, step_unit, tidy


def draw_joint_curves(folders: list[RunFolder], path: Path) -> Path:
    """Several runs: a row per environment, a panel per split, a colour per group of runs.

    Runs that differ in nothing but their seed form a group; thin lines are runs, a thick line is
    the mean of a group whose runs were evaluated at the same steps.
    """
    groups = group_runs(folders)
    curves = {id(folder): read_curves(folder) for folder in folders}
    env_ids = list(dict.fromkeys(folder.config.env_id for folder in folders))
    splits = list(dict.fromkeys(split for curve in curves.values() for split in curve))
    counts = any(c.missed is not None for curve in curves.values() for c in curve.values())
    drawing = figure(3.9 * (len(splits) + counts), 3.2 * len(env_ids) + 0.3)
    panels = drawing.subplots(len(env_ids), len(splits) + counts, squeeze=False)
    for row, env_id in enumerate(env_ids):
        here = {n: runs for n, runs in groups.items() if runs[0].config.env_id == env_id}
        colours = group_colours([runs[0].config.method for runs in here.values()])
        chosen = [
            (name.removeprefix(f"{env_id} "), runs, colour)
            for (name, runs), colour in zip(here.items(), colours, strict=True)
        ]
        example = chosen[0][1][0]
        known = [
            curve for _, runs, _ in chosen for run in runs for curve in curves[id(run)].values()
        ]
        unit, label = step_unit(max((float(curve.steps[-1]) for curve in known), default=1.0))
        best = ceilings(example)
        for axes, split in zip(panels[row], splits, strict=False):
            found = [(n, [curves[id(r)][split] for r in runs if split in curves[id(r)]], c)
                     for n, runs, c in chosen]  # fmt: skip
            if not any(group for _, group, _ in found):
                axes.set_axis_off()
                continue
            for name, group, colour in found:
                _draw_group(axes, group, name, colour, unit)
            draw_ceiling(axes, best.get(split))
            axes.set_title(f"{env_id}: {split}, episode {example.config.n_episodes}", fontsize=9)
            axes.set(xlabel=label, ylabel="mean return of an episode")
            axes.legend(fontsize=7, loc="best")
            tidy(axes)
        if counts:
            last = panels[row, -1]
            styles = dict(zip(splits, ("--", "-", ":", "-."), strict=False))
            lines = [(s, curves[id(run)][s], colour, styles.get(s, "-"))
                     for _, runs, colour in chosen for run in runs for s in curves[id(run)]
                     if curves[id(run)][s].missed is not None]  # fmt: skip
            if lines:
                draw_missed(last, lines, unit)
                last.set(xlabel=label, ylabel="tasks missed in the last episode")
            else:
                last.set_axis_off()
    return save(drawing, path)


def _draw_group(axes: Axes, group: list[Curve], name: str, colour: str, unit: float) -> None:
    if not group:
        return
    several = len(group) > 1
    same = all(np.array_equal(curve.steps, group[0].steps) for curve in group)
    label = f"{name} ({len(group)} seeds)" if several else name
    for index, curve in enumerate(group):
        shown = label if index == 0 and not (several and same) else None
        width = 0.7 if several and same else 1.6
        plot_line(
            axes, curve.steps / unit, curve.returns[:, -1], color=colour, lw=width, label=shown
        )
    if several and same:
        mean = np.mean([curve.returns[:, -1] for curve in group], axis=0)
        plot_line(axes, group[0].steps / unit, mean, color=colour, lw=2.2, label=label)
