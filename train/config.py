"""Every setting of a training run, typed, documented and saved with the run."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from train.methods import MethodName, method
from train.setting_types import check_types

DecoderInput = Literal["observation", "action", "next_observation"]


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of one run; each is a flag of ``train/recurrent_ppo.py``.

    The defaults that a run starts from are its preset's (``train/presets.py``).
    """

    env_id: str = "LDM-GridNavi-v0"
    """Any registered id, or ``module:Id-v0``."""
    method: MethodName = "ldm"
    """ldm, rl2, varibad, mixreg, oracle-rl2 (also called oracle) or oracle-varibad."""
    preset: str = "default"
    """Preset of the environment; ``default`` is made for minutes, ``paper`` is the authors'."""
    seed: int = 0
    """Seed of everything random."""
    total_timesteps: int = 1_000_000
    """Environment steps of all workers together."""
    device: str = "auto"
    """Device of policy and VAE: cpu, cuda, … ; auto takes a GPU where there is one."""
    run_dir: str = ""
    """Run folder; empty: runs/<env_id>-<method>-seed<seed>."""
    overwrite: bool = False
    """Delete an existing run folder first."""

    n_episodes: int = 1
    """Episodes N of one task in a meta-episode."""
    finite_horizon: bool = True
    """The end of a meta-episode is an end: no bootstrapping from the value behind it."""
    n_workers: int = 16
    """Environments in parallel, mixture workers included."""
    n_mixture: int = 2
    """Mixture workers among them (ldm only)."""
    beta: float = 1.0
    """Degree of extrapolation of the mixture weights (Eq. 1), positive."""
    mixture_components: int | None = None
    """Random normal workers that take part in one mixture; None for all of them."""
    mixture_per_dimension: bool = False
    """Draw mixture weights per latent dimension, as the authors' code does."""
    dropout_samples: int = 8
    """Dropout masks an imaginary reward is averaged over; 1: the authors' code, 0: no dropout."""
    dropout_per_task: bool = False
    """Keep these masks for a whole imaginary task, which then has one reward function; otherwise
    new ones are drawn at every step."""
    final_beliefs: bool = False
    """Mix the beliefs from the end of the normal workers' latest tasks, not their current ones."""
    reward_threshold: float | None = None
    """Pay an imaginary task's high reward where it is more likely than this, else its low one
    (bernoulli); None for the expected reward, as in the paper."""
    threshold_window: int = 0
    """Make reward_threshold a share of the highest odds that the task gives to any of the mixture
    workers' last so many transitions; 0: an absolute probability."""
    num_threads: int | None = None
    """Threads of the batched physics engine (MuJoCo families); None for one per core."""

    n_steps: int = 128
    """Steps per worker and update; whole meta-episodes unless truncate_backpropagation."""
    truncate_backpropagation: bool = False
    """Allow n_steps to split meta-episodes; gradients then end at the rollout's edges."""
    n_epochs: int = 1
    """Passes over a rollout per update."""
    n_minibatches: int = 1
    """Minibatches of whole workers per pass."""
    learning_rate: float = 7e-4
    """Policy learning rate."""
    anneal_from: float = 1.0
    """Share of total_timesteps after which the policy's learning rate falls linearly to 0; 1: it
    stays as it is."""
    policy_averaging: float = 0.0
    """Decay per update of the running average of the policy's weights that is evaluated and saved
    (Polyak averaging); 0: the newest weights."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Policy optimizer; rmsprop with α = 0.99."""
    optimizer_eps: float = 1e-5
    """The policy optimizer's ε."""
    gamma: float = 0.95
    """Discount factor."""
    gae_lambda: float = 0.95
    """λ of generalised advantage estimation."""
    clip_range: float = 0.2
    """PPO's clip range; without effect at one epoch of one minibatch (A2C)."""
    ent_coef: float = 0.01
    """Entropy coefficient."""
    vf_coef: float = 0.5
    """Value loss coefficient."""
    max_grad_norm: float = 0.5
    """Largest norm of the policy gradient."""
    normalize_advantage: bool = False
    """Normalise advantages per minibatch."""
    lstm_hidden_size: int = 128
    """Width of the policy's LSTM (recurrent methods)."""
    net_arch: tuple[int, ...] = (32,)
    """Hidden layers of the policy and of the value head, tanh."""
    value_trains_lstm: bool = True
    """Let the value loss train the shared LSTM, as RL² does."""
    normalize_observation: bool = False
    """Normalise the policy's observations by running statistics (the VAE always sees raw ones)."""
    normalize_reward: bool = False
    """Normalise rewards, imaginary ones alike, by the running scale of returns."""
    mixreg_alpha: float = 0.2
    """Mixing weights of mixreg are drawn from Beta(α, α)."""

    latent_dim: int = 5
    """Size of the VAE's latent."""
    encoder_observation_size: int = 32
    """Width of the encoder's embedding of s'; 0 leaves it out."""
    encoder_action_size: int = 16
    """Width of the encoder's embedding of a; 0 leaves it out."""
    encoder_reward_size: int = 16
    """Width of the encoder's embedding of r; 0 leaves it out."""
    encoder_hidden_size: int = 128
    """Width of the encoder's GRU."""
    decoder_inputs: tuple[DecoderInput, ...] = ("observation", "action", "next_observation")
    """What the reward decoder sees beside the latent."""
    decoder_observation_size: int = 32
    """Width of the decoder's embeddings of s and s'."""
    decoder_action_size: int = 16
    """Width of the decoder's embedding of a."""
    decoder_hidden_sizes: tuple[int, ...] = (64, 32)
    """Hidden layers of the reward decoder."""
    decoder_heads: int = 1
    """1, or one head per cell of an integer-valued observation."""
    likelihood: Literal["bernoulli", "gaussian"] = "gaussian"
    """Reward likelihood of the decoder."""
    reward_low: float = 0.0
    """Reward of a Bernoulli outcome 0."""
    reward_high: float = 1.0
    """Reward of a Bernoulli outcome 1."""
    p_drop: float = 0.5
    """Dropout rate on the decoder's embedded inputs, in [0, 1)."""
    kl_weight: float = 1.0
    """Weight of the KL terms in the ELBO."""
    vae_learning_rate: float = 1e-3
    """Adam learning rate of the VAE."""
    vae_updates: int = 2
    """VAE updates per policy update."""
    vae_trajectories: int = 10
    """Trajectories per VAE update."""
    vae_encoded_lengths: int | None = None
    """Encoded lengths per trajectory and VAE update; None for all."""
    vae_decoded_steps: int | None = None
    """Decoded transitions per trajectory and VAE update; None for all."""
    vae_buffer_trajectories: int = 10_000
    """Trajectories kept for the VAE; the newest replace the oldest."""

    eval_interval: int = 250_000
    """Environment steps between evaluations; the end is always evaluated."""
    eval_tasks: int = 16
    """Tasks of the fixed sample that stands for a continuous set."""
    log_interval: int = 10
    """Policy updates between rows of metrics.csv."""
    checkpoint_interval: int = 1_000_000
    """Environment steps between checkpoints; one is always written at the end or on Ctrl-C."""

    def __post_init__(self) -> None:
        chosen = method(self.method)
        check_types(self)
        positive = (
            "total_timesteps n_episodes n_workers n_steps n_epochs n_minibatches learning_rate "
            "optimizer_eps beta lstm_hidden_size vae_learning_rate vae_updates vae_trajectories "
            "vae_buffer_trajectories eval_interval eval_tasks log_interval checkpoint_interval "
            "clip_range max_grad_norm mixreg_alpha"
        )
        for name in positive.split():
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive, got {value}")
        for name in ("seed", "ent_coef", "vf_coef", "dropout_samples", "threshold_window"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must not be negative, got {value}")
        if self.seed >= 2**32:
            raise ValueError(f"seed must be below 2^32, got {self.seed}")
        for name in ("gamma", "gae_lambda", "anneal_from"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        for name in ("p_drop", "policy_averaging"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        for name in (
            "mixture_components",
            "vae_encoded_lengths",
            "vae_decoded_steps",
            "num_threads",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1 or None, got {value}")
        if self.dropout_per_task and not self.dropout_samples:
            raise ValueError(
                "dropout_per_task needs dropout_samples of at least 1, got 0; without any: "
                "--no-dropout-per-task"
            )
        if self.reward_threshold is not None:
            if self.likelihood != "bernoulli":
                raise ValueError(
                    f"reward_threshold = {self.reward_threshold} needs likelihood bernoulli, got "
                    f"{self.likelihood}"
                )
            if not 0.0 < self.reward_threshold < 1.0:
                raise ValueError(
                    f"reward_threshold must lie in (0, 1) or be None, got {self.reward_threshold}"
                )
        if self.threshold_window and self.reward_threshold is None:
            raise ValueError(
                f"threshold_window = {self.threshold_window} needs a reward_threshold, got None"
            )
        if not self.net_arch or min(self.net_arch) < 1:
            raise ValueError(f"net_arch needs at least one positive width, got {self.net_arch}")
        if chosen.imaginary and not 1 <= self.n_mixture < self.n_workers:
            raise ValueError(
                f"n_mixture must lie between 1 and n_workers - 1 = {self.n_workers - 1} for method "
                f"{self.method}, got {self.n_mixture}"
            )
        components = self.mixture_components
        if chosen.imaginary and components is not None and components > self.n_normal:
            raise ValueError(
                f"mixture_components must be at most the n_workers - n_mixture = {self.n_normal} "
                f"normal workers, got {components}"
            )
        if self.n_workers % self.n_minibatches:
            raise ValueError(
                f"n_minibatches must divide n_workers = {self.n_workers}, got {self.n_minibatches}"
            )

    @property
    def n_normal(self) -> int:
        """Workers that earn the environment's own rewards."""
        return self.n_workers - (self.n_mixture if method(self.method).imaginary else 0)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """Inverse of :meth:`to_dict`; unknown or missing settings are a ``ValueError``."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown, missing = sorted(set(values) - known), sorted(known - set(values))
        if unknown or missing:
            raise ValueError(f"settings do not fit: unknown {unknown}, missing {missing}")
        fixed: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**fixed)
