"""The cells of a gridworld, and how to draw them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from train.common.env_source import EnvSource
from train.common.places import Places
from train.plots.style import GOAL, START

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class Grid:
    """A rectangle of cells whose centres are integers (x, y).

    Attributes:
        low: Smallest (x, y).
        high: Largest (x, y).
    """

    low: tuple[int, int]
    high: tuple[int, int]

    @classmethod
    def of(cls, source: EnvSource) -> Grid | None:
        """The grid whose cells are the goals of a source's tasks, or ``None``."""
        places = Places.of(source)
        if places is None or places.polar:
            return None
        (low_x, low_y), (high_x, high_y) = places.xy[[0, -1]].astype(int).tolist()
        return cls((low_x, low_y), (high_x, high_y))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows (y) and of columns (x)."""
        return self.high[1] - self.low[1] + 1, self.high[0] - self.low[0] + 1

    @property
    def cells(self) -> Array:
        """All cells (x, y), x fastest: float32 (n_cells, 2)."""
        ys, xs = np.mgrid[self.low[1] : self.high[1] + 1, self.low[0] : self.high[0] + 1]
        return np.stack([xs.ravel(), ys.ravel()], axis=1).astype(np.float32)

    def image(self, values: Array) -> Array:
        """Values per cell (…, n_cells) as an image (…, rows, columns), y increasing from row 0."""
        return values.reshape(*values.shape[:-1], *self.shape)

    def index(self, cells: Array) -> Array:
        """Index of cells (…, 2) in :attr:`cells`."""
        offset = np.asarray(cells).round().astype(np.int64) - self.low
        return np.asarray(offset[..., 1] * self.shape[1] + offset[..., 0])

    def holds(self, tasks: Array | None) -> bool:
        """Whether tasks (n, task_dim) are cells of this grid, and can be drawn as goals."""
        if tasks is None or tasks.ndim != 2 or tasks.shape[1] != 2:
            return False
        inside = (tasks >= self.low).all() and (tasks <= self.high).all()
        return bool(inside and not (tasks % 1).any())

    def show(self, axes: Axes, values: Array | None = None, **arguments: Any) -> Any:
        """Draw cell borders, and values per cell as colours."""
        rows, columns = self.shape
        edges = (self.low[0] - 0.5, self.high[0] + 0.5, self.low[1] - 0.5, self.high[1] + 0.5)
        image = None
        if values is not None:
            image = axes.imshow(self.image(values), origin="lower", extent=edges, **arguments)
        for line in range(columns + 1):
            axes.axvline(edges[0] + line, color="#cccccc", linewidth=0.5, zorder=1)
        for line in range(rows + 1):
            axes.axhline(edges[2] + line, color="#cccccc", linewidth=0.5, zorder=1)
        axes.set(xlim=edges[:2], ylim=edges[2:], xticks=[], yticks=[], aspect="equal")
        return image


def outline(axes: Axes, cells: Array, colour: str, **arguments: Any) -> None:
    """Mark cells (n, 2) with squares slightly inside their borders."""
    from matplotlib.patches import Rectangle

    for x, y in cells:
        box = Rectangle((x - 0.42, y - 0.42), 0.84, 0.84, fill=False, edgecolor=colour, **arguments)
        axes.add_patch(box)


def mark_goal(axes: Axes, cell: Array) -> None:
    """Draw a cross on the goal."""
    axes.plot(*cell, marker="x", color=GOAL, markersize=9, markeredgewidth=2.4, zorder=6)


def mark_start(axes: Axes, cell: Array) -> None:
    """Draw a circle on the start."""
    axes.plot(*cell, marker="o", markerfacecolor="none", color=START, markersize=8, zorder=5)
