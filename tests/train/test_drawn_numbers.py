"""What lines, images, titles and legends of figures say, against numbers that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import trim_mean

from ldm_wrappers.latent_dynamics import LatentDynamicsConfig
from train.analysis.aggregate import Run
from train.analysis.tables import print_table
from train.common.env_source import EnvSource
from train.common.evaluation import SplitResult
from train.common.places import Places
from train.common.velocities import Velocities
from train.config.presets import resolve
from train.persistence.files import CsvFile
from train.persistence.run_folder import RunFolder
from train.plots import (
    belief_curves,
    curves,
    figure7,
    film_strip,
    goal_maps,
    joint_curves,
    paper_curves,
    paper_tasks,
    reward_maps,
    trajectories,
    velocity_maps,
)
from train.plots.grid import Grid
from train.plots.mixtures import Mixtures
from train.plots.paper_maps import _mixtures_of, _rows
from train.plots.rollout import Rollout

GRID, CHEETAH, GOAL = "LDM-GridNavi-v0", "LDM-HalfCheetahVel-v0", "LDM-AntGoal-v0"
SEVEN = Grid((0, 0), (6, 6))
PLOTS = (
    belief_curves, curves, figure7, film_strip, goal_maps, joint_curves, paper_curves, paper_tasks,
    reward_maps, trajectories, velocity_maps,
)  # fmt: skip


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The drawings, instead of files."""
    found: list[Any] = []
    for module in PLOTS:
        monkeypatch.setattr(module, "save", lambda drawing, path: found.append(drawing) or path)
    return found


def lines(axes: Any, **look: Any) -> list[tuple[list[float], list[float]]]:
    """Coordinates of the lines with this label, line style or width."""
    return [
        (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in axes.lines
        if all(getattr(line, f"get_{name}")() == value for name, value in look.items())
    ]


def value_at(axes: Any, x: float, y: float) -> float:
    """What the image of a panel shows at a place of its axes."""
    (image,) = axes.images
    left, right, bottom, top = image.get_extent()
    values = image.get_array()
    row = int((y - bottom) / (top - bottom) * values.shape[0])
    column = int((x - left) / (right - left) * values.shape[1])
    return float(np.ma.filled(values, np.nan)[row if image.origin == "lower" else -1 - row, column])


def test_the_printed_table_has_means_of_episodes_and_tasks_of_the_last_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    returns, reached = np.array([[1.0, 5.0], [2.0, 9.0]]), np.array([[False, True], [False, True]])
    print_table([SplitResult("test", None, returns, reached)])
    names, values = (line.split() for line in capsys.readouterr().out.splitlines())
    assert names == ["split", "tasks", "return", "1", "return", "2", "reached", "at", "2"]
    assert values == ["test", "2", "1.50", "7.00", "2"]


# ------------------------------------------------------------------ curves


def logged(path: Path, level: float, **changes: Any) -> RunFolder:
    """A run of two episodes, evaluated on two train tasks and one test task."""
    config = resolve(GRID, "rl2", n_episodes=2, run_dir=str(path), **changes)
    path.mkdir()
    tasks = (("train", "2 0", 0), ("train", "0 2", 1), ("test", "3 0", 0))
    rows = [
        {"timesteps": at, "split": split, "task": task, "episode": episode,
         "return": level + at / 1e4 + 10 * episode + 4 * k, "reached": int(k > 0 and episode > 1)}
        for at in (20_000, 40_000) for split, task, k in tasks for episode in (1, 2)
    ]  # fmt: skip
    CsvFile(path / "evaluations.csv").append(rows)
    explored = [{f"rollout/return_episode_{k}": level - k for k in (1, 2)}]
    CsvFile(path / "metrics.csv").append([{"timesteps": 30_000, **row} for row in explored])
    return RunFolder(path, config)


def test_curves_of_a_run_are_those_of_their_labels(drawn: list[Any], tmp_path: Path) -> None:
    curves.plot_curves(logged(tmp_path / "run", 0.0), tmp_path / "curves.png")
    train, test, missed = drawn[0].axes
    assert [train.get_title(), test.get_title()] == [
        "train: 2 tasks, greedy policy",
        "test: 1 tasks, greedy policy",
    ]
    assert lines(train, label="episode 1") == [([20.0, 40.0], [14.0, 16.0])]
    assert lines(train, label="episode 2") == [([20.0, 40.0], [24.0, 26.0])]
    assert lines(train, label="episode 2, exploring") == [([30.0], [-2.0])]
    assert lines(test, label="episode 2") == [([20.0, 40.0], [22.0, 24.0])]
    (known,) = lines(test, label="known task: 24.50")
    assert known[1] == pytest.approx([24.5, 24.5], abs=0.01)
    assert [ys for xs, ys in lines(missed) if xs] == [[1.0, 1.0], [1.0, 1.0]]
    assert train.get_xlabel() == "environment steps (thousands)"


def test_seeds_of_joint_curves_share_the_line_of_their_mean(
    drawn: list[Any], tmp_path: Path
) -> None:
    runs = [logged(tmp_path / f"{seed}", 4.0 * seed, seed=seed) for seed in (0, 1)]
    runs.append(logged(tmp_path / "other", 50.0, gamma=0.5))
    joint_curves.plot_joint_curves(runs, tmp_path / "joint.png")
    train, test, missed = drawn[0].axes
    assert test.get_title() == f"{GRID}: test, episode 2"
    assert lines(test, label="rl2 gamma 0.95 (2 seeds)") == [([20.0, 40.0], [24.0, 26.0])]
    assert lines(test, linewidth=0.7) == [([20.0, 40.0], [v, v + 2.0]) for v in (22.0, 26.0)]
    assert lines(train, label="rl2 gamma 0.5") == [([20.0, 40.0], [74.0, 76.0])]
    labels = [text.get_text() for text in missed.get_legend().get_texts()]
    assert labels == ["train, of 2", "test, of 1"]


def group(scores: list[float], method: str = "rl2", env_id: str = GRID, **row: str) -> list[Run]:
    """Runs that were evaluated twice, and missed as many tasks of 50 as their test score."""
    runs = []
    for seed, score in enumerate(scores):
        table = pd.DataFrame(
            [
                {"timesteps": at, "split": split, "episode": episode, "tasks": 50,
                 "return": score * (1 if split == "test" else -1) + 1000 * (episode == 1),
                 "reached": 50 - score}
                for at in (1000, 2000) for split in ("train", "test") for episode in (1, 4)
            ]
        )  # fmt: skip
        own = {"run": f"{method}{seed}", "env_id": env_id, "method": method, "preset": "default"}
        own |= {"seed": f"{seed}", "overrides": "", "n_episodes": "4", **row}
        runs.append(Run(own, table))
    return runs


def band(axes: Any) -> tuple[float, float]:
    """Lowest and highest value of the only shaded band."""
    (shade,) = axes.collections
    ys = shade.get_paths()[0].vertices[:, 1]
    return float(ys.min()), float(ys.max())


def test_means_are_above_and_interquartile_means_below(drawn: list[Any], tmp_path: Path) -> None:
    scores = [1.0, 2.0, 3.0, 10.0, 44.0]
    plot = paper_curves.plot_paper_curves
    written = plot({"rl2": group(scores)}, tmp_path / "figure3.png", "Figure 3")
    plot({"rl2": group(scores)}, tmp_path / "first.png", "First", first_episode=True)
    above, below = (drawn[0].axes[k * 3 : k * 3 + 3] for k in (0, 1))
    titles = [axes.get_title() for axes in above]
    assert titles == [f"{name} (50 tasks)" for name in ("train: return", "test: return",
                                                        "test: tasks missed")]  # fmt: skip
    assert above[0].get_ylabel() == "mean ± standard deviation"
    assert below[0].get_ylabel() == "IQM, 95 % interval"
    average, spread, middle = np.mean(scores), np.std(scores, ddof=1), trim_mean(scores, 0.25)
    for column, sign in ((0, -1), (1, 1), (2, 1)):
        ((_, mean),) = lines(above[column], label="rl2 (5)")
        ((_, iqm),) = lines(below[column], label="rl2")
        assert mean == pytest.approx([sign * average] * 2)
        assert iqm == pytest.approx([sign * middle] * 2)
        assert band(above[column]) == pytest.approx(
            sorted((sign * average - spread, sign * average + spread))
        )
        low, high = sorted(sign * end for end in band(below[column]))
        assert 1.0 <= low < middle < high <= 44.0 and high - low < 2 * spread
    assert "episode 4 of 4" in drawn[0].get_suptitle()
    assert "episode 1 of 4" in drawn[1].get_suptitle()
    ((_, first),) = lines(drawn[1].axes[1], label="rl2 (5)")
    assert first == pytest.approx([1000 + average] * 2)
    table = pd.read_csv(written[1])
    assert (table["low"] < table["iqm"]).all() and (table["iqm"] < table["high"]).all()


def test_figure_7_has_test_tasks_above_and_final_returns_as_lines(
    drawn: list[Any], tmp_path: Path
) -> None:
    families = {
        env_id: {"rl2": group([1.0, 3.0], env_id=env_id), "mql": group([7.0], "mql", env_id)}
        for env_id in (CHEETAH, GOAL)
    }
    tasks = pd.DataFrame({"run": ["none"], "split": ["test"], "task": ["1"]})
    figure7.plot_figure7(families, tasks, tmp_path / "figure7.png")
    panels = drawn[0].axes
    names = [f"{env_id}: {split}" for split in ("test", "train") for env_id in (CHEETAH, GOAL)]
    assert [axes.get_title() for axes in panels] == names
    for axes, sign in zip(panels, (1, 1, -1, -1), strict=True):
        assert lines(axes, label="rl2") == [([1000.0, 2000.0], [2.0 * sign] * 2)]
        assert band(axes) == pytest.approx(sorted(sign * 2 + end * 2**0.5 for end in (-1, 1)))
        ((_, final),) = lines(axes, label="mql")
        assert final == [7.0 * sign] * 2 and lines(axes, label="mql", linestyle="--")


def test_beliefs_with_dropout_are_dashed(drawn: list[Any], tmp_path: Path) -> None:
    rows = [
        {"run": "ldm0", "timesteps": at, "split": split, "quantity": name, "value": value * at}
        for at in (100, 200)
        for split, factor in (("train", 1), ("test", 10))
        for name, value in (("reward_error", factor), ("reward_error_with_dropout", 2 * factor),
                            ("goal_distance", 3 * factor))
    ]  # fmt: skip
    groups = {"ldm": group([1.0], "ldm")}
    belief_curves.plot_belief_curves(groups, pd.DataFrame(rows), tmp_path / "b.png", "beliefs")
    panels = drawn[0].axes
    assert [axes.get_title() for axes in panels] == ["train", "test"] * 2
    assert [axes.get_ylabel() for axes in panels[::2]] == [
        "squared reward error",
        "decoded goal's distance from the task's",
    ]
    for axes, factor in zip(panels, (1, 10, 3, 30), strict=True):
        assert lines(axes, linestyle="-") == [([100.0, 200.0], [100.0 * factor, 200.0 * factor])]
    for axes, factor in zip(panels[:2], (2, 20), strict=True):
        assert lines(axes, linestyle="--") == [([100.0, 200.0], [100.0 * factor, 200.0 * factor])]
    assert "solid: dropout off, dashed: with dropout" in drawn[0].get_supxlabel()


# ------------------------------------------------------------------ grids


def test_returns_of_tasks_are_in_their_cells(drawn: list[Any], tmp_path: Path) -> None:
    tasks = {"train": {"2 0": (9.0, 1.0), "6 1": (5.0, 0.6)}, "test": {"3 5": (-2.0, 0.4)}}
    rows = [
        {"run": "ldm0", "split": split, "task": task, "episode": episode,
         "return": value[0] + 100 * (episode == 1), "reached": value[1]}
        for split, own in tasks.items() for task, value in own.items() for episode in (1, 4)
    ]  # fmt: skip
    runs = {"beta 1": group([1.0], "ldm")}
    paper_tasks.plot_paper_tasks(runs, pd.DataFrame(rows), tmp_path / "tasks.png", "Figure 6")
    axes = drawn[0].axes[0]
    for cell, expected in (((2, 0), 9.0), ((6, 1), 5.0), ((3, 5), -2.0)):
        assert value_at(axes, *cell) == expected
    dots = lines(axes, marker=".")
    assert dots == [([3.0], [5.0])]  # reached in fewer than half
    assert axes.get_title() == "beta 1 (1 seeds)\ntrain 7.0, test -2.0"


def mixtures(**changes: Any) -> Mixtures:
    """Two mixtures of two train goals; the decoder without dropout puts them elsewhere."""
    maps = np.zeros((4, 2, 49))
    for kind, cells in enumerate([((6, 1), (1, 6)), ((6, 1), (3, 4)), ((0, 2), (6, 1)),
                                  ((0, 2), (5, 5))]):  # fmt: skip
        for row, cell in enumerate(cells):
            maps[kind, row, SEVEN.index(np.array(cell))] = 1.0 + kind
    named = dict(zip(("maps", "dropout_maps", "own_maps", "own_dropout_maps"), maps, strict=True))
    values: dict[str, Any] = {
        "grid": SEVEN, "train_cells": np.array([[0, 2], [6, 1]], np.float32),
        "test_cells": np.array([[3, 4]], np.float32),
        "weights": np.array([[1.5, -0.5], [0.25, 0.75]]),
        "p_drop": 0.5, "scheme": "a scheme", **named,
    }  # fmt: skip
    return Mixtures(**{**values, **changes})


def test_reward_maps_have_weights_and_rewards_in_their_cells(
    drawn: list[Any], tmp_path: Path
) -> None:
    reward_maps.plot_reward_maps(mixtures(), tmp_path / "maps.png", "run")
    panels = [axes for axes in drawn[0].axes if axes.images and len(axes.lines) > 10]
    weights, off, on = panels[:2], panels[2:4], panels[4:6]
    assert [value_at(axes, 0, 2) for axes in weights] == [1.5, 0.25]
    assert [value_at(axes, 6, 1) for axes in weights] == [-0.5, 0.75]
    assert [value_at(axes, 6, 1) for axes in off] == [1.0, 0.0]
    assert value_at(off[1], 1, 6) == 1.0 and value_at(on[1], 3, 4) == 2.0
    assert [line[0] for line in lines(off[1], marker="x")] == [[1.0]] * 2
    assert off[0].get_ylabel() == "dropout off\npeaks of 2: train 50%\ntest 0%, other 50%"
    assert on[0].get_ylabel() == "with dropout\npeaks of 2: train 50%\ntest 50%, other 0%"
    colours = [axes.lines[-1].get_color() for axes in off]
    assert colours == [reward_maps.TRAIN, reward_maps.TEST]  # seen, unseen


def test_decoders_are_compared_with_the_dropout_of_their_training(
    drawn: list[Any], tmp_path: Path
) -> None:
    runs = [("high", mixtures()), ("none", mixtures(p_drop=0.0))]
    reward_maps.plot_dropout_comparison(runs, tmp_path / "maps.png")
    labels = [axes.get_ylabel() for axes in drawn[0].axes if "peaks" in axes.get_ylabel()]
    assert labels == [
        "p_drop 0\nnone\npeaks of 2: train 50%\ntest 0%, other 50%",
        "p_drop 0.5\nhigh\npeaks of 2: train 50%\ntest 50%, other 0%",
    ]


def test_mixtures_are_described_with_and_without_dropout() -> None:
    first, off, on = mixtures().describe()
    assert first == "2 mixtures of a scheme"
    where = "in {} on a train goal, {} on a test goal, {} elsewhere; effectively {} of 1 test goals"
    assert off.startswith("dropout off: largest reward 1.00 on average, on 2 different cells, ")
    assert where.format("50%", "0%", "50%", "0.0") in off
    assert off.endswith("2 of 2 train tasks' own beliefs decode to their goal")
    assert on.startswith("with dropout: largest reward 2.00 on average, on 2 different cells, ")
    assert where.format("50%", "50%", "0%", "1.0") in on
    assert on.endswith("1 of 2 train tasks' own beliefs decode to their goal")


def test_mixtures_are_read_from_their_table_as_they_were() -> None:
    one = mixtures()
    again = _mixtures_of([{k: str(v) for k, v in row.items()} for row in _rows("run", one)])
    assert (again.grid, again.p_drop, again.scheme) == (one.grid, one.p_drop, one.scheme)
    for name in ("train_cells", "test_cells", "weights", "maps", "dropout_maps", "own_maps",
                 "own_dropout_maps"):  # fmt: skip
        np.testing.assert_array_equal(getattr(again, name), getattr(one, name), name)


def walk(cells: list[tuple[int, int]]) -> Rollout:
    """Two episodes of a task, each the same way, with beliefs that count the steps so far."""
    path, n = np.array(cells, float), len(cells) - 1
    valid = np.ones((2 * n, 1), bool)
    return Rollout(
        space=None,
        tasks=np.array([[3, 1]], np.float32),
        observations=np.tile(path[:-1], (2, 1))[:, None],
        actions=np.zeros((2 * n, 1)),
        rewards=np.repeat([1.0, 3.0], n)[:, None],
        next_observations=np.tile(path[1:], (2, 1))[:, None],
        episodes=np.repeat([0, 1], n)[:, None],
        valid=valid,
        infos={},
        beliefs=np.arange(2 * n + 1, dtype=np.float32)[:, None, None],
    )


class Counting:
    """A model for films, whose decoded reward is the belief."""

    config = LatentDynamicsConfig.grid(p_drop=0.0)


def test_films_show_the_reward_of_the_belief_at_that_time(
    drawn: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fields(model: Any, cells: Any, belief: Any, **_: Any) -> Any:
        return belief[:, :1] + cells.sum(1)[None] / 100

    monkeypatch.setattr(film_strip, "reward_fields", fields)
    monkeypatch.setattr(film_strip, "drops", lambda _: False)
    way = [(0, 0), (1, 0), (1, 1), (2, 1), (3, 1), (3, 1), (3, 1)]
    model: Any = Counting()
    film_strip.plot_film_strip(walk(way), SEVEN, model, 2, tmp_path / "film.png")
    (block,) = drawn[0].subfigs
    panels = np.array(block.axes[:6]).reshape(3, 2)  # a row per time, a column per episode
    shown = [[round(value_at(axes, 0, 0)) for axes in row] for row in panels]
    assert shown == [[2, 8], [4, 10], [6, 12]]
    assert value_at(panels[0, 0], 5, 1) == pytest.approx(2.06)
    assert [axes.get_title() for axes in panels[0]] == [
        "episode 1, return 6.0",
        "episode 2, return 18.0",
    ]
    assert [axes.get_ylabel() for axes in panels[:, 0]] == [f"after {k} steps" for k in (2, 4, 6)]
    assert lines(panels[0, 0], marker="x") == [([3.0], [1.0])]  # the goal
    assert lines(panels[1, 1], marker="o") == [([0.0], [0.0])]  # the start
    ((xs, ys),) = lines(panels[1, 1], marker="s")  # after four steps, shifted by the time
    assert (round(xs[0]), round(ys[0])) == (3, 1)


# ------------------------------------------------------------------ places, velocities and paths


def test_goal_maps_show_rewards_at_their_positions(drawn: list[Any], tmp_path: Path) -> None:
    places = Places.of(EnvSource(GOAL))
    assert places is not None
    asked = np.array([(1.5, -2.0), (1.5, -2.0), (0.5, 0.25), (-3.25, 3.5)], np.float32)
    fields = -np.linalg.norm(places.xy[None] - asked[:, None], axis=2)
    splits = places.splits(EnvSource(GOAL).facts().distribution)
    one = goal_maps.GoalMap("β = 2", fields)
    rows = one.rows(places, splits)
    assert [(row["x"], row["y"], row["split"]) for row in rows] == [
        ("1.5", "-2", "train"), ("1.5", "-2", "train"), ("0.5", "0.25", "train"),
        ("-3.25", "3.5", "outside"),
    ]  # fmt: skip
    fields[1] = 7.0 - np.linalg.norm(places.xy - (0.0, 1.5), axis=1)
    rows = one.rows(places, splits)
    assert [rows[1][name] for name in ("latents", "index", "x", "y", "reward", "split")] == [
        "β = 2", 1, "0", "1.5", "7", "test",
    ]  # fmt: skip
    assert one.title(splits) == "4: 25% on test tasks"
    radius = np.median([2.5, 1.5, 0.5**2 * 5**0.5, np.hypot(3.25, 3.5)])
    expected = "β = 2: goals in outside 25%, test 25%, train 50%; "
    assert one.describe(places, splits) == f"{expected}median distance {radius:.2f}"
    goal_maps.plot_goal_maps({"run": [one]}, places, splits, tmp_path / "goals.png")
    above, below = drawn[0].axes
    assert value_at(above, 1.5, -2.0) == 0.0 and value_at(above, -2.0, 1.5) < -4.0
    assert lines(above, marker="x") == [([1.5], [-2.0])]
    assert value_at(below, 0.5, 0.25) == 0.35 and np.isnan(value_at(below, 0.0, 1.5))
    offsets = below.collections[0].get_offsets()
    assert sorted(map(tuple, offsets.tolist())) == sorted(
        [(1.5, -2.0), (0.0, 1.5), (0.5, 0.25), (-3.25, 3.5)]
    )


def test_velocity_maps_show_shares_at_their_velocities(drawn: list[Any], tmp_path: Path) -> None:
    found = Velocities.of(EnvSource(CHEETAH))
    assert found is not None
    fields = 3.0 - np.abs(found.tasks[None, :, 0] - np.array([[0.0], [2.0], [2.0], [2.0]]))
    splits = found.splits(EnvSource(CHEETAH).facts().distribution)
    one = goal_maps.GoalMap("β = 1", fields.astype(np.float32))
    rows = one.rows(found, splits)
    assert [(row["task"], row["reward"], row["range"], row["split"]) for row in rows[:2]] == [
        ("0", "3", "4.5", "train"),
        ("2", "3", "3", "test"),
    ]
    velocity_maps.plot_velocity_maps({"run": [one]}, found, splits, tmp_path / "goals.png")
    above, below = drawn[0].axes
    assert [max(zip(ys, xs, strict=True))[1] for xs, ys in lines(above)] == pytest.approx(
        [0.0, 2.0, 2.0, 2.0], abs=1e-6
    )
    middles = {
        round(bar.get_x() + bar.get_width() / 2, 3): bar.get_height()
        for bars in below.containers
        for bar in bars
        if bar.get_height()
    }
    assert middles == {0.0: 0.25, 2.0: 0.75}
    assert below.get_title() == "4: 75% on test tasks"
    assert below.get_xlabel() == "velocity (m/s)"


def test_headings_are_in_degrees(drawn: list[Any], tmp_path: Path) -> None:
    found = Velocities.of(EnvSource("LDM-AntDir-v0"))
    assert found is not None
    fields = np.cos(found.tasks[None, :, 0] - np.deg2rad([[90.0], [315.0]])).astype(np.float32)
    splits = found.splits(EnvSource("LDM-AntDir-v0").facts().distribution)
    one = goal_maps.GoalMap("β = 1", fields)
    assert [(r["task"], r["split"]) for r in one.rows(found, splits)] == [
        ("90", "train"),
        ("315", "test"),
    ]
    velocity_maps.plot_velocity_maps({"run": [one]}, found, splits, tmp_path / "goals.png")
    above, below = drawn[0].axes
    best = [max(zip(ys, xs, strict=True))[1] for xs, ys in lines(above)]
    assert best == pytest.approx([90.0, 315.0], abs=1e-3)
    assert below.get_xlabel() == "heading at 1 m/s (°)"


def moved(tasks: np.ndarray) -> Rollout:
    """Two episodes of three and of two steps; positions and velocities tell task and step."""
    n, total = len(tasks), 5
    episodes = np.repeat([0, 1], [3, 2])[:, None].repeat(n, 1)
    time = np.arange(total, dtype=float)[:, None] + 10.0 * np.arange(n)
    infos = {"x_position": time / 10, "y_position": -time / 20, "x_velocity": 2 * time}
    return Rollout(
        space=None, tasks=tasks, observations=time, actions=time, rewards=time,
        next_observations=time, episodes=episodes, valid=np.ones((total, n), bool), infos=infos,
        beliefs=None,
    )  # fmt: skip


def test_paths_are_those_of_their_episode_and_task(drawn: list[Any], tmp_path: Path) -> None:
    tasks = np.array([[1.75, 0.0], [1.75, np.pi / 2]], np.float32)
    plot = trajectories.plot_paths
    plot(moved(tasks), ("r (m)", "theta (rad)"), None, 2, tmp_path / "paths.png", "title")
    first, second = drawn[0].axes
    assert [axes.get_title() for axes in (first, second)] == [
        f"episode {k}, mean return {mean:.1f}" for k, mean in ((1, (3 + 33) / 2), (2, (7 + 27) / 2))
    ]
    for axes, steps in ((first, [0, 1, 2]), (second, [3, 4])):
        for task, label in enumerate(("1.75 m, 0°", "1.75 m, 90°")):
            ((xs, ys),) = lines(axes, label=label)
            assert xs == pytest.approx([task + step / 10 for step in steps])
            assert ys == pytest.approx([-(task + step / 10) / 2 for step in steps])
        goals = np.array(lines(axes, marker="x"))[..., 0]
        np.testing.assert_allclose(goals, [(1.75, 0.0), (0.0, 1.75)], atol=1e-6)


def test_directions_are_lines_from_the_start(drawn: list[Any], tmp_path: Path) -> None:
    tasks, train = np.array([[np.pi / 6], [np.pi]], np.float32), np.array([[np.pi / 2]])
    plot = trajectories.plot_paths
    plot(moved(tasks), ("theta (rad)",), train, 1, tmp_path / "paths.png", "title")
    (axes,) = drawn[0].axes
    ends = np.array([(xs[1], ys[1]) for xs, ys in lines(axes, linestyle="--")])
    degrees = np.rad2deg(np.arctan2(ends[:, 1], ends[:, 0]))
    assert degrees % 360 == pytest.approx([30.0, 180.0], abs=1e-3)
    ((xs, ys),) = lines(axes, label="train headings")
    assert (xs[0], ys[0]) == (0.0, 0.0) and ys[1] > 1.0 and xs[1] == pytest.approx(0.0, abs=1e-9)


def test_speeds_are_those_of_their_episode_and_task(drawn: list[Any], tmp_path: Path) -> None:
    tasks = np.array([[1.5], [2.5]], np.float32)
    trajectories.plot_speed(moved(tasks), ("v (m/s)",), 0.05, 2, tmp_path / "s.png", "title")
    panels = np.array(drawn[0].axes).reshape(2, 2)
    for episode, steps in enumerate(([0, 1, 2], [3, 4])):
        upper, lower = panels[:, episode]
        times = [0.05 * (k + 1) for k in range(len(steps))]
        for task in range(2):
            speeds = [2.0 * (10 * task + step) for step in steps]
            smooth = [np.mean(speeds[: k + 1]) for k in range(len(speeds))]
            xs, ys = lines(upper, linewidth=1.4)[task]
            assert xs == pytest.approx(times) and ys == pytest.approx(smooth)
            xs, ys = lines(lower, label=f"{tasks[task, 0]:g}")[0]
            assert xs == pytest.approx(times) and ys == pytest.approx([v / 20 for v in speeds])
            assert lines(upper, linestyle="--")[task][1] == [tasks[task, 0]] * 2
            xs, ys = lines(lower, linestyle="--")[task]
            assert ys == pytest.approx([tasks[task, 0] * at for at in times])
