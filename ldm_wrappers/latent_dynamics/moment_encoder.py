"""A posterior q(m | trajectory so far) from moments of its transitions, in any order."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from ldm_wrappers.latent_dynamics.config import LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.observation_scale import ObservationScale
from ldm_wrappers.latent_dynamics.posterior import Posterior
from ldm_wrappers.latent_dynamics.reward_scale import RewardScale
from ldm_wrappers.latent_dynamics.trajectory_encoder import TrajectoryEncoder
from ldm_wrappers.latent_dynamics.transition import TransitionSpec

_RELATIVE_RIDGE = 1e-5  # of the mean squared regressor, enough for float32 to factorise
_COUNT_UNIT = math.log(400.0)


class _Rows(NamedTuple):
    """What each transition adds to the sums, each (…, columns)."""

    features: torch.Tensor
    regressors: torch.Tensor
    residual: torch.Tensor


class MomentEncoder(TrajectoryEncoder):
    """Regresses rewards on what was seen, and reads the posterior from the coefficients.

    A task is a reward function of (s, a, s'), so what identifies it is how rewards vary with
    states and actions, not their order (Rakelly et al., 2019, "PEARL", section 4.1). The encoder
    describes a task's reward as b(s', a) plus a linear combination of regressors g(s', a), the
    first of which is 1. Both b and g are learned; b models what all tasks have in common, such as
    a control cost. From the transitions so far, the encoder keeps sums of

    * ReLU features of (s', a, r),
    * products of two regressors, and of a regressor with the residual reward e = r - b(s', a),
    * e².

    The network that reads the posterior sees the number of transitions, the means of the
    features, of g and of the products g e, and a Bayesian linear regression of e on g with prior
    N(0, I) and noise of variance 1: the mean (I + Σ g gᵀ)⁻¹ Σ g e of its coefficients, their
    variances, and the variance of e that the regression leaves unexplained. The scale of g, which
    is learned, determines how certain the regression is of the task after a few steps. A network
    on plain features would have to discover products of reward and position before it could tell
    in which direction a reward grows, and would spend most of its training on this.

    Sums and counts are the recurrent state, so that beliefs are filtered as with the GRU.

    Args:
        spec: Sizes of observations and actions.
        config: Sizes: ``encoder_features``, ``encoder_projections`` and ``encoder_hidden_size``.
        reward_scale: Scale of rewards.
        observation_scale: Scale of observations.
    """

    products: torch.Tensor

    def __init__(
        self,
        spec: TransitionSpec,
        config: LatentDynamicsConfig,
        reward_scale: RewardScale,
        observation_scale: ObservationScale,
    ) -> None:
        super().__init__(spec, reward_scale, observation_scale)
        seen = spec.observation_size + spec.action_size
        n_features, n_regressors = config.encoder_features, config.encoder_projections + 1
        # a symmetric matrix is stored as its upper triangle
        products = torch.triu_indices(n_regressors, n_regressors)
        self.register_buffer("products", products, persistent=False)
        self._sizes = [n_features, n_regressors, 1, 1, products.shape[1]]
        self.hidden_size = sum(self._sizes)
        width = config.encoder_hidden_size
        self.features = nn.Linear(seen + 1, n_features)
        self.linear = nn.Linear(seen, n_regressors)  # all regressors but the 1, and b
        self.nonlinear = nn.Sequential(
            nn.Linear(seen, n_features), nn.ReLU(), nn.Linear(n_features, n_regressors)
        )
        self.body = nn.Sequential(
            nn.Linear(n_features + 4 * n_regressors + 2, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
        )
        self._make_heads(width, config)

    def posterior(self, hidden: torch.Tensor) -> Posterior:
        """Read the posterior from sums and counts (…, hidden_size)."""
        features, g_residual, square, count, products = hidden.split(self._sizes, dim=-1)
        coefficients, variances, means = self._regression(g_residual, products)
        fitted = (coefficients * g_residual).sum(-1, keepdim=True)
        n = count.clamp(min=1.0)
        left = (square - fitted).clamp(min=0.0) / n
        moments = torch.cat([features, means, g_residual], dim=-1) / n
        known = (moments, coefficients, variances, left, torch.log1p(count) / _COUNT_UNIT)
        read = self.body(torch.cat(known, dim=-1))
        return Posterior(self.mean(read), self.logvar(read))

    def _regression(
        self, g_residual: torch.Tensor, products: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Means and variances of the coefficients, and sums of the regressors, each (…, k)."""
        size = g_residual.shape[-1]
        row, column = self.products
        precision = products.new_zeros(*products.shape[:-1], size, size)
        precision[..., row, column] = products
        precision[..., column, row] = products
        sums = precision[..., 0]  # products with the regressor that is 1
        scale = precision.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
        unit = torch.eye(size, device=products.device)
        precision = precision + (1.0 + _RELATIVE_RIDGE * scale) * unit
        # unchecked: non-finite values show in the loss, and a check would wait for the GPU
        factor, _ = torch.linalg.cholesky_ex(precision)
        right = torch.cat([g_residual.unsqueeze(-1), unit.expand_as(precision)], dim=-1)
        solved = torch.cholesky_solve(right, factor)
        return solved[..., 0], solved[..., 1:].diagonal(dim1=-2, dim2=-1), sums

    def _rows(
        self, actions: torch.Tensor, rewards: torch.Tensor, next_observations: torch.Tensor
    ) -> _Rows:
        reward_scale, observation_scale = self._scales
        seen = torch.cat(
            [observation_scale.normalize(next_observations), self.spec.encode_actions(actions)],
            dim=-1,
        )
        reward = reward_scale.normalize(rewards).unsqueeze(-1)
        features = torch.relu(self.features(torch.cat([seen, reward], dim=-1)))
        learned = self.linear(seen) + self.nonlinear(seen)
        regressors = torch.cat([torch.ones_like(reward), learned[..., 1:]], dim=-1)
        return _Rows(features, regressors, reward - learned[..., :1])

    def _summands(self, rows: _Rows) -> torch.Tensor:
        """Columns of the state except the last ones, the products of two regressors."""
        features, g, residual = rows
        ones = torch.ones_like(residual)
        return torch.cat([features, g * residual, residual.square(), ones], dim=-1)

    def _added(self, rows: _Rows) -> torch.Tensor:
        """What rows add to the state, (…, hidden_size)."""
        row, column = self.products
        products = rows.regressors[..., row] * rows.regressors[..., column]
        return torch.cat([self._summands(rows), products], dim=-1)

    def embed(
        self, actions: torch.Tensor, rewards: torch.Tensor, next_observations: torch.Tensor
    ) -> torch.Tensor:
        """What a transition adds to the state, (…, hidden_size).

        Args:
            actions: float32 (…, action_columns).
            rewards: float32 (…).
            next_observations: float32 (…, observation_size).
        """
        return self._added(self._rows(actions, rewards, next_observations))

    def _advance(self, hidden: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        return hidden + embedded

    def _scan(self, start: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        return embedded.cumsum(0)

    def states_at(
        self,
        lengths: torch.Tensor,
        actions: torch.Tensor,
        rewards: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Sums and counts for one encoded length per trajectory."""
        return self._sums(lengths[None], self._rows(actions, rewards, next_observations))[0]

    def at(
        self,
        lengths: torch.Tensor,
        actions: torch.Tensor,
        rewards: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> tuple[Posterior, Posterior]:
        """Posteriors for some encoded lengths, and for the lengths that are one shorter.

        Args:
            lengths: int64 (k, batch), 0 to T. For 0, the shorter length is 0 too.
            actions: float32 (T, batch, action_columns).
            rewards: float32 (T, batch).
            next_observations: float32 (T, batch, observation_size).

        Returns:
            Two posteriors with arrays (k, batch, latent_dim).
        """
        before = (lengths - 1).clamp(min=0)
        workers = torch.arange(lengths.shape[1], device=lengths.device)
        rows = self._rows(actions, rewards, next_observations)
        added = self._added(_Rows(*(part[before, workers] for part in rows)))
        added = added * (lengths > 0).to(added.dtype).unsqueeze(-1)
        sums = self._sums(before, rows)
        return self.posterior(sums + added), self.posterior(sums)

    def _sums(self, lengths: torch.Tensor, rows: _Rows) -> torch.Tensor:
        """States after some encoded lengths, without the products of every single step."""
        times = torch.arange(len(rows.residual), device=lengths.device).unsqueeze(-1)
        inside = (times < lengths.unsqueeze(1)).to(rows.residual.dtype)  # (k, T, batch)
        g = rows.regressors.transpose(0, 1)  # (batch, T, size)
        masked = g * inside.transpose(1, 2).unsqueeze(-1)
        row, column = self.products
        products = torch.matmul(masked.transpose(-1, -2), g)[..., row, column]
        sums = torch.einsum("ktb,tbf->kbf", inside, self._summands(rows))
        return torch.cat([sums, products], dim=-1)
