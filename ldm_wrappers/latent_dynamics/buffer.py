"""Storage of finished true trajectories."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import numpy as np
import torch

from ldm_wrappers.arguments import check_integer, check_seed, check_type
from ldm_wrappers.latent_dynamics.elbo import TrajectoryBatch
from ldm_wrappers.latent_dynamics.process import ProcessBound
from ldm_wrappers.latent_dynamics.recorder import FIELDS, zeroed_arrays
from ldm_wrappers.latent_dynamics.transition import FloatArray, TransitionSpec
from ldm_wrappers.saved_state import check_like, state_part


class TrajectoryBuffer(ProcessBound):
    """Whole trajectories (one trajectory is one meta-episode), up to ``capacity`` of them.

    A buffer that drops trajectories before anything has read it warns once: the latent dynamics is
    then untrained, and so are the rewards it imagines.

    Args:
        spec: Sizes of observations and actions.
        capacity: Number of trajectories kept.
        max_length: Maximum number of transitions of a trajectory; of a longer one, a
            :class:`TrajectoryRecorder` of this length keeps the first ones.
        seed: Seed of the generator that :meth:`sample` draws from.
        keeps: What a full buffer keeps: the ``"newest"`` trajectories, or the ``"oldest"``, as in
            the authors' code, which drops later ones.

    Raises:
        ValueError: A number is out of range, or ``keeps`` is something else.
    """

    def __init__(
        self,
        spec: TransitionSpec,
        *,
        capacity: int,
        max_length: int,
        seed: int = 0,
        keeps: Literal["newest", "oldest"] = "newest",
    ) -> None:
        if keeps not in ("newest", "oldest"):
            raise ValueError(f"keeps must be 'newest' or 'oldest', got {keeps!r}")
        self.keeps = keeps
        self.spec = spec
        self.capacity = capacity = check_integer("capacity", capacity)
        self.max_length = max_length = check_integer("max_length", max_length)
        self._data = zeroed_arrays(spec, (capacity, max_length))
        self._lengths = np.zeros(capacity, np.int64)
        self._next = 0
        self._size = 0
        self._read = False
        self._rng = np.random.default_rng(check_seed(seed))

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """Size of a full buffer in bytes."""
        return sum(array.nbytes for array in self._data.values()) + self._lengths.nbytes

    def reward_moments(self) -> tuple[float, float]:
        """Mean and standard deviation of all rewards; 0 and 0 while the buffer is empty."""
        # an older, longer trajectory may have left its end in a slot
        inside = np.arange(self.max_length) < self._lengths[: self._size, None]
        rewards = self._data["rewards"][: self._size] * inside
        count = max(1, int(self._lengths[: self._size].sum()))
        mean = float(rewards.sum(dtype=np.float64)) / count
        return mean, math.sqrt(float(np.square((rewards - mean) * inside).sum()) / count)

    def add(self, trajectories: dict[str, FloatArray], lengths: np.ndarray[Any, Any]) -> None:
        """Store trajectories, oldest first.

        Args:
            trajectories: Arrays (batch, T, …) named like the fields of :class:`TrajectoryBatch`.
            lengths: Integers (batch,), number of valid transitions of each.

        Raises:
            ValueError: A length is out of range or a valid entry is not finite. Nothing is stored.
            RuntimeError: The buffer was made in another process.
        """
        self.check_process()
        n_steps = min(trajectories["rewards"].shape[1], self.max_length)
        if lengths.size == 0:
            return
        if lengths.min() < 1 or lengths.max() > n_steps:
            raise ValueError(
                f"trajectory lengths must lie in [1, {n_steps}], got {lengths.tolist()}"
            )
        valid = np.arange(n_steps) < lengths[:, None]
        for name in FIELDS:
            if not np.isfinite(trajectories[name][:, :n_steps][valid]).all():
                raise ValueError(f"a trajectory has non-finite {name}; nothing was stored")
        if self._size + lengths.size > self.capacity and not self._read:
            self._warn_of_no_reader()
        if self.keeps == "oldest":
            room = slice(0, self.capacity - self._size)
            trajectories = {name: array[room] for name, array in trajectories.items()}
            lengths = lengths[room]
            if lengths.size == 0:
                return
        slots = (self._next + np.arange(lengths.size)) % self.capacity
        if lengths.size > self.capacity:  # only the newest can stay
            keep = slice(lengths.size - self.capacity, None)
            trajectories = {name: array[keep] for name, array in trajectories.items()}
            lengths, slots = lengths[keep], slots[keep]
        for name in FIELDS:
            self._data[name][slots, :n_steps] = trajectories[name][:, :n_steps]
        self._lengths[slots] = lengths
        self._next = int(slots[-1] + 1) % self.capacity
        self._size = min(self._size + lengths.size, self.capacity)

    def _warn_of_no_reader(self) -> None:
        self._read = True  # once
        warnings.warn(
            f"the trajectory buffer is full ({self.capacity} trajectories) and nothing has been "
            "trained on it: beliefs and imaginary rewards are those of untrained networks. Call "
            "learn(…, callback=callback) with the callback that imagine returned, or with "
            "LatentDynamicsCallback(trainer, n_updates=…), or trainer.update(…) in a loop of your "
            "own; a buffer that is to be filled first needs a larger capacity",
            stacklevel=3,
        )

    def sample(self, n: int, device: torch.device | str = "cpu") -> TrajectoryBatch:
        """Draw ``min(n, len(self))`` distinct trajectories, cut to the longest of them."""
        if not self._size:
            raise ValueError("the trajectory buffer is empty: no meta-episode has ended yet")
        index = self._rng.choice(self._size, size=min(n, self._size), replace=False)
        return self.get(index, device)

    def newest(self, n: int, device: torch.device | str = "cpu") -> TrajectoryBatch:
        """The ``min(n, len(self))`` newest trajectories, oldest of them first."""
        if not self._size:
            raise ValueError("the trajectory buffer is empty: no meta-episode has ended yet")
        index = (self._next - 1 - np.arange(min(n, self._size))[::-1]) % self.capacity
        return self.get(index, device)

    def get(
        self, index: np.ndarray[Any, Any], device: torch.device | str = "cpu"
    ) -> TrajectoryBatch:
        """The trajectories in slots ``index``, time first."""
        self.check_process()
        self._read = True
        lengths = self._lengths[index]
        longest = int(lengths.max())
        after_end = np.arange(longest) >= lengths[:, None]
        tensors = {"lengths": torch.from_numpy(lengths).to(device)}
        for name in FIELDS:
            rows = self._data[name][index, :longest]
            rows[after_end] = 0.0  # an older, longer trajectory may have left its end here
            tensors[name] = torch.from_numpy(rows.swapaxes(0, 1).copy()).to(device)
        return TrajectoryBatch(**tensors)

    def state_dict(self, *, copy: bool = True) -> dict[str, Any]:
        """The stored arrays, and the position and generator for an exact resume.

        Args:
            copy: False gives views, which are valid until the next :meth:`add`: a full buffer can
                take a gigabyte.
        """
        views = {name: array[: self._size] for name, array in self._data.items()}
        return {
            "data": {name: view.copy() if copy else view for name, view in views.items()},
            "lengths": self._lengths[: self._size].copy(),
            "next": self._next,
            "rng": self._rng.bit_generator.state,
        }

    def check_state(self, state: Any) -> None:
        """Raise a ``ValueError`` unless ``state`` fits into this buffer."""
        lengths, following = state_part(state, "lengths"), state_part(state, "next")
        check_like(lengths, np.zeros(np.shape(lengths), np.int64), "buffer lengths")
        inside = lengths.ndim == 1 and ((lengths >= 1) & (lengths <= self.max_length)).all()
        if not inside or len(lengths) > self.capacity or not 0 <= following < self.capacity:
            raise ValueError(
                f"the buffer of {np.shape(lengths)} trajectories does not fit one of "
                f"{self.capacity} of at most {self.max_length} transitions"
            )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`, for a buffer of the same sizes or a larger capacity."""
        size, following = len(state["lengths"]), int(state["next"])
        for name in FIELDS:
            expected = (size, *self._data[name].shape[1:])
            if size > self.capacity or state["data"][name].shape != expected:
                raise ValueError(
                    f"saved buffer field {name} has shape {state['data'][name].shape}, expected "
                    f"{self._data[name].shape}"
                )
        slots = np.arange(size)
        if following < size < self.capacity:  # a full, smaller ring: reorder it, oldest first
            slots, following = (slots - following) % size, size
        for name in FIELDS:
            self._data[name][slots] = state["data"][name]
        self._lengths[slots] = state["lengths"]
        self._size, self._next = size, following
        self._read = True  # its owner may have trained on it
        self._rng.bit_generator.state = state["rng"]


def check_buffer(buffer: TrajectoryBuffer, spec: TransitionSpec) -> None:
    """Check that a buffer stores what a model reads.

    Raises:
        TypeError: It is no ``TrajectoryBuffer``.
        ValueError: It was made for other spaces than the model.
    """
    check_type("buffer", buffer, TrajectoryBuffer)
    if buffer.spec != spec:
        raise ValueError(f"the buffer stores {buffer.spec}, the latent dynamics model reads {spec}")
