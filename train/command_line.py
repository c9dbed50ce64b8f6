"""Flags of the training script: one per setting, defaults from the preset."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator

import tyro

from train.config import TrainConfig
from train.methods import METHODS
from train.presets import resolve
from train.state_file import StateFileError


def parse(arguments: list[str] | None = None) -> TrainConfig:
    """The configuration that a command line asks for.

    The environment, the method and the preset are read first, since they decide about the
    defaults of all other flags.

    Raises:
        ValueError: A value out of range, an unknown environment, method or preset.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--env-id", default="LDM-GridNavi-v0")
    first.add_argument("--method", default="ldm", choices=sorted(METHODS))
    first.add_argument("--preset", default="default")
    chosen, _ = first.parse_known_args(arguments)
    default = resolve(chosen.env_id, chosen.method, chosen.preset)
    return tyro.cli(
        TrainConfig,
        args=arguments,
        default=default,
        prog="python -m train.recurrent_ppo",
        description="Train LDM, a baseline or an oracle; flags default to the preset's values.",
    )


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Turn errors that a user can mend into one line and exit status 1."""
    try:
        yield
    except (ValueError, TypeError, FileExistsError, FloatingPointError, StateFileError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename}", file=sys.stderr)
        raise SystemExit(1) from None
