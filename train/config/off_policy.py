"""Settings of the off-policy scripts: PEARL, MQL and MIER."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from train.config.settings import RunSettings


@dataclasses.dataclass(frozen=True)
class OffPolicySettings(RunSettings):
    """How train tasks are visited, and what all off-policy learners share."""

    env_id: str = "LDM-HalfCheetahVel-v0"  # the grids have discrete actions
    """A registered id, ``module:Id-v0``, or ``module:function`` where the function returns an
    environment (``--env-fn`` is the same flag). Actions must be continuous and bounded."""
    n_episodes: int = 3
    """Episodes N per meta-episode, all of one task; the last one uses what the earlier ones
    revealed about the task."""
    log_interval: int = 1
    """Iterations (visits of n_workers tasks) between rows of metrics.csv."""

    n_train_tasks: int = 100
    """Train tasks K, drawn once per run if the train set is continuous; a finite set is used as a
    whole."""
    n_workers: int = 5
    """Environments in parallel; in an iteration, each plays one train task, all of them different
    if there are enough."""
    initial_episodes: int = 10
    """Episodes per environment in the first visit to each train task, before the first gradient
    step; with more environments than train tasks, each task gets proportionally more."""
    updates_per_step: float = 0.1
    """Gradient steps per environment step, not counting those of initial_episodes."""
    replay_size: int = 1_000_000
    """Transitions kept for all train tasks together, in slots for episodes of full length; the
    newest episodes replace the oldest of their task. If episodes end early, fewer transitions
    fit."""
    batch_size: int = 64
    """Transitions per task in a gradient step (mql: of all tasks together)."""
    net_arch: tuple[int, ...] = (256, 256)
    """Hidden layers of policy and critics (ReLU)."""
    learning_rate: float = 3e-4
    """Learning rate (Adam)."""
    gamma: float = 0.99
    """Discount factor."""
    tau: float = 0.005
    """Soft update coefficient of the target networks, per gradient step."""

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
                f"n_episodes must be at least 2 for method {self.method}, which infers the task of "
                f"the last episode from earlier ones, got {self.n_episodes}"
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
    """Dimension of the task latent z."""
    encoder_hidden_sizes: tuple[int, ...] = (200, 200, 200)
    """Hidden layers of the context encoder (ReLU)."""
    context_size: int = 100
    """Context transitions per task in a gradient step."""
    next_observation_in_context: bool = False
    """Show next observations to the encoder (if the dynamics vary between tasks)."""
    kl_weight: float = 0.1
    """Weight of the KL divergence from the prior, which is summed over the tasks of a step."""
    reward_scale: float = 5.0
    """Factor on the rewards of the critics."""
    ent_coef: float = 1.0
    """Entropy coefficient α of SAC, relative to the scaled rewards."""
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
    """Episodes N per meta-episode, all of one task; the weights adapt on all but the last one."""
    updates_per_step: float = 1.0
    """Gradient steps per environment step, not counting those of initial_episodes."""
    batch_size: int = 256
    """Transitions per gradient step, of all train tasks together."""
    learning_rate: float = 1e-3
    """Learning rate of meta-training (Adam)."""
    initial_episodes: int = 3
    """Random episodes per environment in the first visit to each train task, before the first
    gradient step; with more environments than train tasks, each task gets proportionally more."""

    episodes_per_visit: int = 1
    """Episodes of a task per visit."""
    history_length: int = 20
    """Number of recent steps L that the context is computed from."""
    context_dim: int = 15
    """Units of the GRUs, and dimension of the context."""
    policy_freq: int = 2
    """Gradient steps of the critics per update of actor and targets."""
    exploration_noise: float = 0.3
    """Standard deviation of the noise on training actions in [-1, 1]."""
    target_noise: float = 0.3
    """Standard deviation of the noise on the actions of the target policy, clipped at 0.5."""
    adapt_from: float = 0.0
    """Fraction of total_timesteps after which evaluations adapt the weights, which takes
    minutes."""
    adapt_learning_rate: float = 1e-3
    """Learning rate of adaptation (Adam)."""
    snapshot_size: int = 2000
    """How many of the newest transitions per task are used: of the new task, to adapt to it; of it
    and of each train task, to fit the propensity."""
    snapshot_updates: int = 10
    """Gradient steps on transitions of the new task."""
    replay_updates: int = 100
    """Gradient steps on transitions of the train tasks, after the snapshot_updates."""
    adapt_batch_size: int = 1280
    """Transitions per replay update."""
    propensity_features: Literal["context", "observation-context"] = "context"
    """Inputs from which the propensity of a transition is computed: how likely it is to be of the
    new task."""
    propensity_c: float = 0.1
    """Inverse regularisation strength C of the logistic regression."""
    propensity_clip: float = 1.0
    """Upper bound of the log odds of "new"."""
    correct_class_sizes: bool = False
    """Correct the propensity for the unequal numbers of old and new transitions."""
    prox: float | None = None
    """Weight λ of the squared distance from the meta-trained weights; None for one minus the
    normalised effective sample size of each batch, as in the paper."""

    @property
    def test_updates(self) -> int:
        """Gradient steps per test task; 0 for MQL without adaptation."""
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
    """Transitions per task that the context adapts to, and as many for the loss afterwards."""
    prior_episodes: int = 2
    """Episodes per visit with the initial context; the context adapts to them."""
    adapted_episodes: int = 3
    """Episodes per visit with the adapted context."""
    context_dim: int = 5
    """Dimension of the context φ."""
    context_steps: int = 2
    """Gradient steps on φ per adaptation of the context."""
    context_learning_rate: float = 0.01
    """Learning rate of the gradient steps on φ."""
    learn_initial_context: bool = False
    """Learn the initial context; otherwise it is 0."""
    model_hidden_sizes: tuple[int, ...] = (200, 200, 200, 200)
    """Hidden layers of the model (leaky ReLU)."""
    model_dynamics: bool = False
    """Let the model predict changes of the observation as well as rewards (if the dynamics vary
    between tasks)."""
    model_learning_rate: float = 1e-3
    """Learning rate of the model (Adam)."""
    reward_scale: float = 1.0
    """Factor on the rewards of the critics."""
    target_entropy: float = -1.0
    """Target entropy for learning the entropy coefficient of SAC."""
    adapt_from: float = 0.0
    """Fraction of total_timesteps after which evaluations relabel, which takes minutes."""
    relabel_updates: int = 0
    """Gradient steps of SAC per test task, mostly on relabelled transitions; 0 to adapt only the
    context."""
    relabel_batch_size: int = 256
    """Transitions per gradient step of relabel_updates."""
    real_share: float = 0.05
    """Fraction of the relabel_batch_size transitions that come from the test task itself: at least
    one transition if it is not 0, and not all if it is not 1."""
    test_context_steps: int = 2
    """Gradient steps on φ before relabelling; those beyond context_steps have learning rate
    0.001."""
    test_model_updates: int = 100
    """Gradient steps of the model on transitions of the test task before relabelling."""

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
