"""Overrides of settings on the command line of a benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from train.sweeps.trials import parse_overrides


def add_override(parser: argparse.ArgumentParser) -> None:
    """Add ``--override NAME=VALUE …``."""
    parser.add_argument(
        "--override", nargs="+", action="extend", default=[], metavar="NAME=VALUE",
        help="settings to change",
    )  # fmt: skip


def single_overrides(parser: argparse.ArgumentParser, texts: Sequence[str]) -> dict[str, Any]:
    """One value per setting; anything else exits with a usage message."""
    try:
        overrides = parse_overrides(texts)
    except ValueError as error:
        parser.error(str(error))
    several = [name for name, values in overrides.items() if len(values) > 1]
    if several:
        parser.error(f"--override takes one value per setting, got several for {several}")
    return {name: values[0] for name, values in overrides.items()}
