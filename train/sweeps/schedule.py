"""Run trials on Ray; on a request to stop, they first write their checkpoints."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from train.sweeps.progress import SweepTable
from train.sweeps.trials import Trial
from train.sweeps.worker import run_trial

LOOK_SECONDS = 10.0  # between updates of the table
STOP_SECONDS = 300.0  # for the rest of an iteration, its evaluation and a large checkpoint


def run_trials(
    trials: list[Trial], out: Path, options: argparse.Namespace, table: SweepTable
) -> None:
    """Submit all trials to Ray in order, and watch them.

    Args:
        trials: The trials to run.
        out: Folder of the sweep.
        options: The command line of ``train.sweep``.
        table: The sweep's table, which is updated while they run.

    Raises:
        ValueError: If Ray is missing, or has no machine that fits a trial.
        KeyboardInterrupt: On Ctrl-C or SIGTERM. The trials have then written checkpoints, unless
            there was a second signal or they took longer than ``STOP_SECONDS``.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise ValueError("sweeps run on Ray, which is missing: pip install ray") from None
    local = {"object_store_memory": 100_000_000, "num_cpus": options.num_cpus}
    ray.init(
        address=options.address or "local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        **({} if options.address else local),
    )
    try:
        with _sigterm_interrupts():
            check_machines(ray.nodes(), options)
            running = _submit(ray, trials, out, options)
            try:
                _watch(ray, running, table)
            except KeyboardInterrupt:
                _stop(ray, running)
                raise
    finally:
        ray.shutdown()


def check_machines(nodes: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Check that a machine has the resources of a trial, since Ray would silently wait for one.

    Args:
        nodes: Ray's machines.
        options: The command line of ``train.sweep``.

    Raises:
        ValueError: If no machine has them and Ray runs only on this machine. On a cluster, which
            may still grow, it is a warning.
    """
    asked = {"CPU": options.cpus_per_trial, "GPU": options.gpus_per_trial}
    found = [node["Resources"] for node in nodes if node["Alive"]]
    if any(all(has.get(name, 0) >= n for name, n in asked.items()) for has in found):
        return
    there = ", ".join(
        f"{has.get('CPU', 0):g} cores and {has.get('GPU', 0):g} GPUs" for has in found
    )
    text = (
        f"a trial asks for {asked['CPU']:g} cores and {asked['GPU']:g} GPUs (--cpus-per-trial, "
        f"--gpus-per-trial), but no machine has as many; Ray found {there or 'no machine'}"
    )
    if not options.address:
        raise ValueError(f"{text}: ask for less, or name a cluster with --address")
    print(f"warning: {text}; the trials wait until one joins the cluster", file=sys.stderr)


def _submit(
    ray: Any, trials: list[Trial], out: Path, options: argparse.Namespace
) -> dict[Any, Trial]:
    threads = max(int(options.cpus_per_trial), 1)
    root = str(Path(__file__).resolve().parents[2])
    variables = {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "TQDM_DISABLE": "1",
    }
    remote = ray.remote(
        num_cpus=options.cpus_per_trial,
        num_gpus=options.gpus_per_trial,
        max_calls=1,  # a new process for each trial
        max_retries=options.retries,  # of trials whose process or machine died
        runtime_env={"env_vars": variables},
    )(run_trial)
    return {
        remote.options(name=trial.name).remote(trial, out, options.device, threads): trial
        for trial in trials
    }


def _watch(ray: Any, running: dict[Any, Trial], table: SweepTable) -> None:
    """Wait for the trials, and remove those that have ended from ``running``."""
    while running:
        ready, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_SECONDS)
        for reference in ready:
            trial = running.pop(reference)
            try:
                ray.get(reference)
            except Exception as error:  # its process died too often, or was told to stop
                reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
                table.lost[trial.name] = f"{type(error).__name__}: {reason}"
        table.update()


def _stop(ray: Any, running: dict[Any, Trial]) -> None:
    """Interrupt the trials, as Ctrl-C would, and wait for their checkpoints."""
    print(
        "\nstopping: each trial finishes its iteration and evaluation and writes a checkpoint "
        f"(within {STOP_SECONDS:g} seconds); repeat to stop at once",
        file=sys.stderr,
        flush=True,
    )
    references = list(running)
    for reference in reversed(references):  # first those not started yet, which would start now
        ray.cancel(reference)
    if references:
        ray.wait(references, num_returns=len(references), timeout=STOP_SECONDS)


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM raises ``KeyboardInterrupt`` inside the block; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)  # Ray's own handler would end the process
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
