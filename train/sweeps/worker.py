"""Runs one trial of a sweep in its own process, and keeps its state on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import platform
import re
import shutil
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from train.common.command_line import TrainingStopped
from train.config.grouping import WHERE_NOT_WHAT, unused_settings
from train.config.methods import get_method
from train.config.settings import RunSettings, flattened
from train.persistence.files import write_json
from train.persistence.run_folder import RunFolder
from train.sweeps.trials import Trial, run_path

FORMAT = "ldm-trial-1"


@dataclasses.dataclass
class TrialState:
    """What is known of a trial.

    Attributes:
        attempts: One entry per process that trained it: ``started``, ``from_timesteps`` (0: from
            the beginning), ``host`` and ``pid``.
        finished: When it finished, seconds since 1970, or ``None``.
        error: How its last attempt failed, empty if it did not.
        seconds: Seconds of all its attempts that ended by themselves.
    """

    attempts: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    finished: float | None = None
    error: str = ""
    seconds: float = 0.0


def state_path(out: Path, name: str) -> Path:
    """Where the state of a trial is kept."""
    return out / "trials" / f"{name}.json"


def read_state(out: Path, name: str) -> TrialState:
    """The state of a trial; an empty one if it has never begun.

    One whose run was deleted is not finished.

    Raises:
        ValueError: The file is not a trial's state.
    """
    path = state_path(out, name)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        state = TrialState(**values)
        if not (run_path(out, name) / "config.json").exists():
            state.finished = None
        return state
    except FileNotFoundError:
        return TrialState()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}; delete it to run the trial again") from None


def write_state(out: Path, name: str, state: TrialState) -> None:
    """Keep the state of a trial, whole or not at all."""
    write_json(state_path(out, name), {"format": FORMAT, **dataclasses.asdict(state)})


@contextlib.contextmanager
def trial_lock(out: Path, name: str) -> Iterator[None]:
    """Wait until no other process works on the trial; the lock ends with the process."""
    path = state_path(out, name).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def is_running(out: Path, name: str) -> bool:
    """Whether some process holds the trial's lock."""
    path = state_path(out, name).with_suffix(".lock")
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def newest_checkpoint(run: Path) -> int:
    """Timesteps of the newest checkpoint of a run folder, 0 if there is none."""
    names = [p.name for p in (run / "checkpoints").glob("step-*.safetensors")]
    found = [re.fullmatch(r"step-(\d+)\.safetensors", name) for name in names]
    return max((int(match[1]) for match in found if match), default=0)


def unfinished_run(config: RunSettings) -> RunFolder | None:
    """The run to resume, ``None`` to begin; a folder without configuration is deleted.

    Raises:
        ValueError: The folder holds a run with other settings.
    """
    path = Path(config.run_dir)
    if not (path / "config.json").exists():
        if path.exists():  # killed before the run had begun
            shutil.rmtree(path)
        return None
    folder = RunFolder.open(path)
    check_settings(config, folder)
    return folder


def check_settings(config: Any, folder: RunFolder) -> None:
    """Refuse a run that was begun with other settings, a changed preset's for example.

    Raises:
        ValueError: What differs.
    """
    mine, theirs = flattened(config.to_dict()), flattened(folder.config.to_dict())
    indifferent = WHERE_NOT_WHAT | unused_settings(config)
    differing = [k for k in mine if k not in indifferent and mine[k] != theirs.get(k)]
    if differing:
        raise ValueError(
            f"{folder.path} was begun with other settings: "
            + ", ".join(f"{k} {theirs.get(k)} (now {mine[k]})" for k in differing)
            + "; name another folder or delete it"
        )


def run_trial(trial: Trial, out: Path, device: str = "auto", num_threads: int = 1) -> str:
    """Train a trial, from its last checkpoint if there is one; a finished one is left alone.

    Returns:
        ``"finished"``, or ``"failed"`` with the reason in the trial's state.

    Raises:
        TrainingStopped: A signal ended it; the next attempt resumes it.
    """
    config = trial.with_run_dir(out, device=device, num_threads=num_threads)
    script = importlib.import_module(get_method(config.method).script)
    log = state_path(out, trial.name).with_suffix(".log")
    with trial_lock(out, trial.name):
        state = read_state(out, trial.name)
        if state.finished is not None:
            return "finished"
        started = time.time()
        state.attempts.append(
            {
                "started": started,
                "from_timesteps": newest_checkpoint(Path(config.run_dir)),
                "host": platform.node(),
                "pid": os.getpid(),
            }
        )
        state.error = ""
        write_state(out, trial.name, state)
        with log.open("a", encoding="utf-8") as file, _output_to(file):
            try:
                script.train(config, unfinished_run(config))
            except TrainingStopped:
                raise
            except Exception as error:
                traceback.print_exc()
                state.error = f"{type(error).__name__}: {error}"
            else:
                state.finished = time.time()
        state.seconds += time.time() - started
        write_state(out, trial.name, state)
        return "failed" if state.error else "finished"


@contextlib.contextmanager
def _output_to(file: Any) -> Iterator[None]:
    with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        yield
