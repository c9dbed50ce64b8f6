"""Presets of HalfCheetahVel, and why."""

from __future__ import annotations

from typing import Any

from ldm_wrappers.imagination import DirichletMixture, ExpectedReward
from train.config.presets.mujoco import AUTHORS_KL_WEIGHT, CHEAP_VAE, MUJOCO, VARIBAD
from train.config.presets.preset import Preset

_CHEETAH_VEL = {
    **MUJOCO,
    "latent_dim": 5,
    "n_mixture": 4,
    "clip_range": 0.1,
    "vae_updates": 1,
    "total_timesteps": 50_000_000,
}
# 64 workers step faster than 16. Twice the epochs and minibatches, so that there are as many policy
# updates per step, and VAE updates too. Half an hour on one core.
_CHEETAH_VEL_64 = {
    **_CHEETAH_VEL,
    **CHEAP_VAE,
    "n_workers": 64,
    "n_mixture": 16,
    "n_epochs": 4,
    "n_minibatches": 8,
    "vae_updates": 4,
    "total_timesteps": 10_000_000,
    # as in the committed runs, whose rollouts of 200 steps it did not spoil
    "finite_horizon": True,
}

_RL2 = {"net_arch": (128,)}
_PAPER_METHODS: dict[str, dict[str, Any]] = {
    "ldm": _RL2,
    "rl2": _RL2,
    "mixreg": _RL2,
    "oracle-rl2": _RL2,
    "varibad": VARIBAD,
}
_PAPER = {"imagination": ExpectedReward(n_dropout_masks=1)}
_CODE: dict[str, Any] = {
    **_PAPER,
    "kl_weight": AUTHORS_KL_WEIGHT,
    "mixture": DirichletMixture(per_dimension=True),
}

PRESETS: dict[str, dict[str, Preset]] = {
    "LDM-HalfCheetahVel-v0": {
        "default": Preset(_CHEETAH_VEL_64, {"varibad": VARIBAD}),
        "paper": Preset({**_CHEETAH_VEL, **_PAPER}, _PAPER_METHODS),
        "authors-code": Preset({**_CHEETAH_VEL, **_CODE}, _PAPER_METHODS),
    },
}
