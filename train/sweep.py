"""Run many training runs on Ray: methods × environments × seeds × overrides.

    python -m train.sweep gridworld --out runs/gridworld
    python -m train.sweep --methods ldm rl2 --env-ids LDM-AntGoal-v0 --seeds 4 \\
        --override mixture.beta=1,2 --out runs/ant-goal --cpus-per-trial 2

The same command again resumes the sweep: finished trials are kept, the others continue from their
last checkpoint, which is also written on Ctrl-C and SIGTERM. Needs the extra ``sweep`` (``pip
install ray``). Ray schedules the trials, each with ``--cpus-per-trial`` cores and
``--gpus-per-trial`` GPUs, on this machine or, with ``--address``, on a cluster that shares the
folder ``--out``.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from train.common.stopping import report_errors
from train.config.methods import METHODS
from train.sweeps.progress import SweepTable
from train.sweeps.schedule import run_trials
from train.sweeps.trials import (
    SWEEPS,
    Trial,
    TrialGrid,
    overrides_without_use,
    parse_overrides,
    plan,
)
from train.sweeps.worker import is_running, read_state, run_so_far, trial_lock


def sweep(trials: list[Trial], out: Path, options: argparse.Namespace) -> int:
    """Run the unfinished trials and report on all of them.

    Returns:
        The number of trials that are still unfinished.

    Raises:
        ValueError: If a run in the folder has other settings than the trial of the same name.
        KeyboardInterrupt: On Ctrl-C or SIGTERM; the tables show how far each trial has come.
    """
    for trial in trials:
        run_so_far(trial.with_run_dir(out))
    table = SweepTable(trials, out)
    waiting = [trial for trial in trials if read_state(out, trial.name).finished is None]
    done = len(trials) - len(waiting)
    print(f"{len(trials)} trials in {out}: {done} already finished, {len(waiting)} to run")
    if others := table.others():
        print(f"note: {others}")
    table.update()
    try:
        if waiting:
            run_trials(waiting, out, options, table)
    finally:
        left = table.update(final=True)
    return left


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.sweep",
        description=__doc__.split("\n\n")[0],
        epilog=f"Named sweeps (train/sweeps/trials.py): {', '.join(sorted(SWEEPS))}.",
    )
    add = parser.add_argument
    add("sweep", nargs="?", help="a named sweep, instead of --methods, --env-ids and --seeds")
    several: dict[str, Any] = {"nargs": "+", "action": "extend"}  # a flag may be repeated
    add("--methods", **several, metavar="METHOD")
    add("--env-ids", **several, metavar="ID", help="default LDM-GridNavi-v0")
    add("--seeds", type=int, help="number of seeds, counted from 0; default 8")
    add(
        "--override",
        **several,
        default=[],
        metavar="NAME=VALUE",
        help="values of a setting, separated by commas, with tuples as in net_arch=(64,64),(32,); "
        "grids of a named sweep that vary the same setting keep their own values",
    )
    add("--preset", default="default")
    add(
        "--out",
        type=Path,
        help="folder of the sweep, runs/<name> by default for a named sweep; an existing sweep is "
        "resumed",
    )
    add("--address", help="address of a Ray cluster (default: this machine)")
    add("--num-cpus", type=int, help="cores that a local Ray may use (default all)")
    add("--cpus-per-trial", type=float, default=1.0)
    add("--gpus-per-trial", type=float, default=0.0)
    add("--device", help="default: cpu, or cuda with --gpus-per-trial")
    add("--retries", type=int, default=3, help="new attempts when a trial's process dies")
    add("--dry-run", action="store_true", help="list the trials and their states, and exit")
    options = parser.parse_args(arguments)
    options.device = options.device or ("cuda" if options.gpus_per_trial else "cpu")
    if options.out is None:
        if options.sweep is None:
            parser.error("--out is required unless a named sweep is run")
        options.out = Path("runs", options.sweep)
    options.out = options.out.resolve()  # Ray's processes have a working directory of their own
    return options


def planned(options: argparse.Namespace) -> list[Trial]:
    """The trials that a command line asks for.

    Raises:
        ValueError: If it contradicts itself or names something unknown.
    """
    flags = {"--methods": options.methods, "--env-ids": options.env_ids, "--seeds": options.seeds}
    given = [flag for flag, value in flags.items() if value is not None]
    if options.sweep is None:
        env_ids = options.env_ids or ["LDM-GridNavi-v0"]
        seeds = 8 if options.seeds is None else options.seeds
        if not options.methods or seeds < 1:
            raise ValueError(
                f"a sweep needs at least one seed, and methods out of {sorted(METHODS)}; got "
                f"--seeds {seeds} and --methods {options.methods}"
            )
        grids: tuple[TrialGrid, ...] = (TrialGrid(tuple(env_ids), tuple(options.methods), seeds),)
    elif given:
        raise ValueError(f"expected either the sweep {options.sweep!r} or {given[0]}, not both")
    elif options.sweep in SWEEPS:
        grids = SWEEPS[options.sweep]
    else:
        raise ValueError(f"unknown sweep {options.sweep!r}, expected one of {sorted(SWEEPS)}")
    _check_numbers(options)
    return plan(grids, preset=options.preset, overrides=parse_overrides(options.override))


def _check_numbers(options: argparse.Namespace) -> None:
    """Refuse values that Ray would refuse late, or would wait for forever."""
    least = {"num_cpus": 1, "cpus_per_trial": 0, "gpus_per_trial": 0, "retries": 0}
    for name, low in least.items():
        value = getattr(options, name)
        if value is not None and not low <= value < math.inf:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {low}, got {value}")
    if options.gpus_per_trial > 1 and options.gpus_per_trial % 1:
        raise ValueError(
            "--gpus-per-trial must be a whole number, or a share of a GPU below 1, got "
            f"{options.gpus_per_trial}"
        )
    try:
        torch.device("cpu" if options.device == "auto" else options.device)
    except RuntimeError:
        raise ValueError(
            f"--device must be cpu, cuda, auto or another device of torch, got {options.device!r}"
        ) from None


def main(arguments: list[str] | None = None) -> int:
    """Run a sweep; the exit status is 0 only if every trial has finished."""
    options = parse(arguments)
    with report_errors("interrupted; the same command again resumes the sweep"):
        trials = planned(options)
        if unused := overrides_without_use(trials, parse_overrides(options.override)):
            print(
                f"warning: no effect on any trial: --override {' '.join(unused)}", file=sys.stderr
            )
        if options.dry_run:
            table = SweepTable(trials, options.out)
            print("\n".join(filter(None, [table.text(), table.others()])))
            return 0
        if is_running(options.out, "sweep"):
            print(f"another sweep is running in {options.out}; waiting for it to end", flush=True)
        with trial_lock(options.out, "sweep"):
            left = sweep(trials, options.out, options)
    print(f"tables: {options.out}/sweep.csv, {options.out}/results.csv; runs: {options.out}/runs")
    return int(left > 0)


if __name__ == "__main__":
    sys.exit(main())
