"""The latent dynamics model of LDM: a VAE over tasks, and its training."""

from ldm_wrappers.latent_dynamics.beliefs import BeliefFilter
from ldm_wrappers.latent_dynamics.buffer import TrajectoryBuffer
from ldm_wrappers.latent_dynamics.config import LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.elbo import ElboTerms, TrajectoryBatch, elbo
from ldm_wrappers.latent_dynamics.model import LatentDynamics
from ldm_wrappers.latent_dynamics.posterior import Posterior
from ldm_wrappers.latent_dynamics.recorder import TrajectoryRecorder
from ldm_wrappers.latent_dynamics.tracker import BeliefTracker
from ldm_wrappers.latent_dynamics.trainer import LatentDynamicsTrainer
from ldm_wrappers.latent_dynamics.transition import TransitionSpec

__all__ = [
    "BeliefFilter",
    "BeliefTracker",
    "ElboTerms",
    "LatentDynamics",
    "LatentDynamicsConfig",
    "LatentDynamicsTrainer",
    "Posterior",
    "TrajectoryBatch",
    "TrajectoryBuffer",
    "TrajectoryRecorder",
    "TransitionSpec",
    "elbo",
]
