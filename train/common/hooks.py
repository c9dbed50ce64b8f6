"""Hooks that run after whole iterations: evaluation, metrics, progress."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import numpy as np
from stable_baselines3.common.logger import Logger
from tqdm import tqdm

from train.common.env_source import EnvSource
from train.common.evaluation import Evaluator, evaluation_rows, summary
from train.common.goal_decoder import GoalDecoder
from train.common.learner import Learner
from train.common.places import Places
from train.persistence.files import CsvFile, read_csv


class FiniteCheck:
    """Stops a run whose losses or weights are no longer finite."""

    def __init__(self, learner: Learner, logger: Logger) -> None:
        self.learner = learner
        self.logger = logger

    def __call__(self, iteration: int) -> None:
        for name, value in self.logger.name_to_value.items():
            if isinstance(value, (float, np.floating)) and not math.isfinite(value):
                # undefined if all returns are equal, which is not an error
                if name == "train/explained_variance":
                    continue
                raise FloatingPointError(f"{name} of iteration {iteration} is {value}")
        self.learner.check_finite()


class PeriodicEvaluation:
    """Evaluates every ``eval_interval`` steps and at the end.

    Args:
        learner: The learner whose policy and VAE are evaluated.
        evaluator: Its evaluator.
        logger: Receives the means.
        file: evaluations.csv.
        decoded_goals: decoded_goals.csv, for methods with a VAE if tasks are goals at places.
    """

    def __init__(
        self,
        learner: Learner,
        evaluator: Evaluator,
        logger: Logger,
        file: CsvFile,
        decoded_goals: CsvFile,
    ) -> None:
        self.learner = learner
        self.evaluator = evaluator
        self.logger = logger
        self.file = file
        self.decoded_goals = decoded_goals
        model = learner.latent_dynamics
        places = None if model is None else Places.of(EnvSource.of(learner.config))
        self._decoder = None if model is None or places is None else GoalDecoder(model, places)
        self.next = learner.config.eval_interval
        self.latest: dict[str, float] = {}
        self.evaluated_at: int | None = None  # step of the last evaluation by this process

    @property
    def end_is_missing(self) -> bool:
        """Whether the learner is at its end without an evaluation there (after a lower budget)."""
        timesteps = self.learner.num_timesteps
        if timesteps < self.learner.config.total_timesteps:
            return False
        rows = read_csv(self.file.path) if self.file.path.exists() else []
        return not rows or int(rows[-1]["timesteps"]) < timesteps

    def __call__(self, iteration: int) -> None:
        config, timesteps = self.learner.config, self.learner.num_timesteps
        if timesteps < min(self.next, config.total_timesteps):
            return
        self.next = (timesteps // config.eval_interval + 1) * config.eval_interval
        self.evaluated_at = timesteps
        results = self.evaluator.evaluate(self.learner.actor())
        self.file.append(evaluation_rows(timesteps, results))
        if self._decoder is not None:
            self.decoded_goals.append(self._decoder.rows(timesteps, results))
        self.latest = summary(results)
        for name, value in self.latest.items():
            self.logger.record(f"eval/{name}", value)

    def state_dict(self) -> dict[str, Any]:
        """When the next evaluation is due, the last results, and the length of the files."""
        ends = {"file": self.file.position(), "decoded_goals": self.decoded_goals.position()}
        return {"next": self.next, "latest": self.latest, **ends}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; removes rows that were written later."""
        self.next, self.latest = state["next"], state["latest"]
        self.file.truncate(*state["file"])
        # checkpoints of older versions have no decoded goals
        self.decoded_goals.truncate(*state.get("decoded_goals", ([], 0)))

    def clear(self) -> None:
        """Start the files anew."""
        for file in (self.file, self.decoded_goals):
            file.truncate([], 0)


class MetricsLog:
    """Writes a row of metrics.csv, and to TensorBoard, every ``log_interval`` iterations.

    Each evaluation also gets a row, at its step.
    """

    def __init__(
        self, learner: Learner, logger: Logger, file: CsvFile, evaluation: PeriodicEvaluation
    ) -> None:
        self.learner = learner
        self.evaluation = evaluation
        self.logger = logger
        self.file = file
        self.iteration = 0
        self._count_from(0.0)

    def clear(self) -> None:
        """Start the file anew."""
        self.file.truncate([], 0)

    def _count_from(self, seconds: float) -> None:
        self._start = time.monotonic() - seconds
        self._last = (seconds, self.learner.num_timesteps)

    def __call__(self, iteration: int) -> None:
        self.iteration = iteration
        timesteps = self.learner.num_timesteps
        due = iteration % self.learner.config.log_interval == 0
        if not due and self.evaluation.evaluated_at != timesteps:
            return
        self._write({"iteration": iteration, "timesteps": timesteps})

    def complete(self) -> None:
        """Add an evaluation to the row of this step if it is the last one, else write a new row."""
        timesteps = self.learner.num_timesteps
        rows = read_csv(self.file.path) if self.file.path.exists() else []
        row: dict[str, Any] = {"iteration": self.iteration, "timesteps": timesteps}
        if rows and int(rows[-1]["timesteps"]) == timesteps:
            row = {name: value for name, value in rows[-1].items() if value}
            self.file.truncate(self.file.columns, self.file.n_rows - 1)
        self._write(row)

    def _write(self, row: dict[str, Any]) -> None:
        timesteps = self.learner.num_timesteps
        self.learner.log_statistics()
        values = dict(self.logger.name_to_value)
        elapsed = time.monotonic() - self._start
        rate = (timesteps - self._last[1]) / max(elapsed - self._last[0], 1e-9)
        self._last = (elapsed, timesteps)
        self.logger.record("time/steps_per_second", rate)
        self.logger.dump(timesteps)
        row |= {name: repr(float(value)) for name, value in values.items()}
        times = {"time/seconds": f"{elapsed:.1f}", "time/steps_per_second": f"{rate:.0f}"}
        self.file.append([{**row, **times}])

    def state_dict(self) -> dict[str, Any]:
        """Values pending for the next row, the length of the file, and seconds trained so far."""
        waiting = {name: float(value) for name, value in self.logger.name_to_value.items()}
        seconds = time.monotonic() - self._start
        return {
            "iteration": self.iteration,
            "waiting": waiting,
            "file": self.file.position(),
            "seconds": seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`, once the learner has been restored."""
        self.logger.name_to_value.clear()
        for name, value in state["waiting"].items():
            self.logger.record(name, value)
        self.file.truncate(*state["file"])
        self.iteration = state.get("iteration", 0)  # missing in older checkpoints
        self._count_from(state["seconds"])


class IterationSize:
    """Warns if a whole iteration has more steps than an interval or the total."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.before: int | None = learner.num_timesteps

    def __call__(self, iteration: int) -> None:
        if self.before is None:
            return
        steps, self.before = self.learner.num_timesteps - self.before, None
        config = self.learner.config
        for name in ("total_timesteps", "eval_interval"):
            if steps > getattr(config, name):
                print(
                    f"\nwarning: the first iteration had {steps:,} steps, more than {name} = "
                    f"{getattr(config, name):,}; training stops and evaluates only after whole "
                    "iterations",
                    file=sys.stderr,
                )


class Progress:
    """A progress bar with ETA and the latest greedy returns in the last episode."""

    def __init__(self, learner: Learner, evaluation: PeriodicEvaluation) -> None:
        self.learner = learner
        self.evaluation = evaluation
        config = learner.config
        self.bar = tqdm(
            total=config.total_timesteps,
            initial=learner.num_timesteps,
            desc=f"{config.method} {config.env_id}",
            unit="step",
            unit_scale=True,
            mininterval=1.0,
            dynamic_ncols=True,
        )

    def __call__(self, iteration: int) -> None:
        latest = self.evaluation.latest
        shown = {
            name.removesuffix("_return"): f"{value:.1f}" if abs(value) >= 1.0 else f"{value:.3g}"
            for name, value in latest.items()
            if name.endswith("_return")
        }
        shown |= {
            name: f"{value:.0f}" for name, value in latest.items() if name.endswith("_reached")
        }
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(min(self.learner.num_timesteps, self.bar.total) - self.bar.n)

    def close(self) -> None:
        """Close the bar and leave it on the screen."""
        self.bar.close()
