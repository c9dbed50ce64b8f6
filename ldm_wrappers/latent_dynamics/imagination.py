"""Imaginary tasks: mixture weights and the rewards the decoder gives for them (section 3.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ldm_wrappers.latent_dynamics.imagination_config import ImaginationConfig
from ldm_wrappers.latent_dynamics.mixture import DirichletMixture, MixtureScheme
from ldm_wrappers.latent_dynamics.model import LatentDynamics
from ldm_wrappers.latent_dynamics.thresholds import RewardThresholds

Array = np.ndarray[Any, np.dtype[np.float64]]


class Imagination:
    """The arithmetic that the scalar and the vector ``ImaginaryRewardWrapper`` share.

    m̂ = Σ α⁽ⁱ⁾ m⁽ⁱ⁾ with weights that are drawn when an imaginary task begins and kept for it;
    r̂ = decoder(m̂, s, a, s').

    Attributes:
        weights: Mixture weights α, float32 (n_mixture, n_normal, 1 or latent_dim).
        masks: Kept dropout masks, float32 (dropout_samples, n_mixture, embedding_size of the
            decoder); ``None`` if masks are not kept.

    Args:
        model: The latent dynamics model; its current weights are used.
        config: What an imaginary task is; the paper's if ``None``. Its ``final_beliefs`` is for
            whoever hands over the beliefs.
        n_mixture: Number of imaginary tasks that run side by side.
        n_normal: Number of beliefs to mix.
        mixture: Mixture scheme; Eq. 1 with β = 1 if ``None``.
        seed: Seed of weights and dropout masks.

    Raises:
        ValueError: A number is out of range, or a threshold meets a Gaussian likelihood.
    """

    def __init__(
        self,
        model: LatentDynamics,
        config: ImaginationConfig | None = None,
        *,
        n_mixture: int,
        n_normal: int,
        mixture: MixtureScheme | None = None,
        seed: int | None = None,
    ) -> None:
        if n_mixture < 1 or n_normal < 1:
            raise ValueError(
                f"n_mixture and n_normal must be at least 1, got {n_mixture} and {n_normal}"
            )
        self.config = config or ImaginationConfig()
        self.config.check_likelihood(model.config.likelihood)
        self.model = model
        self.n_mixture = n_mixture
        self.n_normal = n_normal
        self.mixture = mixture or DirichletMixture()
        droppable = model.config.p_drop > 0.0 and model.decoder.embedding_size > 0
        self._samples = self.config.dropout_samples if droppable else 0
        self._keep_masks = self.config.dropout_per_task and droppable
        self._thresholds: RewardThresholds | None = None
        if self.config.reward_threshold is not None:
            self._thresholds = RewardThresholds(
                model, n_mixture, self.config.reward_threshold, self.config.threshold_window
            )
        self._new = np.ones(n_mixture, bool)  # tasks without a relative threshold yet
        self.seed(seed)
        self.weights = torch.zeros(0)
        self.masks: torch.Tensor | None = None
        self.begin()

    @property
    def thresholds(self) -> Array | None:
        """Probability that a reward must exceed to be paid, float64 (n_mixture,).

        ``None`` if expected rewards are paid.
        """
        return None if self._thresholds is None else self._thresholds.values

    def seed(self, seed: int | None) -> None:
        """Restart the generators of weights and dropout masks."""
        weights_seed, dropout_seed = np.random.SeedSequence(seed).spawn(2)
        self.rng = np.random.default_rng(weights_seed)
        self.generator = torch.Generator(device=self.model.device)
        self.generator.manual_seed(int(dropout_seed.generate_state(1)[0]))

    def begin(self, tasks: np.ndarray[Any, np.dtype[np.bool_]] | None = None) -> None:
        """Draw new imaginary tasks for those of a bool mask (n_mixture,), or for all."""
        if tasks is not None and not tasks.any():
            return
        chosen = np.ones(self.n_mixture, bool) if tasks is None else tasks
        self._new |= chosen
        self._replace(chosen, *self._draw(int(chosen.sum())))

    def _draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weights, and masks that are kept, of ``count`` imaginary tasks."""
        latent_dim = self.model.config.latent_dim
        drawn = np.asarray(
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
        masks = self._draw_masks(count) if self._keep_masks else None
        return torch.from_numpy(drawn).to(self.model.device), masks

    def _replace(
        self, tasks: np.ndarray[Any, Any], weights: torch.Tensor, masks: torch.Tensor | None
    ) -> None:
        """Give the tasks of a bool mask (n_mixture,) these weights and kept masks."""
        if tasks.all():
            self.weights, self.masks = weights, masks
            return
        chosen = torch.from_numpy(tasks)
        self.weights = self.weights.clone()
        self.weights[chosen] = weights
        if masks is not None and self.masks is not None:
            self.masks = self.masks.clone()
            self.masks[:, chosen] = masks

    def _draw_masks(self, count: int) -> torch.Tensor:
        """Dropout masks of ``count`` transitions, (dropout_samples, count, embedding_size)."""
        draw = self.model.decoder.dropout_mask
        return draw(self._samples, count, generator=self.generator)

    @torch.no_grad()
    def latents(self, means: torch.Tensor) -> torch.Tensor:
        """Mixture beliefs m̂ (n_mixture, latent_dim) of belief means (n_normal, latent_dim)."""
        return (self.weights * means).sum(1)

    def rewards(
        self,
        means: torch.Tensor,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> Array:
        """Imaginary rewards of one transition per imaginary task.

        Args:
            means: float32 (n_normal, latent_dim), beliefs from before the transition.
            observations: float32 (n_mixture, observation_size).
            actions: float32 (n_mixture, action_columns).
            next_observations: float32 (n_mixture, observation_size).

        Raises:
            FloatingPointError: A reward is not finite; the message names the mixture.
        """
        transition = (observations, actions, next_observations)
        if self._relative_thresholds is not None:
            self._relative_thresholds.remember(*transition)
            if self._new.any():
                self._settle(self._relative_thresholds, means)
        masks = self.masks
        if masks is None and self._samples:
            masks = self._draw_masks(self.n_mixture)
        latents = self.latents(means)
        rewards = self.model.imagine_reward(latents, *transition, masks)
        if masks is not None:
            rewards = rewards.mean(0)
        array = rewards.cpu().numpy().astype(np.float64)
        if not np.isfinite(array).all():
            bad = np.flatnonzero(~np.isfinite(array)).tolist()
            raise FloatingPointError(f"imaginary rewards of mixtures {bad} are not finite: {array}")
        if self._thresholds is None:
            return array
        return self._thresholds.pay(array)

    def _settle(self, thresholds: RewardThresholds, means: torch.Tensor) -> None:
        """Choose the tasks that have just begun among candidates, and their thresholds."""
        count = int(self._new.sum())
        chosen = torch.from_numpy(self._new)
        weights = self.weights[chosen]
        masks = None if self.masks is None else self.masks[:, chosen]
        if self.config.task_candidates > 1:
            more, more_masks = self._draw(count * (self.config.task_candidates - 1))
            weights = torch.cat([weights, more])
            if masks is not None and more_masks is not None:
                masks = torch.cat([masks, more_masks], 1)
        dropped = masks
        if masks is None and self._samples:
            dropped = self._draw_masks(len(weights))
        values, paid = thresholds.measure((weights * means).sum(1), dropped)
        if self.config.task_candidates > 1:
            # Gumbel's trick: a draw without replacement, with probabilities ∝ 1 / commonness
            commonness = np.ones(len(paid))  # of tasks that pay nothing, too
            np.divide(paid @ paid.mean(0), paid.sum(1), out=commonness, where=paid.any(1))
            keys = self.rng.gumbel(size=len(paid)) - np.log(commonness)
            kept = np.argsort(-keys, kind="stable")[:count]
            weights, values = weights[kept], values[kept]
            masks = None if masks is None else masks[:, kept]
            self._replace(self._new, weights, masks)
        thresholds.values[self._new] = values
        self._new = np.zeros(self.n_mixture, bool)

    def state_dict(self) -> dict[str, Any]:
        """Weights, kept dropout masks and generators."""
        masks = {} if self.masks is None else {"masks": self.masks.cpu().numpy().copy()}
        relative = self._relative_thresholds
        thresholds: dict[str, Any] = {}
        if relative is not None:
            thresholds = {"thresholds": relative.state_dict(), "new": self._new.copy()}
        return {
            **masks,
            **thresholds,
            "weights": self.weights.cpu().numpy().copy(),
            "rng": self.rng.bit_generator.state,
            "generator": self.generator.get_state().cpu().numpy().copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        weights = self._saved("mixture weights", state["weights"], self.weights)
        if ("masks" in state) != (self.masks is not None):
            theirs = "keep" if "masks" in state else "do not keep"
            ours = "do not keep" if self.masks is None else "keep"
            raise ValueError(f"the saved imaginary tasks {theirs} dropout masks, these {ours} any")
        thresholds = self._relative_thresholds
        if ("thresholds" in state) != (thresholds is not None):
            which = "the saved" if thresholds is None else "these"
            raise ValueError(f"only {which} imaginary tasks have relative thresholds")
        masks = self.masks
        if masks is not None:
            masks = self._saved("dropout masks", state["masks"], masks)
        if thresholds is not None:
            thresholds.load_state_dict(state["thresholds"])
            self._new = np.array(state["new"], bool)
        self.weights, self.masks = weights, masks
        self.rng.bit_generator.state = state["rng"]
        self.generator.set_state(torch.as_tensor(np.array(state["generator"], dtype=np.uint8)))

    @property
    def _relative_thresholds(self) -> RewardThresholds | None:
        """Thresholds that are more than a setting."""
        return self._thresholds if self.config.threshold_window else None

    def _saved(self, name: str, values: Any, like: torch.Tensor) -> torch.Tensor:
        tensor = torch.as_tensor(np.array(values, dtype=np.float32))
        if tensor.shape != like.shape:
            raise ValueError(
                f"saved {name} have shape {tuple(tensor.shape)}, expected {tuple(like.shape)}"
            )
        return tensor.to(self.model.device)
