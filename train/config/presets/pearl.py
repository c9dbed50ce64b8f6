"""Presets of PEARL, and why."""

from __future__ import annotations

from typing import Any

from train.config.presets import off_policy

# Two episodes to explore, the third counts. The authors keep a million transitions per task, which
# nothing fills in 5 M steps of 100 tasks; ours counts all tasks together.
_PAPER: dict[str, Any] = {
    **off_policy.PAPER,
    "n_episodes": 3,
    "replay_size": 5_000_000,
    "net_arch": (300, 300, 300),
    "batch_size": 256,
    "updates_per_step": 0.4,
}
_ANT: dict[str, Any] = {**_PAPER, "context_size": 256, "updates_per_step": 0.8}
# An entropy coefficient of 0.2 on raw rewards has the optimum of 1 on rewards times 5; the other
# terms of the losses are scaled with it. Values are within reach of a small learning rate sooner.
_DEFAULT: dict[str, Any] = {
    **off_policy.DEFAULT,
    "n_episodes": 3,
    "encoder_hidden_sizes": (128, 128),
    "context_size": 64,
    "reward_scale": 1.0,
    "ent_coef": 0.2,
    "kl_weight": 0.1 / 25,
    "policy_regularization": 2e-4,
    "updates_per_step": 0.05,
}
# The first values whose returns on train tasks were seen to rise (results/off_policy): the last
# episode is better than the first from 10,000 gradient steps on, and earned -64 after 60,000.
# γ = 0.99 was no worse after 8000 and not followed further. Small networks and 256 transitions per
# step: 200,000 steps take about an hour of one core.
_CHEETAH: dict[str, Any] = {
    "net_arch": (128, 128),
    "encoder_hidden_sizes": (64, 64),
    "batch_size": 16,
    "context_size": 32,
    "updates_per_step": 0.1,
    "learning_rate": 1e-3,
    "tau": 0.01,
    "gamma": 0.95,
    "ent_coef": 0.05,
    "kl_weight": 0.001,
}
# four train directions: all in each visit and in each gradient step, of as many transitions as
# before
_ANT_DIR: dict[str, Any] = {"n_workers": 4, "meta_batch": 4, "batch_size": 256, "context_size": 128}
_ANT_GOAL: dict[str, Any] = {"n_train_tasks": 150, "meta_batch": 10}


def _family(default: dict[str, Any], paper: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"default": default, "paper": paper}


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "LDM-HalfCheetahVel-v0": _family({**_DEFAULT, **_CHEETAH}, _PAPER),
    "LDM-AntDir-v0": _family(
        {**_DEFAULT, **_ANT_DIR}, {**_ANT, "meta_batch": 4, "replay_size": 4_000_000}
    ),
    "LDM-AntGoal-v0": _family(
        {**_DEFAULT, **_ANT_GOAL, "context_size": 128, "kl_weight": 1.0 / 25},
        {**_ANT, **_ANT_GOAL, "kl_weight": 1.0},
    ),
}
METHODS = ("pearl",)
