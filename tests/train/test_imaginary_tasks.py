"""The policy on its decoder's imaginary tasks: what they offer, and what is counted."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import train_tiny

from ldm_wrappers.vector import ImaginaryRewardWrapper
from train import imaginary_tasks
from train.imaginary_tasks import best_returns, describe, main, measure
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder
from train.plots.grid import Grid

GRID = Grid((0, 0), (6, 6))


def test_the_best_return_of_true_tasks_is_the_closed_form() -> None:
    maps = np.full((49, 49), -0.1)
    np.fill_diagonal(maps, 1.0)
    best, cell = best_returns(maps, GRID, np.zeros(2), horizon=30)
    distance = GRID.cells.sum(1)
    expected = np.where(distance > 0, 31.1 - 1.1 * distance, 30.0)
    np.testing.assert_allclose(best, expected)
    np.testing.assert_array_equal(cell, np.arange(49))


def test_a_near_goal_may_pay_more_than_a_far_one() -> None:
    maps = np.full((1, 49), -0.1)
    maps[0, GRID.index(np.array((6, 6)))] = 1.0
    maps[0, GRID.index(np.array((1, 0)))] = 0.7
    best, cell = best_returns(maps, GRID, np.zeros(2), horizon=30)
    assert best[0] == pytest.approx(30 * 0.7) and cell[0] == GRID.index(np.array((1, 0)))


# a straight way to the best cell earns most, if rewards stay the same: present beliefs change
@pytest.mark.parametrize(
    ("flags", "slack"),
    [
        (["--imagination", "expected-reward"], 1.0),
        (["--imagination", "expected-reward", "--imagination.final-beliefs"], 1.0),
        (["--imagination.no-relative", "--imagination.threshold", "0.5"], 1e-3),
        (["--imagination.threshold", "0.9"], 1e-3),
    ],
)
def test_a_run_is_measured(
    flags: list[str], slack: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_tiny(tmp_path / "run", "ldm", *flags)
    capsys.readouterr()
    assert main([str(run), "--repeats", "3"]) == 0
    rows = read_csv(run / "evaluation" / "imaginary_tasks.csv")
    assert len(rows) == 3  # one mixture worker
    for row in rows:
        earned = [float(row[f"episode_{i}"]) for i in (1, 2, 3, 4)]
        assert max(earned) <= float(row["best_return"]) + slack
        if "expected-reward" not in flags:  # 30 steps of -0.1 or 1
            steps_paid = (np.array(earned) + 3.0) / 1.1
            np.testing.assert_allclose(steps_paid, steps_paid.round(), atol=0.01)
    assert "of 3 imaginary tasks" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags",
    [
        ["--imagination", "expected-reward", "--imagination.final-beliefs", "--p-drop", "0"],
        ["--imagination.threshold", "0.9"],  # of tasks with kept dropout masks
    ],
)
def test_rows_are_what_mixture_workers_were_paid_for_the_cells_they_met(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded at each step; a cell pays the same in all episodes of a task."""
    workers = ["--n-mixture-workers", "2", "--mixture.n-components", "2"]
    run = train_tiny(tmp_path / "run", "ldm", *flags, *workers)
    steps: list[tuple[Any, Any]] = []
    decoded: list[Any] = []
    step, best = ImaginaryRewardWrapper.step, imaginary_tasks.best_returns

    def recorded(self: Any, actions: Any) -> Any:
        result = step(self, actions)
        steps.append((np.array(result[4]["next_obs"])[-2:], np.array(result[1])[-2:]))
        return result

    monkeypatch.setattr(ImaginaryRewardWrapper, "step", recorded)
    monkeypatch.setattr(
        imaginary_tasks,
        "best_returns",
        lambda maps, *rest: decoded.append(maps) or best(maps, *rest),
    )
    rows = measure(RunFolder.open(run), 2)
    counted = [steps[first : first + 120] for first in (240 + 120, 480 + 120)]
    assert len(steps) == 3 * 240 and len(rows) == 4
    for index, row in enumerate(rows):
        repeat, task = divmod(index, 2)
        cells = np.array([shown[task] for shown, _ in counted[repeat]])
        paid = np.array([rewards[task] for _, rewards in counted[repeat]])
        field = decoded[repeat][task]
        np.testing.assert_allclose(paid, field[GRID.index(cells)], atol=1e-4)
        earned = [float(row[f"episode_{k}"]) for k in (1, 2, 3, 4)]
        np.testing.assert_allclose(earned, paid.reshape(4, 30).sum(1), atol=2e-3)
        assert row["repeat"] == repeat and row["cells_paid"] == (field > 0.45).sum()
        best_cell = [float(v) for v in row["best_cell"].split()]
        assert row["best_on_train_goal"] == (max(best_cell) in (2, 6))


def test_staggered_runs_are_measured_in_step(tmp_path: Path) -> None:
    """Parts of two imaginary tasks were added to one return."""
    run = train_tiny(tmp_path / "run", "ldm", "--imagination", "expected-reward")
    expected = measure(RunFolder.open(run), 2)
    config = run / "config.json"
    config.write_text(
        config.read_text().replace('stagger_workers": false', 'stagger_workers": true')
    )
    folder = RunFolder.open(run)
    assert folder.config.stagger_workers
    assert measure(folder, 2) == expected


def test_a_method_without_imaginary_tasks_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also before the tasks of another run are played."""
    run = train_tiny(tmp_path / "run", "rl2")
    other = train_tiny(tmp_path / "other", "ldm")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([str(other), str(run)])
    said = capsys.readouterr()
    assert "method rl2 has no imaginary tasks; expected a run of ldm" in said.err and not said.out


def test_a_trained_model_is_not_called_untrained(tmp_path: Path) -> None:
    run = train_tiny(tmp_path / "run", "ldm", "--vae-buffer-trajectories", "4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main([str(run), "--repeats", "1"]) == 0


def test_a_task_that_offers_nothing_is_neither_solved_nor_missed() -> None:
    """Optimal play was called a failure where the best return is negative: -3 is below 70 % of it.

    Of the two others on another cell one is solved.
    """
    shown = [(-3.0, -3.0, 0), (20.0, 19.0, 1), (20.0, 5.0, 1)]
    rows = [
        {"repeat": 0, "cells_paid": paid, "best_cell": "0 0", "best_on_train_goal": 0}
        | {"best_return": f"{best:.3f}", "episode_1": f"{earned:.3f}"}
        for best, earned, paid in shown
    ]
    lines = {line.partition(":")[0]: line for line in describe(rows, 1)}
    means = f"best return {37 / 3:.1f}, earned in the last episode {21 / 3:.1f}"
    assert lines["best on another cell"].endswith(
        f"{means}, 70% of the best in 50% of 2 (1 with a best return of at most 0 not judged)"
    )
    assert lines["one cell paid"].endswith("70% of the best in 50% of 2")
    assert lines["no cell paid"].endswith("(1 with a best return of at most 0 not judged)")
    assert "70%" not in lines["no cell paid"]
