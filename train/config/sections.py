"""The sections of a run's settings that belong to neither the VAE nor imaginary tasks."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from train.config.methods import MethodName


def check_positive(settings: Any, names: str) -> None:
    """Raise a ``ValueError`` that shows the first of the settings that is not positive."""
    for name in names.split():
        value = getattr(settings, name)
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive, got {value}")


def check_at_least_one(settings: Any, names: str) -> None:
    """Raise a ``ValueError`` that shows the first of the settings below 1; ``None`` is fine."""
    for name in names.split():
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1 or None, got {value}")


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What is run, how long, where, and by how many workers on what mixtures."""

    env_id: str = "LDM-GridNavi-v0"
    """Any registered id, or ``module:Id-v0``."""
    method: MethodName = "ldm"
    """ldm, rl2, varibad, mixreg, oracle-rl2 (also called oracle) or oracle-varibad."""
    preset: str = "default"
    """Preset of the environment: ``default`` is made for minutes, ``paper`` is the authors'; the
    grids also have ``present-beliefs`` (the paper's imaginary tasks) and ``a2c``."""
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
    num_threads: int | None = None
    """Threads of the batched physics engine (MuJoCo families); None for one per core."""

    def __post_init__(self) -> None:
        check_positive(self, "total_timesteps n_episodes n_workers beta")
        check_at_least_one(self, "mixture_components num_threads")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie in [0, 2^32), got {self.seed}")


@dataclasses.dataclass(frozen=True)
class PolicySettings:
    """How the policy learns, and its network."""

    n_steps: int = 128
    """Steps per worker and update; whole meta-episodes of a recurrent policy unless
    truncate_backpropagation."""
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
    target_kl: float | None = None
    """An update ends early once the policy is 1.5 times this KL divergence away from the one that
    collected the rollout; None: never."""
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
    log_std_init: float = 0.0
    """Logarithm of the actions' standard deviation at the start (continuous actions)."""
    value_trains_lstm: bool = True
    """Let the value loss train the shared LSTM, as RL² does."""
    normalize_observation: bool = False
    """Normalise the policy's observations by running statistics (the VAE always sees raw ones)."""
    normalize_reward: bool = False
    """Normalise rewards, imaginary ones alike, by the running scale of returns."""
    mixreg_alpha: float = 0.2
    """Mixing weights of mixreg are drawn from Beta(α, α)."""

    def __post_init__(self) -> None:
        check_positive(
            self,
            "n_steps n_epochs n_minibatches learning_rate optimizer_eps clip_range max_grad_norm "
            "lstm_hidden_size mixreg_alpha",
        )
        for name in ("ent_coef", "vf_coef"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must not be negative, got {value}")
        if self.target_kl is not None:
            check_positive(self, "target_kl")
        for name in ("gamma", "gae_lambda", "anneal_from"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not math.isfinite(self.log_std_init):
            raise ValueError(f"log_std_init must be finite, got {self.log_std_init}")
        if not 0.0 <= self.policy_averaging < 1.0:
            raise ValueError(f"policy_averaging must lie in [0, 1), got {self.policy_averaging}")
        if not self.net_arch or min(self.net_arch) < 1:
            raise ValueError(f"net_arch needs at least one positive width, got {self.net_arch}")
