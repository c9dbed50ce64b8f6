"""Decide which figures a run has, and draw them into its folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from train.common.env_source import EnvSource
from train.common.envs import evaluation_tasks
from train.common.evaluation import SplitResult
from train.common.learner import Learner
from train.common.places import CELLS
from train.persistence.run_folder import RunFolder
from train.plots.curves import plot_curves
from train.plots.film_strip import plot_film_strip
from train.plots.grid import Grid
from train.plots.mixtures import Mixtures, sample_mixtures
from train.plots.reward_maps import plot_reward_maps
from train.plots.rollout import Rollout, record
from train.plots.trajectories import plot_paths, plot_speed, shown_train_tasks, step_seconds

Array = np.ndarray[Any, np.dtype[Any]]
_MOST_TASKS = 8
_REPORTED = ("eval", "test", "train")


@dataclasses.dataclass(frozen=True)
class RunPlots:
    """The figures of a run.

    Attributes:
        paths: The files.
        notes: Sentences about them, or about why one is missing.
        mixtures: The run's mixtures, if it has a latent dynamics model on a grid.
    """

    paths: list[Path]
    notes: list[str]
    mixtures: Mixtures | None = None


def reported_split(tasks: dict[str, Any]) -> str:
    """The split that figures and videos take their tasks from."""
    return next((split for split in _REPORTED if split in tasks), next(iter(tasks)))


def plot_run(
    folder: RunFolder, learner: Learner, results: list[SplitResult], tasks: Array | None
) -> RunPlots:
    """Draw all figures of one run, into ``pictures/`` of its folder.

    Args:
        folder: The run's folder.
        learner: The loaded run.
        results: Its evaluation, from which tasks worth showing are chosen.
        tasks: Tasks to show instead, float32 (n_tasks, task_dim).
    """
    pictures = folder.path / "pictures"
    config, n = folder.config, folder.config.n_episodes
    title = f"{config.env_id}, {config.method}, seed {config.seed}"
    drawn = RunPlots([plot_curves(folder, pictures / "learning_curves.png")], [])
    grid = Grid.of(EnvSource.of(config))
    if tasks is None:
        own = evaluation_tasks(config)  # results may include tasks of eval_env_id
        shown = [result for result in results if result.split in own]
        tasks = _shown_tasks(shown, on_grid=grid is not None)
    rollout = record(learner, tasks)
    if grid is not None:
        path = pictures / "film_strip.png"
        drawn.paths.append(plot_film_strip(rollout, grid, learner.latent_dynamics, n, path))
        return _add_reward_maps(drawn, folder, learner, grid, title)
    distribution = EnvSource.of(config).facts().distribution
    components = () if distribution is None else tuple(distribution.components)
    if {"x_position", "y_position"} <= set(rollout.infos):
        seen = None if distribution is None else shown_train_tasks(distribution)
        path = pictures / "paths.png"
        drawn.paths.append(plot_paths(rollout, components, seen, n, path, title))
    elif {"x_position", "x_velocity"} <= set(rollout.infos):
        path = pictures / "speed.png"
        seconds = step_seconds(config)
        drawn.paths.append(plot_speed(rollout, components, seconds, n, path, title))
    else:
        drawn.notes.append(
            f"no figure of behaviour: {config.env_id} shows neither positions nor goal cells "
            f"(tasks with the components {CELLS})"
        )
    return drawn


def _shown_tasks(results: list[SplitResult], *, on_grid: bool) -> Array | None:
    """Tasks worth showing: on a grid the first one reached and the first missed, or else all."""
    by_split = {result.split: result for result in results}
    chosen = by_split[reported_split(by_split)]
    if chosen.tasks is None:
        return None
    if chosen.reached is None or not on_grid:
        return chosen.tasks[:_MOST_TASKS]
    at_last = chosen.reached[:, -1]
    firsts = [np.flatnonzero(rows)[:1] for rows in (at_last, ~at_last)]
    return np.asarray(chosen.tasks[np.concatenate(firsts)])


def _add_reward_maps(
    drawn: RunPlots, folder: RunFolder, learner: Learner, grid: Grid, title: str
) -> RunPlots:
    config, model = folder.config, learner.latent_dynamics
    if model is None:
        drawn.notes.append(f"no reward maps: method {config.method} has no latent dynamics model")
        return drawn
    tasks = evaluation_tasks(config)
    train = tasks.get("train")
    if train is None or not grid.holds(train):
        drawn.notes.append(
            f"no reward maps: the tasks of {config.env_id} are not cells of its grid"
        )
        return drawn
    others = [t for split, t in tasks.items() if split != "train" and t is not None]
    unseen = np.unique(np.concatenate(others), axis=0) if others else np.zeros((0, 2), np.float32)
    rollout: Rollout = record(learner, train)
    mixtures = sample_mixtures(config, model, grid, rollout, unseen)
    path = folder.path / "pictures" / "reward_maps.png"
    drawn.paths.append(plot_reward_maps(mixtures, path, title))
    drawn.notes.extend(mixtures.describe())
    return dataclasses.replace(drawn, mixtures=mixtures)
