"""Ceilings, learning curves and groups of runs."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from tiny_runs import build

import ldm_envs
from ldm_envs.grid_rules import GRID_NAVI_EXTRAPOLATION_TASKS
from ldm_wrappers.state_file import load_state, save_state
from train.analysis.tables import group_runs
from train.common.callbacks import MetaEpisodeStatistics
from train.common.env_source import EnvSource
from train.common.envs import evaluation_batches, evaluation_tasks
from train.config.presets import resolve
from train.persistence.files import CsvFile, read_csv
from train.persistence.run_folder import RunFolder
from train.plots.curves import read_curves
from train.plots.optimal_returns import optimal_returns, standing_returns


def test_ceilings_follow_from_tasks_and_rewards() -> None:
    tasks = evaluation_tasks(resolve("LDM-GridNavi-v0", "rl2"))
    train = optimal_returns(EnvSource("LDM-GridNavi-v0"), tasks["train"])
    test = optimal_returns(EnvSource("LDM-GridNavi-v0"), tasks["test"])
    assert train is not None and train.mean() == pytest.approx(23.28, abs=5e-3)
    assert test is not None and test.mean() == pytest.approx(24.50, abs=5e-3)
    env = gym.make("LDM-GridNavi-v0")
    env.reset(options={"task": [3, 5]})
    walk = [2] * 3 + [1] * 5 + [0] * 22
    played = sum(float(env.step(np.int64(action))[1]) for action in walk)
    best = optimal_returns(EnvSource("LDM-GridNavi-v0"), np.array([[3, 5]]))
    assert best is not None and best[0] == pytest.approx(played)
    env.close()


@pytest.mark.parametrize(
    ("family", "tasks"),
    [
        ("AntGoal", [[1.75, 0.8], [1.75, 0.8 + np.pi]]),  # a start that drifts nears one of both
        ("AntDir", [[0.0], [np.pi]]),
        ("HalfCheetahVel", [[2.25]]),
    ],
)
def test_standing_still_earns_what_an_episode_without_actions_does(
    family: str, tasks: list[list[float]]
) -> None:
    env = gym.make(f"LDM-{family}-v0")
    still, played = np.zeros(env.action_space.shape, np.float32), []
    for task in tasks:
        env.reset(seed=0, options={"task": task})
        played.append(sum(float(env.step(still)[1]) for _ in range(200)))
    found = standing_returns(EnvSource(f"LDM-{family}-v0"), np.array(tasks, np.float32))
    assert found is not None and found.mean() == pytest.approx(np.mean(played), rel=0.02)
    env.close()


def test_every_run_is_evaluated_on_the_same_tasks() -> None:
    one, other = (
        evaluation_tasks(resolve("LDM-HalfCheetahVel-v0", "rl2", seed=seed)) for seed in (0, 1)
    )
    assert list(one) == ["train", "test", "eval"]
    for split in one:
        np.testing.assert_array_equal(one[split], other[split])


@pytest.mark.parametrize("family", ["ant_goal", "half_cheetah_vel"])
def test_continuous_families_are_evaluated_on_the_tasks_of_the_committed_results(
    family: str,
) -> None:
    """A sample of other tasks would not be comparable with them."""
    rows = read_csv(Path("results") / family / "tasks.csv")
    first = [row for row in rows if row["run"] == rows[0]["run"] and row["episode"] == "1"]
    env_id = {"ant_goal": "LDM-AntGoal-v0", "half_cheetah_vel": "LDM-HalfCheetahVel-v0"}[family]
    for split, tasks in evaluation_tasks(resolve(env_id, "rl2")).items():
        own = [[float(v) for v in row["task"].split()] for row in first if row["split"] == split]
        assert tasks is not None
        np.testing.assert_allclose(tasks, own, rtol=1e-5)


def test_another_environment_is_evaluated_on_its_test_tasks() -> None:
    other = "LDM-GridNaviExtrapolation-v0"
    config = resolve("LDM-GridNavi-v0", "rl2", eval_env_id=other)
    (_, own), (second, theirs) = evaluation_batches(config)
    assert (list(own), list(theirs), second.env_id) == (["train", "test"], ["eval_env_id"], other)
    expected = GRID_NAVI_EXTRAPOLATION_TASKS["test"].tasks
    np.testing.assert_array_equal(theirs["eval_env_id"], expected)


@pytest.mark.parametrize("env_id", [i for i in ldm_envs.ENV_IDS if "GridNavi" not in i])
def test_families_without_a_formula_have_no_ceiling(env_id: str) -> None:
    assert optimal_returns(EnvSource(env_id), np.zeros((1, 2))) is None


def test_curves_are_means_over_tasks(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, resolve("LDM-GridNavi-v0", "rl2"))
    rows = [
        {"timesteps": t, "split": "test", "task": task, "episode": e, "return": t + e + task,
         "reached": int(task == e)}
        for t in (10, 20) for task in (1, 2, 3) for e in (1, 2)
    ]  # fmt: skip
    CsvFile(folder.evaluations).append(rows)
    curve = read_curves(folder)["test"]
    assert curve.steps.tolist() == [10, 20] and curve.n_tasks == 3
    assert np.allclose(curve.returns, [[13, 14], [23, 24]])
    assert curve.missed is not None and np.allclose(curve.missed, 2)


def test_training_returns_are_means_over_whole_tasks_of_normal_workers() -> None:
    """Since the last row; neither imaginary workers nor tasks that staggering cut short count."""
    statistics = MetaEpisodeStatistics(n_normal=2)
    played = [  # workers that ended, returns of their two episodes, and whether they were cut
        ([0, 2], [(1.0, 5.0), (0.0, 0.0), (70.0, 70.0)], [False] * 3),
        ([1], [(0.0, 0.0), (9.0, 3.0), (0.0, 0.0)], [False, True, False]),
        ([0, 1], [(2.0, 6.0), (6.0, 7.0), (0.0, 0.0)], [False] * 3),
    ]
    for ended, returns, cut in played:
        infos = [
            {"episode_returns": np.array(r), "cut_short": short}
            for r, short in zip(returns, cut, strict=True)
        ]
        statistics.locals = {"dones": np.isin(np.arange(3), ended), "infos": infos}
        statistics._on_step()
    found = statistics.pop_means()
    names = ("return_episode_1", "return_episode_2", "meta_episodes")
    assert [found[f"rollout/{name}"] for name in names] == [3.0, 6.0, 3.0]
    assert statistics.pop_means() == {}


def test_runs_are_grouped_by_what_differs(tmp_path: Path) -> None:
    def run(name: str, method: str, **changes: float) -> RunFolder:
        config = resolve("LDM-GridNavi-v0", method, run_dir=name, **changes)
        return RunFolder(tmp_path / name, config)

    folders = [
        run("a", "ldm", seed=0),
        run("b", "ldm", seed=1),
        run("c", "ldm", p_drop=0.0),
        run("d", "rl2"),
        run("e", "varibad", vae_learning_rate=0.001234561),  # six digits do not tell these apart
        run("f", "varibad", vae_learning_rate=0.001234562, seed=1),
    ]
    names = {key: len(group) for key, group in group_runs(folders).items()}
    rate = "varibad vae_learning_rate 0.00123456"
    expected = {"ldm p_drop 0.7": 2, "ldm p_drop 0": 1, "rl2": 1, f"{rate}1": 1, f"{rate}2": 1}
    assert names == expected


def test_returns_that_wait_for_their_row_are_saved(tmp_path: Path) -> None:
    """Rows are written every log_interval iterations, checkpoints at other moments."""
    sizes = {"n_workers": 4, "n_minibatches": 1, "device": "cpu"}
    first, second = (build(resolve("LDM-GridNavi-v0", "rl2", **sizes)) for _ in range(2))
    first.learn(480, lambda _: None)
    first.statistics.returns = [[1.0, 2.0, 3.0, 4.0]]
    save_state(tmp_path / "state", first.state_dict())
    assert second.load_state_dict(load_state(tmp_path / "state"))
    found = second.statistics.pop_means()
    assert found["rollout/meta_episodes"] == 1.0 and found["rollout/return_episode_4"] == 4.0
    for learner in (first, second):
        learner.close()
