"""Wrappers that turn any Gymnasium environment into a meta-RL problem with imaginary tasks."""

from ldm_wrappers.belief_observation import BeliefObservationWrapper
from ldm_wrappers.belief_publisher import BeliefPublisherWrapper
from ldm_wrappers.imaginary_reward import ImaginaryRewardWrapper
from ldm_wrappers.imagination import (
    BeliefPool,
    DirichletMixture,
    ExpectedReward,
    PlausibleTasks,
    SavedBeliefs,
)
from ldm_wrappers.latent_dynamics import LatentDynamics, LatentDynamicsConfig, TrajectoryBuffer
from ldm_wrappers.multi_episode import MultiEpisodeWrapper
from ldm_wrappers.rl2_observation import RL2ObservationWrapper
from ldm_wrappers.task_protocol import TaskChangedError, TaskIgnoredError, TaskProtocolWarning

__all__ = [
    "BeliefObservationWrapper",
    "BeliefPool",
    "BeliefPublisherWrapper",
    "DirichletMixture",
    "ExpectedReward",
    "ImaginaryRewardWrapper",
    "LatentDynamics",
    "LatentDynamicsConfig",
    "MultiEpisodeWrapper",
    "PlausibleTasks",
    "RL2ObservationWrapper",
    "SavedBeliefs",
    "TaskChangedError",
    "TaskIgnoredError",
    "TaskProtocolWarning",
    "TrajectoryBuffer",
]
