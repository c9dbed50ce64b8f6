"""The first part of a run, as if its budget had been smaller, to compare methods at equal steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from train.analysis.condense import evaluations
from train.analysis.tables import write_csv
from train.persistence.files import read_log
from train.persistence.run_folder import RunFolder, resume_command


def cut_run(folder: RunFolder, until: int, out: Path) -> RunFolder:
    """Copy what a run had logged up to ``until`` steps to a new folder.

    The last evaluation is the one at the end of a budget of ``until`` steps. Weights are not
    copied, since they are those of the whole run, and nothing must be drawn or played from them.

    Args:
        folder: The run.
        until: Environment steps.
        out: The new folder.

    Returns:
        The run in ``out`` with that budget, or ``folder`` itself if it already has that budget.

    Raises:
        ValueError: If the run was not evaluated after ``until`` steps, or if a shorter run would
            have differed, because the learning rate decays with the budget or the method adapts to
            test tasks only near the end.
    """
    config = folder.config
    if until < 1:
        raise ValueError(f"--until must be a number of steps of at least 1, got {until}")
    table = evaluations(folder)
    steps = sorted(table["timesteps"].unique()) if len(table) else []
    last = next((int(step) for step in steps if step >= until), None)
    if last is None:
        reached = f"only up to step {steps[-1]:,}" if steps else "at no step"
        more = max(until, config.total_timesteps)
        longer = f"{resume_command(config, folder.path)} --total-timesteps {more}"
        raise ValueError(
            f"{folder.path} has been evaluated {reached}, expected {until:,} steps or more; "
            f"continue it with {longer}, or choose fewer steps"
        )
    if config.total_timesteps == until:
        return folder
    if getattr(config, "lr_decay_start", 1.0) < 1.0:
        raise ValueError(
            f"{folder.path} cannot be cut at {until:,} steps: its learning rate decays from "
            f"{config.lr_decay_start:g} of its {config.total_timesteps:,} steps on; train it again "
            f"with --total-timesteps {until}"
        )
    if config.adapts_from:
        raise ValueError(
            f"{folder.path} cannot be cut at {until:,} steps: its evaluations adapt to the tasks "
            f"only from step {config.adapts_from:,} on (adapt_from); train it again with "
            f"--total-timesteps {until}"
        )
    due = last // config.eval_interval * config.eval_interval
    if any(due <= step < last for step in steps):  # `last` was due at the end of the run
        due = config.total_timesteps
    if last > until and due > until:
        raise ValueError(
            f"{folder.path} cannot be cut at {until:,} steps: a run with that budget would have "
            f"been evaluated at its end, but this one was only evaluated at {last:,} steps; choose "
            f"the step of an evaluation, such as {due}"
        )
    cut = RunFolder(out, dataclasses.replace(config, total_timesteps=until), folder.commit)
    for source in (folder.evaluations, folder.metrics, folder.decoded_goals):
        rows = read_log(source) if source.exists() else []
        if kept := [row for row in rows if int(row["timesteps"]) <= last]:
            write_csv(out / source.name, kept)
    return cut
