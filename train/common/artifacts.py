"""What a finished run leaves, saved and loaded without running code."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ldm_wrappers.state_file import StateFileError, load_state, save_state
from train.common.learner import Learner
from train.config.grouping import run_identity
from train.config.methods import get_method
from train.persistence.files import read_log
from train.persistence.run_folder import RunFolder, resume_command


def save_artifacts(folder: RunFolder, learner: Learner) -> None:
    """Write what :meth:`Learner.artifacts` names into the run folder, a file each."""
    steps = learner.num_timesteps
    for stem, content in learner.artifacts().items():
        run = run_identity(folder.config)
        state = {**_header(folder), "run": run, "timesteps": steps, "content": content}
        save_state(folder.artifact(stem), state)


def load_artifacts(folder: RunFolder, device: str = "cpu") -> Learner:
    """Rebuild a run's learner with what it has learned.

    Raises:
        StateFileError: A file is missing, damaged, or does not fit the configuration.
    """
    script = importlib.import_module(get_method(folder.config.method).script)
    learner: Learner = script.build(dataclasses.replace(folder.config, device=device))
    try:
        learner.load_artifacts(RunContents(folder))
    except StateFileError:
        learner.close()
        raise
    except (ValueError, LookupError, TypeError, RuntimeError) as error:
        learner.close()
        raise StateFileError(f"{folder.path} does not fit its configuration: {error}") from None
    except BaseException:
        learner.close()
        raise
    return learner


def first_trained(
    runs: list[tuple[str, RunFolder]], stems: tuple[str, ...], what: str
) -> tuple[str, RunFolder] | None:
    """The first run that left files of all these stems; a warning names those before it.

    Args:
        runs: Names and folders, the ones that should be shown first.
        stems: Files that are needed.
        what: What the runs are chosen for, in the warning.
    """
    passed_over: list[str] = []
    for name, folder in runs:
        if all(folder.artifact(stem).exists() for stem in stems):
            if passed_over:
                print(
                    f"warning: {what} are of {name} (seed {folder.config.seed}), since no "
                    f"{' or '.join(stems)} is saved in {', '.join(passed_over)}: the run is not "
                    "finished, or was cut with --until",
                    file=sys.stderr,
                )
            return name, folder
        passed_over.append(f"{name} (seed {folder.config.seed})")
    return None


class RunContents(Mapping[str, Any]):
    """The files of a run by stem, each read when it is asked for; all are of one moment."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._first: tuple[Path, int] | None = None  # file read first, and its steps
        self._run: tuple[Path, str] | None = None  # first file that says its run, and the run

    def __getitem__(self, stem: str) -> Any:
        state, path = artifact_state(self._folder, stem), self._folder.artifact(stem)
        self._compare_runs(path, state.get("run"))
        written = state.get("timesteps")
        if isinstance(written, int):  # files of older versions do not say it
            if self._first is None:
                self._first = path, written
                _compare_age(self._folder, path, written)
            elif written != self._first[1]:
                raise StateFileError(
                    f"{path} was written after {written:,} steps, {self._first[0]} after "
                    f"{self._first[1]:,}: saving was cut short, and --resume {self._folder.path} "
                    "completes it"
                )
        return state["content"]

    def _compare_runs(self, path: Path, run: Any) -> None:
        """Raise a ``StateFileError`` if a file is of another run than those before it."""
        if not isinstance(run, str):  # files of older versions do not say it
            return
        first, expected = self._run = self._run or (path, run)
        if run != expected:
            raise StateFileError(
                f"{path} and {first} are of different runs (other settings or another seed): a "
                "policy does not understand beliefs of another run's model. Expected all files of "
                "one run folder as it was written"
            )

    @property
    def timesteps(self) -> int | None:
        """Steps after which what has been read was written; files of older versions do not say."""
        return None if self._first is None else self._first[1]

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in sorted(self._folder.path.glob("*.safetensors")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def artifact_state(folder: RunFolder, stem: str) -> dict[str, Any]:
    """One of a run's files, which must belong to its environment and method.

    Raises:
        StateFileError: It is missing, damaged, or of another run.
    """
    path = folder.artifact(stem)
    if not path.exists():
        raise StateFileError(
            f"cannot read {path}: No such file or directory. A run writes it at its end, to which "
            f"{resume_command(folder.config, folder.path)} continues it"
        )
    state = load_state(path)
    if not isinstance(state, dict) or "content" not in state:
        raise StateFileError(f"{path} is not a file of a run")
    for name, expected in _header(folder).items():
        older = name == "seed" and name not in state  # files of older versions do not say it
        if state.get(name) != expected and not older:
            raise StateFileError(
                f"{path} belongs to {name} {state.get(name)!r}, expected {expected!r}"
            )
    return state


def _header(folder: RunFolder) -> dict[str, Any]:
    """What a file must share with the run that it is read with."""
    config = folder.config
    return {"env_id": config.env_id, "method": config.method, "seed": config.seed}


def _compare_age(folder: RunFolder, path: Path, written: int) -> None:
    """Warn where a run that was made longer has left a file of its old end in place."""
    try:
        reached = int(read_log(folder.metrics)[-1]["timesteps"])
    except (OSError, LookupError, TypeError, ValueError):
        return  # no metrics
    if reached > written:
        print(
            f"warning: {path} was written after {written:,} steps, the run has reached "
            f"{reached:,}: --resume {folder.path} to its end",
            file=sys.stderr,
        )
