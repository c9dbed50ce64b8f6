"""Presets of MQL, and the reasons for them."""

from __future__ import annotations

from typing import Any

from train.config.presets import off_policy

# The authors collect one episode of a test task. Ten fill their snapshot of 2000 transitions, and
# the LDM paper reports the eleventh.
_PAPER: dict[str, Any] = {
    **off_policy.PAPER,
    "n_episodes": 11,
    "replay_size": 1_000_000,
    "net_arch": (300, 300),
}
# The authors begin with 500 random steps of each task (1500 on the Ants), and at least 10,000 in
# total. Here these are whole episodes of 200 steps; on AntDir, five environments play ten each.
_CHEETAH: dict[str, Any] = {"initial_episodes": 3}
_ANT_DIR: dict[str, Any] = {
    "initial_episodes": 10,
    "learning_rate": 3e-4,
    "policy_freq": 4,
    "exploration_noise": 0.2,
    "target_noise": 0.4,
    "history_length": 25,
    "context_dim": 30,
    "snapshot_updates": 5,
    "replay_updates": 400,
    "propensity_clip": 1.2,
    "propensity_c": 0.05,
}
_ANT_GOAL: dict[str, Any] = {
    "n_train_tasks": 150,
    "initial_episodes": 8,
    "learning_rate": 4e-4,
    "policy_freq": 4,
    "history_length": 40,
    "context_dim": 40,
    "snapshot_size": 1000,
    "replay_updates": 150,
    "adapt_batch_size": 256,
    "propensity_clip": 2.0,
    "propensity_features": "observation-context",
}
# Only evaluations in the last twentieth of a run adapt weights, two on HalfCheetahVel and one on
# the Ants, since adaptation takes longer than the episodes.
_DEFAULT: dict[str, Any] = {
    **off_policy.DEFAULT,
    "n_episodes": 11,
    "initial_episodes": 3,
    "adapt_from": 0.95,
}


def _family(
    own: dict[str, Any], updates_per_step: float, **default: Any
) -> dict[str, dict[str, Any]]:
    paper = {**_PAPER, **own, "updates_per_step": updates_per_step}
    return {"default": {**own, **_DEFAULT, **default}, "paper": paper}


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "LDM-HalfCheetahVel-v0": _family(_CHEETAH, 1.0),
    "LDM-AntDir-v0": _family(_ANT_DIR, 1.0, **off_policy.ANT_DIR),
    "LDM-AntGoal-v0": _family(_ANT_GOAL, 0.2, **off_policy.ANT),
}
METHODS = ("mql",)
