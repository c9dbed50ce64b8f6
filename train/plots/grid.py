"""What the pictures of a gridworld share: its cells, and a reward for each under a belief."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from matplotlib.axes import Axes

from ldm_wrappers.latent_dynamics import LatentDynamics
from train.plots.style import GOAL, START

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class Grid:
    """A rectangle of cells whose centres are whole numbers (x, y).

    Attributes:
        low: Smallest (x, y).
        high: Largest (x, y).
    """

    low: tuple[int, int]
    high: tuple[int, int]

    @classmethod
    def of(cls, space: spaces.Space[Any], observations: Array) -> Grid | None:
        """The grid that an environment's observations live on, ``None`` if they are not cells.

        Args:
            space: Observation space of one environment.
            observations: Observations that were met, (…, 2).
        """
        if not isinstance(space, spaces.Box) or space.shape != (2,):
            return None
        bounds = np.concatenate([space.low, space.high]).astype(float)
        if not np.isfinite(bounds).all() or (bounds % 1).any() or (observations % 1).any():
            return None
        low_x, low_y, high_x, high_y = (int(bound) for bound in bounds)
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
        """Values per cell (…, n_cells) as an image (…, rows, columns), y upwards from row 0."""
        return values.reshape(*values.shape[:-1], *self.shape)

    def index(self, cells: Array) -> Array:
        """Index of cells (…, 2) in :attr:`cells`."""
        offset = np.asarray(cells).round().astype(np.int64) - self.low
        return np.asarray(offset[..., 1] * self.shape[1] + offset[..., 0])

    def holds(self, tasks: Array | None) -> bool:
        """Whether tasks (n, task_dim) are cells of this grid, which can be drawn as goals."""
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
    """Mark cells (n, 2) with squares a little inside their borders."""
    from matplotlib.patches import Rectangle

    for x, y in cells:
        box = Rectangle((x - 0.42, y - 0.42), 0.84, 0.84, fill=False, edgecolor=colour, **arguments)
        axes.add_patch(box)


def mark_goal(axes: Axes, cell: Array) -> None:
    """A cross on the goal."""
    axes.plot(*cell, marker="x", color=GOAL, markersize=9, markeredgewidth=2.4, zorder=6)


def mark_start(axes: Axes, cell: Array) -> None:
    """A circle on the start."""
    axes.plot(*cell, marker="o", markerfacecolor="none", color=START, markersize=8, zorder=5)


@torch.no_grad()
def reward_maps(
    model: LatentDynamics,
    grid: Grid,
    latents: Array,
    *,
    samples: int = 0,
    seed: int = 0,
    masks: torch.Tensor | None = None,
) -> Array:
    """Decoded reward of staying on each cell, for each latent: float32 (n_latents, n_cells).

    A decoder that sees s and a as well is shown the cell itself and the first action.

    Args:
        model: The latent dynamics model.
        grid: The grid.
        latents: float32 (n_latents, latent_dim).
        samples: Mean over this many dropout masks; 0 switches dropout off.
        seed: Seed of the masks.
        masks: Mean over these masks of the decoder's instead, whatever ``samples`` and ``seed``,
            float32 (samples, n_latents, embedding_size), each the same on every cell.
    """
    cells = model.to_tensor(grid.cells)
    actions = torch.zeros(len(cells), model.spec.action_columns, device=model.device)
    means = model.to_tensor(latents).unsqueeze(1)
    if masks is None and samples:
        generator = torch.Generator(device=model.device).manual_seed(seed)
        # one per cell, which all latents share
        masks = model.decoder.dropout_mask(samples, 1, len(cells), generator=generator)
    elif masks is not None:
        masks = masks.unsqueeze(-2)
    rewards = [
        model.imagine_reward(means, cells, actions, cells, mask)
        for mask in ([None] if masks is None else masks)
    ]
    return torch.stack(rewards).mean(0).cpu().numpy()
