"""Figure 8b-d of the paper: behaviour of several runs in their last episode, side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from train.analysis.condense import group_name, run_row
from train.analysis.shown_runs import NO_TABLES, NamedRun, Tables, candidates
from train.common.artifacts import first_trained, load_artifacts
from train.common.env_source import EnvSource
from train.common.envs import evaluation_tasks
from train.common.places import POLAR
from train.common.task_text import task_texts
from train.persistence.run_folder import RunFolder
from train.plots.rollout import record
from train.plots.style import figure, group_label, save, task_name, tidy
from train.plots.trajectories import (
    draw_paths,
    moving_mean,
    shown_train_tasks,
    step_seconds,
    task_colours,
)

Array = np.ndarray[Any, np.dtype[Any]]
_TASKS, _EVERY, _COLUMNS = 6, 4, 4


def collect_paths(runs: list[NamedRun], kept: Tables = NO_TABLES) -> list[dict[str, Any]]:
    """Play one finished run per group of seeds (the lowest), and return one track per task.

    Tracks are positions of walkers (``x``, ``y``) or velocities of runners (``x``) at every fourth
    step of the last episode, for some tasks of each split. A warning names lower seeds without a
    trained policy, such as runs cut at a number of steps. For ``kept`` see
    :func:`~train.analysis.shown_runs.candidates`.
    """
    moving = [run for run in runs if _moves(run[1])]
    by_seed = sorted(moving, key=lambda run: run[1].config.seed)
    chosen = [
        first_trained(own, ("policy",), "paths") for own in candidates("paths", by_seed, kept)
    ]
    return [row for run in filter(None, chosen) for row in _tracks(*run)]


def _moves(folder: RunFolder) -> bool:
    distribution = EnvSource.of(folder.config).facts().distribution
    return distribution is not None and "cell" not in distribution.components[0]


def _tracks(name: str, folder: RunFolder) -> list[dict[str, Any]]:
    config = folder.config
    group = group_name(run_row(config, 0))
    tasks = {s: t[:_TASKS] for s, t in evaluation_tasks(config).items() if t is not None}
    learner = load_artifacts(folder)
    try:
        rollout = record(learner, np.concatenate(list(tasks.values())))
    finally:
        learner.close()
    walks = {"x_position", "y_position"} <= set(rollout.infos)
    if not walks and "x_velocity" not in rollout.infos:
        return []
    assert rollout.tasks is not None
    splits = [split for split, own in tasks.items() for _ in own]
    returns, last = rollout.returns(config.n_episodes), config.n_episodes - 1
    rows, names = [], task_texts(rollout.tasks)
    for index, split in enumerate(splits):
        steps = rollout.steps(index, last)
        if walks:
            lines = [rollout.infos[f"{axis}_position"][steps, index] for axis in "xy"]
        else:
            lines = [moving_mean(rollout.infos["x_velocity"][steps, index])]
        texts = [" ".join(f"{value:.3g}" for value in line[::_EVERY]) for line in lines]
        row = {
            "run": name,
            "env_id": config.env_id,
            "group": group,
            "split": split,
            "task": names[index],
            "return": f"{returns[index, last]:.5g}",
            "seconds": f"{_EVERY * (step_seconds(config) or 1.0):g}",
            "x": texts[0],
            "y": texts[1] if walks else "",
        }
        rows.append(row)
    return rows


def plot_paper_paths(
    rows: list[dict[str, str]],
    path: Path,
    title: str,
    source: EnvSource,
    seeds: Mapping[str, str] | None = None,
) -> Path:
    """Draw a panel per run: paths and targets of walkers, or velocities over time of runners.

    Args:
        rows: Rows of paths.csv of one environment and one split.
        path: PNG to write.
        title: Title of the figure.
        source: Source of the environments.
        seeds: Seeds by name of the run, for the titles of panels; missing ones are not shown.
    """
    seeds = seeds or {}
    names = list(dict.fromkeys(row["run"] for row in rows))
    distribution = source.facts().distribution
    assert distribution is not None
    components, walks = tuple(distribution.components), bool(rows[0]["y"])
    tracks = [np.array([row[k].split() for k in "xy" if row[k]], float) for row in rows]
    reach = max(1.0, *(float(np.abs(track).max()) for track in tracks if track.size))
    down = -(-len(names) // _COLUMNS)
    across = -(-len(names) // down)  # rows of similar length
    drawing = figure(3.4 * across + 1.2, 3.6 * down + 0.4)
    drawing.suptitle(title, fontsize=10)
    panels = drawing.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    seen = shown_train_tasks(distribution)
    if components == POLAR:
        reach = max(reach, float(seen[:, 0].max()))
    for axes, name in zip(panels.flat, names, strict=False):
        own = [index for index, row in enumerate(rows) if row["run"] == name]
        tasks = np.array([rows[index]["task"].split() for index in own], float)
        lines = [tracks[index] for index in own]
        if walks:
            draw_paths(axes, components, tasks, lines, seen, reach)
        else:
            _draw_speeds(axes, components, tasks, lines, float(rows[own[0]]["seconds"]))
        mean = np.mean([float(rows[index]["return"]) for index in own])
        label = rows[own[0]]["group"]
        seed = f"seed {seeds[name]}, " if name in seeds else ""
        if not seed and any(row["group"] == label and row["run"] != name for row in rows):
            label = f"{label} ({name})"
        label = textwrap.fill(group_label(label), 40)
        axes.set_title(f"{label}\n{seed}mean return {mean:.1f}", fontsize=8)
    for empty in range(len(names), panels.size):
        panels.flat[empty].set_axis_off()
        panels.flat[empty - across].tick_params(labelbottom=True)  # now the lowest of its column
    handles, labels = panels[0, 0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside right center", fontsize=8)
    for _ in range(2):  # square panels are placed only after a layout; matplotlib 3.8 needs two
        drawing.draw_without_rendering()
    return save(drawing, path)


def _draw_speeds(
    axes: Any, components: tuple[str, ...], tasks: Array, lines: list[Array], seconds: float
) -> None:
    for task, line, colour in zip(tasks, lines, task_colours(len(lines)), strict=True):
        times = seconds * np.arange(line.shape[1])
        axes.plot(times, line[0], color=colour, lw=1.4, label=task_name(task))
        if components == ("v (m/s)",):
            axes.axhline(float(task[0]), color=colour, ls="--", lw=0.9)
    axes.set(xlabel="time in the episode (s)", ylabel="velocity (m/s)")
    tidy(axes)
