"""Train LDM, a baseline or an oracle on any environment.

    python train/recurrent_ppo.py --env-id LDM-GridNavi-v0 --method ldm --seed 0

Settings come from the environment's preset (``train/presets.py``); every one of them is a flag.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

from ldm_wrappers.sb3 import LatentDynamicsCallback
from train.artifacts import save_artifacts
from train.callbacks import (
    BetweenUpdates,
    FiniteCheck,
    MetaEpisodeStatistics,
    MetricsLog,
    PeriodicEvaluation,
    Progress,
)
from train.command_line import parse, report_errors
from train.config import TrainConfig
from train.csv_file import CsvFile
from train.evaluation import Evaluator
from train.learner import build
from train.run_folder import RunFolder


def train(config: TrainConfig) -> RunFolder:
    """Train one run from its configuration and save what it learned."""
    learner = build(config)  # environment ► wrappers ► adapter ► RecurrentPPO, and the VAE
    folder = RunFolder.create(config)

    tensorboard = TensorBoardOutputFormat(str(folder.tensorboard))
    learner.algorithm.set_logger(Logger(str(folder.path), [tensorboard]))
    statistics = MetaEpisodeStatistics(config.n_normal)
    evaluator = Evaluator(config, learner.model)
    evaluation = PeriodicEvaluation(learner, evaluator, CsvFile(folder.evaluations))
    progress = Progress(learner, evaluation)
    callbacks: list[BaseCallback] = [statistics]
    if learner.trainer is not None:
        callbacks.append(LatentDynamicsCallback(learner.trainer, config.vae_updates))
    callbacks.append(
        BetweenUpdates(
            [
                FiniteCheck(learner),
                evaluation,
                MetricsLog(learner, statistics, CsvFile(folder.metrics)),
                progress,
            ]
        )
    )

    try:
        learner.algorithm.learn(config.total_timesteps, callbacks, log_interval=None)
    finally:
        progress.close()
        learner.vec_env.close()
        evaluator.close()
        learner.algorithm.logger.close()
    save_artifacts(folder, learner)
    return folder


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, train, and say where the results are."""
    with report_errors():
        folder = train(parse(arguments))
        print(f"run folder: {folder.path}")
        print(f"pictures and tables: python -m train.evaluate {folder.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
