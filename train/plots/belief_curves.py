"""Appendix B of the paper: reward errors of beliefs during training, and their decoded goals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from train.analysis.aggregate import Run
from train.analysis.common_steps import common_table
from train.analysis.tables import write_csv
from train.common.env_source import EnvSource
from train.common.places import Places
from train.plots.goal_maps import draw_field
from train.plots.style import (
    GOAL,
    TEST,
    figure,
    group_colours,
    legend_beside,
    plot_line,
    save,
    step_unit,
    tidy,
)

_WITH = "_with_dropout"
_KINDS = {
    "reward_error": "squared reward error",
    "goal_distance": "decoded goal's distance from the task's",
}
_PANEL = 2.1


def plot_belief_curves(
    groups: dict[str, list[Run]], beliefs: pd.DataFrame, path: Path, title: str
) -> list[Path]:
    """Draw means over the runs of each group, with a row per quantity and a column per split.

    Steps are those of the other curves (:func:`~train.analysis.common_steps.common_table`).

    Args:
        groups: Runs by label, all of one environment; those without a VAE are left out. If only
            some runs of a group have rows, the legend names their seeds.
        beliefs: Rows of beliefs.csv.
        path: PNG to write; a CSV file with the numbers is written next to it.
        title: Title of the figure.

    Returns:
        The written files; none if no run has a VAE.
    """
    measured = set(beliefs["run"])
    known = {n: [run for run in runs if run.name in measured] for n, runs in groups.items()}
    known = {n: runs for n, runs in known.items() if runs}
    if not known:
        return []
    own = beliefs[beliefs["run"].isin([run.name for runs in known.values() for run in runs])]
    kinds = [kind for kind in _KINDS if (own["quantity"] == kind).any()]
    splits = list(dict.fromkeys(own["split"]))
    drawing = figure(3.7 * len(splits) + 1.2, 3.0 * len(kinds) + 0.6)
    drawing.suptitle(title, fontsize=10)
    axes = drawing.subplots(len(kinds), len(splits), squeeze=False, sharex=True)
    colours = group_colours({name: groups[name][0].row["method"] for name in known})
    unit, label = step_unit(float(own["timesteps"].max()))
    table = []
    for name, runs in known.items():
        of_group = own[own["run"].isin([run.name for run in runs])]
        for (quantity, split), part in of_group.groupby(["quantity", "split"], sort=False):
            by_run = part.set_index("timesteps").sort_index().groupby("run")["value"]
            aligned = common_table([values for _, values in by_run])
            shown_at = pd.concat([column.dropna() for _, column in aligned.items()])
            curve = shown_at.groupby(level=0).agg(["mean", "size"])
            dropped = str(quantity).endswith(_WITH)
            panel = axes[kinds.index(str(quantity).removesuffix(_WITH)), splits.index(split)]
            style = {"color": colours[name], "ls": "--" if dropped else "-", "lw": 1.6}
            shown = None if dropped else f"{name} ({_counted(runs, len(groups[name]))})"
            steps, means = curve.index.to_numpy() / unit, curve["mean"].to_numpy()
            plot_line(panel, steps, means, label=shown, **style)
            table += [
                {"group": name, "split": split, "quantity": quantity, "timesteps": step,
                 "runs": int(row["size"]), "mean": f"{row['mean']:.6g}"}
                for step, row in curve.iterrows()
            ]  # fmt: skip
    for row, kind in zip(axes, kinds, strict=True):
        row[0].set_ylabel(_KINDS[kind], fontsize=8)
        for panel, split in zip(row, splits, strict=True):
            panel.set_title(split, fontsize=9)
            panel.set_yscale("log" if kind == "reward_error" else "linear")
            tidy(panel)
    drawing.supxlabel(f"{label}; solid: dropout off, dashed: with dropout", fontsize=8)
    lines: dict[str, Any] = {}  # some groups have no line in the first panel
    for panel in axes.flat:
        lines |= dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
    legend_beside(drawing, list(lines.values()), list(lines), title="seeds in ( )")
    return [save(drawing, path), write_csv(path.with_suffix(".csv"), table)]


def _counted(runs: list[Run], of: int) -> str:
    """The number of seeds in a curve, and the seeds themselves if the group has others."""
    if len(runs) == of:
        return str(of)
    return f"{len(runs)} of {of}: seeds {', '.join(run.row['seed'] for run in runs)}"


def plot_decoded_goals(rows: list[dict[str, str]], path: Path, source: EnvSource) -> Path:
    """Draw a row per run and decoder and a column per evaluation: decoded rewards and goals.

    Args:
        rows: Rows of decoded_goals.csv, of one environment.
        path: PNG to write.
        source: Source of the environments.
    """
    places = Places.of(source)
    assert places is not None
    blocks = list(dict.fromkeys((row["run"], row["p_drop"], row["dropout"]) for row in rows))
    most = max(len({r["timesteps"] for r in rows if r["run"] == block[0]}) for block in blocks)
    drawing = figure(_PANEL * most + 1.0, (_PANEL + 0.2) * len(blocks) + 0.8)
    drawing.suptitle(
        f"Decoded goals of {rows[0]['split']} tasks ({rows[0]['env_id']})", fontsize=10
    )
    panels = drawing.subplots(len(blocks), most, squeeze=False)
    for line, block in zip(panels, blocks, strict=True):
        own = [row for row in rows if (row["run"], row["p_drop"], row["dropout"]) == block]
        steps = sorted({int(row["timesteps"]) for row in own})
        for axes in line[len(steps) :]:
            axes.set_axis_off()
        for axes, step in zip(line, steps, strict=False):
            now = [row for row in own if int(row["timesteps"]) == step]
            _draw_moment(axes, places, now)
            far = np.mean([float(row["distance"]) for row in now])
            axes.set_title(f"{step:,} steps: {far:.2f} off", fontsize=7)
        drop = "with dropout" if block[2] == "1" else "dropout off"
        name = f"{block[0]}\np_drop {block[1]}, {drop}"
        line[0].set_ylabel(f"{name}\ny ({places.unit})", fontsize=7)
    for axes in panels[-1]:
        axes.set_xlabel(f"x ({places.unit})", fontsize=7)
    drawing.supxlabel(
        "shade: decoded reward of the first task; circle: its goal, cross: where the reward is "
        "largest; lines: from other tasks' goals to where theirs is",
        fontsize=8,
    )
    return save(drawing, path)


def _draw_moment(axes: Any, places: Places, rows: list[dict[str, str]]) -> None:
    goals = places.goals(np.array([row["task"].split() for row in rows], float))
    found = np.array([(row["x"], row["y"]) for row in rows], float)
    first = next(index for index, row in enumerate(rows) if row["rewards"])
    draw_field(axes, places, np.array(rows[first]["rewards"].split(), float))
    for index, (goal, place) in enumerate(zip(goals, found, strict=True)):
        if index != first:
            axes.plot(*np.stack([goal, place]).T, color="#555555", lw=0.7)
    axes.plot(*goals[first], "o", mfc="none", color=GOAL, ms=8, mew=1.8)
    axes.plot(*found[first], "x", color=TEST, ms=7, mew=2)
    axes.tick_params(labelsize=6)
