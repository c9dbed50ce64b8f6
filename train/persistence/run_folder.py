"""Layout of a run folder: plain text, JSON, CSV and state files, without executable content."""

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
    * ``decoded_goals.csv``: where the goals of evaluated tasks are according to the beliefs;
    * ``tensorboard/``: metrics and mean evaluation results for TensorBoard;
    * ``policy.safetensors``, ``latent_dynamics.safetensors``, ``beliefs.safetensors``,
      ``normalization.safetensors``, ``replay.safetensors``: the results of training, as far as the
      method has them;
    * ``checkpoints/``: everything needed for an exact resume;
    * ``run.lock``: empty, locked while a training is running.
    """

    def __init__(self, path: str | Path, config: RunSettings, commit: str = "") -> None:
        self.path = Path(path)
        self.commit = commit  # commit at the start of the run; empty if unknown
        self.config: Any = config  # an instance of the method's settings class
        self.metrics = self.path / "metrics.csv"
        self.evaluations = self.path / "evaluations.csv"
        self.decoded_goals = self.path / "decoded_goals.csv"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"

    @property
    def short_commit(self) -> str:
        """The first nine digits of the commit, with ``+changes`` if the tree was not clean."""
        digits, changes, _ = self.commit.partition("+changes")
        return digits[:9] + changes

    def artifact(self, stem: str) -> Path:
        """Path of a file that training writes, by its stem."""
        return self.path / f"{stem}.safetensors"

    @classmethod
    def create(cls, config: RunSettings) -> RunFolder:
        """Make the folder of a new run.

        Raises:
            FileExistsError: If it exists and ``config.overwrite`` is false, if it is in use, or if
                the folder to be overwritten is not a run.
        """
        env_name = file_name(config.env_id)
        path = Path(config.run_dir or f"runs/{env_name}-{config.method}-seed{config.seed}")
        folder = cls(path, config)
        fresh = not path.exists()
        if not fresh and folder._content():
            folder._check_overwriting()  # before the lock, so that a refusal leaves no lock file
        path.mkdir(parents=True, exist_ok=True)
        try:
            with folder.lock():  # if two runs start at the same time, one is refused
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
        """The folder's content, except for what a run leaves if it is killed before it begins."""
        return set(self.path.iterdir()) - {*stale_temporaries(self.path), self.path / LOCK}

    def _check_overwriting(self) -> None:
        """Raise an error unless the folder contains an earlier run that may be deleted."""
        if not _describes_a_run(self.path / "config.json"):
            raise FileExistsError(
                f"{self.path} is not a run folder (no config.json of a run), and is not empty: "
                "choose another --run-dir, or delete it yourself"
            )
        if not self.config.overwrite:
            raise FileExistsError(
                f"run folder {self.path} exists; continue with "
                f"{resume_command(self.config, self.path)}, or start over with --overwrite"
            )

    def _make_way(self) -> None:
        """Delete the earlier run; the caller must have locked the folder."""
        # config.json is deleted last: if killed in between, this is still a run folder
        for item in sorted(self.path.iterdir(), key=lambda item: item.name == "config.json"):
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            elif item.name != LOCK:  # without it, the folder would not be locked
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
        """Save settings changed by ``--resume``; versions and commit stay those of the start."""
        if config != self.config:
            file = self.path / "config.json"
            values = json.loads(file.read_text(encoding="utf-8"))
            write_json(file, {**values, "config": config.to_dict()})
            self.config = config

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in this folder, at most until this process ends.

        Raises:
            FileExistsError: If another process is training in it.
            OSError: If the folder is not writable.
        """
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise FileExistsError(f"run folder {self.path} is in use by another training") from None
        except OSError as error:
            if error.errno in (EACCES, EROFS):  # nothing else can be written here either
                raise
            # otherwise a file system without locks
        try:
            yield
        finally:
            lock.release()

    @classmethod
    def open(cls, path: str | Path, named: Collection[str] = ()) -> RunFolder:
        """Read an existing run's configuration.

        Args:
            path: Its folder.
            named: Environments that the user has named; their modules may be imported.

        Raises:
            StateFileError: If there is none, or it is damaged or has another format.
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
    """Whether a ``config.json`` belongs to a run, whatever its settings."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and values.get("format") == FORMAT


def check_module(env_id: str) -> None:
    """Refuse to import a module just because a run folder names it.

    A folder from a stranger could name a module that comes with it. Only modules listed in
    ``LDM_TRUST_MODULES`` (separated by commas) and those of this package are imported.

    Raises:
        ValueError: If the module is not one of them.
    """
    module = env_id.rpartition(":")[0]
    trusted = ["ldm_envs", *os.environ.get("LDM_TRUST_MODULES", "").split(",")]
    if module and module not in trusted:
        raise ValueError(
            f"env_id {env_id!r} would import the module {module!r}; if you trust it, set "
            f"LDM_TRUST_MODULES={module}"
        )


def shell_command(config: RunSettings, script: str, *arguments: str | Path) -> str:
    """The shell command, in the repository, that runs a script on this run's folder.

    A path that begins with a dash is written as ``./-path``, so that it is not read as a flag.
    """
    texts = [
        f"./{argument}" if isinstance(argument, Path) and str(argument)[0] == "-" else str(argument)
        for argument in arguments
    ]
    return _trust(config) + shlex.join(["python", "-m", script, *texts])


def _trust(config: RunSettings) -> str:
    """Prefix of commands on this run's folder that allows them to import its modules."""
    named = [env_id.rpartition(":")[0] for env_id in (config.env_id, config.eval_env_id)]
    modules = [module for module in dict.fromkeys(named) if module not in ("", "ldm_envs")]
    return f"LDM_TRUST_MODULES={','.join(modules)} " if modules else ""


def resume_command(config: RunSettings, path: Path) -> str:
    """The shell command, in the repository, that continues the run in ``path``."""
    script = get_method(config.method).script
    return shell_command(config, script, "--resume", path)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect results."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Commit of the source tree, with ``+changes`` if it is not clean; empty outside git."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
