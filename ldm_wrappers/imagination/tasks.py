"""Imaginary tasks: mixture weights, and the rewards the decoder gives for them (section 3.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ldm_wrappers.arguments import check_optional_seed
from ldm_wrappers.imagination.mixture import DirichletMixture, MixtureScheme
from ldm_wrappers.latent_dynamics.generator_state import check_generator_state
from ldm_wrappers.latent_dynamics.model import LatentDynamics, drops
from ldm_wrappers.latent_dynamics.posterior import Posterior, sample


class MixedTasks:
    """Imaginary tasks that give the decoder's expected reward for a mixture of beliefs.

    m̂ = Σ α⁽ⁱ⁾ m⁽ⁱ⁾ with weights that are drawn when an imaginary task begins and kept until it
    ends; r̂ = decoder(m̂, s, a, s'). With final beliefs, m̂ is kept as well, from the task's first
    transition on, even if other workers finish tasks in the meantime.

    Attributes:
        weights: Mixture weights α, float32 (n_mixture, n_normal, 1 or latent_dim).
        masks: Kept dropout masks, float32 (n_dropout_masks, n_mixture, embedding_size of the
            decoder); ``None`` if masks are not kept.
        thresholds: ``None``, since tasks give expected rewards.

    Args:
        model: The latent dynamics model; its current weights are used.
        n_mixture: Number of imaginary tasks that run side by side.
        n_normal: Number of beliefs to mix.
        mixture: Mixture scheme; Eq. 1 with β = 1 if ``None``.
        n_dropout_masks: Dropout masks that a reward is averaged over; 0 switches dropout off.
        keep_dropout_masks: Whether a task keeps the masks that it began with.
        final_beliefs: Whether the beliefs are those at the end of finished tasks.
        belief_samples: Whether samples of present beliefs are mixed instead of their means.
        seed: Seed of weights and dropout masks.

    Raises:
        ValueError: A number is out of range.
    """

    thresholds: NDArray[np.float64] | None = None

    def __init__(
        self,
        model: LatentDynamics,
        *,
        n_mixture: int,
        n_normal: int,
        mixture: MixtureScheme | None = None,
        n_dropout_masks: int,
        keep_dropout_masks: bool,
        final_beliefs: bool,
        belief_samples: bool = False,
        seed: int | None = None,
    ) -> None:
        if n_mixture < 1 or n_normal < 1:
            raise ValueError(
                f"n_mixture and n_normal must be at least 1, got {n_mixture} and {n_normal}"
            )
        self.model = model
        self.n_mixture = n_mixture
        self.n_normal = n_normal
        self.mixture = mixture or DirichletMixture()
        self.final_beliefs = final_beliefs
        self.belief_samples = belief_samples
        self._n_masks = n_dropout_masks if drops(model) else 0
        self._keeps_masks = keep_dropout_masks and self._n_masks > 0
        # m̂ of running tasks, with final beliefs
        self._fixed_latents = torch.zeros(n_mixture, model.config.latent_dim, device=model.device)
        self._just_begun = np.ones(n_mixture, bool)  # tasks before their first transition
        self.seed(seed)
        self.weights = torch.zeros(0)
        self.masks: torch.Tensor | None = None
        self.begin()

    def seed(self, seed: int | None) -> None:
        """Seed the generators of weights and dropout masks."""
        weights_seed, dropout_seed = np.random.SeedSequence(check_optional_seed(seed)).spawn(2)
        self.rng = np.random.default_rng(weights_seed)
        self.generator = torch.Generator(device=self.model.device)
        self.generator.manual_seed(int(dropout_seed.generate_state(1)[0]))

    def begin(self, tasks: NDArray[np.bool_] | None = None) -> None:
        """Begin new imaginary tasks in the rows of a bool mask (n_mixture,), or in all."""
        if tasks is not None and not tasks.any():
            return
        chosen = np.ones(self.n_mixture, bool) if tasks is None else tasks
        self._just_begun |= chosen
        self._replace(chosen, *self._draw(int(chosen.sum())))

    def _draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weights and kept masks of ``count`` imaginary tasks."""
        latent_dim = self.model.config.latent_dim
        drawn = np.array(  # a copy: a scheme may write into its array again
            self.mixture.sample(self.rng, count, self.n_normal, latent_dim), np.float32
        )
        expected = [(count, self.n_normal, columns) for columns in (1, latent_dim)]
        if drawn.shape not in expected:
            raise ValueError(
                f"{self.mixture} returned weights of shape {drawn.shape}, expected {expected[1]} "
                f"or {expected[0]}"
            )
        tolerance = 1e-4 * max(1.0, float(np.abs(drawn).max()))  # float32 rounds large weights
        if not np.allclose(drawn.sum(1), 1.0, atol=tolerance):
            raise ValueError(f"{self.mixture} returned weights that do not sum to 1: {drawn}")
        masks = self._draw_masks(count) if self._keeps_masks else None
        return torch.from_numpy(drawn).to(self.model.device), masks

    def _replace(
        self, tasks: NDArray[np.bool_], weights: torch.Tensor, masks: torch.Tensor | None
    ) -> None:
        """Give the tasks of a bool mask (n_mixture,) these weights and kept masks."""
        if tasks.all():
            self.weights, self.masks = weights, masks
            return
        chosen = torch.from_numpy(tasks)
        self.weights[chosen] = weights
        if masks is not None and self.masks is not None:
            self.masks[:, chosen] = masks

    def _draw_masks(self, count: int) -> torch.Tensor:
        """Dropout masks of ``count`` transitions, (n_dropout_masks, count, embedding_size)."""
        draw = self.model.decoder.dropout_mask
        return draw(self._n_masks, count, generator=self.generator)

    @torch.no_grad()
    def to_mix(self, posterior: Posterior) -> torch.Tensor:
        """What to mix of the present beliefs, (n_normal, latent_dim): their means, or samples."""
        return sample(posterior, self.generator) if self.belief_samples else posterior.mean

    @torch.no_grad()
    def latents(self, means: torch.Tensor) -> torch.Tensor:
        """Mixture beliefs m̂ (n_mixture, latent_dim) of belief means (n_normal, latent_dim)."""
        latents = (self.weights * means).sum(1)
        if not self.final_beliefs:
            return latents
        just_begun = torch.from_numpy(self._just_begun).to(latents.device)
        return torch.where(just_begun[:, None], latents, self._fixed_latents)

    def rewards(
        self,
        means: torch.Tensor,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> NDArray[np.float64]:
        """Imaginary rewards of one transition per imaginary task, float64 (n_mixture,).

        Args:
            means: float32 (n_normal, latent_dim), beliefs from before the transition; a running
                task with final beliefs uses those from before its first transition.
            observations: float32 (n_mixture, observation_size).
            actions: float32 (n_mixture, action_columns).
            next_observations: float32 (n_mixture, observation_size).

        Raises:
            FloatingPointError: A reward is not finite; the message names the mixture.
        """
        masks = self.masks
        if masks is None and self._n_masks:
            masks = self._draw_masks(self.n_mixture)
        self._fixed_latents = self.latents(means)
        self._just_begun = np.zeros(self.n_mixture, bool)
        rewards = self.model.imagine_reward(
            self._fixed_latents, observations, actions, next_observations, masks
        )
        if masks is not None:
            rewards = rewards.mean(0)
        array = rewards.cpu().numpy().astype(np.float64)
        if not np.isfinite(array).all():
            bad = np.flatnonzero(~np.isfinite(array)).tolist()
            raise FloatingPointError(f"imaginary rewards of mixtures {bad} are not finite: {array}")
        return array

    def state_dict(self) -> dict[str, Any]:
        """Weights, what running tasks keep, and generators."""
        kept = {} if self.masks is None else {"masks": self.masks.cpu().numpy().copy()}
        if self.final_beliefs:
            kept["latents"] = self._fixed_latents.cpu().numpy().copy()
        return {
            "weights": self.weights.cpu().numpy().copy(),
            "just_begun": self._just_begun.copy(),
            "rng": self.rng.bit_generator.state,
            "generator": self.generator.get_state().cpu().numpy().copy(),
            **kept,
        }

    def check_state(self, state: dict[str, Any]) -> None:
        """Refuse the state of another kind of imaginary tasks.

        Raises:
            ValueError: They keep something that these do not, or the other way round.
        """
        own = self.state_dict().keys()
        missing, unknown = sorted(own - state.keys()), sorted(state.keys() - own)
        if missing or unknown:
            raise ValueError(
                f"the saved imaginary tasks are of another kind: they lack {missing} and have "
                f"{unknown}, which these do not"
            )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`.

        Raises:
            ValueError: The imaginary tasks have another kind or number; nothing is changed then.
        """
        self.check_state(state)
        weights = self._saved("mixture weights", state["weights"], self.weights)
        masks, latents = self.masks, self._fixed_latents
        if masks is not None:
            masks = self._saved("dropout masks", state["masks"], masks)
        if self.final_beliefs:
            latents = self._saved("latents", state["latents"], latents)
        just_begun = self._per_task("just_begun", state, bool)
        check_generator_state(state["generator"], self.generator)
        rng = np.random.default_rng()
        rng.bit_generator.state = state["rng"]
        self.weights, self.masks, self.rng = weights, masks, rng
        self._fixed_latents, self._just_begun = latents, just_begun
        self.generator.set_state(torch.as_tensor(np.array(state["generator"], dtype=np.uint8)))

    def _saved(self, name: str, values: Any, like: torch.Tensor) -> torch.Tensor:
        tensor = torch.as_tensor(np.array(values, dtype=np.float32))
        if tensor.shape != like.shape:
            raise ValueError(
                f"saved {name} have shape {tuple(tensor.shape)}, expected {tuple(like.shape)}"
            )
        return tensor.to(self.model.device)

    def _per_task(self, name: str, state: dict[str, Any], kind: Any) -> NDArray[Any]:
        values = np.array(state[name], kind)
        if values.shape != (self.n_mixture,):
            raise ValueError(
                f"saved {name} have shape {values.shape}, expected ({self.n_mixture},)"
            )
        return values
