"""Storage of running true trajectories."""

from __future__ import annotations

from typing import Any

import numpy as np

from ldm_wrappers.latent_dynamics.transition import FloatArray, TransitionSpec

FIELDS = ("observations", "actions", "rewards", "next_observations")


def zeroed_arrays(spec: TransitionSpec, shape: tuple[int, ...]) -> dict[str, FloatArray]:
    """One zeroed array per field; the system allocates pages only when they are written."""
    return {
        "observations": np.zeros((*shape, spec.observation_size), np.float32),
        "actions": np.zeros((*shape, spec.action_columns), np.float32),
        "rewards": np.zeros(shape, np.float32),
        "next_observations": np.zeros((*shape, spec.observation_size), np.float32),
    }


class TrajectoryRecorder:
    """Collects the running trajectories of several workers until each of them ends.

    Its memory grows with the longest trajectory.

    Args:
        spec: Sizes of observations and actions.
        n_workers: Number of workers.
        max_length: Transitions kept per trajectory; later ones are left out.
    """

    def __init__(self, spec: TransitionSpec, n_workers: int, max_length: int) -> None:
        self.spec = spec
        self.max_length = max_length
        self._data = zeroed_arrays(spec, (n_workers, 0))
        self._lengths = np.zeros(n_workers, np.int64)

    @property
    def lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Transitions of each running trajectory, (n_workers,)."""
        return self._lengths.copy()

    def append(
        self,
        observations: FloatArray,
        actions: FloatArray,
        rewards: FloatArray,
        next_observations: FloatArray,
    ) -> None:
        """Add one transition per worker; arrays (n_workers, columns), rewards (n_workers,)."""
        self._hold(min(int(self._lengths.max()) + 1, self.max_length))
        workers = np.flatnonzero(self._lengths < self.max_length)
        steps = self._lengths[workers]
        values = (observations, actions, rewards, next_observations)
        for name, value in zip(FIELDS, values, strict=True):
            self._data[name][workers, steps] = value[workers]
        self._lengths[workers] += 1

    def _hold(self, length: int) -> None:
        """Make room for trajectories of ``length`` transitions."""
        room = self._data["rewards"].shape[1]
        if length <= room:
            return
        grown = zeroed_arrays(
            self.spec, (len(self._lengths), min(max(64, 2 * room, length), self.max_length))
        )
        for name, array in self._data.items():
            grown[name][:, :room] = array
        self._data = grown

    def running(self, workers: np.ndarray[Any, np.dtype[np.int64]]) -> list[FloatArray]:
        """Actions, rewards and next observations of running trajectories, (longest, n, …).

        Values after the end of a shorter one are arbitrary.
        """
        longest = int(self._lengths[workers].max(initial=0))
        arrays = (self._data[name][workers, :longest] for name in FIELDS[1:])
        return [np.ascontiguousarray(array.swapaxes(0, 1)) for array in arrays]

    def _rows(self, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, FloatArray]:
        lengths = self._lengths[chosen]
        longest = int(lengths.max(initial=0))
        inside = np.arange(longest) < lengths[:, None]
        taken = {}
        for name in FIELDS:
            rows = self._data[name][chosen, :longest]  # a copy, as the mask is an array
            rows[~inside] = 0.0  # a longer, earlier trajectory may have left its end here
            taken[name] = rows
        return taken

    def finish(
        self, ended: np.ndarray[Any, np.dtype[np.bool_]]
    ) -> tuple[dict[str, FloatArray], np.ndarray[Any, np.dtype[np.int64]]]:
        """Remove and return the trajectories of the workers in ``ended`` (bool (n_workers,))."""
        taken, lengths = self._rows(ended), self._lengths[ended].copy()
        self._lengths[ended] = 0
        return taken, lengths

    def discard(self, ended: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """Forget the running trajectories of the workers in ``ended``."""
        self._lengths[ended] = 0

    def state_dict(self) -> dict[str, Any]:
        """The running trajectories."""
        everyone = np.ones(len(self._lengths), bool)
        return {"data": self._rows(everyone), "lengths": self.lengths}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`, for a recorder of as many workers.

        Raises:
            ValueError: The state has another number of workers or other columns.
        """
        lengths = np.asarray(state["lengths"])
        longest = int(lengths.max(initial=0))
        expected = zeroed_arrays(self.spec, (len(self._lengths), longest))
        if lengths.shape != self._lengths.shape or any(
            np.shape(state["data"][name]) != expected[name].shape for name in FIELDS
        ):
            raise ValueError(
                f"saved trajectories have {lengths.shape} workers and "
                f"{ {name: np.shape(state['data'][name]) for name in FIELDS} }, expected "
                f"{ {name: expected[name].shape for name in FIELDS} }"
            )
        self._hold(longest)
        for name in FIELDS:
            self._data[name][:, :longest] = state["data"][name]
        self._lengths[...] = lengths
