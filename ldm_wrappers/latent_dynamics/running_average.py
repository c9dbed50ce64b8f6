"""A running average of a model's weights, which replaces them between updates."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


class RunningAverage:
    """Keeps the trained weights apart from the average that the model has in use.

    Args:
        model: The model; it has the average except inside :meth:`single_weights`.
        rate: Weight of the old average in an update, approached from below: after u updates at
            most (1 + u) / (10 + u), so that the first weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, rate: float) -> None:
        self.rate = rate
        self._shown = dict(model.named_parameters())
        self._single = self._copies()
        self._average: dict[str, torch.Tensor] | None = self._copies()  # None: the model's own

    def _copies(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self._shown.items()}

    @torch.no_grad()
    def _show(self, values: dict[str, torch.Tensor]) -> None:
        for name, parameter in self._shown.items():
            parameter.copy_(values[name])

    @contextlib.contextmanager
    def single_weights(self) -> Iterator[None]:
        """Context in which the model has the trained weights; an exception keeps the average.

        Weights that were loaded into the model since the last call are trained from then on.
        """
        shown, before = self._copies(), self._average
        if before is not None and any(not torch.equal(shown[n], old) for n, old in before.items()):
            self._single = self._copies()
        self._average = shown
        self._show(self._single)
        try:
            yield
        finally:
            self._single = self._copies()
            self._show(self._average)

    @torch.no_grad()
    def add(self, n_updates: int) -> None:
        """Add the model's weights to the average after ``n_updates`` updates."""
        rate = min(self.rate, (1 + n_updates) / (10 + n_updates))
        assert self._average is not None  # inside single_weights
        for name, parameter in self._shown.items():
            self._average[name].lerp_(parameter, 1.0 - rate)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The trained weights; the average is in the model's own state."""
        return {name: value.clone() for name, value in self._single.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Inverse of :meth:`state_dict`; the average is loaded into the model, before or after."""
        self._average = None
        for name, value in self._single.items():
            value.copy_(state[name])
