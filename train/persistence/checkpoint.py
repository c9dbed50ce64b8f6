"""Checkpoints: atomic, verified, the last good ones kept."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ldm_wrappers.atomic_file import stale_temporaries
from ldm_wrappers.state_file import StateFileError, load_state, save_state
from train.config.grouping import CHANGEABLE_ON_RESUME
from train.config.settings import RunSettings
from train.persistence.files import write_json
from train.persistence.run_folder import RunFolder, versions

FORMAT = "ldm-checkpoint-2"
KEPT = 2
_NAME = re.compile(r"step-(\d{12})\.json")


class Stateful(Protocol):
    """What a checkpoint saves and restores."""

    def state_dict(self) -> dict[str, Any]:
        """Nested dicts and lists of arrays, tensors, numbers and strings."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Inverse of :meth:`state_dict`."""


class Trained(Stateful, Protocol):
    """What a checkpoint is named after: its state, and how far it has come."""

    @property
    def num_timesteps(self) -> int:
        """Environment steps so far."""


class Checkpoints:
    """Writes and reads the checkpoints of one run.

    A checkpoint is ``step-….safetensors`` and a manifest ``step-….json`` with its checksum; the
    manifest is written last, so a checkpoint without one does not count.

    Args:
        folder: The run folder.
        config: Settings of the run, as it continues.
        learner: What is saved; its ``load_state_dict`` returns whether the environments could be
            restored, and changes nothing where it raises.
        logs: What else belongs to the state, by name; restored after the learner, in this order.
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
        self._saved: int | None = None  # steps of the newest checkpoint of this sitting

    def __call__(self, iteration: int) -> None:
        """Save if a checkpoint is due."""
        if self.learner.num_timesteps >= self.next:
            self.save()

    def save(self) -> None:
        """Write a checkpoint now and remove all but the newest ``KEPT``.

        Raises:
            OSError: It cannot be written; the earlier ones stay as they are.
        """
        timesteps = self.learner.num_timesteps
        if timesteps == self._saved:
            return
        interval = self.config.checkpoint_interval
        self.next = (timesteps // interval + 1) * interval
        state = {
            "learner": self.learner.state_dict(),
            "logs": {name: log.state_dict() for name, log in self.logs.items()},
        }
        name = f"step-{timesteps:012d}"
        data = self.folder.checkpoints / f"{name}.safetensors"
        config = self.config
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "file": data.name,
            "sha256": save_state(data, state),
            "timesteps": timesteps,
            "env_id": config.env_id,
            "method": config.method,
            "config": _comparable(config),
            "versions": versions(),
        }
        manifest["manifest_sha256"] = _digest(manifest)
        try:
            write_json(data.with_suffix(".json"), manifest)
        except OSError:
            data.unlink(missing_ok=True)
            raise
        self._saved = timesteps
        for old in _manifests(self.folder.checkpoints)[KEPT:]:
            old.with_suffix(".safetensors").unlink(missing_ok=True)
            old.unlink(missing_ok=True)

    def resume(self) -> bool:
        """Restore the newest checkpoint that is whole; say so where a damaged one is passed over.

        Returns:
            Whether there was one; if not, the run begins at its beginning.

        Raises:
            StateFileError: There are checkpoints, and none of them can be used.
        """
        self._clean()
        failures = []
        for manifest in _manifests(self.folder.checkpoints):
            try:
                self._load(manifest)
            except StateFileError as error:
                failures.append(str(error))
                print(f"warning: passed over a damaged checkpoint: {error}", file=sys.stderr)
                continue
            return True
        if failures:
            raise StateFileError(
                f"no checkpoint of {self.folder.path} can be used; the newest: {failures[0]}"
            )
        return False

    def last(self) -> str:
        """Where the run could go on, in words."""
        found = _manifests(self.folder.checkpoints)
        if not found:
            return "there is no checkpoint yet"
        return f"the last checkpoint is {found[0].with_suffix('')}"

    def _clean(self) -> None:
        """Remove what a writer that was killed left: temporary files, data without a manifest."""
        folder = self.folder.checkpoints
        whole = {path.stem for path in _manifests(folder)}
        for path in stale_temporaries(self.folder.path) + stale_temporaries(folder):
            path.unlink(missing_ok=True)
        for path in folder.glob("step-*.safetensors"):
            if path.stem not in whole:
                path.unlink(missing_ok=True)

    def _load(self, manifest_path: Path) -> None:
        manifest = _read_manifest(manifest_path)
        config = self.config
        ours, theirs = _comparable(config), manifest.get("config", {})
        differing = [
            f"{name} {theirs[name]!r} (config.json: {ours.get(name)!r})"
            for name in theirs
            if theirs[name] != ours.get(name)
        ]
        if differing:
            raise StateFileError(f"{manifest_path} was made with {', '.join(differing)}")
        state = load_state(manifest_path.with_suffix(".safetensors"), manifest["sha256"])
        found = versions()
        changed = [
            f"{name} {version} (now {found.get(name, 'missing')})"
            for name, version in manifest["versions"].items()
            if found.get(name) != version
        ]
        if changed:
            print(
                f"warning: the checkpoint was made with {', '.join(changed)}; what follows may "
                "differ from an uninterrupted run",
                file=sys.stderr,
            )
        try:
            complete = self.learner.load_state_dict(state["learner"])
            for name, log in self.logs.items():
                log.load_state_dict(state["logs"][name])
            timesteps = int(manifest["timesteps"])
        except StateFileError as error:
            raise StateFileError(f"{manifest_path} does not fit: {error}") from None
        except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise StateFileError(
                f"{manifest_path} does not fit this run: {type(error).__name__}: {error}"
            ) from None
        if not complete:
            print(
                f"warning: {config.env_id} cannot save its state (it has no get_state): running "
                "meta-episodes begin again, with tasks of their own random stream; what follows "
                "differs from an uninterrupted run",
                file=sys.stderr,
            )
        self._saved = timesteps
        self.next = (timesteps // config.checkpoint_interval + 1) * config.checkpoint_interval


def _manifests(directory: Path) -> list[Path]:
    """Manifests of a folder's checkpoints, newest first."""
    if not directory.is_dir():
        return []
    return sorted((p for p in directory.iterdir() if _NAME.fullmatch(p.name)), reverse=True)


def _comparable(config: RunSettings) -> dict[str, Any]:
    """The settings that must not change between two sittings, as JSON has them."""
    values = {
        key: value for key, value in config.to_dict().items() if key not in CHANGEABLE_ON_RESUME
    }
    return dict(json.loads(json.dumps(values)))


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        manifest = json.loads(text)
        if json.dumps(manifest, indent=2) + "\n" != text:
            raise ValueError("it is not as it was written")
        digest = manifest.pop("manifest_sha256")
    except OSError as error:
        raise StateFileError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise StateFileError(f"{path} is damaged: {error}") from None
    if _digest(manifest) != digest:
        raise StateFileError(f"{path} is damaged: its checksum does not fit")
    if manifest.get("format") != FORMAT:
        raise StateFileError(f"{path} has format {manifest.get('format')!r}, expected {FORMAT!r}")
    return dict(manifest)
