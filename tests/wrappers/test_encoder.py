"""The encoder: filtering equals whole trajectories, the prior, KL and samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_models import NumpyModel, small_model
from torch.distributions import Independent, Normal, kl
from wrapper_stubs import PlainWorker, ScriptedEnv, actions_for

from ldm_wrappers.latent_dynamics import BeliefTracker, Posterior
from ldm_wrappers.latent_dynamics.beliefs import BeliefFilter
from ldm_wrappers.latent_dynamics.posterior import kl_divergence, sample


def transitions(n_steps: int, batch: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    actions = torch.randint(0, 3, (n_steps, batch, 1), generator=generator).float()
    rewards = torch.randn(n_steps, batch, generator=generator)
    return actions, rewards, torch.randn(n_steps, batch, 4, generator=generator)


@pytest.mark.parametrize("with_gradients", [True, False])
def test_steps_equal_the_whole_trajectory(with_gradients: bool) -> None:
    model = small_model(ScriptedEnv())
    data = transitions(9, 5)
    with torch.set_grad_enabled(with_gradients):
        whole = model.encoder(*data)
    assert whole.mean.shape == whole.logvar.shape == (10, 5, 3)
    belief = BeliefFilter(model, 5)
    for t in range(10):
        now = belief.posterior()
        torch.testing.assert_close(now.mean, whole.mean[t].detach(), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(now.logvar, whole.logvar[t].detach(), atol=1e-6, rtol=1e-5)
        assert not now.mean.requires_grad
        if t < 9:
            belief.update(*(array[t] for array in data))


@pytest.mark.parametrize("left_out", ["none", "observation", "action", "reward"])
def test_beliefs_match_numpy_and_each_embedding_matters(left_out: str) -> None:
    sizes = {} if left_out == "none" else {f"encoder_{left_out}_size": 0}
    model = small_model(ScriptedEnv(), **sizes)
    worker = PlainWorker(ScriptedEnv((20,)), 1, seed=0)
    for action in actions_for(worker.env, 6):
        worker.step(action)
    mean, logvar = NumpyModel(model).belief(worker.running)
    data = [
        torch.tensor([[[float(t.action)]] for t in worker.running]),
        torch.tensor([[t.reward] for t in worker.running], dtype=torch.float32),
        torch.from_numpy(np.stack([t.next_observation[None] for t in worker.running])),
    ]
    posterior = model.encoder(*data)
    np.testing.assert_allclose(posterior.mean[-1, 0].detach().numpy(), mean, atol=1e-6)
    np.testing.assert_allclose(posterior.logvar[-1, 0].detach().numpy(), logvar, atol=1e-6)
    for index, name in enumerate(("action", "reward", "observation")):
        changed = list(data)
        changed[index] = (changed[index] + 1.0) % 3.0
        same = torch.equal(model.encoder(*changed).mean, posterior.mean)
        assert same == (left_out == name), name


def test_the_belief_at_length_zero_is_the_same_for_every_trajectory() -> None:
    model = small_model(ScriptedEnv())
    first, second = (model.encoder(*transitions(4, 3, seed)) for seed in (0, 1))
    torch.testing.assert_close(first.mean[0], second.mean[0], rtol=0, atol=0)
    mean, _ = NumpyModel(model).belief([])
    np.testing.assert_allclose(first.mean[0, 0].detach().numpy(), mean, atol=1e-6)


def test_a_worker_returns_to_the_prior_alone() -> None:
    model = small_model(ScriptedEnv())
    belief = BeliefFilter(model, 3)
    prior = belief.posterior().mean[0]
    data = transitions(2, 3)
    belief.update(*(array[0] for array in data))
    others = belief.posterior().mean.clone()
    belief.reset(np.array([False, True, False]))
    after = belief.posterior().mean
    torch.testing.assert_close(after[1], prior)
    torch.testing.assert_close(after[[0, 2]], others[[0, 2]])
    belief.reset()
    torch.testing.assert_close(belief.posterior().mean, prior.expand(3, -1))


def gaussians(seed: int) -> Posterior:
    generator = torch.Generator().manual_seed(seed)
    return Posterior(*(torch.randn(7, 4, 3, generator=generator) for _ in range(2)))


def test_kl_matches_torch_distributions() -> None:
    def normal(p: Posterior) -> Independent:
        return Independent(Normal(p.mean.double(), (0.5 * p.logvar.double()).exp()), 1)

    p, q = gaussians(0), gaussians(1)
    expected = kl.kl_divergence(normal(p), normal(q))
    torch.testing.assert_close(kl_divergence(p, q).double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(kl_divergence(p, p), torch.zeros(7, 4))


def test_samples_repeat_with_their_generator_and_have_the_posterior_moments() -> None:
    p = gaussians(0)
    one, two, three = (sample(p, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    many = Posterior(torch.full((40_000, 1), 2.0), torch.full((40_000, 1), -1.0))
    draws = sample(many, torch.Generator().manual_seed(0))
    assert draws.mean().item() == pytest.approx(2.0, abs=0.02)
    assert draws.var().item() == pytest.approx(np.exp(-1.0), rel=0.03)


@pytest.mark.parametrize("name", ["reward", "observation"])
def test_a_tracker_stops_at_non_finite_values_and_names_the_worker(name: str) -> None:
    tracker = BeliefTracker(small_model(ScriptedEnv()), 3)
    rewards, states = np.zeros(3, np.float32), np.zeros((3, 4), np.float32)
    if name == "reward":
        rewards[2] = np.nan
    else:
        states[2, 1] = np.inf
    before = tracker.posterior().mean.clone()
    with pytest.raises(FloatingPointError, match=f"{name} of worker 2 is not finite"):
        tracker.update(np.zeros((3, 4), np.float32), np.zeros((3, 1), np.float32), rewards, states)
    assert torch.equal(tracker.posterior().mean, before)
