"""The paper's imaginary tasks: the decoder's expected reward (section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

from ldm_wrappers.imagination.mixture import MixtureScheme
from ldm_wrappers.imagination.saved_scheme import SavedScheme, keep_flags, keep_integers
from ldm_wrappers.imagination.tasks import MixedTasks
from ldm_wrappers.latent_dynamics.config import LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.model import LatentDynamics


@dataclass(frozen=True)
class ExpectedReward(SavedScheme):
    """r̂ = decoder(m̂, s, a, s'), a mean over dropout masks; the paper's imaginary reward.

    The defaults are the paper's: a task mixes the workers' present beliefs, and changes with
    them.

    Attributes:
        n_dropout_masks: Dropout masks that a reward is averaged over; 1 as in the authors' code; 0
            switches dropout off, so that the decoder sees inputs it was never trained on.
        keep_dropout_masks: Draw the masks when a task begins and keep them until it ends, instead
            of drawing new ones at every step. Has no effect if nothing is dropped.
        final_beliefs: Mix the workers' beliefs at the end of their latest finished tasks, as of the
            imaginary task's first step, instead of their beliefs at each step.
        belief_samples: Mix one new sample of each belief at every step, as in the authors' code,
            instead of the means. Only for vector environments, which know whole posteriors.

    Raises:
        ValueError: ``n_dropout_masks`` is not an integer of at least 0, or samples of final
            beliefs are requested, of which only the means are kept.
    """

    n_dropout_masks: int = 8
    keep_dropout_masks: bool = False
    final_beliefs: bool = False
    belief_samples: bool = False

    def __post_init__(self) -> None:
        keep_integers(self, {"n_dropout_masks": 0})
        keep_flags(self, "keep_dropout_masks", "final_beliefs", "belief_samples")
        if self.belief_samples and self.final_beliefs:
            raise ValueError(
                "belief_samples=True needs present beliefs, expected final_beliefs=False: "
                "only the belief means of finished tasks are kept"
            )

    def check_model(self, config: LatentDynamicsConfig) -> None:
        """Any model fits."""

    def start(
        self,
        model: LatentDynamics,
        *,
        n_mixture: int,
        n_normal: int,
        mixture: MixtureScheme | None = None,
        seed: int | None = None,
    ) -> MixedTasks:
        """See :meth:`~ldm_wrappers.imagination.ImaginationScheme.start`."""
        return MixedTasks(
            model,
            n_mixture=n_mixture,
            n_normal=n_normal,
            mixture=mixture,
            n_dropout_masks=self.n_dropout_masks,
            keep_dropout_masks=self.keep_dropout_masks,
            final_beliefs=self.final_beliefs,
            belief_samples=self.belief_samples,
            seed=seed,
        )
