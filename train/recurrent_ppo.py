"""Train LDM, a baseline or an oracle on any environment.

    python train/recurrent_ppo.py --env-id LDM-GridNavi-v0 --method ldm --seed 0

Settings come from the environment's preset (``train/config/presets.py``); every one of them is a
flag.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

from ldm_wrappers.sb3 import LatentDynamicsCallback, SingleThreadedRollouts
from train.common.artifacts import save_artifacts
from train.common.callbacks import (
    AfterIteration,
    FiniteCheck,
    MetaEpisodeStatistics,
    MetricsLog,
    PeriodicEvaluation,
    PolicyAveraging,
    Progress,
)
from train.common.command_line import parse, report_errors
from train.common.evaluation import Evaluator
from train.common.guard import FiniteRollouts, where
from train.common.learner import Learner, build
from train.common.signals import StopRequest, TrainingStopped
from train.config.on_policy import OnPolicySettings
from train.persistence.checkpoint import Checkpoints
from train.persistence.csv_file import CsvFile
from train.persistence.run_folder import RunFolder

Settings = OnPolicySettings


def train(config: OnPolicySettings, resume: RunFolder | None = None) -> RunFolder:
    """Train one run from its configuration, or go on with one, and save what it learned.

    Raises:
        TrainingStopped: Ctrl-C or SIGTERM came; a checkpoint has been written.
        FloatingPointError: Something was not finite; the message says what, where and when.
    """
    learner = build(config)  # environment ► wrappers ► adapter ► RecurrentPPO, and the VAE
    folder = resume or RunFolder.create(config)
    with folder.lock():
        _train(config, learner, folder, resume is not None)
    return folder


def _train(config: OnPolicySettings, learner: Learner, folder: RunFolder, resumed: bool) -> None:
    tensorboard = TensorBoardOutputFormat(str(folder.tensorboard))
    learner.algorithm.set_logger(Logger(str(folder.path), [tensorboard]))
    statistics = MetaEpisodeStatistics(config.n_normal)
    evaluator = Evaluator(config, learner.model)
    evaluation = PeriodicEvaluation(learner, evaluator, CsvFile(folder.evaluations))
    metrics = MetricsLog(learner, statistics, CsvFile(folder.metrics))
    checkpoints = Checkpoints(folder, learner, statistics, evaluation, metrics)
    if resumed:
        checkpoints.resume()
        if config.total_timesteps != folder.config.total_timesteps:
            _check_new_total(config, folder, learner.algorithm.num_timesteps)
        folder.update(config)
    progress = Progress(learner, evaluation)
    stop = StopRequest()

    def stop_if_asked(iteration: int) -> None:
        if stop.signal is not None:
            checkpoints.save()
            raise TrainingStopped(f"{stop.signal}: go on with --resume {folder.path}")

    hooks: list[Callable[[int], None]] = [
        FiniteCheck(learner),
        PolicyAveraging(learner),
        evaluation,
        metrics,
        progress,
        checkpoints,
        stop_if_asked,
    ]
    updates: BaseCallback = SingleThreadedRollouts()
    if learner.trainer is not None:
        updates = LatentDynamicsCallback(learner.trainer, config.vae_updates)
    callbacks = [statistics, FiniteRollouts(), updates, AfterIteration(hooks)]

    try:
        remaining = config.total_timesteps - learner.algorithm.num_timesteps
        if remaining > 0:
            with stop.listen():
                learner.algorithm.learn(
                    remaining,
                    callbacks,
                    log_interval=None,  # type: ignore[arg-type]
                    reset_num_timesteps=not resumed,
                )
            checkpoints.save()
        save_artifacts(folder, learner)
    except FloatingPointError as error:
        raise FloatingPointError(f"{where(learner)}: {error}; {checkpoints.last()}") from error
    finally:
        progress.close()
        learner.vec_env.close()
        evaluator.close()
        learner.algorithm.logger.close()


def _check_new_total(config: OnPolicySettings, folder: RunFolder, done: int) -> None:
    """Refuse a total that is behind the run; say what another one does to a falling rate."""
    if config.total_timesteps < done:
        raise ValueError(
            f"{folder.path} has trained {done:,} steps already, expected --total-timesteps of "
            f"at least that, got {config.total_timesteps:,}"
        )
    if config.anneal_from < 1.0:
        print(
            f"warning: the learning rate falls from {config.anneal_from:.0%} of "
            f"{config.total_timesteps:,} steps on, no longer of {folder.config.total_timesteps:,}; "
            "where it had fallen further, it rises again",
            file=sys.stderr,
        )


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, train, and say where the results are."""
    with report_errors():
        config, resumed = parse(arguments)
        folder = train(config, resumed)
        print(f"run folder: {folder.path}")
        print(f"pictures and tables: python -m train.evaluate {folder.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
