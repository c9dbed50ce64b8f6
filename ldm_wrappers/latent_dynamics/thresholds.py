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
        spec = model.spec
        self._columns = [spec.observation_size, spec.action_columns, spec.observation_size]
        self._recent = torch.zeros(0, sum(self._columns), device=model.device)
        self._new = np.ones(n_mixture, bool)

    def begin(self, tasks: Array | None = None) -> None:
        """New imaginary tasks begin: those of a bool mask (n_mixture,), or all."""
        self._new[slice(None) if tasks is None else tasks] = True

    def pay(
        self,
        rewards: Array,
        latents: torch.Tensor,
        transition: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        masks: torch.Tensor | None,
    ) -> Array:
        """The reward of one transition per task, float64 (n_mixture,).

        Args:
            rewards: Expected rewards, float64 (n_mixture,).
            latents: Mixture beliefs, float32 (n_mixture, latent_dim).
            transition: Observations, actions and next observations, float32 (n_mixture, columns).
            masks: Dropout masks, float32 (dropout_samples, n_mixture, embedding_size), or ``None``.
        """
        if self._window:
            self._recent = torch.cat([self._recent, torch.cat(transition, -1)])[-self._window :]
            if self._new.any():
                self._measure(latents, masks)
        low, high = self.model.config.reward_low, self.model.config.reward_high
        return np.where(rewards > low + (high - low) * self.values, high, low)

    def _measure(self, latents: torch.Tensor, masks: torch.Tensor | None) -> None:
        """Relative thresholds of the tasks that have just begun."""
        chosen = torch.from_numpy(self._new)
        if masks is not None:
            masks = masks[:, chosen].unsqueeze(-2)
        states, actions, next_states = self._recent.unsqueeze(0).split(self._columns, -1)
        rewards = self.model.imagine_reward(
            latents[chosen].unsqueeze(1), states, actions, next_states, masks
        )
        if masks is not None:
            rewards = rewards.mean(0)
        low, high = self.model.config.reward_low, self.model.config.reward_high
        peaks = (rewards.amax(-1).cpu().numpy().astype(np.float64) - low) / (high - low)
        scaled = self._share * peaks  # odds p / (1 - p), times the share
        self.values[self._new] = np.minimum(scaled / (1.0 - peaks + scaled), _CERTAIN)
        self._new[:] = False

    def state_dict(self) -> dict[str, Array]:
        """Thresholds and the transitions that the next ones are relative to."""
        return {
            "values": self.values.copy(),
            "new": self._new.copy(),
            "recent": self._recent.cpu().numpy().copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.values = np.array(state["values"], np.float64)
        self._new = np.array(state["new"], bool)
        recent = np.array(state["recent"], np.float32)
        self._recent = torch.as_tensor(recent, device=self.model.device)
