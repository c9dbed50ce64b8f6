"""The first part of a run, as if its budget had been smaller: methods compared at equal steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from train.analysis.condense import evaluations
from train.analysis.tables import write_csv
from train.persistence.files import read_log
from train.persistence.run_folder import RunFolder


def cut_run(folder: RunFolder, until: int, out: Path) -> RunFolder:
    """Copy what a run had logged until ``until`` steps to a folder of its own.

    The evaluation that a budget of ``until`` steps would have ended with is the last one. Weights
    are those of the whole run and stay behind, so that nothing is drawn or played from them.

    Args:
        folder: The run.
        until: Environment steps.
        out: The new folder.

    Returns:
        The run in ``out`` with that budget, or ``folder`` itself if it has it already.

    Raises:
        ValueError: The run was not evaluated when it had made ``until`` steps; its learning rate
            falls with its budget, or it adapts to test tasks near its end only, so that a shorter
            run would have been another one.
    """
    config = folder.config
    if until < 1:
        raise ValueError(f"--until must be a number of steps of at least 1, got {until}")
    table = evaluations(folder)
    steps = sorted(table["timesteps"].unique()) if len(table) else []
    last = next((int(step) for step in steps if step >= until), None)
    if last is None:
        reached = f"until step {steps[-1]:,}" if steps else "at no step"
        raise ValueError(
            f"{folder.path} has been evaluated {reached}, expected {until:,} steps or more; "
            "continue it with --resume, or name fewer steps"
        )
    if config.total_timesteps == until:
        return folder
    if getattr(config, "lr_decay_start", 1.0) < 1.0:
        raise ValueError(
            f"{folder.path} cannot be cut at {until:,} steps: its learning rate falls from "
            f"{config.lr_decay_start:g} of its {config.total_timesteps:,} steps on; train it again "
            f"with --total-timesteps {until}"
        )
    if config.adapts_from:
        raise ValueError(
            f"{folder.path} cannot be cut at {until:,} steps: its evaluations adapt to the tasks "
            f"from step {config.adapts_from:,} on only (adapt_from); train it again with "
            f"--total-timesteps {until}"
        )
    due = last // config.eval_interval * config.eval_interval
    if any(due <= step < last for step in steps):  # this one was due at the end of the run
        due = config.total_timesteps
    if last > until and due > until:
        raise ValueError(
            f"{folder.path} cannot be cut at {until:,} steps: a run of that budget would have been "
            f"evaluated at its end, and this one was evaluated at {last:,} steps only; name the "
            f"steps of an evaluation, such as {due}"
        )
    cut = RunFolder(out, dataclasses.replace(config, total_timesteps=until), folder.commit)
    for source in (folder.evaluations, folder.metrics, folder.decoded_goals):
        rows = read_log(source) if source.exists() else []
        if kept := [row for row in rows if int(row["timesteps"]) <= last]:
            write_csv(out / source.name, kept)
    return cut
