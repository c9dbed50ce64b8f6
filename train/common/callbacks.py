"""What happens between two updates of the policy: logging, evaluation, progress, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from train.common.evaluation import Evaluator, evaluation_rows, summary
from train.common.guard import check_weights
from train.common.learner import Learner
from train.persistence.csv_file import CsvFile


class MetaEpisodeStatistics(BaseCallback):
    """Collects true returns of finished meta-episodes of the normal workers since the last row.

    Args:
        n_normal: Workers 0 … n_normal − 1 earn the environment's own rewards.
    """

    def __init__(self, n_normal: int) -> None:
        super().__init__()
        self.n_normal = n_normal
        self.returns: list[list[float]] = []

    def _on_step(self) -> bool:
        dones = self.locals["dones"]
        if dones.any():
            for index in np.flatnonzero(dones[: self.n_normal]):
                row = self.locals["infos"][index]["episode_returns"]
                self.returns.append([float(value) for value in row])
        return True

    def take(self) -> dict[str, float]:
        """Mean return per inner episode since the last call, and forget them."""
        if not self.returns:
            return {}
        means = np.mean(self.returns, axis=0)
        count = float(len(self.returns))
        self.returns = []
        names = {f"rollout/return_episode_{i + 1}": float(m) for i, m in enumerate(means)}
        return {**names, "rollout/meta_episodes": count}


class AfterIteration(BaseCallback):
    """Calls hooks after each whole iteration (rollout, VAE update, policy update), in order.

    stable-baselines3 has no event there; the start of the next rollout is the same moment.

    Args:
        hooks: Functions of the number of iterations done.
    """

    def __init__(self, hooks: list[Callable[[int], None]]) -> None:
        super().__init__()
        self.hooks = hooks
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
        for hook in self.hooks:
            hook(self.num_timesteps // per_iteration)


class FiniteCheck:
    """Stops a run whose losses or weights are no longer finite."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner

    def __call__(self, iteration: int) -> None:
        values = self.learner.algorithm.logger.name_to_value
        for name, value in values.items():
            if isinstance(value, (float, np.floating)) and not math.isfinite(value):
                # undefined where all returns are equal, which is no error
                if name == "train/explained_variance":
                    continue
                raise FloatingPointError(f"{name} of iteration {iteration} is {value}")
        check_weights(self.learner)


class PolicyAveraging:
    """Takes the policy's weights after every update into their running average."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner

    def __call__(self, iteration: int) -> None:
        if self.learner.average is not None:
            self.learner.average.update_parameters(self.learner.algorithm.policy)


class MetricsLog:
    """Writes a row of metrics.csv, and TensorBoard, every ``log_interval`` iterations."""

    def __init__(self, learner: Learner, statistics: MetaEpisodeStatistics, file: CsvFile) -> None:
        self.learner = learner
        self.statistics = statistics
        self.file = file
        self.resume(0.0)

    def resume(self, seconds: float) -> None:
        """Go on counting from ``seconds`` of training."""
        self._start = time.monotonic() - seconds
        self._last = (seconds, self.learner.algorithm.num_timesteps)

    def seconds(self) -> float:
        """Seconds of training so far, earlier sittings included."""
        return time.monotonic() - self._start

    def __call__(self, iteration: int) -> None:
        algorithm = self.learner.algorithm
        if iteration % self.learner.config.log_interval:
            return
        logger, timesteps = algorithm.logger, algorithm.num_timesteps
        for name, value in self.statistics.take().items():
            logger.record(name, value)
        values = dict(logger.name_to_value)
        elapsed = self.seconds()
        rate = (timesteps - self._last[1]) / max(elapsed - self._last[0], 1e-9)
        self._last = (elapsed, timesteps)
        logger.record("time/steps_per_second", rate)
        logger.dump(timesteps)
        row: dict[str, Any] = {"iteration": iteration, "timesteps": timesteps}
        row |= {name: repr(float(value)) for name, value in values.items()}
        times = {"time/seconds": f"{elapsed:.1f}", "time/steps_per_second": f"{rate:.0f}"}
        self.file.append([{**row, **times}])


class PeriodicEvaluation:
    """Evaluates every ``eval_interval`` steps and at the end, into evaluations.csv."""

    def __init__(self, learner: Learner, evaluator: Evaluator, file: CsvFile) -> None:
        self.learner = learner
        self.evaluator = evaluator
        self.file = file
        self.next = learner.config.eval_interval
        self.latest: dict[str, float] = {}

    def __call__(self, iteration: int) -> None:
        config, timesteps = self.learner.config, self.learner.algorithm.num_timesteps
        if timesteps < min(self.next, config.total_timesteps):
            return
        self.next = (timesteps // config.eval_interval + 1) * config.eval_interval
        results = self.evaluator.evaluate(self.learner.judged_policy, self.learner.normalizer)
        self.file.append(evaluation_rows(timesteps, results))
        self.latest = summary(results)
        for name, value in self.latest.items():
            self.learner.algorithm.logger.record(f"eval/{name}", value)


class Progress:
    """A progress bar with ETA and the latest greedy returns at the last episode."""

    def __init__(self, learner: Learner, evaluation: PeriodicEvaluation) -> None:
        self.learner = learner
        self.evaluation = evaluation
        config = learner.config
        self.bar = tqdm(
            total=config.total_timesteps,
            initial=learner.algorithm.num_timesteps,
            desc=f"{config.method} {config.env_id}",
            unit="step",
            unit_scale=True,
            mininterval=1.0,
            dynamic_ncols=True,
        )

    def __call__(self, iteration: int) -> None:
        latest = self.evaluation.latest
        shown = {
            name.removesuffix("_return"): f"{value:.1f}"
            for name, value in latest.items()
            if name.endswith("_return")
        }
        shown |= {
            name: f"{value:.0f}" for name, value in latest.items() if name.endswith("_reached")
        }
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(min(self.learner.algorithm.num_timesteps, self.bar.total) - self.bar.n)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.close()
