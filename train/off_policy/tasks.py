"""The train tasks of an off-policy run, to which its replay refers by index."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train.common.envs import required_distribution
from train.config.methods import get_method
from train.config.off_policy import OffPolicySettings


def training_tasks(config: OffPolicySettings) -> NDArray[np.float32]:
    """All tasks of a finite train set, or ``n_train_tasks`` of a continuous one: (K, task_dim).

    Raises:
        ValueError: If the environment has no task distribution.
    """
    distribution = required_distribution(config, "repeatedly returns to the same train tasks")
    train = distribution[get_method(config.method).split]
    if train.tasks is not None:
        return np.asarray(train.tasks, np.float32)
    rng = np.random.default_rng(np.random.SeedSequence((config.seed, 0x7A5C)))
    return np.asarray(train.sample(rng, config.n_train_tasks), np.float32)
