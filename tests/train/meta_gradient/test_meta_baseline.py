"""Distributions against PyTorch's, and the baseline against NumPy's least squares."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train.meta_gradient.baseline import RIDGE, advantages, features, linear_baseline
from train.meta_gradient.distributions import Categorical, Gaussian

RNG = np.random.default_rng(0)
OBSERVATIONS = 20 * RNG.standard_normal((3, 4, 9, 2))
REWARDS = RNG.standard_normal((3, 4, 9))
MASK = np.arange(9) < RNG.integers(4, 10, size=(3, 4, 1))


def test_gaussian_is_torchs() -> None:
    mean, log_std = torch.randn(2, 5, 3).double()[:, :, :], torch.tensor([-1.0, 0.3, 0.8]).double()
    ours = [Gaussian(one, scale) for one, scale in zip(mean, (log_std, -log_std), strict=True)]
    theirs = [torch.distributions.Normal(one.mean, one.log_std.exp()) for one in ours]
    actions = torch.randn(5, 3).double()
    assert torch.allclose(ours[0].log_prob(actions), theirs[0].log_prob(actions).sum(-1))
    expected = torch.distributions.kl_divergence(*theirs).sum(-1)
    assert torch.allclose(ours[0].kl_to(ours[1]), expected)
    assert not torch.allclose(ours[1].kl_to(ours[0]), expected)


def test_categorical_is_torchs() -> None:
    logits = torch.randn(2, 5, 4).double()
    ours = [Categorical(one.log_softmax(-1)) for one in logits]
    theirs = [torch.distributions.Categorical(logits=one) for one in logits]
    actions = torch.tensor([0, 1, 2, 3, 0])
    assert torch.allclose(ours[0].log_prob(actions), theirs[0].log_prob(actions))
    assert torch.allclose(
        ours[0].kl_to(ours[1]), torch.distributions.kl_divergence(theirs[0], theirs[1])
    )


def test_categorical_samples_have_their_probabilities() -> None:
    probabilities = torch.tensor([0.1, 0.2, 0.0, 0.7])
    drawn = Categorical(probabilities.log().expand(100_000, 4)).sample(
        torch.Generator().manual_seed(0)
    )
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    assert torch.allclose(shares, probabilities, atol=0.01)


def test_baseline_is_ridge_regression_on_the_steps_taken() -> None:
    fitted = linear_baseline(OBSERVATIONS, REWARDS, MASK)
    inputs = features(OBSERVATIONS)
    assert inputs[0, 2, 5, 4] == 0.05  # time begins with the episode
    for task in range(3):
        x, y = inputs[task][MASK[task]], REWARDS[task][MASK[task]]
        ridge = np.sqrt(RIDGE) * np.eye(x.shape[1])
        target = np.concatenate([y, np.zeros(len(ridge))])
        weights = np.linalg.lstsq(np.concatenate([x, ridge]), target, rcond=None)[0]
        assert fitted[task][MASK[task]] == pytest.approx(x @ weights, abs=1e-8)
    assert not fitted[~MASK].any()


def test_masked_steps_change_nothing_and_tasks_are_apart() -> None:
    arguments = (0.97, 0.9)
    reference = advantages(OBSERVATIONS, REWARDS, MASK, *arguments)
    spoiled = np.where(MASK, REWARDS, 1e3)
    shown = np.where(MASK[..., None], OBSERVATIONS, 5.0)
    assert advantages(shown, spoiled, MASK, *arguments) == pytest.approx(reference, abs=1e-10)
    order = [2, 0, 1]
    permuted = advantages(OBSERVATIONS[order], REWARDS[order], MASK[order], *arguments)
    assert permuted == pytest.approx(reference[order], abs=1e-10)
    for task in range(3):
        values = reference[task][MASK[task]]
        assert (values.mean(), values.std()) == pytest.approx((0, 1), abs=1e-6)


def test_advantages_are_returns_minus_the_fit() -> None:
    """With λ = 1; written out step by step, with no value after an episode's end."""
    gamma = 0.9
    returns = np.zeros_like(REWARDS)
    for step in range(9):
        later = range(step, 9)
        returns[..., step] = sum(
            gamma ** (k - step) * REWARDS[..., k] * MASK[..., k] for k in later
        )
    left = np.where(MASK, returns - linear_baseline(OBSERVATIONS, returns, MASK), 0)
    found = advantages(OBSERVATIONS, REWARDS, MASK, gamma, 1.0)
    for task in range(3):
        values = left[task][MASK[task]]
        expected = (values - values.mean()) / values.std()
        assert found[task][MASK[task]] == pytest.approx(expected, abs=1e-6)


def test_with_lambda_advantages_mix_those_of_all_numbers_of_steps() -> None:
    """(1 - λ) Σ λⁿ⁻¹ Aₙ with Aₙ of n rewards and the value after them; the fit is of returns."""
    gamma, lam = 0.9, 0.7
    discounts = gamma ** np.arange(9)
    returns = np.zeros_like(REWARDS)
    for step in range(9):
        returns[..., step] = ((REWARDS * MASK)[..., step:] * discounts[: 9 - step]).sum(-1)
    values = linear_baseline(OBSERVATIONS, returns, MASK)
    mixed = np.zeros_like(REWARDS)
    for task, episode in np.ndindex(3, 4):
        length = MASK[task, episode].sum()
        r, v = REWARDS[task, episode, :length], np.append(values[task, episode, :length], 0.0)
        for t in range(length):
            ahead = [
                (r[t : t + n] * discounts[:n]).sum() + gamma**n * v[t + n] - v[t]
                for n in range(1, length - t + 1)
            ]
            shares = [(1 - lam) * lam**n for n in range(len(ahead) - 1)] + [lam ** (len(ahead) - 1)]
            mixed[task, episode, t] = np.dot(shares, ahead)
    found = advantages(OBSERVATIONS, REWARDS, MASK, gamma, lam)
    for task in range(3):
        own = mixed[task][MASK[task]]
        assert found[task][MASK[task]] == pytest.approx((own - own.mean()) / own.std(), abs=1e-6)


def test_features_are_those_of_the_paper() -> None:
    """Duan et al.: observations cut off at 10, their squares, and powers of time / 100."""
    found = features(np.array([[[25.0, -3.0], [-1e9, 2.0]]], np.float32))
    expected = [[10, -3, 100, 9, 0, 0, 0, 1], [-10, 2, 100, 4, 0.01, 1e-4, 1e-6, 1]]
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)
