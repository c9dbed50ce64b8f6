"""Every setting of a training run, typed, documented and saved with the run."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from ldm_wrappers.imagination import ImaginationConfig
from ldm_wrappers.latent_dynamics import LatentDynamicsConfig
from train.config.methods import method
from train.config.sections import (
    PolicySettings,
    RunSettings,
    check_at_least_one,
    check_positive,
)
from train.config.types import check_types

Section = TypeVar("Section", ImaginationConfig, LatentDynamicsConfig)
# settings that are younger than runs, with the value that those had
_YOUNGER = {"task_candidates": 1, "log_std_init": 0.0, "target_kl": None}


# dataclasses collect fields from the last base to the first: --help begins with RunSettings
@dataclasses.dataclass(frozen=True)
class TrainConfig(LatentDynamicsConfig, PolicySettings, ImaginationConfig, RunSettings):
    """Settings of one run; each is a flag of ``train/recurrent_ppo.py``.

    The defaults that a run starts from are its preset's (``train/config/presets.py``).
    """

    vae_learning_rate: float = 1e-3
    """Adam learning rate of the VAE."""
    vae_updates: int = 2
    """VAE updates per policy update."""
    vae_trajectories: int = 10
    """Trajectories per VAE update."""
    vae_encoded_lengths: int | None = None
    """Encoded lengths per trajectory and VAE update; None for all."""
    vae_decoded_steps: int | None = None
    """Decoded transitions per trajectory and VAE update; None for all."""
    vae_buffer_trajectories: int = 10_000
    """Trajectories kept for the VAE; the newest replace the oldest."""

    eval_interval: int = 250_000
    """Environment steps between evaluations; the end is always evaluated."""
    eval_tasks: int = 16
    """Tasks of the fixed sample that stands for a continuous set."""
    log_interval: int = 10
    """Policy updates between rows of metrics.csv."""
    checkpoint_interval: int = 1_000_000
    """Environment steps between checkpoints; one is always written at the end or on Ctrl-C."""

    def __post_init__(self) -> None:
        chosen = method(self.method)
        check_types(self)
        RunSettings.__post_init__(self)
        ImaginationConfig.__post_init__(self)
        PolicySettings.__post_init__(self)
        LatentDynamicsConfig.__post_init__(self)
        check_positive(
            self,
            "vae_learning_rate vae_updates vae_trajectories vae_buffer_trajectories eval_interval "
            "eval_tasks log_interval checkpoint_interval",
        )
        check_at_least_one(self, "vae_encoded_lengths vae_decoded_steps")
        self.check_likelihood(self.likelihood)
        if chosen.imaginary and not 1 <= self.n_mixture < self.n_workers:
            raise ValueError(
                f"n_mixture must lie between 1 and n_workers - 1 = {self.n_workers - 1} for method "
                f"{self.method}, got {self.n_mixture}"
            )
        components = self.mixture_components
        if chosen.imaginary and components is not None and components > self.n_normal:
            raise ValueError(
                f"mixture_components must be at most the n_workers - n_mixture = {self.n_normal} "
                f"normal workers, got {components}"
            )
        if self.n_workers % self.n_minibatches:
            raise ValueError(
                f"n_minibatches must divide n_workers = {self.n_workers}, got {self.n_minibatches}"
            )

    @property
    def latent_dynamics(self) -> LatentDynamicsConfig:
        """The VAE's own part of the settings."""
        return self._section(LatentDynamicsConfig)

    @property
    def imagination(self) -> ImaginationConfig:
        """What an imaginary task is."""
        return self._section(ImaginationConfig)

    def _section(self, kind: type[Section]) -> Section:
        names = [field.name for field in dataclasses.fields(kind)]
        return kind(**{name: getattr(self, name) for name in names})

    @property
    def n_normal(self) -> int:
        """Workers that earn the environment's own rewards."""
        return self.n_workers - (self.n_mixture if method(self.method).imaginary else 0)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """Inverse of :meth:`to_dict`; unknown or missing settings are a ``ValueError``."""
        values = {**_YOUNGER, **values}
        known, given = set(cls.__dataclass_fields__), set(values)
        if known != given:
            unknown, missing = sorted(given - known), sorted(known - given)
            raise ValueError(f"settings do not fit: unknown {unknown}, missing {missing}")
        return super().from_dict(values)
