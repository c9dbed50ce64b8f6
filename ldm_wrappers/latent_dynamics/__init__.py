"""The latent dynamics model of LDM: a VAE over tasks, its training and its mixtures."""

from ldm_wrappers.latent_dynamics.beliefs import (
    BeliefFilter,
    BeliefPool,
    BeliefSource,
    SavedBeliefs,
)
from ldm_wrappers.latent_dynamics.buffer import TrajectoryBuffer, TrajectoryRecorder
from ldm_wrappers.latent_dynamics.config import LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.elbo import ElboTerms, TrajectoryBatch, elbo
from ldm_wrappers.latent_dynamics.encoder import Posterior
from ldm_wrappers.latent_dynamics.imagination import Imagination
from ldm_wrappers.latent_dynamics.imagination_config import ImaginationConfig
from ldm_wrappers.latent_dynamics.mixture import DirichletMixture, MixtureScheme
from ldm_wrappers.latent_dynamics.model import LatentDynamics
from ldm_wrappers.latent_dynamics.tracker import BeliefTracker
from ldm_wrappers.latent_dynamics.trainer import LatentDynamicsTrainer
from ldm_wrappers.latent_dynamics.transition import TransitionSpec

__all__ = [
    "BeliefFilter",
    "BeliefPool",
    "BeliefSource",
    "BeliefTracker",
    "DirichletMixture",
    "ElboTerms",
    "Imagination",
    "ImaginationConfig",
    "LatentDynamics",
    "LatentDynamicsConfig",
    "LatentDynamicsTrainer",
    "MixtureScheme",
    "Posterior",
    "SavedBeliefs",
    "TrajectoryBatch",
    "TrajectoryBuffer",
    "TrajectoryRecorder",
    "TransitionSpec",
    "elbo",
]
