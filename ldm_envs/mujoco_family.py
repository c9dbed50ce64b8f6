"""A MuJoCo family: its model, and pure functions of the physics state.

The functions take arrays with any leading shape, so that the scalar environment (leading shape
()) and the batched engine (leading shape (num_envs,)) call the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco.mujoco_env import expand_model_path
from numpy.typing import NDArray

Array = NDArray[Any]
# A few float32 roundings, as in FINITE_SET_TOLERANCE for tasks: Gymnasium's RescaleAction maps its
# own bounds to values one rounding beyond ours.
ACTION_TOLERANCE = 1e-5
TORSO = 1  # body 0 is the world; the torso is the first body of both models
# After these warnings MuJoCo silently resets the simulation to its initial state.
DIVERGENCE_WARNINGS = [
    int(mujoco.mjtWarning.mjWARN_BADQPOS),
    int(mujoco.mjtWarning.mjWARN_BADQVEL),
    int(mujoco.mjtWarning.mjWARN_BADQACC),
]


class Physics(NamedTuple):
    """The part of the simulation state that families read, with any leading shape.

    Attributes:
        qpos: float64 (..., nq), generalised positions (m, rad, unit quaternion).
        qvel: float64 (..., nv), generalised velocities (m/s, rad/s).
        xpos: float64 (..., nbody, 3), body positions (m). After a step they are one
            substep older than `qpos`, as MuJoCo leaves them and Gymnasium's environments use them.
    """

    qpos: Array
    qvel: Array
    xpos: Array


class Transition(NamedTuple):
    """What a reward may depend on.

    Attributes:
        physics: State after the step.
        velocity: float64 (..., k), rate of change of the family's `tracked` over the step.
        action: float64 (..., nu).
        task: float64 (..., task_dim).
    """

    physics: Physics
    velocity: Array
    action: Array
    task: Array


def never_terminates(physics: Physics) -> Array:
    """The termination function of families whose episodes only time out."""
    return np.zeros(physics.qpos.shape[:-1], np.bool_)


@dataclass(frozen=True)
class MujocoFamily:
    """A family as data for the scalar environment and the batched engine.

    Attributes:
        model_file: XML file among Gymnasium's MuJoCo assets.
        frame_skip: Substeps per environment step.
        observation_dim: Length of an observation.
        observation: State -> observation, float64 (..., observation_dim), a fresh array.
        tracked: State -> positions (..., k) whose velocity the reward uses (may be a view).
        reward_terms: Transition -> named terms (...), which sum to the reward.
        terminated: State -> bool (...).
        metrics: State -> further infos (...) at reset and step (may be views).
        velocity_names: Info key for each component of the tracked velocity, or ().
        reset_noise_scale: Half-width of the uniform noise on qpos and standard deviation of the
            normal noise on qvel at reset.
    """

    model_file: str
    frame_skip: int
    observation_dim: int
    observation: Callable[[Physics], Array]
    tracked: Callable[[Physics], Array]
    reward_terms: Callable[[Transition], dict[str, Array]]
    terminated: Callable[[Physics], Array]
    metrics: Callable[[Physics], dict[str, Array]]
    velocity_names: tuple[str, ...] = ()
    reset_noise_scale: float = 0.1

    def load_model(self) -> mujoco.MjModel:
        """A fresh model from Gymnasium's XML file."""
        return mujoco.MjModel.from_xml_path(expand_model_path(self.model_file))

    def observation_space(self) -> spaces.Box[np.float64]:
        """float64 box of half-width 1e10, MuJoCo's own limit for a valid state.

        Gymnasium's own MuJoCo environments declare infinite bounds, which its checker warns about.
        """
        limit = float(mujoco.mjMAXVAL)
        return spaces.Box(-limit, limit, (self.observation_dim,), dtype=np.float64)

    def start_state(
        self, rng: np.random.Generator, qpos: Array, qvel: Array
    ) -> tuple[Array, Array]:
        """The model's initial (qpos, qvel) with reset noise, drawn as in Gymnasium."""
        scale = self.reset_noise_scale
        noisy_qpos = qpos + rng.uniform(low=-scale, high=scale, size=len(qpos))
        return noisy_qpos, qvel + scale * rng.standard_normal(len(qvel))

    def outcome(
        self, physics: Physics, tracked_before: Array, dt: float, action: Array, task: Array
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Reward terms and reported velocities of one step of `dt` seconds."""
        velocity = (self.tracked(physics) - tracked_before) / dt
        terms = self.reward_terms(Transition(physics, velocity, action, task.astype(np.float64)))
        return terms, {name: velocity[..., i] for i, name in enumerate(self.velocity_names)}


def is_sane(values: Array) -> Any:
    """Whether values (..., n) are finite and no larger than MuJoCo accepts: bool (...).

    Beyond this, MuJoCo resets a simulation at its next substep. NaN compares false.
    """
    return np.abs(values).max(axis=-1) <= mujoco.mjMAXVAL


def control_cost(action: Array, weight: float) -> Array:
    """weight * ||action||^2 over the last axis."""
    return weight * np.square(action).sum(axis=-1)


def check_state(
    physics: dict[str, Any], state_shape: tuple[int, ...], xpos_shape: tuple[int, ...]
) -> tuple[Array, Array]:
    """The float64 arrays "state" and "xpos" of a saved state; ValueError for other shapes."""
    state, xpos = (np.asarray(physics[name], np.float64) for name in ("state", "xpos"))
    if state.shape != state_shape or xpos.shape != xpos_shape:
        raise ValueError(
            f"Expected a state of shape {state_shape} and xpos of shape {xpos_shape}, got "
            f"{state.shape} and {xpos.shape}: is it the state of another family?"
        )
    return state, xpos


def check_action(action: Any, space: gym.Space[Any], noun: str) -> Array:
    """`action` as float64 inside the box, or a ValueError that shows it.

    Actions outside the box are refused rather than clipped, because the control cost would count
    more than the motors did: clip them in the agent, or use Gymnasium's `ClipAction`. Actions that
    float32 rounding puts outside, by at most `ACTION_TOLERANCE` of the bounds, are clipped.
    """
    assert isinstance(space, spaces.Box)
    array = np.asarray(action)
    if array.shape != space.shape or array.dtype.kind not in "fiu":
        raise ValueError(
            f"Expected {noun} of shape {space.shape}, got {action!r} of shape {array.shape}, "
            f"dtype {array.dtype}"
        )
    inside = (array >= space.low) & (array <= space.high)  # False for NaN as well
    if np.count_nonzero(inside) == inside.size:
        return array.astype(np.float64)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    slack = ACTION_TOLERANCE * np.maximum(np.abs(low), np.abs(high))
    inside = (array >= low - slack) & (array <= high + slack)
    if np.count_nonzero(inside) != inside.size:
        where = np.argwhere(~inside)
        raise ValueError(
            f"Expected {noun} in [{space.low.min()}, {space.high.max()}], got "
            f"{array[~inside].tolist()} at {where.tolist()}; clip them, for instance with "
            "gymnasium.wrappers.ClipAction"
        )
    return np.clip(array.astype(np.float64), low, high)
