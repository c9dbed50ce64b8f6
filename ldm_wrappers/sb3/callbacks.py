"""Callbacks around policy updates: number of threads, and training of the latent dynamics model."""

from __future__ import annotations

import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar

import torch
from gymnasium.wrappers.vector import NormalizeReward
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import (
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
)

from ldm_wrappers.arguments import check_integer, check_type
from ldm_wrappers.belief_observation import (
    BeliefObservationWrapper as ScalarBeliefObservationWrapper,
)
from ldm_wrappers.belief_publisher import BeliefPublisherWrapper
from ldm_wrappers.latent_dynamics import BeliefTracker, LatentDynamicsTrainer
from ldm_wrappers.sb3.normalize import NormalizeWithRealReturns
from ldm_wrappers.sb3.workers import belief_trackers, imaginary_workers, wrappers
from ldm_wrappers.vector import BeliefObservationWrapper, ImaginaryRewardWrapper


class SingleThreadedRollouts(BaseCallback):
    """Uses one PyTorch thread while a rollout is collected, and all threads for policy updates.

    The forward pass for a step of a few dozen workers is too little work to share: more threads
    cost time, and take cores from those that step the environments.

    Attributes:
        n_threads: PyTorch's number of threads outside ``learn``, set when training starts. If an
            exception left another number, the next training restores it.
        side_by_side: Number of updates that run at once and share the threads.
    """

    n_threads: int
    side_by_side = 1
    _follows_rollouts = False
    # Threads outside and inside the training that runs, or that an exception ended; shared by the
    # process, as PyTorch's number is.
    _numbers: ClassVar[tuple[int, int] | None] = None

    def _on_training_start(self) -> None:
        self._follows_rollouts = False
        self.n_threads = torch.get_num_threads()
        if self._numbers is not None and self._numbers[1] == self.n_threads:
            self.n_threads = self._numbers[0]

    def _on_rollout_start(self) -> None:
        self._follows_rollouts = True
        self._take(1)

    def _on_step(self) -> bool:
        if not self._follows_rollouts:
            raise RuntimeError(
                f"{type(self).__name__} is not called when rollouts begin and end, so it would do "
                "nothing: pass it to learn() directly, alone or in a list, not inside "
                "EveryNTimesteps, EvalCallback or another callback"
            )
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

    They run in a separate thread while the policy is updated in the main one. Neither reads what
    the other writes, so the results are the same as if they ran in sequence. Both finish before
    the next rollout begins; an error in the VAE's update is raised there.

    Args:
        trainer: Trainer of the model that the environment's wrappers use.
        n_updates: Gradient steps per rollout.

    Raises:
        TypeError: ``trainer`` has the wrong type.
        ValueError: ``n_updates`` is below 1.
    """

    side_by_side = 2

    def __init__(self, trainer: LatentDynamicsTrainer, n_updates: int) -> None:
        super().__init__()
        check_type("trainer", trainer, LatentDynamicsTrainer)
        self.trainer = trainer
        self.n_updates = check_integer("n_updates", n_updates)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="latent-dynamics")
        self._running: Future[dict[str, float]] | None = None

    def _on_training_start(self) -> None:
        super()._on_training_start()
        warn_of_imaginary_statistics(self.training_env)
        warn_of_idle_training(self.training_env, self.trainer)

    def _on_rollout_start(self) -> None:
        self._finish()
        with self.trainer.model.updating:  # by another callback, whose training was interrupted
            pass
        for layer in wrappers(self.training_env):
            if isinstance(layer, BeliefPublisherWrapper):
                layer.publish()
        show_newest_beliefs(self.model)
        super()._on_rollout_start()

    def _on_rollout_end(self) -> None:
        super()._on_rollout_end()
        if self._running is not None:
            raise RuntimeError(
                "this LatentDynamicsCallback is in the callbacks of learn twice, so it would "
                "train the model twice after each rollout; expected it once, with a larger "
                "n_updates for more gradient steps"
            )
        trackers = belief_trackers(self.training_env)
        self._running = self._executor.submit(self._update, torch.get_num_threads(), trackers)

    def _on_training_end(self) -> None:
        self._finish()
        super()._on_training_end()
        if not len(self.trainer.buffer):
            warnings.warn(
                "training has ended and no trajectory has reached the trainer's buffer, so the "
                "latent dynamics model is unchanged: no task ended within these steps, no "
                "wrapper has buffer=trainer.buffer, or the workers run in separate processes "
                "(SubprocVecEnv, AsyncVectorEnv) with their own buffers. The latter need "
                "DummyVecEnv, or wrappers of ldm_wrappers.vector around them",
                stacklevel=2,
            )

    def _update(self, n_threads: int, trackers: list[BeliefTracker]) -> dict[str, float]:
        torch.set_num_threads(n_threads)  # applies to the calling thread
        with self.trainer.model.updating:
            means = self.trainer.update(self.n_updates)
            for tracker in trackers:  # needed before the next step, so done meanwhile
                tracker.encode_again()
        return means

    def _finish(self) -> None:
        if self._running is None:
            return
        running, self._running = self._running, None
        for name, value in running.result().items():
            self.logger.record(f"latent_dynamics/{name}", value)
        self.logger.record("latent_dynamics/n_updates", self.trainer.n_updates)
        self.logger.record("latent_dynamics/n_trajectories", len(self.trainer.buffer))


def warn_of_idle_training(vec_env: VecEnv, trainer: LatentDynamicsTrainer) -> None:
    """Warn if no worker fills the trainer's buffer, or none uses the model that it trains."""
    trackers = belief_trackers(vec_env)
    if not trackers:  # workers in separate processes, or no wrapper of this package
        return
    if not len(trainer.buffer) and all(one.buffer is not trainer.buffer for one in trackers):
        warnings.warn(
            "no wrapper of the environment stores trajectories in the trainer's buffer, which is "
            "empty: the latent dynamics will not be trained. Pass buffer=trainer.buffer to "
            "ImaginaryRewardWrapper, BeliefObservationWrapper or BeliefPublisherWrapper",
            stacklevel=2,
        )
    if all(one.model is not trainer.model for one in trackers):
        warnings.warn(
            "the environment's wrappers use a latent dynamics model other than the one that is "
            "trained: beliefs and imaginary rewards will not change. Expected trainer.model",
            stacklevel=2,
        )


def warn_of_imaginary_statistics(vec_env: VecEnv) -> None:
    """Warn if imaginary returns enter the statistics that normalise real rewards."""
    layer: Any = vec_env
    while layer is not None:
        stock = isinstance(layer, VecNormalize) and not isinstance(layer, NormalizeWithRealReturns)
        if stock and layer.norm_reward and (n_normal := _normal_workers(vec_env)):
            warnings.warn(
                "VecNormalize divides real rewards by a scale that includes imaginary returns; "
                f"ldm_wrappers.sb3.NormalizeWithRealReturns(venv, n_normal={n_normal}) keeps them "
                "out, norm_reward=False leaves rewards as they are",
                stacklevel=2,
            )
        layer = vars(layer).get("venv")
    for inner in wrappers(vec_env):
        if isinstance(inner, ImaginaryRewardWrapper):
            break  # wrappers inside see real rewards
        if isinstance(inner, NormalizeReward) and _normal_workers(vec_env):
            warnings.warn(
                "NormalizeReward divides real rewards by a scale that includes imaginary returns; "
                "ldm_wrappers.sb3.NormalizeWithRealReturns around the VecEnv keeps them out",
                stacklevel=2,
            )


def _normal_workers(vec_env: VecEnv) -> int:
    """Number of workers with real rewards if others have imaginary ones, else 0."""
    imaginary = imaginary_workers(vec_env)
    return imaginary.count(False) if any(imaginary) else 0


def show_newest_beliefs(algorithm: BaseAlgorithm) -> None:
    """Update the first observation of a rollout after the VAE has been trained.

    stable-baselines3 keeps it from the end of the last rollout, with a belief under older weights.
    If an unknown wrapper is around ``BeliefObservationWrapper``, the observation stays as it is,
    with a warning; ``VecNormalize``, ``VecMonitor`` and ``VecCheckNan`` are known.
    """
    vec_env = layer = algorithm.get_env()
    outside: list[VecEnvWrapper] = []
    while isinstance(layer, VecEnvWrapper):
        outside.append(layer)
        layer = layer.venv
    known = (VecNormalize, VecMonitor, VecCheckNan)
    others = [type(outer).__name__ for outer in outside if not isinstance(outer, known)]
    kinds = (BeliefObservationWrapper, ScalarBeliefObservationWrapper)
    chain = [] if vec_env is None else wrappers(vec_env)
    belief = next((one for one in chain if isinstance(one, kinds)), None)
    if belief is None:
        return
    inner = getattr(layer, "env", None)
    if belief is not inner:
        others.append(type(layer if inner is None else inner).__name__)
    if others or not isinstance(inner, BeliefObservationWrapper):
        warnings.warn(
            f"{others[0]} shows a belief under outdated weights at the start of each rollout. "
            "Expected VectorEnvAdapter directly around the vector BeliefObservationWrapper, and "
            "nothing but VecNormalize, VecMonitor and VecCheckNan around that",
            stacklevel=2,
        )
        return
    shown: Any = inner.current_observations()
    for outer in reversed(outside):
        if isinstance(outer, VecNormalize):
            shown = outer.normalize_obs(shown)
    algorithm._last_obs = shown
