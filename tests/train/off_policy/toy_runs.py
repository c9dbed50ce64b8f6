"""Settings and episodes of the toy: small networks, one goal out of two."""

from __future__ import annotations

from typing import Any

import numpy as np
from line_env import HORIZON

from train.config.presets import resolve
from train.off_policy.episodes import Episode

_SHARED: dict[str, Any] = {
    "device": "cpu",
    "n_workers": 4,
    "batch_size": 32,
    "net_arch": (64, 64),
    "learning_rate": 1e-3,
    "initial_episodes": 10,
    "updates_per_step": 1.0,
    "replay_size": 20_000,
    "tau": 0.01,
}
_METHODS: dict[str, dict[str, Any]] = {
    "pearl": {
        "meta_batch": 8,
        "context_size": 20,
        "encoder_hidden_sizes": (64, 64),
        "latent_dim": 2,
        "ent_coef": 0.02,
        "reward_scale": 1.0,
        "kl_weight": 0.002,
        "policy_regularization": 2e-5,
    },
    "mql": {
        "n_episodes": 3,
        "history_length": 4,
        "context_dim": 8,
        "batch_size": 64,
        "snapshot_updates": 10,
        "replay_updates": 100,
        "adapt_batch_size": 64,
        "propensity_c": 1.0,
    },
    "mier": {
        "meta_batch": 4,
        "batch_size": 20,
        "context_dim": 2,
        "model_hidden_sizes": (64, 64),
        "context_learning_rate": 0.1,
        "relabel_batch_size": 64,
        "real_share": 0.1,
    },
}


def settings(method: str, env_id: str = "line_env:line", **changes: Any) -> Any:
    return resolve(env_id, method, **{**_SHARED, **_METHODS[method], **changes})


def line_episode(goal: float, rng: np.random.Generator) -> Episode:
    """Random actions."""
    actions = rng.uniform(-1, 1, (HORIZON, 1)).astype(np.float32)
    x = np.concatenate([[[0.0]], np.cumsum(0.2 * actions, axis=0)]).astype(np.float32)
    return Episode(x, actions, -np.abs(x[1:, 0] - goal).astype(np.float32), False)
