"""Presets of PEARL, and the reasons for them."""

from __future__ import annotations

from typing import Any

from train.config.presets import off_policy

# Two episodes to explore; the third counts. The authors keep a million transitions per task, which
# 5 M steps on 100 tasks never fill; replay_size counts all tasks together.
_PAPER: dict[str, Any] = {
    **off_policy.PAPER,
    "n_episodes": 3,
    "replay_size": 5_000_000,
    "net_arch": (300, 300, 300),
    "batch_size": 256,
    "updates_per_step": 0.4,
}
_ANT: dict[str, Any] = {**_PAPER, "context_size": 256, "updates_per_step": 0.8}
# Unscaled rewards: the published entropy coefficient of 1, for rewards times 5, corresponds to 0.2,
# and the other terms of the losses scale in the same way.
_DEFAULT: dict[str, Any] = {
    **off_policy.DEFAULT,
    "n_episodes": 3,
    "encoder_hidden_sizes": (64, 64),
    "batch_size": 16,
    "context_size": 32,
    "reward_scale": 1.0,
    "ent_coef": 0.05,
    "kl_weight": 0.001,
    "policy_regularization": 2e-4,
}
# four train directions: all of them in each visit and in each gradient step, with as many
# transitions as before; the KL term is summed over the tasks of a gradient step
_ANT_DIR: dict[str, Any] = {
    **off_policy.ANT_DIR,
    "n_workers": 4,
    "meta_batch": 4,
    "batch_size": 64,
    "kl_weight": 0.004,
}
_ANT_GOAL: dict[str, Any] = {"n_train_tasks": 150}


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "LDM-HalfCheetahVel-v0": {"default": _DEFAULT, "paper": _PAPER},
    "LDM-AntDir-v0": {
        "default": {**_DEFAULT, **_ANT_DIR},
        "paper": {**_ANT, "meta_batch": 4, "replay_size": 4_000_000},
    },
    "LDM-AntGoal-v0": {
        "default": {**_DEFAULT, **off_policy.ANT, **_ANT_GOAL, "kl_weight": 0.01},
        "paper": {**_ANT, **_ANT_GOAL, "meta_batch": 10, "kl_weight": 1.0},
    },
}
METHODS = ("pearl",)
