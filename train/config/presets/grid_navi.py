"""Presets of the GridNavi family, and the reasons for them."""

from __future__ import annotations

from typing import Any

from ldm_wrappers.imagination import DirichletMixture, ExpectedReward, PlausibleTasks
from ldm_wrappers.latent_dynamics import LatentDynamicsConfig
from train.config.presets.preset import Preset

# VAE and discounting of the authors' gridworld runs
_GRID: dict[str, Any] = {
    "n_episodes": 4,
    "n_steps": 120,
    "gamma": 0.95,
    "gae_lambda": 0.95,
    "ent_coef": 0.1,
    "optimizer": "rmsprop",
    "optimizer_eps": 1e-5,
    "net_arch": (32,),
    **LatentDynamicsConfig.grid().to_dict(),
    "vae_trajectories": 25,
    "vae_buffer_trajectories": 20_000,
}
_GRID_METHODS: dict[str, dict[str, Any]] = {
    "varibad": {"decoder_heads": 49, "p_drop": 0.0, "vae_updates": 12},
}
# Half of LDM's steps are imaginary, so that its 10 M contain as many real ones as the 5 M of the
# other methods. The oracles have 45 goals to learn instead of 18.
_GRID_LONG: dict[str, Any] = {"total_timesteps": 10_000_000, "lr_decay_start": 0.5}
# No average of policies for variBAD: it would be given beliefs of an encoder that most of them were
# not trained with. Single policies are erratic, hence the decaying learning rate. The network and
# the entropy coefficient were chosen by train returns of the first million steps.
_GRID_PPO_METHODS: dict[str, dict[str, Any]] = {
    "varibad": {
        **_GRID_METHODS["varibad"],
        "policy_ema_decay": 0.0,
        "net_arch": (64, 64),
        "ent_coef": 0.02,
        "lr_decay_start": 0.5,
    },
    "oracle-rl2": _GRID_LONG,
    "oracle-varibad": _GRID_LONG,
}
# Sized for minutes on two cores: 64 workers, and VAE updates on a random subset of encoded lengths.
# PPO reaches the train optimum in a fifth of A2C's steps, and in half of that with normalised
# observations (cells are numbers up to 6, which saturate an LSTM). Rewards are normalised too:
# otherwise the value loss of returns up to 24 would dominate the policy loss in the shared LSTM,
# and the first million steps would teach almost nothing. An average over the last hundred or so
# policies is evaluated, since a single policy is erratic while it finds no reward. LDM's learning
# rate decays once the train tasks are learned, since a converged policy is erratic too.
# Imaginary tasks are made such that the environment could have them: each stays the same from its
# first step to its last (final beliefs, one dropout mask), and its reward is 1 or -0.1, with 1 on
# the most likely of the cells that the mixture workers visited in the last rollout. Each mixes the
# beliefs of three random workers, because a Dirichlet mixture of many is close to their mean. Of 32
# candidates per task, those are kept that reward cells which few others reward, because goals that
# are rare among imaginary tasks are found last. Single masks reward more unseen cells than a mean
# over masks; both reward fewer the longer the VAE is trained, hence four updates. Half of the
# workers are mixture workers, since only they ever enter a second episode without knowing the goal.
_GRID_PPO: dict[str, Any] = {
    **_GRID,
    "n_workers": 64,
    "n_mixture_workers": 32,
    "mixture": DirichletMixture(n_components=3),
    "imagination": PlausibleTasks(
        threshold=0.7, n_remembered_transitions=32 * 120, n_candidates=32, n_dropout_masks=1
    ),
    "n_epochs": 4,
    "n_minibatches": 4,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "policy_ema_decay": 0.993,
    "ent_coef": 0.05,
    "normalize_advantage": True,
    "normalize_observation": True,
    "normalize_reward": True,
    # as in the committed results; on the validation grid, "real" is no worse
    # (results/gridworld/return_statistics, one seed each)
    "return_statistics": "all",
    "vae_updates": 4,
    "vae_encoded_lengths": 8,
    "total_timesteps": 5_000_000,
}
# Imaginary tasks as in the paper: made of present beliefs, so that they change while workers still
# explore, with weights per latent dimension as in the authors' code, and with the decoder's
# expected rewards, a mean over dropout masks. With normalised rewards, more mixture workers and
# fewer VAE updates, as in the default, they reached fewer unseen goals.
_GRID_PRESENT_BELIEFS: dict[str, Any] = {
    **_GRID_PPO,
    "n_mixture_workers": 16,
    "mixture": DirichletMixture(n_components=5, per_dimension=True),
    "imagination": ExpectedReward(),
    "vae_updates": 8,
    "normalize_reward": False,
}
# Imaginary tasks exactly as in the authors' code: weights per dimension over 14 workers, samples of
# their beliefs, one dropout mask, the KL weight of a reconstruction term that is a mean, and a
# buffer that keeps only what the first 12 % of the run have shown.
_GRID_PUBLISHED_TASKS: dict[str, Any] = {
    **_GRID_PRESENT_BELIEFS,
    "n_mixture_workers": 8,
    "mixture": DirichletMixture(n_components=14, per_dimension=True),
    "imagination": ExpectedReward(n_dropout_masks=1, belief_samples=True),
    "vae_buffer_keeps": "oldest",
    "vae_buffer_trajectories": 5_000,
    "kl_weight": 120.0,
}
# the same with the network of the authors' policy: embeddings of raw observations and rewards, a
# GRU and a linear layer before the heads; the previous action is not shown
_GRID_PUBLISHED_NETWORK: dict[str, Any] = {
    **_GRID_PUBLISHED_TASKS,
    "policy_memory": "encoder",
    "normalize_observation": False,
}
# the imaginary tasks of present-beliefs with the paper's policy learner, A2C
_GRID_A2C: dict[str, Any] = {
    **_GRID,
    "n_workers": 64,
    "n_mixture_workers": 8,
    "mixture": DirichletMixture(n_components=14, per_dimension=True),
    "learning_rate": 1.4e-3,
    "vae_updates": 8,
    "vae_encoded_lengths": 8,
    "total_timesteps": 16_000_000,
}
# A2C with the published imaginary tasks and the published budget: about three hours on one core
_GRID_PUBLISHED_LEARNER: dict[str, Any] = {
    **_GRID_A2C,
    "imagination": ExpectedReward(n_dropout_masks=1, belief_samples=True),
    "vae_buffer_keeps": "oldest",
    "vae_buffer_trajectories": 100_000,
    "kl_weight": 120.0,
    "total_timesteps": 100_000_000,
}
_GRID_PAPER: dict[str, Any] = {
    **_GRID,
    "n_workers": 16,
    "n_mixture_workers": 2,
    "learning_rate": 7e-4,
    "vae_updates": 2,
    "vae_encoded_lengths": None,
    "vae_buffer_trajectories": 100_000,
    "imagination": ExpectedReward(n_dropout_masks=1),
    "total_timesteps": 100_000_000,
}
_GRID_PAPER_METHODS = {
    "varibad": {**_GRID_METHODS["varibad"], "vae_updates": 3, "net_arch": (32, 32)}
}
# Where the published code differs from the paper: mixture weights per latent dimension, mixtures of
# samples from the beliefs, a reconstruction term that is a mean over the 120 decoded steps next to
# a KL term that is a sum, and a buffer that never replaces its content (12 % of the run).
_GRID_CODE: dict[str, Any] = {
    **_GRID_PAPER,
    "mixture": DirichletMixture(per_dimension=True),
    "imagination": ExpectedReward(n_dropout_masks=1, belief_samples=True),
    "vae_buffer_keeps": "oldest",
    "kl_weight": 120.0,
}


def _grid_presets(authors_p_drop: float) -> dict[str, Preset]:
    """The presets of a grid; all but the default use the authors' dropout rate on that grid."""
    rate = {"p_drop": authors_p_drop}
    return {
        "default": Preset(
            _GRID_PPO, {"ldm": _GRID_LONG, "ldm-varibad": _GRID_LONG, **_GRID_PPO_METHODS}
        ),
        "present-beliefs": Preset({**_GRID_PRESENT_BELIEFS, **rate}, _GRID_PPO_METHODS),
        "published-tasks": Preset({**_GRID_PUBLISHED_TASKS, **rate}, _GRID_PPO_METHODS),
        "published-network": Preset({**_GRID_PUBLISHED_NETWORK, **rate}, _GRID_PPO_METHODS),
        "published-learner": Preset({**_GRID_PUBLISHED_LEARNER, **rate}, _GRID_METHODS),
        "a2c": Preset({**_GRID_A2C, **rate}, _GRID_METHODS),
        "paper": Preset({**_GRID_PAPER, **rate}, _GRID_PAPER_METHODS),
        "authors-code": Preset({**_GRID_CODE, **rate}, _GRID_PAPER_METHODS),
    }


PRESETS: dict[str, dict[str, Preset]] = {
    "LDM-GridNavi-v0": _grid_presets(authors_p_drop=0.7),
    "LDM-GridNaviExtrapolation-v0": _grid_presets(authors_p_drop=0.5),
    # some of GridNavi's train tasks are held out, for design choices
    "LDM-GridNaviValidation-v0": _grid_presets(authors_p_drop=0.7),
}
