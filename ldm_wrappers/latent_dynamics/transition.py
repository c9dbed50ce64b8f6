"""Encoding of transitions (s, a, r, s') of any supported environment for the networks."""

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
    (flattened, float32), ``Discrete``, or ``MultiDiscrete`` (like several ``Discrete`` actions).
    Discrete actions are stored as float32 columns, the index 0 … n − 1 of the action (the action
    minus ``start``, so that float32 represents it exactly for any start), and one-hot encoded for
    the networks.

    Attributes:
        observation_size: Number of columns of a flattened observation.
        action_columns: Number of columns in which an action is stored.
        n_actions: Number of discrete actions of a ``Discrete`` action space, else 0.
        action_start: Smallest discrete action (``Discrete.start``), 0 for a ``Box``.
        column_sizes: Number of choices in each column of a ``MultiDiscrete`` action, else empty.
        integer_actions: Whether a ``Box`` action space contains integers.
    """

    observation_size: int
    action_columns: int
    n_actions: int = 0
    action_start: int = 0
    column_sizes: tuple[int, ...] = ()
    integer_actions: bool = False

    @classmethod
    def from_spaces(
        cls, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> TransitionSpec:
        """Read the sizes from single (not batched) spaces.

        Raises:
            TypeError: The observation space is not a ``Box`` or contains images, or the action
                space is not supported; the message says what to do.
        """
        check_action_space(action_space)
        observation_size = int(np.prod(check_observation_space(observation_space).shape))
        if isinstance(action_space, spaces.Discrete):
            return cls(observation_size, 1, int(action_space.n), int(action_space.start))
        if isinstance(action_space, spaces.MultiDiscrete):
            sizes = tuple(int(n) for n in action_space.nvec.ravel())
            return cls(observation_size, len(sizes), column_sizes=sizes)
        assert action_space.shape is not None
        whole = isinstance(action_space, spaces.Box) and action_space.dtype.kind in "iub"
        return cls(observation_size, int(np.prod(action_space.shape)), integer_actions=whole)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TransitionSpec:
        """Inverse of ``dataclasses.asdict``.

        Raises:
            ValueError: No space has these sizes.
            TypeError: A name is unknown.
        """
        sizes = tuple(values.get("column_sizes", ()))
        spec = cls(**{**values, "column_sizes": sizes})
        others = ("column_sizes", "integer_actions")
        numbers = [value for name, value in values.items() if name not in others]
        integers = isinstance(spec.integer_actions, bool)
        integers = integers and all(type(value) is int for value in [*numbers, *sizes])
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
        """Check that an environment's spaces encode to these sizes.

        Raises:
            ValueError: They encode to other sizes.
            TypeError: They cannot be encoded.
        """
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
        """Columns of a batch of actions: (batch, …) to float32 (batch, action_columns).

        Raises:
            ValueError: An action has another size, a discrete one is out of range, or an integer
                is needed. The environment checks the bounds of a ``Box``.
        """
        array = np.asarray(actions)
        if array.ndim == 0 or array.size != len(array) * self.action_columns:
            raise ValueError(
                f"expected a batch of actions of {self.action_columns} numbers each, got "
                f"{actions!r} of shape {array.shape}"
            )
        array = array.reshape(len(array), self.action_columns)
        whole = self.n_actions or self.column_sizes or self.integer_actions
        if whole and array.dtype.kind not in "iub":
            raise ValueError(
                f"expected actions that are integers, got {actions!r} of dtype {array.dtype}; "
                "round them first"
            )
        if self.column_sizes and ((array < 0) | (array >= np.array(self.column_sizes))).any():
            raise ValueError(
                f"expected discrete actions from 0 to below {list(self.column_sizes)}, got "
                f"{array.tolist()}"
            )
        if not self.n_actions:
            return array.astype(np.float32)
        index = array.astype(np.int64) - self.action_start
        if index.size and (index.min() < 0 or index.max() >= self.n_actions):
            last = self.action_start + self.n_actions - 1
            raise ValueError(
                f"expected discrete actions from {self.action_start} to {last}, got "
                f"{array[:, 0].tolist()}"
            )
        return index.astype(np.float32)

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
        index = columns.squeeze(-1).long()
        return torch.nn.functional.one_hot(index, self.n_actions).to(torch.float32)

    def encode_action_arrays(self, columns: FloatArray) -> FloatArray:
        """Like :meth:`encode_actions`, for NumPy arrays (the wrappers' observations)."""
        if self.column_sizes:
            return self.encode_actions(torch.from_numpy(columns)).numpy()
        if not self.n_actions:
            return columns
        eye = np.eye(self.n_actions, dtype=np.float32)
        return eye[columns[..., 0].astype(np.int64)]
