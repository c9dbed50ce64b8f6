"""Layout of a run folder: plain text, JSON, CSV and state files, nothing that runs."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Collection, Iterator
from errno import EACCES, EROFS
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ldm_wrappers.atomic_file import stale_temporaries
from ldm_wrappers.state_file import StateFileError
from train.config.methods import get_method, settings_class
from train.config.settings import RunSettings
from train.persistence.files import file_name, write_json

FORMAT = "ldm-run-1"
LOCK = "run.lock"
_PACKAGES = (
    "gymnasium", "mujoco", "mjbatch", "numpy", "torch", "stable-baselines3", "sb3-contrib",
)  # fmt: skip


class RunFolder:
    """Paths of one run and its configuration.

    * ``config.json``: format, configuration, versions, commit;
    * ``metrics.csv``, ``evaluations.csv``: what was logged and evaluated;
    * ``decoded_goals.csv``: where beliefs about the evaluated tasks take their goals to be;
    * ``tensorboard/``: the same for TensorBoard;
    * ``policy.safetensors``, ``latent_dynamics.safetensors``, ``beliefs.safetensors``,
      ``normalization.safetensors``, ``replay.safetensors``: what training left, where the method
      has it;
    * ``checkpoints/``: what an exact resume needs;
    * ``run.lock``: empty, locked while a training is running.
    """

    def __init__(self, path: str | Path, config: RunSettings, commit: str = "") -> None:
        self.path = Path(path)
        self.commit = commit  # that the run began with; empty where it is unknown
        self.config: Any = config  # of the settings class of its method
        self.metrics = self.path / "metrics.csv"
        self.evaluations = self.path / "evaluations.csv"
        self.decoded_goals = self.path / "decoded_goals.csv"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"

    @property
    def short_commit(self) -> str:
        """The commit's first nine digits, and ``+changes`` where the tree was not clean."""
        digits, changes, _ = self.commit.partition("+changes")
        return digits[:9] + changes

    def artifact(self, stem: str) -> Path:
        """A file that training leaves, by its stem."""
        return self.path / f"{stem}.safetensors"

    @classmethod
    def create(cls, config: RunSettings) -> RunFolder:
        """Make the folder of a new run.

        Raises:
            FileExistsError: It exists and ``config.overwrite`` is false, or it is in use, or what
                would be overwritten is not a run.
        """
        env_name = file_name(config.env_id)
        path = Path(config.run_dir or f"runs/{env_name}-{config.method}-seed{config.seed}")
        folder = cls(path, config)
        fresh = not path.exists()
        if not fresh and folder._content():
            folder._check_overwriting()  # leaves no lock file where it refuses
        path.mkdir(parents=True, exist_ok=True)
        try:
            with folder.lock():  # of two runs that begin together one is refused
                if folder._content():
                    folder._check_overwriting()
                    folder._make_way()
                for temporary in stale_temporaries(path):
                    temporary.unlink(missing_ok=True)
                folder._write_config()
        except OSError as error:
            if fresh and not isinstance(error, FileExistsError):
                (path / LOCK).unlink(missing_ok=True)
                path.rmdir()
            raise
        return folder

    def _content(self) -> set[Path]:
        """What is in the folder, but for what a run leaves that was killed before it had begun."""
        return set(self.path.iterdir()) - {*stale_temporaries(self.path), self.path / LOCK}

    def _check_overwriting(self) -> None:
        """Raise unless an earlier run is there and may be deleted."""
        if not _describes_a_run(self.path / "config.json"):
            raise FileExistsError(
                f"{self.path} is not a run folder (it has no config.json of one) and not empty: "
                "name another --run-dir, or delete it yourself"
            )
        if not self.config.overwrite:
            raise FileExistsError(
                f"run folder {self.path} exists; continue with "
                f"{resume_command(self.config, self.path)}, or start over with --overwrite"
            )

    def _make_way(self) -> None:
        """Delete the earlier run; whoever calls has locked the folder."""
        # what makes it a run folder goes last, so that a kill in between can be repaired
        for item in sorted(self.path.iterdir(), key=lambda item: item.name == "config.json"):
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            elif item.name != LOCK:  # deleted, it would no longer keep others out
                item.unlink()

    def _write_config(self) -> None:
        self.commit = commit()
        values = {
            "format": FORMAT,
            "config": self.config.to_dict(),
            "versions": versions(),
            "commit": self.commit,
            "machine": f"{platform.machine()} {platform.system()}",
        }
        write_json(self.path / "config.json", values)

    def update(self, config: RunSettings) -> None:
        """Keep what ``--resume`` changed, for the next one; versions and commit stay the first."""
        if config != self.config:
            file = self.path / "config.json"
            values = json.loads(file.read_text(encoding="utf-8"))
            write_json(file, {**values, "config": config.to_dict()})
            self.config = config

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in this folder; ends with the process at the latest.

        Raises:
            FileExistsError: Another one does.
            OSError: The folder cannot be written.
        """
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise FileExistsError(f"run folder {self.path} is in use by another training") from None
        except OSError as error:
            if error.errno in (EACCES, EROFS):  # nothing else could be written here either
                raise
            # else a file system without locks
        try:
            yield
        finally:
            lock.release()

    @classmethod
    def open(cls, path: str | Path, named: Collection[str] = ()) -> RunFolder:
        """Read an existing run's configuration.

        Args:
            path: Its folder.
            named: Environments that the user has named, whose modules are imported anyway.

        Raises:
            StateFileError: There is none, or it is damaged or of another format.
        """
        path = Path(path)
        file = path / "config.json"
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise StateFileError(f"{path} is not a run folder: {error.strerror}: {file}") from None
        except (ValueError, RecursionError) as error:
            raise StateFileError(f"{file} is damaged: {error}") from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            found = values.get("format") if isinstance(values, dict) else values
            raise StateFileError(f"{file} has format {found!r}, expected {FORMAT!r}")
        try:
            config = settings_class(values["config"]["method"]).from_dict(values["config"])
            for env_id in {config.env_id, config.eval_env_id} - set(named):
                check_module(env_id)
            return cls(path, config, str(values.get("commit") or ""))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateFileError(f"{file} does not describe a run: {error}") from None


def _describes_a_run(file: Path) -> bool:
    """Whether a ``config.json`` is a run's, whatever its settings."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and values.get("format") == FORMAT


def check_module(env_id: str) -> None:
    """Refuse to import a module only because a run folder names it.

    A folder from a stranger could name a module that came with it. The modules that
    ``LDM_TRUST_MODULES`` lists (separated by commas) and our own are imported.

    Raises:
        ValueError: The module is not one of them.
    """
    module = env_id.rpartition(":")[0]
    trusted = ["ldm_envs", *os.environ.get("LDM_TRUST_MODULES", "").split(",")]
    if module and module not in trusted:
        raise ValueError(
            f"env_id {env_id!r} would import the module {module!r}; if you trust it, set "
            f"LDM_TRUST_MODULES={module}"
        )


def trust(config: RunSettings) -> str:
    """What a command on this run's folder begins with, so that its own modules are imported."""
    named = [env_id.rpartition(":")[0] for env_id in (config.env_id, config.eval_env_id)]
    modules = [module for module in dict.fromkeys(named) if module not in ("", "ldm_envs")]
    return f"LDM_TRUST_MODULES={','.join(modules)} " if modules else ""


def resume_command(config: RunSettings, path: Path) -> str:
    """What continues the run in ``path``, for a shell in the repository."""
    script = get_method(config.method).script
    return f"{trust(config)}python -m {script} --resume {shlex.quote(str(path))}"


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
