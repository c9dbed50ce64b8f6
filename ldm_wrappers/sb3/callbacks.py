"""Trains the latent dynamics model once per rollout."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback

from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer


class LatentDynamicsCallback(BaseCallback):
    """Takes ``n_updates`` gradient steps on the ELBO after each rollout and logs their means.

    Args:
        trainer: Trainer of the model that the environment's wrappers use.
        n_updates: Gradient steps per rollout.

    Raises:
        ValueError: ``n_updates`` is below 1.
    """

    def __init__(self, trainer: LatentDynamicsTrainer, n_updates: int) -> None:
        super().__init__()
        if n_updates < 1:
            raise ValueError(f"n_updates must be at least 1, got {n_updates}")
        self.trainer = trainer
        self.n_updates = n_updates

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        for name, value in self.trainer.update(self.n_updates).items():
            self.logger.record(f"latent_dynamics/{name}", value)
        self.logger.record("latent_dynamics/n_updates", self.trainer.n_updates)
        self.logger.record("latent_dynamics/n_trajectories", len(self.trainer.buffer))
