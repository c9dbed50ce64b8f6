"""Checkpoints: atomic, verified, the last good ones kept."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from train.atomic_file import write_json
from train.callbacks import MetaEpisodeStatistics, MetricsLog, PeriodicEvaluation
from train.learner import Learner
from train.run_folder import RunFolder, versions
from train.state_file import StateFileError, load_state, save_state
from train.training_state import collect, restore

FORMAT = "ldm-checkpoint-1"
KEPT = 2
_NAME = re.compile(r"step-(\d{12})\.json")


class Checkpoints:
    """Writes and reads the checkpoints of one run.

    A checkpoint is ``step-….safetensors`` and a manifest ``step-….json`` with its checksum; the
    manifest is written last, so a checkpoint without one does not count.

    Args:
        folder: The run folder.
        learner: What is saved.
        statistics: Pending statistics that belong to the state.
        evaluation: Likewise.
        metrics: Likewise.
    """

    def __init__(
        self,
        folder: RunFolder,
        learner: Learner,
        statistics: MetaEpisodeStatistics,
        evaluation: PeriodicEvaluation,
        metrics: MetricsLog,
    ) -> None:
        self.folder = folder
        self.learner = learner
        self.statistics = statistics
        self.evaluation = evaluation
        self.metrics = metrics
        self.next = learner.config.checkpoint_interval

    def __call__(self, iteration: int) -> None:
        """Save if a checkpoint is due."""
        if self.learner.algorithm.num_timesteps >= self.next:
            self.save()

    def save(self) -> None:
        """Write a checkpoint now and remove all but the newest ``KEPT``."""
        timesteps = self.learner.algorithm.num_timesteps
        interval = self.learner.config.checkpoint_interval
        self.next = (timesteps // interval + 1) * interval
        state = {
            "learner": collect(self.learner),
            "log": {
                "statistics": self.statistics.returns,
                "evaluation": {"next": self.evaluation.next, "latest": self.evaluation.latest},
                "evaluations_csv": self.evaluation.file.position(),
                "metrics_csv": self.metrics.file.position(),
                "seconds": self.metrics.seconds(),
            },
        }
        name = f"step-{timesteps:012d}"
        data = self.folder.checkpoints / f"{name}.safetensors"
        config = self.learner.config
        manifest = {
            "format": FORMAT,
            "file": data.name,
            "sha256": save_state(data, state),
            "timesteps": timesteps,
            "env_id": config.env_id,
            "method": config.method,
            "versions": versions(),
        }
        manifest["manifest_sha256"] = _digest(manifest)
        write_json(data.with_suffix(".json"), manifest)
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
        self.evaluation.file.truncate([], 0)
        self.metrics.file.truncate([], 0)
        return False

    def _load(self, manifest_path: Path) -> None:
        manifest = _read_manifest(manifest_path)
        config = self.learner.config
        for name in ("env_id", "method"):
            if manifest[name] != getattr(config, name):
                raise StateFileError(
                    f"{manifest_path} belongs to {name} {manifest[name]!r}, expected "
                    f"{getattr(config, name)!r}"
                )
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
        if not restore(self.learner, state["learner"]):
            print(
                f"warning: {config.env_id} cannot save its state; the running meta-episodes begin "
                "anew",
                file=sys.stderr,
            )
        log = state["log"]
        self.statistics.returns = log["statistics"]
        self.evaluation.next = log["evaluation"]["next"]
        self.evaluation.latest = log["evaluation"]["latest"]
        self.evaluation.file.truncate(*log["evaluations_csv"])
        self.metrics.file.truncate(*log["metrics_csv"])
        self.metrics.resume(log["seconds"])
        timesteps, interval = manifest["timesteps"], config.checkpoint_interval
        self.next = (timesteps // interval + 1) * interval


def _manifests(directory: Path) -> list[Path]:
    """Manifests of a folder's checkpoints, newest first."""
    if not directory.is_dir():
        return []
    return sorted((p for p in directory.iterdir() if _NAME.fullmatch(p.name)), reverse=True)


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
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
