"""Live beliefs of the environments of this process."""

from __future__ import annotations

import numpy as np

from ldm_wrappers.arguments import check_integer
from ldm_wrappers.latent_dynamics.process import ProcessBound
from ldm_wrappers.latent_dynamics.transition import FloatArray


class BeliefPool(ProcessBound):
    """Live beliefs of the environments of this process; each publishes to its own row.

    Args:
        n_beliefs: Number of publishing environments (the paper's normal workers).
        latent_dim: Size of the latent.

    Raises:
        RuntimeError: A method is called in another process than the pool was made in, whose copy
            nobody publishes to.
        ValueError: Beliefs are asked for while nobody has published to a row, or two publishers
            share one.
    """

    def __init__(self, n_beliefs: int, latent_dim: int) -> None:
        n_beliefs = check_integer("n_beliefs", n_beliefs)
        latent_dim = check_integer("latent_dim", latent_dim)
        self._means = np.zeros((n_beliefs, latent_dim), np.float32)
        self._final_means = self._means.copy()
        self._finished = np.zeros((n_beliefs, 1), bool)
        self._published = np.zeros(n_beliefs, bool)
        self._publishers = np.zeros(n_beliefs, np.int64)  # newest one of each row; 0: not known
        self._n_publishers = 0

    @property
    def n_beliefs(self) -> int:
        """Number of publishing environments."""
        return len(self._means)

    @property
    def latent_dim(self) -> int:
        """Size of the latent."""
        return int(self._means.shape[1])

    def new_publisher(self) -> int:
        """A number by which whoever publishes says who it is, from 1."""
        self._n_publishers += 1
        return self._n_publishers

    def release(self, index: int, publisher: int) -> None:
        """Let an older publisher of a row go on, if ``publisher`` is the newest one."""
        if self._publishers[index] == publisher:
            self._publishers[index] = 0

    def publish(self, index: int, mean: FloatArray, *, publisher: int = 0) -> None:
        """Replace the belief of environment ``index`` by ``mean``, (latent_dim,).

        Args:
            index: Row of the environment.
            mean: Its belief's mean.
            publisher: Its number (:meth:`new_publisher`). An older publisher of a row may not go
                on once a newer one has begun, until that is closed. 0 does without this check.
        """
        self._means[index] = self._checked(index, mean, publisher)
        self._published[index] = True

    def publish_final(self, index: int, mean: FloatArray, *, publisher: int = 0) -> None:
        """Say what environment ``index`` believed at the end of a task; as :meth:`publish`."""
        self._final_means[index] = self._checked(index, mean, publisher)
        self._finished[index] = self._published[index] = True

    def _checked(self, index: int, mean: FloatArray, publisher: int) -> FloatArray:
        self.check_process()
        if check_integer("index", index, least=None) not in range(self.n_beliefs):
            raise ValueError(f"index must lie in [0, {self.n_beliefs}), got {index}")
        mean = np.asarray(mean, np.float32)
        if mean.shape != self._means.shape[1:]:
            raise ValueError(f"a belief must have shape {self._means.shape[1:]}, got {mean.shape}")
        if not np.isfinite(mean).all():
            raise ValueError(f"belief {index} is not finite: {mean}")
        if 0 < publisher < self._publishers[index]:
            raise ValueError(
                f"two environments publish to row {index} of the belief pool in turn, so that "
                "imaginary tasks mix the belief of whichever stepped last; expected a row for each "
                "(index=…), and no pool of training for environments of evaluation. Close the one "
                "that is not needed any more"
            )
        self._publishers[index] = max(publisher, self._publishers[index])
        return mean

    def means(self, step: int) -> FloatArray:
        """The published beliefs as they are now, whatever the step."""
        self._check_published()
        return self._means.copy()

    def final_means(self) -> FloatArray:
        """Beliefs at the end of each environment's latest finished task, else its current one."""
        self._check_published()
        return np.where(self._finished, self._final_means, self._means)

    def _check_published(self) -> None:
        """Refuse to mix rows that nobody has published to: their zeros are nobody's belief."""
        self.check_process()
        if not self._published.all():
            missing = np.flatnonzero(~self._published).tolist()
            raise ValueError(
                f"nobody has published to rows {missing} of {self.n_beliefs} of the belief pool: "
                "expected a BeliefPublisherWrapper for each, its row as index=…, or n_beliefs as "
                "many as there are publishers"
            )
