"""Task families of the paper "Latent Dynamics Mixture" as Gymnasium environments.

Importing this package registers the six `LDM-*` ids with `gymnasium.make` and
`gymnasium.make_vec`. Gymnasium loads no plug-ins by itself: import the package first, or name it
in the id, `gym.make("ldm_envs:LDM-AntGoal-v0")`.
"""

from __future__ import annotations

import gymnasium as gym

from ldm_envs.adapters import (
    TaskAttributeWrapper,
    TaskMethodWrapper,
    TaskSeedWrapper,
    TaskWrapper,
)
from ldm_envs.family_checker import check_family
from ldm_envs.family_resets import FamilyError
from ldm_envs.task_env import TaskEnv
from ldm_envs.task_sets import AnnulusTaskSet, FiniteTaskSet, IntervalTaskSet, TaskSet
from ldm_envs.tasks import TaskDistribution

__all__ = [
    "ENV_IDS",
    "AnnulusTaskSet",
    "FamilyError",
    "FiniteTaskSet",
    "IntervalTaskSet",
    "TaskAttributeWrapper",
    "TaskDistribution",
    "TaskEnv",
    "TaskMethodWrapper",
    "TaskSeedWrapper",
    "TaskSet",
    "TaskWrapper",
    "check_family",
]

# id -> (module, class name, episode length H: paper, sections 5.1 and 5.2). The batched
# class is named after the scalar one: XEnv, XVectorEnv.
_FAMILIES = {
    "LDM-GridNavi-v0": ("grid_navi", "GridNavi", 30),
    "LDM-GridNaviExtrapolation-v0": ("grid_navi", "GridNaviExtrapolation", 30),
    "LDM-GridNaviValidation-v0": ("grid_navi", "GridNaviValidation", 30),
    "LDM-AntDir-v0": ("ant", "AntDir", 200),
    "LDM-AntGoal-v0": ("ant", "AntGoal", 200),
    "LDM-HalfCheetahVel-v0": ("half_cheetah", "HalfCheetahVel", 200),
}

ENV_IDS: tuple[str, ...] = tuple(_FAMILIES)
"""The ids that this package registers."""

for _id, (_module, _name, _horizon) in _FAMILIES.items():
    if _id not in gym.registry:  # a reload must not warn about overriding itself
        gym.register(
            id=_id,
            entry_point=f"ldm_envs.{_module}:{_name}Env",
            vector_entry_point=f"ldm_envs.{_module}:{_name}VectorEnv",
            max_episode_steps=_horizon,
            # The tests check every environment. From Gymnasium 1.4 on, the passive checker that
            # gym.make would add cannot step an environment whose first reset raised an error.
            disable_env_checker=True,
        )
