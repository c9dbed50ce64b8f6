"""Figure 8 with several runs side by side, from tracks that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from tiny_runs import build

from train.common.artifacts import load_artifacts, save_artifacts
from train.common.env_source import EnvSource
from train.common.envs import evaluation_tasks
from train.config.presets import resolve
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder
from train.plots import paper_paths
from train.plots.paper_paths import collect_paths, plot_paper_paths
from train.plots.rollout import record

RESULTS = Path(__file__).resolve().parents[2] / "results"


def row(run: str, env_id: str, task: str, x: str, y: str = "") -> dict[str, str]:
    values = {"run": run, "env_id": env_id, "group": f"method of {run}", "split": "eval"}
    return {**values, "task": task, "return": "-100", "seconds": "0.2", "x": x, "y": y}


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The panels of what is drawn, instead of a file."""
    found: list[Any] = []
    monkeypatch.setattr(
        paper_paths, "save", lambda drawing, path: found.extend(drawing.axes) or path
    )
    return found


def lines(axes: Any) -> list[np.ndarray]:
    return [np.stack(line.get_data()) for line in axes.lines]


def has(axes: Any, expected: Any) -> bool:
    return any(x.shape == np.shape(expected) and np.allclose(x, expected) for x in lines(axes))


def test_walkers_of_two_runs_share_a_figure(panels: list[Any], tmp_path: Path) -> None:
    ant = "LDM-AntGoal-v0"
    rows = [
        row("one", ant, f"1.75 {np.pi / 2}", "0 0.5 1", "0 1 1.5"),
        row("one", ant, "1.75 0", "0 1 1.75", "0 0 0.25"),
        row("two", ant, "1.75 0", "0 -1", "0 -2"),
    ]
    plot_paper_paths(rows, tmp_path / "figure8.png", "Figure 8", EnvSource(rows[0]["env_id"]))
    assert [axes.get_title().split("\n")[0] for axes in panels] == [
        "method of one",
        "method of two",
    ]
    first, second = panels
    assert has(first, [[0, 0.5, 1], [0, 1, 1.5]]) and has(first, [[0, 1, 1.75], [0, 0, 0.25]])
    assert has(first, [[0.0], [1.75]]) and has(first, [[1.75], [0.0]])  # the goals' crosses
    assert has(second, [[0, -1], [0, -2]]) and not has(second, [[0.0], [1.75]])
    assert first.get_xlim() == second.get_xlim() and first.get_xlim()[1] >= 3.0


@pytest.mark.parametrize("folder", ["ant_dir/three_million", "ant_goal", "ant_goal/second_seed"])
def test_labels_of_walkers_are_inside_of_the_picture(folder: str, tmp_path: Path) -> None:
    """Below or on the left they were cut at the edge."""
    rows = [r for r in read_csv(RESULTS / folder / "paths.csv") if r["split"] == "train"]
    path, env_id = tmp_path / "paths.png", rows[0]["env_id"]
    plot_paper_paths(rows, path, f"Appendix F: train tasks of {env_id}", EnvSource(env_id))
    picture = imread(path)[..., :3]
    edges = {"top": picture[0], "bottom": picture[-1]}
    edges |= {"left": picture[:, 0], "right": picture[:, -1]}
    for name, edge in edges.items():
        assert (edge == 1.0).all(), name


def test_runners_are_shown_over_time_with_their_targets(panels: list[Any], tmp_path: Path) -> None:
    cheetah = "LDM-HalfCheetahVel-v0"
    rows = [row("one", cheetah, "1.5", "0 1 2"), row("two", cheetah, "2.5", "0 3 2.5")]
    plot_paper_paths(rows, tmp_path / "figure8.png", "Figure 8", EnvSource(rows[0]["env_id"]))
    assert has(panels[0], [[0, 0.2, 0.4], [0, 1, 2]]) and has(panels[0], [[0, 1], [1.5, 1.5]])
    assert has(panels[1], [[0, 0.2, 0.4], [0, 3, 2.5]]) and has(panels[1], [[0, 1], [2.5, 2.5]])


def test_the_seed_of_a_panel_is_in_its_title(panels: list[Any], tmp_path: Path) -> None:
    """Of another group not always the same one: a run that was cut has no policy."""
    cheetah = "LDM-HalfCheetahVel-v0"
    rows = [row("one", cheetah, "1.5", "0 1 2"), row("two", cheetah, "2.5", "0 3 2.5")]
    path, seeds = tmp_path / "figure8.png", {"one": "3"}
    plot_paper_paths(rows, path, "Figure 8", EnvSource(cheetah), seeds)
    assert [axes.get_title().split("\n") for axes in panels] == [
        ["method of one", "seed 3, mean return -100.0"],
        ["method of two", "mean return -100.0"],
    ]


def test_tracks_are_those_of_the_greedy_policy(tmp_path: Path) -> None:
    """One run per group: the lowest seed, whatever the order; gridworlds have films instead."""
    runs = []
    for env_id, seed in (
        ("LDM-HalfCheetahVel-v0", 1),
        ("LDM-HalfCheetahVel-v0", 0),
        ("LDM-GridNavi-v0", 0),
    ):
        path = tmp_path / f"{env_id}-{seed}"
        sizes = {"n_workers": 4, "n_minibatches": 1, "n_episodes": 2, "run_dir": str(path)}
        config = resolve(env_id, "rl2", seed=seed, device="cpu", **sizes)
        folder, learner = RunFolder.create(config), build(config)
        save_artifacts(folder, learner)
        learner.close()
        runs.append((path.name, folder))
    rows = collect_paths(runs)
    assert {r["run"] for r in rows} == {runs[1][0]}
    assert {r["split"] for r in rows} == {"train", "test", "eval"}
    learner = load_artifacts(runs[1][1])
    tasks = {split: named[:6] for split, named in evaluation_tasks(learner.config).items()}  # type: ignore[index]
    rollout = record(learner, np.concatenate(list(tasks.values())))
    first = len(rows) - len(tasks["eval"])  # the last split
    own = rows[first:]
    assert own[0]["task"] == f"{tasks['eval'][0, 0]:g}"
    speed = rollout.infos["x_velocity"][200:, first]  # in the last episode
    smooth = [speed[max(0, t - 9) : t + 1].mean() for t in range(0, 200, 4)]
    np.testing.assert_allclose(np.array(own[0]["x"].split(), float), smooth, rtol=6e-3)
    returns = [float(r["return"]) for r in own]
    np.testing.assert_allclose(returns, rollout.rewards[200:, first:].sum(0), rtol=1e-4)
    assert own[0]["seconds"] == "0.2" and own[0]["y"] == ""
    learner.close()


def test_five_runs_are_three_and_two(panels: list[Any], tmp_path: Path) -> None:
    """The lowest panel of each column has numbers on its axis, also if nothing follows below."""
    cheetah = "LDM-HalfCheetahVel-v0"
    rows = [row(name, cheetah, "1.5", "0 1 2") for name in "abcde"]
    plot_paper_paths(rows, tmp_path / "figure8.png", "Figure 8", EnvSource(cheetah))
    assert [axes.axison for axes in panels] == [True] * 5 + [False]
    numbers = [axes.xaxis.get_major_ticks()[0].label1.get_visible() for axes in panels[:5]]
    assert numbers == [False, False, True, True, True]
