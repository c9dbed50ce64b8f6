"""The table of a sweep, which fills while it runs: on the terminal, sweep.csv and results.csv."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ldm_wrappers.state_file import StateFileError
from train.analysis.condense import curve_table, evaluations, text_rows
from train.analysis.tables import write_csv
from train.config.grouping import group_text
from train.config.settings import RunSettings
from train.persistence.run_folder import RunFolder
from train.sweeps.trials import Trial
from train.sweeps.worker import TrialState, is_running, newest_checkpoint, read_state

_SHOWN = ("trial", "status", "attempts", "timesteps", "train_return", "test_return", "test_reached")


class SweepTable:
    """Reads what the trials have written; ``lost`` is all that the sweep adds.

    Args:
        trials: All trials of the sweep.
        out: Its folder.
    """

    def __init__(self, trials: list[Trial], out: Path) -> None:
        self.trials = trials
        self.out = out
        self.lost: dict[str, str] = {}
        self._curves: dict[str, list[dict[str, Any]]] = {}
        self._rows: list[dict[str, Any]] = []
        self._live: Live | None = None
        self._printed: dict[str, str] = {}

    def update(self, *, final: bool = False) -> int:
        """Read the trials again and rewrite the files; returns the number of unfinished trials."""
        before = len(self._curves)
        self._rows = [self._row(trial, final) for trial in self.trials]
        write_csv(self.out / "sweep.csv", self._rows)
        if len(self._curves) != before or (final and self._curves):
            results = [row for trial in self.trials for row in self._curves.get(trial.name, [])]
            if results:
                write_csv(self.out / "results.csv", results)
        if self._live is not None:
            self._live.update(self._table())
        else:
            self._print_changes()
        return sum(row["status"] != "finished" for row in self._rows)

    def show(self) -> None:
        """Print the table as it is, and write nothing."""
        self._rows = [self._row(trial, False) for trial in self.trials]
        Console(width=None if sys.stdout.isatty() else 140).print(self._table())

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Redraw the table in place, where the output is a terminal."""
        if not sys.stdout.isatty():
            yield
            return
        with Live(self._table(), console=Console(), refresh_per_second=1) as self._live:
            yield
        self._live = None

    def _row(self, trial: Trial, final: bool) -> dict[str, Any]:
        config = trial.with_run_dir(self.out)
        state = read_state(self.out, trial.name)
        folder = RunFolder(config.run_dir, config)
        status = self._status(trial, state, final)
        curve = self._curve(trial, folder, status == "finished")
        last = max((int(row["timesteps"]) for row in curve), default=0)
        ends = {
            row["split"]: row
            for row in curve
            if row["timesteps"] == last and row["episode"] == config.n_episodes
        }
        return {
            "trial": trial.name,
            **_labels(config),
            "status": status,
            "attempts": len(state.attempts),
            "from_timesteps": " ".join(str(one["from_timesteps"]) for one in state.attempts),
            "timesteps": max(last, newest_checkpoint(folder.path)),
            "total_timesteps": config.total_timesteps,
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

    def _curve(self, trial: Trial, folder: RunFolder, finished: bool) -> list[dict[str, Any]]:
        """Condensed evaluations so far, with what tells the trial apart; kept once it is done."""
        if trial.name in self._curves:
            return self._curves[trial.name]
        labels = _labels(trial.config)
        try:
            table = evaluations(folder)
            rows = [] if table.empty else text_rows(curve_table(table))
            rows = [{**labels, **row} for row in rows]
        except (StateFileError, ValueError, OSError):
            if finished:
                raise
            return []  # a row is being written just now
        if finished:
            self._curves[trial.name] = rows
        return rows

    def _table(self) -> Table:
        finished = sum(row["status"] == "finished" for row in self._rows)
        table = Table(title=f"{self.out}: {finished} of {len(self._rows)} trials finished")
        for name in _SHOWN:
            right = name not in ("trial", "status")
            table.add_column(name.replace("_", " "), justify="right" if right else "left")
        for row in self._rows:
            cells = [str(row[name]) for name in _SHOWN]
            cells[_SHOWN.index("timesteps")] += f" / {row['total_timesteps']}"
            table.add_row(*cells)
        return table

    def _print_changes(self) -> None:
        """One line per change, where there is no terminal to draw in."""
        finished = sum(row["status"] == "finished" for row in self._rows)
        for row in self._rows:
            if self._printed.get(row["trial"], "waiting") != row["status"]:
                again = f", attempt {row['attempts']}" if row["attempts"] > 1 else ""
                error = f": {row['error']}" if row["error"] else ""
                reached = f", reached {row['test_reached']}" if row["test_reached"] != "" else ""
                values = f" (test return {row['test_return']}{reached})" if reached else ""
                print(
                    f"[{finished}/{len(self._rows)}] {row['trial']}: {row['status']}{again}"
                    f"{values}{error}",
                    flush=True,
                )
            self._printed[row["trial"]] = row["status"]


def _labels(config: RunSettings) -> dict[str, Any]:
    """What tells a trial apart in the tables."""
    return {
        "env_id": config.env_id,
        "method": config.method,
        "seed": config.seed,
        "overrides": group_text(config),
    }
