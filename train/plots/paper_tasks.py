"""Figure 6 of the paper: the return of each task of a grid, per value of a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from train.analysis.aggregate import Run
from train.analysis.tables import write_csv
from train.plots.grid import Grid, outline
from train.plots.optimal_returns import optimal_returns
from train.plots.style import figure, group_label, save, split_colour


def plot_paper_tasks(
    groups: dict[str, list[Run]], rows: pd.DataFrame, path: Path, title: str
) -> list[Path]:
    """Draw a map of the grid per group: mean return of the last episode, over runs and the last
    five evaluations; black dots mark tasks reached in fewer than half of the evaluations.

    Args:
        groups: Runs by label, all of one environment whose tasks are cells.
        rows: Rows of tasks.csv.
        path: PNG to write; a CSV file with the numbers is written next to it.
        title: Title of the figure.
    """
    example = next(iter(groups.values()))[0]
    env_id, last = example.row["env_id"], example.last_episode
    table: list[dict[str, Any]] = []
    for name, runs in groups.items():
        own_rows = rows[(rows["episode"] == last) & rows["run"].isin([run.name for run in runs])]
        cells_of_group = own_rows.groupby(["split", "task"], sort=False)
        means = cells_of_group[["return", "reached"]].mean().assign(runs=cells_of_group.size())
        table += [
            {
                "group": name,
                "split": split,
                "task": task,
                "runs": int(row["runs"]),
                "return": f"{row['return']:.6g}",
                "reached": f"{row['reached']:.6g}",
            }
            for (split, task), row in means.iterrows()
        ]
    distribution = example.source.facts().distribution
    assert distribution is not None
    cells = np.asarray(distribution["all"].tasks)
    grid = Grid.of(example.source)
    assert grid is not None
    best = optimal_returns(example.source, cells)
    returns = [float(row["return"]) for row in table]
    low, top = (min(returns), max(returns)) if best is None else (-3.0, float(best.max()))
    drawing = figure(3.0 * len(groups) + 1.2, 4.2)
    drawing.suptitle(f"{title} ({env_id}, episode {last})", fontsize=10)
    panels = drawing.subplots(1, len(groups), squeeze=False)[0]
    image: Any = None
    for axes, (name, runs) in zip(panels, groups.items(), strict=True):
        own = [row for row in table if row["group"] == name]
        shown = np.full(len(grid.cells), np.nan)
        for row in own:
            cell = np.array(row["task"].split(), float)
            shown[grid.index(cell)] = float(row["return"])
            if float(row["reached"]) < 0.5:
                axes.plot(*cell, marker=".", color="black", markersize=5, zorder=6)
        image = grid.show(axes, shown, cmap="viridis", vmin=low, vmax=top)
        outline(axes, np.asarray(distribution["train"].tasks), "white", linewidth=1.2)
        means = []
        for split in example.tasks:
            members = [float(row["return"]) for row in own if row["split"] == split]
            if split != "train":
                outline(axes, _cells(own, split), split_colour(split), linewidth=0.9)
            means.append(f"{split} {np.mean(members):.1f}" if members else split)
        axes.set_title(f"{group_label(name)} ({len(runs)} seeds)\n{', '.join(means)}", fontsize=8)
    drawing.colorbar(image, ax=panels, shrink=0.8, label="mean return")
    return [save(drawing, path), write_csv(path.with_suffix(".csv"), table)]


def _cells(rows: list[dict[str, Any]], split: str) -> Any:
    tasks = [row["task"].split() for row in rows if row["split"] == split]
    return np.array(tasks, float).reshape(-1, 2)
