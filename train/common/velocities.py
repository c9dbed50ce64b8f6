"""Velocities at which a decoder's reward is evaluated, to find which one a belief asks for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldm_envs.ant import AntDirEnv
from ldm_envs.half_cheetah import HalfCheetahVelEnv
from train.common.env_source import EnvSource
from train.common.places import containing_splits, own_splits, shows_state

_SPEEDS = np.arange(-20, 91) / 20  # m/s, exactly 0 as well; train and test tasks lie in [0, 3.5)
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
            if (
                distribution is None
                or distribution.components != body.task_distribution.components
                or not shows_state(env, body)
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
        named = own_splits(distribution)
        finite = all(distribution[split].tasks is not None for split in named)
        if not (self.headings and finite):
            return containing_splits(distribution, self.tasks)
        apart = np.stack([_nearest(self.tasks, distribution[split].tasks) for split in named])
        return np.array(named)[apart.argmin(0)]

    def columns(self, field: NDArray[np.float32]) -> dict[str, str]:
        """The task that the decoded rewards (n,) of one latent ask for, for a table."""
        best = field.argmax()
        task = np.rad2deg(self.tasks[best, 0]) if self.headings else self.tasks[best, 0]
        span = field[best] - field.min()
        return {"task": f"{task:g}", "reward": f"{field[best]:.4g}", "range": f"{span:.4g}"}

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
