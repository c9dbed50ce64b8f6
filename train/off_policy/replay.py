"""Replay of whole episodes, with a ring buffer per train task."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ldm_wrappers.saved_state import check_like, state_part
from train.off_policy.episodes import Episode, Transitions

Tensor = torch.Tensor
Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Places:
    """Positions of stored transitions, as index arrays of equal shape."""

    tasks: NDArray[np.int64]
    slots: NDArray[np.int64]
    times: NDArray[np.int64]


class TaskReplay:
    """The newest episodes of each task.

    Args:
        n_tasks: Number of tasks K.
        capacity: Number of episodes kept per task.
        horizon: Maximum number of steps of an episode.
        observation_dim: Dimension of observations.
        action_dim: Dimension of actions.
    """

    def __init__(
        self, n_tasks: int, capacity: int, horizon: int, observation_dim: int, action_dim: int
    ) -> None:
        if min(n_tasks, capacity, horizon) < 1:
            raise ValueError(
                f"expected at least one task, episode and step, got {n_tasks}, {capacity} and "
                f"{horizon}"
            )
        shape = (n_tasks, capacity)
        self.capacity, self.horizon = capacity, horizon
        try:
            self._observations = np.zeros((*shape, horizon + 1, observation_dim), np.float32)
            self._actions = np.zeros((*shape, horizon, action_dim), np.float32)
            self._rewards = np.zeros((*shape, horizon), np.float32)
        except (ValueError, MemoryError) as error:
            raise MemoryError(
                f"replay of {(*shape, horizon, observation_dim)} values: {error}"
            ) from None
        self._lengths = np.zeros(shape, np.int64)
        self._terminated = np.zeros(shape, bool)
        self._next = np.zeros(n_tasks, np.int64)  # slot for the next episode
        self._ends = np.zeros(shape, np.int64)  # cumulative lengths, for drawing

    @property
    def n_transitions(self) -> NDArray[np.int64]:
        """Number of transitions per task, (K,)."""
        return self._ends[:, -1]

    @property
    def full_tasks(self) -> NDArray[np.int64]:
        """Tasks whose next episode will replace another one, (m,)."""
        return np.flatnonzero(self._lengths.all(axis=1))

    def add(self, task: int, episode: Episode) -> None:
        """Store an episode of a task, in place of the oldest one if its slots are full.

        Raises:
            ValueError: If the episode is empty or longer than ``horizon``.
        """
        length = len(episode)
        if not 1 <= length <= self.horizon:
            raise ValueError(f"expected 1 to {self.horizon} steps, got {length}")
        slot = int(self._next[task])
        self._observations[task, slot, : length + 1] = episode.observations
        self._actions[task, slot, :length] = episode.actions
        self._rewards[task, slot, :length] = episode.rewards
        self._lengths[task, slot] = length
        self._terminated[task, slot] = episode.terminated
        self._next[task] = (slot + 1) % self.capacity
        self._ends[task] = np.cumsum(self._lengths[task])

    def clear(self, task: int) -> None:
        """Remove the episodes of a task."""
        self._lengths[task] = 0
        self._ends[task] = 0
        self._next[task] = 0

    def episodes(self, task: int) -> list[Episode]:
        """Copies of a task's episodes, oldest first."""
        order = (self._next[task] + np.arange(self.capacity)) % self.capacity
        return [self._episode(task, int(s)) for s in order if self._lengths[task, s]]

    def _episode(self, task: int, slot: int) -> Episode:
        length = int(self._lengths[task, slot])
        return Episode(
            self._observations[task, slot, : length + 1].copy(),
            self._actions[task, slot, :length].copy(),
            self._rewards[task, slot, :length].copy(),
            bool(self._terminated[task, slot]),
        )

    def draw(self, tasks: Array, n: int, rng: np.random.Generator) -> Places:
        """Places of ``n`` transitions of each of the tasks (m,), uniform with replacement: (m, n).

        Raises:
            ValueError: If a task has no transitions.
        """
        totals = self.n_transitions[tasks]
        if not totals.all():
            raise ValueError(f"there are no transitions of task {int(tasks[totals == 0][0])}")
        index = rng.integers(0, totals[:, None], size=(len(tasks), n))
        slots = np.stack(
            [np.searchsorted(self._ends[t], i, "right") for t, i in zip(tasks, index, strict=True)]
        )
        rows = np.broadcast_to(np.asarray(tasks, np.int64)[:, None], slots.shape)
        return Places(rows, slots, index - (self._ends[rows, slots] - self._lengths[rows, slots]))

    def draw_any(self, n: int, rng: np.random.Generator) -> Places:
        """Places of ``n`` transitions of any task, uniform with replacement: (n,)."""
        ends = np.cumsum(self._lengths.ravel())
        if not ends[-1]:
            raise ValueError("there are no transitions yet")
        index = rng.integers(0, ends[-1], size=n)
        episode = np.searchsorted(ends, index, "right")
        tasks, slots = np.divmod(episode, self.capacity)
        return Places(tasks, slots, index - (ends[episode] - self._lengths.ravel()[episode]))

    def recent(self, task: int, n: int, last: int, rng: np.random.Generator) -> Places:
        """Places of ``n`` of the newest ``last`` transitions of a task, with replacement: (n,)."""
        order = (self._next[task] - 1 - np.arange(self.capacity)) % self.capacity
        slots = np.repeat(order, self._lengths[task, order])
        times = np.concatenate([np.arange(self._lengths[task, s])[::-1] for s in order])
        if not len(slots):
            raise ValueError(f"there are no transitions of task {task}")
        chosen = rng.integers(0, min(last, len(slots)), size=n)
        return Places(np.full(n, task, np.int64), slots[chosen], times[chosen])

    def take(self, places: Places, device: str = "cpu") -> Transitions:
        """The transitions at some places."""
        k, s, t = places.tasks, places.slots, places.times
        ended = self._terminated[k, s] & (t == self._lengths[k, s] - 1)
        arrays = (
            self._observations[k, s, t],
            self._actions[k, s, t],
            self._rewards[k, s, t],
            self._observations[k, s, t + 1],
            ended.astype(np.float32),
        )
        return Transitions(*(torch.from_numpy(array).to(device) for array in arrays))

    def windows(self, places: Places, length: int, device: str = "cpu") -> Tensor:
        """The ``length`` steps before each place, (length, …, columns).

        Columns are action, reward and observation of a step. Steps before the start of the episode
        are zero.
        """
        shape = (length, *(1,) * places.times.ndim)
        times = places.times - length + np.arange(length).reshape(shape)
        inside = (times >= 0)[..., None]
        k, s, t = places.tasks, places.slots, np.maximum(times, 0)
        parts = (self._actions[k, s, t], self._rewards[k, s, t, None], self._observations[k, s, t])
        return torch.from_numpy(np.concatenate(parts, axis=-1) * inside).to(device)

    def state_dict(self) -> dict[str, Any]:
        """Everything stored; arrays are views, without slots that no task has used yet."""
        return self._cut(int((self._lengths > 0).sum(axis=1).max()))

    def check_state(self, state: Any, name: str = "replay") -> None:
        """Raise a ``ValueError`` unless ``state`` fits this replay."""
        lengths = np.asarray(state_part(state, "lengths"))
        used = lengths.shape[1] if lengths.ndim == 2 else -1
        if not 0 <= used <= self.capacity:
            raise ValueError(f"{name}: lengths is {lengths.shape}, expected (K, ≤ {self.capacity})")
        check_like(state, self._cut(used), name)
        if not (lengths >= 0).all() or not (lengths <= self.horizon).all():
            raise ValueError(f"{name}: lengths outside [0, {self.horizon}]")

    def _cut(self, used: int) -> dict[str, Any]:
        whole: dict[str, Array] = {
            "observations": self._observations,
            "actions": self._actions,
            "rewards": self._rewards,
            "lengths": self._lengths,
            "terminated": self._terminated,
        }
        return {**{name: array[:, :used] for name, array in whole.items()}, "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.check_state(state)
        used = np.asarray(state["lengths"]).shape[1]
        self._lengths[...] = 0
        for name, array in self._cut(used).items():
            array[...] = state[name]
        self._ends[...] = np.cumsum(self._lengths, axis=1)
