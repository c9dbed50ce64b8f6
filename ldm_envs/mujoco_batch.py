"""Many simulations of one MuJoCo model as arrays, stepped by mjbatch or one after another.

Both classes have live float64 arrays `qpos`, `qvel`, `xpos` with leading axis `num_sims`, and
both have exactly the state that Gymnasium's `MujocoEnv` has after the same steps and resets.
"""

from __future__ import annotations

import os
import re
import warnings
from functools import cache
from importlib import metadata
from typing import Any, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from ldm_envs.mujoco_family import DIVERGENCE_WARNINGS, Array

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
BACKENDS = ("auto", "mjbatch", "serial")


class PhysicsBatch(Protocol):
    """The interface of a backend."""

    qpos: Array
    qvel: Array
    xpos: Array

    def start(self, sims: NDArray[np.intp], qpos: Array, qvel: Array) -> None:
        """Reset simulations `sims` (ascending) to the given states (len(sims), ...)."""

    def step(self, control: Array, active: NDArray[np.bool_] | None, substeps: int) -> None:
        """Apply controls (num_sims, nu) to the active simulations (None: all)."""

    def diverged(self) -> NDArray[np.bool_] | None:
        """(num_sims,): MuJoCo met a non-finite or huge state since the start; None: in none."""

    def get_state(self) -> Array:
        """Integration states (num_sims, nstate), a fresh array."""

    def set_state(self, state: Array, xpos: Array) -> None:
        """Restore states and their body positions."""

    def close(self) -> None:
        """Release threads and memory."""


class MjbatchPhysics:
    """Simulations on mjbatch's thread pool.

    Threads do not survive a fork, so a batch belongs to the process that made it. Using it in
    another process is an error here; mjbatch itself would wait forever.
    """

    def __init__(self, model: mujoco.MjModel, num_sims: int, num_threads: int) -> None:
        from mjbatch import Batch

        self._batch: Any = Batch(model, num_sims, num_threads=num_threads)
        self._owner = os.getpid()
        self.qpos: Array = self._batch.bind("qpos")
        self.qvel: Array = self._batch.bind("qvel")
        self.xpos: Array = self._batch.bind("xpos")
        self._control: Array = self._batch.bind("ctrl")
        self._state: Array = self._batch.bind("state")
        # The kinds are adjacent, so a slice will do: a live view, unlike fancy indexing.
        first, last = DIVERGENCE_WARNINGS[0], DIVERGENCE_WARNINGS[-1]
        self._warning_numbers: Array = self._batch.bind("warning")[:, first : last + 1, 1]
        self._batch.reset()

    def start(self, sims: NDArray[np.intp], qpos: Array, qvel: Array) -> None:
        self._check_process()
        # In this order: a write before the reset is lost, and forward makes xpos current.
        self._batch.reset(sims)
        self.qpos[sims] = qpos
        self.qvel[sims] = qvel
        self._batch.forward(sims)

    def step(self, control: Array, active: NDArray[np.bool_] | None, substeps: int) -> None:
        self._check_process()
        if active is None:
            self._control[:] = control
            self._batch.step(nstep=substeps)
        else:
            self._control[active] = control[active]
            self._batch.step(active, nstep=substeps)

    def diverged(self) -> NDArray[np.bool_] | None:
        if not np.count_nonzero(self._warning_numbers):  # nearly always, at every step
            return None
        return np.asarray(self._warning_numbers.any(axis=1))

    def get_state(self) -> Array:
        self._check_process()
        return self._state.copy()

    def set_state(self, state: Array, xpos: Array) -> None:
        self._check_process()
        self._batch.reset()
        self._state[:] = state
        # forward applies the rows: if left pending, they would overwrite the next reset.
        self._batch.forward()
        self.xpos[:] = xpos  # overwritten by the next step, read before it

    def close(self) -> None:
        # The threads end with the last reference to the batch, and its arrays each have one.
        del self.qpos, self.qvel, self.xpos, self._control, self._state, self._warning_numbers
        del self._batch

    def _check_process(self) -> None:
        if os.getpid() != self._owner:
            raise RuntimeError(
                f"This batch was made in process {self._owner} and its threads do not exist in "
                f"process {os.getpid()}: create the env, or reset it for the first time, in the "
                "process that uses it"
            )


class SerialPhysics:
    """The same simulations one after another, with mujoco alone."""

    def __init__(self, model: mujoco.MjModel, num_sims: int) -> None:
        self._model = model
        self._data = [mujoco.MjData(model) for _ in range(num_sims)]
        self.qpos: Array = np.zeros((num_sims, model.nq))
        self.qvel: Array = np.zeros((num_sims, model.nv))
        self.xpos: Array = np.zeros((num_sims, model.nbody, 3))

    def start(self, sims: NDArray[np.intp], qpos: Array, qvel: Array) -> None:
        for row, i in enumerate(sims):
            data = self._data[i]
            mujoco.mj_resetData(self._model, data)
            data.qpos[:], data.qvel[:] = qpos[row], qvel[row]
            mujoco.mj_forward(self._model, data)
            self._copy_out(i)

    def step(self, control: Array, active: NDArray[np.bool_] | None, substeps: int) -> None:
        for i, data in enumerate(self._data):
            if active is None or active[i]:
                data.qpos[:], data.qvel[:] = self.qpos[i], self.qvel[i]
                data.ctrl[:] = control[i]
                mujoco.mj_step(self._model, data, nstep=substeps)
                self._copy_out(i)

    def diverged(self) -> NDArray[np.bool_] | None:
        bad = [any(d.warning[kind].number for kind in DIVERGENCE_WARNINGS) for d in self._data]
        return np.array(bad) if any(bad) else None

    def get_state(self) -> Array:
        states = np.empty((len(self._data), mujoco.mj_stateSize(self._model, _STATE)))
        for data, state in zip(self._data, states, strict=True):
            mujoco.mj_getState(self._model, data, state, _STATE)
        return states

    def set_state(self, state: Array, xpos: Array) -> None:
        for i, data in enumerate(self._data):
            mujoco.mj_resetData(self._model, data)
            mujoco.mj_setState(self._model, data, state[i], _STATE)
            self._copy_out(i)
        self.xpos[:] = xpos

    def close(self) -> None:
        self._data.clear()

    def _copy_out(self, i: int) -> None:
        data = self._data[i]
        self.qpos[i], self.qvel[i], self.xpos[i] = data.qpos, data.qvel, data.xpos


def make_physics(
    model: mujoco.MjModel, num_sims: int, num_threads: int, backend: str
) -> PhysicsBatch:
    """The backend by name; "auto" is mjbatch if it can be used, else serial with a warning.

    Raises:
        ImportError: `backend` is "mjbatch", which cannot be used here.
    """
    if backend == "serial":
        return SerialPhysics(model, num_sims)
    if backend == "auto" and not mjbatch_available():
        _say_why_serial()
        return SerialPhysics(model, num_sims)
    obstacle = mjbatch_obstacle()
    if obstacle is not None:
        raise ImportError(obstacle)
    return MjbatchPhysics(model, num_sims, num_threads)


@cache
def _say_why_serial() -> None:
    warnings.warn(
        f"MuJoCo batches step one simulation after another: {mjbatch_obstacle()}", stacklevel=2
    )


def mjbatch_available() -> bool:
    """Whether mjbatch can be used with the mujoco that is imported."""
    return mjbatch_obstacle() is None


@cache
def mjbatch_obstacle() -> str | None:
    """Why mjbatch cannot be used here; `None` if it can.

    mjbatch is compiled for one release of mujoco and reads its structs. With another release (pip
    replaces mujoco when a package pins it), the first batch would crash the process in C.
    """
    try:
        requirements = metadata.requires("mjbatch") or []
        import mjbatch  # noqa: F401
    except ImportError as error:  # PackageNotFoundError is one
        return f"{error}; pip install mjbatch is several times faster"
    built_for = re.search(r"^mujoco\s*\(?==\s*([\w.]+)", "\n".join(requirements), re.MULTILINE)
    if built_for is not None and built_for[1] != mujoco.__version__:
        return (
            f"mjbatch is built for mujoco {built_for[1]}, but mujoco {mujoco.__version__} is "
            f"installed; pip install mujoco=={built_for[1]} restores the speed"
        )
    return None
