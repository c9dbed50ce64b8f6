"""What a run says of settings, splits and environments that may not do what they seem to."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
from gymnasium import spaces

from train.common.env_source import EnvSource
from train.common.envs import MOST_TASKS
from train.config.methods import get_method
from train.config.off_policy import MqlSettings
from train.config.settings import RunSettings

_N_RESETS = 20  # that are to tell whether a split has an effect


def settings_without_use(config: RunSettings) -> frozenset[str]:
    """Settings that have no effect with the environments of a run.

    Raises:
        ValueError: One cannot be made.
    """
    unused = _without_use(config)
    if config.eval_env_id:
        other = dataclasses.replace(config, env_id=config.eval_env_id, eval_env_id="")
        # evaluations are never processes, and train on nothing
        unused &= _without_use(other) | {"vectorization", "n_train_tasks"}
    return frozenset(unused)


def _without_use(config: RunSettings) -> set[str]:
    source = EnvSource.of(config)
    sets, known = source.facts().distribution, source.batch_arguments()
    unused = {"num_threads"} if known is None or "num_threads" not in known else set()
    if known is not None:
        unused.add("vectorization")
    if sets is not None:
        listed = [sets[name].tasks for name in sets.splits if name != "all"]
        if all(tasks is not None and len(tasks) <= MOST_TASKS for tasks in listed):
            unused.add("eval_tasks")
    unflattened = dataclasses.replace(source, flatten_observation=False)
    space = unflattened.facts().observation_space
    own_batch = unflattened.batch_arguments() is not None  # which flattening does without
    if not own_batch and isinstance(space, spaces.Box) and len(space.shape) == 1:
        unused.add("flatten_observation")
    split = get_method(config.method).split
    if sets is not None and split in sets and sets[split].tasks is not None:
        unused.add("n_train_tasks")
    return unused


def adaptation_notice(config: RunSettings) -> str:
    """A sentence if MQL's gradient steps at test move the critics only, else an empty text."""
    if not isinstance(config, MqlSettings):
        return ""
    most = max(config.snapshot_updates, config.replay_updates)
    if not 0 < most < config.policy_freq:
        return ""
    return (
        f"policy_freq = {config.policy_freq} is more than snapshot_updates = "
        f"{config.snapshot_updates} and replay_updates = {config.replay_updates}, each of which "
        "counts from 0: at test no gradient step moves the actor, so adaptation changes no "
        f"action; expected at least one of the two to be {config.policy_freq} or more"
    )


def split_notice(config: RunSettings) -> str:
    """A sentence if a method that trains on all tasks seems to be given train tasks only.

    Environments of a function of somebody else may not hand ``split`` on. Resets tell it, unless
    other tasks are too rare to be met; then there is nothing to say, and the text is empty.
    """
    split, source = get_method(config.method).split, EnvSource.of(config)
    distribution = source.facts().distribution
    if split == "train" or distribution is None:
        return ""
    drawn = distribution[split].sample(np.random.default_rng(0), 1000)
    outside = 1.0 - float(np.mean(distribution["train"].contains(drawn)))
    if (1.0 - outside) ** _N_RESETS > 0.01:
        return ""
    env = source.make(split)
    try:
        told = [env.reset(seed=seed)[1].get("task") for seed in range(_N_RESETS)]
    finally:
        env.close()
    if any(task is None or not distribution["train"].contains(task) for task in told):
        return ""
    return (
        f"{_N_RESETS} resets of {config.env_id} with split={split!r} have drawn train tasks only, "
        f"so method {config.method} may never see another one; ldm_envs.check_family tests whether "
        "split has an effect"
    )


def warn_of_unsaved_environments(config: RunSettings) -> None:
    """Say, of a resumed run whose iterations begin with seeded resets, what these do not restore.

    The environments of ``ldm_envs`` keep nothing beyond a reset; nobody knows that of others.
    """
    if EnvSource.of(config).of_ldm_envs:
        return
    print(
        f"warning: checkpoints of method {config.method} hold no state of {config.env_id}, as "
        "every iteration begins with a seeded reset: what the environment keeps beyond such a "
        "reset (a counter, a curriculum) begins anew, and if it keeps anything, what follows "
        "differs from an uninterrupted run",
        file=sys.stderr,
    )
