"""Which rewards of an imaginary task are high, judged by what workers have met lately."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ldm_wrappers.latent_dynamics.model import LatentDynamics

Array = np.ndarray[Any, np.dtype[Any]]
_CERTAIN = 1.0 - 1e-6  # what float32 can tell from 1
_ROWS = 2**20  # decoded at a time


class RelativeThresholds:
    """Thresholds on a Bernoulli decoder's probability, relative to the most likely transition.

    Args:
        model: The latent dynamics model, with a Bernoulli likelihood.
        share: A transition is paid where its odds come to this share of the largest ones.
        window: Number of transitions that are remembered, of all mixture workers together.
    """

    def __init__(self, model: LatentDynamics, share: float, window: int) -> None:
        self.model = model
        self._share = share
        self._window = window
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

    def forget(self) -> None:
        """Start from no transitions."""
        self._recent = torch.zeros(0, len(self._seen), device=self.model.device)

    def remember(self, *transition: torch.Tensor) -> None:
        """Take in observations, actions and next observations, each float32 (n, columns)."""
        recent = torch.cat([self._recent, torch.cat(transition, -1)])
        self._recent = recent[-self._window :]

    def measure(self, latents: torch.Tensor, masks: torch.Tensor | None) -> tuple[Array, Array]:
        """Thresholds of tasks, and what they pay.

        Args:
            latents: float32 (n, latent_dim).
            masks: Dropout masks, float32 (dropout_samples, n, embedding_size), or ``None``.

        Returns:
            Probability that a reward must exceed to be paid, float64 (n,), and whether each task
            pays for each of the transitions that are remembered and that the decoder can tell
            apart, bool (n, n_transitions). A task whose largest probability is below what float32
            can tell from 0 pays nothing.
        """
        transitions = torch.unique(torch.where(self._seen, self._recent, 0.0), dim=0)
        rows = len(transitions) * (1 if masks is None else len(masks))
        size = max(1, _ROWS // rows)
        parts = []
        for begin in range(0, len(latents), size):
            part = None if masks is None else masks[:, begin : begin + size]
            parts.append(self._probabilities(latents[begin : begin + size], transitions, part))
        probabilities = np.concatenate(parts)
        peaks = probabilities.max(-1)
        scaled = self._share * peaks  # odds p / (1 - p), times the share
        thresholds = np.minimum(scaled / (1.0 - peaks + scaled), _CERTAIN)
        return thresholds, probabilities > thresholds[:, None]

    def _probabilities(
        self, latents: torch.Tensor, transitions: torch.Tensor, masks: torch.Tensor | None
    ) -> Array:
        """Of the high reward, float64 (n, n_transitions), a mean over the masks."""
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

    def state_dict(self) -> dict[str, Array]:
        """The transitions that are remembered."""
        return {"recent": self._recent.cpu().numpy().copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`.

        Raises:
            ValueError: The transitions are of another environment, or more than the window holds.
        """
        recent = np.array(state["recent"], np.float32)
        columns = len(self._seen)
        if recent.ndim != 2 or recent.shape[1] != columns or len(recent) > self._window:
            raise ValueError(
                f"saved transitions have shape {recent.shape}, expected at most {self._window} "
                f"rows of {columns}"
            )
        self._recent = torch.as_tensor(recent, device=self.model.device)
