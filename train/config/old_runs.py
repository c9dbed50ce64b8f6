"""Former names of settings, and values for runs that are older than a setting."""

from __future__ import annotations

from typing import Any

# former name: present name; command lines and files may still use the former one
FORMER_NAMES = {
    "n_mixture": "n_mixture_workers",
    "anneal_from": "lr_decay_start",
    "policy_averaging": "policy_ema_decay",
    "vae_averaging": "vae_ema_decay",
}
# settings that some runs of version 0.2 lack, with the value that reproduces their behaviour
DEFAULTS_FOR_OLD_RUNS: dict[str, Any] = {
    "env_kwargs": (), "max_episode_steps": None, "observation_keys": (),
    "flatten_observation": False, "vectorization": "sync", "eval_env_id": "",
}  # fmt: skip
# further ones, of on-policy methods only: other methods always had their settings of these names
DEFAULTS_FOR_OLD_ON_POLICY_RUNS: dict[str, Any] = {
    "reward_scale": 1.0, "encoder": "gru", "encoder_features": 64, "encoder_projections": 32,
    "initial_posterior_std": None, "scale_observations": False, "vae_decay_updates": None,
    "vae_ema_decay": 0.0, "vae_max_grad_norm": None, "vae_buffer_keeps": "newest",
    "clip_range_vf": None, "cut_at_time_limits": False, "stagger_workers": False,
    "observation_to_heads": False, "policy_memory": "lstm",
}  # fmt: skip


def present_name(name: str) -> str:
    """The present name of a setting."""
    return FORMER_NAMES.get(name, name)


def with_present_names(values: dict[str, Any]) -> dict[str, Any]:
    """Settings under their present names.

    Raises:
        ValueError: If a setting is given under both of its names.
    """
    both = sorted(name for name in FORMER_NAMES if {name, FORMER_NAMES[name]} <= set(values))
    if both:
        raise ValueError(f"{both[0]} is now called {FORMER_NAMES[both[0]]}: expected only one name")
    return {present_name(name): value for name, value in values.items()}


def row_with_present_names(row: dict[str, str]) -> dict[str, str]:
    """A row of a results file under present names; ``overrides`` may hold ``name=value`` pairs.

    Raises:
        ValueError: If a column exists under both of its names.
    """
    present = with_present_names(row)
    if "overrides" in present:
        pairs = (pair.partition("=") for pair in present["overrides"].split())
        changed = (f"{present_name(name)}{rest}{value}" for name, rest, value in pairs)
        present["overrides"] = " ".join(changed)
    return present
