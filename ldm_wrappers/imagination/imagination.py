"""Imaginary tasks: mixture weights and the rewards the decoder gives for them (section 3.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ldm_wrappers.imagination.candidates import keep_rare
from ldm_wrappers.imagination.config import ImaginationConfig
from ldm_wrappers.imagination.mixture import DirichletMixture, MixtureScheme
from ldm_wrappers.imagination.relative_thresholds import RelativeThresholds
from ldm_wrappers.latent_dynamics.generator_state import check_generator_state
from ldm_wrappers.latent_dynamics.model import LatentDynamics

Array = np.ndarray[Any, np.dtype[np.float64]]


class Imagination:
    """The arithmetic that the scalar and the vector ``ImaginaryRewardWrapper`` share.

    m̂ = Σ α⁽ⁱ⁾ m⁽ⁱ⁾ with weights that are drawn when an imaginary task begins and kept for it;
    r̂ = decoder(m̂, s, a, s'). With several candidates per task, which of them it is, and with a
    relative threshold, what it pays, is decided at the task's first transition; weights, masks
    and thresholds are its own from then on. With final beliefs so is m̂, though other workers
    finish tasks meanwhile.

    Attributes:
        weights: Mixture weights α, float32 (n_mixture, n_normal, 1 or latent_dim).
        masks: Kept dropout masks, float32 (dropout_samples, n_mixture, embedding_size of the
            decoder); ``None`` if masks are not kept.
        thresholds: Probability that a reward must exceed to be paid, float64 (n_mixture,);
            ``None`` if expected rewards are paid.

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
        self.thresholds: Array | None = None
        self._relative: RelativeThresholds | None = None
        share, window = self.config.reward_threshold, self.config.threshold_window
        if share is not None:
            self.thresholds = np.full(n_mixture, share)
            self._relative = RelativeThresholds(model, share, window) if window else None
        self._held: torch.Tensor | None = None  # m̂ of running tasks, with final beliefs
        if self.config.final_beliefs:
            self._held = torch.zeros(n_mixture, model.config.latent_dim, device=model.device)
        self._new = np.ones(n_mixture, bool)  # tasks before their first transition
        self.seed(seed)
        self.weights = torch.zeros(0)
        self.masks: torch.Tensor | None = None
        self.begin()

    def seed(self, seed: int | None) -> None:
        """Restart the generators of weights and dropout masks, and forget transitions."""
        weights_seed, dropout_seed = np.random.SeedSequence(seed).spawn(2)
        self.rng = np.random.default_rng(weights_seed)
        self.generator = torch.Generator(device=self.model.device)
        self.generator.manual_seed(int(dropout_seed.generate_state(1)[0]))
        if self._relative is not None:
            self._relative.forget()

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
        latents = (self.weights * means).sum(1)
        if self._held is None:
            return latents
        new = torch.from_numpy(self._new).to(latents.device)
        return torch.where(new[:, None], latents, self._held)

    def rewards(
        self,
        means: torch.Tensor,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> Array:
        """Imaginary rewards of one transition per imaginary task.

        Args:
            means: float32 (n_normal, latent_dim), beliefs from before the transition; of a running
                task with final beliefs, those from before its first one count.
            observations: float32 (n_mixture, observation_size).
            actions: float32 (n_mixture, action_columns).
            next_observations: float32 (n_mixture, observation_size).

        Raises:
            FloatingPointError: A reward is not finite; the message names the mixture.
        """
        transition = (observations, actions, next_observations)
        if self._relative is not None:
            self._relative.remember(*transition)
            if self._new.any():
                self._settle(self._relative, means)
        masks = self.masks
        if masks is None and self._samples:
            masks = self._draw_masks(self.n_mixture)
        latents = self.latents(means)
        if self._held is not None:
            self._held = latents
        self._new = np.zeros(self.n_mixture, bool)
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

    def _settle(self, relative: RelativeThresholds, means: torch.Tensor) -> None:
        """Choose the tasks that have just begun among candidates, and what they pay.

        Args:
            relative: Where thresholds come from.
            means: float32 (n_normal, latent_dim).
        """
        assert self.thresholds is not None
        chosen = torch.from_numpy(self._new)
        weights = self.weights[chosen]
        masks = None if self.masks is None else self.masks[:, chosen]
        count, candidates = len(weights), self.config.task_candidates
        if candidates > 1:  # as many as if all tasks had just begun: a judgement of few is coarse
            more, more_masks = self._draw(self.n_mixture * candidates - count)
            weights = torch.cat([weights, more])
            if masks is not None and more_masks is not None:
                masks = torch.cat([masks, more_masks], 1)
        dropped = masks
        if masks is None and self._samples:
            dropped = self._draw_masks(count)
        thresholds, paid = relative.measure((weights * means).sum(1), dropped)
        if candidates > 1:
            kept = keep_rare(paid, count, self.rng)
            thresholds = thresholds[kept]
            self._replace(self._new, weights[kept], None if masks is None else masks[:, kept])
        self.thresholds[self._new] = thresholds

    def state_dict(self) -> dict[str, Any]:
        """Weights, what running tasks keep, what thresholds depend on, and generators."""
        state: dict[str, Any] = {
            "weights": self.weights.cpu().numpy().copy(),
            "rng": self.rng.bit_generator.state,
            "generator": self.generator.get_state().cpu().numpy().copy(),
        }
        if self.masks is not None:
            state["masks"] = self.masks.cpu().numpy().copy()
        if self._relative is not None and self.thresholds is not None:
            state["relative"] = self._relative.state_dict()
            state["thresholds"] = self.thresholds.copy()
        if self._held is not None:
            state["latents"] = self._held.cpu().numpy().copy()
            state["new"] = self._new.copy()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; what does not fit is a ``ValueError``, before any change.

        Raises:
            ValueError: The state is of imaginary tasks of another kind or number.
        """
        weights = self._saved("mixture weights", state["weights"], self.weights)
        if ("masks" in state) != (self.masks is not None):
            theirs = "keep" if "masks" in state else "do not keep"
            ours = "do not keep" if self.masks is None else "keep"
            raise ValueError(f"the saved imaginary tasks {theirs} dropout masks, these {ours} any")
        if ("relative" in state) != (self._relative is not None):
            which = "the saved" if self._relative is None else "these"
            raise ValueError(f"only {which} imaginary tasks have relative thresholds")
        if ("latents" in state) != (self._held is not None):
            which = "the saved" if self._held is None else "these"
            raise ValueError(f"only {which} imaginary tasks keep their latents (final_beliefs)")
        missing = sorted(self.state_dict().keys() - state.keys())
        if missing:
            raise ValueError(f"the saved imaginary tasks lack {missing}")
        masks = self.masks
        if masks is not None:
            masks = self._saved("dropout masks", state["masks"], masks)
        held = self._held
        if held is not None:
            held = self._saved("latents", state["latents"], held)
        each = {"thresholds": np.float64, "new": bool}
        per_task = {
            name: np.array(state[name], kind) for name, kind in each.items() if name in state
        }
        for name, values in per_task.items():
            if values.shape != (self.n_mixture,):
                raise ValueError(
                    f"saved {name} have shape {values.shape}, expected ({self.n_mixture},)"
                )
        check_generator_state(state["generator"], self.generator)
        rng = np.random.default_rng()
        rng.bit_generator.state = state["rng"]
        if self._relative is not None:
            self._relative.load_state_dict(state["relative"])
            self.thresholds = per_task["thresholds"]
        if held is not None:
            self._held, self._new = held, per_task["new"]
        self.weights, self.masks, self.rng = weights, masks, rng
        self.generator.set_state(torch.as_tensor(np.array(state["generator"], dtype=np.uint8)))

    def _saved(self, name: str, values: Any, like: torch.Tensor) -> torch.Tensor:
        tensor = torch.as_tensor(np.array(values, dtype=np.float32))
        if tensor.shape != like.shape:
            raise ValueError(
                f"saved {name} have shape {tuple(tensor.shape)}, expected {tuple(like.shape)}"
            )
        return tensor.to(self.model.device)
