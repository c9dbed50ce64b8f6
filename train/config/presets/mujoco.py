"""What the presets of the MuJoCo families share."""

from __future__ import annotations

from typing import Any

from ldm_wrappers.imagination import DirichletMixture, ExpectedReward
from train.config.presets.preset import Preset

# The paper's MuJoCo runs with the sizes of the authors' configuration: PPO, with observations and
# rewards normalised for the policy
MUJOCO: dict[str, Any] = {
    "n_episodes": 2,
    "n_workers": 16,
    "n_mixture_workers": 2,
    "n_steps": 200,
    "truncate_backpropagation": True,
    "n_epochs": 2,
    "n_minibatches": 4,
    "learning_rate": 7e-4,
    "optimizer": "adam",
    "optimizer_eps": 1e-8,
    "gamma": 0.97,
    "gae_lambda": 0.9,
    "clip_range": 0.05,
    "ent_coef": 0.01,
    "normalize_advantage": True,
    "normalize_observation": True,
    "normalize_reward": True,
    "net_arch": (128, 128),
    # the authors bootstrap at every time limit; a value of 0 after step 400, which the observations
    # do not announce, would harm the update with the end of a meta-episode
    "finite_horizon": False,
    "p_drop": 0.5,
    "vae_updates": 2,
    "vae_trajectories": 10,
    "vae_encoded_lengths": 50,
    "vae_buffer_trajectories": 10_000,
    "eval_interval": 500_000,
}
# A random subset of the encoded lengths keeps the ELBO unbiased, and worsens it by less than 2 %
# after the same number of updates (benchmarks/vae_update.py). Using only a quarter of the decoded
# steps as well (vae_decoded_steps=100) saves another quarter of the time, but costs 3 to 5 %.
CHEAP_VAE: dict[str, Any] = {"vae_encoded_lengths": 10}
# variBAD's own settings: no dropout in the decoder
VARIBAD: dict[str, Any] = {"p_drop": 0.0}
# A narrower initial policy and many small updates, with rollouts that are a fraction of an episode
# but longer than the horizon of gamma and gae_lambda, which is 1 / (1 - 0.97 * 0.9) = 8 steps.
# Without target_kl and an entropy bonus, an Ant's policy narrows, its updates grow (KL 0.3) and the
# return stays at 350 from two million steps on.
SMALL_UPDATES: dict[str, Any] = {
    "n_workers": 64,
    "n_epochs": 5,
    "learning_rate": 3e-4,
    "clip_range": 0.2,
    "target_kl": 0.03,
    "ent_coef": 0.005,
    "log_std_init": -1.0,
    "vae_updates": 1,
}
# In the first minutes of the VAE's training this infers the hidden task many times sooner, per CPU
# second, than the recurrent encoder on raw inputs (results/beliefs, with open questions): a
# regression instead of a GRU, scaled inputs, an initially narrow posterior, batches of many tasks
# with few encoded lengths and decoded steps each, a learning rate that starts high, and averaged
# weights. An update takes slightly less time than one of the default preset.
MOMENTS: dict[str, Any] = {
    "encoder": "moments",
    "encoder_projections": 16,
    "reward_scale": "running",
    "scale_observations": True,
    "initial_posterior_std": 0.135,
    "vae_trajectories": 50,
    "vae_encoded_lengths": 4,
    "vae_decoded_steps": 50,
    "vae_learning_rate": 2e-3,
    "vae_decay_updates": 300,
    "vae_ema_decay": 0.98,
    "vae_max_grad_norm": 1.0,
}
_RL2_METHODS = ("ldm", "rl2", "known-task", "mixreg", "oracle-rl2")


def paper_methods(varibad: dict[str, Any], **recurrent: Any) -> dict[str, dict[str, Any]]:
    """Changes for variBAD, and for the methods with RL²'s network, in the authors' runs."""
    values = {"net_arch": (128,), **recurrent}
    return {**dict.fromkeys(_RL2_METHODS, values), "varibad": varibad}


def paper_presets(
    family: dict[str, Any], methods: dict[str, dict[str, Any]], beta: float = 1.0, **code_only: Any
) -> dict[str, Preset]:
    """The presets ``paper`` and ``authors-code`` of a family.

    The published code draws mixture weights per latent dimension, mixes samples from beliefs, keeps
    the oldest trajectories and cuts advantages at every time limit. Its reconstruction term is a
    mean over decoded steps, so the KL term weighs 50 times as much. Not followed is its value loss,
    a Huber loss of clipped values; here it is the squared error.
    """
    paper = {**family, "imagination": ExpectedReward(n_dropout_masks=1)}
    mixture = DirichletMixture(beta=beta, per_dimension=True)
    code = {
        **paper,
        "kl_weight": 50.0,
        "mixture": mixture,
        "imagination": ExpectedReward(n_dropout_masks=1, belief_samples=True),
        "vae_buffer_keeps": "oldest",
        "cut_at_time_limits": True,
        **code_only,
    }
    return {"paper": Preset(paper, methods), "authors-code": Preset(code, methods)}
