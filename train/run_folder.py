"""Layout of a run folder: plain text, JSON, CSV and state files, nothing that runs."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from train.atomic_file import write_json
from train.config import TrainConfig
from train.state_file import StateFileError

FORMAT = "ldm-run-1"
_PACKAGES = (
    "gymnasium", "mujoco", "mjbatch", "numpy", "torch", "stable-baselines3", "sb3-contrib",
)  # fmt: skip


class RunFolder:
    """Paths of one run and its configuration.

    * ``config.json``: format, configuration, versions, commit;
    * ``metrics.csv``, ``evaluations.csv``: what was logged and evaluated;
    * ``tensorboard/``: the same for TensorBoard;
    * ``policy.safetensors``, ``latent_dynamics.safetensors``, ``beliefs.safetensors``,
      ``normalization.safetensors``: what training left, where the method has it;
    * ``checkpoints/``: what an exact resume needs.
    """

    def __init__(self, path: str | Path, config: TrainConfig) -> None:
        self.path = Path(path)
        self.config = config
        self.metrics = self.path / "metrics.csv"
        self.evaluations = self.path / "evaluations.csv"
        self.tensorboard = self.path / "tensorboard"
        self.policy = self.path / "policy.safetensors"
        self.latent_dynamics = self.path / "latent_dynamics.safetensors"
        self.beliefs = self.path / "beliefs.safetensors"
        self.normalization = self.path / "normalization.safetensors"
        self.checkpoints = self.path / "checkpoints"

    @classmethod
    def create(cls, config: TrainConfig) -> RunFolder:
        """Make the folder of a new run.

        Raises:
            FileExistsError: It exists and ``config.overwrite`` is false.
        """
        path = Path(config.run_dir or f"runs/{config.env_id}-{config.method}-seed{config.seed}")
        if path.exists() and any(path.iterdir()):
            if not config.overwrite:
                raise FileExistsError(
                    f"run folder {path} exists; go on with --resume {path}, or start over with "
                    "--overwrite"
                )
            shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path, config)
        write_json(
            path / "config.json",
            {
                "format": FORMAT,
                "config": config.to_dict(),
                "versions": versions(),
                "commit": commit(),
                "machine": f"{platform.machine()} {platform.system()}",
            },
        )
        return folder

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Read an existing run's configuration.

        Raises:
            StateFileError: There is none, or it is damaged or of another format.
        """
        file = Path(path) / "config.json"
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise StateFileError(f"{path} is no run folder: {error.strerror}: {file}") from None
        except ValueError as error:
            raise StateFileError(f"{file} is damaged: {error}") from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            found = values.get("format") if isinstance(values, dict) else values
            raise StateFileError(f"{file} has format {found!r}, expected {FORMAT!r}")
        try:
            return cls(path, TrainConfig.from_dict(values["config"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateFileError(f"{file} does not describe a run: {error}") from None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide about numbers."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Commit of the source tree, ``+changes`` where it is not clean, empty outside git."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def describe(values: dict[str, Any]) -> str:
    """One line of ``name=value`` pairs."""
    return " ".join(f"{name}={value}" for name, value in values.items())
