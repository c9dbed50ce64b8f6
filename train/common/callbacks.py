"""Stable-Baselines3 callbacks of the on-policy learners."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from train.common.guard import check_rows


class MetaEpisodeStatistics(BaseCallback):
    """Collects true returns of meta-episodes that normal workers finished since the last row.

    Args:
        n_normal: Workers 0 … n_normal − 1 receive the environment's own rewards.
    """

    def __init__(self, n_normal: int) -> None:
        super().__init__()
        self.n_normal = n_normal
        self.returns: list[list[float]] = []

    def _on_step(self) -> bool:
        dones = self.locals["dones"]
        if dones.any():
            for index in np.flatnonzero(dones[: self.n_normal]):
                info = self.locals["infos"][index]
                if info["cut_short"]:
                    continue  # a first meta-episode that staggering cut short
                row = info["episode_returns"]
                self.returns.append([float(value) for value in row])
        return True

    def pop_means(self) -> dict[str, float]:
        """Return the mean return per inner episode since the last call, and start over."""
        if not self.returns:
            return {}
        means = np.mean(self.returns, axis=0)
        count = float(len(self.returns))
        self.returns = []
        names = {f"rollout/return_episode_{i + 1}": float(m) for i, m in enumerate(means)}
        return {**names, "rollout/meta_episodes": count}


class AfterIteration(BaseCallback):
    """Calls a hook after each whole iteration (rollout, VAE update, policy update).

    Stable-Baselines3 has no event there, so the hook is called at the start of the next rollout.

    Args:
        hook: Function of the number of completed iterations.
    """

    def __init__(self, hook: Callable[[int], None]) -> None:
        super().__init__()
        self.hook = hook
        self._seen = -1

    def _on_training_start(self) -> None:
        self._seen = self.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self._run()

    def _on_training_end(self) -> None:
        self._run()

    def _run(self) -> None:
        if self.num_timesteps == self._seen:
            return
        self._seen = self.num_timesteps
        per_iteration = self.locals["self"].n_steps * self.training_env.num_envs
        self.hook(self.num_timesteps // per_iteration)


class FiniteRollouts(BaseCallback):
    """Checks that the policy's observations and rewards are finite, after all wrappers."""

    def _on_step(self) -> bool:
        check_rows("policy observation", self.locals["new_obs"])
        check_rows("policy reward", self.locals["rewards"])
        return True
