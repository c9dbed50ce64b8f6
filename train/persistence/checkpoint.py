"""Checkpoints: one file each, written atomically, of which the newest are kept."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ldm_wrappers.atomic_file import stale_temporaries
from ldm_wrappers.state_file import StateFileError, load_state, save_state
from train.config.grouping import CHANGEABLE_ON_RESUME
from train.config.old_runs import with_present_names
from train.config.settings import RunSettings
from train.persistence.files import DamagedLogError, read_log
from train.persistence.run_folder import RunFolder, versions

FORMAT = "ldm-checkpoint-3"
KEPT = 2
_NAME = re.compile(r"step-(\d{12})\.safetensors")


class Stateful(Protocol):
    """What a checkpoint saves and restores."""

    def state_dict(self) -> dict[str, Any]:
        """Nested dicts and lists of arrays, tensors, numbers and strings."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Inverse of :meth:`state_dict`."""


class Trained(Stateful, Protocol):
    """A learner: its state, and the number of steps that names its checkpoints."""

    @property
    def num_timesteps(self) -> int:
        """Environment steps so far."""


class OtherTasksError(ValueError):
    """The environment has other tasks than when the run was saved."""


class Checkpoints:
    """Writes and reads the checkpoints of one run.

    A checkpoint is one state file ``step-….safetensors``, with a checksum and with the settings and
    package versions that it was made with.

    Args:
        folder: The run folder.
        config: Present settings of the run.
        learner: The learner to save. Its ``load_state_dict`` returns whether the environments could
            be restored, and changes nothing if it raises an exception.
        logs: Further parts of the state, by name; restored after the learner, in this order.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: RunSettings,
        learner: Trained,
        logs: Mapping[str, Stateful],
    ) -> None:
        self.folder = folder
        self.config = config
        self.learner = learner
        self.logs = logs
        self.next = config.checkpoint_interval
        self._saved: int | None = None  # steps of the newest checkpoint of this process

    def __call__(self, iteration: int) -> None:
        """Save if a checkpoint is due."""
        if self.learner.num_timesteps >= self.next:
            self.save()

    def save(self, *, again: bool = False) -> None:
        """Write a checkpoint now and remove all but the newest ``KEPT``.

        Args:
            again: Write it even if this process has written one at this step, because the logs
                have grown.

        Raises:
            OSError: If it cannot be written; the earlier ones are left as they are.
        """
        timesteps = self.learner.num_timesteps
        if timesteps == self._saved and not again:
            return
        interval = self.config.checkpoint_interval
        self.next = (timesteps // interval + 1) * interval
        state = {
            "format": FORMAT,
            "timesteps": timesteps,
            "config": _comparable(self.config),
            "versions": versions(),
            "learner": self.learner.state_dict(),
            "logs": {name: log.state_dict() for name, log in self.logs.items()},
        }
        save_state(self.folder.checkpoints / f"step-{timesteps:012d}.safetensors", state)
        self._saved = timesteps
        for old in _newest_first(self.folder.checkpoints)[KEPT:]:
            old.unlink(missing_ok=True)

    def resume(self) -> bool:
        """Restore the newest intact checkpoint; warn about damaged ones that are passed over.

        Returns:
            Whether there was a checkpoint; if not, the run starts from the beginning.

        Raises:
            StateFileError: If there are checkpoints, but none of them can be used.
            OtherTasksError: If the environment has other tasks than the run.
        """
        self._clean()
        failures = []
        for path in _newest_first(self.folder.checkpoints):
            try:
                self._load(path)
            except DamagedLogError as error:
                failures.append(f"{error}. The checkpoint itself is intact: restore that file")
                print(f"warning: passed over {path}: {error}", file=sys.stderr)
            except StateFileError as error:
                failures.append(str(error))
                print(f"warning: passed over a damaged checkpoint: {error}", file=sys.stderr)
            else:
                return True
        if failures:
            raise StateFileError(
                f"no checkpoint of {self.folder.path} can be used; the newest one: {failures[0]}"
            )
        return False

    def last(self) -> str:
        """The last checkpoint, in words."""
        found = _newest_first(self.folder.checkpoints)
        if not found:
            return "there is no checkpoint yet"
        return f"the last checkpoint is {found[0].with_suffix('')}"

    def _clean(self) -> None:
        """Remove temporary files left by a killed process."""
        for folder in (self.folder.path, self.folder.checkpoints):
            for path in stale_temporaries(folder):
                path.unlink(missing_ok=True)

    def _load(self, path: Path) -> None:
        state = load_state(path)
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise StateFileError(f"{path} is not a checkpoint of format {FORMAT!r}")
        try:
            self._check(path, state["config"], state["versions"])
            timesteps = int(state["timesteps"])
            complete = self.learner.load_state_dict(state["learner"])
            for name, log in self.logs.items():
                log.load_state_dict(state["logs"][name])
        except (StateFileError, OtherTasksError):
            raise
        except (
            ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
        ) as error:  # fmt: skip
            raise StateFileError(
                f"{path} does not fit this run: {type(error).__name__}: {error}"
            ) from None
        if not complete and timesteps < self.config.total_timesteps:  # else it is complete
            print(
                f"warning: {self.config.env_id} cannot save its state (no get_state of its vector "
                "environment): current meta-episodes start over, with tasks from a new random "
                "stream, so the run will differ from an uninterrupted one",
                file=sys.stderr,
            )
        self._saved = timesteps
        interval = self.config.checkpoint_interval
        self.next = (timesteps // interval + 1) * interval

    def _check(self, path: Path, theirs: dict[str, Any], made_with: dict[str, str]) -> None:
        """Refuse a checkpoint with other settings; warn if package versions differ."""
        ours, theirs = _comparable(self.config), with_present_names(theirs)
        differing = [
            f"{name} {theirs[name]!r} (config.json: {ours.get(name)!r})"
            for name in theirs
            if theirs[name] != ours.get(name)
        ]
        if differing:
            raise StateFileError(f"{path} was made with {', '.join(differing)}")
        found = versions()
        changed = [
            f"{name} {version} (now {found.get(name, 'missing')})"
            for name, version in made_with.items()
            if found.get(name) != version
        ]
        if changed:
            print(
                f"warning: the checkpoint was made with {', '.join(changed)}; the run may differ "
                "from an uninterrupted one",
                file=sys.stderr,
            )


def _newest_first(directory: Path) -> list[Path]:
    """Checkpoints of a folder, newest first."""
    if not directory.is_dir():
        return []
    return sorted((p for p in directory.iterdir() if _NAME.fullmatch(p.name)), reverse=True)


def newest_timesteps(directory: Path) -> int:
    """Timesteps of the newest checkpoint of a folder, 0 if there is none."""
    found = _newest_first(directory)
    return int(found[0].stem.removeprefix("step-")) if found else 0


def refuse_lost_checkpoints(folder: RunFolder) -> None:
    """Refuse to start a run over whose checkpoints are gone, which would delete its results.

    A run that was killed before its first checkpoint has none either, and may start over.

    Raises:
        StateFileError: If a run without checkpoints is finished or has once written one.
    """
    if _newest_first(folder.checkpoints):
        return
    results = sorted(path.name for path in folder.path.glob("*.safetensors"))
    try:
        rows = read_log(folder.metrics)
        logged = [int(row["timesteps"]) for row in rows]
    except (OSError, StateFileError, LookupError, ValueError):
        logged = []
    # a checkpoint follows the row of its iteration, so a later row proves that there was one
    if not results and sum(steps >= folder.config.checkpoint_interval for steps in set(logged)) < 2:
        return
    reached = f"it has logged {max(logged):,} steps" if logged else f"it has {', '.join(results)}"
    raise StateFileError(
        f"{folder.path} cannot be continued, since {folder.checkpoints} has no checkpoint, "
        f"although {reached}: put step-….safetensors back there; or, to train it again from the "
        "start, delete the run folder and repeat the command that began it (or add --overwrite to "
        "that)"
    )


def _comparable(config: RunSettings) -> dict[str, Any]:
    """The settings that must not change on resume, as JSON values."""
    values = {
        key: value for key, value in config.to_dict().items() if key not in CHANGEABLE_ON_RESUME
    }
    return dict(json.loads(json.dumps(values)))
