"""Decoded rewards over velocities, against decoders whose best velocity is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from matplotlib.image import imread
from tiny_runs import train_tiny

from ldm_envs import IntervalTaskSet, TaskDistribution
from ldm_wrappers import DirichletMixture, LatentDynamics
from ldm_wrappers.imagination import SavedBeliefs
from train.common.env_source import EnvSource
from train.common.velocities import Velocities
from train.imaginary_goals import main
from train.persistence.files import read_csv
from train.plots.goal_maps import goal_maps

CHEETAH, DIRECTION = "LDM-HalfCheetahVel-v0", "LDM-AntDir-v0"
DT = 0.05  # s per step of both families


def probes(env_id: str) -> Velocities:
    found = Velocities.of(EnvSource(env_id))
    assert found is not None
    return found


class Running(LatentDynamics):
    """HalfCheetahVel's reward without control cost, for the speed that the latent begins with."""

    def imagine_reward(self, latents, observations, actions, next_observations, mask=None):  # type: ignore[no-untyped-def]
        speed = (next_observations[..., 17] - observations[..., 17]) / DT
        return -(speed - latents[..., 0]).abs()


class Walking(LatentDynamics):
    """The forward reward of AntDir, for the direction that the latent begins with."""

    def imagine_reward(self, latents, observations, actions, next_observations, mask=None):  # type: ignore[no-untyped-def]
        return (next_observations[..., 13:15] * latents[..., :2]).sum(-1)


def model(env_id: str, kind: type[LatentDynamics]) -> LatentDynamics:
    env = gym.make(env_id)
    return kind(env.observation_space, env.action_space)


def beliefs(one: LatentDynamics, *first: tuple[float, ...]) -> SavedBeliefs:
    means = np.zeros((len(first), 1, one.config.latent_dim), np.float32)
    for mean, values in zip(means, first, strict=True):
        mean[0, : len(values)] = values
    return SavedBeliefs(means)


def best(found: Velocities, maps: Any) -> np.ndarray:
    return found.tasks[maps.fields.argmax(1), 0]


def test_only_the_velocity_of_a_resting_body_varies() -> None:
    for env_id, moved in ((CHEETAH, [8]), (DIRECTION, [13, 14])):
        found, env = probes(env_id), gym.make(env_id)
        start = np.mean([env.reset(seed=s)[0] for s in range(300)], 0)  # its noise is around it
        shown = found.observations
        others = np.setdiff1d(np.arange(shown.shape[1]), moved)
        np.testing.assert_allclose(
            shown[:, others], np.tile(start[others], (len(shown), 1)), atol=0.05
        )
        tasks = found.tasks[:, 0]
        expected = np.stack([np.cos(tasks), np.sin(tasks)], 1) if len(moved) == 2 else found.tasks
        np.testing.assert_allclose(shown[:, moved], expected, atol=1e-6)
    cheetah, direction = probes(CHEETAH), probes(DIRECTION)
    change = cheetah.next_observations - cheetah.observations
    np.testing.assert_allclose(change[:, 17] / DT, cheetah.tasks[:, 0], atol=1e-5)  # torso x
    assert not np.delete(change, 17, axis=1).any()
    np.testing.assert_array_equal(direction.next_observations, direction.observations)


def test_the_highest_velocity_is_the_decoders_own() -> None:
    cheetah, running = probes(CHEETAH), model(CHEETAH, Running)
    own = beliefs(running, (0.2,), (1.75,), (3.3,), (9.0,))
    maps = goal_maps(running, own, DirichletMixture(), cheetah, [])
    np.testing.assert_allclose(best(cheetah, maps[0]), [0.2, 1.75, 3.3, 4.5], atol=1e-6)
    direction, walking = probes(DIRECTION), model(DIRECTION, Walking)
    own = beliefs(walking, (1.0, 0.0), (-1.0, 0.0), (0.5, 0.5))
    maps = goal_maps(walking, own, DirichletMixture(), direction, [])
    np.testing.assert_allclose(np.rad2deg(best(direction, maps[0])), [0, 180, 45], atol=1e-4)
    rows = maps[0].rows(direction, np.full(len(direction.tasks), "test"))
    assert [row["task"] for row in rows] == ["0", "180", "45"]
    assert [float(row["range"]) for row in rows] == pytest.approx([2.0, 2.0, 2**0.5], abs=1e-3)


def test_speeds_are_written_as_multiples_of_a_twentieth() -> None:
    """Standing still was 8.88178e-16."""
    cheetah = probes(CHEETAH)
    fields = np.eye(len(cheetah.tasks), dtype=np.float32)
    written = [cheetah.columns(field)["task"] for field in fields]
    assert written == [f"{k / 20:g}" for k in range(-20, 91)]


def test_mixtures_of_headings_ask_for_less_and_of_speeds_for_what_lies_between() -> None:
    """A mixture with weights w has the direction Σ wᵢ dᵢ: shorter than 1 in the convex hull."""
    direction, walking = probes(DIRECTION), model(DIRECTION, Walking)
    own = beliefs(walking, (1, 0), (0, 1), (-1, 0), (0, -1))
    maps = goal_maps(walking, own, DirichletMixture(), direction, [1.0, 2.0])
    span = [float(np.median(one.fields.max(1) - one.fields.min(1))) for one in maps]
    assert span[0] == pytest.approx(2.0) and span[1] < 1.5 and span[2] == pytest.approx(2 * span[1])
    assert "median range of rewards 2.00" in maps[0].describe(direction, direction.tasks[:, 0])
    cheetah, running = probes(CHEETAH), model(CHEETAH, Running)
    own = beliefs(running, (0.0,), (0.0,), (3.5,), (3.5,))
    between = best(cheetah, goal_maps(running, own, DirichletMixture(), cheetah, [1.0])[1])
    assert between.min() >= 0.0 and between.max() <= 3.5 and between.std() > 0.3
    rng = np.random.default_rng(0)
    weights = DirichletMixture().sample(rng, 200, 4, running.config.latent_dim)[..., 0]
    np.testing.assert_allclose(between, 3.5 * weights[:, 2:].sum(1), atol=0.026)


def test_splits_are_those_of_the_tasks() -> None:
    cheetah = probes(CHEETAH)
    named = cheetah.splits(EnvSource(CHEETAH).facts().distribution)
    speed = cheetah.tasks[:, 0]
    for value, split in ((-0.5, "outside"), (0.25, "train"), (1.0, "test"), (3.25, "train")):
        assert named[np.abs(speed - value).argmin()] == split
    direction = probes(DIRECTION)
    named = direction.splits(EnvSource(DIRECTION).facts().distribution)
    degrees = np.rad2deg(direction.tasks[:, 0])
    train = np.abs((degrees + 45) % 90 - 45) < 22.5
    np.testing.assert_array_equal(named, np.where(train, "train", "test"))
    wide = {
        "train": IntervalTaskSet([(0.0, 1.0)]),
        "test": IntervalTaskSet([(1.0, 2.0)]),
        "all": IntervalTaskSet([(0.0, 2.0)]),
    }
    named = direction.splits(TaskDistribution(wide, ("theta (rad)",)))
    expected = np.select([degrees < 57, degrees < 114], ["train", "test"], "outside")  # 1 rad: 57°
    np.testing.assert_array_equal(named, expected)


@pytest.mark.parametrize("env_id", ["LDM-AntGoal-v0", "LDM-GridNavi-v0", "Pendulum-v1"])
def test_other_environments_have_none(env_id: str) -> None:
    assert Velocities.of(EnvSource(env_id)) is None


def test_a_body_that_a_wrapper_shows_otherwise_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(self: Any, **_: Any) -> gym.Env:
        env = gym.make(CHEETAH)
        return gym.wrappers.TransformObservation(env, lambda seen: 10 * seen, env.observation_space)

    monkeypatch.setattr(EnvSource, "_make", scaled)
    assert Velocities.of(EnvSource(CHEETAH, max_episode_steps=123)) is None


def test_the_command_writes_table_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--n-steps", "20", "--max-episode-steps", "10", "--total-timesteps", "160"]
    run, out = train_tiny(tmp_path / "run", "ldm", *flags, env_id=CHEETAH), tmp_path / "out"
    capsys.readouterr()
    assert main([str(run), "--mixtures", "5", "--betas", "1", "2", "--out", str(out)]) == 0
    rows = read_csv(out / "imaginary_goals.csv")
    assert [sum(r["latents"] == name for r in rows) for name in ("β = 1", "β = 2")] == [5, 5]
    assert all(-1.0 <= float(r["task"]) <= 4.5 and float(r["range"]) > 0 for r in rows)
    assert imread(out / "imaginary_goals.png")[..., :3].std() > 0.03
    assert "median range of rewards" in capsys.readouterr().out
