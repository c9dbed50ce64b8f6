"""Settings of the off-policy scripts: PEARL, MQL and MIER."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from train.config.settings import RunSettings, check_positive


def check_not_negative(settings: Any, names: str) -> None:
    """Raise a ``ValueError`` that shows the first of the settings below 0."""
    for name in names.split():
        value = getattr(settings, name)
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must not be negative, got {value}")


def check_share(settings: Any, names: str) -> None:
    """Raise a ``ValueError`` that shows the first of the settings outside [0, 1]."""
    for name in names.split():
        value = getattr(settings, name)
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")


@dataclasses.dataclass(frozen=True)
class OffPolicySettings(RunSettings):
    """How train tasks are visited, and what every off-policy learner has."""

    n_episodes: int = 3
    """Episodes N of one task in a meta-episode; the last one is played with what the ones before
    it told about the task."""
    log_interval: int = 1
    """Iterations (visits of n_workers tasks) between rows of metrics.csv."""

    n_train_tasks: int = 100
    """Train tasks K, drawn once per run where the train set is continuous; of a finite one, all
    tasks are taken."""
    n_workers: int = 5
    """Environments in parallel; each plays a train task of its own in an iteration."""
    initial_episodes: int = 10
    """Episodes of every train task before the first gradient step."""
    updates_per_step: float = 0.1
    """Gradient steps per environment step that is collected after the initial ones."""
    replay_size: int = 1_000_000
    """Transitions kept, all train tasks together; the newest episodes of a task replace its
    oldest."""
    batch_size: int = 64
    """Transitions of a task in a gradient step (mql: of all tasks together)."""
    net_arch: tuple[int, ...] = (256, 256)
    """Hidden layers of policy and critics, ReLU."""
    learning_rate: float = 3e-4
    """Adam's learning rate."""
    gamma: float = 0.99
    """Discount factor."""
    tau: float = 0.005
    """Share of the newest weights that the target networks take over per gradient step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            self,
            "n_train_tasks n_workers initial_episodes updates_per_step replay_size batch_size "
            "learning_rate",
        )
        check_share(self, "gamma tau")
        if min(self.net_arch, default=1) < 1:
            raise ValueError(f"net_arch must hold widths of at least 1, got {self.net_arch}")


@dataclasses.dataclass(frozen=True)
class PearlSettings(OffPolicySettings):
    """Settings of PEARL (arXiv 1903.08254)."""

    meta_batch: int = 16
    """Train tasks per gradient step, drawn with replacement."""
    prior_episodes: int = 2
    """Episodes per visit with latents from the prior; only these are context for the encoder."""
    posterior_episodes: int = 3
    """Episodes per visit with latents from the posterior."""
    latent_dim: int = 5
    """Columns of the task latent z."""
    encoder_hidden_sizes: tuple[int, ...] = (200, 200, 200)
    """Hidden layers of the context encoder, ReLU."""
    context_size: int = 100
    """Context transitions of a task in a gradient step."""
    next_observation_in_context: bool = False
    """Let the encoder see next observations (where the dynamics vary between tasks)."""
    kl_weight: float = 0.1
    """Weight of the KL divergence from the prior, which is summed over the meta-batch's tasks."""
    reward_scale: float = 5.0
    """What the critics' rewards are multiplied by."""
    ent_coef: float = 1.0
    """Entropy coefficient α of SAC, on the scaled rewards."""
    policy_regularization: float = 1e-3
    """Weight of the squared means (before tanh) and log standard deviations of the actions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            self, "meta_batch prior_episodes latent_dim context_size reward_scale ent_coef"
        )
        check_not_negative(self, "posterior_episodes kl_weight policy_regularization")
        if min(self.encoder_hidden_sizes, default=1) < 1:
            raise ValueError(
                f"encoder_hidden_sizes must hold widths of at least 1, got "
                f"{self.encoder_hidden_sizes}"
            )
        if self.n_episodes < 2:
            raise ValueError(
                f"n_episodes must be at least 2 for method {self.method}, whose last episode needs "
                f"others before it to infer the task from, got {self.n_episodes}"
            )
