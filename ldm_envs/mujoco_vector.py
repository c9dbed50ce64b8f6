"""The batched MuJoCo engine: any `MujocoFamily`, `num_envs` times.

It does not depend on any family, nor families on it: a family's functions read arrays with a
leading axis, which `ldm_envs.mujoco_batch` fills.
"""

from __future__ import annotations

import os
from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from ldm_envs.arguments import check_positive
from ldm_envs.mujoco_batch import BACKENDS, PhysicsBatch, make_physics
from ldm_envs.mujoco_family import (
    Array,
    MujocoFamily,
    Physics,
    check_action,
    check_state,
    is_sane,
)
from ldm_envs.vector_env import TaskVectorEnv

MAX_EPISODE_STEPS = 200


class MujocoVectorEnv(TaskVectorEnv):
    """Base of the batched MuJoCo environments, equal to the scalar ones bit for bit.

    See the scalar class for the MDP and `TaskVectorEnv` for seeds, options, autoreset and infos.
    Observations float64 (num_envs, observation_dim), actions (num_envs, nu).

    Simulations and threads are created at the first `reset`, in the process that calls it, so an
    instance may be created before a fork. It pickles as its arguments plus state. `close` ends the
    threads.

    A diverged simulation (MuJoCo met a non-finite or huge state and reset it, or a state is not
    finite after the step) is a FloatingPointError that names the environments and their steps;
    the whole batch must then be reset.

    Args:
        num_envs: Number of environments.
        split: Task set that tasks are drawn from.
        max_episode_steps: Length of an episode; None for no limit.
        autoreset_mode: Gymnasium's `AutoresetMode`, or its value as a string.
        num_threads: Worker threads; None for the cores this process may use, at most num_envs.
            Results do not depend on it.
        backend: "mjbatch" (threads; extra `fast`), "serial" (one simulation after
            another), or "auto": mjbatch if installed, else serial with a warning.
        render_mode: None; only the scalar environments render.

    Raises:
        ValueError: For an argument out of range; the message shows it.
        ImportError: At the first reset, if backend is "mjbatch" and it is not installed.
    """

    family: MujocoFamily
    # before __init__ has succeeded too: Gymnasium before 1.3 closes a batch that was refused
    _batch: PhysicsBatch | None = None

    def __init__(
        self,
        num_envs: int = 1,
        split: str = "train",
        max_episode_steps: int | None = MAX_EPISODE_STEPS,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        num_threads: int | None = None,
        backend: str = "auto",
        render_mode: str | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
        if num_threads is not None:
            num_threads = check_positive("num_threads", num_threads)
        self._model = self.family.load_model()
        low, high = self._model.actuator_ctrlrange.astype(np.float32).T
        super().__init__(
            num_envs,
            self.family.observation_space(),
            spaces.Box(low, high, dtype=np.float32),
            split=split,
            max_episode_steps=max_episode_steps,
            autoreset_mode=autoreset_mode,
            render_mode=render_mode,
        )
        self.backend = backend
        self._requested_threads = num_threads
        self.num_threads = min(num_threads or available_cores(), self.num_envs)
        self.dt = self._model.opt.timestep * self.family.frame_skip
        self._start_qpos = self._model.qpos0.copy()
        self._start_qvel = np.zeros(self._model.nv)
        self._physics: Physics | None = None

    def close_extras(self, **kwargs: Any) -> None:
        """End the threads."""
        self._physics = None
        if self._batch is not None:
            self._batch.close()
            self._batch = None
            self._abandon()

    def _simulations(self) -> PhysicsBatch:
        if self.closed:
            raise ClosedEnvironmentError("This environment was closed")
        if self._batch is None:
            self._batch = make_physics(self._model, self.num_envs, self.num_threads, self.backend)
            self._physics = Physics(self._batch.qpos, self._batch.qvel, self._batch.xpos)
        return self._batch

    def _state(self) -> Physics:
        assert self._physics is not None, "reset() makes the simulations"
        return self._physics

    def _check_actions(self, actions: Any) -> Array:
        return check_action(actions, self.action_space, "actions")

    def _reset_physics(self, indices: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        qpos = np.empty((len(indices), len(self._start_qpos)))
        qvel = np.empty((len(indices), len(self._start_qvel)))
        for row, rng in enumerate(rngs):
            qpos[row], qvel[row] = self.family.start_state(rng, self._start_qpos, self._start_qvel)
        self._simulations().start(indices, qpos, qvel)

    def _advance(
        self, actions: Array, active: NDArray[np.bool_] | None
    ) -> tuple[dict[str, Array], NDArray[np.bool_], dict[str, Array]]:
        batch, family, physics = self._simulations(), self.family, self._state()
        before = family.tracked(physics).copy()
        batch.step(actions, active, family.frame_skip)
        self._check_divergence(batch, physics)
        terms, velocities = family.outcome(physics, before, self.dt, actions, self._tasks)
        return terms, family.terminated(physics), velocities

    def _check_divergence(self, batch: PhysicsBatch, physics: Physics) -> None:
        bad = batch.diverged()
        # If qpos is bad, qvel is too: positions integrate velocities. A sum of squares this small
        # rules out an entry beyond the limit, in half the time; NaN compares false.
        if bad is None:
            if np.vdot(physics.qvel, physics.qvel) <= mujoco.mjMAXVAL**2:
                return
            bad = np.zeros(self.num_envs, np.bool_)
        bad |= ~(is_sane(physics.qpos) & is_sane(physics.qvel))
        if not bad.any():
            return
        where = ", ".join(
            f"env {i} at step {self._elapsed[i] + 1} of its episode "
            f"(task {self._tasks[i].tolist()})"
            for i in np.flatnonzero(bad)
        )
        self._abandon()
        raise FloatingPointError(
            f"Diverged simulation: {where}: MuJoCo met a non-finite or huge state. The whole "
            "batch must be reset before it can continue"
        )

    def _observe(self) -> Array:
        return self.family.observation(self._state())

    def _metrics(self) -> dict[str, Array]:
        # Copies, since families may return views of the simulations.
        return {name: value.copy() for name, value in self.family.metrics(self._state()).items()}

    def _get_physics(self) -> dict[str, Any]:
        return {"state": self._simulations().get_state(), "xpos": self._state().xpos.copy()}

    def _set_physics(self, physics: dict[str, Any]) -> None:
        batch = self._simulations()
        batch.set_state(*check_state(physics, batch.get_state().shape, self._state().xpos.shape))

    def _constructor_kwargs(self) -> dict[str, Any]:
        return {
            **super()._constructor_kwargs(),
            "num_threads": self._requested_threads,
            "backend": self.backend,
        }


def available_cores() -> int:
    """Number of cores that this process may use, if the system can tell, else of all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
