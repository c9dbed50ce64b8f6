"""The policy of ProMP and E-MAML: a function of its parameters, shared or one set per task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from ldm_wrappers.latent_dynamics.space_checks import check_observation_space, has_bounds
from train.meta_gradient.distributions import Categorical, Distribution, Gaussian

Parameters = dict[str, torch.Tensor]

MIN_LOG_STD = math.log(1e-6)


class MetaPolicy:
    """A feed-forward tanh network, Gaussian for ``Box`` actions, categorical for ``Discrete`` ones.

    It has no weights of its own: methods take them as an argument, so that one object serves the
    meta-parameters, the adapted parameters of each task, and differentiable steps in between.
    Weights are (in, out), biases (out,), ``log_std`` (action_dim,); with a leading axis
    (n_tasks, …) each task has its own.

    As in the reference implementation of ProMP, a Gaussian action of ``action_scale`` maps to the
    upper bound of the action space and −``action_scale`` to the lower one. Actions beyond are
    clipped for the environment, but log probabilities are those of the sampled action. With an
    initial standard deviation of 1 and ``action_scale`` 10, exploration is a tenth of the
    half-range.

    Args:
        observation_space: A ``Box``; observations are flattened.
        action_space: A bounded ``Box`` or a ``Discrete``.
        net_arch: Widths of the hidden layers.
        log_std_init: Initial log standard deviation of a Gaussian.
        action_scale: Policy action that maps to the bound of the action space.
        dtype: ``torch.float32``, or ``torch.float64`` for exact comparisons.
        device: Device of parameters and actions.

    Raises:
        ValueError: If a space has another type or no bounds, or a setting is out of range.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        net_arch: Sequence[int] = (64, 64),
        log_std_init: float = 0.0,
        action_scale: float = 10.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        _check_spaces(observation_space, action_space)
        if not action_scale > 0:
            raise ValueError(f"action_scale must be a positive number, got {action_scale}")
        if any(width < 1 for width in net_arch):
            raise ValueError(f"net_arch must contain positive widths, got {tuple(net_arch)}")
        self.action_space = action_space
        self.log_std_init = log_std_init
        self.action_scale = action_scale
        self.dtype = dtype
        self.device = torch.device(device)
        self.n_layers = len(net_arch) + 1
        self.observation_size = int(np.prod(observation_space.shape or ()))
        self._widths = [self.observation_size, *net_arch, self._output_size()]

    def _output_size(self) -> int:
        if isinstance(self.action_space, spaces.Discrete):
            return int(self.action_space.n)
        return int(np.prod(self.action_space.shape or ()))

    def initial_parameters(self, generator: torch.Generator) -> Parameters:
        """Xavier-uniform weights, zero biases, and ``log_std_init``; sampled on the CPU."""
        parameters: Parameters = {}
        for layer in range(self.n_layers):
            weight = torch.empty(self._widths[layer : layer + 2], dtype=self.dtype)
            torch.nn.init.xavier_uniform_(weight, generator=generator)
            parameters[f"weight_{layer}"] = weight
            parameters[f"bias_{layer}"] = torch.zeros(self._widths[layer + 1], dtype=self.dtype)
        if isinstance(self.action_space, spaces.Box):
            size = self._widths[-1]
            parameters["log_std"] = torch.full((size,), self.log_std_init, dtype=self.dtype)
        return {name: value.to(self.device) for name, value in parameters.items()}

    def distribution(self, parameters: Parameters, observations: torch.Tensor) -> Distribution:
        """Action distributions of observations.

        Args:
            parameters: Shared parameters, or one set per task.
            observations: (…, observation_size); (n_tasks, n, observation_size) for parameters of
                several tasks.
        """
        hidden = observations
        for layer in range(self.n_layers):
            hidden = _linear(hidden, parameters[f"weight_{layer}"], parameters[f"bias_{layer}"])
            if layer < self.n_layers - 1:
                hidden = torch.tanh(hidden)
        if isinstance(self.action_space, spaces.Discrete):
            return Categorical(torch.log_softmax(hidden, dim=-1))
        log_std = parameters["log_std"].clamp(min=MIN_LOG_STD)
        return Gaussian(hidden, log_std if log_std.dim() == 1 else log_std.unsqueeze(1))

    def observation_tensor(self, observations: Any) -> torch.Tensor:
        """A copy of a batch of environment observations (n, …), as (n, observation_size)."""
        flat = np.array(observations).reshape(len(observations), self.observation_size)
        return torch.as_tensor(flat).to(self.device, self.dtype)

    def env_actions(self, actions: torch.Tensor) -> NDArray[Any]:
        """Actions of the environment for the policy's actions (n, action_dim) or (n,).

        For an integer ``Box``, they are rounded to the nearest integers.
        """
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            return actions.cpu().numpy() + int(space.start)
        assert isinstance(space, spaces.Box)
        fraction = (actions.cpu().numpy().reshape(-1, *space.shape) / self.action_scale + 1) / 2
        low, high = space.low, space.high
        if space.dtype.kind != "f":  # whose high - low may overflow
            low, high = low.astype(np.float64), high.astype(np.float64)
        scaled = low + fraction * (high - low)
        if space.dtype.kind != "f":
            scaled = np.rint(scaled)
        return np.clip(scaled, low, high).astype(space.dtype)


def _linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """``inputs @ weight + bias`` with one weight, or with one per row of the leading axis."""
    if weight.dim() == 3:
        return torch.baddbmm(bias.unsqueeze(1), inputs, weight)
    flat = torch.addmm(bias, inputs.reshape(-1, inputs.shape[-1]), weight)
    return flat.reshape(*inputs.shape[:-1], -1)


def _check_spaces(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
    try:
        check_observation_space(observation_space)
    except TypeError as error:
        raise ValueError(str(error)) from None
    if isinstance(action_space, spaces.Discrete):
        return
    if not isinstance(action_space, spaces.Box):
        raise ValueError(
            f"the action space must be a Box or Discrete, got {action_space}; make it one of these "
            "with gymnasium.wrappers.TransformAction"
        )
    if not has_bounds(action_space):
        raise ValueError(
            f"a Box action space must have finite bounds, got {action_space}; first wrap the "
            "environment with gymnasium.wrappers.RescaleAction or TransformAction"
        )
