"""``train.figures`` on made-up runs: the numbers, every figure, and C6 (the same again)."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from packaging.version import Version
from tiny_runs import build

from train import figures
from train.analysis.aggregate import estimates, final_scores, group_curve, groups, read_runs
from train.analysis.tables import write_csv
from train.common.artifacts import save_artifacts
from train.common.env_source import EnvSource
from train.config.grouping import override_text
from train.config.methods import METHODS
from train.config.presets import resolve
from train.figures import add_runs, main
from train.persistence.files import CsvFile, read_csv, write_json
from train.persistence.run_folder import RunFolder
from train.plots import results_folder
from train.plots.optimal_returns import standing_returns
from train.plots.paper_maps import collect_mixtures
from train.plots.results_folder import file_suffixes
from train.plots.style import group_colours

GRID, OUTER = "LDM-GridNavi-v0", "LDM-GridNaviExtrapolation-v0"
SPLITS = {"train": ["2 0"], "test": ["3 0", "4 0"]}
ROW = ("group", "split", "quantity", "timesteps")
STEPS = [250_000 * k for k in range(1, 7)]


def made_up(
    folder: Path,
    env_id: str,
    method: str,
    seed: int,
    level: float,
    preset: str = "default",
    **changes: Any,
) -> Path:
    """A run folder whose returns grow to ``level``; a task is reached where its return is > 0."""
    config = resolve(env_id, method, preset, seed=seed, **changes)
    text = override_text(config).replace(" ", "-")
    name = [env_id, method, preset.replace("default", ""), text, f"seed{seed}"]
    path = folder / "-".join(filter(None, name))
    write_json(path / "config.json", {"format": "ldm-run-1", "config": config.to_dict()})
    rng = np.random.default_rng([seed, len(str(path.name))])
    distribution = EnvSource(env_id).facts().distribution
    splits = {k: distribution[k].tasks for k in distribution.splits if k not in ("all", "eval")}
    if env_id not in (GRID, OUTER):  # continuous tasks
        rest = {"eval": distribution["eval"].tasks}
        splits = {"train": distribution["train"].sample(np.random.default_rng(0), 3), **rest}
    rows = []
    for index, step in enumerate(STEPS):
        for split, tasks in splits.items():
            for task in tasks:
                for episode in range(1, config.n_episodes + 1):
                    value = level * (index + 1) / len(STEPS) * episode / 4 + rng.normal() * 3
                    value -= 8.0 * (split != "train")
                    row = (step, split, " ".join(f"{v:g}" for v in task), episode)
                    rows.append((*row, repr(float(value)), int(value > 0)))
    with (path / "evaluations.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timesteps", "split", "task", "episode", "return", "reached"])
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    runs, out = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("results")
    paths = [
        made_up(runs, GRID, method, seed, level)
        for method, level in (("ldm", 22.0), ("rl2", 20.0), ("oracle-rl2", 23.0))
        for seed in range(3)
    ]
    paths += [made_up(runs, GRID, "ldm", s, 12.0, p_drop=p) for p in (0.0, 0.9) for s in range(2)]
    paths += [
        made_up(runs, OUTER, "ldm", s, 5.0 + 5 * b, **{"mixture.beta": b})
        for b in (1.0, 2.5)
        for s in (0, 1)
    ]
    assert main(["--collect", *map(str, paths), "--out", str(out)]) == 0
    return {"paths": paths, "out": out}


def test_every_figure_is_drawn(made: dict[str, Any]) -> None:
    names = {path.name for path in made["out"].iterdir()}
    figures = {"figure3", "first_episode", "dropout", "dropout_tasks", "figure6"}
    figures |= {"beta_GridNaviExtrapolation"}
    assert "figure3_GridNaviExtrapolation.png" not in names  # nothing there but an ablation
    assert names >= {f"{name}.png" for name in figures} | {f"{name}.csv" for name in figures}
    assert names >= {"runs.csv", "curves.csv", "tasks.csv", "summary.csv"}
    assert "worker_ratio.png" not in names and "figure4.png" not in names
    for name in figures:
        image = imread(made["out"] / f"{name}.png")
        assert image.shape[0] > 300 and image.shape[1] > 400
        assert image[..., :3].std() > 0.03


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves of methods take long to draw, and other tests are about them."""
    monkeypatch.setattr(results_folder, "plot_paper_curves", lambda *_, **__: [])


@pytest.mark.usefixtures("few_figures")
def test_figure_6_of_the_papers_own_scheme(tmp_path: Path) -> None:
    """Two presets side by side: each its own files, named after the preset."""
    name = "present-beliefs"
    betas = [
        made_up(tmp_path, OUTER, "ldm", 0, 5.0 + b, preset, **{"mixture.beta": b})
        for preset in ("default", name)
        for b in (1.0, 2.5)
    ]
    out = tmp_path / "out"
    assert main(["--collect", *map(str, betas), "--out", str(out)]) == 0
    found = {path.name for path in out.glob("*.png")}
    assert found == {"figure6.png", f"figure6_{name}.png"}
    rows = {stem: read_csv(out / f"{stem}.csv") for stem in ("figure6", f"figure6_{name}")}
    returns = [[row["return"] for row in table] for table in rows.values()]
    assert returns[0] != returns[1] and len(returns[0]) == len(returns[1])


def test_figure_4_of_every_scheme_is_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of mixtures per preset, of runs as training leaves them."""
    runs = []
    for preset in ("default", "present-beliefs", "published-tasks"):
        path = tmp_path / preset
        config = resolve(GRID, "ldm", preset, p_drop=0.5, device="cpu", run_dir=str(path))
        folder = RunFolder.create(config)
        learner = build(config)
        save_artifacts(folder, learner)
        learner.close()
        runs.append((preset, folder))
    rows = collect_mixtures(runs)
    for preset, _ in runs:
        own = [row for row in rows if row["preset"] == preset]
        weights = np.array([r["values"].split() for r in own if r["kind"] == "weights"], float)
        assert weights.shape == (50, 18)
        np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-2)  # Eq. 1: β-independent
        maps = np.array([r["values"].split() for r in own if r["kind"] == "dropout_maps"], float)
        assert maps.shape == (50, 49) and np.isfinite(maps).all()
    text = [{k: str(v) for k, v in row.items()} for row in rows]
    write_csv(tmp_path / "mixtures.csv", text)
    # slow, drawn elsewhere
    monkeypatch.setattr(results_folder, "plot_paper_maps", lambda _, path: path)
    names = [path.name for path in results_folder._draw_tables(tmp_path, tmp_path, [])]
    assert names == ["figure4.png", "figure4_present-beliefs.png", "figure4_published-tasks.png"]


@pytest.mark.usefixtures("few_figures")
def test_appendix_b_shows_errors_and_decoded_goals_over_training(tmp_path: Path) -> None:
    paths = []
    for p_drop in (0.0, 0.5):
        run = made_up(tmp_path, GRID, "ldm", 0, 9.0, p_drop=p_drop)
        columns = ("reward_error", "reward_error_with_dropout")
        CsvFile(run / "metrics.csv").append(
            [
                {
                    "timesteps": s,
                    **{f"eval/{k}_{c}": 1e6 / s + p_drop for k in SPLITS for c in columns},
                }
                for s in STEPS
            ]
        )
        field = " ".join(f"{value / 48:.3g}" for value in range(49))
        CsvFile(run / "decoded_goals.csv").append(
            [
                {"timesteps": s, "split": split, "task": task, "dropout": d, "x": 6, "y": 6,
                 "distance": 2 + d + index, "rewards": field if task == "3 0" else ""}
                for s in STEPS for split, named in SPLITS.items()
                for d in range(2 if p_drop else 1) for index, task in enumerate(named)
            ]
        )  # fmt: skip
        paths.append(run)
    out = tmp_path / "out"
    assert main(["--collect", *map(str, paths), "--out", str(out)]) == 0
    rows = read_csv(out / "reward_error.csv")
    key = ("ldm p_drop=0.5", "test", "reward_error", str(STEPS[1]))
    own = next(r for r in rows if tuple(r[k] for k in ROW) == key)
    assert float(own["mean"]) == pytest.approx(1e6 / STEPS[1] + 0.5)
    key = ("ldm p_drop=0.5", "test", "goal_distance_with_dropout", str(STEPS[-1]))
    own = next(r for r in rows if tuple(r[k] for k in ROW) == key)
    assert float(own["mean"]) == pytest.approx(3.5)  # 3 and 4
    kept = read_csv(out / "decoded_goals.csv")
    assert {row["split"] for row in kept} == {"test"} and len(kept) == 6 * 2 * 3
    for name in ("reward_error", "decoded_goals"):
        assert imread(out / f"{name}.png")[..., :3].std() > 0.03


@pytest.mark.usefixtures("few_figures")
def test_figure_7_puts_the_families_side_by_side(tmp_path: Path) -> None:
    families = ("LDM-HalfCheetahVel-v0", "LDM-AntGoal-v0")
    paths = [
        made_up(tmp_path, env_id, method, 0, level)
        for env_id in families
        for method, level in (("ldm", 22.0), ("rl2", 20.0), ("pearl", 10.0), ("known-task", 30.0))
    ]
    out = tmp_path / "out"
    assert main(["--collect", *map(str, paths), "--out", str(out)]) == 0
    rows = read_csv(out / "figure7.csv")
    assert {(row["env_id"], row["split"]) for row in rows} == {
        (env_id, split) for env_id in families for split in ("train", "eval")
    }
    last = [
        r for r in rows if (r["env_id"], r["group"], r["split"]) == (families[1], "ldm", "eval")
    ]
    own = [r for r in read_csv(paths[4] / "evaluations.csv") if r["split"] == "eval"]
    own = [
        float(r["return"]) for r in own if r["episode"] == "2" and int(r["timesteps"]) in STEPS[1:]
    ]
    assert float(last[-1]["mean"]) == pytest.approx(np.mean(own), rel=1e-4)


def test_standing_still_earns_what_the_environment_pays() -> None:
    for env_id in ("LDM-AntGoal-v0", "LDM-AntDir-v0", "LDM-HalfCheetahVel-v0"):
        env = gym.make(env_id)
        task = EnvSource(env_id).facts().distribution["eval"].tasks[1]
        env.reset(seed=0, options={"task": task})
        total, done = 0.0, False
        while not done:
            _, reward, terminated, truncated, _ = env.step(np.zeros(env.action_space.shape))
            total, done = total + float(reward), terminated or truncated
        found = standing_returns(EnvSource(env_id), task[None])
        # It settles first; before MuJoCo 3.14 the Ant does so up to half a metre from its start.
        settled = Version(mujoco.__version__) >= Version("3.14")
        assert found is not None
        assert found[0] == pytest.approx(total, abs=12.0 if settled else 100.0)
    assert standing_returns(EnvSource(GRID), np.zeros((1, 2))) is None


def own_values(path: Path, split: str, episode: int) -> np.ndarray:
    """Mean returns and tasks reached per evaluation, from a run's evaluations.csv: (steps, 2)."""
    rows = [r for r in read_csv(path / "evaluations.csv") if r["split"] == split]
    rows = [r for r in rows if int(r["episode"]) == episode]
    table = []
    for step in STEPS:
        here = [r for r in rows if int(r["timesteps"]) == step]
        returns = [float(r["return"]) for r in here]
        table.append((sum(returns) / len(returns), sum(int(r["reached"]) for r in here)))
    return np.array(table)


def test_group_curves_are_means_over_seeds_of_moving_averages(made: dict[str, Any]) -> None:
    runs = groups(read_runs(made["out"]))["ldm"]
    runs = [run for run in runs if run.row["env_id"] == GRID]
    values = np.stack([own_values(path, "test", 4) for path in made["paths"][:3]])
    smooth = np.array(
        [[values[i, max(0, t - 4) : t + 1].mean(0) for t in range(len(STEPS))] for i in range(3)]
    )
    for column, missed in ((0, False), (1, True)):
        found = group_curve(runs, "test", 4, missed=missed)
        expected = 27 - smooth[..., column] if missed else smooth[..., column]
        assert found is not None
        np.testing.assert_array_equal(found.steps, STEPS)
        np.testing.assert_array_equal(found.runs, 3)
        np.testing.assert_allclose(found.mean, expected.mean(0), rtol=1e-4)
        np.testing.assert_allclose(found.std, expected.std(0, ddof=1), atol=1e-4)
        np.testing.assert_allclose(found.iqm, expected.mean(0), rtol=1e-4)  # 3 // 4 = 0 cut
        assert (found.low <= found.iqm).all() and (found.iqm <= found.high).all()
    one = group_curve(runs[:1], "test", 4)
    two = group_curve(runs[:2], "test", 4)
    assert one is not None and two is not None
    assert np.isnan([one.std, one.low, one.high, two.low, two.high]).all()
    assert np.isfinite([one.mean, one.iqm, two.mean, two.std, two.iqm]).all()
    rows = read_csv(made["out"] / "figure3.csv")
    last = [r for r in rows if (r["group"], r["split"], r["quantity"]) == ("ldm", "test", "missed")]
    assert float(last[-1]["mean"]) == pytest.approx(27 - smooth[:, -1, 1].mean(), rel=1e-4)


def test_the_summary_is_of_the_last_five_evaluations(made: dict[str, Any]) -> None:
    rows = read_csv(made["out"] / "summary.csv")
    own = [r for r in rows if (r["env_id"], r["group"], r["split"]) == (GRID, "rl2", "train")]
    assert [row["episode"] for row in own] == ["1", "4"]
    for row in own:
        values = np.stack(
            [
                own_values(path, "train", int(row["episode"]))[-5:].mean(0)
                for path in made["paths"][3:6]
            ]
        )
        assert float(row["return_mean"]) == pytest.approx(values[:, 0].mean(), rel=1e-4)
        assert float(row["reached_mean"]) == pytest.approx(values[:, 1].mean(), rel=1e-4)
        assert float(row["reached_mean_low"]) <= float(row["reached_mean"])
        assert (row["runs"], row["tasks"]) == ("3", "18")
    runs = groups(r for r in read_runs(made["out"]) if r.row["env_id"] == GRID)["rl2"]
    np.testing.assert_allclose(final_scores(runs, "train", 4), values[:, 0], rtol=1e-4)


def test_few_runs_have_no_interval() -> None:
    full = {"mean", "mean_low", "mean_high", "std", "iqm", "iqm_low", "iqm_high"}
    for n, known in enumerate(([], ["mean", "iqm"], ["mean", "iqm", "std"], full)):
        scores = np.arange(float(n)) ** 2
        found = estimates("return", scores)
        assert set(found) == {f"return_{name}" for name in full}
        assert {name for name in full if found[f"return_{name}"]} == set(known)
    assert float(found["return_std"]) == pytest.approx(statistics.stdev([0.0, 1.0, 4.0]), rel=1e-5)


def test_figure_6_shows_the_mean_return_of_every_task(made: dict[str, Any]) -> None:
    rows = read_csv(made["out"] / "figure6.csv")
    assert {row["group"] for row in rows} == {"beta 1", "beta 2.5"}
    row = next(
        r for r in rows if (r["group"], r["split"], r["task"]) == ("beta 2.5", "test2", "6 0")
    )
    values = []
    for path in made["paths"][-2:]:
        for one in read_csv(path / "evaluations.csv"):
            key = (one["split"], one["task"], one["episode"])
            if key == ("test2", "6 0", "4") and int(one["timesteps"]) in STEPS[-5:]:
                values.append(float(one["return"]))
    assert len(values) == 10
    assert float(row["return"]) == pytest.approx(np.mean(values), rel=1e-4)


def test_c6_the_committed_files_alone_give_every_figure_again(
    made: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fresh copy of the folder, without the runs; then one of few runs that was tampered with."""
    shutil.copytree(made["out"], tmp_path / "all")
    assert main([str(tmp_path / "all"), "--check"]) == 0
    drawn = [p for p in made["out"].iterdir() if p.stem not in ("runs", "curves", "tasks")]
    assert f"{len(drawn)} of {len(drawn)} redrawn files" in capsys.readouterr().out
    few = tmp_path / "few"
    few.mkdir()
    for name in ("runs.csv", "curves.csv", "tasks.csv"):
        lines = (made["out"] / name).read_text().splitlines(keepends=True)
        kept = [line for line in lines[1:] if line.startswith(f"{GRID}-rl2")]
        (few / name).write_text("".join([lines[0], *kept]))
    assert main([str(few)]) == 0
    first = {path.name: path.read_bytes() for path in few.iterdir()}
    (few / "figure3.csv").write_text("changed")
    (few / "leftover.png").write_bytes(b"")
    assert main([str(few), "--check"]) == 1
    text = capsys.readouterr().out
    assert "differs from the committed file: figure3.csv" in text
    assert "not drawn from the CSV files: leftover.png" in text
    for name in ("figure3.png", "first_episode.csv"):
        assert (few / name).read_bytes() == first[name], "--check must not write"


def test_pictures_of_an_earlier_collection_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figure 4 of other runs lay beside the new figures without a word.

    What train.imaginary_goals draws stays, and was a difference for --check.
    """
    monkeypatch.setattr(figures, "plot_results_folder", lambda _, out: [out / "figure3.png"])
    monkeypatch.setattr(figures, "_same", lambda *_: True)
    for name in ("runs.csv", "figure3.png", "figure4.png", "imaginary_goals.png"):
        (tmp_path / name).touch()
    assert main([str(tmp_path)]) == 0
    assert "not drawn from these CSV files: figure4.png; delete" in capsys.readouterr().err
    assert main([str(tmp_path), "--check"]) == 1
    (tmp_path / "figure4.png").unlink()
    assert main([str(tmp_path), "--check"]) == 0 and main([str(tmp_path)]) == 0
    assert "not drawn" not in capsys.readouterr().err


def test_one_value_of_an_ablation_is_shown_as_a_method_is(tmp_path: Path) -> None:
    run = made_up(tmp_path, GRID, "ldm", 0, 20.0, **{"mixture.beta": 2.0})
    out = tmp_path / "out"
    out.mkdir()
    (out / "mixtures.csv").write_text("of an earlier collection")
    assert main(["--collect", str(run), "--out", str(out)]) == 0
    assert (out / "figure3.png").exists() and not (out / "mixtures.csv").exists()
    with pytest.raises(SystemExit):
        main([str(out), "--check", "--out", str(tmp_path / "other")])


def test_methods_with_another_number_of_episodes_show_their_own_last_one(tmp_path: Path) -> None:
    """PEARL's third episode counts, and MQL's eleventh."""
    env_id = "LDM-HalfCheetahVel-v0"
    runs = [made_up(tmp_path, env_id, method, 0, -50.0) for method in ("pearl", "mql")]
    out = tmp_path / "out"
    assert main(["--collect", *map(str, runs), "--out", str(out)]) == 0
    for name, expected in (("figure3", {"pearl": 3, "mql": 11}), ("first_episode", None)):
        rows = read_csv(out / f"{name}_HalfCheetahVel.csv")
        shown = {row["group"]: int(row["episode"]) for row in rows}
        assert shown == (expected or {"pearl": 1, "mql": 1})
    own = [
        row
        for row in read_csv(out / "curves.csv")
        if "mql" in row["run"] and (row["split"], row["episode"]) == ("train", "11")
    ]
    drawn = read_csv(out / "figure3_HalfCheetahVel.csv")
    first = next(r for r in drawn if (r["group"], r["split"]) == ("mql", "train"))
    assert float(first["mean"]) == pytest.approx(float(own[0]["return"]), rel=1e-4)


def test_figures_of_two_environments_have_two_names() -> None:
    assert file_suffixes(["LDM-GridNavi-v0", "LDM-AntGoal-v0", "Reacher-v5"]) == {
        "LDM-GridNavi-v0": "",
        "LDM-AntGoal-v0": "_AntGoal",
        "Reacher-v5": "_Reacher-v5",
    }
    alike = ["LDM-AntGoal-v0", "AntGoal-v0", "LDM-AntGoal", "a:B-v0", "a/B-v0", "a-B-v0"]
    found = file_suffixes(alike)
    assert list(found) == alike
    assert len({suffix.lower() for suffix in found.values()}) == len(alike)


def test_no_two_methods_share_a_colour() -> None:
    names = [name for name in METHODS if "oracle" not in name]
    assert len(set(colours_of(names))) == len(names)
    assert len(set(colours_of(["pearl", "pearl", "mql", "ldm", "ldm", "promp"]))) == 6
    many = [*names, *names]
    assert len(set(colours_of(many))) == len(many)
    drawn = colours_of(["ldm", "rl2", "varibad", "ldm-varibad"] * 3)  # as in Figure 7's AntGoal
    for one, other in itertools.combinations([*drawn, "#ffffff"], 2):
        assert np.linalg.norm(lab(one) - lab(other)) > 20, (one, other)


def test_a_methods_own_colour_is_for_its_plain_group() -> None:
    found = group_colours({"ldm n_steps=20": "ldm", "rl2": "rl2", "ldm": "ldm"})
    assert {name: found[name] for name in ("ldm", "rl2")} == group_colours(
        {"ldm": "ldm", "rl2": "rl2"}
    )


def colours_of(methods: list[str]) -> list[str]:
    """Colours of groups with one label each."""
    labels = {f"{method} {index}": method for index, method in enumerate(methods)}
    found = group_colours(labels)
    return [found[label] for label in labels]


def test_colours_of_methods_can_be_told_apart() -> None:
    """Two greys of a known task and of an oracle differed by 8 (CIE 1976), which no one sees."""
    alike = {frozenset({"oracle", "oracle-rl2"})}  # two names of one
    for one, other in itertools.combinations(METHODS, 2):
        distance = np.linalg.norm(lab(*colours_of([one])) - lab(*colours_of([other])))
        assert distance > 15 or {one, other} in alike, (one, other)


def lab(colour: str) -> np.ndarray:
    """CIE L*a*b* of an sRGB colour (white point D65)."""
    coded = np.array(to_rgb(colour))
    linear = np.where(coded > 0.04045, ((coded + 0.055) / 1.055) ** 2.4, coded / 12.92)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    shares = np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089]
    x, y, z = np.where(shares > 0.008856, np.cbrt(shares), 7.787 * shares + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.usefixtures("few_figures")
def test_runs_are_added_to_a_collection_whose_folders_are_gone(
    made: dict[str, Any], tmp_path: Path
) -> None:
    """As if all had been collected together, in this order; a run again replaces its rows."""
    first, other, last = made["paths"][0], made["paths"][1], made["paths"][3]
    together, added = tmp_path / "together", tmp_path / "added"
    assert main(["--collect", *map(str, (first, other, last)), "--out", str(together)]) == 0
    moved = tmp_path / "runs" / first.name
    shutil.copytree(first, moved)
    assert main(["--add", str(moved), "--out", str(added)]) == 0  # there is nothing yet
    shutil.rmtree(moved)
    table = (added / "runs.csv").read_text()
    former = table.replace("n_mixture_workers", "n_mixture")  # as collected earlier
    (added / "runs.csv").write_text(former)
    assert former != table
    assert main(["--add", str(other), str(last), "--out", str(added)]) == 0
    for name in ("runs", "curves", "tasks", "summary"):
        assert (added / f"{name}.csv").read_text() == (together / f"{name}.csv").read_text()
    for changed in ({"seed": 7}, {"gamma": 0.5}, {"env_id": "LDM-GridNaviExtrapolation-v0"}):
        stranger = tmp_path / "-".join(changed) / other.name
        shutil.copytree(other, stranger)
        values = json.loads((stranger / "config.json").read_text())
        values["config"].update(changed)
        (stranger / "config.json").write_text(json.dumps(values))
        files = {file: file.read_bytes() for file in added.glob("*.csv")}
        with pytest.raises(ValueError, match=rf"called {other.name!r} .* already exists.* \(there"):
            add_runs([stranger], added)
        assert {file: file.read_bytes() for file in added.glob("*.csv")} == files
    longer = tmp_path / "runs" / other.name
    shutil.copytree(other, longer)
    values = json.loads((longer / "config.json").read_text())
    values["config"]["total_timesteps"] *= 2  # resumed with --total-timesteps: the same run
    (longer / "config.json").write_text(json.dumps(values))
    rows = (longer / "evaluations.csv").read_text()
    (longer / "evaluations.csv").write_text(rows.replace("\n250000,", "\n240000,"))
    assert main(["--add", str(longer), "--out", str(added)]) == 0
    runs = read_csv(added / "runs.csv")
    assert [row["run"] for row in runs] == [path.name for path in (first, last, other)]
    times = {row["run"]: row["timesteps"] for row in reversed(read_csv(added / "curves.csv"))}
    assert times == {first.name: "250000", last.name: "250000", other.name: "240000"}


@pytest.mark.usefixtures("few_figures")
def test_runs_of_different_lengths_are_compared_at_equal_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A long run cut at 750,000 steps is one that was trained for as many and logged the same."""
    made = [made_up(tmp_path / "made", GRID, "rl2", 0, 20.0)]
    made.append(made_up(tmp_path / "made", GRID, "rl2", 0, 20.0, total_timesteps=750_000))
    long, short = tmp_path / "long" / "run", tmp_path / "short" / "run"
    for source, run in zip(made, (long, short), strict=True):
        shutil.copytree(source, run)
    rows = read_csv(long / "evaluations.csv")
    write_csv(short / "evaluations.csv", [r for r in rows if int(r["timesteps"]) <= 750_000])
    metrics = "timesteps,eval/test_reward_error\n250000,0.5\n750000,0.25\n"
    (short / "metrics.csv").write_text(metrics)
    (long / "metrics.csv").write_text(metrics + "1000000,0.1\n")
    (long / "policy.safetensors").write_bytes(b"of its end")
    a, b = tmp_path / "a", tmp_path / "b"
    for run, out in ((long, a), (short, b)):
        assert main(["--collect", str(run), "--until", "750000", "--out", str(out)]) == 0
    assert "warning" not in capsys.readouterr().err
    for name in ("runs", "curves", "tasks", "summary", "beliefs"):
        assert (a / f"{name}.csv").read_text() == (b / f"{name}.csv").read_text()
    (row,) = read_csv(a / "runs.csv")
    assert row["overrides"] == "total_timesteps=750000"
    assert row["evaluated_timesteps"] == "750000"
    assert read_csv(long / "evaluations.csv") == rows


def test_a_run_that_cannot_be_cut_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rl2, ldm = (made_up(tmp_path, GRID, method, 0, 20.0) for method in ("rl2", "ldm"))

    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit):
            main([*arguments, "--out", str(tmp_path / "out")])
        return capsys.readouterr().err

    said = refused("--collect", str(rl2), "--until", "2000000")
    assert "up to step 1,500,000, expected 2,000,000" in said and "--resume" in said
    said = refused("--collect", str(ldm), "--until", "600000")
    assert "learning rate decays from 0.5 of its 10,000,000" in said
    assert "--total-timesteps 600000" in said
    said = refused("--collect", str(rl2), "--until", "600000")  # evaluated every 250,000 steps
    assert "only evaluated at 750,000 steps" in said and "such as 750000" in said
    assert "at least 1, got 0" in refused("--add", str(rl2), "--until", "0")
    assert "expected --collect or --add" in refused("--until", "600000")
    for flag in ("--collect", "--add"):
        assert "mine has no use" in refused("results/mine", flag, str(rl2))
    assert not (tmp_path / "out").exists()


def test_results_are_compact(made: dict[str, Any]) -> None:
    """30 kB a run at most, of 50 evaluations each: the 92 runs of the sweep stay under 3 MB."""
    size = sum((made["out"] / f"{n}.csv").stat().st_size for n in ("runs", "curves", "tasks"))
    assert size / len(made["paths"]) < 30_000


def test_bad_sources_are_refused(
    made: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit):
            main(list(arguments))
        return capsys.readouterr().err

    assert "has no runs.csv" in refused(str(tmp_path))
    assert "is not a run folder" in refused(
        "--collect", str(tmp_path), "--out", str(tmp_path / "out")
    )
    first = str(made["paths"][0])
    for flag in ("--collect", "--add"):  # not into the committed results
        assert "expected --out FOLDER" in refused(flag, first)
    assert "two runs are called" in refused("--collect", first, first, "--out", str(tmp_path / "o"))
    shutil.copytree(made["out"], tmp_path / "bad")
    text = (tmp_path / "bad" / "curves.csv").read_text()
    (tmp_path / "bad" / "curves.csv").write_text(text.replace("train", "other,more", 1))
    assert "damaged" in refused(str(tmp_path / "bad"))


def test_a_collection_does_not_replace_files_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its decoded_goals.csv was replaced by that of the collection: the run did not resume."""
    run = made_up(tmp_path, GRID, "ldm", 0, 20.0)
    before = sorted(run.rglob("*"))
    file = tmp_path / "file"
    file.touch()
    for flag in ("--collect", "--add"):
        for out, says in ((run, "is a run folder"), (file, f"but {file} is a file")):
            with pytest.raises(SystemExit):
                main([flag, str(run), "--out", str(out)])
            assert f"error: --out {out} " in (said := capsys.readouterr().err) and says in said
    assert sorted(run.rglob("*")) == before
