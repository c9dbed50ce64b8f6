"""Velocities at which a decoder's reward is evaluated, to find which one a belief asks for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldm_envs.ant import AntDirEnv
from ldm_envs.half_cheetah import HalfCheetahVelEnv
from train.common.env_source import EnvSource

_SPEEDS = np.arange(-1.0, 4.5 + 0.025, 0.05)  # m/s; train and test tasks lie in [0, 3.5)
_HEADINGS = np.deg2rad(np.arange(0.0, 360.0, 5.0))


@dataclasses.dataclass(frozen=True)
class Velocities:
    """Transitions of a body in its initial posture that moves at one velocity each, without action.

    Attributes:
        tasks: float32 (n, 1), the task for which each velocity is best: a speed in m/s, or a
            heading in rad, at which the body moves at 1 m/s.
        observations: float32 (n, observation_size).
        next_observations: float32 (n, observation_size), one step later.
        headings: Whether tasks are headings.
    """

    tasks: NDArray[np.float32]
    observations: NDArray[np.float32]
    next_observations: NDArray[np.float32]
    headings: bool

    @classmethod
    def of(cls, source: EnvSource) -> Velocities | None:
        """Speeds of HalfCheetahVel, or headings of AntDir; ``None`` for any other environment.

        ``None`` also if a wrapper shows observations or draws tasks other than the family's own.
        """
        distribution, env = source.facts().distribution, source.make()
        try:
            body: Any = env.unwrapped
            if not isinstance(body, (AntDirEnv, HalfCheetahVelEnv)):
                return None
            shown = np.asarray(env.reset(seed=0)[0])
            own = body.family.observation(body.data)
            if (
                distribution is None
                or distribution.components != body.task_distribution.components
                or shown.shape != own.shape
                or not np.allclose(shown, own)
            ):
                return None
            headings = isinstance(body, AntDirEnv)
            tasks = _HEADINGS if headings else _SPEEDS
            velocities = (
                np.stack([np.cos(tasks), np.sin(tasks)], 1) if headings else tasks[:, np.newaxis]
            )
            before, after = np.stack([_transition(body, velocity) for velocity in velocities], 1)
        finally:
            env.close()
        return cls(tasks[:, np.newaxis].astype(np.float32), before, after, headings)

    def splits(self, distribution: Any) -> NDArray[np.str_]:
        """The split that contains each task, or ``"outside"``, (n,).

        Of headings in finite sets, as AntDir's, it is the split of the nearest one.
        """
        named = [split for split in distribution.splits if split not in ("all", "eval")]
        finite = all(distribution[split].tasks is not None for split in named)
        if not (self.headings and finite):
            inside = [np.asarray(distribution[split].contains(self.tasks)) for split in named]
            return np.select(inside, named, "outside")
        apart = np.stack([_nearest(self.tasks, distribution[split].tasks) for split in named])
        return np.array(named)[apart.argmin(0)]

    def rows(self, fields: NDArray[np.float32], splits: NDArray[np.str_]) -> list[dict[str, Any]]:
        """For each latent the task that its decoded rewards (n_latents, n) ask for."""
        values = np.rad2deg(self.tasks[:, 0]) if self.headings else self.tasks[:, 0]
        return [
            {
                "task": f"{values[best]:g}",
                "reward": f"{field[best]:.4g}",
                "range": f"{field[best] - field.min():.4g}",
                "split": splits[best],
            }
            for field, best in zip(fields, fields.argmax(1), strict=True)
        ]

    def describe(self, fields: NDArray[np.float32]) -> str:
        """How much rewards differ between velocities, in the median over latents."""
        span = float(np.median(fields.max(1) - fields.min(1)))
        return f"median range of rewards {span:.2f}"


def _transition(body: Any, velocity: NDArray[np.float64]) -> NDArray[np.float32]:
    """Observations (2, observation_size) before and after a step at a velocity in m/s."""
    shown, moved = [], slice(len(velocity))
    qpos, qvel = body.init_qpos.copy(), body.init_qvel.copy()
    qvel[moved] = velocity
    for _ in range(2):
        body.set_state(qpos, qvel)
        shown.append(np.array(body.family.observation(body.data), np.float32))
        qpos[moved] += velocity * body.dt
    return np.stack(shown)


def _nearest(tasks: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """Angle in rad between each heading (n, 1) and the nearest of ``others`` (m, 1), (n,)."""
    apart = np.abs(tasks - others[:, 0])
    return np.minimum(apart, 2 * np.pi - apart).min(1)
