"""Presets of MIER, and the reasons for them."""

from __future__ import annotations

from typing import Any

from train.config.presets import off_policy

# Two episodes with the initial context; the third counts. On test tasks from another distribution,
# as in the experiments of LDM, the authors relabel: 20 000 SAC steps on HalfCheetahVel.
_PAPER: dict[str, Any] = {
    **off_policy.PAPER,
    "n_episodes": 3,
    "replay_size": 5_000_000,
    "net_arch": (300, 300, 300),
    "updates_per_step": 0.2,
    "adapt_from": 0.95,
    "relabel_updates": 20_000,
}
_ANT: dict[str, Any] = {
    **_PAPER,
    "batch_size": 400,
    "net_arch": (256, 256),
    "relabel_updates": 1000,
    "test_context_steps": 20,
    "test_model_updates": 0,
}
# An eighth of the transitions, and smaller models. Only the last evaluation relabels, which takes
# about ten seconds per test task.
_DEFAULT: dict[str, Any] = {
    **off_policy.DEFAULT,
    "n_episodes": 3,
    "batch_size": 25,
    "model_hidden_sizes": (128, 128),
    "adapt_from": 1.0,
    "relabel_updates": 1000,
}
_DEFAULT_ANT: dict[str, Any] = {
    **_DEFAULT,
    **off_policy.ANT,
    "test_context_steps": 20,
    "test_model_updates": 0,
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "LDM-HalfCheetahVel-v0": {"default": _DEFAULT, "paper": _PAPER},
    "LDM-AntDir-v0": {
        "default": {**_DEFAULT_ANT, **off_policy.ANT_DIR, "n_workers": 4},
        "paper": _ANT,
    },
    "LDM-AntGoal-v0": {
        "default": {**_DEFAULT_ANT, "n_train_tasks": 150},
        "paper": {**_ANT, "n_train_tasks": 150},
    },
}
METHODS = ("mier",)
