"""Train a learner: everything around its loop, in order, and what is written to disk.

After each whole iteration these hooks run, in an order that matters:

1. :class:`FiniteCheck`, so that nothing non-finite is evaluated, logged or saved;
2. :class:`PeriodicEvaluation`, before the metrics, which write its returns to TensorBoard;
3. :class:`MetricsLog`, which empties the logger;
4. :class:`Progress`;
5. checkpoints, after everything whose state they contain;
6. a request to stop, by Ctrl-C or SIGTERM, once everything is written; after the last iteration
   the run ends normally instead.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

from train.common.artifacts import save_artifacts
from train.common.command_line import parse, unused_flags
from train.common.envs import evaluation_batches
from train.common.evaluation import Evaluator, refuse_unplayable_tasks
from train.common.hooks import FiniteCheck, IterationSize, MetricsLog, PeriodicEvaluation, Progress
from train.common.learner import AfterIterationHook, Learner
from train.common.notices import (
    adaptation_notice,
    pinned_task_notice,
    split_notice,
    visible_task_notice,
)
from train.common.same_tasks import check_evaluated_tasks
from train.common.stopping import StopRequest, TrainingStopped, report_errors
from train.config.settings import RunSettings
from train.persistence.checkpoint import Checkpoints, Stateful, refuse_lost_checkpoints
from train.persistence.files import CsvFile
from train.persistence.run_folder import RunFolder, resume_command, shell_command

Build = Callable[[Any], Learner]


def main(program: str, build: Build, arguments: list[str] | None = None) -> int:
    """Parse the command line of a learner script, train, and print where the results are.

    Args:
        program: Name of the script's module, such as ``train.recurrent_ppo``.
        build: Makes the learner of a configuration.
        arguments: Command line; ``None`` for that of the process.
    """
    with report_errors("interrupted before the training began"):
        config, resumed = parse(program, arguments)
        folder = train(build, config, resumed, unused=unused_flags(config, arguments))
        print(f"run folder: {folder.path}")
        shown = shell_command(config, "train.evaluate", folder.path)
        print(f"pictures and tables: {shown}")
    return 0


def train(
    build: Build,
    config: RunSettings,
    resume: RunFolder | None = None,
    *,
    unused: str = "",
) -> RunFolder:
    """Train one run from its configuration, or resume one, and save what it learned.

    Args:
        build: Makes the learner of a configuration.
        config: The configuration.
        resume: The run to resume.
        unused: Message about unused flags, printed once all checks have passed.

    Raises:
        TrainingStopped: On Ctrl-C or SIGTERM, after a checkpoint has been written.
        StateFileError: If the run to resume has lost its checkpoints.
        FloatingPointError: If something was not finite; the message says what, where and when.
    """
    if resume is not None:
        refuse_lost_checkpoints(resume)
    evaluation_batches(config)  # refuses what cannot be evaluated before making a folder
    notices = [unused, adaptation_notice(config)]
    if resume is None:  # these reset environments
        notices += [
            split_notice(config),
            pinned_task_notice(config),
            visible_task_notice(config),
        ]
    learner = build(config)
    with contextlib.ExitStack() as unless_it_begins:
        unless_it_begins.callback(learner.close)
        evaluator = Evaluator(learner)
        unless_it_begins.callback(evaluator.close)
        if resume is None:
            refuse_unplayable_tasks(learner)
        folder = resume or RunFolder.create(config)
        unless_it_begins.pop_all()
    with folder.lock():
        for notice in filter(None, notices):
            print(f"warning: {notice}", file=sys.stderr)
        try:
            _train(learner, evaluator, folder, resume is not None)
        except KeyboardInterrupt:
            command = resume_command(config, folder.path)
            raise KeyboardInterrupt(
                f"interrupted; continue from the last checkpoint, if any, with {command}"
            ) from None
    return folder


def _train(learner: Learner, evaluator: Evaluator, folder: RunFolder, resumed: bool) -> None:
    config = learner.config
    logger = Logger(str(folder.path), [TensorBoardOutputFormat(str(folder.tensorboard))])
    learner.set_logger(logger)
    files = CsvFile(folder.evaluations), CsvFile(folder.decoded_goals)
    evaluation = PeriodicEvaluation(learner, evaluator, logger, *files)
    metrics = MetricsLog(learner, logger, CsvFile(folder.metrics), evaluation)
    logs: dict[str, Stateful] = {"evaluation": evaluation, "metrics": metrics}
    checkpoints = Checkpoints(folder, config, learner, logs)
    if resumed:
        if not checkpoints.resume():  # no checkpoint: killed before the first one
            for log in (evaluation, metrics):
                log.clear()
        check_evaluated_tasks(config, folder.evaluations)
        if config.total_timesteps != folder.config.total_timesteps:
            _check_new_total(config, folder, learner.num_timesteps)
        folder.update(config)
    progress = Progress(learner, evaluation)
    stop = StopRequest()

    def stop_if_asked(iteration: int) -> None:
        # after the last iteration the run is complete, and only its files are still written
        if stop.signal is not None and learner.num_timesteps < config.total_timesteps:
            checkpoints.save()
            command = resume_command(config, folder.path)
            raise TrainingStopped(f"{stop.signal}: continue with {command}")

    finite = FiniteCheck(learner, logger)
    hooks: list[Callable[[int], None]] = [
        finite,
        IterationSize(learner),
        evaluation,
        metrics,
        progress,
        checkpoints,
        stop_if_asked,
    ]

    def after_iteration(iteration: int) -> None:
        for hook in hooks:
            hook(iteration)

    try:
        with stop.listen():  # after the last iteration, the rest is still written
            if learner.num_timesteps < config.total_timesteps:
                _learn(learner, config.total_timesteps, after_iteration)
            elif evaluation.end_is_missing:
                evaluation(metrics.iteration)
                metrics.complete()
                checkpoints.save(again=True)
            checkpoints.save()
            save_artifacts(folder, learner)
    except FloatingPointError as error:
        raise FloatingPointError(f"{learner.position()}: {error}; {checkpoints.last()}") from error
    finally:
        progress.close()
        learner.close()
        evaluator.close()
        logger.close()
    _warn_if_untrained(learner, folder)


def _learn(learner: Learner, total_timesteps: int, hook: AfterIterationHook) -> None:
    """Learn; if weights spoiled by an earlier gradient step cause an error, report those."""
    try:
        learner.learn(total_timesteps, hook)
    except ValueError:  # of a distribution, for example
        learner.check_finite()
        raise


def _warn_if_untrained(learner: Learner, folder: RunFolder) -> None:
    """Warn that a whole run made no gradient step, and show the command of a longer one."""
    found = learner.too_short()
    if found is not None:
        reason, total = found
        way_out = "no total is large enough, so train it again with other settings"
        if total < 2**63:
            command = resume_command(learner.config, folder.path)
            way_out = f"train for longer with {command} --total-timesteps {total}"
        print(
            "warning: no gradient step was made, and the networks are still untrained: "
            f"{reason}; {way_out}",
            file=sys.stderr,
        )


def _check_new_total(config: RunSettings, folder: RunFolder, done: int) -> None:
    """Refuse a total below the steps done; warn what a new total does to a decaying rate."""
    if config.total_timesteps < done:
        raise ValueError(
            f"{folder.path} has already trained {done:,} steps, expected --total-timesteps of at "
            f"least that, got {config.total_timesteps:,}"
        )
    if config.adapts_from and config.total_timesteps < folder.config.total_timesteps:
        raise ValueError(
            f"{folder.path} adapts to its tasks from step {folder.config.adapts_from:,} of "
            f"{folder.config.total_timesteps:,} on (adapt_from), and would count evaluations "
            f"without adaptation; expected at least as many steps, got {config.total_timesteps:,}: "
            "train it again with fewer"
        )
    if config.adapts_from:
        print(
            "warning: the learning curve keeps the evaluations with adaptation at the former end "
            f"of the run; later ones do not adapt until step {config.adapts_from:,}",
            file=sys.stderr,
        )
    falls_from = getattr(config, "lr_decay_start", 1.0)
    if falls_from < 1.0:
        print(
            f"warning: the learning rate now decays from {falls_from:.0%} of "
            f"{config.total_timesteps:,} steps on, instead of {folder.config.total_timesteps:,}; "
            "if it had already decayed, it rises again",
            file=sys.stderr,
        )
