"""Run one trial of a sweep in its own process, and keep its state on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import platform
import time
import traceback
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from train.common.stopping import TrainingStopped
from train.config.grouping import WHERE_NOT_WHAT
from train.config.methods import get_method
from train.config.settings import RunSettings, flattened
from train.persistence.checkpoint import newest_timesteps
from train.persistence.files import write_json
from train.persistence.run_folder import RunFolder
from train.sweeps.trials import Trial, run_path, without_effect

FORMAT = "ldm-trial-1"


@dataclasses.dataclass
class TrialState:
    """The state of a trial.

    Attributes:
        attempts: One entry per process that trained it: ``started``, ``from_timesteps`` (0 for the
            beginning), ``host`` and ``pid``.
        finished: Time at which it finished, in seconds since 1970, or ``None``.
        error: Error of its last attempt; empty if there was none.
        seconds: Total duration of its attempts, except those stopped or killed.
    """

    attempts: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    finished: float | None = None
    error: str = ""
    seconds: float = 0.0


def trial_file(out: Path, name: str, suffix: str) -> Path:
    """Path of the state, the lock or the log of a trial."""
    return out / "trials" / f"{name}.{suffix}"


def read_state(out: Path, name: str) -> TrialState:
    """The state of a trial; an empty one if it has never started.

    A trial whose run was deleted is not finished.

    Raises:
        ValueError: If the file is not the state of a trial.
    """
    path = trial_file(out, name, "json")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        state = TrialState(**values)
    except FileNotFoundError:
        return TrialState()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}; delete it to run the trial again") from None
    if not (run_path(out, name) / "config.json").exists():
        state.finished = None
    return state


def write_state(out: Path, name: str, state: TrialState) -> None:
    """Write the state of a trial atomically."""
    write_json(trial_file(out, name, "json"), {"format": FORMAT, **dataclasses.asdict(state)})


def trial_lock(out: Path, name: str, timeout: float = -1.0) -> FileLock:
    """The lock of a trial, held by the process that runs it, at most until the process ends.

    ``with`` waits for the lock for ``timeout`` seconds, without limit by default.
    """
    path = trial_file(out, name, "lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, timeout=timeout)


def is_running(out: Path, name: str) -> bool:
    """Whether a process holds the trial's lock."""
    if not trial_file(out, name, "lock").exists():
        return False
    try:
        with trial_lock(out, name, timeout=0):
            return False
    except Timeout:
        return True


def run_so_far(config: RunSettings) -> RunFolder | None:
    """The run of a trial, ``None`` if it has not started.

    Raises:
        ValueError: If it was started with other settings, for example those of a changed preset.
    """
    if not (Path(config.run_dir) / "config.json").exists():
        return None
    folder = RunFolder.open(config.run_dir, (config.env_id, config.eval_env_id))
    mine, theirs = flattened(config.to_dict()), flattened(folder.config.to_dict())
    indifferent = WHERE_NOT_WHAT | without_effect(config)
    differing = [k for k in mine if k not in indifferent and mine[k] != theirs.get(k)]
    if differing:
        raise ValueError(
            f"{folder.path} was started with other settings: "
            + ", ".join(f"{k} {theirs.get(k)} (now {mine[k]})" for k in differing)
            + "; choose another folder or delete it"
        )
    return folder


def _continued(config: RunSettings, begun: RunFolder) -> RunSettings:
    """Settings to continue a run with: unused ones keep their old values, as in checkpoints."""
    where = {name: getattr(config, name) for name in WHERE_NOT_WHAT}
    return dataclasses.replace(begun.config, **where)


def run_trial(trial: Trial, out: Path, device: str = "auto", num_threads: int = 1) -> str:
    """Train a trial, from its last checkpoint if there is one, unless it is finished.

    Returns:
        ``"finished"``, or ``"failed"`` with the reason in the trial's state.

    Raises:
        TrainingStopped: If a signal stopped it; the next attempt resumes it.
    """
    config = trial.with_run_dir(out, device=device, num_threads=num_threads)
    script = importlib.import_module(get_method(config.method).script)
    with trial_lock(out, trial.name):
        state = read_state(out, trial.name)
        if state.finished is not None:
            return "finished"
        started = time.time()
        state.attempts.append(
            {
                "started": started,
                "from_timesteps": newest_timesteps(Path(config.run_dir) / "checkpoints"),
                "host": platform.node(),
                "pid": os.getpid(),
            }
        )
        state.error = ""
        write_state(out, trial.name, state)
        with (
            trial_file(out, trial.name, "log").open("a", encoding="utf-8") as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            try:
                begun = run_so_far(config)
                script.train(config if begun is None else _continued(config, begun), begun)
                state.finished = time.time()
            except TrainingStopped:
                raise
            except Exception as error:
                traceback.print_exc()
                state.error = f"{type(error).__name__}: {error}"
        state.seconds += time.time() - started
        write_state(out, trial.name, state)
        return "failed" if state.error else "finished"
