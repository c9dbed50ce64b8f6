"""Figures of results folders against their own CSV files: what lines and labels say is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ldm_wrappers.state_file import StateFileError
from train.analysis.aggregate import Run
from train.analysis.tables import write_csv
from train.common.artifacts import first_trained
from train.common.env_source import EnvSource
from train.common.places import Places
from train.config.presets import resolve
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder
from train.plots import belief_curves, figure7, goal_maps, paper_curves, results_folder
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
        assert panel.get_xlim()[0] == 0 and longest < panel.get_xlim()[1] < 1.1 * longest


@pytest.mark.parametrize("split", ["train", "test", "eval"])
def test_families_that_have_one_split_only_are_drawn(
    split: str, panels: list[Any], tmp_path: Path
) -> None:
    """Runs without test tasks ended in a traceback."""
    results(tmp_path, [run_row("a", CHEETAH, "ldm"), run_row("b", GOAL, "ldm")])
    for name in ("curves", "tasks"):
        rows = [row for row in read_csv(tmp_path / f"{name}.csv") if row["split"] == "train"]
        write_csv(tmp_path / f"{name}.csv", [{**row, "split": split} for row in rows])
    plot_results_folder(tmp_path, tmp_path)
    drawn = {panel.get_title().rpartition(": ")[2] for panel in panels if panel.lines}
    assert len(panels) == 4 and split in drawn


def test_paths_of_runs_without_train_tasks_are_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(
        results_folder, "plot_paper_paths", lambda rows, path, *_: drawn.append(path.stem) or path
    )
    row = {"run": "a", "env_id": CHEETAH, "group": "ldm", "split": "eval", "task": "1"}
    write_csv(tmp_path / "paths.csv", [{**row, "return": 1, "seconds": 1, "x": "0 1", "y": ""}])
    results_folder._draw_tables(tmp_path, tmp_path, [])
    assert drawn == ["figure8_HalfCheetahVel"]


def test_methods_that_were_evaluated_on_other_splits_are_all_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Panels, and the legend, were those of the first run."""
    found: list[Any] = []
    monkeypatch.setattr(paper_curves, "save", lambda drawing, path: found.append(drawing) or path)
    results(tmp_path, [run_row("a", GRID, "rl2"), run_row("b", GRID, "mixreg")])
    tables = {name: read_csv(tmp_path / f"{name}.csv") for name in ("curves", "tasks")}
    for name, rows in tables.items():
        rows = [row for row in rows if row["run"] == "a" or row["split"] == "test"]
        rows += [{**row, "split": "other"} for row in rows if row["run"] == "b"]
        for row in rows:
            if row["run"] == "b" and "tasks" in row:
                row["tasks"] = "3"
        write_csv(tmp_path / f"{name}.csv", rows)
    plot_results_folder(tmp_path, tmp_path)
    titles = [panel.get_title() for panel in found[0].axes[:3]]
    assert titles == [
        "train: return (2 tasks)",
        "test: return (2 or 3 tasks)",
        "other: return (3 tasks)",
    ]
    assert [text.get_text() for text in found[0].legends[0].texts] == ["rl2 (1)", "mixreg (1)"]


@pytest.mark.parametrize("value", ["", "nan", "inf", "text"])
def test_values_of_beliefs_are_numbers(value: str, tmp_path: Path) -> None:
    """The message did not name the file, or there was a traceback."""
    results(tmp_path, [run_row("a", GRID, "ldm")])
    row = {"run": "a", "timesteps": 500, "split": "test", "quantity": "reward_error"}
    write_csv(tmp_path / "beliefs.csv", [{**row, "value": value}])
    with pytest.raises(StateFileError, match=r"beliefs\.csv is damaged"):
        plot_results_folder(tmp_path, tmp_path)


def belief_rows(errors: dict[str, dict[int, float]]) -> list[dict[str, Any]]:
    """Rows of beliefs.csv: reward errors by run and step."""
    return [
        {"run": run, "timesteps": step, "split": "test", "quantity": "reward_error", "value": value}
        for run, own in errors.items()
        for step, value in own.items()
    ]


@pytest.mark.usefixtures("few_figures")
def test_reward_errors_are_counted_for_the_seeds_that_have_some(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The legend said 3 seeds of a curve that was of two."""
    found: list[Any] = []
    monkeypatch.setattr(belief_curves, "save", lambda drawing, path: found.append(drawing) or path)
    rows = [run_row(f"ldm{seed}", GRID, "ldm", seed=seed) for seed in range(3)]
    rows += [run_row(f"varibad{seed}", GRID, "varibad", seed=seed) for seed in range(2)]
    folder = results(tmp_path, rows)
    with_errors = ("ldm1", "ldm2", "varibad0", "varibad1")
    write_csv(folder / "beliefs.csv", belief_rows({name: {500: 1.0} for name in with_errors}))
    plot_results_folder(folder, folder)
    labels = {text.get_text() for text in found[0].legends[0].texts}
    assert labels == {"ldm (2 of 3: seeds 1, 2)", "varibad (2)"}
    written = read_csv(folder / "reward_error.csv")
    assert {(row["group"], row["runs"]) for row in written} == {("ldm", "2"), ("varibad", "2")}


@pytest.mark.usefixtures("few_figures")
def test_reward_errors_are_shown_where_all_seeds_were_evaluated(tmp_path: Path) -> None:
    """Between the evaluations of one seed the curve jumped to the level of the other."""
    folder = results(tmp_path, [run_row(f"run{seed}", GRID, "ldm", seed=seed) for seed in (0, 1)])
    often, seldom = {s: 1.0 for s in range(100, 1001, 100)}, {s: 9.0 for s in range(200, 1001, 200)}
    write_csv(folder / "beliefs.csv", belief_rows({"run0": often, "run1": seldom}))
    plot_results_folder(folder, folder)
    written = read_csv(folder / "reward_error.csv")
    assert [int(row["timesteps"]) for row in written] == list(seldom)
    assert {(row["runs"], row["mean"]) for row in written} == {("2", "5")}


@pytest.mark.parametrize(
    ("first", "second"),
    [({}, {}), ({"overrides": "n_mixture=8"}, {"overrides": "n_mixture_workers=8"})],
)
def test_figures_are_not_drawn_from_copies(
    first: dict[str, str], second: dict[str, str], tmp_path: Path
) -> None:
    """A setting's former name hid one; the interval over two seeds was one over three."""
    rows = [run_row("a", GRID, "ldm", **first), run_row("b", GRID, "ldm", **second)]
    results(tmp_path, [*rows, run_row("c", GRID, "ldm", seed=1, **second)])
    said = r"runs.csv: a and b have the same settings and seed 0 .*delete the rows"
    with pytest.raises(StateFileError, match=said):
        plot_results_folder(tmp_path, tmp_path)


def test_runs_of_a_sweep_over_two_settings_are_all_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The one that differs in both was in no figure."""
    shown: list[str] = []

    def plot(groups: dict[str, list[Run]], path: Path, *_: Any, **__: Any) -> list[Path]:
        shown.extend(f"{path.stem}: {run.name}" for runs in groups.values() for run in runs)
        return []

    monkeypatch.setattr(results_folder, "plot_paper_curves", plot)
    rows = [
        run_row("neither", GRID, "ldm"),
        run_row("dropout", GRID, "ldm", overrides="p_drop=0.5", p_drop=0.5),
        run_row("beta", GRID, "ldm", overrides="beta=2", beta=2),
        run_row("both", GRID, "ldm", overrides="p_drop=0.5 beta=2", p_drop=0.5, beta=2),
    ]
    plot_results_folder(results(tmp_path, rows), tmp_path)
    for run, figures in {
        "neither": {"figure3", "first_episode", "dropout", "beta"},
        "dropout": {"dropout"},
        "beta": {"beta"},
        "both": {"figure3", "first_episode"},
    }.items():
        assert {text.partition(":")[0] for text in shown if text.endswith(f" {run}")} == figures


def test_a_substitute_for_the_lowest_seed_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run with the lowest seed was cut and has no weights."""
    runs = []
    for seed in (0, 1, 2):
        config = resolve(CHEETAH, "rl2", seed=seed, run_dir=str(tmp_path / f"{seed}"))
        runs.append((f"run{seed}", RunFolder.create(config)))
    for _, folder in runs[1:]:
        folder.artifact("policy").touch()
    assert first_trained(runs, ("policy",), "paths") == runs[1]
    said = capsys.readouterr().err
    assert "warning: paths are from run1 (seed 1)" in said and "run0 (seed 0)" in said
    assert first_trained(runs[1:], ("policy",), "paths") == runs[1]
    assert first_trained(runs, ("policy", "latent_dynamics"), "mixtures") is None
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("env_id", "unit"), [(GOAL, "m"), (GRID, "cell")])
def test_places_of_goals_have_axes_with_units(
    env_id: str, unit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[Any] = []
    for module in (belief_curves, goal_maps):
        monkeypatch.setattr(module, "save", lambda drawing, path: drawn.append(drawing) or path)
    source = EnvSource(env_id)
    places = Places.of(source)
    assert places is not None
    fields = np.arange(2 * len(places.xy)).reshape(2, -1)
    splits = places.splits(source.facts().distribution)
    maps = {"run": [goal_maps.GoalMap("beliefs", fields)]}
    goal_maps.plot_goal_maps(maps, places, splits, tmp_path / "imaginary_goals.png")
    row = {"run": "run", "env_id": env_id, "p_drop": "0", "timesteps": "500", "split": "test"}
    row |= {"task": "2 0", "dropout": "0", "x": "1", "y": "0", "distance": "1"}
    row["rewards"] = " ".join(map(str, fields[0]))
    belief_curves.plot_decoded_goals([row], tmp_path / "decoded_goals.png", source)
    for drawing in drawn:
        assert drawing.axes[-1].get_xlabel() == f"x ({unit})"
        assert all(panel.get_ylabel().endswith(f"\ny ({unit})") for panel in drawing.axes)


@pytest.mark.parametrize("module", [paper_curves, figure7, belief_curves])
def test_a_curve_that_a_longer_one_continues_is_on_top(
    module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """RL² with half of LDM's steps was hidden under RL² with all of them."""
    found: list[Any] = []
    monkeypatch.setattr(module, "save", lambda drawing, path: found.append(drawing) or path)
    long = {"total_timesteps": 2000, "evaluated_timesteps": 2000}
    long["overrides"] = "total_timesteps=2000"
    rows = [run_row("short", CHEETAH, "rl2"), run_row("long", CHEETAH, "rl2", **long)]
    rows.append(run_row("other", GOAL, "rl2"))
    results(tmp_path, rows, {"long": [500, 1000, 1500, 2000]})
    errors = {500: 1.0, 1000: 1.0}
    rows = belief_rows({"short": errors, "long": {**errors, 1500: 1.0, 2000: 1.0}})
    write_csv(tmp_path / "beliefs.csv", rows)
    plot_results_folder(tmp_path, tmp_path)
    curves = [line for line in found[0].axes[0].lines if line.get_linestyle() == "-"]
    order = {len(line.get_xdata()): line.get_zorder() for line in curves}
    assert order[2] > order[4]
