"""Live beliefs of the environments of this process."""

from __future__ import annotations

import copy

import numpy as np

from ldm_wrappers.arguments import check_integer
from ldm_wrappers.latent_dynamics.process import ProcessBound
from ldm_wrappers.latent_dynamics.transition import FloatArray


class PublishedBeliefs:
    """Beliefs of the environments of a :class:`BeliefPool` at one moment; a ``BeliefSource``.

    Args:
        n_beliefs: Number of publishing environments.
        latent_dim: Size of the latent.
    """

    def __init__(self, n_beliefs: int, latent_dim: int) -> None:
        self.current = np.zeros((n_beliefs, latent_dim), np.float32)
        self.final = self.current.copy()
        self.published = np.zeros(n_beliefs, bool)
        self.finished = np.zeros((n_beliefs, 1), bool)

    @property
    def n_beliefs(self) -> int:
        """Number of publishing environments."""
        return len(self.current)

    def means(self, step: int) -> FloatArray:
        """Belief means at that moment, float32 (n_beliefs, latent_dim), for any step."""
        self._check_published()
        return self.current.copy()

    def final_means(self) -> FloatArray:
        """Beliefs at the end of each environment's latest finished task, else its current one."""
        self._check_published()
        return np.where(self.finished, self.final, self.current)

    def _check_published(self) -> None:
        """Refuse to mix rows that nobody has published to: their zeros are no beliefs."""
        if not self.published.all():
            missing = np.flatnonzero(~self.published).tolist()
            raise ValueError(
                f"nobody has published to rows {missing} of the {self.n_beliefs} rows of the "
                "belief pool, or whoever did is closed: expected a BeliefPublisherWrapper for "
                "each, with its row as index=…, or n_beliefs equal to the number of publishers"
            )


class BeliefPool(ProcessBound):
    """Live beliefs of the environments of this process; each publishes to its own row.

    A vector environment steps them one after another, and restarts one that has ended before the
    next one's turn, or in its own next turn instead of a step. An imaginary reward mixes beliefs
    from before the step, so the pool keeps what was published when a round of turns began, and the
    order of publishers and mixture workers does not matter. The pool learns this order: a round
    ends when a member has a turn that does not come later in the order than the last one.

    Args:
        n_beliefs: Number of publishing environments (the paper's normal workers).
        latent_dim: Size of the latent.

    Raises:
        RuntimeError: A method is called in a process that has a copy of the pool, which nobody
            publishes to.
        ValueError: Beliefs are read while nobody has published to a row or its publisher is
            closed, or two publishers share one.
    """

    def __init__(self, n_beliefs: int, latent_dim: int) -> None:
        n_beliefs = check_integer("n_beliefs", n_beliefs)
        latent_dim = check_integer("latent_dim", latent_dim)
        self._now = PublishedBeliefs(n_beliefs, latent_dim)
        self._before = self._now  # what was published when the running round began
        self._order: list[int] = []  # members in the order of their turns in a round
        self._last = 0  # the member that had the last turn; 0: none
        self._stepping = False  # whether its step has begun and not ended
        # members reset since the last step of any member, and whether their task had ended
        self._resets: dict[int, bool] = {}
        # open publishers of each row that have begun, oldest first
        self._publishers: list[list[int]] = [[] for _ in range(n_beliefs)]
        self._n_members = 0

    @property
    def n_beliefs(self) -> int:
        """Number of publishing environments."""
        return self._now.n_beliefs

    @property
    def latent_dim(self) -> int:
        """Size of the latent."""
        return int(self._now.current.shape[1])

    def new_member(self) -> int:
        """A number from 1 that identifies a new publisher or reader."""
        self._n_members += 1
        self._forget_order()
        return self._n_members

    def begin_step(self, member: int) -> PublishedBeliefs:
        """Begin a step of a member; returns the beliefs from before its round.

        A step that did not end (its environment raised an error) may begin again.

        Args:
            member: Its number (:meth:`new_member`).
        """
        self.check_process()
        if not (self._stepping and member == self._last):
            self._take_turn(member)
        self._stepping = True
        self._resets.clear()
        return self._before

    def end_step(self) -> None:
        """End the step of the member whose turn it is."""
        self._stepping = False

    def begin_reset(self, member: int, *, ended: bool) -> None:
        """Begin a reset of a member: its turn, unless its own last step was the last turn.

        Args:
            member: Its number.
            ended: Whether its task has ended.
        """
        self._stepping = False
        if member != self._last:
            if not self._order:  # nobody has stepped yet
                return
            self._take_turn(member)
        elif ended:  # autoreset in the turn of the last step
            return
        self._resets[member] = ended
        if set(self._order) <= self._resets.keys() and not all(self._resets.values()):
            self._forget_order()  # a reset of all from outside; another order may follow

    def _take_turn(self, member: int) -> None:
        """Keep what is published now if this member's turn begins a round."""
        place = self._order.index(self._last) if self._last else -1
        if member not in self._order:
            self._order.insert(place + 1, member)
        if not self._last or self._order.index(member) <= place:
            self._before = copy.deepcopy(self._now)
        self._last = member

    def _forget_order(self) -> None:
        self._order, self._last, self._stepping = [], 0, False
        self._resets.clear()

    def release(self, index: int, publisher: int) -> None:
        """Let an older publisher of a row continue; nobody's belief is left if there is none."""
        if publisher not in self._publishers[index]:
            return
        self._publishers[index].remove(publisher)
        if not self._publishers[index]:
            self._now.published[index] = self._now.finished[index] = False

    def publish_first(self, index: int, mean: FloatArray) -> None:
        """Publish the belief of a new publisher, unless the row still has that of another one."""
        checked = self._checked(index, mean, 0)
        if not self._now.published[index]:
            self._now.current[index], self._now.published[index] = checked, True

    def publish(self, index: int, mean: FloatArray, *, publisher: int = 0) -> None:
        """Replace the belief of environment ``index`` by ``mean``, (latent_dim,).

        Args:
            index: Row of the environment.
            mean: Its belief's mean.
            publisher: Its number (:meth:`new_member`). An older publisher of a row may not continue
                once a newer one has begun, until the newer one is closed. 0 skips this check.
        """
        self._now.current[index] = self._checked(index, mean, publisher)
        self._now.published[index] = True

    def publish_final(self, index: int, mean: FloatArray, *, publisher: int = 0) -> None:
        """Like :meth:`publish`, for the belief of environment ``index`` at the end of a task."""
        self._now.final[index] = self._checked(index, mean, publisher)
        self._now.finished[index] = self._now.published[index] = True

    def _checked(self, index: int, mean: FloatArray, publisher: int) -> FloatArray:
        self.check_process()
        if check_integer("index", index, least=None) not in range(self.n_beliefs):
            raise ValueError(f"index must lie in [0, {self.n_beliefs}), got {index}")
        mean = np.asarray(mean, np.float32)
        if mean.shape != (self.latent_dim,):
            raise ValueError(f"a belief must have shape {(self.latent_dim,)}, got {mean.shape}")
        if not np.isfinite(mean).all():
            raise ValueError(f"belief {index} is not finite: {mean}")
        newest = max(self._publishers[index], default=0)
        if 0 < publisher < newest:
            raise ValueError(
                f"two environments publish to row {index} of the belief pool in turn, so that "
                "imaginary tasks mix the belief of whichever stepped last; expected a row for each "
                "(index=…), and different pools for training and evaluation. Close the one that is "
                "no longer needed"
            )
        if publisher > newest:
            self._publishers[index].append(publisher)
        return mean

    def means(self, step: int) -> FloatArray:
        """The currently published beliefs, for any step."""
        self.check_process()
        return self._now.means(step)

    def final_means(self) -> FloatArray:
        """Beliefs at the end of each environment's latest finished task, else its current one."""
        self.check_process()
        return self._now.final_means()
