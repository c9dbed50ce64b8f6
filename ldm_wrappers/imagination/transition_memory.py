"""Recent transitions of mixture workers, and how likely their high rewards are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ldm_wrappers.latent_dynamics.model import LatentDynamics

_ROWS = 2**20  # decoded at a time


class TransitionMemory:
    """The latest transitions of all mixture workers together.

    Args:
        model: The latent dynamics model, with a Bernoulli likelihood.
        size: Maximum number of remembered transitions.
    """

    def __init__(self, model: LatentDynamics, size: int) -> None:
        self.model = model
        self._size = size
        spec = model.spec
        self._columns = {
            "observation": spec.observation_size,
            "action": spec.action_columns,
            "next_observation": spec.observation_size,
        }
        seen = [
            name in model.config.decoder_inputs
            for name, columns in self._columns.items()
            for _ in range(columns)
        ]
        self._seen = torch.tensor(seen, device=model.device)
        self.forget()

    @property
    def empty(self) -> bool:
        """Whether nothing is remembered."""
        return not len(self._recent)

    def forget(self) -> None:
        """Remove all transitions."""
        self._recent = torch.zeros(0, len(self._seen), device=self.model.device)

    def remember(self, *transition: torch.Tensor) -> None:
        """Add observations, actions and next observations, each float32 (n, columns)."""
        recent = torch.cat([self._recent, torch.cat(transition, -1)])
        self._recent = recent[-self._size :]

    def probabilities(
        self, latents: torch.Tensor, masks: torch.Tensor | None
    ) -> NDArray[np.float64]:
        """Probability of the high reward for each transition that the decoder can tell apart.

        Args:
            latents: float32 (n, latent_dim).
            masks: Dropout masks that it is averaged over, float32 (n_dropout_masks, n,
                embedding_size), or ``None``.

        Returns:
            float64 (n, n_transitions).
        """
        transitions = torch.unique(torch.where(self._seen, self._recent, 0.0), dim=0)
        rows = len(transitions) * (1 if masks is None else len(masks))
        size = max(1, _ROWS // rows)
        parts = []
        for begin in range(0, len(latents), size):
            part = None if masks is None else masks[:, begin : begin + size]
            parts.append(self._decode(latents[begin : begin + size], transitions, part))
        return np.concatenate(parts)

    def _decode(
        self, latents: torch.Tensor, transitions: torch.Tensor, masks: torch.Tensor | None
    ) -> NDArray[np.float64]:
        states, actions, next_states = transitions.unsqueeze(0).split(
            list(self._columns.values()), -1
        )
        if masks is not None:
            masks = masks.unsqueeze(-2)
        rewards = self.model.imagine_reward(
            latents.unsqueeze(1), states, actions, next_states, masks
        )
        if masks is not None:
            rewards = rewards.mean(0)
        low, high = self.model.config.reward_low, self.model.config.reward_high
        return (rewards.cpu().numpy().astype(np.float64) - low) / (high - low)

    def state_dict(self) -> dict[str, NDArray[np.float32]]:
        """The remembered transitions."""
        return {"recent": self._recent.cpu().numpy().copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`.

        Raises:
            ValueError: The transitions come from another environment, or exceed the size.
        """
        recent = np.array(state["recent"], np.float32)
        columns = len(self._seen)
        if recent.ndim != 2 or recent.shape[1] != columns or len(recent) > self._size:
            raise ValueError(
                f"saved transitions have shape {recent.shape}, expected at most {self._size} "
                f"rows of {columns}"
            )
        self._recent = torch.as_tensor(recent, device=self.model.device)
