"""Measure how well a run's policy solves the imaginary tasks of its own decoder, on GridNavi.

    python -m train.imaginary_tasks runs/LDM-GridNavi-v0-ldm-seed0

If the policy earns what imaginary tasks offer but misses unseen goals, the imaginary tasks are the
bottleneck; otherwise the policy is. Each imaginary task is played as in training, but greedily, and
compared with the best return of one inner episode, that of going straight to the cell with the
highest reward and staying there. Rows go to ``evaluation/imaginary_tasks.csv`` of the run.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import warnings
from pathlib import Path
from typing import Any

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from ldm_envs.grid_navi import GridNaviEnv
from ldm_wrappers.vector import ImaginaryRewardWrapper
from train.analysis.tables import write_csv
from train.common.artifacts import load_artifacts
from train.common.env_source import EnvSource
from train.common.envs import evaluation_tasks, meta_episode_length
from train.common.on_policy import OnPolicyLearner
from train.common.places import reward_fields
from train.common.rollout import play
from train.common.stopping import report_errors
from train.config.methods import get_method
from train.persistence.run_folder import RunFolder
from train.plots.grid import Grid
from train.plots.optimal_returns import straight_returns

Array = np.ndarray[Any, np.dtype[Any]]
SOLVED = 0.7  # share of the best return that counts as having solved a task


def play_twice(
    learner: OnPolicyLearner, wrapper: ImaginaryRewardWrapper, seed: int
) -> tuple[Array, Array, torch.Tensor | None, Array | None]:
    """Play two greedy meta-episodes with all workers, of which the second one counts.

    Returns:
        Return per mixture worker and inner episode, float64 (n_mixture, n_episodes); the latents
        at the end, float32 (n_mixture, latent_dim); the dropout masks if the tasks keep any,
        float32 (n_dropout_masks, n_mixture, embedding_size); and the thresholds if the tasks have
        any, float64 (n_mixture,).
    """
    config, length = learner.config, meta_episode_length(learner.config)
    horizon = length // config.n_episodes
    returns = np.zeros((config.n_mixture_workers, config.n_episodes))
    latents, masks, thresholds = np.zeros(0, np.float32), None, None
    tasks = wrapper.imagination
    for index, step in enumerate(play(learner.env, learner.actor(), seed=seed, forever=True)):
        if index >= length:
            returns[:, (index - length) // horizon] += step.rewards[wrapper.n_normal :]
        if index == 2 * length - 2:  # the weights change with the next task
            latents, masks = wrapper.imaginary_latents, tasks.masks
            thresholds = None if tasks.thresholds is None else tasks.thresholds.copy()
        if index == 2 * length - 1:
            break
    return returns, latents, masks, thresholds


def best_returns(maps: Array, grid: Grid, start: Array, horizon: int) -> tuple[Array, Array]:
    """Best return of going straight to one cell, and the index of that cell, each (n_maps,).

    A cell at distance d is reached at step d and earns its reward from then on. The cells on the
    way are assumed to have the reward of the worst cell.
    """
    distance = np.abs(grid.cells - start).sum(1)
    values = straight_returns(distance, horizon, maps, maps.min(axis=1, keepdims=True))
    return values.max(1), values.argmax(1)


def refuse_other_methods(folder: RunFolder) -> None:
    """Raise a ``ValueError`` that names the method if it has no imaginary tasks."""
    method = folder.config.method
    if not get_method(method).imaginary:
        raise ValueError(
            f"{folder.path}: method {method} has no imaginary tasks; expected a run of ldm or "
            "ldm-varibad"
        )


def measure(folder: RunFolder, repeats: int = 8) -> list[dict[str, Any]]:
    """One row per imaginary task: what it offers, and what the greedy policy earns.

    Raises:
        ValueError: If the run has no mixture workers, or was not on GridNavi or a variant of it.
    """
    config = folder.config
    refuse_other_methods(folder)
    # not staggered, so that all workers begin their second meta-episode together
    in_step = RunFolder(folder.path, dataclasses.replace(config, stagger_workers=False))
    learner = load_artifacts(in_step)
    assert isinstance(learner, OnPolicyLearner)
    try:
        layer: Any = learner.env
        while not isinstance(layer, ImaginaryRewardWrapper):
            layer = layer.env
        source, model = EnvSource.of(config), learner.latent_dynamics
        grid, horizon = Grid.of(source), source.facts().horizon
        if not _is_grid_navi(source) or grid is None or model is None or horizon is None:
            raise ValueError(
                f"{folder.path}: {config.env_id} is not GridNavi or a variant of it; the best "
                "returns are computed for GridNavi's start and moves"
            )
        low, high = config.reward_low, config.reward_high
        train = evaluation_tasks(config)["train"]
        train_cells: set[int] = set()
        if train is not None and grid.holds(train):
            train_cells = set(grid.index(train).tolist())
        rows = []
        play_twice(learner, layer, seed=repeats)  # fills final beliefs and visited cells
        for repeat in range(repeats):
            returns, latents, masks, thresholds = play_twice(learner, layer, seed=repeat)
            maps = reward_fields(model, grid.cells, latents, samples=48, seed=repeat, masks=masks)
            share = 0.5 if thresholds is None else thresholds[:, None]
            paid = maps > low + (high - low) * share
            if thresholds is not None:
                maps = np.where(paid, high, low)
            best, cell = best_returns(maps, grid, np.zeros(2), horizon)
            for task in range(len(returns)):
                earned = {f"episode_{i + 1}": f"{r:.3f}" for i, r in enumerate(returns[task])}
                rows.append(
                    {
                        "repeat": repeat,
                        "cells_paid": int(paid[task].sum()),
                        "best_cell": " ".join(f"{v:g}" for v in grid.cells[cell[task]]),
                        "best_on_train_goal": int(int(cell[task]) in train_cells),
                        "best_return": f"{best[task]:.3f}",
                        **earned,
                    }
                )
        return rows
    finally:
        learner.close()


def _is_grid_navi(source: EnvSource) -> bool:
    env = source.make()
    env.close()
    return isinstance(env.unwrapped, GridNaviEnv)


def describe(rows: list[dict[str, Any]], n_episodes: int) -> list[str]:
    """Summarise the rows by where the best cell lies and by how many cells are rewarded.

    Tasks whose best return is not positive offer nothing to earn, so they do not count as solved or
    unsolved.
    """
    groups = {
        "best on a train goal": [r for r in rows if r["best_on_train_goal"]],
        "best on another cell": [r for r in rows if not r["best_on_train_goal"]],
        "one cell paid": [r for r in rows if r["cells_paid"] == 1],
        "two or three cells paid": [r for r in rows if r["cells_paid"] in (2, 3)],
        "more cells paid": [r for r in rows if r["cells_paid"] > 3],
        "no cell paid": [r for r in rows if r["cells_paid"] == 0],
    }
    lines = []
    for name, group in groups.items():
        if not group:
            continue
        last = np.array([float(row[f"episode_{n_episodes}"]) for row in group])
        best = np.array([float(row["best_return"]) for row in group])
        line = (
            f"{name}: {len(group)} of {len(rows)} imaginary tasks, best return "
            f"{best.mean():.1f}, earned in the last episode {last.mean():.1f}"
        )
        gain = best > 0  # a share of nothing is undefined
        if gain.any():
            solved = (last >= SOLVED * best)[gain].mean()
            line += f", {SOLVED:.0%} of the best in {solved:.0%} of {gain.sum()}"
        if not gain.all():
            line += f" ({(~gain).sum()} with a best return of at most 0 not judged)"
        lines.append(line)
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Measure runs and print what was found."""
    flags = argparse.ArgumentParser(
        prog="python -m train.imaginary_tasks",
        description="Measure how well a run's policy solves the imaginary tasks of its decoder.",
    )
    flags.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    flags.add_argument("--repeats", type=int, default=8, help="meta-episodes per worker")
    given = flags.parse_args(arguments)
    with report_errors(), warnings.catch_warnings():
        # it says that the model is not trained, and here nothing is to train it further
        warnings.filterwarnings("ignore", "the trajectory buffer is full")
        if given.repeats < 1:
            raise ValueError(f"--repeats must be at least 1, got {given.repeats}")
        folders = [RunFolder.open(path) for path in given.runs]
        for folder in folders:  # before anything is played
            refuse_other_methods(folder)
        for folder in folders:
            rows = measure(folder, given.repeats)
            write_csv(folder.path / "evaluation" / "imaginary_tasks.csv", rows)
            print(f"{folder.path}:")
            for line in describe(rows, folder.config.n_episodes):
                print(f"  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
