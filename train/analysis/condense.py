"""The evaluations of runs, condensed to a few rows each."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ldm_wrappers.state_file import StateFileError
from train.config.grouping import group_text
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder

LAST = 5
"""Evaluations at the end of a run that its final figures are means of."""

Rows = list[dict[str, Any]]


def evaluations(folder: RunFolder) -> list[dict[str, str]]:
    """Rows of a run's evaluations.csv, none if it has not been evaluated yet.

    Raises:
        StateFileError: The file holds something else.
    """
    if not folder.evaluations.exists():
        return []
    rows = read_csv(folder.evaluations)
    if rows and not {"timesteps", "split", "task", "episode", "return", "reached"} <= set(rows[0]):
        raise StateFileError(f"{folder.evaluations} holds no evaluations")
    return rows


def curve_rows(rows: list[dict[str, str]]) -> Rows:
    """Per evaluation, split and episode: tasks, mean return, tasks reached (empty: unknown)."""
    groups: dict[tuple[int, str, int], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        groups[int(row["timesteps"]), row["split"], int(row["episode"])].append(row)
    return [
        {
            "timesteps": timesteps,
            "split": split,
            "episode": episode,
            "tasks": len(group),
            "return": f"{sum(float(row['return']) for row in group) / len(group):.6g}",
            "reached": _sum(group),
        }
        for (timesteps, split, episode), group in groups.items()
    ]


def task_rows(rows: list[dict[str, str]]) -> Rows:
    """Per split and task, at the first and the last episode, means of the last evaluations."""
    last_steps = sorted({int(row["timesteps"]) for row in rows})[-LAST:]
    last_episode = max((int(row["episode"]) for row in rows), default=1)
    groups: dict[tuple[str, str, int], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        if int(row["timesteps"]) in last_steps and int(row["episode"]) in (1, last_episode):
            groups[row["split"], row["task"], int(row["episode"])].append(row)
    condensed = []
    for (split, task, episode), group in groups.items():
        reached = _sum(group)
        condensed.append(
            {
                "split": split,
                "task": task,
                "episode": episode,
                "return": f"{sum(float(row['return']) for row in group) / len(group):.6g}",
                "reached": "" if reached == "" else f"{int(reached) / len(group):g}",
            }
        )
    return condensed


def run_row(folder: RunFolder, rows: list[dict[str, str]]) -> dict[str, Any]:
    """What a run is: everything that groups of runs are made from."""
    config = folder.config
    return {
        "env_id": config.env_id,
        "method": config.method,
        "preset": config.preset,
        "seed": config.seed,
        "overrides": group_text(config),
        "n_workers": config.n_workers,
        "n_mixture": config.n_mixture,
        "beta": f"{beta:g}" if (beta := getattr(config.mixture, "beta", None)) else "",
        "p_drop": f"{config.p_drop:g}",
        "n_episodes": config.n_episodes,
        "total_timesteps": config.total_timesteps,
        "evaluated_timesteps": max((int(row["timesteps"]) for row in rows), default=0),
    }


def _sum(group: list[dict[str, str]]) -> Any:
    """Tasks reached, empty where the environment does not say."""
    if any(row["reached"] == "" for row in group):
        return ""
    return sum(int(row["reached"]) for row in group)
