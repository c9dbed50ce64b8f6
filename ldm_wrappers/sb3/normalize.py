"""``VecNormalize`` with return statistics of real rewards only."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from ldm_wrappers.arguments import check_integer
from ldm_wrappers.sb3.workers import imaginary_workers


class NormalizeWithRealReturns(VecNormalize):
    """Normalise all rewards by the running scale of the *normal* workers' returns.

    What a decoder imagines early in training says nothing about the scale of the environment's
    rewards: with returns of mixture workers in the statistics, real rewards can shrink tenfold.
    The authors' code leaves them out. Imaginary rewards are divided by the same scale.

    Args:
        venv: Environments to normalise.
        n_normal: Number of normal workers, which come first and earn the environment's own rewards;
            mixture workers come last. If it is the number of all workers, all returns count, as
            in stock ``VecNormalize``.
        kwargs: See stable-baselines3's ``VecNormalize``.

    Raises:
        ValueError: ``n_normal`` is not between 1 and the number of workers, or one of the first
            ``n_normal`` workers is wrapped in an ``ImaginaryRewardWrapper``.
    """

    def __init__(self, venv: VecEnv, *, n_normal: int, **kwargs: Any) -> None:
        n_normal = check_integer("n_normal", n_normal, least=None)
        if not 1 <= n_normal <= venv.num_envs:
            raise ValueError(f"n_normal must lie between 1 and {venv.num_envs}, got {n_normal}")
        if n_normal < venv.num_envs:
            _refuse_imaginary(venv, n_normal)
        super().__init__(venv, **kwargs)
        self.n_normal = n_normal

    def set_venv(self, venv: VecEnv) -> None:
        """As in ``VecNormalize``, for ``load``; if all returns counted before, all count again.

        Raises:
            ValueError: Not all counted, and one of the first ``n_normal`` workers is wrapped in an
                ``ImaginaryRewardWrapper``.
        """
        all_count = self.n_normal == self.num_envs
        if not all_count:
            _refuse_imaginary(venv, self.n_normal)
        super().set_venv(venv)  # refuses a second one
        if all_count:
            self.n_normal = venv.num_envs

    def _update_reward(self, reward: np.ndarray[Any, Any]) -> None:
        self.returns = self.returns * self.gamma + reward
        self.ret_rms.update(self.returns[: self.n_normal])


def _refuse_imaginary(venv: VecEnv, n_normal: int) -> None:
    imaginary = np.flatnonzero(imaginary_workers(venv)[:n_normal]).tolist()
    if imaginary:
        raise ValueError(
            f"workers {imaginary} earn imaginary rewards and are among the first {n_normal}, "
            "whose returns must be real: expected mixture workers to be the last "
            "environments, and n_normal to be the number of the others"
        )
