"""What the pictures are drawn from: recorded episodes, reward maps, mixtures."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from matplotlib.image import imread
from tiny_runs import build

from ldm_wrappers import DirichletMixture, ExpectedReward, PlausibleTasks
from ldm_wrappers.imagination import ImaginationScheme
from ldm_wrappers.latent_dynamics import LatentDynamics, LatentDynamicsConfig
from train.common.env_source import EnvSource
from train.common.envs import evaluation_tasks
from train.common.on_policy import OnPolicyLearner as Learner
from train.common.places import reward_fields
from train.config.presets import resolve
from train.plots.grid import Grid
from train.plots.mixtures import Mixtures, sample_mixtures
from train.plots.rollout import record
from train.plots.style import figure, group_colours, group_label, save, short_labels
from train.plots.trajectories import plot_paths, plot_speed, step_seconds
from train.plots.video import RenderingError, choose_renderer, record_video

SEVEN = spaces.Box(0.0, 6.0, (2,), dtype=np.float32)
GRID = Grid((0, 0), (6, 6))


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


@pytest.fixture(scope="module")
def learner() -> Iterator[Learner]:
    """An untrained LDM learner on the grid."""
    config = resolve(
        "LDM-GridNavi-v0",
        "ldm",
        n_workers=4,
        n_mixture_workers=1,
        mixture=DirichletMixture(n_components=3),
        device="cpu",
        n_episodes=2,
    )
    built = build(config)
    yield built
    built.vec_env.close()


# ------------------------------------------------------------------ rollouts


def test_a_rollout_holds_true_transitions_and_online_beliefs(learner: Learner) -> None:
    tasks = np.array([[6, 0], [3, 4], [0, 2]], np.float32)
    rollout = record(learner, tasks)
    assert rollout.valid.shape == (60, 3) and rollout.valid.all()
    assert np.array_equal(rollout.episodes, np.repeat([0, 1], 30)[:, None].repeat(3, 1))
    env = gym.make("LDM-GridNavi-v0")
    for index, task in enumerate(tasks):
        for episode in range(2):
            options = {"keep_task": True} if episode else {"task": task}
            observation, _ = env.reset(options=options)
            total = 0.0
            for step in rollout.steps(index, episode):
                assert np.array_equal(rollout.observations[step, index], observation)
                observation, reward, _, _, info = env.step(rollout.actions[step, index])
                assert np.array_equal(rollout.next_observations[step, index], observation)
                assert rollout.rewards[step, index] == reward
                assert rollout.infos["is_success"][step, index] == info["is_success"]
                total += float(reward)
            assert rollout.returns(2)[index, episode] == pytest.approx(total)
    env.close()
    assert learner.latent_dynamics is not None and rollout.beliefs is not None
    actions = torch.as_tensor(rollout.actions, dtype=torch.float32).unsqueeze(-1)
    rewards = torch.as_tensor(rollout.rewards, dtype=torch.float32)
    with torch.no_grad():
        posterior = learner.latent_dynamics.encoder(
            actions, rewards, torch.as_tensor(rollout.next_observations)
        )
    assert np.allclose(rollout.beliefs, posterior.mean.numpy(), atol=1e-5)
    assert np.array_equal(rollout.final_beliefs(), rollout.beliefs[-1])


def test_a_method_without_a_model_has_no_beliefs() -> None:
    built = build(resolve("LDM-GridNavi-v0", "rl2", n_workers=4, device="cpu", n_episodes=1))
    assert record(built, np.array([[6, 0]], np.float32)).beliefs is None
    built.vec_env.close()


# ------------------------------------------------------------------ the grid and its reward maps


def test_cells_and_images_agree() -> None:
    grid = Grid((-1, 0), (2, 1))
    assert grid.shape == (2, 4)
    assert np.array_equal(grid.index(grid.cells), np.arange(8))
    image = grid.image(grid.cells[:, 0] + 10 * grid.cells[:, 1])
    assert image[1, 3] == 2 + 10 * 1
    assert grid.holds(np.array([[-1, 1]])) and not grid.holds(np.array([[3, 1]]))
    assert not grid.holds(np.array([[0.5, 1]])) and not grid.holds(None)


@pytest.mark.parametrize(
    "config",
    [
        LatentDynamicsConfig.grid(),
        LatentDynamicsConfig.grid(decoder_heads=49, p_drop=0.0),
        LatentDynamicsConfig.grid(
            likelihood="gaussian", decoder_inputs=("observation", "action", "next_observation")
        ),
    ],
    ids=["bernoulli", "multi-head", "gaussian on s, a, s'"],
)
def test_a_reward_map_is_the_decoder_on_each_cell(config: LatentDynamicsConfig) -> None:
    model = LatentDynamics(SEVEN, spaces.Discrete(5), config, seed=3)
    latents = np.random.default_rng(0).normal(size=(2, 32)).astype(np.float32)
    maps = reward_fields(model, GRID.cells, latents)
    assert maps.shape == (2, 49)
    for latent, x, y in itertools.product(range(2), (0, 2, 6), (0, 5)):
        cell = torch.tensor([float(x), float(y)])
        with torch.no_grad():
            raw = float(
                model.decoder(torch.from_numpy(latents[latent]), cell, torch.zeros(1), cell)
            )
        expected = raw
        if config.likelihood == "bernoulli":
            expected = -0.1 + 1.1 / (1.0 + math.exp(-raw))
        assert GRID.image(maps)[latent, y, x] == pytest.approx(expected, abs=1e-5)


def test_the_dropout_map_is_a_mean_over_masks() -> None:
    model = LatentDynamics(SEVEN, spaces.Discrete(5), LatentDynamicsConfig.grid(), seed=3)
    latents = np.ones((1, 32), np.float32)
    cells = torch.from_numpy(GRID.cells)
    generator = torch.Generator().manual_seed(7)
    expected = torch.zeros(49)
    for _ in range(5):
        mask = model.decoder.dropout_mask(49, generator=generator)
        expected += model.imagine_reward(torch.ones(49, 32), cells, torch.zeros(49, 1), cells, mask)
    drawn = reward_fields(model, GRID.cells, latents, samples=5, seed=7)
    assert np.allclose(drawn[0], expected / 5, atol=1e-6)
    assert not np.allclose(drawn, reward_fields(model, GRID.cells, latents), atol=1e-4)


def test_kept_masks_are_the_same_on_every_cell() -> None:
    model = LatentDynamics(SEVEN, spaces.Discrete(5), LatentDynamicsConfig.grid(), seed=3)
    generator = torch.Generator().manual_seed(7)
    latents = torch.randn(2, 32, generator=generator)
    masks = model.decoder.dropout_mask(3, 2, generator=generator)
    drawn = reward_fields(model, GRID.cells, latents.numpy(), masks=masks)
    cells = torch.from_numpy(GRID.cells)
    for task in range(2):
        for cell in (0, 13, 48):
            paid = [
                model.imagine_reward(
                    latents[task], cells[cell], torch.zeros(1), cells[cell], mask=mask[task]
                )
                for mask in masks
            ]
            assert drawn[task, cell] == pytest.approx(float(sum(paid)) / 3, abs=1e-6)
    assert not np.allclose(drawn, reward_fields(model, GRID.cells, latents.numpy()), atol=1e-4)


# ------------------------------------------------------------------ mixtures


def mixtures_of(learner: Learner, **changes: Any) -> Mixtures:
    import dataclasses

    tasks = evaluation_tasks(learner.config)
    assert (
        learner.latent_dynamics is not None
        and tasks["train"] is not None
        and tasks["test"] is not None
    )
    rollout = record(learner, tasks["train"])
    config = dataclasses.replace(learner.config, **changes)
    return sample_mixtures(
        config, learner.latent_dynamics, GRID, rollout, tasks["test"], n_mixtures=20, samples=2
    )


def test_a_mixture_of_one_belief_is_that_belief(learner: Learner) -> None:
    changes = {"mixture": DirichletMixture(n_components=1), "imagination": ExpectedReward()}
    mixtures = mixtures_of(learner, **changes)
    assert np.allclose(mixtures.weights.sum(1), 1) and np.allclose(mixtures.weights.max(1), 1)
    chosen = mixtures.weights.argmax(1)
    assert len(set(chosen)) > 3
    assert np.allclose(mixtures.maps, mixtures.own_maps[chosen], atol=1e-5)
    assert np.allclose(mixtures.dropout_maps, mixtures.own_dropout_maps[chosen], atol=1e-5)
    assert not np.allclose(mixtures.own_dropout_maps, mixtures.own_maps, atol=1e-4)


def test_beta_above_one_gives_negative_weights(learner: Learner) -> None:
    plain = mixtures_of(learner, mixture=DirichletMixture(1.0))
    extrapolated = mixtures_of(learner, mixture=DirichletMixture(3.0))
    assert plain.weights.min() >= 0 > extrapolated.weights.min()
    assert plain.weights[:, 0].any() and plain.weights[:, -1].any()  # any train task
    for mixtures in (plain, extrapolated):
        assert np.allclose(mixtures.weights.sum(1), 1, atol=1e-5)
        assert "β = " in mixtures.describe()[0] and len(mixtures.describe()) == 3


@pytest.mark.parametrize(
    "imagination",
    [ExpectedReward(), ExpectedReward(2, keep_dropout_masks=True), PlausibleTasks(n_candidates=4)],
)
def test_mixtures_of_any_imaginary_tasks_can_be_drawn(
    learner: Learner, imagination: ImaginationScheme
) -> None:
    mixtures = mixtures_of(learner, imagination=imagination)
    assert mixtures.dropout_maps.shape == mixtures.maps.shape == (20, 49)
    assert not np.allclose(mixtures.dropout_maps, mixtures.maps, atol=1e-4)
    chosen = isinstance(imagination, PlausibleTasks)
    assert ("training keeps one in 4" in mixtures.describe()[0]) == chosen


@pytest.mark.parametrize(
    ("imagination", "kept"),
    [(ExpectedReward(), False), (ExpectedReward(2, keep_dropout_masks=True), True)],
)
def test_tasks_that_keep_dropout_masks_have_their_own(
    learner: Learner, imagination: ImaginationScheme, kept: bool
) -> None:
    """Mixtures of the same single belief differ in nothing else."""
    mixtures = mixtures_of(
        learner, mixture=DirichletMixture(n_components=1), imagination=imagination
    )
    chosen, maps = mixtures.weights.argmax(1), mixtures.dropout_maps
    alike = [(i, j) for i, j in itertools.combinations(range(20), 2) if chosen[i] == chosen[j]]
    assert alike
    for i, j in alike:
        assert np.allclose(maps[i], maps[j], atol=1e-5) != kept


def test_peaks_are_counted_by_kind_of_cell(learner: Learner) -> None:
    mixtures = mixtures_of(learner)
    maps = np.zeros((4, 49))
    for row, cell in enumerate([(6, 3), (2, 0), (4, 4), (1, 1)]):  # train, train, test, no task
        maps[row, GRID.index(np.array(cell))] = 1.0
    assert mixtures.peaks(maps) == {"train": 0.5, "test": 0.25, "other": 0.25}


def test_coverage_is_an_effective_number_of_test_goals(learner: Learner) -> None:
    mixtures = mixtures_of(learner)
    maps = np.full((6, 49), -0.1)
    assert mixtures.coverage(maps) == 0.0
    for row, cell in enumerate([(4, 4), (4, 4), (3, 0), (3, 0), (6, 3), (1, 1)]):
        maps[row, GRID.index(np.array(cell))] = 1.0
    assert mixtures.coverage(maps) == pytest.approx(2.0)  # two test goals, equally often
    maps[2, GRID.index(np.array((3, 0)))] = 0.2
    p = np.array([2 / 3, 1 / 3])
    assert mixtures.coverage(maps) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


# ------------------------------------------------------------------ MuJoCo and videos


@pytest.mark.parametrize("env_id", ["LDM-AntDir-v0", "LDM-AntGoal-v0", "LDM-HalfCheetahVel-v0"])
def test_walkers_and_runners_are_drawn(env_id: str, tmp_path: Path) -> None:
    config = resolve(env_id, "rl2", n_workers=8, n_episodes=1, device="cpu", num_threads=1)
    built = build(config)
    tasks = evaluation_tasks(config)
    rollout = record(built, tasks.get("eval", tasks["test"]))
    components = EnvSource(env_id).facts().distribution.components
    path = tmp_path / "picture.png"
    if "HalfCheetah" in env_id:
        assert step_seconds(resolve(env_id, "rl2")) == pytest.approx(0.05)
        plot_speed(rollout, components, 0.05, 1, path, env_id)
        moved = np.diff(rollout.infos["x_position"], axis=0) / 0.05
        assert np.allclose(moved, rollout.infos["x_velocity"][1:], atol=1e-6)
    else:
        plot_paths(rollout, components, tasks["train"], 1, path, env_id)
    image = imread(path)
    assert image[..., :3].std() > 0.05
    assert len(np.unique((image[..., :3] * 15).astype(int).reshape(-1, 3), axis=0)) > 20
    built.vec_env.close()


def test_an_unusable_renderer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    with pytest.raises(RenderingError, match="tried MUJOCO_GL=nonsense; install a headless OpenGL"):
        choose_renderer()


def test_a_film_that_fails_leaves_no_file(
    learner: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="outside the set"):
        record_video(learner, np.array([0, 0]), tmp_path / "film.mp4")
    assert not list(tmp_path.iterdir())


def test_legends_name_a_number_of_steps_in_millions() -> None:
    assert group_label("rl2 total_timesteps=10000000 (3)") == "rl2 10 M steps (3)"
    assert group_label("mixreg total_timesteps=7000320 p_drop=0.5") == "mixreg 7 M steps p_drop=0.5"
    assert group_label("ldm present-beliefs (8)") == "ldm present-beliefs (8)"


def test_labels_with_dozens_of_settings_show_those_that_differ() -> None:
    many = " ".join(f"s{i}={i}" for i in range(9))
    assert short_labels([f"ldm {many} (3)", "rl2 s0=0 (2)"]) == [
        "ldm + 9 settings (3)",
        "rl2 s0=0 (2)",
    ]
    two = [f"ldm moments {many}", f"ldm {many} beta=2", f"rl2 {many}"]
    assert short_labels(two) == [
        "ldm moments + 9 settings",
        "ldm beta=2 + 9 settings",
        "rl2 + 9 settings",
    ]
    eight = many.rpartition(" ")[0]
    assert short_labels([f"ldm {eight} (3)"]) == [f"ldm {eight} (3)"]
    other = " ".join(f"t{i}={i}" for i in range(9))
    assert short_labels([f"ldm {many}", f"ldm {other}"])[1] == f"ldm {other[:-5]} + 1 settings"


def test_a_line_that_others_nearly_cover_keeps_its_colour(tmp_path: Path) -> None:
    """With a palette of the most frequent colours, the blue line was as purple as another one."""
    drawing = figure(12.0, 6.0)
    axes = drawing.subplots()
    image = np.random.default_rng(0).uniform(0.3, 1.0, (100, 100, 3)) * (1.0, 0.6, 0.9)
    axes.imshow(image, aspect="auto")
    axes.plot([0, 96], [50, 50], color="#7a4fa3", lw=6)
    axes.plot([96, 99], [50, 50], color="#2b5c9e", lw=2, solid_capstyle="butt")
    found = imread(save(drawing, tmp_path / "x.png"))[..., :3]
    for colour in ((0x7A, 0x4F, 0xA3), (0x2B, 0x5C, 0x9E)):
        assert np.abs(found - np.divide(colour, 255)).max(-1).min() < 0.08


def test_bands_keep_the_colours_of_their_lines(tmp_path: Path) -> None:
    """With a palette of the most distant colours, bands had those of other methods' bands."""
    methods = ("ldm", "rl2", "varibad", "mixreg", "ldm-varibad", "known-task", "promp", "e-maml")
    drawing = figure(12.0, 6.0)
    axes = drawing.subplots()
    middles = np.random.default_rng(0).normal(size=(len(methods), 20)).cumsum(axis=1)
    colours = group_colours({method: method for method in methods}).values()
    for middle, colour in zip(middles, colours, strict=True):
        axes.plot(middle, color=colour)
        axes.fill_between(range(20), middle - 2, middle + 2, color=colour, alpha=0.18, lw=0)
    found = imread(save(drawing, tmp_path / "palette.png"))[..., :3]
    drawing.savefig(tmp_path / "exact.png", dpi=130)
    expected = imread(tmp_path / "exact.png")[..., :3]
    assert (found[0, 0] == 1.0).all()
    # 0.01, or 0.04 with matplotlib 3.8
    assert (np.abs(found - expected).max(-1) > 8 / 255).mean() < 0.05
