"""The arithmetic that both imaginary-reward wrappers share, without a wrapper."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from reference_models import NumpyModel, small_model
from wrapper_stubs import ScriptedEnv, Transition

import ldm_envs  # noqa: F401
from ldm_wrappers import DirichletMixture, LatentDynamics, LatentDynamicsConfig
from ldm_wrappers.latent_dynamics import Imagination


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("samples", [1, 8])
def test_a_decoder_with_nothing_to_drop_pays_each_worker_its_own_reward(
    samples: int, kept: bool
) -> None:
    grid = gym.make("LDM-GridNavi-v0")
    config = LatentDynamicsConfig.grid(decoder_heads=49, p_drop=0.5)
    model = LatentDynamics(grid.observation_space, grid.action_space, config, seed=1)
    imagination = Imagination(
        model,
        n_mixture=3,
        n_normal=2,
        mixture=DirichletMixture(),
        dropout_samples=samples,
        dropout_per_task=kept,
        seed=0,
    )
    means = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    cells = torch.tensor([[0.0, 1.0], [3.0, 4.0], [6.0, 6.0]])
    paid = imagination.rewards(means, cells, torch.zeros(3, 1), cells)
    plain, latents = NumpyModel(model), imagination.latents(means).numpy().astype(float)
    expected = [
        plain.reward(latents[i], Transition(cells[i].numpy(), 0, 0.0, cells[i].numpy()))
        for i in range(3)
    ]
    np.testing.assert_allclose(paid, expected, atol=1e-6)
    assert np.ptp(paid) > 1e-4


def test_a_state_that_does_not_fit_leaves_the_imaginary_tasks_as_they_were() -> None:
    model = small_model(ScriptedEnv(), p_drop=0.5)

    def imagination(seed: int, **kwargs: Any) -> Imagination:
        return Imagination(model, n_mixture=2, n_normal=3, seed=seed, **kwargs)

    kept = {"dropout_per_task": True}
    for ours, theirs, message in (
        (imagination(0), imagination(1, **kept), "keep dropout masks, these do not keep any"),
        (imagination(0, **kept), imagination(1), "do not keep dropout masks, these keep any"),
        (
            imagination(0, **kept),
            imagination(1, dropout_samples=3, **kept),
            r"dropout masks have shape \(3, 2, 15\), expected \(8, 2, 15\)",
        ),
    ):
        weights, masks = ours.weights.clone(), ours.masks
        with pytest.raises(ValueError, match=message):
            ours.load_state_dict(theirs.state_dict())
        assert torch.equal(ours.weights, weights) and ours.masks is masks
