"""Mixtures of beliefs, and the rewards of an imaginary task."""

from ldm_wrappers.imagination.belief_pool import BeliefPool
from ldm_wrappers.imagination.belief_sources import BeliefSource, SavedBeliefs
from ldm_wrappers.imagination.expected_reward import ExpectedReward
from ldm_wrappers.imagination.mixture import DirichletMixture, MixtureScheme, mixes_all
from ldm_wrappers.imagination.plausible_tasks import PlausibleTasks
from ldm_wrappers.imagination.scheme import ImaginaryTasks, ImaginationScheme
from ldm_wrappers.imagination.schemes import imagination_from_dict, mixture_from_dict

__all__ = [
    "BeliefPool",
    "BeliefSource",
    "DirichletMixture",
    "ExpectedReward",
    "ImaginaryTasks",
    "ImaginationScheme",
    "MixtureScheme",
    "PlausibleTasks",
    "SavedBeliefs",
    "imagination_from_dict",
    "mixes_all",
    "mixture_from_dict",
]
