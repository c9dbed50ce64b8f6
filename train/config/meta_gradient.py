"""Settings of ProMP and E-MAML, which adapt by a gradient step."""

from __future__ import annotations

import dataclasses

from train.config.settings import RunSettings


@dataclasses.dataclass(frozen=True)
class MetaGradientSettings(RunSettings):
    """How tasks are sampled, and how the policy adapts to them and learns from them.

    The defaults are those of all published runs of ProMP.
    """

    n_episodes: int = 20
    """Episodes R per task before adaptation, and again after it. An evaluation also has R episodes,
    of which the last is greedy, after one inner step on all others."""
    n_tasks: int = 40
    """Tasks T per iteration, which has 2 · T · R episodes."""
    inner_lr: float = 0.1
    """Step size α of the inner update; 0 for no adaptation."""
    n_epochs: int = 5
    """Outer updates per iteration, each on all of its episodes."""
    learning_rate: float = 1e-3
    """Learning rate of the outer update (Adam)."""
    clip_range: float = 0.3
    """ε of the clipped ratio after adaptation."""
    inner_kl_coef: float | None = None
    """Weight η of the KL divergence between the policy before adaptation and the one that sampled
    the episodes; None for 5e-4 (promp) or 0 (e-maml)."""
    exploration_coef: float | None = None
    """Weight of E-MAML's exploration term, which credits the episodes before adaptation with the
    rewards after it, compared with those of the iteration's other tasks; None for 1 (e-maml) or 0
    (promp)."""
    gamma: float = 0.99
    """Discount factor."""
    gae_lambda: float = 1.0
    """λ of generalised advantage estimation over the linear baseline."""
    net_arch: tuple[int, ...] = (64, 64)
    """Hidden layers of the policy (tanh)."""
    log_std_init: float = 0.0
    """Initial log standard deviation of the actions (continuous actions)."""
    action_scale: float = 10.0
    """Policy action that maps to the bound of the environment's actions (continuous actions)."""
    log_interval: int = 1
    """Iterations between rows of metrics.csv."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("must be positive", "n_tasks n_epochs learning_rate clip_range action_scale")
        if self.n_episodes < 2:
            raise ValueError(
                "n_episodes must be at least 2, one or more to adapt to and one to evaluate, got "
                f"{self.n_episodes}"
            )
        self._check("must not be negative", "inner_lr inner_kl_coef exploration_coef")
        self._check("must lie in [0, 1]", "gamma gae_lambda")
        self._check("must hold one or more widths of at least 1", "net_arch")
