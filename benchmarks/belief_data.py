"""Stored MuJoCo trajectories of scripted policies, with the quantities that rewards depend on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

import ldm_envs  # noqa: F401  registers the ids
from ldm_envs.ant import ANT_DIR, ANT_GOAL
from ldm_envs.half_cheetah import HALF_CHEETAH_VEL
from ldm_envs.mujoco_family import MujocoFamily, Physics, Transition
from ldm_envs.tasks import TaskSet
from ldm_wrappers.latent_dynamics import TrajectoryBuffer, TransitionSpec
from train.common.env_source import EnvSource

Array = NDArray[np.float32]
FAMILIES: dict[str, MujocoFamily] = {
    "LDM-AntGoal-v0": ANT_GOAL,
    "LDM-AntDir-v0": ANT_DIR,
    "LDM-HalfCheetahVel-v0": HALF_CHEETAH_VEL,
}
N_EPISODES = 2
N_STEPS = 400
_BATCH = 100


@dataclass(frozen=True)
class Trajectories:
    """Whole meta-episodes, batch first, zero-padded.

    Attributes:
        env_id: Id of the family.
        split: Split of the tasks.
        observations: float32 (n, T, observation_size), s.
        actions: float32 (n, T, action_columns), a.
        rewards: float32 (n, T), r.
        next_observations: float32 (n, T, observation_size), the true s'.
        positions: float32 (n, T, 2), the torso's x and y after the step in m (the cheetah: x, 0).
        velocities: float32 (n, T, k), velocities that the family's reward depends on, in m/s.
        lengths: int64 (n,), number of transitions.
        tasks: float32 (n, task_dim).
    """

    env_id: str
    split: str
    observations: Array
    actions: Array
    rewards: Array
    next_observations: Array
    positions: Array
    velocities: Array
    lengths: NDArray[np.int64]
    tasks: Array

    def task_set(self) -> TaskSet:
        """The task set of their split."""
        distribution: Any = EnvSource(self.env_id).facts().distribution
        task_set: TaskSet = distribution[self.split]
        return task_set

    def valid(self) -> NDArray[np.bool_]:
        """Whether a step is a transition, not padding, bool (n, T)."""
        return np.arange(self.rewards.shape[1]) < self.lengths[:, None]

    def rewards_of(self, tasks: Array) -> Array:
        """Rewards of all transitions under other tasks.

        Args:
            tasks: float (k, task_dim), the same k tasks for every trajectory, or (n, k, task_dim).

        Returns:
            float32 (n, T, k).
        """
        qpos = self.positions[:, :, None]
        xpos = np.zeros((*qpos.shape[:-1], 1, 3), np.float32)
        transition = Transition(
            Physics(qpos, np.zeros(0), xpos),
            self.velocities[:, :, None],
            self.actions[:, :, None],
            tasks[..., None, :, :],
        )
        terms = FAMILIES[self.env_id].reward_terms(transition)
        total = sum(np.asarray(term, np.float32) for term in terms.values())
        return np.broadcast_to(total, (*self.rewards.shape, tasks.shape[-2]))

    def parts(self, size: int) -> Iterator[Trajectories]:
        """The same trajectories, ``size`` at a time."""
        for start in range(0, len(self.lengths), size):
            rows = slice(start, start + size)
            yield dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in ARRAYS})

    def buffer(self, seed: int = 0) -> TrajectoryBuffer:
        """A buffer that contains exactly these trajectories."""
        env = gym.make(self.env_id)
        spec = TransitionSpec.from_spaces(env.observation_space, env.action_space)
        env.close()
        buffer = TrajectoryBuffer(spec, capacity=len(self.lengths), max_length=N_STEPS, seed=seed)
        names = ("observations", "actions", "rewards", "next_observations")
        buffer.add({name: getattr(self, name) for name in names}, self.lengths)
        return buffer


ARRAYS = tuple(field.name for field in dataclasses.fields(Trajectories))[2:]


class ScriptedPolicies:
    """Two kinds of policies, different for each worker: correlated noise, and random gaits.

    Half of the workers act like an untrained policy: normal noise with standard deviation 0.2 to
    0.8 and a correlation of 0 to 0.95 between steps. The others swing their joints with random
    amplitudes, phases and a random frequency (0.5 to 3 Hz), with noise of 0.2 to 0.4. Many of them
    move away from the start, like a policy that has begun to learn.
    """

    def __init__(self, rng: np.random.Generator, n: int, n_joints: int) -> None:
        self._rng, shape = rng, (n, n_joints)
        self._gait = np.arange(n) % 2 == 1
        self._scale = np.where(self._gait, rng.uniform(0.2, 0.4, n), rng.uniform(0.2, 0.8, n))
        self._correlation = np.where(self._gait, 0.0, rng.uniform(0.0, 0.95, n))
        self._amplitude = rng.uniform(0.2, 1.0, shape) * self._gait[:, None]
        self._offset = rng.uniform(-0.3, 0.3, shape) * self._gait[:, None]
        self._phase = rng.uniform(0.0, 2 * np.pi, shape)
        self._frequency = rng.uniform(0.5, 3.0, (n, 1))
        self._noise = rng.standard_normal(shape)
        self._time = 0.0

    def __call__(self) -> Array:
        """Actions of the next step, float32 (n, n_joints) in [-1, 1]."""
        self._time += 0.05
        correlation = self._correlation[:, None]
        fresh = self._rng.standard_normal(self._noise.shape)
        self._noise = correlation * self._noise + np.sqrt(1 - correlation**2) * fresh
        angle = 2 * np.pi * self._frequency * self._time + self._phase
        swing = self._amplitude * np.sin(angle) + self._offset
        actions = swing + self._scale[:, None] * self._noise
        return np.clip(actions, -1.0, 1.0).astype(np.float32)


def collect(env_id: str, split: str, n: int, seed: int) -> Trajectories:
    """``n`` meta-episodes of scripted policies on tasks of a split."""
    seeds = np.random.SeedSequence(seed).spawn(-(-n // _BATCH))
    parts = [_collect_batch(env_id, split, part) for part in seeds]
    joined = {name: np.concatenate([getattr(part, name) for part in parts])[:n] for name in ARRAYS}
    return Trajectories(env_id, split, **joined)


def relabelled(trajectories: Trajectories, times: int, seed: int) -> Trajectories:
    """Each trajectory ``times`` times, with rewards of newly drawn tasks of its split.

    Since the scripted policies do not depend on rewards, such trajectories could have been
    collected.
    """
    n, rng = len(trajectories.lengths), np.random.default_rng(seed)
    tasks = trajectories.task_set().sample(rng, n * times).reshape(n, times, -1)
    rewards = trajectories.rewards_of(tasks) * trajectories.valid()[..., None]
    repeated: dict[str, Any] = {
        name: np.repeat(getattr(trajectories, name), times, axis=0) for name in ARRAYS
    }
    repeated["rewards"] = rewards.swapaxes(1, 2).reshape(n * times, -1).astype(np.float32)
    repeated["tasks"] = tasks.reshape(n * times, -1)
    return dataclasses.replace(trajectories, **repeated)


def load_or_collect(folder: Path, env_id: str, n: int) -> dict[str, Trajectories]:
    """``n`` trajectories for ``train``, 200 for ``held-out`` and ``test``, stored in a folder."""
    splits = {"train": ("train", n), "held-out": ("train", 200), "test": ("test", 200)}
    stored = {}
    for seed, (name, (split, size)) in enumerate(splits.items(), 1):
        path = folder / f"{env_id}-{name}-{size}.npz"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            fresh = collect(env_id, split, size, seed)
            np.savez(path, **{array: getattr(fresh, array) for array in ARRAYS})
        with np.load(path) as arrays:
            stored[name] = Trajectories(env_id, split, **arrays)
    return stored


def _collect_batch(env_id: str, split: str, seeds: np.random.SeedSequence) -> Trajectories:
    mode = AutoresetMode.DISABLED
    env = gym.make_vec(env_id, _BATCH, split=split, autoreset_mode=mode, num_threads=1)
    spec = TransitionSpec.from_spaces(env.single_observation_space, env.single_action_space)
    env_seed, policy_seed = seeds.generate_state(2)
    generator = np.random.default_rng(int(policy_seed))
    policies = ScriptedPolicies(generator, _BATCH, spec.action_columns)
    shown, infos = env.reset(seed=int(env_seed))
    tasks = np.array(infos["task"], np.float32)
    data = _empty(env_id, spec)
    episode, lengths = np.zeros(_BATCH, np.int64), np.zeros(_BATCH, np.int64)
    for step in range(N_STEPS):
        running = episode < N_EPISODES
        actions = policies()
        before = spec.observations(shown)
        shown, rewards, terminations, truncations, infos = env.step(actions)
        values = (before, actions, rewards, spec.observations(shown), *_physics(env_id, infos))
        for array, value in zip(data.values(), values, strict=True):
            array[running, step] = np.asarray(value, np.float32)[running]
        lengths += running
        ended = terminations | truncations
        episode += ended
        if (episode == N_EPISODES).all():
            break
        if ended.any():
            shown, _ = env.reset(options={"reset_mask": ended, "keep_task": True})
    env.close()
    return Trajectories(env_id, split, lengths=lengths, tasks=tasks, **data)


def _empty(env_id: str, spec: TransitionSpec) -> dict[str, Array]:
    columns = {
        "observations": (spec.observation_size,),
        "actions": (spec.action_columns,),
        "rewards": (),
        "next_observations": (spec.observation_size,),
        "positions": (2,),
        "velocities": (len(FAMILIES[env_id].velocity_names),),
    }
    return {
        name: np.zeros((_BATCH, N_STEPS, *shape), np.float32) for name, shape in columns.items()
    }


def _physics(env_id: str, infos: dict[str, Any]) -> tuple[Array, Array]:
    """Torso positions (n, 2) and tracked velocities (n, k) of a step."""
    y = infos.get("y_position", np.zeros_like(infos["x_position"]))
    positions = np.stack([infos["x_position"], y], axis=-1)
    names = FAMILIES[env_id].velocity_names
    return positions, np.stack([infos[name] for name in names], axis=-1)
