"""The wrappers of ldm_wrappers for ``gymnasium.vector.VectorEnv``."""

from ldm_wrappers.vector.belief_observation import BeliefObservationWrapper
from ldm_wrappers.vector.imaginary_reward import ImaginaryRewardWrapper
from ldm_wrappers.vector.multi_episode import MultiEpisodeWrapper
from ldm_wrappers.vector.rl2_observation import RL2ObservationWrapper
from ldm_wrappers.vector.task_observation import TaskObservationWrapper
from ldm_wrappers.vector.task_rows import TaskRowsWrapper

__all__ = [
    "BeliefObservationWrapper",
    "ImaginaryRewardWrapper",
    "MultiEpisodeWrapper",
    "RL2ObservationWrapper",
    "TaskObservationWrapper",
    "TaskRowsWrapper",
]
