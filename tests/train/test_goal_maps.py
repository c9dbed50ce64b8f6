"""Decoded rewards over positions, against decoders whose highest place is known."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from matplotlib.image import imread
from tiny_runs import train_tiny

import ldm_envs  # noqa: F401  registers the ids
from ldm_wrappers import DirichletMixture, LatentDynamics
from ldm_wrappers.imagination import SavedBeliefs, mixes_all
from ldm_wrappers.imagination.saved_scheme import SavedScheme
from train.common.env_source import EnvSource
from train.common.evaluation import SplitResult
from train.common.goal_decoder import GoalDecoder
from train.common.parts import saved_mixture
from train.common.places import Places, cell_bounds, reward_fields
from train.config.presets import resolve
from train.imaginary_goals import main, measure
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder
from train.plots.goal_maps import goal_maps

SOURCE = EnvSource("LDM-AntGoal-v0")


class Pointing(LatentDynamics):
    """Decodes minus the distance from the next (x, y) to the place that the latent begins with."""

    def imagine_reward(self, latents, observations, actions, next_observations, mask=None):  # type: ignore[no-untyped-def]
        return -(next_observations[..., :2] - latents[..., :2]).norm(dim=-1)


@pytest.fixture(scope="module")
def places() -> Places:
    found = Places.of(SOURCE)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def model() -> Pointing:
    env = gym.make("LDM-AntGoal-v0")
    return Pointing(env.observation_space, env.action_space)


def test_only_positions_vary_and_goals_are_where_tasks_say(places: Places) -> None:
    env = gym.make("LDM-AntGoal-v0")
    start = np.mean([env.reset(seed=s)[0] for s in range(200)], 0)  # its noise is around the rest
    np.testing.assert_allclose(places.observations[:, 2:], np.tile(start[2:], (841, 1)), atol=0.05)
    np.testing.assert_array_equal(places.observations[:, :2], places.xy)
    np.testing.assert_allclose(places.goals(places.tasks), places.xy, atol=1e-5)
    distribution = SOURCE.facts().distribution
    radius = np.hypot(*places.xy.T)
    train = (radius < 1) | (radius >= 2.5)
    expected = np.where(train, "train", "test").astype(object)
    expected[radius >= 3] = "outside"
    assert (places.splits(distribution) == expected).mean() > 0.97  # but for rounding at the edges
    grid = Places.of(EnvSource("LDM-GridNavi-v0"))
    assert grid is not None and grid.shape == (7, 7)
    assert Places.of(EnvSource("LDM-HalfCheetahVel-v0")) is None


def shown_otherwise(kind: str) -> gym.Env:
    """AntGoal with a step count, or in other units."""
    env = gym.make("LDM-AntGoal-v0")
    if kind == "counted":
        return gym.wrappers.TimeAwareObservation(env)
    return gym.wrappers.TransformObservation(env, lambda shown: 10 * shown, env.observation_space)


@pytest.mark.parametrize("kind", ["counted", "scaled"])
def test_an_ant_that_a_wrapper_shows_otherwise_has_no_places(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its decoder reads other observations than those that places are made of."""
    monkeypatch.setattr(EnvSource, "_make", lambda self, **_: shown_otherwise(kind))
    source = EnvSource("LDM-AntGoal-v0", max_episode_steps=123)
    assert source.facts().distribution is not None and Places.of(source) is None


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 255, np.uint8),
        (-1e6, 1e6, np.float32),
        (np.finfo(np.float32).min, np.finfo(np.float32).max, np.float32),
        (-(2**31), 2**31 - 1, np.int32),
    ],
)
def test_a_box_of_many_whole_numbers_is_no_grid(low: float, high: float, dtype: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cell_bounds(gym.spaces.Box(low, high, (2,), dtype)) is None
        assert cell_bounds(gym.spaces.Box(0, 99, (2,), dtype)) is not None


def test_the_highest_place_is_the_decoders_own(places: Places, model: Pointing) -> None:
    latents = np.zeros((3, model.config.latent_dim), np.float32)
    latents[:, :2] = [(1.5, -2.0), (0.1, 0.05), (-9.0, 3.25)]
    best = places.xy[reward_fields(model, places.observations, latents).argmax(1)]
    np.testing.assert_array_equal(best, [(1.5, -2.0), (0.0, 0.0), (-3.5, 3.25)])


def test_a_larger_beta_moves_goals_outwards(places: Places, model: Pointing) -> None:
    """Beliefs on a circle of 1 m: mixtures are inside it at β = 1, scaled about the mean by β."""
    angles = 2 * np.pi * np.arange(8) / 8
    means = np.zeros((8, 1, model.config.latent_dim), np.float32)
    means[:, 0, 0], means[:, 0, 1] = np.cos(angles), np.sin(angles)
    beliefs = SavedBeliefs(means)
    maps = goal_maps(model, beliefs, DirichletMixture(n_components=2), places, [1.0, 2.5])
    radii = [np.hypot(*places.xy[found.fields.argmax(1)].T) for found in maps]
    assert radii[0] == pytest.approx(1.0, abs=0.2)
    assert radii[1].max() <= 1.2 and radii[2].max() > 1.5
    assert radii[2].mean() > 1.5 * radii[1].mean()
    again = goal_maps(model, beliefs, DirichletMixture(n_components=2), places, [1.0, 2.5])
    np.testing.assert_array_equal(again[2].fields, maps[2].fields)


def test_evaluations_tell_how_far_decoded_goals_are(places: Places, model: Pointing) -> None:
    tasks = np.array([(2.0, 0.0), (1.0, np.pi / 2)], np.float32)
    beliefs = np.zeros((2, model.config.latent_dim), np.float32)
    beliefs[:, :2] = [(2.0, 0.0), (-0.75, 2.0)]
    returns = np.zeros((2, 2))
    results = [SplitResult(s, tasks, returns, None, beliefs=beliefs) for s in ("train", "eval")]
    results.append(SplitResult("eval", np.zeros((1, 1)), returns[:1], None, beliefs=beliefs[:1]))
    rows = GoalDecoder(model, places).rows(7, results)
    assert [row["dropout"] for row in rows] == [0, 0, 1, 1] * 2
    assert [(row["x"], row["y"], row["distance"]) for row in rows[:2]] == [
        ("2", "0", "0"),
        ("-0.75", "2", "1.25"),
    ]
    assert not rows[0]["rewards"] and len(rows[4]["rewards"].split()) == len(places.xy)


class Dropping(Pointing):
    """Points to the opposite place with dropout."""

    def imagine_reward(self, latents, observations, actions, next_observations, mask=None):  # type: ignore[no-untyped-def]
        sign = 1.0 if mask is None else -1.0
        return super().imagine_reward(sign * latents, observations, actions, next_observations)


def test_goals_are_decoded_with_dropout_where_the_row_says_so(places: Places) -> None:
    env = gym.make("LDM-AntGoal-v0")
    model = Dropping(env.observation_space, env.action_space)
    beliefs = np.zeros((1, model.config.latent_dim), np.float32)
    beliefs[0, :2] = (2.0, 0.0)
    results = [SplitResult("eval", beliefs[:, :2], np.zeros((1, 2)), None, beliefs=beliefs)]
    rows = GoalDecoder(model, places).rows(7, results)
    assert [(row["dropout"], row["x"], row["distance"]) for row in rows] == [
        (0, "2", "0"),
        (1, "-2", "4"),
    ]


def test_the_command_writes_table_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_tiny(tmp_path / "run", "ldm")
    out = tmp_path / "out"
    sizes = ["--mixtures", "5", "--betas", "1", "2"]
    assert main([str(run), *sizes, "--out", str(out)]) == 0
    rows = read_csv(out / "imaginary_goals.csv")
    assert [sum(r["latents"] == name for r in rows) for name in ("β = 1", "β = 2")] == [5, 5]
    cells = {"train": {2, 6}, "test": {3, 4, 5}, "outside": {0, 1}}
    assert all(max(float(r["x"]), float(r["y"])) in cells[r["split"]] for r in rows)
    image = imread(out / "imaginary_goals.png")
    last = read_csv(run / "decoded_goals.csv")[-1]
    assert (last["timesteps"], last["split"]) == ("960", "test")
    printed = capsys.readouterr().out
    assert image[..., :3].std() > 0.03 and "median distance" in printed
    assert f"{run}, after 960 steps:" in printed
    (tmp_path / "other").mkdir()
    copy = shutil.copytree(run, tmp_path / "other" / "run")
    assert (
        main([str(run), str(copy), "--mixtures", "5", "--betas", "1", "1", "--out", str(out)]) == 0
    )
    kinds = Counter((r["run"], r["latents"]) for r in read_csv(out / "imaginary_goals.csv"))
    assert {kinds[str(path), "β = 1"] for path in (run, copy)} == {5}
    with pytest.raises(SystemExit):
        main([str(run), str(run)])
    assert "expected each run once" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(run), "--mixtures", "0"])
    with pytest.raises(SystemExit):
        main([str(run), "--betas", "1e300"])  # weights are float32
    assert "got 1e+300" in capsys.readouterr().err
    (run / "beliefs.safetensors").unlink()
    with pytest.raises(SystemExit):
        main([str(run)])
    assert "beliefs.safetensors" in capsys.readouterr().err


def test_a_mixture_of_all_workers_is_not_one_of_all_saved_beliefs(tmp_path: Path) -> None:
    """A run of three normal workers that mixes all of them leaves more beliefs than that."""
    run = train_tiny(tmp_path / "run", "ldm", "--mixture.n-components", "None")
    beliefs = SavedBeliefs.load(run / "beliefs.safetensors")
    assert beliefs.n_beliefs > 3
    assert beliefs.mixture == DirichletMixture(n_components=3)
    folder = RunFolder.open(run)
    assert folder.config.mixture.n_components is None
    grid = Places.of(EnvSource("LDM-GridNavi-v0"))
    assert grid is not None
    maps, _ = measure(folder, grid, [1.0], 40)
    found = maps[1].fields
    model = LatentDynamics.load(run / "latent_dynamics.safetensors")
    same = goal_maps(model, beliefs, DirichletMixture(n_components=3), grid, [1.0], n_mixtures=40)
    np.testing.assert_array_equal(found, same[1].fields)


def test_a_method_without_a_model_is_named(tmp_path: Path) -> None:
    """It has no files that are missing because the run has not ended."""
    grid = Places.of(EnvSource("LDM-GridNavi-v0"))
    assert grid is not None
    with pytest.raises(ValueError, match="method rl2 has no latent dynamics model"):
        measure(RunFolder(tmp_path, resolve("LDM-GridNavi-v0", "rl2")), grid, [1.0], 40)


@dataclass(frozen=True)
class Mean(SavedScheme):
    """A scheme of one's own, without settings: the mean of all beliefs."""

    def sample(self, rng: Any, n_mixture: int, n_normal: int, latent_dim: int) -> Any:
        return np.full((n_mixture, n_normal, 1), 1 / n_normal, np.float32)


def test_a_scheme_of_ones_own_is_saved_as_it_is() -> None:
    """It has no `n_components` that would have to be a number for saved beliefs."""
    settings = resolve("LDM-GridNavi-v0", "ldm")
    config = copy.copy(settings)
    object.__setattr__(config, "mixture", Mean())
    assert saved_mixture(config, 200) == Mean()
    assert not mixes_all(Mean())
    assert mixes_all(DirichletMixture())
    assert not mixes_all(DirichletMixture(n_components=2))
