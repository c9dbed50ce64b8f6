"""What happens around policy updates: threads, and the training of the latent dynamics model."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar

import torch
from stable_baselines3.common.callbacks import BaseCallback

from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer


class SingleThreadedRollouts(BaseCallback):
    """One PyTorch thread while a rollout is collected, all of them while the policy is updated.

    A step of some dozens of workers is too little work to share: more threads cost time, and take
    cores from those that step the environments.

    Attributes:
        n_threads: PyTorch's number of threads outside ``learn``; known when training starts. A
            training that an exception ended leaves its own behind, and the next one mends that.
        side_by_side: Number of updates that run at once and share them.
    """

    n_threads: int
    side_by_side = 1
    # Outside and inside of the training that runs, or that an exception ended; of the process, as
    # PyTorch's number is.
    _numbers: ClassVar[tuple[int, int] | None] = None

    def _on_training_start(self) -> None:
        self.n_threads = torch.get_num_threads()
        if self._numbers is not None and self._numbers[1] == self.n_threads:
            self.n_threads = self._numbers[0]

    def _on_rollout_start(self) -> None:
        self._take(1)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._take(max(1, self.n_threads // self.side_by_side))

    def _on_training_end(self) -> None:
        torch.set_num_threads(self.n_threads)
        SingleThreadedRollouts._numbers = None

    def _take(self, n_threads: int) -> None:
        SingleThreadedRollouts._numbers = (self.n_threads, n_threads)
        torch.set_num_threads(n_threads)


class LatentDynamicsCallback(SingleThreadedRollouts):
    """Takes ``n_updates`` gradient steps on the ELBO after each rollout and logs their means.

    They are taken in a thread of their own, while the policy is updated in the main one: neither
    reads what the other writes, so that all numbers are those of one after the other. Before the
    next rollout begins both are done; an error of the latent dynamics is raised there.

    Args:
        trainer: Trainer of the model that the environment's wrappers use.
        n_updates: Gradient steps per rollout.

    Raises:
        ValueError: ``n_updates`` is below 1.
    """

    side_by_side = 2

    def __init__(self, trainer: LatentDynamicsTrainer, n_updates: int) -> None:
        super().__init__()
        if n_updates < 1:
            raise ValueError(f"n_updates must be at least 1, got {n_updates}")
        self.trainer = trainer
        self.n_updates = n_updates
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="latent-dynamics")
        self._running: Future[dict[str, float]] | None = None

    def _on_rollout_start(self) -> None:
        self._finish()
        super()._on_rollout_start()

    def _on_rollout_end(self) -> None:
        super()._on_rollout_end()
        self._running = self._executor.submit(self._update, torch.get_num_threads())

    def _on_training_end(self) -> None:
        self._finish()
        super()._on_training_end()

    def _update(self, n_threads: int) -> dict[str, float]:
        torch.set_num_threads(n_threads)  # counts for the calling thread
        return self.trainer.update(self.n_updates)

    def _finish(self) -> None:
        if self._running is None:
            return
        running, self._running = self._running, None
        for name, value in running.result().items():
            self.logger.record(f"latent_dynamics/{name}", value)
        self.logger.record("latent_dynamics/n_updates", self.trainer.n_updates)
        self.logger.record("latent_dynamics/n_trajectories", len(self.trainer.buffer))
