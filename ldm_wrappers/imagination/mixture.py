"""Mixture weights of imaginary tasks (paper, Eq. 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ldm_wrappers.arguments import check_number, keep
from ldm_wrappers.imagination.saved_scheme import SavedScheme, keep_flags, keep_integers
from ldm_wrappers.latent_dynamics.transition import FloatArray


class MixtureScheme(Protocol):
    """Anything that draws mixture weights; pass your own to the imaginary reward wrappers."""

    def sample(
        self, rng: np.random.Generator, n_mixture: int, n_normal: int, latent_dim: int
    ) -> FloatArray:
        """Weights of ``n_mixture`` imaginary tasks over ``n_normal`` beliefs.

        Returns:
            float32 (n_mixture, n_normal, latent_dim) or (n_mixture, n_normal, 1); each column of
            each task sums to 1 over the beliefs.
        """


def mixes_all(scheme: MixtureScheme) -> bool:
    """Whether a scheme's field ``n_components`` is ``None``, so that it mixes all beliefs.

    A scheme without this field decides by itself how many take part.
    """
    return getattr(scheme, "n_components", 0) is None


@dataclass(frozen=True)
class DirichletMixture(SavedScheme):
    """α ~ β · Dirichlet(1, …, 1) − (β − 1) / n over the n beliefs that take part (Eq. 1).

    Attributes:
        beta: Degree of extrapolation β > 0; at most 1 gives convex combinations.
        n_components: How many random beliefs take part in one task; ``None`` for all. A Dirichlet
            over many beliefs is close to their mean, over a few it stays diverse.
        per_dimension: Draw one weight per belief and latent dimension, as the authors' code does,
            instead of one per belief, as the paper writes.

    Raises:
        ValueError: ``beta`` is not positive or exceeds float32, ``n_components`` is not a positive
            integer, or ``per_dimension`` is not a boolean.
    """

    beta: float = 1.0
    n_components: int | None = None
    per_dimension: bool = False

    def __post_init__(self) -> None:
        largest = float(np.finfo(np.float32).max)  # weights are float32
        range_ = f"be positive and at most {largest:.1e}"
        beta = check_number("beta", self.beta, range_, lambda beta: 0.0 < beta <= largest)
        keep(self, beta=beta)
        if self.n_components is not None:
            keep_integers(self, {"n_components": 1})
        keep_flags(self, "per_dimension")

    def __str__(self) -> str:
        of = "all" if self.n_components is None else f"{self.n_components} random"
        per = ", weights per latent dimension" if self.per_dimension else ""
        return f"{of} beliefs, β = {self.beta:g}{per}"

    def sample(
        self, rng: np.random.Generator, n_mixture: int, n_normal: int, latent_dim: int
    ) -> FloatArray:
        """See :meth:`MixtureScheme.sample`; beliefs that take no part in a task have weight 0.

        Raises:
            ValueError: ``n_components`` is larger than ``n_normal``.
        """
        n = n_normal if self.n_components is None else self.n_components
        if n > n_normal:
            raise ValueError(
                f"n_components must be at most the number of beliefs, {n_normal}, got {n}"
            )
        columns = latent_dim if self.per_dimension else 1
        draws = rng.dirichlet(np.ones(n), size=(n_mixture, columns)).swapaxes(1, 2)
        alpha = self.beta * draws - (self.beta - 1.0) / n
        weights = np.zeros((n_mixture, n_normal, columns), np.float32)
        members = np.argsort(rng.random((n_mixture, n_normal)), axis=1)[:, :n]
        np.put_along_axis(weights, members[:, :, None], alpha.astype(np.float32), axis=1)
        return weights
