"""Positions at which a decoder's reward is evaluated, to find where a belief puts the goal."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from ldm_envs.ant import AntGoalEnv, goal_xy
from ldm_wrappers.latent_dynamics import LatentDynamics
from train.common.env_source import EnvSource

_REACH, _SPACING = 3.5, 0.25  # m, of the square of positions for AntGoal
POLAR = ("r (m)", "theta (rad)")  # components of goals that are not (x, y)
CELLS = ("x (cell)", "y (cell)")  # components that declare a family's tasks to be cells
_WALK = 20  # random steps during which a grid must show cells
_ROWS = 60_000  # decoded at once
_MOST_CELLS = 10_000  # of a box that counts as a grid


@dataclasses.dataclass(frozen=True)
class Places:
    """Positions (x, y), with the rest of the observation fixed.

    Attributes:
        xy: float32 (n, 2), x fastest; cells, or metres.
        observations: float32 (n, observation_size), the environment's own at each position.
        polar: Whether tasks are goals (r, theta) instead of (x, y).
    """

    xy: NDArray[np.float32]
    observations: NDArray[np.float32]
    polar: bool

    @classmethod
    def of(cls, source: EnvSource) -> Places | None:
        """Cells of a grid, or a square around AntGoal's start, with the Ant at rest as at a reset.

        ``None`` if tasks are not goals at observed positions, for example because of a user's
        wrapper around AntGoal. The tasks of a grid must have the components ``CELLS``, since whole
        numbers may mean anything, and the grid must show such cells.
        """
        distribution = source.facts().distribution
        env = source.make()
        try:
            ant = env.unwrapped
            if distribution is None or distribution.task_dim != 2:
                return None
            if isinstance(ant, AntGoalEnv) and distribution.components == POLAR:
                if not shows_state(env, ant):
                    return None
                line = np.arange(-_REACH, _REACH + _SPACING / 2, _SPACING)
                xy = _pairs(line, line)
                rest = np.concatenate([ant.init_qpos, ant.init_qvel]).astype(np.float32)
                return cls(xy, np.concatenate([xy, np.tile(rest[2:], (len(xy), 1))], 1), True)
            bounds = _goal_cells(env, distribution)
        finally:
            env.close()
        if bounds is None:
            return None
        (low_x, low_y), (high_x, high_y) = bounds
        xy = _pairs(np.arange(low_x, high_x + 1), np.arange(low_y, high_y + 1))
        return cls(xy, xy, False)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows (y) and of columns (x)."""
        return len(np.unique(self.xy[:, 1])), len(np.unique(self.xy[:, 0]))

    @property
    def unit(self) -> str:
        """Unit of x and y."""
        return "m" if self.polar else "cell"

    @property
    def tasks(self) -> NDArray[np.float32]:
        """The task whose goal is at each position, (n, 2)."""
        if not self.polar:
            return self.xy
        x, y = self.xy.T
        return np.stack([np.hypot(x, y), np.arctan2(y, x) % (2 * np.pi)], 1).astype(np.float32)

    def goals(self, tasks: NDArray[Any]) -> NDArray[Any]:
        """Positions (n_tasks, 2) of the goals of tasks (n_tasks, 2)."""
        return np.stack(goal_xy(tasks), 1) if self.polar else tasks

    @property
    def next_observations(self) -> NDArray[np.float32]:
        """The observations one step later: nothing moves."""
        return self.observations

    def splits(self, distribution: Any) -> NDArray[np.str_]:
        """The split that contains a goal at each position, or ``"outside"``, (n,)."""
        return containing_splits(distribution, self.tasks)

    def columns(self, field: NDArray[np.float32]) -> dict[str, str]:
        """The position with the largest decoded reward (n,) of one latent, for a table."""
        best = field.argmax()
        x, y = self.xy[best]
        return {"x": f"{x:g}", "y": f"{y:g}", "reward": f"{field[best]:.4g}"}

    def describe(self, fields: NDArray[np.float32]) -> str:
        """The median distance of these positions from the start."""
        radius = np.median(np.hypot(*self.xy[fields.argmax(1)].T))
        return f"median distance {radius:.2f}"


def containing_splits(distribution: Any, tasks: NDArray[Any]) -> NDArray[np.str_]:
    """The split that contains each task (n, task_dim), or ``"outside"``, (n,)."""
    named = own_splits(distribution)
    inside = [np.asarray(distribution[split].contains(tasks)) for split in named]
    return np.select(inside, named, "outside")


def own_splits(distribution: Any) -> list[str]:
    """The splits that are not made of others."""
    return [split for split in distribution.splits if split not in ("all", "eval")]


def shows_state(env: Any, body: Any) -> bool:
    """Whether an environment shows the observation of the MuJoCo family inside it, as it is."""
    shown = np.asarray(env.reset(seed=0)[0])
    own = body.family.observation(body.data)
    return shown.shape == own.shape and np.allclose(shown, own)


def _goal_cells(env: Any, distribution: Any) -> NDArray[np.int64] | None:
    """Bounds (2, 2) of the cells, if an environment shows cells and its tasks are cells."""
    bounds = cell_bounds(env.observation_space)
    if bounds is None or tuple(getattr(distribution, "components", ())) != CELLS:
        return None
    tasks = distribution["all"].tasks
    if tasks is None:
        return None
    met = np.concatenate([tasks, _random_walk(env)])
    return bounds if ((met % 1 == 0) & (met >= bounds[0]) & (met <= bounds[1])).all() else None


def _random_walk(env: Any) -> NDArray[np.float64]:
    """Observations of an episode's first steps, (n, …)."""
    env.action_space.seed(0)
    shown, over = [env.reset(seed=0)[0]], False
    while not over and len(shown) <= _WALK:
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        shown.append(observation)
        over = terminated or truncated
    return np.array(shown, float)


def _pairs(xs: NDArray[Any], ys: NDArray[Any]) -> NDArray[np.float32]:
    grid_y, grid_x = np.meshgrid(ys, xs, indexing="ij")
    return np.stack([grid_x.ravel(), grid_y.ravel()], 1).astype(np.float32)


def cell_bounds(space: spaces.Space[Any]) -> NDArray[np.int64] | None:
    """Lowest and highest (x, y) of a box of cells, (2, 2); ``None`` if it is not such a box.

    A box with more than 10,000 cells, such as two bytes of a camera, or without bounds is not one.
    """
    if not isinstance(space, spaces.Box) or space.shape != (2,):
        return None
    bounds = np.stack([space.low, space.high]).astype(float)
    whole = np.isfinite(bounds).all() and not (bounds % 1).any()
    few = np.prod(bounds[1] - bounds[0] + 1.0) <= _MOST_CELLS
    return bounds.astype(np.int64) if whole and few else None


@torch.no_grad()
def reward_fields(
    model: LatentDynamics,
    observations: NDArray[np.float32],
    latents: NDArray[np.float32],
    *,
    next_observations: NDArray[np.float32] | None = None,
    samples: int = 0,
    seed: int = 0,
    masks: torch.Tensor | None = None,
) -> NDArray[np.float32]:
    """Decoded reward of staying at each position, for each latent: float32 (n_latents, n).

    A decoder that also sees s and a is given the same observation and the first action.

    Args:
        model: The latent dynamics model.
        observations: One per position, float32 (n, observation_size).
        latents: float32 (n_latents, latent_dim).
        next_observations: Those one step later, if they differ, float32 (n, observation_size).
        samples: Number of dropout masks to average over; 0 for no dropout.
        seed: Seed of the masks.
        masks: Dropout masks to average over instead, in place of ``samples`` and ``seed``, float32
            (samples, n_latents, embedding_size), the same at all positions.
    """
    rows = model.to_tensor(observations)
    next_rows = rows if next_observations is None else model.to_tensor(next_observations)
    actions = torch.zeros(len(rows), model.spec.action_columns, device=model.device)
    means = model.to_tensor(latents).unsqueeze(1)
    if masks is None and samples:
        generator = torch.Generator(device=model.device).manual_seed(seed)
        # one mask per position, shared by all latents
        masks = model.decoder.dropout_mask(samples, 1, len(rows), generator=generator)
    elif masks is not None:
        masks = masks.unsqueeze(-2)
    block = max(1, _ROWS // len(rows))
    found = []
    for first in range(0, len(means), block):
        part = slice(first, first + block)
        rewards = [
            model.imagine_reward(
                means[part], rows, actions, next_rows,
                mask if mask is None or len(mask) == 1 else mask[part],
            )
            for mask in ([None] if masks is None else masks)
        ]  # fmt: skip
        found.append(torch.stack(rewards).mean(0))
    return torch.cat(found).cpu().numpy()
