"""The tables of a sweep, which grow while it runs: sweep.csv, results.csv and printed changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ldm_wrappers.state_file import StateFileError
from train.analysis.condense import curve_table, evaluations, text_rows
from train.analysis.tables import write_csv
from train.config.grouping import group_text
from train.config.settings import RunSettings
from train.persistence.checkpoint import newest_timesteps
from train.persistence.run_folder import RunFolder
from train.sweeps.trials import Trial, run_path
from train.sweeps.worker import TrialState, is_running, read_state

_SHOWN = [
    "trial", "status", "attempts", "timesteps", "total_timesteps", "train_return", "test_return",
    "test_reached",
]  # fmt: skip


class SweepTable:
    """Tables made from what the trials have written; the sweep itself adds only ``lost``.

    Args:
        trials: All trials of the sweep.
        out: Its folder.
    """

    def __init__(self, trials: list[Trial], out: Path) -> None:
        self.trials = trials
        self.out = out
        self.lost: dict[str, str] = {}
        self._curves: dict[str, list[dict[str, Any]]] = {}  # of finished trials
        self._printed: dict[str, str] = {}

    def update(self, *, final: bool = False) -> int:
        """Read the trials again, rewrite the files and print what has changed.

        Returns:
            The number of unfinished trials.
        """
        before = len(self._curves)
        rows = [self._row(trial, final) for trial in self.trials]
        write_csv(self.out / "sweep.csv", rows)
        results = [row for trial in self.trials for row in self._curves.get(trial.name, [])]
        if results and (final or len(self._curves) != before):
            write_csv(self.out / "results.csv", results)
        finished = sum(row["status"] == "finished" for row in rows)
        for row in rows:
            if self._printed.get(row["trial"], "waiting") != row["status"]:
                print(f"[{finished}/{len(rows)}] {_change(row)}", flush=True)
            self._printed[row["trial"]] = row["status"]
        return len(rows) - finished

    def others(self) -> str:
        """A sentence on runs in the folder that are not in the tables; empty if there are none."""
        mine = {trial.name for trial in self.trials}
        configs = sorted((self.out / "runs").glob("*/config.json"))
        names = [path.parent.name for path in configs if path.parent.name not in mine]
        if not names:
            return ""
        return (
            f"sweep.csv and results.csv leave out runs that are not trials of this command "
            f"({len(names)} in {self.out / 'runs'}, perhaps of other methods, seeds or overrides): "
            f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
        )

    def text(self) -> str:
        """The trials and their states as text; nothing is written."""
        table = pd.DataFrame([self._row(trial, False) for trial in self.trials])[_SHOWN]
        finished = (table["status"] == "finished").sum()
        rows = table.to_string(index=False)
        return f"{rows}\n{self.out}: {finished} of {len(table)} trials finished"

    def _row(self, trial: Trial, final: bool) -> dict[str, Any]:
        state = read_state(self.out, trial.name)
        status = self._status(trial, state, final)
        curve = self._curve(trial, status == "finished")
        evaluated = curve[-1]["timesteps"] if curve else 0
        saved = newest_timesteps(run_path(self.out, trial.name) / "checkpoints")
        last_episode = trial.config.n_episodes
        ends = {row["split"]: row for row in curve if row["episode"] == last_episode}  # the newest
        return {
            "trial": trial.name,
            **_labels(trial.config),
            "status": status,
            "attempts": len(state.attempts),
            "from_timesteps": " ".join(str(one["from_timesteps"]) for one in state.attempts),
            "timesteps": max(evaluated, saved),
            "total_timesteps": trial.config.total_timesteps,
            "seconds": f"{state.seconds:.0f}",
            "train_return": ends.get("train", {}).get("return", ""),
            "test_return": ends.get("test", {}).get("return", ""),
            "test_reached": ends.get("test", {}).get("reached", ""),
            "error": state.error or self.lost.get(trial.name, ""),
        }

    def _status(self, trial: Trial, state: TrialState, final: bool) -> str:
        if state.finished is not None:
            return "finished"
        if not final and is_running(self.out, trial.name):
            return "running"
        if state.error:
            return "failed"
        if trial.name in self.lost:
            return "died"
        return "interrupted" if state.attempts else "waiting"

    def _curve(self, trial: Trial, finished: bool) -> list[dict[str, Any]]:
        """Condensed evaluations so far, with the trial's labels; cached once it is finished."""
        if trial.name in self._curves:
            return self._curves[trial.name]
        try:
            folder = RunFolder(run_path(self.out, trial.name), trial.config)
            table = evaluations(folder, running=not finished)
            found = [] if table.empty else text_rows(curve_table(table))
        except (StateFileError, ValueError, OSError):
            if finished:
                raise
            return []  # a row is just being written
        rows = [{**_labels(trial.config), **row} for row in found]
        if finished:
            self._curves[trial.name] = rows
        return rows


def _change(row: dict[str, Any]) -> str:
    """The state of a trial in one line."""
    again = f", attempt {row['attempts']}" if row["attempts"] > 1 else ""
    reached = f", reached {row['test_reached']}" if row["test_reached"] != "" else ""
    values = f" (test return {row['test_return']}{reached})" if row["test_return"] != "" else ""
    error = f": {row['error']}" if row["error"] else ""
    return f"{row['trial']}: {row['status']}{again}{values}{error}"


def _labels(config: RunSettings) -> dict[str, Any]:
    """Columns that identify a trial in the tables."""
    return {
        "env_id": config.env_id,
        "method": config.method,
        "seed": config.seed,
        "overrides": group_text(config),
    }
