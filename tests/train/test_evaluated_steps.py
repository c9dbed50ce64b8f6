"""Every evaluation counts, at its own step, and what a run's last ones are."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.logger import Logger
from tiny_runs import main, train_tiny

from ldm_wrappers import vector
from ldm_wrappers.state_file import StateFileError
from train import evaluate
from train.analysis.aggregate import common_source, final_scores, read_runs
from train.analysis.beliefs import belief_rows
from train.analysis.collect import collect
from train.analysis.cut import cut_run
from train.analysis.tables import write_csv, write_tables
from train.common import training
from train.common.env_source import EnvSource
from train.common.envs import base_env
from train.common.hooks import PeriodicEvaluation
from train.config.presets import resolve
from train.persistence.files import read_csv, write_json
from train.persistence.run_folder import RunFolder
from train.plots import results_folder
from train.plots.paper_curves import _mean_optimal_return


def steps(path: Path) -> list[int]:
    return sorted({int(row["timesteps"]) for row in read_csv(path)})


@pytest.mark.parametrize("iteration", [20, 60, 90, 250])
def test_evaluations_are_at_the_first_iteration_from_each_multiple_of_their_interval(
    iteration: int,
) -> None:
    """And at the end; they do not drift by the steps that iterations are too long."""
    interval, total = 100, 530
    config = SimpleNamespace(eval_interval=interval, total_timesteps=total)
    learner: Any = SimpleNamespace(config=config, latent_dynamics=None, actor=lambda: None)
    found: list[int] = []
    evaluator: Any = SimpleNamespace(
        evaluate=lambda actor: found.append(learner.num_timesteps) or []
    )
    file: Any = SimpleNamespace(append=lambda rows: None)
    learner.num_timesteps = 0
    evaluation = PeriodicEvaluation(learner, evaluator, Logger(None, []), file, file)
    ends = range(iteration, total + iteration, iteration)
    for at in ends:
        learner.num_timesteps = at
        evaluation(at // iteration)
    due = [*range(interval, total, interval), total]
    assert found == sorted({min(end for end in ends if end >= at) for at in due})


def test_reward_errors_have_the_steps_of_their_evaluations(tmp_path: Path) -> None:
    run = train_tiny(tmp_path / "run", "ldm", "--log-interval", "50", "--eval-interval", "480")
    evaluated = steps(run / "evaluations.csv")
    assert evaluated == [480, 960] == steps(run / "metrics.csv")
    rows = belief_rows("run", RunFolder.open(run))
    for quantity in ("reward_error", "goal_distance"):
        found = {row["timesteps"] for row in rows if row["quantity"] == quantity}
        assert found == set(evaluated)


def test_reward_errors_that_were_logged_later_are_dated_back(tmp_path: Path) -> None:
    config = resolve("LDM-GridNavi-v0", "ldm", total_timesteps=1000)
    write_json(tmp_path / "config.json", {"format": "ldm-run-1", "config": config.to_dict()})
    row = {"split": "train", "task": "2 0", "episode": 1, "return": 1.0, "reached": 0}
    write_csv(tmp_path / "evaluations.csv", [{"timesteps": at, **row} for at in (500, 1000)])
    logged = [{"timesteps": 560, "eval/train_reward_error": 0.25}]
    write_csv(tmp_path / "metrics.csv", logged)
    rows = belief_rows("run", RunFolder.open(tmp_path))
    assert [(row["timesteps"], row["value"]) for row in rows] == [(500, "0.25")]


class Stopped:
    """A request to stop that has come already."""

    signal = "SIGTERM"
    listen = staticmethod(contextlib.nullcontext)


def test_a_run_that_is_ended_early_is_evaluated_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(training, "StopRequest", Stopped)
        with pytest.raises(SystemExit):
            train_tiny(tmp_path / "run", "rl2", "--eval-interval", "100000")
    run = tmp_path / "run"
    assert RunFolder.open(run).config.total_timesteps == 960
    assert not (run / "evaluations.csv").exists()
    for _ in range(2):  # as the message says that refuses fewer steps
        assert main(["--resume", str(run), "--total-timesteps", "480"]) == 0
        assert steps(run / "evaluations.csv") == [480]
        assert [row["timesteps"] for row in read_csv(run / "metrics.csv")] == ["480"]
        assert read_csv(run / "metrics.csv")[0].items() >= {"iteration": "1"}.items()
        assert {"eval/train_return", "train/loss"} <= set(read_csv(run / "metrics.csv")[0])
        keys = [
            (row["split"], row["task"], row["episode"]) for row in read_csv(run / "evaluations.csv")
        ]
        assert len(keys) == len(set(keys))
        logs = {name: (run / name).read_text() for name in ("metrics.csv", "evaluations.csv")}
        with pytest.raises(SystemExit):  # the checkpoint knows of the evaluation, and it stays
            main(["--resume", str(run), "--total-timesteps", "479"])
        assert {name: (run / name).read_text() for name in logs} == logs
    assert evaluate.main([str(run)]) == 0


def test_what_cannot_be_evaluated_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--method", "rl2", "--run-dir", str(tmp_path / "run"), "--n-workers", "4"]
    other = ["--eval-env-id", "LDM-HalfCheetahVel-v0", "--n-minibatches", "1"]
    with pytest.raises(SystemExit):
        main([*flags, *other])
    assert "has observations of shape" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def stored(path: Path, env_id: str, method: str, returns: dict[int, float], **changes: object):
    """A run folder with one train task, evaluated at some steps."""
    path.mkdir()
    config = resolve(env_id, method, **changes)
    write_json(path / "config.json", {"format": "ldm-run-1", "config": config.to_dict()})
    row = {"split": "train", "task": "1", "episode": config.n_episodes, "reached": ""}
    table = [{**row, "timesteps": at, "return": value} for at, value in returns.items()]
    write_csv(path / "evaluations.csv", table)
    return RunFolder.open(path)


RETURNS = {100: 1.0, 200: 2.0, 300: 3.0, 400: 4.0, 500: 5.0, 600: 60.0}


@pytest.mark.parametrize(
    ("method", "changes", "expected"),
    [
        ("mier", {"adapt_from": 1.0, "relabel_updates": 10}, 60.0),
        ("mier", {"adapt_from": 1.0, "relabel_updates": 0}, 14.8),
        ("mql", {"adapt_from": 0.75}, 32.5),
        ("pearl", {}, 14.8),
        ("rl2", {}, 14.8),
    ],
)
def test_final_scores_are_of_evaluations_that_adapt(
    method: str, changes: dict[str, float], expected: float, tmp_path: Path
) -> None:
    env_id = "LDM-HalfCheetahVel-v0"
    folder = stored(tmp_path / "run", env_id, method, RETURNS, total_timesteps=600, **changes)
    write_tables(tmp_path, collect([("run", folder)]))
    run = read_runs(tmp_path)[0]
    scores = final_scores([run], "train", run.last_episode)
    np.testing.assert_allclose(scores, [expected])
    tasks = [row for row in read_csv(tmp_path / "tasks.csv")]
    assert float(tasks[-1]["return"]) == pytest.approx(expected)
    cut = {"match": "adapt to the tasks only from step"} if run.adapted_from else None
    if cut is None:
        assert cut_run(folder, 400, tmp_path / "cut").config.total_timesteps == 400
    else:
        with pytest.raises(ValueError, **cut):
            cut_run(folder, 400, tmp_path / "cut")


def test_a_run_that_is_cut_ends_with_the_evaluation_after_its_budget(tmp_path: Path) -> None:
    """Where iterations end: a run of 350 steps would have been evaluated at 350 or soon after."""
    folder = stored(tmp_path / "run", "LDM-GridNavi-v0", "rl2", RETURNS, eval_interval=95)
    with pytest.raises(ValueError, match=r"only evaluated at 300 steps; .* such as 285"):
        cut_run(folder, 250, tmp_path / "250")
    short = {at: value for at, value in RETURNS.items() if at < 600} | {550: 6.0}
    settings = {"eval_interval": 100, "total_timesteps": 550}
    ended = stored(tmp_path / "ended", "LDM-GridNavi-v0", "rl2", short, **settings)
    with pytest.raises(ValueError, match=r"only evaluated at 550 steps; .* such as 550"):
        cut_run(ended, 520, tmp_path / "520")  # evaluated there because the run ended
    for until, last in ((300, 300), (385, 400)):
        cut_run(folder, until, tmp_path / str(until))
        assert steps(tmp_path / str(until) / "evaluations.csv") == list(range(100, last + 1, 100))


def test_unadapted_evaluations_count_where_a_run_has_no_others(tmp_path: Path) -> None:
    folder = stored(
        tmp_path / "run", "LDM-AntDir-v0", "mier", RETURNS, total_timesteps=9000, adapt_from=1.0
    )
    write_tables(tmp_path, collect([("run", folder)]))
    run = read_runs(tmp_path)[0]
    assert run.adapted_from == 9000
    np.testing.assert_allclose(final_scores([run], "train", run.last_episode), [14.8])


def test_lines_of_known_tasks_are_of_the_runs_environments(tmp_path: Path) -> None:
    longer = {"max_episode_steps": 60}
    folders = [
        (name, stored(tmp_path / name, "LDM-GridNavi-v0", "rl2", RETURNS, **changes))
        for name, changes in (("usual", {}), ("long", longer))
    ]
    write_tables(tmp_path, collect(folders))
    usual, long = read_runs(tmp_path)
    assert usual.source == EnvSource("LDM-GridNavi-v0")
    assert long.source == EnvSource("LDM-GridNavi-v0", max_episode_steps=60)
    best = [_mean_optimal_return(common_source([run]), "train") for run in (usual, long)]
    assert best[0] is not None and best[1] == pytest.approx(best[0] + 30.0)
    assert common_source([usual, long]) is None and _mean_optimal_return(None, "train") is None


def test_tables_from_a_stranger_import_nothing(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", "LDM-GridNavi-v0", "rl2", RETURNS)
    write_tables(tmp_path, collect([("run", run)]))
    rows = read_csv(tmp_path / "runs.csv")
    write_csv(tmp_path / "runs.csv", [{**row, "env_id": "evil:make"} for row in rows])
    with pytest.raises(StateFileError, match="would import the module 'evil'"):
        read_runs(tmp_path)
    named = {**rows[0], "environment": json.dumps({"env_id": "evil:make", "max_episode_steps": 9})}
    write_csv(tmp_path / "runs.csv", [named])
    assert read_runs(tmp_path)[0].source == EnvSource("LDM-GridNavi-v0", max_episode_steps=9)
    for name, columns in results_folder._COLUMNS.items():
        if "env_id" in columns:
            write_csv(tmp_path / f"{name}.csv", [dict.fromkeys(columns.split(), "evil:make")])
            with pytest.raises(ValueError, match="would import the module 'evil'"):
                results_folder._draw_tables(tmp_path, tmp_path, {})
            (tmp_path / f"{name}.csv").unlink()


@pytest.mark.parametrize(("total", "expected"), [(500, ValueError), (700, None)])
def test_another_total_of_a_run_that_adapts_late(
    total: int, expected: type | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(
        tmp_path / "run", "LDM-AntDir-v0", "mier", RETURNS, total_timesteps=600, adapt_from=1.0
    )
    config = dataclasses.replace(folder.config, total_timesteps=total)
    if expected is not None:
        with pytest.raises(expected, match="adapts to its tasks from step 600 of 600 on"):
            training._check_new_total(config, folder, 400)
    else:
        training._check_new_total(config, folder, 400)
        assert "do not adapt until step 700" in capsys.readouterr().err


def test_a_split_of_the_users_is_refused_where_runs_choose_it() -> None:
    source = EnvSource("LDM-GridNaviExtrapolation-v0", ("split=test1",))
    with pytest.raises(ValueError, match="split='test1', but runs choose"):
        source.make("train")
    config = resolve("LDM-GridNaviExtrapolation-v0", "rl2", env_kwargs=("split=test1",))
    with pytest.raises(ValueError, match="split='test1', but runs choose"):
        base_env(config, 2, "train")


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_the_step_limit_of_a_run_is_that_of_its_batch(vectorization: str) -> None:
    config = resolve("Pendulum-v1", "rl2", max_episode_steps=7, vectorization=vectorization)
    env = vector.MultiEpisodeWrapper(base_env(config, 2, "train"), 3, check_tasks=False)
    assert env.spec is not None and env.spec.max_episode_steps == 21
    env.close()
