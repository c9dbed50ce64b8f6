"""Imaginary tasks: mixture weights and the rewards the decoder gives for them (section 3.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ldm_wrappers.latent_dynamics.mixture import DirichletMixture, MixtureScheme
from ldm_wrappers.latent_dynamics.model import LatentDynamics

_CERTAIN = 1.0 - 1e-6  # what float32 can tell from 1


class Imagination:
    """The arithmetic that the scalar and the vector ``ImaginaryRewardWrapper`` share.

    m̂ = Σ α⁽ⁱ⁾ m⁽ⁱ⁾ with weights that are drawn when an imaginary task begins and kept for it;
    r̂ = decoder(m̂, s, a, s').

    Attributes:
        weights: Mixture weights α, float32 (n_mixture, n_normal, 1 or latent_dim).
        thresholds: Probability that a reward must exceed to be paid, float64 (n_mixture,); ``None``
            if expected rewards are paid.
        masks: Kept dropout masks, float32 (dropout_samples, n_mixture, embedding_size of the
            decoder); ``None`` if masks are not kept.

    Args:
        model: The latent dynamics model; its current weights are used.
        n_mixture: Number of imaginary tasks that run side by side.
        n_normal: Number of beliefs to mix.
        mixture: Mixture scheme; Eq. 1 with β = 1 if ``None``.
        dropout_samples: Dropout masks that an imaginary reward is averaged over; 1 is the authors'
            code, 0 switches dropout off. Off, the decoder sees inputs it was never trained on.
        dropout_per_task: Draw the masks when an imaginary task begins and keep them for it, instead
            of new ones at every step. The task then has one reward function, a sample of what
            dropout leaves open, and tasks differ in more than their mixture.
        reward_threshold: With a Bernoulli likelihood, pay its high reward where it is more likely
            than this, else its low one: rewards that the environment could have paid. ``None``
            pays the expected reward, as the paper has it.
        threshold_window: If not 0, the threshold is relative: a reward is paid where its odds come
            to ``reward_threshold`` times those of the most likely one of the mixture workers' last
            ``threshold_window`` transitions, taken when a task begins. Then every task pays
            somewhere, and few transitions.
        seed: Seed of weights and dropout masks.

    Raises:
        ValueError: A number is out of range, a threshold meets a Gaussian likelihood, or masks are
            to be kept where there are none.
    """

    def __init__(
        self,
        model: LatentDynamics,
        *,
        n_mixture: int,
        n_normal: int,
        mixture: MixtureScheme | None = None,
        dropout_samples: int = 8,
        dropout_per_task: bool = False,
        reward_threshold: float | None = None,
        threshold_window: int = 0,
        seed: int | None = None,
    ) -> None:
        if n_mixture < 1 or n_normal < 1:
            raise ValueError(
                f"n_mixture and n_normal must be at least 1, got {n_mixture} and {n_normal}"
            )
        self.model = model
        if dropout_samples < 0:
            raise ValueError(f"dropout_samples must not be negative, got {dropout_samples}")
        if dropout_per_task and not dropout_samples:
            raise ValueError(
                "dropout_per_task needs dropout masks to keep, got dropout_samples=0; expected at "
                "least 1"
            )
        if reward_threshold is not None:
            if model.config.likelihood != "bernoulli":
                raise ValueError(
                    "reward_threshold needs a decoder with likelihood 'bernoulli', got "
                    f"reward_threshold={reward_threshold} and {model.config.likelihood!r}"
                )
            if not 0.0 < reward_threshold < 1.0:
                raise ValueError(f"reward_threshold must lie in (0, 1), got {reward_threshold}")
        if threshold_window < 0 or (threshold_window and reward_threshold is None):
            raise ValueError(
                "threshold_window must be 0, or positive with a reward_threshold, got "
                f"threshold_window={threshold_window} and reward_threshold={reward_threshold}"
            )
        self.reward_threshold = reward_threshold
        self.threshold_window = threshold_window
        self.n_mixture = n_mixture
        self.n_normal = n_normal
        self.mixture = mixture or DirichletMixture()
        droppable = model.config.p_drop > 0.0 and model.decoder.embedding_size > 0
        self.dropout_samples = dropout_samples if droppable else 0
        self.dropout_per_task = dropout_per_task and self.dropout_samples > 0
        self.seed(seed)
        self.weights = torch.zeros(0)
        self.masks: torch.Tensor | None = None
        self.thresholds: np.ndarray[Any, np.dtype[np.float64]] | None = None
        if reward_threshold is not None:
            self.thresholds = np.full(n_mixture, reward_threshold)
        spec = model.spec
        self._columns = [spec.observation_size, spec.action_columns, spec.observation_size]
        self._window = torch.zeros(0, sum(self._columns), device=model.device)
        self._new = np.ones(n_mixture, bool)
        self.begin()

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
        count = self.n_mixture if tasks is None else int(tasks.sum())
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
        new = torch.from_numpy(drawn).to(self.model.device)
        masks = self._draw_masks(count) if self.dropout_per_task else None
        self._new[slice(None) if tasks is None else tasks] = True
        if tasks is None:
            self.weights, self.masks = new, masks
            return
        chosen = torch.from_numpy(tasks)
        self.weights = self.weights.clone()
        self.weights[chosen] = new
        if masks is not None and self.masks is not None:
            self.masks = self.masks.clone()
            self.masks[:, chosen] = masks

    def _draw_masks(self, count: int) -> torch.Tensor:
        """Dropout masks of ``count`` transitions, (dropout_samples, count, embedding_size)."""
        draw = self.model.decoder.dropout_mask
        return draw(self.dropout_samples, count, generator=self.generator)

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
    ) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Imaginary rewards of one transition per imaginary task.

        Args:
            means: float32 (n_normal, latent_dim), beliefs from before the transition.
            observations: float32 (n_mixture, observation_size).
            actions: float32 (n_mixture, action_columns).
            next_observations: float32 (n_mixture, observation_size).

        Raises:
            FloatingPointError: A reward is not finite; the message names the mixture.
        """
        masks = self.masks
        if masks is None and self.dropout_samples:
            masks = self._draw_masks(self.n_mixture)
        transition = (observations, actions, next_observations)
        latents = self.latents(means)
        if self.threshold_window:
            recent = torch.cat([self._window, torch.cat(transition, -1)])
            self._window = recent[-self.threshold_window :]
            if self._new.any():
                self._set_thresholds(latents, masks)
        rewards = self.model.imagine_reward(latents, *transition, masks)
        if masks is not None:
            rewards = rewards.mean(0)
        array = rewards.cpu().numpy().astype(np.float64)
        if not np.isfinite(array).all():
            bad = np.flatnonzero(~np.isfinite(array)).tolist()
            raise FloatingPointError(f"imaginary rewards of mixtures {bad} are not finite: {array}")
        if self.thresholds is None:
            return array
        low, high = self.model.config.reward_low, self.model.config.reward_high
        return np.where(array > low + (high - low) * self.thresholds, high, low)

    def _set_thresholds(self, latents: torch.Tensor, masks: torch.Tensor | None) -> None:
        """Relative thresholds of the tasks that have just begun."""
        assert self.thresholds is not None and self.reward_threshold is not None
        chosen = torch.from_numpy(self._new)
        if masks is not None:
            masks = masks[:, chosen].unsqueeze(-2)
        states, actions, next_states = self._window.unsqueeze(0).split(self._columns, -1)
        rewards = self.model.imagine_reward(
            latents[chosen].unsqueeze(1), states, actions, next_states, masks
        )
        if masks is not None:
            rewards = rewards.mean(0)
        low, high = self.model.config.reward_low, self.model.config.reward_high
        peaks = (rewards.amax(-1).cpu().numpy().astype(np.float64) - low) / (high - low)
        share = self.reward_threshold * peaks  # odds p / (1 - p), times the threshold
        self.thresholds[self._new] = np.minimum(share / (1.0 - peaks + share), _CERTAIN)
        self._new[:] = False

    def state_dict(self) -> dict[str, Any]:
        """Weights, kept dropout masks and generators."""
        masks = {} if self.masks is None else {"masks": self.masks.cpu().numpy().copy()}
        relative: dict[str, Any] = {}
        if self.threshold_window and self.thresholds is not None:
            relative = {
                "thresholds": self.thresholds.copy(),
                "new": self._new.copy(),
                "window": self._window.cpu().numpy().copy(),
            }
        return {
            **masks,
            **relative,
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
        if ("thresholds" in state) != bool(self.threshold_window):
            relative = "these" if self.threshold_window else "the saved"
            raise ValueError(f"only {relative} imaginary tasks have relative thresholds")
        masks = self.masks
        if masks is not None:
            masks = self._saved("dropout masks", state["masks"], masks)
        if self.threshold_window:
            self.thresholds = np.array(state["thresholds"], np.float64)
            self._new = np.array(state["new"], bool)
            window = np.array(state["window"], np.float32)
            self._window = torch.as_tensor(window, device=self.model.device)
        self.weights, self.masks = weights, masks
        self.rng.bit_generator.state = state["rng"]
        self.generator.set_state(torch.as_tensor(np.array(state["generator"], dtype=np.uint8)))

    def _saved(self, name: str, values: Any, like: torch.Tensor) -> torch.Tensor:
        tensor = torch.as_tensor(np.array(values, dtype=np.float32))
        if tensor.shape != like.shape:
            raise ValueError(
                f"saved {name} have shape {tuple(tensor.shape)}, expected {tuple(like.shape)}"
            )
        return tensor.to(self.model.device)
