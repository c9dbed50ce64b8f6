"""The train tasks of an off-policy run, which its replay knows by their index."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train.common.env_source import EnvSource
from train.config.methods import get_method
from train.config.off_policy import OffPolicySettings


def training_tasks(config: OffPolicySettings) -> NDArray[np.float32]:
    """All tasks of a finite train set, or ``n_train_tasks`` of a continuous one: (K, task_dim).

    Raises:
        ValueError: The environment has no task distribution.
    """
    distribution = EnvSource.of(config).facts().distribution
    if distribution is None:
        raise ValueError(
            f"method {config.method} returns to the same train tasks again and again, but "
            f"{config.env_id} has no task_distribution; adapters of ldm_envs (TaskMethodWrapper "
            "and its like) give it one: docs/own_environments.md"
        )
    train = distribution[get_method(config.method).split]
    if train.tasks is not None:
        return np.asarray(train.tasks, np.float32)
    rng = np.random.default_rng(np.random.SeedSequence((config.seed, 0x7A5C)))
    return np.asarray(train.sample(rng, config.n_train_tasks), np.float32)
