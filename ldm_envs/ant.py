"""AntDir and AntGoal: walk in a hidden direction, or to a hidden place.

Paper section 5.2, Table 1. Both use Gymnasium's ant.xml (RK4, 0.01 s, frame skip 5).
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
from ldm_envs.mujoco_markers import Marker, arrow, disc, sphere
from ldm_envs.mujoco_vector import MujocoVectorEnv
from ldm_envs.task_sets import AnnulusTaskSet, FiniteTaskSet
from ldm_envs.tasks import TaskDistribution

# ------------------------------------------------------------------ constants

FRAME_SKIP = 5
HEALTHY_Z = (0.2, 1.0)
SURVIVE_REWARD = 1.0
ANT_DIR_CONTROL_WEIGHT = 0.5
ANT_GOAL_CONTROL_WEIGHT = 0.1


def _headings(*degrees: float) -> FiniteTaskSet:
    return FiniteTaskSet([[np.deg2rad(angle)] for angle in degrees], period=[2 * np.pi])


ANT_DIR_TASKS = TaskDistribution(
    {
        "train": _headings(0, 90, 180, 270),
        "test": _headings(45, 135, 225, 315),
        "eval": _headings(45, 135, 225, 315),
        "all": _headings(0, 45, 90, 135, 180, 225, 270, 315),
    },
    ("theta (rad)",),
)
ANT_GOAL_TASKS = TaskDistribution(
    {
        "train": AnnulusTaskSet([(0.0, 1.0), (2.5, 3.0)]),
        "test": AnnulusTaskSet([(1.0, 2.5)]),
        "eval": FiniteTaskSet([[1.75, np.deg2rad(90 * k)] for k in range(4)]),
        "all": AnnulusTaskSet([(0.0, 3.0)]),
    },
    ("r (m)", "theta (rad)"),
)

# ------------------------------------------------------------------ observation, reward, end


def ant_dir_observation(physics: Physics) -> Array:
    """qpos without the torso's x and y, and qvel: (..., 27)."""
    return np.concatenate((physics.qpos[..., 2:], physics.qvel), axis=-1)


def ant_goal_observation(physics: Physics) -> Array:
    """qpos and qvel: (..., 29)."""
    return np.concatenate((physics.qpos, physics.qvel), axis=-1)


def torso_xy(physics: Physics) -> Array:
    """The torso position whose rate of change Gymnasium calls the Ant's velocity: (..., 2)."""
    return physics.xpos[..., TORSO, :2]


def ant_position(physics: Physics) -> dict[str, Array]:
    """The torso's position now, under Gymnasium's names."""
    return {"x_position": physics.qpos[..., 0], "y_position": physics.qpos[..., 1]}


def ant_dir_reward_terms(transition: Transition) -> dict[str, Array]:
    """v . (cos theta, sin theta) - 0.5 ||a||^2 + 1."""
    velocity, theta = transition.velocity, transition.task[..., 0]
    forward = velocity[..., 0] * np.cos(theta) + velocity[..., 1] * np.sin(theta)
    return {
        "reward_forward": forward,
        "reward_ctrl": -control_cost(transition.action, ANT_DIR_CONTROL_WEIGHT),
        "reward_survive": np.full(forward.shape, SURVIVE_REWARD),
    }


def goal_xy(task: Array) -> tuple[Array, Array]:
    """Cartesian goal (x, y) of polar tasks (..., 2)."""
    return task[..., 0] * np.cos(task[..., 1]), task[..., 0] * np.sin(task[..., 1])


def ant_goal_reward_terms(transition: Transition) -> dict[str, Array]:
    """-(|x - gx| + |y - gy|) - 0.1 ||a||^2."""
    goal_x, goal_y = goal_xy(transition.task)
    qpos = transition.physics.qpos
    return {
        "reward_goal": -(np.abs(qpos[..., 0] - goal_x) + np.abs(qpos[..., 1] - goal_y)),
        "reward_ctrl": -control_cost(transition.action, ANT_GOAL_CONTROL_WEIGHT),
    }


def ant_dir_terminated(physics: Physics) -> Array:
    """The torso is lower than 0.2 m or higher than 1 m (or its height is not a number)."""
    height = physics.qpos[..., 2]
    return ~((height >= HEALTHY_Z[0]) & (height <= HEALTHY_Z[1]))


ANT_DIR = MujocoFamily(
    model_file="ant.xml",
    frame_skip=FRAME_SKIP,
    observation_dim=27,
    observation=ant_dir_observation,
    tracked=torso_xy,
    reward_terms=ant_dir_reward_terms,
    terminated=ant_dir_terminated,
    metrics=ant_position,
    velocity_names=("x_velocity", "y_velocity"),
)
ANT_GOAL = MujocoFamily(
    model_file="ant.xml",
    frame_skip=FRAME_SKIP,
    observation_dim=29,
    observation=ant_goal_observation,
    tracked=torso_xy,
    reward_terms=ant_goal_reward_terms,
    terminated=never_terminates,
    metrics=ant_position,
    velocity_names=("x_velocity", "y_velocity"),
)

# ------------------------------------------------------------------ scalar environments


class AntDirEnv(MujocoTaskEnv):
    """Walk as fast as possible in a hidden direction.

    **Task.** The heading (theta,), float32 (1,), radians from the +x axis; compared modulo 2 pi.
    Splits: train 0, 90, 180, 270 degrees; test = eval 45, 135, 225, 315 degrees; all = all
    eight. Tasks are drawn uniformly.

    **Observation.** `Box(-1e10, 1e10, (27,), float64)`: qpos[2:] (torso height in m, orientation
    quaternion, eight joint angles in rad) and qvel (14: torso velocity in m/s and rad/s, joint
    velocities in rad/s). The torso's x and y are left out.

    **Action.** `Box(-1, 1, (8,), float32)`: joint torques before the gear, as in Gymnasium's Ant.
    Actions outside the box, or not finite, are a ValueError.

    **Start.** Gymnasium's initial state with U(-0.1, 0.1) added to every qpos and 0.1 N(0, 1) to
    every qvel.

    **Reward.** `v . (cos theta, sin theta) - 0.5 ||a||^2 + 1`, with v the torso velocity in m/s
    over the step of 0.05 s as Gymnasium's Ant computes it (from `xpos`, which under RK4 is on
    average 0.1 mm from qpos); in `info` as `reward_forward` + `reward_ctrl` + `reward_survive`.

    **End.** Terminates when the torso height leaves [0.2, 1.0] m; truncated after 200 steps (by
    `TimeLimit`, from the registration). A state that is not finite (or beyond MuJoCo's limit of
    1e10) ends the run with a FloatingPointError instead of an observation of NaNs.

    **Info.** `task`, `x_position`, `y_position` (m) at reset and step; the reward terms,
    `x_velocity` and `y_velocity` (m/s) at step.

    **Source.** Paper, section 5.2 and Table 1. **Deviations.** No contact forces in observation
    or reward: they were identically zero in the MuJoCo version of the published runs. A state
    that is not finite is an error, where the published AntDir ends the episode: it is a failure
    of the simulation, not a fall.

    `reset` options and arguments: see `TaskEnv` and `MujocoTaskEnv`.
    """

    family = ANT_DIR
    task_distribution = ANT_DIR_TASKS
    camera = {"distance": 6.0, "elevation": -35.0}
    camera_follows_torso = True

    def markers(self) -> list[Marker]:
        x, y, z = self.data.xpos[TORSO]
        return [arrow((x, y, z + 0.6), float(self._current_task()[0]), 1.5)]


class AntGoalEnv(MujocoTaskEnv):
    """Walk to a hidden place and stay there.

    **Task.** The goal (r, theta), float32 (2,): metres from the origin, radians in [0, 2 pi)
    from the +x axis. Splits: train r in [0, 1) or [2.5, 3), test r in [1, 2.5), both uniform
    over the area; eval r = 1.75, theta = 0, 90, 180, 270 degrees; all r in [0, 3), uniform over
    the area.

    **Observation.** `Box(-1e10, 1e10, (29,), float64)`: qpos (15: torso x, y, z in m, orientation
    quaternion, eight joint angles in rad) and qvel (14).

    **Action.** As in `AntDirEnv`.

    **Start.** As in `AntDirEnv`.

    **Reward.** `-(|x - r cos theta| + |y - r sin theta|) - 0.1 ||a||^2`, with (x, y) in m the
    torso position in the observation; in `info` as `reward_goal` + `reward_ctrl`.

    **End.** Never terminates; truncated after 200 steps (by `TimeLimit`, from the registration).
    FloatingPointError as in `AntDirEnv`.

    **Info.** As in `AntDirEnv`, with the terms of this reward.

    **Source.** Paper, section 5.2 and Table 1. **Deviations.** No contact forces, as in
    `AntDirEnv`. The reward's x and y are those of the observation, where the authors' code
    uses `xpos`: a mean difference of 3e-5.

    `reset` options and arguments: see `TaskEnv` and `MujocoTaskEnv`.
    """

    family = ANT_GOAL
    task_distribution = ANT_GOAL_TASKS
    camera = {"distance": 10.0, "elevation": -55.0, "lookat": np.array([0.0, 0.0, 0.0])}
    camera_follows_torso = False

    def markers(self) -> list[Marker]:
        x, y = (float(value) for value in goal_xy(self._current_task()))
        return [disc(x, y, 0.4), sphere((x, y, 0.9), 0.12)]


# ------------------------------------------------------------------ batched environments


class AntDirVectorEnv(MujocoVectorEnv):
    """Batched `AntDirEnv`, which specifies the MDP; same arguments as `MujocoVectorEnv`."""

    family = ANT_DIR
    task_distribution = ANT_DIR_TASKS


class AntGoalVectorEnv(MujocoVectorEnv):
    """Batched `AntGoalEnv`, which specifies the MDP; same arguments as `MujocoVectorEnv`."""

    family = ANT_GOAL
    task_distribution = ANT_GOAL_TASKS
