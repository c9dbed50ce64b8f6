"""How a transition (s, a, r, s') of any supported environment becomes numbers for the networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from ldm_wrappers.latent_dynamics.space_checks import check_action_space, check_observation_space

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class TransitionSpec:
    """Sizes and encodings of the observations and actions of one environment family.

    Observations are ``Box`` and are flattened to float32. Actions are ``Box`` or ``MultiBinary``
    (flattened, float32), ``Discrete`` (stored as one float32 column, one-hot encoded where a
    network reads them) or ``MultiDiscrete`` (as several ``Discrete`` ones side by side).

    Attributes:
        observation_size: Number of columns of a flattened observation.
        action_columns: Number of columns in which an action is stored.
        n_actions: Number of discrete actions, or 0 for a ``Box`` action space.
        action_start: Smallest discrete action (``Discrete.start``), 0 for a ``Box``.
        column_sizes: Number of choices in each column of a ``MultiDiscrete`` action, else empty.
    """

    observation_size: int
    action_columns: int
    n_actions: int = 0
    action_start: int = 0
    column_sizes: tuple[int, ...] = ()

    @classmethod
    def from_spaces(
        cls, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> TransitionSpec:
        """Read the sizes off single (not batched) spaces.

        Raises:
            TypeError: The observation space is not a ``Box`` or is one of images, or the action
                space is of another kind; the message names a way out.
        """
        check_action_space(action_space)
        observation_size = int(np.prod(check_observation_space(observation_space).shape))
        if isinstance(action_space, spaces.Discrete):
            return cls(observation_size, 1, int(action_space.n), int(action_space.start))
        if isinstance(action_space, spaces.MultiDiscrete):
            sizes = tuple(int(n) for n in action_space.nvec.ravel())
            return cls(observation_size, len(sizes), column_sizes=sizes)
        assert action_space.shape is not None
        return cls(observation_size, int(np.prod(action_space.shape)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TransitionSpec:
        """Inverse of ``dataclasses.asdict``.

        Raises:
            ValueError: Sizes that no space has.
            TypeError: Another name.
        """
        sizes = tuple(values.get("column_sizes", ()))
        spec = cls(**{**values, "column_sizes": sizes})
        numbers = [value for name, value in values.items() if name != "column_sizes"]
        integers = all(type(value) is int for value in [*numbers, *sizes])
        if sizes and (len(sizes) != spec.action_columns or spec.n_actions or min(sizes) < 1):
            raise ValueError(f"these are sizes of no spaces: {spec}")
        if not (integers and spec.observation_size >= 1 and spec.action_columns >= 1) or (
            spec.n_actions < 0 or (spec.n_actions and spec.action_columns != 1)
        ):
            raise ValueError(f"these are sizes of no spaces: {spec}")
        return spec

    def check_spaces(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> None:
        """Raise a ``ValueError`` if an environment's spaces encode to other sizes than these."""
        found = TransitionSpec.from_spaces(observation_space, action_space)
        if found != self:
            raise ValueError(f"the environment has {found}, the latent dynamics model reads {self}")

    @property
    def action_size(self) -> int:
        """Number of columns of an encoded action: the one-hot sizes or the flattened Box."""
        return self.n_actions or sum(self.column_sizes) or self.action_columns

    def observations(self, observations: Any) -> FloatArray:
        """Flatten a batch of observations: (batch, …) to float32 (batch, observation_size).

        A fresh array, since wrappers keep it until the next step.
        """
        array = np.array(observations, dtype=np.float32)
        return array.reshape(array.shape[0], self.observation_size)

    def actions(self, actions: Any) -> FloatArray:
        """Columns of a batch of actions: (batch, …) to float32 (batch, action_columns)."""
        array = np.asarray(actions, dtype=np.float32)
        return array.reshape(array.shape[0], self.action_columns)

    def observation_row(self, observation: Any) -> FloatArray:
        """One observation as a batch of one: float32 (1, observation_size)."""
        return self.observations(np.asarray(observation)[None])

    def action_row(self, action: Any) -> FloatArray:
        """One action as a batch of one: float32 (1, action_columns)."""
        return self.actions(np.asarray(action)[None])

    def encode_actions(self, columns: torch.Tensor) -> torch.Tensor:
        """Encode stored action columns (…, action_columns) to float32 (…, action_size)."""
        if self.column_sizes:
            one_hots = [
                torch.nn.functional.one_hot(columns[..., i].long(), size)
                for i, size in enumerate(self.column_sizes)
            ]
            return torch.cat(one_hots, dim=-1).to(torch.float32)
        if not self.n_actions:
            return columns
        # zeros pad trajectories, and with a positive start 0 is no action
        index = (columns.squeeze(-1).long() - self.action_start).clamp(min=0)
        return torch.nn.functional.one_hot(index, self.n_actions).to(torch.float32)

    def encode_action_arrays(self, columns: FloatArray) -> FloatArray:
        """As :meth:`encode_actions`, for NumPy arrays (the wrappers' observations)."""
        if self.column_sizes:
            return self.encode_actions(torch.from_numpy(columns)).numpy()
        if not self.n_actions:
            return columns
        eye = np.eye(self.n_actions, dtype=np.float32)
        return eye[columns[..., 0].astype(np.int64) - self.action_start]
