"""The protocols of imaginary tasks."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ldm_wrappers.arguments import check_protocol
from ldm_wrappers.imagination.mixture import MixtureScheme
from ldm_wrappers.latent_dynamics.config import LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.model import LatentDynamics
from ldm_wrappers.latent_dynamics.posterior import Posterior


class ImaginaryTasks(Protocol):
    """Imaginary tasks that run side by side, one per mixture worker."""

    @property
    def final_beliefs(self) -> bool:
        """Whether the belief means of :meth:`latents` and :meth:`rewards` are those at the end of
        the workers' latest finished tasks, instead of those before the transition."""

    @property
    def belief_samples(self) -> bool:
        """Whether :meth:`to_mix` draws samples, so that belief means are not enough."""

    def to_mix(self, posterior: Posterior) -> torch.Tensor:
        """What to mix of the present beliefs, float32 (n_normal, latent_dim)."""

    @property
    def masks(self) -> torch.Tensor | None:
        """Dropout masks that running tasks keep, float32 (n_dropout_masks, n_mixture,
        embedding_size of the decoder); ``None`` if they keep none."""

    @property
    def thresholds(self) -> NDArray[np.float64] | None:
        """Value that the probability of the high reward must exceed, float64 (n_mixture,); ``None``
        if tasks give expected rewards."""

    def seed(self, seed: int | None) -> None:
        """Seed all random generators."""

    def begin(self, tasks: NDArray[np.bool_] | None = None) -> None:
        """Begin new imaginary tasks in the rows of a bool mask (n_mixture,), or in all."""

    def latents(self, means: torch.Tensor) -> torch.Tensor:
        """Latents m̂ (n_mixture, latent_dim) for belief means (n_normal, latent_dim)."""

    def rewards(
        self,
        means: torch.Tensor,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> NDArray[np.float64]:
        """Rewards r̂ of one transition per imaginary task, float64 (n_mixture,)."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that an exact resume needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; a ``ValueError`` before any change if it does not fit."""


def check_schemes(mixture: Any, imagination: Any) -> None:
    """Check arguments of the imaginary reward wrappers; ``None`` stands for a default.

    Raises:
        TypeError: One is not a scheme; the message shows it.
    """
    if mixture is not None:
        expected = "a mixture scheme, such as DirichletMixture(beta=1.0)"
        check_protocol("mixture", mixture, ("sample",), expected)
    if imagination is not None:
        expected = "an imagination scheme, such as ExpectedReward()"
        check_protocol("imagination", imagination, ("start",), expected)


class ImaginationScheme(Protocol):
    """A kind of imaginary task; pass your own to the imaginary reward wrappers."""

    def start(
        self,
        model: LatentDynamics,
        *,
        n_mixture: int,
        n_normal: int,
        mixture: MixtureScheme | None = None,
        seed: int | None = None,
    ) -> ImaginaryTasks:
        """Begin ``n_mixture`` imaginary tasks that mix ``n_normal`` beliefs.

        Args:
            model: The latent dynamics model; its current weights are used at every step.
            n_mixture: Number of imaginary tasks that run side by side.
            n_normal: Number of beliefs to mix.
            mixture: Mixture scheme; Eq. 1 with β = 1 if ``None``.
            seed: Seed of all random generators.

        Raises:
            ValueError: A number is out of range, or the model does not fit.
        """

    def check_model(self, config: LatentDynamicsConfig) -> None:
        """Raise a ``ValueError`` if a model of this configuration does not fit."""
