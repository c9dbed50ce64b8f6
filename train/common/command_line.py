"""Command lines of the learner scripts: flags whose defaults come from a preset."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import re
import shlex
import sys
from typing import Any

import tyro

from train.common.envs import whole_meta_episodes
from train.common.notices import settings_without_use
from train.config.methods import get_method, methods_of, settings_class
from train.config.old_runs import present_name
from train.config.presets import resolve_unchecked
from train.config.settings import RunSettings, nested_kinds
from train.config.unused import unused_settings
from train.persistence.run_folder import RunFolder


def parse(program: str, arguments: list[str] | None = None) -> tuple[RunSettings, RunFolder | None]:
    """The configuration that a command line asks for, and the run to resume, if any.

    The environment, the method and the preset are parsed first, since they determine the defaults
    of all other flags. ``--resume RUN`` takes the run's own configuration; besides it, only
    ``--total-timesteps`` and ``--device`` are allowed.

    Args:
        program: Module of the script; without ``--method``, the first of its methods is trained.
        arguments: Command line; ``None`` for that of the process.

    Raises:
        ValueError: If a flag, method or preset is unknown, a value is out of range, or the method
            is trained by another script.
        StateFileError: If ``--resume`` does not name a run.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if {"--env-id", "--env-fn"} <= {a.partition("=")[0].replace("_", "-") for a in given}:
        raise ValueError("--env-id and --env-fn are the same flag, expected only one of them")
    arguments = [_one_flag(argument) for argument in given]
    command = f"python -m {program}"
    first = _Parser(prog=command, add_help=False, allow_abbrev=False)
    env_id = settings_class(methods_of(program)[0]).env_id
    first.add_argument("--env-id", "--env_id", default=env_id)
    first.add_argument("--method", default=methods_of(program)[0])
    first.add_argument("--preset", default="default")
    first.add_argument("--resume", default=None)
    chosen, _ = first.parse_known_args(arguments)
    if chosen.resume is not None:
        config, folder = _resumed(command, arguments)
        _check_script(config.method, program, arguments)
        return config, folder
    _check_script(chosen.method, program, arguments)
    nested = nested_kinds(settings_class(chosen.method))
    kinds, arguments = _kinds(command, nested, arguments)
    default = resolve_unchecked(chosen.env_id, chosen.method, chosen.preset, **kinds)
    _refuse_repeated(default, arguments)
    if "--method" not in arguments and not any(a.startswith("--method=") for a in arguments):
        arguments = ["--method", chosen.method, *arguments]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            config = tyro.cli(
                type(default),
                args=arguments,
                default=default,
                prog=command,
                description=f"Train {', '.join(methods_of(program))}. Flags default to the "
                "values of the preset. --resume RUN continues a run, and allows only the flags "
                f"--total-timesteps and --device. {_kinds_text(nested)}",
                config=(tyro.conf.AvoidSubcommands,),
            )
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise ValueError(f"{_one_line(said.getvalue())} (see {command} --help)") from None
    has_n_steps = any(re.match(r"--n[-_]steps($|=)", argument) for argument in arguments)
    return config if has_n_steps else whole_meta_episodes(config), None


def unused_flags(config: RunSettings, arguments: list[str] | None = None) -> str:
    """A sentence that lists the given flags without effect on the training; empty if none."""
    given = [_one_flag(a) for a in (sys.argv[1:] if arguments is None else arguments)]
    flags = [argument.partition("=")[0] for argument in given if argument.startswith("--")]
    names = {flag: flag[2:].replace("-", "_") for flag in flags}
    unused = unused_settings(config) | settings_without_use(config)
    found = [f for f, name in names.items() if {name, re.sub(r"(^|\.)no_", r"\1", name)} & unused]
    if not found:
        return ""
    return f"no effect on method {config.method} with these settings: {' '.join(found)}"


def _one_flag(argument: str) -> str:
    """Replace the alias of a flag by its name: ``--env-fn``, and former names of settings."""
    flag, equals, value = argument.partition("=")
    if not flag.startswith("--"):
        return argument
    name = flag[2:].replace("-", "_")
    name = "env_id" if name == "env_fn" else present_name(name)
    return f"--{name.replace('_', '-')}{equals}{value}"


def _refuse_repeated(default: RunSettings, arguments: list[str]) -> None:
    """Refuse a second ``--env-kwargs``, which tyro would let replace the values of the first."""
    flags = [argument.partition("=")[0] for argument in arguments]
    for name, value in vars(default).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, tuple) and flags.count(flag) > 1:
            raise ValueError(
                f"{flag} is given {flags.count(flag)} times, and the last one would replace the "
                f"others; expected all values after one {flag}"
            )


def _kinds(
    command: str, nested: dict[str, dict[str, Any]], arguments: list[str]
) -> tuple[dict[str, str], list[str]]:
    """Kinds of nested settings (``--imagination expected-reward``), and the other arguments."""
    parser = _Parser(prog=command, add_help=False, allow_abbrev=False)
    for name in nested:
        parser.add_argument(f"--{name}", default=None)
    chosen, rest = parser.parse_known_args(arguments)
    return {name: kind for name, kind in vars(chosen).items() if kind is not None}, rest


def _kinds_text(nested: dict[str, dict[str, Any]]) -> str:
    flags = [f"--{name} {{{','.join(kinds)}}}" for name, kinds in nested.items()]
    return f"{' and '.join(flags)} choose a kind, whose settings are flags below." if flags else ""


def _check_script(method: str, program: str, arguments: list[str]) -> None:
    """Raise a ``ValueError`` that names the right script if this one does not train the method."""
    script = get_method(method).script
    if script != program:
        raise ValueError(
            f"method {method!r} is trained by another script: "
            f"{shlex.join(['python', '-m', script, *arguments])}"
        )


class _Parser(argparse.ArgumentParser):
    """A parser that raises ``ValueError``, for :func:`report_errors`.

    Args:
        expected: What to add to messages about unknown flags.
        **settings: Arguments of ``ArgumentParser``.
    """

    def __init__(self, expected: str = "", **settings: Any) -> None:
        super().__init__(**settings)
        self._expected = expected

    def error(self, message: str) -> Any:
        more = self._expected if message.startswith("unrecognized arguments") else ""
        raise ValueError(f"{message}{more}")


def _one_line(box: str) -> str:
    """The message in a box drawn by tyro, below its title and above the next line."""
    lines = [line.strip("╭╮╰╯│|+ ") for line in box.splitlines()]
    lines = [line for line in lines if line][1:]
    rules = [not line.strip("─-") for line in lines]
    begin = rules.index(False) if False in rules else 0
    end = rules.index(True, begin) if True in rules[begin:] else len(lines)
    return re.sub(r"^Error parsing \w+: ", "", " ".join(lines[begin:end]))


def _resumed(command: str, arguments: list[str]) -> tuple[RunSettings, RunFolder]:
    parser = _Parser(
        "; besides --resume RUN, expected only --total-timesteps and --device, since all other "
        "settings are those of the run",
        prog=command,
        allow_abbrev=False,
    )
    parser.add_argument("--resume", required=True, metavar="RUN")
    parser.add_argument("--total-timesteps", "--total_timesteps", type=int, default=None)
    parser.add_argument("--device", default=None)
    given = parser.parse_args(arguments)
    folder = RunFolder.open(given.resume)
    changes = {"total_timesteps": given.total_timesteps, "device": given.device}
    changes = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(folder.config, **changes), folder
