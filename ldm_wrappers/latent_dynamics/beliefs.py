"""Beliefs m_t, filtered online."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ldm_wrappers.latent_dynamics.model import LatentDynamics
from ldm_wrappers.latent_dynamics.posterior import Posterior


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
            rows = torch.from_numpy(workers).to(self.hidden.device)
            self.hidden = self.hidden.masked_fill(rows.unsqueeze(-1), 0.0)

    @torch.no_grad()
    def update(
        self, actions: torch.Tensor, rewards: torch.Tensor, next_observations: torch.Tensor
    ) -> None:
        """Filter one transition per worker: (n, action_columns), (n,), (n, observation_size)."""
        self.hidden = self.model.encoder.step(self.hidden, actions, rewards, next_observations)

    @torch.no_grad()
    def encode(
        self,
        workers: np.ndarray[Any, np.dtype[np.int64]],
        actions: torch.Tensor,
        rewards: torch.Tensor,
        next_observations: torch.Tensor,
        last: np.ndarray[Any, np.dtype[np.int64]],
    ) -> None:
        """Replace beliefs by those of whole trajectories, time first.

        Args:
            workers: Indices of their workers, (n,).
            actions: float32 (T, n, action_columns).
            rewards: float32 (T, n).
            next_observations: float32 (T, n, observation_size).
            last: Index of each trajectory's last transition, 0 to T − 1, (n,).
        """
        lengths = torch.from_numpy(last + 1).to(rewards.device)
        states = self.model.encoder.states_at(lengths, actions, rewards, next_observations)
        self.hidden[workers] = states

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
