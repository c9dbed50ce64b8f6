"""Figure 4 of the paper: mixture weights, and the reward map decoded from each mixture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from train.plots.grid import outline
from train.plots.mixtures import Mixtures
from train.plots.style import TEST, TRAIN, figure, save

Array = np.ndarray[Any, np.dtype[Any]]
_COLUMNS = 7
_PANEL = 1.75


def plot_reward_maps(mixtures: Mixtures, path: Path, title: str) -> Path:
    """Draw weights per train goal, and decoded rewards without and with dropout."""
    rows = [("dropout off", mixtures, mixtures.maps)]
    if mixtures.p_drop:
        rows.append(("with dropout", mixtures, mixtures.dropout_maps))
    return _draw(mixtures, rows, path, f"{title}: {mixtures.scheme}, p_drop {mixtures.p_drop:g}")


def plot_dropout_comparison(runs: list[tuple[str, Mixtures]], path: Path) -> Path:
    """Draw the same mixtures for decoders with different dropout rates, each with its dropout."""
    ordered = sorted(runs, key=lambda run: run[1].p_drop)
    rows = [
        (f"p_drop {m.p_drop:g}\n{name}", m, m.dropout_maps if m.p_drop else m.maps)
        for name, m in ordered
    ]
    first = ordered[0][1]
    return _draw(
        first,
        rows,
        path,
        "the same mixtures, decoders of different dropout rates, with their dropout",
    )


def _draw(
    weighted: Mixtures, rows: list[tuple[str, Mixtures, Array]], path: Path, title: str
) -> Path:
    columns = min(_COLUMNS, len(weighted.weights))
    drawing = figure(_PANEL * columns + 1.6, _PANEL * (len(rows) + 1) + 0.9)
    drawing.suptitle(title, fontsize=10)
    axes = drawing.subplots(len(rows) + 1, columns, squeeze=False)
    grid, weights = weighted.grid, weighted.weights[:columns]

    limit = float(np.abs(weights).max())
    negative = bool((weights < -1e-6).any())
    scale = {"cmap": "RdBu" if negative else "Blues", "vmin": -limit if negative else 0.0}
    image: Any = None
    for column in range(columns):
        values = np.full(len(grid.cells), np.nan)
        values[grid.index(weighted.train_cells)] = weights[column]
        image = grid.show(axes[0, column], values, vmax=limit, **scale)
        outline(axes[0, column], weighted.train_cells, TRAIN, linewidth=0.9)
        outline(axes[0, column], weighted.test_cells, TEST, linewidth=0.9)
    drawing.colorbar(image, ax=axes[0], pad=0.01, shrink=0.9, label="weight of goal")
    axes[0, 0].set_ylabel("mixture weights", fontsize=7.5)

    for row, (label, mixtures, maps) in enumerate(rows, 1):
        shown = maps[:columns]
        for column in range(columns):
            image = grid.show(
                axes[row, column], shown[column], cmap="Reds", vmin=shown.min(), vmax=shown.max()
            )
            outline(axes[row, column], mixtures.train_cells, TRAIN, linewidth=0.9)
            _mark_peak(axes[row, column], mixtures, shown[column])
        drawing.colorbar(image, ax=axes[row], pad=0.01, shrink=0.9, label="decoded reward")
        shares = mixtures.peaks(maps)
        peaks = f"peaks of {len(maps)}: train {shares['train']:.0%}\n"
        peaks += f"test {shares['test']:.0%}, other {shares['other']:.0%}"
        axes[row, 0].set_ylabel(f"{label}\n{peaks}", fontsize=7.5)
    drawing.supxlabel(
        "blue squares: train goals; orange squares: test goals; cross: largest reward, blue on a "
        "train goal, orange on an unseen cell",
        fontsize=8,
    )
    return save(drawing, path)


def _mark_peak(axes: Axes, mixtures: Mixtures, values: Array) -> None:
    best = int(values.argmax())
    seen = best in mixtures.grid.index(mixtures.train_cells)
    x, y = mixtures.grid.cells[best]
    for colour, width in (("white", 4.5), (TRAIN if seen else TEST, 2.4)):
        axes.plot(x, y, marker="x", color=colour, markersize=9, markeredgewidth=width, zorder=6)
