"""Figure 3 of the paper and similar ones: groups of seeds over time, from committed numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from train.analysis.aggregate import GroupCurve, Run, common_source, group_curve
from train.analysis.condense import format_number
from train.analysis.tables import write_csv
from train.common.env_source import EnvSource
from train.plots.optimal_returns import optimal_returns
from train.plots.style import (
    figure,
    group_colours,
    legend_beside,
    plot_line,
    save,
    step_unit,
    tidy,
)

Panel = tuple[str, bool]  # split, and whether it shows tasks missed


def plot_paper_curves(
    groups: dict[str, list[Run]], path: Path, title: str, *, first_episode: bool = False
) -> list[Path]:
    """Draw the return per split and the missed test tasks over steps; write PNG and CSV.

    The upper row has means and standard deviations as in the paper, the lower row interquartile
    means with 95 % bootstrap intervals.

    Args:
        groups: Runs by label, all of one environment.
        path: PNG to write; a CSV file with the numbers is written next to it.
        title: Title of the figure.
        first_episode: Show the first episode of each task instead of the last one, whose number N
            may differ between groups.
    """
    example = next(iter(groups.values()))[0]
    env_id = example.row["env_id"]
    members = [run for runs in groups.values() for run in runs]
    source = common_source(members)
    lengths = {name: runs[0].last_episode for name, runs in groups.items()}
    counts: dict[str, set[int]] = {}  # numbers of tasks; splits may differ between methods
    for run in members:
        for split, n in run.tasks.items():
            counts.setdefault(split, set()).add(n)
    panels: list[Panel] = [(split, False) for split in counts]
    if any(run.reports_success for run in members):
        panels += [(split, True) for split in counts if split != "train"]
    colours = group_colours({name: runs[0].row["method"] for name, runs in groups.items()})
    drawing = figure(3.7 * len(panels) + 1.2, 6.2)
    which = f"episode {1 if first_episode else example.last_episode} of {example.last_episode}"
    if len(set(lengths.values())) > 1:  # methods with another N
        which = "first episode" if first_episode else "last episode of each method"
    drawing.suptitle(f"{title} ({env_id}, {which})", fontsize=10)
    axes = drawing.subplots(2, len(panels), squeeze=False, sharex=True)
    rows: list[dict[str, Any]] = []
    largest = max(run.table["timesteps"].max() for run in members)
    unit, label = step_unit(float(largest))
    for column, (split, missed) in enumerate(panels):
        for name, runs in groups.items():
            episode = 1 if first_episode else lengths[name]
            curve = group_curve(runs, split, episode, missed=missed)
            if curve is None:
                continue
            _fill(axes[0, column], curve, unit, colours[name], f"{name} ({len(runs)})", iqm=False)
            _fill(axes[1, column], curve, unit, colours[name], name, iqm=True)
            rows += curve_rows(name, split, episode, missed, curve)
        what = "tasks missed" if missed else "return"
        numbers = " or ".join(map(str, sorted(counts[split])))
        axes[0, column].set_title(f"{split}: {what} ({numbers} tasks)", fontsize=9)
        best = None if missed else _mean_optimal_return(source, split)
        for row, kind in enumerate(("mean ± standard deviation", "IQM, 95 % interval")):
            if best is not None:
                axes[row, column].axhline(best, color="#444444", ls="--", lw=1)
            if column == 0:
                axes[row, column].set_ylabel(kind)
            tidy(axes[row, column])
        axes[1, column].set_xlabel(label)
    lines: dict[str, Any] = {}  # some groups have no line in the first panel
    for panel in axes[0]:
        lines |= dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
    legend_beside(drawing, list(lines.values()), list(lines), title="seeds in ( )")
    return [save(drawing, path), write_csv(path.with_suffix(".csv"), rows)]


def _fill(
    axes: Axes, curve: GroupCurve, unit: float, colour: str, label: str, *, iqm: bool
) -> None:
    middle = curve.iqm if iqm else curve.mean
    low = curve.low if iqm else curve.mean - curve.std
    high = curve.high if iqm else curve.mean + curve.std
    steps = curve.steps / unit
    plot_line(axes, steps, middle, color=colour, lw=1.6, label=label)
    axes.fill_between(steps, low, high, color=colour, alpha=0.18, lw=0)


def curve_rows(
    name: str, split: str, episode: int, missed: bool, curve: GroupCurve
) -> list[dict[str, Any]]:
    """Rows of a figure's CSV file: one per timestep."""
    columns = ("mean", "std", "iqm", "low", "high")
    return [
        {
            "group": name,
            "split": split,
            "episode": episode,
            "quantity": "missed" if missed else "return",
            "timesteps": int(curve.steps[index]),
            "runs": int(curve.runs[index]),
            **{column: format_number(getattr(curve, column)[index]) for column in columns},
        }
        for index in range(len(curve.steps))
    ]


def _mean_optimal_return(source: EnvSource | None, split: str) -> float | None:
    """Mean best return of a split's tasks if they are known, if there is a formula."""
    distribution = None if source is None else source.facts().distribution
    if source is None or distribution is None or split not in distribution:
        return None
    best = optimal_returns(source, distribution[split].tasks)
    return None if best is None else float(best.mean())
