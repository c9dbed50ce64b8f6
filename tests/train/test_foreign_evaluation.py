"""Evaluations of environments as strangers write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import main

from train.analysis.aggregate import read_runs, summary_rows
from train.analysis.collect import collect
from train.analysis.tables import write_tables
from train.common import training
from train.common.evaluation import Evaluator, SplitResult, evaluation_rows, summary
from train.config.presets import resolve
from train.persistence.files import CsvFile, write_json
from train.persistence.run_folder import RunFolder
from train.plots import run
from train.plots.curves import read_curves


class Still:
    """An actor and its learner that never move."""

    latent_dynamics = None

    def __init__(self, config: Any) -> None:
        self.config = config

    def evaluation_env(self, env: Any) -> Any:
        self.env = env
        return env

    def act(self, observations: Any, starts: Any) -> Any:
        return np.zeros((len(observations), *self.env.single_action_space.shape), np.float32)

    def begin(self, n: int) -> None: ...

    def observe(self, step: Any) -> None: ...

    def end(self) -> None: ...


def evaluated(env_id: str, **settings: Any) -> dict[str, Any]:
    learner: Any = Still(resolve(env_id, "rl2", n_episodes=3, **settings))
    evaluator = Evaluator(learner)
    try:
        return {result.split: result for result in evaluator.evaluate(learner)}
    finally:
        evaluator.close()


@pytest.mark.parametrize(
    ("method", "eval_env_id", "says"),
    [
        ("rl2", "listed_tasks:reached", "task [9.0, 9.0]: the environments failed at reset"),
        ("known-task", "listed_tasks:spheres", "task [1.0, 1.0, 2.0]: infos must have 'task'"),
    ],
)
def test_tasks_that_cannot_be_evaluated_are_refused_before_the_training(
    method: str,
    eval_env_id: str,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first evaluation failed, after hours."""
    monkeypatch.setattr(training, "pinned_task_notice", lambda config: "")  # tries one at random
    flags = ["--env-fn", "listed_tasks:goals", "--method", method, "--eval-env-id", eval_env_id]
    flags += ["--max-episode-steps", "5", "--total-timesteps", "60", "--n-workers", "3"]
    run = tmp_path / "run"
    with pytest.raises(SystemExit):
        main([*flags, "--n-minibatches", "1", "--device", "cpu", "--run-dir", str(run)])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"error: split 'test' of {eval_env_id} cannot be evaluated with method")
    assert says in said and not run.exists()


def test_success_at_the_last_step_of_an_inner_episode_counts() -> None:
    """The restart tells its own ``is_success``, which must not hide the last step's."""
    found = evaluated("foreign_envs:ends")["train"]
    assert found.returns.tolist() == [[2.0] * 3, [4.0] * 3]
    assert found.reached.tolist() == [[True] * 3, [False] * 3]


def test_success_counts_for_the_inner_episode_that_it_ends() -> None:
    found = evaluated("foreign_envs:fades")["train"]
    assert found.reached.tolist() == [[True, False, False], [False] * 3]


def test_the_summary_is_of_the_last_episode_and_names_the_first() -> None:
    returns, reached = np.array([[1.0, 5.0, 2.0], [3.0, 0.0, 6.0]]), np.ones((2, 3), bool)
    reached[0, 2] = False
    result = SplitResult("test", None, returns, reached, (0.25, 0.5))
    assert summary([result]) == {
        "test_return": 4.0,
        "test_return_first": 2.0,
        "test_reward_error": 0.25,
        "test_reward_error_with_dropout": 0.5,
        "test_reached": 1.0,
    }


class Walker(Still):
    """Acts, or does not."""

    moves = False

    def act(self, observations: Any, starts: Any) -> Any:
        return super().act(observations, starts) + self.moves


def test_evaluations_without_a_success_count_where_only_successes_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One seed reaches its task in the third and the sixth evaluation, another one never."""
    env_id = "foreign_envs:says_only_success"
    runs: list[tuple[str, RunFolder]] = []
    monkeypatch.setenv("LDM_TRUST_MODULES", "foreign_envs")
    for seed, reaching in enumerate(((3, 6), (0,))):
        config = resolve(env_id, "rl2", n_episodes=3, seed=seed, total_timesteps=7)
        path = tmp_path / f"seed{seed}"
        write_json(path / "config.json", {"format": "ldm-run-1", "config": config.to_dict()})
        walker: Any = Walker(config)
        evaluator = Evaluator(walker)
        for step in range(1, 8):
            walker.moves = step in reaching
            rows = evaluation_rows(step, evaluator.evaluate(walker))
            CsvFile(path / "evaluations.csv").append(rows)
        evaluator.close()
        runs.append((path.name, RunFolder.open(path, (env_id,))))
    write_tables(tmp_path, collect(runs))
    curve = read_curves(runs[0][1])["train"].missed
    assert curve is not None and curve[:, -1].tolist() == [2, 2, 1, 2, 2, 1, 2]
    assert read_curves(runs[1][1])["train"].missed is None  # of this one alone nothing is known
    (row,) = (row for row in summary_rows(read_runs(tmp_path)) if row["episode"] == 3)
    assert (row["runs"], row["reached_mean"]) == (2, "0.2")  # (2 of 5 + 0 of 5) / 2


def test_test_tasks_of_another_id_do_not_take_the_name_of_a_split() -> None:
    found = evaluated("foreign_envs:three_splits", eval_env_id="foreign_envs:no_train_split")
    assert {split: result.returns[0, 0] for split, result in found.items()} == {
        "train": 1.0,
        "test": 2.0,
        "eval": 3.0,
        "eval_env_id": 1.0,
    }


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ("more_columns", r"observations of shape \(2,\), expected those of env_id, \(1,\)"),
        ("other_bounds", r"actions Box\(-2.0, 2.0.*RescaleAction"),
    ],
)
def test_test_tasks_of_other_spaces_are_refused(other: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        evaluated("foreign_envs:ends", eval_env_id=f"foreign_envs:{other}")


def test_pictures_show_the_runs_own_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The held-out split of the results may be ``eval_env_id``'s, which env_id does not have."""
    shown: list[Any] = []
    monkeypatch.setattr(run, "record", lambda learner, tasks: shown.append(tasks) or 1 / 0)
    monkeypatch.setattr(run, "plot_curves", lambda *_: tmp_path)
    learner: Any = Still(
        resolve("foreign_envs:ends", "rl2", eval_env_id="foreign_envs:three_splits")
    )
    evaluator = Evaluator(learner)
    results = evaluator.evaluate(learner)
    evaluator.close()
    assert [result.split for result in results] == ["train", "test"]
    with pytest.raises(ZeroDivisionError):
        run.plot_run(RunFolder(tmp_path, learner.config), learner, results, None)
    assert shown[0].tolist() == [[2.0], [9.0]]


def test_what_a_row_does_after_its_task_counts_for_nothing() -> None:
    """Short tasks are over while the longest one is played, and others are drawn in their rows."""
    found = evaluated("foreign_envs:uneven")["train"]
    assert found.returns.tolist() == [[1.0, 2.0, 3.0]] * 4 + [[4.0, 8.0, 12.0]]
    assert found.reached.tolist() == [[False] * 3] * 4 + [[True] * 3]
