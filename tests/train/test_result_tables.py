"""Result tables that lack something, and runs that were evaluated at different steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ldm_wrappers.state_file import StateFileError
from train import evaluate
from train.analysis import aggregate
from train.analysis.ablations import ablations
from train.analysis.aggregate import (
    Run,
    estimates,
    evaluated_differently,
    group_curve,
    read_runs,
)
from train.analysis.beliefs import belief_rows, decoded_goal_rows
from train.analysis.collect import collect
from train.analysis.common_steps import at_common_steps
from train.analysis.condense import curve_table, evaluations, format_number, task_table
from train.analysis.cut import cut_run
from train.analysis.shown_runs import shown_once
from train.analysis.tables import group_runs, summary_rows, write_csv, write_tables
from train.common.evaluation import SplitResult, evaluation_rows
from train.common.task_text import task_texts
from train.config.presets import resolve
from train.figures import add_runs, collect_runs
from train.persistence.files import read_csv, write_json
from train.persistence.run_folder import RunFolder
from train.plots import paper_paths, results_folder
from train.plots.belief_curves import plot_belief_curves
from train.plots.curves import read_curves, read_rollouts
from train.plots.results_folder import plot_results_folder


def run_of(steps: list[int], returns: list[float]) -> Run:
    table = pd.DataFrame({"timesteps": steps, "return": returns})
    return Run({}, table.assign(split="train", episode=1, tasks=2, reached=0.0))


def test_runs_with_early_ends_are_averaged_at_the_same_evaluation() -> None:
    """Their iterations, and so their evaluations, end at other steps."""
    runs = [run_of([105, 210, 300], [1.0, 3.0, 5.0]), run_of([98, 214, 340], [2.0, 4.0, 6.0])]
    curve = group_curve(runs, "train", 1)
    assert curve is not None
    assert curve.steps.tolist() == [105, 214, 340]
    assert curve.runs.tolist() == [2, 2, 2]
    np.testing.assert_allclose(curve.mean, [1.5, 2.5, 3.5])  # of means over 1, 2, 3 evaluations


def test_the_interquartile_mean_of_five_runs_is_that_of_the_middle_three() -> None:
    """Of up to three runs it is their mean, so that one could stand for the other."""
    scores = [4.0, 0.0, 40.0, 1.0, 2.0]
    curve = group_curve([run_of([100], [score]) for score in scores], "train", 1)
    assert curve is not None
    assert [float(x[0]) for x in (curve.mean, curve.iqm)] == pytest.approx([9.4, 7 / 3])
    row = estimates("return", np.array(scores))
    found = [float(row[f"return_{name}"]) for name in ("mean", "iqm")]
    assert found == pytest.approx([9.4, 7 / 3], rel=1e-5)


def test_an_ablation_compares_runs_that_differ_in_nothing_else() -> None:
    def run(beta: str, overrides: str) -> Run:
        row = {"method": "ldm", "preset": "default", "beta": beta, "overrides": overrides}
        return Run(row, pd.DataFrame())

    runs = [run("2", "beta=2"), run("1", ""), run("3", "beta=3 p_drop=0"), run("1", "")]
    found = ablations(runs, "beta")
    assert found == {"default": {"beta 1": [runs[1], runs[3]], "beta 2": [runs[0]]}}


def test_final_tables_of_tasks_are_means_of_five_evaluations_at_both_ends() -> None:
    """Episodes 1 and N alone; what was unknown in one of the evaluations is unknown."""
    rows = [
        {"timesteps": at, "split": "test", "task": task, "episode": episode,
         "return": at * episode + len(task), "reached": np.nan if at == 4 and task == "b" else at}
        for at in range(1, 8) for task in ("a", "b") for episode in (1, 2, 3)
    ]  # fmt: skip
    found = task_table(pd.DataFrame(rows)).set_index(["task", "episode"])
    assert sorted(found.index) == [("a", 1), ("a", 3), ("b", 1), ("b", 3)]
    for task, episode in found.index:
        assert found["return"][task, episode] == 5 * episode + 1  # of evaluations 3 to 7
    assert found["reached"]["a", 3] == 5 and found["reached"]["b"].isna().all()


def test_curves_have_the_first_and_the_last_episode_of_each_evaluation() -> None:
    rows = [
        {"timesteps": at, "split": split, "task": task, "episode": episode,
         "return": 10.0 * at + episode + len(task), "reached": float(task == "bb")}
        for at in (1, 2) for split in ("train", "test") for task in ("a", "bb")
        for episode in (1, 2, 3)
    ]  # fmt: skip
    found = curve_table(pd.DataFrame(rows)).to_dict("records")
    assert found == [
        {"timesteps": at, "split": split, "episode": episode, "tasks": 2,
         "return": 10.0 * at + episode + 1.5, "reached": 1.0}
        for at in (1, 2) for split in ("train", "test") for episode in (1, 3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "steps", [([100, 200], [100, 200, 300]), ([100, 200], [150, 250]), ([100], [400])]
)
def test_other_evaluations_stay_where_they_are(steps: tuple[list[int], list[int]]) -> None:
    runs = [run_of(own, [1.0] * len(own)) for own in steps]
    curve = group_curve(runs, "train", 1)
    assert curve is not None and curve.steps.tolist() == sorted(set(steps[0]) | set(steps[1]))


def test_beliefs_of_such_runs_are_averaged_at_the_same_evaluation(tmp_path: Path) -> None:
    steps = {"a": [105, 210, 300], "b": [98, 214, 340]}
    rows = [
        {"run": run, "timesteps": step, "split": "train", "quantity": "reward_error", "value": v}
        for run, own in steps.items()
        for step, v in zip(own, [1.0, 2.0, 3.0] if run == "a" else [2.0, 4.0, 8.0], strict=True)
    ]
    table = pd.DataFrame(rows[::-1])  # in no order
    runs = [Run({"run": name, "method": "ldm"}, table[:0]) for name in steps]
    plot_belief_curves({"ldm": runs}, table, tmp_path / "errors.png", "errors")
    found = [(r["timesteps"], r["runs"], r["mean"]) for r in read_csv(tmp_path / "errors.csv")]
    assert found == [("105", "2", "1.5"), ("214", "2", "3"), ("340", "2", "5.5")]


def stored(path: Path, evaluated: int | None, **settings: Any) -> RunFolder:
    """A run of 1,000 steps that has been evaluated once, or not yet."""
    settings = {"total_timesteps": 1000, "n_episodes": 1, **settings}
    config = resolve("LDM-GridNavi-v0", "rl2", **settings)
    write_json(path / "config.json", {"format": "ldm-run-1", "config": config.to_dict()})
    if evaluated is not None:
        row = {"timesteps": evaluated, "split": "train", "task": "2 0", "episode": 1}
        write_csv(path / "evaluations.csv", [{**row, "return": 1.0, "reached": 0}])
    return RunFolder.open(path)


def test_belief_errors_are_means_over_tasks_with_and_without_dropout(tmp_path: Path) -> None:
    folder = stored(tmp_path / "run", 500)
    distances = {
        ("train", 0): [0, 0, 6],
        ("train", 1): [1, 2, 6],
        ("test", 0): [5],
        ("test", 1): [7],
    }
    row = {"timesteps": 500, "x": 0, "y": 0, "rewards": ""}
    rows = [
        {**row, "split": split, "task": f"{task} 0", "dropout": dropout, "distance": distance}
        for (split, dropout), own in distances.items()
        for task, distance in enumerate(own)
    ]
    write_csv(folder.decoded_goals, rows)
    logged = {"eval/train_reward_error": 0.25, "eval/train_reward_error_with_dropout": 0.5}
    write_csv(folder.metrics, [{"timesteps": 500, **logged}])
    found = {(r["split"], r["quantity"]): float(r["value"]) for r in belief_rows("run", folder)}
    assert found == {
        ("train", "goal_distance"): 2.0,
        ("train", "goal_distance_with_dropout"): 3.0,
        ("test", "goal_distance"): 5.0,
        ("test", "goal_distance_with_dropout"): 7.0,
        ("train", "reward_error"): 0.25,
        ("train", "reward_error_with_dropout"): 0.5,
    }


def test_decoded_goals_are_shown_at_six_moments_from_the_first_to_the_last(tmp_path: Path) -> None:
    """Of the held-out split; the rewards at all places are those of its first task."""
    folder = stored(tmp_path / "run", 1100)
    rows = [
        {"timesteps": at, "split": split, "task": task, "dropout": 0, "x": 0, "y": 0,
         "distance": 1, "rewards": f"{at} {split} {task}"}
        for at in range(100, 1200, 100) for split in ("train", "test") for task in ("2 0", "0 2")
    ]  # fmt: skip
    write_csv(folder.decoded_goals, rows)
    found = [
        (int(r["timesteps"]), r["task"], r["rewards"]) for r in decoded_goal_rows([("run", folder)])
    ]
    assert found == [
        (at, task, f"{at} test 2 0" if task == "2 0" else "")
        for at in (100, 300, 500, 700, 900, 1100)
        for task in ("2 0", "0 2")
    ]


def test_runs_that_are_not_finished_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = {"whole": 1000, "half": 500, "new": None}
    runs = [
        (name, stored(tmp_path / name, end, seed=seed))
        for seed, (name, end) in enumerate(ends.items())
    ]
    write_tables(tmp_path, collect(runs))
    half, new = capsys.readouterr().err.splitlines()
    assert "half has only been evaluated up to step 500 of 1,000" in half
    assert "new is left out, not evaluated yet" in new
    assert [run.name for run in read_runs(tmp_path)] == ["whole", "half"]


def test_seeds_that_were_evaluated_on_other_tasks_are_refused(tmp_path: Path) -> None:
    """Of two tasks and of three, "reached" would be the number of the first minus those missed."""
    out, row = tmp_path / "out", {"timesteps": 1000, "episode": 1, "return": 1.0, "reached": 1}
    runs = [stored(tmp_path / f"seed{seed}", 1000, seed=seed) for seed in range(3)]
    for folder, tasks in zip(
        runs, (["2 0", "2 1"], ["2 0", "2 1", "2 2"], ["2 1", "2 0"]), strict=True
    ):
        rows = [{**row, "split": "test", "task": task} for task in tasks]
        write_csv(folder.evaluations, rows)
    says = "only seed1 was evaluated on task '2 2' of split 'test'"
    with pytest.raises(ValueError, match=says):
        collect([(run.path.name, run) for run in runs[:2]])
    collect_runs([runs[0].path], out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ValueError, match=says):
        add_runs([runs[1].path], out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    add_runs([runs[2].path], out)  # in another order
    assert [run.name for run in read_runs(out)] == ["seed0", "seed2"]


def test_what_shows_one_run_shows_the_same_one_however_it_was_collected(tmp_path: Path) -> None:
    """Runs that were added had rows of their own: two panels of one method, of two seeds."""
    runs = [stored(tmp_path / f"seed{seed}", 1000, seed=seed) for seed in (2, 0, 1)]
    runs.append(stored(tmp_path / "other", 1000, seed=3, gamma=0.5))
    for folder in runs:
        row = {"timesteps": 1000, "split": "train", "task": "2 0", "dropout": 0}
        values = {"x": folder.config.seed, "y": 0, "distance": 1, "rewards": "0 1"}
        write_csv(folder.decoded_goals, [{**row, **values}])
    paths = [run.path for run in runs]
    collect_runs(paths, tmp_path / "together")
    expected = read_csv(tmp_path / "together" / "decoded_goals.csv")
    assert [row["run"] for row in expected] == ["seed0"]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [1, 2, 3, 0]):
        out = tmp_path / str(order)
        for k in order:
            add_runs([paths[k]], out)
        assert read_csv(out / "decoded_goals.csv") == expected

    tracks = [
        {"run": run, "env_id": "A", "group": group, "x": x}
        for run, group in (("seed2", "rl2"), ("other", "rl2 gamma=0.5"), ("seed1", "rl2"))
        for x in ("0", "1")
    ]
    table = [{"run": "seed2", "seed": "2"}, {"run": "seed1", "seed": "1"}]
    table.append({"run": "other", "seed": "3", "overrides": "gamma=0.5"})
    assert shown_once("paths", tracks, table) == tracks[2:]
    assert shown_once("curves", tracks, table) == tracks


def test_runs_of_a_preset_come_before_ablations_in_an_added_collection_too(tmp_path: Path) -> None:
    """A smaller budget, which is no ablation, was taken for one: the lower seed was shown."""
    paths = []
    for name, settings in (("ablation", {"gamma": 0.5, "seed": 0}), ("shorter", {"seed": 1})):
        folder = stored(tmp_path / name, 1000, n_episodes=4, **settings)
        row = {"timesteps": 1000, "split": "train", "task": "2 0", "dropout": 0}
        write_csv(folder.decoded_goals, [{**row, "x": 0, "y": 0, "distance": 1, "rewards": "0"}])
        paths.append(folder.path)
    collect_runs(paths, tmp_path / "together")
    for order in (paths, paths[::-1]):
        out = tmp_path / f"{order[0].name}-first"
        for path in order:
            add_runs([path], out)
        for folder in (tmp_path / "together", out):
            assert {r["run"] for r in read_csv(folder / "decoded_goals.csv")} == {"shorter"}


def test_only_runs_that_are_shown_are_played(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """--add played a higher seed for minutes, then dropped its rows; or refused to add it."""
    played: list[str] = []

    def tracks(name: str, folder: RunFolder) -> list[dict[str, Any]]:
        played.append(name)
        return [{"run": name, "env_id": folder.config.env_id, "group": "rl2", "x": "0"}]

    monkeypatch.setattr(paper_paths, "_tracks", tracks)
    monkeypatch.setattr(paper_paths, "_moves", lambda _: True)
    folders = [stored(tmp_path / f"seed{seed}", 1000, seed=seed) for seed in range(4)]
    folders.append(stored(tmp_path / "copy", 1000, seed=0))
    for folder in folders[1:]:
        folder.artifact("policy").touch()
    paths, out = [folder.path for folder in folders], tmp_path / "out"
    add_runs(paths[2:3], out)
    add_runs(paths[3:4], out)
    assert played == ["seed2"]
    add_runs(paths[:1], out)  # which has no policy
    with pytest.raises(ValueError, match="seed0 and copy have the same settings"):
        add_runs(paths[4:], out)
    assert played == ["seed2"]
    add_runs(paths[1:2], out)
    assert played == ["seed2", "seed1"]
    assert [row["run"] for row in read_csv(out / "paths.csv")] == ["seed1"]


def test_a_run_that_is_left_out_keeps_the_rows_that_it_had(tmp_path: Path) -> None:
    """Begun again and not evaluated yet, it was "left out", and so were its former rows."""
    folders, out = [stored(tmp_path / f"seed{k}", 1000, seed=k) for k in (0, 1)], tmp_path / "out"
    collect_runs([folders[0].path], out)
    before = read_csv(out / "curves.csv")
    folders[0].evaluations.unlink()
    add_runs([folder.path for folder in folders], out)
    assert [run.name for run in read_runs(out)] == ["seed0", "seed1"]
    assert read_csv(out / "curves.csv")[: len(before)] == before


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        *[("cut", "runs"), ("cut", "curves"), ("cut", "tasks")],
        *[("missing", "curves"), ("missing", "tasks")],
    ],
)
def test_runs_are_not_added_to_tables_that_lack_something(
    damage: str, name: str, tmp_path: Path
) -> None:
    """A row that was cut was filled up with nothing, and a missing table begun without the runs."""
    paths = [stored(tmp_path / f"seed{seed}", 1000, seed=seed).path for seed in (0, 1)]
    out = tmp_path / "out"
    collect_runs(paths[:1], out)
    file = out / f"{name}.csv"
    if damage == "cut":
        file.write_text(file.read_text().rstrip().rpartition(",")[0])
    else:
        file.unlink()
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ValueError, match=rf"{name}\.csv"):
        add_runs(paths[1:], out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_evaluations_with_adaptation_are_not_averaged_with_those_before() -> None:
    run = run_of([10, 20, 30, 40, 50], [0.0, 0.0, 0.0, 0.0, 10.0])
    assert group_curve([run], "train", 1).mean.tolist()[-1] == 2.0  # type: ignore[union-attr]
    adapted = Run({**run.row, "adapted_from": "50"}, run.table)
    assert group_curve([adapted], "train", 1).mean.tolist() == [0.0] * 4 + [10.0]  # type: ignore[union-attr]


def test_a_split_of_an_environment_that_reports_no_success_has_no_reached_tasks(
    tmp_path: Path,
) -> None:
    """Of eval_env_id, beside splits that do: unknown is not 0."""
    folder = stored(tmp_path / "run", 1000)
    (row,) = read_csv(folder.evaluations)
    other = {**row, "split": "test", "reached": ""}
    write_csv(folder.evaluations, [{**row, "reached": 1}, {**row, "task": "0 2"}, other])
    write_tables(tmp_path, collect([("run", folder)]))
    rows = aggregate.summary_rows(read_runs(tmp_path))
    assert {row["split"]: row["reached_mean"] for row in rows} == {"train": "1", "test": ""}


def test_numbers_in_tables_have_six_digits() -> None:
    found = [format_number(value) for value in (1234567.0, -0.1234567, 2.0, float("nan"))]
    assert found == ["1.23457e+06", "-0.123457", "2", ""]


def test_runs_without_evaluations_of_a_split_have_no_curve() -> None:
    run = run_of([10, 20], [1.0, 2.0])
    assert group_curve([run], "test", 1) is None
    empty = Run({}, run.table.assign(reached=float("nan")))
    assert group_curve([empty, run], "train", 1, missed=True).runs.tolist() == [1, 1]  # type: ignore[union-attr]


def test_a_group_is_shown_where_all_of_its_runs_were_evaluated() -> None:
    """Between the evaluations of one seed a curve would jump to the other's level."""
    seldom = run_of([250, 500, 750], [5.0] * 3)
    often = run_of(list(range(125, 1001, 125)), [1.0] * 8)
    curve = group_curve([seldom, often], "train", 1)
    assert curve is not None
    rows = list(zip(curve.steps, curve.runs, curve.mean, strict=True))
    assert rows == [(250, 2, 3), (500, 2, 3), (750, 2, 3), (875, 1, 1), (1000, 1, 1)]


def test_seeds_that_were_evaluated_at_different_steps_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--eval-interval makes no group of its own: half of the evaluations of one were left out."""
    paths = []
    for seed, every in enumerate((125, 250)):
        folder = stored(tmp_path / f"seed{seed}", 1000, seed=seed, eval_interval=every)
        rows = read_csv(folder.evaluations)
        write_csv(
            folder.evaluations,
            [{**row, "timesteps": at} for at in range(every, 1001, every) for row in rows],
        )
        paths.append(folder.path)
    out = tmp_path / "out"
    for added, expected in ((paths[:1], 0), (paths[1:], 1)):
        add_runs(added, out)
        plot_results_folder(out, out)
        said = capsys.readouterr().err.splitlines()
        told = [line for line in said if "were evaluated at different steps" in line]
        assert len(told) == expected
    assert "(usual distance: seed0 125, seed1 250): curves leave out 4 of 8 steps" in told[0]
    runs = [run_of([100, 200, 300], [1.0] * 3), run_of([150, 250], [1.0] * 2)]
    runs = [
        Run({"env_id": "A", **named(k), "n_episodes": "1"}, r.table) for k, r in enumerate(runs)
    ]
    assert "means of different runs at different steps" in evaluated_differently(runs)
    for steps in ([104, 203, 320], [90, 210]):  # early ends; a run that was stopped
        other = Run(runs[1].row, run_of(steps, [1.0] * len(steps)).table)
        assert evaluated_differently([runs[0], other]) == ""


def named(seed: int) -> dict[str, str]:
    """What a row of runs.csv says of a run and of its group."""
    return {"run": f"{seed}", "method": "rl2", "preset": "default", "overrides": ""}


def test_a_last_evaluation_soon_after_another_does_not_part_the_seeds() -> None:
    steps = [40_000, 80_300, 120_100, 120_900], [40_800, 80_000, 120_600, 121_000]
    curve = group_curve([run_of(own, [1.0] * 4) for own in steps], "train", 1)
    assert curve is not None and curve.runs.tolist() == [2] * 4


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_goals_are_shown_of_the_presets_run_not_of_an_ablations(
    order: tuple[int, int], tmp_path: Path
) -> None:
    folders = []
    for name, changes in (("beta", {"mixture.beta": 1.0, "seed": 0}), ("plain", {"seed": 1})):
        config = resolve("LDM-AntGoal-v0", "ldm", **changes)
        path = tmp_path / name
        write_json(path / "config.json", {"format": "ldm-run-1", "config": config.to_dict()})
        row = {"timesteps": 1, "split": "test", "task": "2 0", "dropout": 0, "rewards": ""}
        write_csv(path / "decoded_goals.csv", [{**row, "x": 0, "y": 0, "distance": 1}])
        folders.append((name, RunFolder.open(path)))
    rows = decoded_goal_rows([folders[index] for index in order])
    assert {row["run"] for row in rows} == {"plain"}


def test_an_evaluation_that_was_cut_off_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run was killed while its rows were written: means are not over fewer tasks."""
    folder = stored(tmp_path / "killed", 500)
    rows = [
        {"timesteps": step, "split": "train", "task": f"{task} 0", "episode": 1}
        | {"return": float(task), "reached": 0}
        for step, n_tasks in [(500, 5), (1000, 3)]
        for task in range(n_tasks)
    ]
    write_csv(folder.evaluations, rows)
    assert evaluations(folder)["timesteps"].unique().tolist() == [500]
    assert "at step 1,000 is left out, since it has 3 of 5 rows" in capsys.readouterr().err
    assert len(evaluations(folder, running=True)) == 5
    assert not capsys.readouterr().err


@pytest.mark.parametrize("n_rows", [4, 5, 9, 11, 13])
def test_the_first_evaluation_that_was_cut_off_is_left_out(
    n_rows: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With no other to compare it with, means were over fewer tasks, without notice."""
    folder = stored(tmp_path / "killed", 500)
    rows = [
        {"timesteps": 500, "split": split, "task": f"{task} 0", "episode": episode}
        | {"return": float(task), "reached": 0}
        for split in ("train", "test")
        for task in (0, 1, 1)  # their texts may be equal
        for episode in (1, 2, 3)
    ]
    write_csv(folder.evaluations, rows[:n_rows])
    whole = n_rows % 3 == 0
    assert len(evaluations(folder)) == n_rows * whole
    found = f"at step 500 is left out, since it has {n_rows} of"
    assert (found in capsys.readouterr().err) == (not whole)


@pytest.mark.parametrize("rows", [(5, 4, 5), (5, 10, 5), (5, 5, 6), (5, 0, 5)])
def test_evaluations_with_other_numbers_of_rows_are_refused(
    rows: tuple[int, ...], tmp_path: Path
) -> None:
    """Of 5 tasks, "reached" was 5 minus those missed of 4; twice the rows were twice the tasks."""
    folder = stored(tmp_path / "run", 1000)
    row = {"task": "2 0", "episode": 1, "return": 1.0, "reached": 1}
    table = [
        {"timesteps": at, "split": split, **row}
        for at, n in zip((300, 600, 900), rows, strict=True)
        for split, own in (("train", 5), ("test", n))
        for _ in range(own)
    ]
    write_csv(folder.evaluations, table)
    odd = next(n for n in rows if n != 5)
    says = rf"it has {odd} rows of split test, episode 1 at step [69]00, but 5 at step 300"
    with pytest.raises(StateFileError, match=says):
        evaluations(folder)
    goals = [{**row, "dropout": 0, "distance": 1.0} for row in table]
    write_csv(folder.decoded_goals, goals)
    folder.evaluations.unlink()
    says = rf"it has {odd} rows of split test, dropout 0 at step [69]00, but 5 at step 300"
    with pytest.raises(StateFileError, match=says):
        belief_rows("run", folder)


def test_an_error_of_an_evaluation_that_is_left_out_is_not_of_the_one_before(
    tmp_path: Path,
) -> None:
    """Two values were of one step, and drawing them ended in an error that named no file."""
    folder = stored(tmp_path / "run", 500)
    rows = read_csv(folder.evaluations)
    write_csv(folder.evaluations, rows * 5 + [{**row, "timesteps": 1000} for row in rows])
    errors = {500: 0.25, 1000: 0.125}
    write_csv(
        folder.metrics,
        [{"timesteps": at, "eval/train_reward_error": value} for at, value in errors.items()],
    )
    assert [(row["timesteps"], row["value"]) for row in belief_rows("run", folder)] == [
        (500, "0.25")
    ]


def test_a_curve_that_lacks_one_splits_evaluation_is_refused(tmp_path: Path) -> None:
    """Final scores of that split were of other evaluations than those of the others."""
    write_tables(tmp_path, collect([("run", stored(tmp_path / "run", 1000))]))
    (row,) = read_csv(tmp_path / "curves.csv")
    steps = [("train", 500), ("train", 1000), ("test", 500)]
    rows = [{**row, "split": split, "timesteps": at} for split, at in steps]
    write_csv(tmp_path / "curves.csv", rows)
    said = r"curves\.csv is damaged: it has 0 rows of run run, split test, episode 1 at step 1000"
    with pytest.raises(StateFileError, match=said):
        read_runs(tmp_path)


@pytest.mark.parametrize("name", ["runs", *results_folder._COLUMNS])
def test_figures_are_not_drawn_from_a_row_that_was_cut(name: str, tmp_path: Path) -> None:
    """Without the column adapted_from, final scores were of evaluations without adaptation."""
    file = tmp_path / f"{name}.csv"
    if name == "runs":
        write_tables(tmp_path, collect([("run", stored(tmp_path / "run", 1000))]))
    else:
        write_csv(file, [dict.fromkeys(results_folder._COLUMNS[name].split(), "0")])
    file.write_text(file.read_text().rstrip().rpartition(",")[0] + "\n")
    with pytest.raises(StateFileError, match=rf"{name}\.csv.* different numbers of columns"):
        read_runs(tmp_path) if name == "runs" else results_folder._parts(file, "run")


@pytest.mark.parametrize("name", ["runs", "curves", "tasks", "beliefs"])
def test_two_rows_of_the_same_thing_are_refused(name: str, tmp_path: Path) -> None:
    """A run counted as two seeds, an evaluation twice in a mean; or an error named no file."""
    write_tables(tmp_path, collect([("run", stored(tmp_path / "run", 1000))]))
    row = {"run": "run", "timesteps": 1000, "split": "train", "quantity": "reward_error"}
    write_csv(tmp_path / "beliefs.csv", [{**row, "value": 1.0}])
    rows = read_csv(tmp_path / f"{name}.csv")
    other = {"runs": {"seed": "7"}, "beliefs": {"value": "2"}}.get(name, {"return": "5"})
    write_csv(tmp_path / f"{name}.csv", [*rows, {**rows[0], **other}])
    with pytest.raises(StateFileError, match=rf"{name}\.csv.* two rows of"):
        plot_results_folder(tmp_path, tmp_path / "out")


TAILS = [b"1000,train,4 0,1,-1", b"1000,tr\xff\x00\xfe", b"\x00" * 5000]


@pytest.mark.parametrize("tail", TAILS)
def test_a_last_line_that_is_not_whole_is_left_out(tail: bytes, tmp_path: Path) -> None:
    """A number that was cut is another number; zeros and other bytes were an error."""
    folder, logged = stored(tmp_path / "run", 1000, n_episodes=4), {"timesteps": 500}
    evaluated = [
        {"timesteps": step, "split": "train", "task": f"{task} 0", "episode": 1}
        | {"return": 1.0, "reached": 0}
        for step in (500, 1000)
        for task in range(5)
    ]
    goals = [
        {"timesteps": row["timesteps"], "split": "train", "task": row["task"], "dropout": 0}
        | {"x": 0, "y": 0, "distance": 2.0, "rewards": ""}
        for row in evaluated
    ]
    write_csv(folder.metrics, [{**logged, "eval/train_reward_error": 0.25, "last": 1}])
    write_csv(folder.evaluations, evaluated[:9])
    write_csv(folder.decoded_goals, goals[:9])
    for file in (folder.metrics, folder.evaluations, folder.decoded_goals):
        file.write_bytes(file.read_bytes() + tail)
    assert evaluations(folder)["timesteps"].unique().tolist() == [500]
    rows = {row["quantity"]: row for row in belief_rows("run", folder)}
    assert [(r["timesteps"], r["value"]) for r in rows.values()] == [(500, "0.25"), (500, "2")]
    assert {row["timesteps"] for row in decoded_goal_rows([("run", folder)])} == {"500"}
    assert len(read_curves(folder)["train"].steps) == 1 and len(read_rollouts(folder, 4)[0]) == 0
    cut = cut_run(folder, 500, tmp_path / "cut")
    assert len(read_csv(cut.evaluations)) == len(read_csv(cut.decoded_goals)) == 5
    assert len(read_csv(cut.metrics)) == 1


@pytest.mark.parametrize("value", ["nan", "inf", ""])
def test_a_return_that_is_not_finite_is_refused_before_anything_is_written(
    value: str, tmp_path: Path
) -> None:
    """Tables were written that could not be read again, over those of an earlier collection."""
    folder, out = stored(tmp_path / "run", 1000), tmp_path / "out"
    (row,) = read_csv(folder.evaluations)
    write_csv(folder.evaluations, [{**row, "return": value}])
    with pytest.raises(StateFileError, match=r"evaluations\.csv is damaged"):
        collect_runs([folder.path], out)
    assert not out.exists()


@pytest.mark.parametrize("damage", [b"\xff", b"\x00", b","])
def test_damage_before_the_last_line_is_not_cut_off(damage: bytes, tmp_path: Path) -> None:
    """The rows after it would be missing in the tables without a word."""
    folder = stored(tmp_path / "run", 1000)
    lines = folder.evaluations.read_bytes().splitlines(keepends=True)
    folder.evaluations.write_bytes(b"".join([lines[0], damage + lines[1], lines[1]]))
    with pytest.raises(StateFileError, match=r"evaluations\.csv is"):
        evaluations(folder)


@pytest.mark.parametrize("tasks", [range(1_000_000, 1_000_010), (0.1234561, 0.1234562, 3.0)])
def test_tasks_that_six_digits_do_not_tell_apart_stay_apart(tasks: Any) -> None:
    """Seeds from a million on were one task of tables, with one return."""
    column = np.array(tasks, np.float32)[:, None]
    returns = np.arange(len(column), dtype=float)[:, None]
    rows = evaluation_rows(5, [SplitResult("test", column, returns, None)])
    table = pd.DataFrame(rows).assign(reached=np.nan)
    table["return"] = table["return"].astype(float)
    final = task_table(table, 0)
    assert sorted(final["return"]) == returns[:, 0].tolist()
    found = {float(task): value for task, value in zip(final["task"], final["return"], strict=True)}
    for task, value in zip(column[:, 0], returns[:, 0], strict=True):
        assert found[min(found, key=lambda one: abs(one - float(task)))] == value


def test_few_digits_are_enough_for_most_tasks() -> None:
    tasks = np.array([[0.1, 2.0], [1 / 3, 123456.0]], np.float32)
    assert task_texts(tasks) == ["0.1 2", "0.333333 123456"]
    assert task_texts(np.array([[5.0], [5.0]])) == ["5", "5"]
    rng = np.random.default_rng(0)
    for _ in range(50):
        drawn = (rng.normal(size=(40, 2)) * 10.0 ** rng.integers(-6, 9)).astype(np.float32)
        texts = task_texts(drawn)
        assert len(set(texts)) == len(np.unique(drawn, axis=0))
        read = np.array([[float(v) for v in text.split()] for text in texts])
        np.testing.assert_allclose(read, drawn, rtol=1e-5)


def test_runs_may_be_called_by_numbers(tmp_path: Path) -> None:
    """Their belief errors were left out of the figures."""
    runs = [(name, stored(tmp_path / name, 1000, seed=int(name))) for name in ("0", "007")]
    write_tables(tmp_path, collect(runs))
    rows = [
        {"run": run, "timesteps": 1000, "split": "train", "quantity": "reward_error", "value": 1.0}
        for run in ("0", "007")
    ]
    write_csv(tmp_path / "beliefs.csv", rows)
    plot_results_folder(tmp_path, tmp_path / "out")
    (row,) = read_csv(tmp_path / "out" / "reward_error.csv")
    assert row["runs"] == "2"


def test_a_copy_is_no_further_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Intervals over three runs, two of them copies of the first, had a width of zero."""
    for name, settings in {"a": {}, "b": {}, "c": {"seed": 1}, "d": {"gamma": 0.5}}.items():
        stored(tmp_path / name, 1000, **settings)
    a, b, c, d = (tmp_path / name for name in "abcd")
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="a and b have the same settings and seed 0"):
        collect_runs([a, b], out)
    assert not out.exists()
    collect_runs([a, c, d], out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ValueError, match="a and b have the same settings and seed 0"):
        add_runs([b], out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    add_runs([a], out)
    for paths in ([a, b], [a, a]):
        with pytest.raises(SystemExit):
            evaluate.main([str(path) for path in paths])
        assert "have the same settings and seed 0" in capsys.readouterr().err


def test_seeds_of_different_commits_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(name: str, commit: str | None, **settings: Any) -> Path:
        stored(tmp_path / name, 1000, **settings)
        config = tmp_path / name / "config.json"
        values = json.loads(config.read_text())
        write_json(config, values if commit is None else {**values, "commit": commit})
        return tmp_path / name

    one, other = "a" * 40, "b" * 40 + "+changes"
    a, b = trained("a", one), trained("b", other, seed=1)
    others = [trained("c", one, seed=2), trained("d", None, seed=3), trained("e", other, gamma=0.5)]
    collect_runs([a, *others], tmp_path / "out")
    assert "commit" not in capsys.readouterr().err
    add_runs([b], tmp_path / "out")
    says = "different commits (a with aaaaaaaaa, b with bbbbbbbbb+changes)"
    assert capsys.readouterr().err.count(says) == 1
    collect_runs([a, b], tmp_path / "both")
    assert capsys.readouterr().err.count(says) == 1
    group_runs([RunFolder.open(path) for path in (a, b, *others)])
    assert capsys.readouterr().err.count(says) == 1


def test_a_collection_that_fails_leaves_the_one_before_it(tmp_path: Path) -> None:
    """Tables of runs, curves and tasks were the new ones then, beside the old ones of beliefs."""
    out, paths = tmp_path / "out", [tmp_path / "a", tmp_path / "b"]
    for seed, path in enumerate(paths):
        stored(path, 1000, seed=seed)
    collect_runs(paths[:1], out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    (paths[1] / "metrics.csv").write_bytes(b"timesteps\n\xff\n1\n")
    with pytest.raises(StateFileError, match=r"metrics\.csv is not a CSV file"):
        collect_runs(paths, out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(
    ("file", "column"), [("curves", "split"), ("curves", "reached"), ("runs", "n_episodes")]
)
def test_a_missing_column_is_named(file: str, column: str, tmp_path: Path) -> None:
    write_tables(tmp_path, collect([("run", stored(tmp_path / "run", 1000))]))
    path = tmp_path / f"{file}.csv"
    pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=column).to_csv(path)
    with pytest.raises(StateFileError, match=rf"{file}.csv has no column {column}, found"):
        read_runs(tmp_path)


def test_evaluations_are_of_one_moment_within_half_of_the_usual_distance() -> None:
    """Of the runs' distances the smallest one; a moment's step is the latest of its own."""

    def steps(*curves: list[int]) -> list[list[int]]:
        series = [pd.Series(0.0, curve) for curve in curves]
        return [one.index.tolist() for one in at_common_steps(series)]

    assert steps([100, 200, 300], [140, 240, 330]) == [[140, 240, 330], [140, 240, 330]]
    assert steps([100, 200, 300], [160, 270]) == [[100, 200, 300], [200, 300]]
    assert steps([100, 200, 300], [60, 1060]) == [[100, 200, 300], [100, 1060]]
    assert steps([100, 200, 300], [170, 1170]) == [[100, 200, 300], [200, 1170]]
    assert steps([100, 200, 300], [150, 1150]) == [[100, 200, 300], [150, 1150]]


def test_the_spread_of_an_evaluation_is_that_of_its_tasks() -> None:
    """Of all of them, not an estimate from a sample; for one task it is 0."""
    returns = np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0]])
    for rows, expected in ((returns, [26 / 3, 0.0]), (returns[:1], [0.0, 0.0])):
        found = summary_rows([SplitResult("train", None, rows, None)])
        assert [float(row["std_return"]) ** 2 for row in found] == pytest.approx(expected)
        assert [row["tasks"] for row in found] == [len(rows)] * 2
