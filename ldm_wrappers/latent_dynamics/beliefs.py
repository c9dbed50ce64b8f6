"""Beliefs m_t: filtered online, shared within a process, or saved with a run."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

from ldm_wrappers.latent_dynamics.encoder import Posterior
from ldm_wrappers.latent_dynamics.model import LatentDynamics
from ldm_wrappers.latent_dynamics.transition import FloatArray


class BeliefFilter:
    """Posteriors of several workers, updated by one transition at a time.

    Args:
        model: The latent dynamics model; its current weights are used at each update.
        n_workers: Number of workers filtered as one batch.
    """

    def __init__(self, model: LatentDynamics, n_workers: int) -> None:
        self.model = model
        self.hidden = model.encoder.initial_hidden(n_workers)

    @torch.no_grad()
    def posterior(self) -> Posterior:
        """Current beliefs, arrays of float32 (n_workers, latent_dim) on the model's device."""
        return self.model.encoder.posterior(self.hidden)

    def reset(self, workers: np.ndarray[Any, np.dtype[np.bool_]] | None = None) -> None:
        """Return to the prior, for the workers of a bool mask (n_workers,) or for all."""
        if workers is None:
            self.hidden = torch.zeros_like(self.hidden)
        else:
            keep = torch.from_numpy(~workers).to(self.hidden.device, self.hidden.dtype)
            self.hidden = self.hidden * keep.unsqueeze(-1)

    @torch.no_grad()
    def update(
        self, actions: torch.Tensor, rewards: torch.Tensor, next_observations: torch.Tensor
    ) -> None:
        """Take in one transition per worker: (n, action_columns), (n,), (n, observation_size)."""
        self.hidden = self.model.encoder.step(self.hidden, actions, rewards, next_observations)

    def state_dict(self) -> dict[str, Any]:
        """The recurrent state."""
        return {"hidden": self.hidden.cpu().numpy().copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        hidden = torch.as_tensor(np.array(state["hidden"], dtype=np.float32))
        if hidden.shape != self.hidden.shape:
            raise ValueError(
                f"saved beliefs have hidden states of shape {tuple(hidden.shape)}, expected "
                f"{tuple(self.hidden.shape)}"
            )
        self.hidden = hidden.to(self.hidden.device)


class BeliefSource(Protocol):
    """Where the imaginary reward of a single environment takes the mixed beliefs from."""

    @property
    def n_beliefs(self) -> int:
        """Number n of beliefs to mix."""

    def means(self, step: int) -> FloatArray:
        """Belief means m_t, float32 (n_beliefs, latent_dim), ``step`` steps into a task."""

    def final_means(self) -> FloatArray:
        """Belief means at the end of finished tasks, float32 (n_beliefs, latent_dim)."""


class BeliefPool:
    """Live beliefs of the environments of this process; each publishes to its own row.

    Args:
        n_beliefs: Number of publishing environments (the paper's normal workers).
        latent_dim: Size of the latent.
    """

    def __init__(self, n_beliefs: int, latent_dim: int) -> None:
        if n_beliefs < 1 or latent_dim < 1:
            raise ValueError(
                f"n_beliefs and latent_dim must be at least 1, got {n_beliefs} and {latent_dim}"
            )
        self._means = np.zeros((n_beliefs, latent_dim), np.float32)
        self._final_means = self._means.copy()
        self._finished = np.zeros((n_beliefs, 1), bool)

    @property
    def n_beliefs(self) -> int:
        """Number of publishing environments."""
        return len(self._means)

    def publish(self, index: int, mean: FloatArray) -> None:
        """Replace the belief of environment ``index`` by ``mean``, (latent_dim,)."""
        self._means[index] = self._checked(index, mean)

    def publish_final(self, index: int, mean: FloatArray) -> None:
        """Say what environment ``index`` believed at the end of a task, (latent_dim,)."""
        self._final_means[index] = self._checked(index, mean)
        self._finished[index] = True

    def _checked(self, index: int, mean: FloatArray) -> FloatArray:
        if not 0 <= index < self.n_beliefs:
            raise ValueError(f"index must lie in [0, {self.n_beliefs}), got {index}")
        mean = np.asarray(mean, np.float32)
        if mean.shape != self._means.shape[1:]:
            raise ValueError(f"a belief must have shape {self._means.shape[1:]}, got {mean.shape}")
        if not np.isfinite(mean).all():
            raise ValueError(f"belief {index} is not finite: {mean}")
        return mean

    def means(self, step: int) -> FloatArray:
        """The published beliefs as they are now, whatever the step."""
        return self._means.copy()

    def final_means(self) -> FloatArray:
        """Beliefs at the end of each environment's latest finished task, else its current one."""
        return np.where(self._finished, self._final_means, self._means)


class SavedBeliefs:
    """Beliefs of earlier tasks, replayed by their step within the task.

    Args:
        means: float (n_beliefs, n_steps + 1, latent_dim): the belief before each transition and
            after the last; a task that outlasts them keeps the last one.
    """

    def __init__(self, means: Any) -> None:
        array = np.asarray(means, np.float32)
        if array.ndim != 3 or 0 in array.shape:
            raise ValueError(
                "saved beliefs must have shape (n_beliefs, n_steps + 1, latent_dim), "
                f"got {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError("saved beliefs must be finite")
        self._means = array.copy()

    @property
    def n_beliefs(self) -> int:
        """Number of saved tasks."""
        return len(self._means)

    def means(self, step: int) -> FloatArray:
        """The beliefs after ``step`` transitions."""
        return self._means[:, min(step, self._means.shape[1] - 1)].copy()

    def final_means(self) -> FloatArray:
        """The beliefs after the last transition."""
        return self._means[:, -1].copy()
