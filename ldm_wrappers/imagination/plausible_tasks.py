"""Imaginary tasks that the environment could have: fixed, with its two rewards, and diverse."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ldm_wrappers.arguments import check_number, keep
from ldm_wrappers.imagination.candidates import keep_rare
from ldm_wrappers.imagination.mixture import MixtureScheme
from ldm_wrappers.imagination.saved_scheme import SavedScheme, keep_flags, keep_integers
from ldm_wrappers.imagination.tasks import MixedTasks
from ldm_wrappers.imagination.transition_memory import TransitionMemory
from ldm_wrappers.latent_dynamics.config import LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.model import LatentDynamics

_CERTAIN = 1.0 - 1e-6  # float32 can tell this from 1


@dataclass(frozen=True)
class PlausibleTasks(SavedScheme):
    """Imaginary tasks that each have one reward function, with the environment's two rewards.

    Needs a Bernoulli likelihood. A task mixes the workers' beliefs at the end of their latest
    finished tasks and keeps its dropout masks, so that it stays the same from its first step to
    its last. It gives the high reward where this is likely enough, else the low one.

    Attributes:
        threshold: The high reward is given where its probability exceeds this value; or, if
            ``relative``, where its odds exceed this share of the largest odds among the remembered
            transitions (computed once, at the task's first transition). With a relative threshold,
            every task gives the high reward somewhere, but only for few transitions.
        relative: Whether the threshold is relative.
        n_remembered_transitions: Number of recent transitions, of all mixture workers together,
            on which relative thresholds and the choice of candidates are based; the length of a
            rollout is a good choice.
        n_candidates: Draw this many mixtures for each imaginary task, and prefer those that give
            the high reward where few others do
            (:func:`~ldm_wrappers.imagination.candidates.keep_rare`), so that tasks differ. 1
            means no selection.
        n_dropout_masks: Dropout masks of a task, which its rewards are averaged over; 0 switches
            dropout off.

    Raises:
        ValueError: A value is out of range.
    """

    threshold: float = 0.7
    relative: bool = True
    n_remembered_transitions: int = 4096
    n_candidates: int = 32
    n_dropout_masks: int = 1

    def __post_init__(self) -> None:
        share = check_number("threshold", self.threshold, "lie in (0, 1)", lambda x: 0.0 < x < 1.0)
        keep(self, threshold=share)
        least = {"n_remembered_transitions": 1, "n_candidates": 1, "n_dropout_masks": 0}
        keep_integers(self, least)
        keep_flags(self, "relative")

    def check_model(self, config: LatentDynamicsConfig) -> None:
        """Refuse a decoder without two rewards to choose from."""
        if config.likelihood != "bernoulli":
            raise ValueError(
                f"{self.kind()} needs likelihood bernoulli, got {config.likelihood}; "
                "expected-reward accepts any likelihood"
            )

    def start(
        self,
        model: LatentDynamics,
        *,
        n_mixture: int,
        n_normal: int,
        mixture: MixtureScheme | None = None,
        seed: int | None = None,
    ) -> SelectedTasks:
        """See :meth:`~ldm_wrappers.imagination.ImaginationScheme.start`."""
        self.check_model(model.config)
        return SelectedTasks(
            model, self, n_mixture=n_mixture, n_normal=n_normal, mixture=mixture, seed=seed
        )


class SelectedTasks(MixedTasks):
    """Imaginary tasks of :class:`PlausibleTasks`.

    Attributes:
        thresholds: Value that the probability of the high reward must exceed, float64
            (n_mixture,).
    """

    thresholds: NDArray[np.float64]

    def __init__(self, model: LatentDynamics, scheme: PlausibleTasks, **sizes: Any) -> None:
        self.scheme = scheme
        self.memory = TransitionMemory(model, scheme.n_remembered_transitions)
        super().__init__(
            model,
            n_dropout_masks=scheme.n_dropout_masks,
            keep_dropout_masks=True,
            final_beliefs=True,
            **sizes,
        )
        self.thresholds = np.full(self.n_mixture, scheme.threshold)

    def seed(self, seed: int | None) -> None:
        """Seed the generators of weights and dropout masks, and forget transitions."""
        super().seed(seed)
        if not self.memory.empty:
            warnings.warn(
                "a reset with a seed forgets the transitions by which plausible tasks are chosen: "
                "until new ones are remembered, whatever comes first is rewarded. Pass seed only "
                "at the first reset",
                stacklevel=4,
            )
        self.memory.forget()

    def rewards(
        self,
        means: torch.Tensor,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> NDArray[np.float64]:
        """The low or the high reward of one transition per imaginary task."""
        self.memory.remember(observations, actions, next_observations)
        if self._just_begun.any():
            self._select_tasks(means)
        expected = super().rewards(means, observations, actions, next_observations)
        low, high = self.model.config.reward_low, self.model.config.reward_high
        return np.where(expected > low + (high - low) * self.thresholds, high, low)

    def _select_tasks(self, means: torch.Tensor) -> None:
        """Choose the tasks that have just begun among candidates, and fix their thresholds."""
        weights, masks = self._candidates(torch.from_numpy(self._just_begun))
        probabilities = self.memory.probabilities((weights * means).sum(1), masks)
        thresholds = self._thresholds(probabilities)
        if self.scheme.n_candidates > 1:
            count = int(self._just_begun.sum())
            kept = keep_rare(probabilities > thresholds[:, None], count, self.rng)
            thresholds = thresholds[kept]
            self._replace(
                self._just_begun, weights[kept], None if masks is None else masks[:, kept]
            )
        self.thresholds[self._just_begun] = thresholds

    def _candidates(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weights and masks of the ``chosen`` tasks and of further candidates.

        As many as if all tasks had just begun, since an estimate from few is coarse.
        """
        weights, masks = self.weights[chosen], None if self.masks is None else self.masks[:, chosen]
        if self.scheme.n_candidates == 1:
            return weights, masks
        more, more_masks = self._draw(self.n_mixture * self.scheme.n_candidates - len(weights))
        if masks is not None and more_masks is not None:
            masks = torch.cat([masks, more_masks], 1)
        return torch.cat([weights, more]), masks

    def _thresholds(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Thresholds of tasks with these probabilities, (n, n_transitions), float64 (n,).

        A task whose largest probability float32 cannot tell from 0 gives no high reward.
        """
        if not self.scheme.relative:
            return np.full(len(probabilities), self.scheme.threshold)
        peaks = probabilities.max(-1)
        scaled = self.scheme.threshold * peaks  # odds p / (1 - p), times the share
        return np.minimum(scaled / (1.0 - peaks + scaled), _CERTAIN)

    def state_dict(self) -> dict[str, Any]:
        """Like :meth:`MixedTasks.state_dict`, with thresholds and remembered transitions."""
        return {
            **super().state_dict(),
            "thresholds": self.thresholds.copy(),
            "memory": self.memory.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; a ``ValueError`` before any change if it does not fit."""
        self.check_state(state)
        thresholds = self._per_task("thresholds", state, np.float64)
        before = self.memory.state_dict()
        self.memory.load_state_dict(state["memory"])
        try:
            super().load_state_dict(state)
        except Exception:
            self.memory.load_state_dict(before)
            raise
        self.thresholds = thresholds
