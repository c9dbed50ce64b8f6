"""Settings of the on-policy scripts: LDM, its baselines and its oracles."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from ldm_wrappers.imagination import DirichletMixture, ExpectedReward
from ldm_wrappers.imagination.schemes import (
    Imagination,
    Mixture,
    imagination_from_dict,
    mixture_from_dict,
)
from ldm_wrappers.latent_dynamics import LatentDynamicsConfig
from train.config.methods import get_method
from train.config.old_runs import DEFAULTS_FOR_OLD_ON_POLICY_RUNS, DEFAULTS_FOR_OLD_RUNS
from train.config.settings import RunSettings

_MIXTURE, _IMAGINATION = DirichletMixture(), ExpectedReward()  # the paper's


@dataclasses.dataclass(frozen=True)
class PolicySettings(RunSettings):
    """How workers collect experience, and how the policy learns from it."""

    n_workers: int = 16
    """Environments in parallel, mixture workers included."""
    finite_horizon: bool = True
    """Treat the end of a meta-episode as terminal (no bootstrapping)."""
    cut_at_time_limits: bool = False
    """Stop advantages at the time limit of each inner episode: the return of the last step is its
    own value, as in the authors' MuJoCo code."""
    stagger_workers: bool = False
    """Shorten each worker's first meta-episode by a different amount, so that a rollout contains
    all phases of a meta-episode."""
    n_mixture_workers: int = 2
    """Mixture workers among the n_workers (ldm and ldm-varibad)."""
    mixture: Mixture = _MIXTURE
    """How beliefs are mixed (ldm and ldm-varibad)."""
    imagination: Imagination = _IMAGINATION
    """How an imaginary task computes rewards from its mixture (ldm and ldm-varibad)."""

    n_steps: int = 128
    """Steps per worker and policy update; for a recurrent policy, a whole number of meta-episodes,
    unless truncate_backpropagation is set."""
    truncate_backpropagation: bool = False
    """Allow n_steps to split meta-episodes; gradients then stop at the edges of a rollout."""
    n_epochs: int = 1
    """Passes over a rollout per update."""
    n_minibatches: int = 1
    """Minibatches per pass. Each contains whole rollouts of some workers, or single steps for a
    policy without memory (varibad and variants)."""
    learning_rate: float = 7e-4
    """Learning rate of the policy."""
    lr_decay_start: float = 1.0
    """Fraction of total_timesteps after which the policy's learning rate decays linearly to 0; 1
    for a constant rate."""
    policy_ema_decay: float = 0.0
    """Decay per update of a running average of the policy's weights, which is evaluated and saved
    (Polyak averaging); 0 for the newest weights."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Optimizer of the policy; rmsprop has α = 0.99."""
    optimizer_eps: float = 1e-5
    """ε of the policy's optimizer."""
    gamma: float = 0.95
    """Discount factor."""
    gae_lambda: float = 0.95
    """λ of generalised advantage estimation."""
    clip_range: float = 0.2
    """PPO's clip range; no effect with one epoch of one minibatch (A2C)."""
    clip_range_vf: float | None = None
    """Clip range of the value function, in units of returns; None for no clipping."""
    target_kl: float | None = None
    """Stop an update early once the KL divergence from the policy that collected the rollout
    exceeds 1.5 times this value; None for never."""
    ent_coef: float = 0.01
    """Entropy coefficient."""
    vf_coef: float = 0.5
    """Value loss coefficient."""
    max_grad_norm: float = 0.5
    """Maximum norm of the policy gradient (clipping)."""
    normalize_advantage: bool = False
    """Normalise advantages per minibatch."""
    policy_memory: Literal["lstm", "encoder"] = "lstm"
    """Memory of the policy: an LSTM, or its own encoder as in the authors' code, with the sizes
    encoder_…_size and latent_dim of the VAE's encoder (recurrent methods)."""
    lstm_hidden_size: int = 128
    """Width of the policy's LSTM, or of its encoder's GRU (recurrent methods)."""
    net_arch: tuple[int, ...] = (32,)
    """Hidden layers of the policy and of the value head (tanh)."""
    log_std_init: float = 0.0
    """Initial log standard deviation of the actions (continuous actions)."""
    observation_to_heads: bool = False
    """Pass the observation, with previous action and reward, to the heads in addition to the
    memory's output (recurrent methods)."""
    value_trains_lstm: bool = True
    """Let the value loss train the shared LSTM, as in RL²."""
    normalize_observation: bool = False
    """Normalise the policy's observations by running statistics (the VAE always sees raw ones)."""
    normalize_reward: bool = False
    """Divide rewards, imaginary ones included, by a running scale of returns."""
    return_statistics: Literal["real", "all"] = "real"
    """Returns that the scale is computed from: those of the normal workers, as in the authors'
    code, or those of all workers, imaginary ones included."""
    mixreg_alpha: float = 0.2
    """α of the distribution Beta(α, α) of Mixreg's mixing weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(
            "must be positive",
            "n_workers n_steps n_epochs n_minibatches learning_rate optimizer_eps clip_range "
            "max_grad_norm lstm_hidden_size mixreg_alpha target_kl clip_range_vf",
        )
        self._check("must not be negative", "ent_coef vf_coef")
        self._check("must lie in [0, 1]", "gamma gae_lambda lr_decay_start")
        self._check("must lie in [0, 1)", "policy_ema_decay")
        self._check("must hold one or more widths of at least 1", "net_arch")
        if self.n_workers % self.n_minibatches:
            raise ValueError(
                f"n_minibatches must divide n_workers = {self.n_workers}, got {self.n_minibatches}"
            )
        if get_method(self.method).mixreg and self.n_workers == self.n_minibatches:
            raise ValueError(
                "mixreg mixes sequences within a minibatch: expected at least two workers in each, "
                f"got n_workers = {self.n_workers} and n_minibatches = {self.n_minibatches}"
            )


# dataclasses collect fields from the last base to the first, so --help begins with RunSettings
@dataclasses.dataclass(frozen=True)
class OnPolicySettings(LatentDynamicsConfig, PolicySettings):
    """Settings of LDM, RL², Mixreg, variBAD and the oracles, which all train with PPO or A2C."""

    vae_learning_rate: float = 1e-3
    """Learning rate of the VAE (Adam)."""
    vae_updates: int = 2
    """VAE updates per policy update."""
    vae_trajectories: int = 10
    """Trajectories per VAE update."""
    vae_encoded_lengths: int | None = None
    """Prefixes of each trajectory that are encoded in a VAE update, of random lengths; None for
    prefixes of all lengths."""
    vae_decoded_steps: int | None = None
    """Decoded transitions per trajectory and VAE update, a random subset; None for all."""
    vae_decay_updates: int | None = None
    """The learning rate of VAE update u is ``vae_learning_rate / sqrt(1 + u / vae_decay_updates)``;
    None for a constant rate."""
    vae_ema_decay: float = 0.0
    """Decay of a running average of the VAE's weights, used to encode and imagine; 0 for none."""
    vae_max_grad_norm: float | None = None
    """Maximum gradient norm of the VAE's loss (clipping); None for no limit."""
    vae_buffer_trajectories: int = 10_000
    """Trajectories kept for the VAE."""
    vae_buffer_keeps: Literal["newest", "oldest"] = "newest"
    """Trajectories to keep once the buffer is full: "oldest" as in the authors' code, which never
    replaces any."""

    def __post_init__(self) -> None:
        PolicySettings.__post_init__(self)
        LatentDynamicsConfig.__post_init__(self)
        self._check(
            "must be positive",
            "vae_learning_rate vae_updates vae_trajectories vae_buffer_trajectories "
            "vae_max_grad_norm",
        )
        self._check(
            "must be at least 1 or None", "vae_encoded_lengths vae_decoded_steps vae_decay_updates"
        )
        self._check("must lie in [0, 1)", "vae_ema_decay")
        if get_method(self.method).imaginary:
            self._check_imaginary_tasks()

    def _check_imaginary_tasks(self) -> None:
        if not 1 <= self.n_mixture_workers < self.n_workers:
            raise ValueError(
                f"n_mixture_workers must lie between 1 and n_workers - 1 = {self.n_workers - 1} "
                f"for method {self.method}, got {self.n_mixture_workers}"
            )
        self.imagination.check_model(self.latent_dynamics)
        try:
            self.mixture.sample(np.random.default_rng(0), 1, self.n_normal_workers, self.latent_dim)
        except ValueError as error:
            raise ValueError(
                "mixture does not fit the n_workers - n_mixture_workers = "
                f"{self.n_normal_workers} normal workers: {error}"
            ) from None

    @property
    def latent_dynamics(self) -> LatentDynamicsConfig:
        """The settings of the VAE itself."""
        names = [field.name for field in dataclasses.fields(LatentDynamicsConfig)]
        return LatentDynamicsConfig(**{name: getattr(self, name) for name in names})

    @property
    def n_normal_workers(self) -> int:
        """Number of workers that receive the environment's own rewards."""
        return self.n_workers - (self.n_mixture_workers if get_method(self.method).imaginary else 0)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary that :meth:`from_dict` reads back."""
        schemes = {"mixture": self.mixture.to_dict(), "imagination": self.imagination.to_dict()}
        return {**dataclasses.asdict(self), **schemes}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> OnPolicySettings:
        """Inverse of :meth:`to_dict`; unknown or missing settings are a ``ValueError``."""
        if "mixture_components" in values:
            raise ValueError(
                "the run was saved by version 0.1 of this software, whose settings differ: "
                "continue or evaluate it there (git checkout 0ee9070), or train it again"
            )
        schemes = {"mixture": mixture_from_dict, "imagination": imagination_from_dict}
        read = {name: read(values[name]) for name, read in schemes.items() if name in values}
        return super(LatentDynamicsConfig, cls).from_dict({**values, **read})

    @classmethod
    def _defaults_for_old_runs(cls) -> dict[str, Any]:
        return {**DEFAULTS_FOR_OLD_RUNS, **DEFAULTS_FOR_OLD_ON_POLICY_RUNS}
