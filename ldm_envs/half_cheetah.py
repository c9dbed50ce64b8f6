"""HalfCheetahVel: run at a hidden velocity.

Paper section 5.2, Table 1. Gymnasium's half_cheetah.xml (0.01 s, frame skip 5).
"""

from __future__ import annotations

import numpy as np

from ldm_envs.mujoco_env import MujocoTaskEnv
from ldm_envs.mujoco_family import (
    TORSO,
    Array,
    MujocoFamily,
    Physics,
    Transition,
    control_cost,
    never_terminates,
)
from ldm_envs.mujoco_markers import STATE_COLOUR, Marker, arrow
from ldm_envs.mujoco_vector import MujocoVectorEnv
from ldm_envs.task_sets import FiniteTaskSet, IntervalTaskSet
from ldm_envs.tasks import TaskDistribution

# ------------------------------------------------------------------ constants

FRAME_SKIP = 5
CONTROL_WEIGHT = 0.05

HALF_CHEETAH_VEL_TASKS = TaskDistribution(
    {
        "train": IntervalTaskSet([(0.0, 0.5), (3.0, 3.5)], weights=(0.5, 0.5)),
        "test": IntervalTaskSet([(0.5, 3.0)]),
        "eval": FiniteTaskSet([[0.75], [1.25], [1.75], [2.25], [2.75]]),
        "all": IntervalTaskSet([(0.0, 3.5)]),
    },
    ("v (m/s)",),
)

# ------------------------------------------------------------------ observation and reward


def half_cheetah_observation(physics: Physics) -> Array:
    """qpos without x, qvel, and the torso's position: (..., 20)."""
    torso = physics.xpos[..., TORSO, :]
    return np.concatenate((physics.qpos[..., 1:], physics.qvel, torso), axis=-1)


def root_x(physics: Physics) -> Array:
    """The position whose rate of change Gymnasium calls the cheetah's velocity: (..., 1)."""
    return physics.qpos[..., :1]


def half_cheetah_position(physics: Physics) -> dict[str, Array]:
    """The cheetah's position now, under Gymnasium's name."""
    return {"x_position": physics.qpos[..., 0]}


def half_cheetah_vel_reward_terms(transition: Transition) -> dict[str, Array]:
    """-|v_x - v| - 0.05 ||a||^2."""
    return {
        "reward_velocity": -np.abs(transition.velocity[..., 0] - transition.task[..., 0]),
        "reward_ctrl": -control_cost(transition.action, CONTROL_WEIGHT),
    }


HALF_CHEETAH_VEL = MujocoFamily(
    model_file="half_cheetah.xml",
    frame_skip=FRAME_SKIP,
    observation_dim=20,
    observation=half_cheetah_observation,
    tracked=root_x,
    reward_terms=half_cheetah_vel_reward_terms,
    terminated=never_terminates,
    metrics=half_cheetah_position,
    velocity_names=("x_velocity",),
)

# ------------------------------------------------------------------ scalar environment


class HalfCheetahVelEnv(MujocoTaskEnv):
    """Run at a hidden velocity.

    **Task.** The target velocity (v,), float32 (1,), m/s along +x. Splits: train [0, 0.5) or
    [3, 3.5), each with probability 1/2, uniform inside; test [0.5, 3), uniform; eval 0.75, 1.25,
    1.75, 2.25, 2.75; all [0, 3.5), uniform.

    **Observation.** `Box(-1e10, 1e10, (20,), float64)`: qpos[1:] (8: height in m, angles in rad),
    qvel (9: m/s and rad/s), and the torso's position x, y, z in m (3; `xpos`, after a step
    one substep of 0.01 s older than qpos, as in the published environment).

    **Action.** `Box(-1, 1, (6,), float32)`: joint torques before the gear, as in Gymnasium's
    HalfCheetah. Actions outside the box, or not finite, are a ValueError.

    **Start.** Gymnasium's initial state with U(-0.1, 0.1) added to every qpos and 0.1 N(0, 1) to
    every qvel.

    **Reward.** `-|v_x - v| - 0.05 ||a||^2`, with v_x in m/s the change of the root's x over the
    step of 0.05 s; in `info` as `reward_velocity` + `reward_ctrl`.

    **End.** Never terminates; truncated after 200 steps (by `TimeLimit`, from the registration).
    A state that is not finite (or beyond MuJoCo's limit of 1e10) is a FloatingPointError.

    **Info.** `task`, `x_position` (m) at reset and step; the reward terms and `x_velocity` (m/s)
    at step.

    **Source.** Paper, section 5.2 and Table 1. No deviations known.

    `reset` options and arguments: see `TaskEnv` and `MujocoTaskEnv`.
    """

    family = HALF_CHEETAH_VEL
    task_distribution = HALF_CHEETAH_VEL_TASKS
    camera = {"distance": 5.0, "elevation": -15.0, "azimuth": 90.0}
    camera_follows_torso = True

    def markers(self) -> list[Marker]:
        """Arrows of 1 m per 2 m/s: the target velocity above the current one."""
        x, y, z = self.data.xpos[TORSO]
        target, velocity = float(self._current_task()[0]), float(self.data.qvel[0])
        heading = 0.0 if velocity >= 0 else np.pi
        return [
            arrow((x, y, z + 0.7), 0.0, target / 2),
            arrow((x, y, z + 0.5), heading, abs(velocity) / 2, STATE_COLOUR),
        ]


# ------------------------------------------------------------------ batched environment


class HalfCheetahVelVectorEnv(MujocoVectorEnv):
    """Batched `HalfCheetahVelEnv`, which specifies the MDP; same arguments as `MujocoVectorEnv`."""

    family = HALF_CHEETAH_VEL
    task_distribution = HALF_CHEETAH_VEL_TASKS
