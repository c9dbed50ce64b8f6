"""What an imaginary task is, beside its mixture, as data that is saved with a run."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from ldm_wrappers.latent_dynamics.config import Likelihood


@dataclass(frozen=True)
class ImaginationConfig:
    """Choices of :class:`~ldm_wrappers.ImaginaryRewardWrapper` (paper, section 3.3).

    The defaults are the paper's imaginary tasks: mixtures of what workers believe at this moment,
    which pay the decoder's expected reward; over several dropout masks, of which the authors' code
    draws one.

    Attributes:
        dropout_samples: Dropout masks that an imaginary reward is averaged over; 1 is the authors'
            code, 0 switches dropout off. Off, the decoder sees inputs it was never trained on.
        dropout_per_task: Draw the masks when an imaginary task begins and keep them for it, instead
            of new ones at every step. The task then has one reward function, a sample of what
            dropout leaves open, and tasks differ in more than their mixture.
        final_beliefs: Mix what workers believed at the end of their latest finished tasks instead
            of their current beliefs m_t, as they were at the imaginary task's first step. It is
            then the same from its first step to its last, and not vague until the normal workers
            know theirs.
        reward_threshold: With a Bernoulli likelihood, pay its high reward where it is more likely
            than this, else its low one: rewards that the environment could have paid. ``None``
            pays the expected reward.
        threshold_window: If not 0, the threshold is relative: a reward is paid where its odds come
            to ``reward_threshold`` times those of the most likely one of the last
            ``threshold_window`` transitions of all mixture workers together, taken at a task's
            first transition. Then every task pays somewhere, and few transitions. Needs
            ``final_beliefs``, with which a task is known that early.
        task_candidates: Draw so many mixtures for each imaginary task, and keep those that pay
            where few of them do (:func:`~ldm_wrappers.imagination.candidates.keep_rare`), so
            that imaginary tasks differ. Judged by the transitions of the ``threshold_window``.
            1 keeps what is drawn.
    """

    dropout_samples: int = 8
    dropout_per_task: bool = False
    final_beliefs: bool = False
    reward_threshold: float | None = None
    threshold_window: int = 0
    task_candidates: int = 1

    def __post_init__(self) -> None:
        least_values = {"dropout_samples": 0, "threshold_window": 0, "task_candidates": 1}
        for name, least in least_values.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        if self.dropout_per_task and not self.dropout_samples:
            raise ValueError(
                "dropout_per_task needs dropout masks to keep: expected dropout_samples of at "
                "least 1, got 0"
            )
        threshold = self.reward_threshold
        if threshold is not None and not 0.0 < threshold < 1.0:
            raise ValueError(f"reward_threshold must lie in (0, 1) or be None, got {threshold}")
        if self.threshold_window and (threshold is None or not self.final_beliefs):
            raise ValueError(
                f"threshold_window = {self.threshold_window} needs a reward_threshold and "
                f"final_beliefs, got {threshold} and {self.final_beliefs}; without relative "
                "thresholds: threshold_window = 0 and task_candidates = 1"
            )
        kept = self.dropout_per_task or not self.dropout_samples
        if self.task_candidates > 1 and not (self.threshold_window and kept):
            raise ValueError(
                f"task_candidates = {self.task_candidates} needs a threshold_window, and "
                "dropout_per_task or no dropout_samples, got threshold_window = "
                f"{self.threshold_window}, dropout_per_task = {self.dropout_per_task} and "
                f"dropout_samples = {self.dropout_samples}"
            )

    def check_likelihood(self, likelihood: Likelihood) -> None:
        """Raise a ``ValueError`` if a decoder of this likelihood has no two rewards to pay."""
        if self.reward_threshold is not None and likelihood != "bernoulli":
            raise ValueError(
                f"reward_threshold = {self.reward_threshold} needs likelihood bernoulli, got "
                f"{likelihood}"
            )
