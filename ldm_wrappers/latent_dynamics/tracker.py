"""Follows workers through their tasks: beliefs online, trajectories into the buffer."""

from __future__ import annotations

import warnings
import zlib
from typing import Any

import numpy as np
import torch

from ldm_wrappers.latent_dynamics.beliefs import BeliefFilter
from ldm_wrappers.latent_dynamics.buffer import TrajectoryBuffer, check_buffer
from ldm_wrappers.latent_dynamics.model import LatentDynamics
from ldm_wrappers.latent_dynamics.posterior import Posterior
from ldm_wrappers.latent_dynamics.process import ProcessBound
from ldm_wrappers.latent_dynamics.recorder import TrajectoryRecorder
from ldm_wrappers.latent_dynamics.transition import FloatArray
from ldm_wrappers.reset_guard import CutWatch

_LONGEST = 20_000  # transitions of a running task that are kept if there is no buffer


class BeliefTracker(ProcessBound):
    """Beliefs and trajectories of normal workers, for wrappers around one worker or many.

    Beliefs about running tasks always belong to the newest weights: after the model has been
    trained, running tasks are encoded again from their first transition (as in variBAD and the
    authors' LDM). A task that is longer than its recording keeps its filtered belief, and the
    belief at the end of a finished task remains that of the weights at that time.

    Args:
        model: The latent dynamics model.
        n_workers: Number of workers.
        buffer: Where finished trajectories are stored; ``None`` stores none.

    Raises:
        TypeError: ``buffer`` has the wrong type.
        ValueError: The buffer and the model were made for different spaces.
    """

    def __init__(
        self, model: LatentDynamics, n_workers: int, buffer: TrajectoryBuffer | None = None
    ) -> None:
        if buffer is not None:
            check_buffer(buffer, model.spec)
        self.model = model
        self.n_workers = n_workers
        self.buffer = buffer
        self._filter = BeliefFilter(model, n_workers)
        self._final_means = torch.zeros(n_workers, model.config.latent_dim, device=model.device)
        self._finished = torch.zeros(n_workers, 1, dtype=torch.bool, device=model.device)
        longest = _LONGEST if buffer is None else buffer.max_length
        self._recorder = TrajectoryRecorder(model.spec, n_workers, longest)
        self._steps = np.zeros(n_workers, np.int64)  # of each running task
        self._warned = False
        self._cuts = CutWatch(
            "the trajectories of tasks that have not ended are discarded, and the buffer gets none"
        )
        # with the scales of rewards and observations, which a failed training has changed alone
        self._parameters = (*model.encoder.parameters(), *model.buffers())
        self._encoded_with: tuple[int, ...] | None = self._weights()  # None: older weights

    def posterior(self) -> Posterior:
        """Current beliefs, float32 (n_workers, latent_dim), on the model's device."""
        self.encode_again()
        return self._filter.posterior()

    def _weights(self) -> tuple[int, ...]:
        """Changes with every change of the encoder's weights, except one of ``.data`` in place."""
        places = (parameter.data_ptr() for parameter in self._parameters)
        return sum(parameter._version for parameter in self._parameters), *places

    def encode_again(self, *, changed: bool = False) -> None:
        """Encode running tasks with the current weights, if these have changed.

        This happens automatically when needed; call it earlier where there is time to spare.

        Args:
            changed: They have changed in a way that torch does not count, such as
                ``parameter.data.mul_(…)``.
        """
        now = self._weights()
        if now == self._encoded_with and not changed:
            return
        self._encoded_with = now
        lengths = self._recorder.lengths
        workers = np.flatnonzero((lengths > 0) & (lengths == self._steps))
        if len(workers):
            actions, rewards, next_observations = (
                self.model.to_tensor(array) for array in self._recorder.running(workers)
            )
            last = lengths[workers] - 1
            self._filter.encode(workers, actions, rewards, next_observations, last)

    def final_means(self) -> torch.Tensor:
        """Belief means at the end of each worker's latest finished task, (n_workers, latent_dim).

        They belong to the weights at that time, and are not encoded again after an update.
        A worker that has not finished a task has its current belief.
        """
        if bool(self._finished.all()):
            return self._final_means.clone()
        return torch.where(self._finished, self._final_means, self.posterior().mean)

    def reset(self) -> None:
        """Begin a new task for all workers; running trajectories are forgotten.

        An update of the model that runs in another thread is waited for, since running tasks are
        encoded again after it.

        Raises:
            RuntimeError: Tracker or model was made in another process.
        """
        self.check_process()
        self.model.check_process()
        with self.model.updating:
            self._filter.reset()
            if self.buffer is not None and self._steps.any():
                self._cuts.cut()
            self._steps[:] = 0
            self._recorder.discard(np.ones(self.n_workers, bool))

    def update(
        self,
        observations: FloatArray,
        actions: FloatArray,
        rewards: np.ndarray[Any, np.dtype[Any]],
        next_observations: FloatArray,
    ) -> None:
        """Filter one true transition per worker, columns as in :class:`TransitionSpec`.

        Raises:
            FloatingPointError: An action, reward or next observation is not finite.
            RuntimeError: Tracker or model was made in another process.
        """
        self.check_process()
        values = np.asarray(rewards, np.float32)
        given = {"action": actions, "reward": values, "observation": next_observations}
        for name, array in given.items():
            if not np.isfinite(array).all():
                rows = ~np.isfinite(array.reshape(self.n_workers, -1)).all(axis=1)
                worker = int(np.flatnonzero(rows)[0])
                raise FloatingPointError(
                    f"{name} of worker {worker} is not finite: {array[worker]}"
                )
        self.encode_again()
        self._filter.update(
            self.model.to_tensor(actions),
            self.model.to_tensor(values),
            self.model.to_tensor(next_observations),
        )
        self._recorder.append(observations, actions, values, next_observations)
        self._steps += 1
        self._warn_of_lost_transitions()

    def _warn_of_lost_transitions(self) -> None:
        """Warn once that tasks exceed the buffer's trajectories, so their ends are lost."""
        if self.buffer is None or self._warned or self._steps.max() <= self.buffer.max_length:
            return
        self._warned = True
        warnings.warn(
            f"a task has more than the {self.buffer.max_length} steps that the buffer stores of a "
            "trajectory (max_length): later ones are left out, and a task that never ends is "
            "never learned from. Expected max_length of at least N episodes of H steps; put "
            "gymnasium.wrappers.TimeLimit around environments without a limit",
            stacklevel=4,
        )

    def end(self, ended: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """End the tasks of the workers in ``ended``: store them and return to the prior."""
        if not ended.any():
            return
        self._cuts.end()
        rows = torch.from_numpy(ended).to(self._finished.device)
        self._final_means[rows] = self.posterior().mean[rows]
        self._finished[rows] = True
        self._filter.reset(ended)
        self._steps[ended] = 0
        if self.buffer is not None:
            self.buffer.add(*self._recorder.finish(ended))
        else:
            self._recorder.discard(ended)

    def state_dict(self) -> dict[str, Any]:
        """Beliefs and running trajectories (the buffer is saved on its own)."""
        with self.model.updating:  # which encodes again in the end
            return {
                "filter": self._filter.state_dict(),
                "final_means": self._final_means.cpu().numpy().copy(),
                "finished": self._finished.cpu().numpy().copy(),
                "recorder": self._recorder.state_dict(),
                "steps": self._steps.copy(),
                "stale": self._weights() != self._encoded_with,
                "encoder": self._checksum(),
            }

    def _checksum(self) -> int:
        """Tells a state of these weights from one of others."""
        arrays = (value.detach().cpu().numpy() for value in self._parameters)
        return zlib.crc32(b"".join(array.tobytes() for array in arrays))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; running tasks are encoded again if weights differ.

        Raises:
            ValueError: The state has another number of workers or another model.
        """
        with self.model.updating:
            final_means = _fitting("final_means", state, self._final_means)
            finished = _fitting("finished", state, self._finished)
            self._filter.load_state_dict(state["filter"])
            self._final_means.copy_(final_means)
            self._finished.copy_(finished)
            self._recorder.load_state_dict(state["recorder"])
            self._steps[...] = state["steps"]
            own = self._checksum()
            stale = state["stale"] or state.get("encoder", own) != own  # missing in old checkpoints
            self._encoded_with = None if stale else self._weights()


def _fitting(name: str, state: dict[str, Any], own: torch.Tensor) -> torch.Tensor:
    """An entry of a saved state, or a ValueError if it cannot be copied to ``own``."""
    saved = torch.from_numpy(np.array(state[name]))
    if saved.shape != own.shape or saved.dtype != own.dtype:
        raise ValueError(
            f"saved {name} are {tuple(saved.shape)} {saved.dtype}, expected "
            f"{tuple(own.shape)} {own.dtype}"
        )
    return saved
