"""Figure 8b-d of the paper: paths of walkers, and speed of runners, per episode, with targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from ldm_envs.ant import goal_xy
from ldm_envs.tasks import TaskDistribution
from train.common.env_source import EnvSource
from train.common.places import POLAR
from train.config.settings import RunSettings
from train.plots.rollout import Rollout
from train.plots.style import figure, save, task_name, tidy

Array = np.ndarray[Any, np.dtype[Any]]
_SMOOTH = 10


def step_seconds(config: RunSettings) -> float | None:
    """Seconds per environment step, if the environment has a clock."""
    env = EnvSource.of(config).make()
    seconds = getattr(env.unwrapped, "dt", None)
    env.close()
    return None if seconds is None else float(seconds)


def plot_paths(
    rollout: Rollout,
    components: tuple[str, ...],
    train_tasks: Array | None,
    n_episodes: int,
    path: Path,
    title: str,
) -> Path:
    """Draw torso paths (x, y): a panel per episode, a colour per task.

    Args:
        rollout: A rollout with ``x_position`` and ``y_position`` among its infos.
        components: Names and units of the task's components, which determine how targets are drawn:
            polar goals as crosses, headings as dashed lines.
        train_tasks: Train tasks to show as faint dots or lines; ``None`` for none.
        n_episodes: Number of inner episodes.
        path: File to write.
        title: Title of the figure.
    """
    xs, ys = rollout.infos["x_position"], rollout.infos["y_position"]
    n_tasks = rollout.valid.shape[1]
    reach = max(1.0, float(np.abs(np.stack([xs, ys])[:, rollout.valid]).max()))
    if components == POLAR:
        far = [tasks[:, 0].max() for tasks in (rollout.tasks, train_tasks) if tasks is not None]
        reach = max(reach, *map(float, far)) if far else reach
    returns = rollout.returns(n_episodes)
    drawing = figure(3.7 * n_episodes + 1.2, 4.2)
    drawing.suptitle(title, fontsize=10)
    panels = drawing.subplots(1, n_episodes, squeeze=False)[0]
    for episode, axes in enumerate(panels):
        tracks = []
        for task in range(n_tasks):
            steps = rollout.steps(task, episode)
            tracks.append(np.stack([xs[steps, task], ys[steps, task]]))
        draw_paths(axes, components, rollout.tasks, tracks, train_tasks, reach)
        mean = returns[:, episode].mean()
        axes.set_title(f"episode {episode + 1}, mean return {mean:.1f}", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside right center", fontsize=8)
    drawing.draw_without_rendering()  # square panels are placed only after a first layout
    return save(drawing, path)


def plot_speed(
    rollout: Rollout,
    components: tuple[str, ...],
    seconds: float | None,
    n_episodes: int,
    path: Path,
    title: str,
) -> Path:
    """Draw velocity and position along x over time: a column per episode, a colour per task.

    Target velocities are dashed, if tasks are velocities. The drawn velocity is a moving mean over
    ten steps, since the velocity varies within each stride.
    """
    velocity, position = rollout.infos["x_velocity"], rollout.infos["x_position"]
    n_tasks, targeted = rollout.valid.shape[1], components == ("v (m/s)",)
    scale, label = (1.0, "step") if seconds is None else (seconds, "time in the episode (s)")
    returns, colours = rollout.returns(n_episodes), task_colours(n_tasks)
    drawing = figure(3.9 * n_episodes + 1.2, 5.6)
    drawing.suptitle(title, fontsize=10)
    panels = drawing.subplots(2, n_episodes, squeeze=False, sharex=True, sharey="row")
    for episode in range(n_episodes):
        upper, lower = panels[:, episode]
        for task in range(n_tasks):
            steps, colour = rollout.steps(task, episode), colours[task]
            if not len(steps):
                continue
            times = scale * np.arange(1, len(steps) + 1)
            name = "" if rollout.tasks is None else task_name(rollout.tasks[task])
            upper.plot(times, moving_mean(velocity[steps, task]), color=colour, lw=1.4)
            lower.plot(times, position[steps, task], color=colour, lw=1.4, label=name)
            if targeted and rollout.tasks is not None:
                target = float(rollout.tasks[task, 0])
                upper.axhline(target, color=colour, ls="--", lw=0.9)
                lower.plot(times, target * times, color=colour, ls="--", lw=0.9)
        mean = returns[:, episode].mean()
        upper.set_title(f"episode {episode + 1}, mean return {mean:.1f}", fontsize=9)
        lower.set_xlabel(label)
        tidy(upper)
        tidy(lower)
    panels[0, 0].set_ylabel("velocity (m/s)")
    panels[1, 0].set_ylabel("position (m)")
    handles, labels = panels[1, 0].get_legend_handles_labels()
    heading = components[0] if len(components) == 1 else "task"
    drawing.legend(handles, labels, loc="outside right center", fontsize=8, title=heading)
    return save(drawing, path)


def draw_paths(
    axes: Axes,
    components: tuple[str, ...],
    tasks: Array | None,
    tracks: list[Array],
    train_tasks: Array | None,
    reach: float,
) -> None:
    """Draw one panel: targets, faint train tasks, and a path per task.

    Args:
        axes: The panel.
        components: Names and units of the task's components.
        tasks: (n_tasks, task_dim), or ``None`` if unknown.
        tracks: Positions of each task, (2, n_steps).
        train_tasks: Train tasks to show; ``None`` for none.
        reach: Half the side length of the shown square, in metres.
    """
    colours = task_colours(len(tracks))
    if components == POLAR and train_tasks is not None:
        axes.plot(*goal_xy(train_tasks), ".", color="#d8d8d8", ms=2, label="train goals")
    elif components == ("theta (rad)",) and train_tasks is not None:
        for index, theta in enumerate(train_tasks[:, 0]):
            label = "train headings" if index == 0 else None
            _heading(axes, theta, reach, label, color="#cccccc", ls=":", lw=1)
    for index, (track, colour) in enumerate(zip(tracks, colours, strict=True)):
        name = "" if tasks is None else _polar_name(components, tasks[index])
        if components == POLAR and tasks is not None:
            axes.plot(*goal_xy(tasks[index]), "x", color=colour, ms=10, mew=2.5)
        elif components == ("theta (rad)",) and tasks is not None:
            _heading(axes, tasks[index, 0], reach, None, color=colour, ls="--", lw=1)
        axes.plot(*track, color=colour, lw=1.6, label=name)
        axes.plot(*track[:, -1:], "o", color=colour, ms=4)
    limit = 1.08 * reach
    axes.set(xlabel="x (m)", ylabel="y (m)", aspect="equal")
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
    tidy(axes)


def shown_train_tasks(distribution: TaskDistribution) -> Array:
    """Train tasks for :func:`draw_paths`: all of a finite set, 500 of a continuous one."""
    train = distribution["train"]
    return train.sample(np.random.default_rng(0), 500) if train.tasks is None else train.tasks


def task_colours(n: int) -> list[Any]:
    """A colour per task, in order."""
    return [matplotlib.colormaps["turbo"](0.08 + 0.84 * i / max(n - 1, 1)) for i in range(n)]


def _heading(axes: Axes, theta: float, length: float, label: str | None, **style: Any) -> None:
    far = 2 * length
    axes.plot([0, far * np.cos(theta)], [0, far * np.sin(theta)], label=label, zorder=1, **style)


def _polar_name(components: tuple[str, ...], task: Array) -> str:
    """A task as text, with its angle in degrees."""
    parts = [
        f"{np.degrees(value):.0f}°" if "(rad)" in component else f"{value:.3g} m"
        for component, value in zip(components, task, strict=True)
    ]
    return ", ".join(parts)


def moving_mean(values: Array) -> Array:
    """Mean over the last ten steps, or over fewer at the start."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    first = np.maximum(np.arange(1, len(values) + 1) - _SMOOTH, 0)
    last = np.arange(1, len(values) + 1)
    return np.asarray((sums[last] - sums[first]) / (last - first))
