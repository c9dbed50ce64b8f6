"""Figure 7 of the paper: the MuJoCo families side by side, from committed numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from train.analysis.aggregate import Run, common_source, final_scores, group_curve
from train.analysis.tables import write_csv
from train.plots.optimal_returns import standing_returns
from train.plots.paper_curves import curve_rows
from train.plots.style import (
    figure,
    group_colours,
    legend_beside,
    plot_line,
    save,
    step_unit,
    tidy,
    without_steps,
)

# trained with different amounts of data, or told the task: drawn as a line at the final return
_LINES = ("pearl", "mql", "mier", "known-task")


def plot_figure7(
    families: dict[str, dict[str, list[Run]]], tasks: pd.DataFrame, path: Path
) -> list[Path]:
    """Draw returns of the last episode over steps: a column per family, test above train tasks.

    Curves are means over runs with their standard deviation. Off-policy methods and ``known-task``
    are horizontal lines at their final return. A dotted line is the return of standing still on the
    same tasks. Methods have one label and colour in all families, whatever their numbers of steps.

    Args:
        families: Runs by label, by environment id.
        tasks: Rows of tasks.csv, with the tasks that runs were evaluated on.
        path: PNG to write; a CSV file with the numbers is written next to it.
    """
    families = {env_id: labels_without_steps(groups) for env_id, groups in families.items()}
    labels = list(dict.fromkeys(name for groups in families.values() for name in groups))
    first = {n: next(g[n][0] for g in families.values() if n in g) for n in labels}
    colours = group_colours({name: first[name].row["method"] for name in labels})
    drawing = figure(3.9 * len(families) + 1.6, 6.2)
    drawing.suptitle("Figure 7: return of the last episode", fontsize=10)
    axes = drawing.subplots(2, len(families), squeeze=False, sharex="col")
    rows: list[dict[str, Any]] = []
    for column, (env_id, groups) in enumerate(families.items()):
        members = [run for runs in groups.values() for run in runs]
        longest = float(max(run.table["timesteps"].max() for run in members))
        unit, label = step_unit(longest)
        splits = {split for run in members for split in run.tasks}
        held_out = next((s for s in ("eval", "test") if s in splits), "test")
        for panel, split in zip(axes[:, column], (held_out, "train"), strict=True):
            for name, runs in groups.items():
                panel_rows = _draw_group(panel, name, runs, split, unit, colours[name])
                rows += [{"env_id": env_id, **row} for row in panel_rows]
            still = _standing(members, tasks, split)
            if still is not None:
                panel.axhline(still, color="#444444", ls=":", lw=1.2)
            panel.set_title(f"{env_id}: {split}", fontsize=9)
            tidy(panel)
        axes[1, column].set_xlabel(label)
        axes[1, column].set_xlim(0, 1.03 * longest / unit)  # horizontal lines set no limits
    handles: dict[str, Any] = {}
    for panel in axes.flat:
        handles |= dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
    legend_beside(drawing, list(handles.values()), list(handles))
    drawing.supxlabel("dashed: final return; dotted: standing still", fontsize=8)
    return [save(drawing, path), write_csv(path.with_suffix(".csv"), rows)]


def labels_without_steps(groups: dict[str, list[Run]]) -> dict[str, list[Run]]:
    """Groups of one family without the number of steps in their labels, where these stay distinct.

    Args:
        groups: Runs by label.
    """
    short = {name: without_steps(name) for name in groups}
    count = Counter(short.values())
    return {short[n] if count[short[n]] == 1 else n: runs for n, runs in groups.items()}


def _draw_group(
    panel: Any, name: str, runs: list[Run], split: str, unit: float, colour: str
) -> list[dict[str, Any]]:
    episode = runs[0].last_episode
    curve = group_curve(runs, split, episode)
    if curve is None:
        return []
    if runs[0].row["method"] in _LINES:
        final = float(final_scores(runs, split, episode).mean())
        panel.axhline(final, color=colour, ls="--", lw=1.4, label=name)
    else:
        steps = curve.steps / unit
        plot_line(panel, steps, curve.mean, color=colour, lw=1.6, label=name)
        low, high = curve.mean - curve.std, curve.mean + curve.std
        panel.fill_between(steps, low, high, color=colour, alpha=0.18, lw=0)
    return curve_rows(name, split, episode, False, curve)


def _standing(runs: list[Run], tasks: pd.DataFrame, split: str) -> float | None:
    """Mean return of standing still on the evaluated tasks of one environment."""
    source = common_source(runs)
    distribution = None if source is None else source.facts().distribution
    if source is None or distribution is None or split not in distribution:  # of another id
        return None
    names = [run.name for run in runs]
    own = tasks[tasks["run"].isin(names) & (tasks["split"] == split)]["task"].unique()
    if not len(own):
        return None
    returns = standing_returns(source, np.array([task.split() for task in own], np.float32))
    return None if returns is None else float(returns.mean())
