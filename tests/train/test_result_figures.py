"""Figures of results folders against their own CSV files: what lines and labels say is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from train.analysis.tables import write_csv
from train.plots import figure7, results_folder
from train.plots.results_folder import plot_results_folder

GRID, CHEETAH, GOAL = "LDM-GridNavi-v0", "LDM-HalfCheetahVel-v0", "LDM-AntGoal-v0"
TASKS = {GRID: ["2 0", "0 3"], CHEETAH: ["0.5", "1"], GOAL: ["2 0", "1 1.5708"]}


def run_row(name: str, env_id: str, method: str, **changes: Any) -> dict[str, Any]:
    """A row of runs.csv."""
    row = {"run": name, "env_id": env_id, "method": method, "preset": "default", "seed": 0}
    row |= {"overrides": "", "n_workers": 64, "n_mixture_workers": 32, "beta": 1, "p_drop": 0.7}
    row |= {"n_episodes": 2, "total_timesteps": 1000, "evaluated_timesteps": 1000}
    return {**row, "adapted_from": "", "environment": "", **changes}


def results(
    folder: Path, rows: list[dict[str, Any]], steps: dict[str, list[int]] | None = None
) -> Path:
    """The three files of runs with a return of 1 (seed 0), 2 (seed 1), …"""
    moments, curves, tasks = steps or {}, [], []
    for row in rows:
        value = 1.0 + int(row["seed"])
        for split in ("train", "test"):
            own = {"run": row["run"], "split": split}
            for episode in (1, row["n_episodes"]):
                curves += [
                    {**own, "timesteps": step, "episode": episode, "tasks": 2, "return": value}
                    | {"reached": ""}
                    for step in moments.get(row["run"], [500, 1000])
                ]
                tasks += [
                    {**own, "task": task, "episode": episode, "return": value, "reached": ""}
                    for task in TASKS[row["env_id"]]
                ]
    folder.mkdir(exist_ok=True)
    for name, table in {"runs": rows, "curves": curves, "tasks": tasks}.items():
        write_csv(folder / f"{name}.csv", table)
    return folder


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves of methods take long to draw, and other tests are about them."""
    monkeypatch.setattr(results_folder, "plot_paper_curves", lambda *_, **__: [])


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch, few_figures: None) -> list[Any]:
    """The panels of figure 7, instead of a file."""
    found: list[Any] = []
    monkeypatch.setattr(figure7, "save", lambda drawing, path: found.extend(drawing.axes) or path)
    return found


def test_standing_still_is_shown_for_the_tasks_of_the_curves(
    panels: list[Any], tmp_path: Path
) -> None:
    """It was that of 2,000 other tasks of the same split."""
    rows = [run_row("a", CHEETAH, "ldm"), run_row("b", GOAL, "ldm")]
    plot_results_folder(results(tmp_path, rows), tmp_path)
    expected = {CHEETAH: -200 * np.mean([0.5, 1.0]), GOAL: -200 * np.mean([2.0, 1.0])}
    assert len(panels) == 4
    for panel in panels:
        env_id = panel.get_title().partition(":")[0]
        (dotted,) = [line for line in panel.lines if line.get_linestyle() == ":"]
        np.testing.assert_allclose(dotted.get_ydata(), expected[env_id], atol=0.01)


def test_a_panel_of_horizontal_lines_alone_has_the_steps_of_its_runs(
    panels: list[Any], tmp_path: Path
) -> None:
    """Its axis went from 0 to 1 thousand steps."""
    rows = [run_row("a", CHEETAH, "pearl"), run_row("b", GOAL, "mql")]
    ends = {"a": [200_000, 400_000], "b": [350_000, 700_000]}
    plot_results_folder(results(tmp_path, rows, ends), tmp_path)
    for panel in panels:
        longest = 400 if CHEETAH in panel.get_title() else 700
        assert panel.get_xlim() == (0, longest)
