"""The files of a finished run, saved and loaded without executing code from them."""

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
    """Write each of :meth:`Learner.artifacts` to its own file in the run folder."""
    steps = learner.num_timesteps
    for stem, content in learner.artifacts().items():
        run = run_identity(folder.config)
        state = {**_header(folder), "run": run, "timesteps": steps, "content": content}
        save_state(folder.artifact(stem), state)


def load_artifacts(folder: RunFolder, device: str = "cpu") -> Learner:
    """Rebuild the trained learner of a run.

    Raises:
        StateFileError: If a file is missing or damaged, or does not fit the configuration.
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
    """The first run that has files with all these stems; a warning names the runs passed over.

    Args:
        runs: Names and folders, in order of preference.
        stems: Stems of the required files.
        what: What the run is chosen for, for the warning.
    """
    passed_over: list[str] = []
    for name, folder in runs:
        if all(folder.artifact(stem).exists() for stem in stems):
            if passed_over:
                print(
                    f"warning: {what} are from {name} (seed {folder.config.seed}), since no "
                    f"{' or '.join(stems)} is saved in {', '.join(passed_over)}: the run is not "
                    "finished, or was cut with --until",
                    file=sys.stderr,
                )
            return name, folder
        passed_over.append(f"{name} (seed {folder.config.seed})")
    return None


class RunContents(Mapping[str, Any]):
    """The files of a run by stem, each read on demand; all must be written at the same step."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._first: tuple[Path, int] | None = None  # file read first, and its steps
        self._run: tuple[Path, str] | None = None  # first file that names its run, and the run

    def __getitem__(self, stem: str) -> Any:
        state, path = artifact_state(self._folder, stem), self._folder.artifact(stem)
        self._compare_runs(path, state.get("run"))
        written = state.get("timesteps")
        if isinstance(written, int):  # missing in files of older versions
            if self._first is None:
                self._first = path, written
                _compare_age(self._folder, path, written)
            elif written != self._first[1]:
                raise StateFileError(
                    f"{path} was written after {written:,} steps, but {self._first[0]} after "
                    f"{self._first[1]:,}: saving was interrupted; complete it with "
                    f"{resume_command(self._folder.config, self._folder.path)}"
                )
        return state["content"]

    def _compare_runs(self, path: Path, run: Any) -> None:
        """Raise a ``StateFileError`` if a file belongs to another run than those read before."""
        if not isinstance(run, str):  # missing in files of older versions
            return
        first, expected = self._run = self._run or (path, run)
        if run != expected:
            raise StateFileError(
                f"{path} and {first} are from different runs (other settings or another seed); a "
                "policy cannot use the beliefs of another run's model. Expected all files of a run "
                "folder to be from the same run"
            )

    @property
    def timesteps(self) -> int | None:
        """Steps after which the files read so far were written; ``None`` for older versions."""
        return None if self._first is None else self._first[1]

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in sorted(self._folder.path.glob("*.safetensors")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def require_artifact(folder: RunFolder, stem: str) -> None:
    """Raise a ``StateFileError`` if a run has not written one of its files."""
    path = folder.artifact(stem)
    if not path.exists():
        raise StateFileError(
            f"cannot read {path}: No such file or directory. A run writes it when it finishes; "
            f"continue the run with {resume_command(folder.config, folder.path)}"
        )


def artifact_state(folder: RunFolder, stem: str) -> dict[str, Any]:
    """Read one of a run's files, which must belong to its environment and method.

    Raises:
        StateFileError: If it is missing or damaged, or belongs to another run.
    """
    require_artifact(folder, stem)
    path = folder.artifact(stem)
    state = load_state(path)
    if not isinstance(state, dict) or "content" not in state:
        raise StateFileError(f"{path} is not a file of a run")
    for name, expected in _header(folder).items():
        older = name == "seed" and name not in state  # missing in files of older versions
        if state.get(name) != expected and not older:
            raise StateFileError(
                f"{path} belongs to {name} {state.get(name)!r}, expected {expected!r}"
            )
    return state


def _header(folder: RunFolder) -> dict[str, Any]:
    """Entries that a file must share with its run."""
    config = folder.config
    return {"env_id": config.env_id, "method": config.method, "seed": config.seed}


def _compare_age(folder: RunFolder, path: Path, written: int) -> None:
    """Warn if a run was extended beyond the step at which the file was written."""
    try:
        reached = int(read_log(folder.metrics)[-1]["timesteps"])
    except (OSError, LookupError, TypeError, ValueError):
        return  # no metrics
    if reached > written:
        print(
            f"warning: {path} was written after {written:,} steps, but the run has reached "
            f"{reached:,}: finish it with {resume_command(folder.config, folder.path)}",
            file=sys.stderr,
        )
