"""Train ProMP, E-MAML or one of their oracles: a policy that adapts by one gradient step.

    python train/promp.py --env-id LDM-HalfCheetahVel-v0 --method promp --seed 0

Rothfuss et al., "ProMP: Proximal meta-policy search" (ICLR 2019); Stadie et al., "Some
considerations on learning to explore via meta-reinforcement learning" (NeurIPS 2018). From top to
bottom: the policy, the objective, and how the learner is built. An iteration is
``MetaGradientLearner.iterate`` in ``train/meta_gradient/learner.py``. The loop around it
(evaluation, metrics, checkpoints, Ctrl-C) is shared by all methods: ``train/common/training.py``.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gymnasium import spaces

from train.common import training
from train.common.env_source import EnvSource
from train.common.envs import base_env, episode_length, runs_in_processes
from train.common.guard import FiniteCheckWrapper
from train.common.learner import chosen_device
from train.config.meta_gradient import MetaGradientSettings as Settings
from train.config.methods import get_method
from train.meta_gradient.learner import MetaGradientLearner
from train.meta_gradient.objectives import Objective
from train.meta_gradient.policy import MetaPolicy
from train.meta_gradient.rollouts import TaskRollouts


def meta_policy(config: Settings, env: FiniteCheckWrapper, device: str) -> MetaPolicy:
    """The policy, a memoryless one that sees the environment's own observations."""
    if not isinstance(env.single_action_space, spaces.Box):
        for name, usual in (("log_std_init", 0.0), ("action_scale", Settings.action_scale)):
            if (value := getattr(config, name)) != usual:
                raise ValueError(
                    f"{name} = {value} needs continuous actions, got {env.single_action_space}"
                )
    return MetaPolicy(
        env.single_observation_space,
        env.single_action_space,
        net_arch=config.net_arch,
        log_std_init=config.log_std_init,
        action_scale=config.action_scale,
        device=device,
    )


def objective(config: Settings) -> Objective:
    """The method's inner step and outer loss (``train/meta_gradient/objectives.py``)."""
    form = get_method(config.method).inner
    assert form is not None
    promp = form == "ratio"
    kl, exploration = config.inner_kl_coef, config.exploration_coef
    return Objective(
        inner_form=form,
        inner_lr=config.inner_lr,
        clip_range=config.clip_range,
        inner_kl_coef=(5e-4 if promp else 0.0) if kl is None else kl,
        exploration_coef=(0.0 if promp else 1.0) if exploration is None else exploration,
    )


def build(config: Settings) -> MetaGradientLearner:
    """Build environments, policy and learner of a run, without training anything.

    Where tasks can be pinned, all episodes of a task are played in parallel. Environments that draw
    their own tasks, or that each run in a process, play the episodes of a task in sequence.

    Raises:
        ValueError: If settings contradict the environment.
    """
    device = chosen_device(config.device)
    split = get_method(config.method).split
    length = episode_length(config)
    distribution = EnvSource.of(config).facts().distribution
    in_turn = distribution is None or runs_in_processes(config)
    per_task = 1 if in_turn else config.n_episodes
    env = FiniteCheckWrapper(base_env(config, config.n_tasks * per_task, split))
    policy = meta_policy(config, env, device)
    rollouts = TaskRollouts(env, policy, config.n_tasks, config.n_episodes, length)
    task_set = None if distribution is None else distribution[split]
    return MetaGradientLearner(config, policy, objective(config), rollouts, task_set, length)


# Repeat: rollouts, adaptation, outer updates ▸ evaluation, metrics, checkpoint.
train = partial(training.train, build)
main = partial(training.main, "train.promp", build)


if __name__ == "__main__":
    sys.exit(main())
