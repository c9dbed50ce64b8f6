"""How well the VAE's beliefs predict the rewards of evaluated tasks (appendix B of the paper)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ldm_wrappers.latent_dynamics.model import LatentDynamics, drops
from train.common.rollout import Step

_N_MASKS = 8
_SEED = 1_000_003  # of dropout masks, the same in every evaluation


class BeliefErrors:
    """Collects the transitions of an evaluation, and computes the reward error of final beliefs.

    Args:
        model: The VAE.
    """

    def __init__(self, model: LatentDynamics) -> None:
        self.model = model
        self._observations: list[NDArray[np.float32]] = []
        self._actions: list[NDArray[np.float32]] = []
        self._rewards: list[NDArray[np.float32]] = []
        self._next_observations: list[NDArray[np.float32]] = []
        self._running: list[NDArray[np.bool_]] = []

    def add(self, step: Step) -> None:
        """Add a step, whose observations begin with the environment's own."""
        spec = self.model.spec
        shown = np.asarray(step.observations, np.float32).reshape(len(step.running), -1)
        self._observations.append(shown[:, : spec.observation_size].copy())
        self._actions.append(spec.actions(step.actions))
        self._rewards.append(step.rewards.astype(np.float32))
        self._next_observations.append(spec.observations(step.infos["next_obs"]))
        self._running.append(step.running.copy())

    @torch.no_grad()
    def per_row(self) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Mean squared error of all rewards of a meta-episode, decoded from its last belief.

        Returns:
            Errors float64 (2, n), without dropout and with the mean over several dropout masks, as
            imaginary rewards have it; and the beliefs, posterior means float32 (n, latent_dim).
        """
        fields = (self._observations, self._actions, self._rewards, self._next_observations)
        states, actions, rewards, successors = (
            self.model.to_tensor(np.stack(values)) for values in fields
        )
        inside = torch.from_numpy(np.stack(self._running)).to(rewards)
        lengths = inside.sum(0).long()
        means = self.model.encoder(actions, rewards, successors).mean
        last = means[lengths, torch.arange(means.shape[1], device=lengths.device)]
        generator = torch.Generator(device=self.model.device)
        generator.manual_seed(_SEED)
        masks = self._masks(generator, *rewards.shape)
        found = []
        for drawn in ([None], masks):
            guesses: list[Any] = [
                self.model.imagine_reward(last[None], states, actions, successors, mask)
                for mask in drawn
            ]
            error = (torch.stack(guesses).mean(0) - rewards).square() * inside
            found.append((error.sum(0) / lengths).cpu().numpy().astype(np.float64))
        return np.stack(found), last.cpu().numpy()

    def _masks(self, generator: torch.Generator, *shape: int) -> list[torch.Tensor | None]:
        decoder = self.model.decoder
        if not drops(self.model):
            return [None]
        return [decoder.dropout_mask(*shape, generator=generator) for _ in range(_N_MASKS)]
