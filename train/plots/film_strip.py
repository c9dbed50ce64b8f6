"""Figure 8a of the paper: episodes of a task on the grid, over rewards decoded from beliefs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from ldm_wrappers.latent_dynamics.model import LatentDynamics, drops
from train.common.places import reward_fields
from train.plots.grid import Grid, mark_goal, mark_start
from train.plots.rollout import Rollout
from train.plots.style import figure, save, task_name

Array = np.ndarray[Any, np.dtype[Any]]
_MOMENTS = 3
_PANEL = 1.75
_MASKS = 64


def plot_film_strip(
    rollout: Rollout, grid: Grid, model: LatentDynamics | None, n_episodes: int, path: Path
) -> Path:
    """Draw one block per task, with a column per episode and a row per time in the episode.

    Arrows are the steps so far in the episode, from dark to bright over time. The red shade is the
    reward decoded from the belief at that time, averaged over dropout masks, with which the decoder
    was trained. Without a model there is only one row, for the whole episode.
    """
    n_tasks = rollout.valid.shape[1]
    rows = 1 if model is None else _MOMENTS
    height = (_PANEL + 0.25) * rows + 0.5
    drawing = figure(_PANEL * n_episodes + (0.4 if model is None else 1.3), height * n_tasks)
    blocks = drawing.subfigures(n_tasks, 1, squeeze=False)[:, 0]
    returns = rollout.returns(n_episodes)
    limits = _shade_limits(model, rollout.rewards)
    for task, block in enumerate(blocks):
        goal = None
        if rollout.tasks is not None and grid.holds(rollout.tasks):
            goal = rollout.tasks[task]
        name = "" if rollout.tasks is None else f"task ({task_name(rollout.tasks[task])})"
        block.suptitle(name, fontsize=10)
        axes = block.subplots(rows, n_episodes, squeeze=False)
        image = None
        for episode in range(n_episodes):
            steps = rollout.steps(task, episode)
            ends = [round(len(steps) * (row + 1) / rows) for row in range(rows)]
            for row, end in enumerate(ends):
                panel, shade = axes[row, episode], None
                if not len(steps):  # the task has already ended
                    panel.set_axis_off()
                    continue
                if model is not None and rollout.beliefs is not None:
                    belief = rollout.beliefs[steps[end - 1] + 1, task]
                    samples = _MASKS if drops(model) else 0
                    shade = reward_fields(model, grid.cells, belief[None], samples=samples)[0]
                drawn = grid.show(panel, shade, **({} if shade is None else limits))
                image = drawn if drawn is not None else image
                _path(panel, rollout, task, steps[:end], len(steps))
                if goal is not None:
                    mark_goal(panel, goal)
                if row == 0:
                    score = f"return {returns[task, episode]:.1f}"
                    panel.set_title(f"episode {episode + 1}, {score}", fontsize=8)
                if episode == 0 and rows > 1:
                    panel.set_ylabel(f"after {end} steps", fontsize=8)
        if image is not None:
            block.colorbar(image, ax=axes, pad=0.01, shrink=0.7, label="decoded reward")
    drawing.supxlabel("circle: start, cross: goal, square: agent, arrows: steps over time", size=8)
    return save(drawing, path)


def _shade_limits(model: LatentDynamics | None, rewards: Array) -> dict[str, Any]:
    """The red scale of all panels, non-linear to show small rewards."""
    if model is None:
        return {}
    low, high = float(rewards.min()), float(rewards.max())
    if model.config.likelihood == "bernoulli":
        low, high = model.config.reward_low, model.config.reward_high
    return {"cmap": "Reds", "norm": PowerNorm(0.5, vmin=low, vmax=max(high, low + 1e-6))}


def _path(axes: Axes, rollout: Rollout, task: int, steps: Array, length: int) -> None:
    """Draw arrows from cell to cell; later steps are shifted slightly, so that all are visible."""
    begin = np.asarray(rollout.observations[steps, task], float)
    end = np.asarray(rollout.next_observations[steps, task], float)
    time = np.arange(len(steps)) / max(length - 1, 1)
    moves = (begin != end).any(1)
    shift = ((time - 0.5) * 0.44)[:, None]
    tail, move = (begin + shift)[moves], (end - begin)[moves]
    axes.quiver(
        tail[:, 0], tail[:, 1], move[:, 0], move[:, 1], time[moves],
        angles="xy", scale_units="xy", scale=1, width=0.014, headwidth=4, headlength=4.5,
        headaxislength=4, cmap="viridis", clim=(0.0, 1.0), zorder=4,
    )  # fmt: skip
    mark_start(axes, begin[0])
    axes.plot(*(end[-1] + shift[-1]), marker="s", color="#222222", markersize=4, zorder=5)
