"""The scale in which the VAE sees observations."""

from __future__ import annotations

import warnings

import torch
from torch import nn

_FAR = 3e2  # distance from 0, in standard deviations, at which float32 blurs the spread

_LEAST = 1e-4  # standard deviation; a column with a smaller one counts as nearly constant
_LARGE = 1e3  # root mean square of a column that unscaled networks do not learn from
_NOISE = 1e-10  # standard deviation that rounding in a simulator may leave of zeros

CLIP = 5.0
"""Scaled observations are clipped here, so that one outlier cannot outweigh a batch."""


class ObservationScale(nn.Module):
    """Shifts and scales the columns of observations for encoder and decoder.

    A MuJoCo state contains positions of centimetres and joint velocities of ten radians per
    second. In their own units, the large values drown the small ones, on which the reward often
    depends. The moments are those of the next observations of all batches that the trainer has
    drawn, each batch weighted equally; they are buffers of the module and saved with the model.

    Args:
        size: Number of columns.
        active: False passes observations through unchanged and saves nothing.
    """

    mean: torch.Tensor
    square: torch.Tensor
    n_batches: torch.Tensor

    def __init__(self, size: int, active: bool) -> None:
        super().__init__()
        self.active = active
        self._has_observed = False  # in this process: for warnings
        if active:
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("square", torch.ones(size))
            self.register_buffer("n_batches", torch.zeros(()))

    def normalize(self, observations: torch.Tensor) -> torch.Tensor:
        """Observations (…, size) in the model's scale, same shape."""
        if not self.active:
            return observations
        variance = (self.square - self.mean.square()).clamp(min=_LEAST**2)
        return ((observations - self.mean) * variance.rsqrt()).clamp(-CLIP, CLIP)

    @torch.no_grad()
    def observe(self, next_observations: torch.Tensor, lengths: torch.Tensor) -> None:
        """Update the moments by a batch of trajectories: (T, batch, size), int64 (batch,).

        Raises:
            FloatingPointError: A value is too large for its square in float32; the moments are
                unchanged.
        """
        first, self._has_observed = not self._has_observed, True
        if not (self.active or first):
            return
        times = torch.arange(len(next_observations), device=lengths.device).unsqueeze(-1)
        inside = (times < lengths).unsqueeze(-1)
        if not self.active:
            _warn_of_size(next_observations[inside.squeeze(-1)])
            return
        count = lengths.sum()
        values = torch.where(inside, next_observations, 0.0)
        square = values.square().sum((0, 1)) / count
        if not torch.isfinite(square).all():
            _refuse_overflow(values, square)
        if not self.n_batches:
            _warn_of_units(next_observations[inside.squeeze(-1)])
        self.n_batches += 1
        self.mean += (values.sum((0, 1)) / count - self.mean) / self.n_batches
        self.square += (square - self.square) / self.n_batches


def _refuse_overflow(values: torch.Tensor, square: torch.Tensor) -> None:
    """Name the value whose square is infinite: its column would be scaled to 0 from then on."""
    column = int((~torch.isfinite(square)).nonzero()[0, 0])
    largest = values[..., column].abs().max().item()
    raise FloatingPointError(
        f"observation column {column} contains {largest:g}, whose square float32 cannot hold: "
        "expected values below 1e18. Clip it in the environment, or by "
        "gymnasium.wrappers.TransformObservation inside MultiEpisodeWrapper"
    )


def _warn_of_size(rows: torch.Tensor) -> None:
    """Warn if a column of unscaled observations is large; rows are (n, size)."""
    size = rows.double().square().mean(0).sqrt()
    if (size > _LARGE).any():
        column = int(size.argmax())
        warnings.warn(
            f"observation column {column} has a root mean square of {size[column].item():g}, and "
            "the latent dynamics model does not scale observations, so it will hardly learn: "
            "expected scale_observations=True (--scale-observations), or a smaller number in the "
            "environment",
            stacklevel=5,
        )


def _warn_of_units(rows: torch.Tensor) -> None:
    """Warn if a column's spread is tiny, by itself or compared with its mean; rows (n, size)."""
    mean, std = rows.mean(0), rows.std(0, correction=0)
    far = (mean.abs() > _FAR * std) & (std > 2e-7 * mean.abs())  # constant columns do no harm
    if far.any():
        column = int(far.nonzero()[0, 0])
        warnings.warn(
            f"observation column {column} has mean {mean[column].item():g} and standard deviation "
            f"{std[column].item():g}: float32 moments lose a spread so small compared with the "
            "mean, and the column is scaled wrongly. Subtract the offset in the environment, or by "
            "gymnasium.wrappers.TransformObservation inside MultiEpisodeWrapper",
            stacklevel=5,
        )
    small = (std < _LEAST) & (std > _NOISE) & (std > 0.01 * mean.abs())
    if small.any():
        column = int(small.nonzero()[0, 0])
        warnings.warn(
            f"observation column {column} has standard deviation {std[column].item():g}, below "
            f"{_LEAST:g}: it is scaled to less than 1 and may not be seen. Use a smaller unit in "
            "the environment, or by gymnasium.wrappers.TransformObservation inside "
            "MultiEpisodeWrapper",
            stacklevel=5,
        )
