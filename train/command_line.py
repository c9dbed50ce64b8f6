"""Flags of the training script: one per setting, defaults from the preset."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterator

import tyro

from train.config import TrainConfig
from train.presets import resolve
from train.run_folder import RunFolder
from train.signals import TrainingStopped
from train.state_file import StateFileError


def parse(arguments: list[str] | None = None) -> tuple[TrainConfig, RunFolder | None]:
    """The configuration that a command line asks for, and the run to go on with, if any.

    The environment, the method and the preset are read first, since they decide about the
    defaults of all other flags. With ``--resume RUN`` the run's own configuration counts; beside
    it only ``--total-timesteps`` and ``--device`` may be given.

    Raises:
        ValueError: A value out of range, an unknown environment, method or preset.
        StateFileError: ``--resume`` names no run.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--env-id", default="LDM-GridNavi-v0")
    first.add_argument("--method", default="ldm")
    first.add_argument("--preset", default="default")
    first.add_argument("--resume", default=None)
    chosen, _ = first.parse_known_args(arguments)
    if chosen.resume is not None:
        return _resumed(arguments)
    default = resolve(chosen.env_id, chosen.method, chosen.preset)
    config = tyro.cli(
        TrainConfig,
        args=arguments,
        default=default,
        prog="python -m train.recurrent_ppo",
        description="Train LDM, a baseline or an oracle. Flags default to the preset's values. "
        "--resume RUN goes on with a run, with no other flag than --total-timesteps and --device.",
    )
    return config, None


def _resumed(arguments: list[str]) -> tuple[TrainConfig, RunFolder]:
    parser = argparse.ArgumentParser(prog="python -m train.recurrent_ppo", allow_abbrev=False)
    parser.add_argument("--resume", required=True, metavar="RUN")
    parser.add_argument("--total-timesteps", type=int, default=None)
    parser.add_argument("--device", default=None)
    given = parser.parse_args(arguments)
    folder = RunFolder.open(given.resume)
    changes = {"total_timesteps": given.total_timesteps, "device": given.device}
    changes = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(folder.config, **changes), folder


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Turn errors that a user can mend into one line and exit status 1."""
    try:
        yield
    except TrainingStopped as stopped:
        print(f"stopped by {stopped}", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, TypeError, FileExistsError, FloatingPointError, StateFileError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename}", file=sys.stderr)
        raise SystemExit(1) from None
