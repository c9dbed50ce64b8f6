"""The VAE's unit of reward: scaled inside, the environment's outside, saved with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from ldm_wrappers import LatentDynamics, LatentDynamicsConfig, TrajectoryBuffer
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer

BOX = spaces.Box(-1, 1, (2,), np.float32)


def model(scale: Any, **changes: Any) -> LatentDynamics:
    return LatentDynamics(BOX, BOX, LatentDynamicsConfig(reward_scale=scale, **changes))


def filled(one: LatentDynamics, unit: float = 1.0, offset: float = 0.0) -> TrajectoryBuffer:
    """Trajectories of 2 to 6 steps whose reward is a function of s'."""
    buffer = TrajectoryBuffer(one.spec, capacity=8, max_length=6)
    rng = np.random.default_rng(0)
    lengths = np.array([2, 6, 3, 5, 4, 6])
    arrays = {
        name: rng.uniform(-1, 1, (6, 6, 2)).astype(np.float32)
        for name in ("observations", "actions", "next_observations")
    }
    rewards = (offset + unit * arrays["next_observations"][..., 0]).astype(np.float32)
    inside = np.arange(6) < lengths[:, None]
    data = {name: array * inside[..., None] for name, array in arrays.items()}
    buffer.add({**data, "rewards": rewards * inside}, lengths)
    return buffer


def test_off_means_off() -> None:
    plain = model(1.0)
    assert not [key for key in plain.state_dict() if "scale" in key]
    rewards = torch.tensor([3.0, -7.0])
    assert plain.reward_scale.normalize(rewards) is rewards
    assert plain.reward_scale.denormalize(rewards) is rewards
    assert LatentDynamicsConfig().reward_scale == LatentDynamicsConfig.grid().reward_scale == 1.0


def test_running_statistics_are_those_of_all_rewards_in_the_buffer() -> None:
    one = model("running")
    buffer = filled(one, 50.0, -3.0)
    state = buffer.state_dict()
    rewards = [
        row[:length] for row, length in zip(state["data"]["rewards"], state["lengths"], strict=True)
    ]
    every = np.concatenate(rewards).astype(np.float64)
    LatentDynamicsTrainer(one, buffer, batch_trajectories=4).update(1)
    assert float(one.reward_scale.mean) == pytest.approx(every.mean(), rel=1e-5)
    assert float(one.reward_scale.std) == pytest.approx(every.std(), rel=1e-5)
    constant = model("running")
    LatentDynamicsTrainer(constant, filled(constant, 0.0, 5.0), batch_trajectories=4).update(1)
    assert (float(constant.reward_scale.mean), float(constant.reward_scale.std)) == (5.0, 1.0)


def train(scale: Any, unit: float, offset: float) -> tuple[LatentDynamics, dict[str, float]]:
    one = model(scale, p_drop=0.0)
    trainer = LatentDynamicsTrainer(one, filled(one, unit, offset), batch_trajectories=6)
    return one, trainer.update(150)


def imagined(one: LatentDynamics) -> np.ndarray[Any, Any]:
    points = torch.tensor([[0.8, 0.0], [-0.8, 0.0]])
    latents = torch.zeros(2, one.config.latent_dim)
    return one.imagine_reward(latents, points * 0, points * 0, points).numpy()


@pytest.mark.parametrize(
    ("scale", "unit", "offset"),
    [("running", 1e4, -1e6), (1e4, 1e4, 0.0), ("running", 1e-8, 0.0)],
)
def test_training_does_not_depend_on_the_unit_and_imagines_in_the_environments(
    scale: Any, unit: float, offset: float
) -> None:
    reference, losses = train("running" if scale == "running" else 1.0, 1.0, 0.0)
    scaled, scaled_losses = train(scale, unit, offset)
    for key, value in losses.items():
        assert scaled_losses[key] == pytest.approx(value, rel=0.05, abs=0.02), key
    expected = imagined(reference) * unit + offset
    np.testing.assert_allclose(imagined(scaled), expected, atol=0.1 * unit)
    assert imagined(scaled)[0] - imagined(scaled)[1] > 0.5 * unit  # and it has learned


@pytest.mark.parametrize("encoder", ["gru", "moments"])
@pytest.mark.parametrize(("scale", "offset"), [(50.0, 0.0), ("running", 3.0)])
def test_beliefs_do_not_depend_on_the_unit(encoder: str, scale: Any, offset: float) -> None:
    """Equal weights read a reward of 50 · r + offset as they would read r without a scale."""
    plain, scaled = (model(one, encoder=encoder) for one in (1.0, scale))
    scaled.reward_scale.fit(offset, 50.0)
    generator = torch.Generator().manual_seed(0)
    actions, following = torch.randn(2, 4, 3, 2, generator=generator)
    rewards = torch.randn(4, 3, generator=generator)
    expected = plain.encoder(actions, rewards, following)
    found = scaled.encoder(actions, 50.0 * rewards + offset, following)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    other = scaled.encoder(actions, rewards, following)
    assert (other.mean - expected.mean).abs().max() > 1e-2


def test_statistics_are_saved_with_the_model(tmp_path: Path) -> None:
    one, _ = train("running", 100.0, 7.0)
    one.save(tmp_path / "model.safetensors")
    other = LatentDynamics.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(imagined(one), imagined(other))
    assert float(other.reward_scale.std) > 10


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), "auto", True])
def test_scales_that_are_none_are_refused(scale: Any) -> None:
    with pytest.raises(ValueError, match="reward_scale"):
        LatentDynamicsConfig(reward_scale=scale)


def test_the_bernoulli_likelihood_has_a_unit_of_its_own() -> None:
    with pytest.raises(ValueError, match="likelihood='gaussian'"):
        LatentDynamicsConfig.grid(reward_scale="running")


def test_the_scale_is_taken_before_each_training_of_what_is_stored_then() -> None:
    """Not of the first one only, nor of ends that older, longer trajectories have left."""
    one = model("running")
    buffer = TrajectoryBuffer(one.spec, capacity=2, max_length=6)
    trainer = LatentDynamicsTrainer(one, buffer, batch_trajectories=2)

    def store(*rewards: list[float]) -> None:
        for own in rewards:
            zeros = np.zeros((1, len(own), 2), np.float32)
            data = {name: zeros for name in ("observations", "actions", "next_observations")}
            buffer.add({**data, "rewards": np.float32([own])}, np.array([len(own)]))
        trainer.update(1)

    store([900.0] * 6, [-900.0, 500.0, 900.0, 900.0, 900.0, 900.0])
    assert float(one.reward_scale.mean) == pytest.approx(8600 / 12)
    store([1.0, 2.0], [3.0, 6.0])  # in the slots of the longer ones
    assert float(one.reward_scale.mean) == pytest.approx(3.0)
    assert float(one.reward_scale.std) == pytest.approx(np.std([1.0, 2.0, 3.0, 6.0]))


def test_what_rounding_leaves_of_a_constant_reward_is_no_scale() -> None:
    scale = model("running").reward_scale
    for mean, std, expected in (
        (1e6, 0.06, 1.0), (1e6, 60.0, 60.0), (0.0, 1e-3, 1e-3),
        (0.0, 0.0, 1.0), (1e-6, 6e-14, 1.0), (1e-6, 6e-11, 6e-11),
    ):  # fmt: skip
        scale.fit(mean, std)
        assert float(scale.std) == pytest.approx(expected, rel=1e-6, abs=0.0)
