"""Bridges to stable-baselines3 and sb3-contrib."""

from ldm_wrappers.sb3.actions import environment_actions, policy_action_space
from ldm_wrappers.sb3.callbacks import LatentDynamicsCallback, SingleThreadedRollouts
from ldm_wrappers.sb3.encoder_policy import EncoderPolicy
from ldm_wrappers.sb3.imagine import imagine
from ldm_wrappers.sb3.mixreg import MixregRecurrentPPO, MixregRolloutBuffer
from ldm_wrappers.sb3.normalize import NormalizeWithRealReturns
from ldm_wrappers.sb3.recurrent_policy import WholeSequenceLstmPolicy
from ldm_wrappers.sb3.recurrent_ppo import SequenceRecurrentPPO
from ldm_wrappers.sb3.rollout_buffer import SequenceRolloutBuffer
from ldm_wrappers.sb3.vec_env import VectorEnvAdapter

__all__ = [
    "EncoderPolicy",
    "LatentDynamicsCallback",
    "MixregRecurrentPPO",
    "MixregRolloutBuffer",
    "NormalizeWithRealReturns",
    "SequenceRecurrentPPO",
    "SequenceRolloutBuffer",
    "SingleThreadedRollouts",
    "VectorEnvAdapter",
    "WholeSequenceLstmPolicy",
    "environment_actions",
    "imagine",
    "policy_action_space",
]
