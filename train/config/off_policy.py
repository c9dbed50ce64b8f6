"""Settings of the off-policy scripts: PEARL, MQL and MIER."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from train.config.settings import RunSettings


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
    """Environments in parallel; each plays one train task in an iteration, all of them different
    ones if there are enough."""
    initial_episodes: int = 10
    """Episodes per environment in the first visit of every train task, before the first gradient
    step; with more environments than train tasks, each task gets that many times more."""
    updates_per_step: float = 0.1
    """Gradient steps per environment step that is collected after the initial ones."""
    replay_size: int = 1_000_000
    """Transitions kept, all train tasks together: room for episodes of full length, whose newest
    replace the oldest of their task. Where episodes end early, as many of them are fewer
    transitions."""
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
        self._check(
            "must be positive",
            "n_train_tasks n_workers initial_episodes updates_per_step replay_size batch_size "
            "learning_rate",
        )
        self._check("must lie in [0, 1]", "gamma")
        self._check("must lie in (0, 1]", "tau")
        self._check("must hold widths of at least 1", "net_arch")
        if self.n_episodes < 2:
            raise ValueError(
                f"n_episodes must be at least 2 for method {self.method}, whose last episode needs "
                f"others before it to infer the task from, got {self.n_episodes}"
            )


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
        self._check(
            "must be positive",
            "meta_batch prior_episodes latent_dim context_size reward_scale ent_coef",
        )
        self._check("must not be negative", "posterior_episodes kl_weight policy_regularization")
        self._check("must hold widths of at least 1", "encoder_hidden_sizes")


@dataclasses.dataclass(frozen=True)
class MqlSettings(OffPolicySettings):
    """Settings of MQL (arXiv 1910.00125)."""

    n_episodes: int = 11
    """Episodes N of one task in a meta-episode; the weights adapt on all but the last one."""
    updates_per_step: float = 1.0
    """Gradient steps per environment step that is collected after the initial ones."""
    batch_size: int = 256
    """Transitions of a gradient step, of all train tasks together."""
    learning_rate: float = 1e-3
    """Adam's learning rate in meta-training."""
    initial_episodes: int = 3
    """Random episodes per environment in the first visit of every train task, before the first
    gradient step; with more environments than train tasks, each task gets that many times more."""

    episodes_per_visit: int = 1
    """Episodes of a task per visit."""
    history_length: int = 20
    """Steps L that the context reads."""
    context_dim: int = 15
    """Units of the GRUs, so columns of a context."""
    policy_freq: int = 2
    """Gradient steps of the critics per step of actor and targets."""
    exploration_noise: float = 0.3
    """Standard deviation of the noise on training actions in [-1, 1]."""
    target_noise: float = 0.3
    """Standard deviation of the noise on the target's actions, clipped at 0.5."""
    adapt_from: float = 0.0
    """Share of total_timesteps from which on evaluations adapt weights, which takes minutes."""
    adapt_learning_rate: float = 1e-3
    """Adam's learning rate in adaptation."""
    snapshot_size: int = 2000
    """Newest transitions of a task, a new or a train task, that tell tasks apart."""
    snapshot_updates: int = 10
    """Gradient steps on the new task's transitions."""
    replay_updates: int = 100
    """Gradient steps on the train tasks' transitions after that."""
    adapt_batch_size: int = 1280
    """Transitions of such a step."""
    propensity_features: Literal["context", "observation-context"] = "context"
    """What the propensity of a transition is judged by."""
    propensity_c: float = 0.1
    """Weight C of the data in the logistic regression."""
    propensity_clip: float = 1.0
    """Log odds of "new" that count at most."""
    correct_class_sizes: bool = False
    """Correct the propensity for the unequal numbers of old and new transitions."""
    prox: float | None = None
    """Weight λ of the squared distance from the meta-trained weights; None: one minus the
    normalised effective sample size of each batch, as in the paper."""

    @property
    def test_updates(self) -> int:
        """Gradient steps per test task; 0: MQL without adaptation."""
        return self.snapshot_updates + self.replay_updates

    @property
    def adapts_from(self) -> int:
        """See :attr:`RunSettings.adapts_from`."""
        share = self.adapt_from if self.test_updates else 0.0
        return math.ceil(share * self.total_timesteps)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(
            "must be positive",
            "episodes_per_visit history_length context_dim policy_freq adapt_learning_rate "
            "snapshot_size adapt_batch_size propensity_c propensity_clip",
        )
        self._check(
            "must not be negative",
            "exploration_noise target_noise snapshot_updates replay_updates prox",
        )
        self._check("must lie in [0, 1]", "adapt_from")


@dataclasses.dataclass(frozen=True)
class MierSettings(OffPolicySettings):
    """Settings of MIER (arXiv 2006.07178)."""

    meta_batch: int = 10
    """Train tasks per gradient step, drawn with replacement."""
    batch_size: int = 200
    """Transitions of a task that the context adapts to, and of those after it."""
    prior_episodes: int = 2
    """Episodes per visit with the initial context; the context adapts to them."""
    adapted_episodes: int = 3
    """Episodes per visit with the adapted context."""
    context_dim: int = 5
    """Columns of the context φ."""
    context_steps: int = 2
    """Gradient steps on φ."""
    context_learning_rate: float = 0.01
    """Learning rate of these steps."""
    learn_initial_context: bool = False
    """Learn the initial context too; else it is 0."""
    model_hidden_sizes: tuple[int, ...] = (200, 200, 200, 200)
    """Hidden layers of the model, leaky ReLU."""
    model_dynamics: bool = False
    """Let the model predict changes of the observation beside rewards (where the dynamics vary
    between tasks)."""
    model_learning_rate: float = 1e-3
    """Adam's learning rate of the model."""
    reward_scale: float = 1.0
    """What the critics' rewards are multiplied by."""
    target_entropy: float = -1.0
    """Entropy of the actions that the coefficient of SAC is learned for."""
    adapt_from: float = 0.0
    """Share of total_timesteps from which on evaluations relabel, which takes minutes."""
    relabel_updates: int = 0
    """Gradient steps of SAC per test task, mostly on relabelled transitions; 0: only the context
    adapts."""
    relabel_batch_size: int = 256
    """Transitions of such a step."""
    real_share: float = 0.05
    """Share of them that is the test task's own: at least one if it is not 0, and not all if it is
    not 1."""
    test_context_steps: int = 2
    """Gradient steps on φ before relabelling; those after context_steps have a rate of 0.001."""
    test_model_updates: int = 100
    """Gradient steps of the model on the test task's transitions before relabelling."""

    @property
    def adapts_from(self) -> int:
        """See :attr:`RunSettings.adapts_from`."""
        share = self.adapt_from if self.relabel_updates else 0.0
        return math.ceil(share * self.total_timesteps)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(
            "must be positive",
            "meta_batch prior_episodes context_dim context_steps context_learning_rate "
            "model_learning_rate reward_scale test_context_steps",
        )
        self._check("must not be negative", "adapted_episodes relabel_updates test_model_updates")
        self._check("must lie in [0, 1]", "adapt_from real_share")
        if self.relabel_batch_size < 2:
            raise ValueError(
                f"relabel_batch_size must be at least 2, got {self.relabel_batch_size}"
            )
        self._check("must hold widths of at least 1", "model_hidden_sizes")
