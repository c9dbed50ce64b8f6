"""Flags of the training script: one per setting, defaults from the preset."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

import tyro

from train.common.guard import WorkerError
from train.common.signals import TrainingStopped
from train.config.on_policy import OnPolicySettings
from train.config.presets import resolve
from train.persistence.run_folder import RunFolder

PROGRAM = "python -m train.recurrent_ppo"


def parse(arguments: list[str] | None = None) -> tuple[OnPolicySettings, RunFolder | None]:
    """The configuration that a command line asks for, and the run to go on with, if any.

    The environment, the method and the preset are read first, since they decide about the
    defaults of all other flags. With ``--resume RUN`` the run's own configuration counts; beside
    it only ``--total-timesteps`` and ``--device`` may be given.

    Raises:
        ValueError: An unknown flag, a value out of range, an unknown method or preset.
        StateFileError: ``--resume`` names no run.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    first = _Parser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    first.add_argument("--env-id", "--env_id", default="LDM-GridNavi-v0")
    first.add_argument("--method", default="ldm")
    first.add_argument("--preset", default="default")
    first.add_argument("--resume", default=None)
    chosen, _ = first.parse_known_args(arguments)
    if chosen.resume is not None:
        return _resumed(arguments)
    default = resolve(chosen.env_id, chosen.method, chosen.preset)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            config = tyro.cli(
                OnPolicySettings,
                args=arguments,
                default=default,
                prog=PROGRAM,
                description="Train LDM, a baseline or an oracle. Flags default to the preset's "
                "values. --resume RUN goes on with a run, with no other flag than "
                "--total-timesteps and --device.",
            )
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise ValueError(_one_line(said.getvalue())) from None
    return config, None


class _Parser(argparse.ArgumentParser):
    """Its errors are ``ValueError``, for :func:`report_errors`."""

    def error(self, message: str) -> Any:
        raise ValueError(message)


def _one_line(box: str) -> str:
    """The message in a box that tyro draws: below its title, above the next rule."""
    lines = [line.strip("╭╮╰╯│|+ ") for line in box.splitlines()]
    lines = [line for line in lines if line][1:]
    rules = [not line.strip("─-") for line in lines]
    begin = rules.index(False) if False in rules else 0
    end = rules.index(True, begin) if True in rules[begin:] else len(lines)
    text = " ".join(lines[begin:end]).removeprefix("Error parsing OnPolicySettings: ")
    return f"{text} (see {PROGRAM} --help)"


def _resumed(arguments: list[str]) -> tuple[OnPolicySettings, RunFolder]:
    parser = _Parser(prog=PROGRAM, allow_abbrev=False)
    parser.add_argument("--resume", required=True, metavar="RUN")
    parser.add_argument("--total-timesteps", "--total_timesteps", type=int, default=None)
    parser.add_argument("--device", default=None)
    given = parser.parse_args(arguments)
    folder = RunFolder.open(given.resume)
    changes = {"total_timesteps": given.total_timesteps, "device": given.device}
    changes = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(folder.config, **changes), folder


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Turn errors that a user can mend into one line and exit status 1.

    With ``LDM_TRACEBACK=1`` in the environment they stay what they are.
    """
    try:
        yield
    except Exception as error:
        message = _message(error)
        if message is None or os.environ.get("LDM_TRACEBACK"):
            raise
        print(" ".join(message.split()), file=sys.stderr)
        raise SystemExit(130 if isinstance(error, TrainingStopped) else 1) from None
    except KeyboardInterrupt:
        print("interrupted; what the last checkpoint holds is safe", file=sys.stderr)
        raise SystemExit(130) from None


def _message(error: Exception) -> str | None:
    """What to tell a user; ``None`` for errors that are ours."""
    if isinstance(error, TrainingStopped):
        return f"stopped by {error}"
    if isinstance(error, OSError) and not isinstance(error, FileExistsError):
        return f"error: {error.strerror or error}: {error.filename}"
    if isinstance(error, MemoryError):
        return f"error: not enough memory: {error}"
    if isinstance(error, RuntimeError) and ("CUDA" in str(error) or "out of memory" in str(error)):
        return f"error: the GPU failed: {str(error).splitlines()[0]}"
    mendable = (ValueError, TypeError, FileExistsError, FloatingPointError, WorkerError)
    return f"error: {error}" if isinstance(error, mendable) else None
