"""Imaginary rewards that an environment could have paid: its high one or its low one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ldm_wrappers.latent_dynamics.model import LatentDynamics

Array = np.ndarray[Any, np.dtype[Any]]
_CERTAIN = 1.0 - 1e-6  # what float32 can tell from 1


class RewardThresholds:
    """Pays a Bernoulli decoder's high reward where it is likely enough, else its low one.

    Attributes:
        values: Probability that the high reward must exceed in each task, float64 (n_mixture,).

    Args:
        model: The latent dynamics model, with a Bernoulli likelihood.
        n_mixture: Number of imaginary tasks.
        share: The threshold: a probability, or a share of the largest odds if ``window`` is not 0.
        window: See ``threshold_window`` of
            :class:`~ldm_wrappers.latent_dynamics.ImaginationConfig`.
    """

    def __init__(self, model: LatentDynamics, n_mixture: int, share: float, window: int) -> None:
        self.model = model
        self.values = np.full(n_mixture, share)
        self._share = share
        self._window = window
        spec, seen = model.spec, model.config.decoder_inputs
        self._columns = [spec.observation_size, spec.action_columns, spec.observation_size]
        names = ("observation", "action", "next_observation")
        self._seen = torch.tensor(
            [
                float(name in seen)
                for name, n in zip(names, self._columns, strict=True)
                for _ in range(n)
            ],
            device=model.device,
        )
        self._recent = torch.zeros(0, sum(self._columns), device=model.device)

    def pay(self, rewards: Array) -> Array:
        """The high or the low reward for each expected one, float64 (n_mixture,)."""
        low, high = self.model.config.reward_low, self.model.config.reward_high
        return np.where(rewards > low + (high - low) * self.values, high, low)

    def remember(self, *transition: torch.Tensor) -> None:
        """Add (n_mixture,) transitions (s, a, s') to those that thresholds are relative to."""
        recent = torch.cat([self._recent, torch.cat(transition, -1)])
        self._recent = recent[-self._window :]

    def measure(self, latents: torch.Tensor, masks: torch.Tensor | None) -> tuple[Array, Array]:
        """Relative thresholds of tasks, and what they pay.

        Args:
            latents: float32 (n, latent_dim).
            masks: Dropout masks, float32 (dropout_samples, n, embedding_size), or ``None``.

        Returns:
            The thresholds, float64 (n,), and whether each task pays the high reward for each of
            the different transitions that are remembered, bool (n, n_transitions).
        """
        # transitions that the decoder cannot tell apart are decoded once
        recent = torch.unique(self._recent * self._seen, dim=0)
        states, actions, next_states = recent.unsqueeze(0).split(self._columns, -1)
        if masks is not None:
            masks = masks.unsqueeze(-2)
        rewards = self.model.imagine_reward(
            latents.unsqueeze(1), states, actions, next_states, masks
        )
        if masks is not None:
            rewards = rewards.mean(0)
        low, high = self.model.config.reward_low, self.model.config.reward_high
        probabilities = (rewards.cpu().numpy().astype(np.float64) - low) / (high - low)
        peaks = probabilities.max(-1)
        scaled = self._share * peaks  # odds p / (1 - p), times the share
        thresholds = np.minimum(scaled / (1.0 - peaks + scaled), _CERTAIN)
        return thresholds, probabilities > thresholds[:, None]

    def state_dict(self) -> dict[str, Array]:
        """Thresholds, and the transitions that the next ones are relative to."""
        return {"values": self.values.copy(), "recent": self._recent.cpu().numpy().copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.values = np.array(state["values"], np.float64)
        recent = np.array(state["recent"], np.float32)
        self._recent = torch.as_tensor(recent, device=self.model.device)
