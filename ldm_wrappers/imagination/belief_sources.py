"""Sources of beliefs for imaginary tasks: a protocol, and beliefs of a saved run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ldm_wrappers.imagination.schemes import (
    Imagination,
    Mixture,
    imagination_from_dict,
    mixture_from_dict,
)
from ldm_wrappers.latent_dynamics.transition import FloatArray
from ldm_wrappers.state_file import load_object, save_object

KIND = "SavedBeliefs"


class BeliefSource(Protocol):
    """Source of the beliefs that the imaginary reward of a single environment mixes."""

    @property
    def n_beliefs(self) -> int:
        """Number n of beliefs to mix, which does not change."""

    def means(self, step: int) -> FloatArray:
        """Belief means m_t, float32 (n_beliefs, latent_dim), ``step`` steps into a task."""

    def final_means(self) -> FloatArray:
        """Belief means at the end of finished tasks, float32 (n_beliefs, latent_dim)."""


class SavedBeliefs:
    """Beliefs of earlier tasks, replayed by their step within the task.

    Args:
        means: float (n_beliefs, n_steps + 1, latent_dim): the belief before each transition and
            after the last; a task that outlasts them keeps the last one.
        mixture: How their run mixed beliefs; ``None`` if unknown.
        imagination: How imaginary tasks of their run computed rewards; ``None`` if unknown.

    Attributes:
        metadata: What was saved with loaded beliefs; empty for new ones.

    Raises:
        ValueError: ``means`` has another shape, is empty, or is not finite.
    """

    def __init__(
        self, means: Any, mixture: Mixture | None = None, imagination: Imagination | None = None
    ) -> None:
        array = np.asarray(means, np.float32)
        if array.ndim != 3 or 0 in array.shape:
            raise ValueError(
                "saved beliefs must have shape (n_beliefs, n_steps + 1, latent_dim), "
                f"got {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError("saved beliefs must be finite")
        self._means = array.copy()
        self.mixture = mixture
        self.imagination = imagination
        self.metadata: dict[str, Any] = {}

    def save(self, path: str | Path, metadata: dict[str, Any] | None = None) -> None:
        """Write beliefs, mixture and imagination to one safetensors file.

        Args:
            path: The file; replaced as a whole or not at all.
            metadata: What else to save, for example the environment's id: JSON-able values and
                arrays, which :meth:`load` restores as the attribute ``metadata``. ``None`` saves
                this attribute, so loaded beliefs remain those of their run.
        """
        save_object(path, self.to_state(), self.metadata if metadata is None else metadata)

    @classmethod
    def load(cls, path: str | Path) -> SavedBeliefs:
        """Inverse of :meth:`save`. It runs no code from the file.

        Raises:
            StateFileError: The file is missing or damaged, or contains something else.
        """

        def read(content: dict[str, Any], metadata: dict[str, Any]) -> SavedBeliefs:
            beliefs = cls.from_state(content)
            beliefs.metadata = metadata
            return beliefs

        return load_object(path, KIND, read)

    def to_state(self) -> dict[str, Any]:
        """Everything that :meth:`from_state` needs: dicts of an array, numbers and strings.

        Raises:
            ValueError: :meth:`from_state` does not know the kind of a scheme.
        """
        state: dict[str, Any] = {"kind": KIND, "means": self._means}
        for name, scheme, read in (
            ("mixture", self.mixture, mixture_from_dict),
            ("imagination", self.imagination, imagination_from_dict),
        ):
            state[name] = None if scheme is None else scheme.to_dict()
            if scheme is not None:
                read(state[name])  # refuse a kind that could not be loaded
        return state

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> SavedBeliefs:
        """Inverse of :meth:`to_state`.

        Raises:
            ValueError: The state does not fit; also ``KeyError`` and ``TypeError``.
        """
        means, mixture, imagination = (state[key] for key in ("means", "mixture", "imagination"))
        if not isinstance(means, np.ndarray) or means.dtype != np.float32:
            raise ValueError(f"means are {getattr(means, 'dtype', means)!r:.80}, expected float32")
        return cls(
            means,
            None if mixture is None else mixture_from_dict(mixture),
            None if imagination is None else imagination_from_dict(imagination),
        )

    @property
    def n_beliefs(self) -> int:
        """Number of saved tasks."""
        return len(self._means)

    def means(self, step: int) -> FloatArray:
        """The beliefs after ``step`` transitions."""
        return self._means[:, min(step, self._means.shape[1] - 1)].copy()

    def final_means(self) -> FloatArray:
        """The beliefs after the last transition."""
        return self._means[:, -1].copy()
