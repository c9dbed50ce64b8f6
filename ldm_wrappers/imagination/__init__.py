"""Mixtures of beliefs, and the rewards of an imaginary task."""

from ldm_wrappers.imagination.belief_sources import BeliefPool, BeliefSource, SavedBeliefs
from ldm_wrappers.imagination.config import ImaginationConfig
from ldm_wrappers.imagination.imagination import Imagination
from ldm_wrappers.imagination.mixture import DirichletMixture, MixtureScheme

__all__ = [
    "BeliefPool",
    "BeliefSource",
    "DirichletMixture",
    "Imagination",
    "ImaginationConfig",
    "MixtureScheme",
    "SavedBeliefs",
]
