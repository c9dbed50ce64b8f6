"""Velocities that imaginary tasks ask for, per degree of extrapolation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from train.common.velocities import Velocities
from train.plots.goal_maps import GoalMap
from train.plots.style import TEST, TRAIN, figure, save, tidy

Array = np.ndarray[Any, np.dtype[Any]]
_PANEL = 2.5
_DRAWN = 20  # latents whose rewards are drawn


def plot_velocity_maps(
    runs: dict[str, list[GoalMap]], velocities: Velocities, splits: Array, path: Path
) -> Path:
    """Draw two rows per run: decoded rewards over velocities, and where they are largest."""
    columns = len(next(iter(runs.values())))
    drawing = figure(_PANEL * columns + 1.0, 2 * _PANEL * len(runs) + 0.5)
    panels = drawing.subplots(2 * len(runs), columns, squeeze=False, sharex=True, sharey="row")
    xs = velocities.tasks[:, 0]
    if velocities.headings:
        xs = np.rad2deg(xs)
    for index, (name, maps) in enumerate(runs.items()):
        above, below = panels[2 * index : 2 * index + 2]
        for axes, drawn in zip(above, maps, strict=True):
            _shade(axes, xs, splits)
            axes.plot(xs, drawn.fields[:_DRAWN].T, color=TEST, lw=0.8, alpha=0.6)
            axes.set_title(drawn.name, fontsize=9)
        for axes, drawn in zip(below, maps, strict=True):
            _shade(axes, xs, splits)
            best = drawn.fields.argmax(1)
            share = np.bincount(best, minlength=len(xs)) / len(best)
            axes.bar(xs, share, width=xs[1] - xs[0], color=TEST)
            axes.set_title(drawn.title(splits), fontsize=8)
        above[0].set_ylabel(f"{name}\ndecoded reward", fontsize=8)
        below[0].set_ylabel("share of latents", fontsize=8)
    for axes in panels.flat:
        tidy(axes)
        axes.tick_params(labelsize=7)
    unit = "heading at 1 m/s (°)" if velocities.headings else "velocity (m/s)"
    for axes in panels[-1]:
        axes.set_xlabel(unit, fontsize=8)
    drawing.supxlabel(
        f"above: decoded rewards of the first {_DRAWN}; below: where the reward of each is "
        "largest; blue: train tasks",
        fontsize=8,
    )
    return save(drawing, path)


def _shade(axes: Axes, xs: Array, splits: Array) -> None:
    """Shade the train tasks."""
    half = (xs[1] - xs[0]) / 2
    for x in xs[splits == "train"]:
        axes.axvspan(x - half, x + half, color=TRAIN, alpha=0.15, lw=0)
