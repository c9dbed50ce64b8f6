"""Closed forms and second implementations for what PEARL, MQL and MIER are built from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution
from torch.distributions import kl_divergence as torch_kl

from train.off_policy.networks import SquashedGaussian, mlp, polyak, squashed_log_prob
from train.off_policy.posterior import kl_to_standard_normal, product_of_gaussians
from train.off_policy.propensity import (
    effective_sample_size,
    logistic_regression,
    propensity_weights,
)


def factors(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    means = torch.randn(3, n, 2, generator=g, dtype=torch.float64)
    return means, torch.rand(3, n, 2, generator=g, dtype=torch.float64) + 0.2


def test_product_is_the_normalised_product_of_the_densities() -> None:
    means, variances = factors(4)
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    mean, variance = product_of_gaussians(means, variances)
    scales = variances[0, :, 0].sqrt()
    density = Normal(means[0, :, 0, None], scales[:, None]).log_prob(grid).sum(0).exp()
    density /= density.sum()
    first = (density * grid).sum()
    assert mean[0, 0].item() == pytest.approx(first.item(), rel=1e-8)
    second = (density * (grid - first) ** 2).sum()
    assert variance[0, 0].item() == pytest.approx(second.item(), rel=1e-8)


def test_product_of_copies_of_halves_and_in_another_order() -> None:
    means, variances = factors(6)
    whole = product_of_gaussians(means, variances)
    halves = [product_of_gaussians(means[:, s], variances[:, s]) for s in (slice(3), slice(3, 6))]
    joined = product_of_gaussians(*(torch.stack(part, dim=1) for part in zip(*halves, strict=True)))
    turned = product_of_gaussians(means.flip(1), variances.flip(1))
    copies = product_of_gaussians(means[:, :1].expand(3, 5, 2), variances[:, :1].expand(3, 5, 2))
    torch.testing.assert_close(joined, whole)
    torch.testing.assert_close(turned, whole)
    torch.testing.assert_close(copies, (means[:, 0], variances[:, 0] / 5))


def test_product_has_the_gradient_of_finite_differences_and_refuses_no_context() -> None:
    means, variances = factors(3)
    inputs = (means.requires_grad_(), variances.requires_grad_())
    assert torch.autograd.gradcheck(product_of_gaussians, inputs)
    with pytest.raises(ValueError, match="use the prior"):
        product_of_gaussians(torch.zeros(0, 2), torch.ones(0, 2))


def test_kl_and_log_prob_are_those_of_torch_distributions() -> None:
    mean, variance = (part[:, 0] for part in factors(1))
    expected = torch_kl(Normal(mean, variance.sqrt()), Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(kl_to_standard_normal(mean, variance), expected)
    pre_tanh = mean + 0.3
    base = Normal(mean, variance.sqrt())
    squashed = Independent(TransformedDistribution(base, [TanhTransform(cache_size=1)]), 1)
    expected = squashed.log_prob(pre_tanh.tanh())
    found = squashed_log_prob(pre_tanh, mean, 0.5 * variance.log())
    torch.testing.assert_close(found, expected)


def test_density_of_actions_integrates_to_one_and_saturated_actions_are_finite() -> None:
    edges = torch.linspace(-1, 1, 400_001, dtype=torch.float64)
    actions = ((edges[1:] + edges[:-1]) / 2)[:, None]
    mean, log_std = torch.tensor([0.4], dtype=torch.float64), torch.tensor([-0.5])
    density = squashed_log_prob(torch.atanh(actions), mean, log_std).exp()
    assert (density.sum() * (edges[1] - edges[0])).item() == pytest.approx(1.0, abs=1e-6)
    far = torch.tensor([60.0])
    assert squashed_log_prob(far, far, torch.zeros(1)).isfinite().all()


def test_policy_samples_repeat_with_the_generator_and_stay_in_the_box() -> None:
    policy = SquashedGaussian(3, (8,), 2)
    inputs = torch.ones(64, 3)
    first, log_prob = policy.sample(inputs, torch.Generator().manual_seed(1))
    again, _ = policy.sample(inputs, torch.Generator().manual_seed(1))
    other, _ = policy.sample(inputs, torch.Generator().manual_seed(2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.abs().max() <= 1 and log_prob.shape == (64,)
    assert policy.mode(inputs).shape == (64, 2)
    with pytest.raises(ValueError, match="widths"):
        mlp((3,))


@pytest.mark.parametrize(("raw", "log_std"), [(50.0, 2.0), (1.5, 1.5), (-50.0, -20.0)])
def test_deviations_of_actions_lie_in_the_range_of_the_authors(raw: float, log_std: float) -> None:
    """[e⁻²⁰, e²], as in the published code of SAC, PEARL and MIER."""
    policy = SquashedGaussian(3, (8,), 2)
    with torch.no_grad():
        policy.net[-1].weight.zero_()
        policy.net[-1].bias.fill_(raw)
    assert policy(torch.ones(1, 3))[1].tolist() == [[log_std] * 2]


def test_polyak_moves_targets_by_the_rate() -> None:
    target, source = [torch.tensor([1.0])], [torch.tensor([3.0])]
    polyak(target, source, 0.25)
    assert target[0].item() == 1.5 and source[0].item() == 3.0


def test_propensity_finds_the_optimum_of_another_solver() -> None:
    rng = np.random.default_rng(0)
    old, new = rng.normal(0, 1, (60, 3)), rng.normal(0.7, 1, (25, 3))
    w, b = logistic_regression(old, new, 0.3)
    x, y = np.concatenate([old, new]), np.repeat([1.0, -1.0], [60, 25])

    def objective(v: np.ndarray) -> float:
        return 0.5 * v[:3] @ v[:3] + 0.3 * np.logaddexp(0, -y * (x @ v[:3] + v[3])).sum()

    found = minimize(objective, np.zeros(4), options={"gtol": 1e-8}).x
    np.testing.assert_allclose([*w, b], found, atol=1e-5)
    p = 1 / (1 + np.exp(-(x @ w + b)))
    np.testing.assert_allclose(w / 0.3 + x.T @ (p - (y > 0)), 0, atol=1e-6)
    assert (p - (y > 0)).sum() == pytest.approx(0, abs=1e-6)


def test_propensity_of_two_gaussians_is_their_log_ratio() -> None:
    rng = np.random.default_rng(1)
    old, new = rng.normal(0, 1, (200_000, 1)), rng.normal(1, 1, (50_000, 1))
    w, b = logistic_regression(old, new, 1.0, correct_sizes=True)
    # log N(x; 0, 1) - log N(x; 1, 1) = 1/2 - x
    assert w[0] == pytest.approx(-1, abs=0.02) and b == pytest.approx(0.5, abs=0.02)
    assert propensity_weights(old @ w + b, clip=10, smallest=0).mean() == pytest.approx(1, abs=0.05)


def test_propensity_of_separated_classes_is_finite_and_bad_input_is_refused() -> None:
    w, b = logistic_regression(np.full((5, 1), -9.0), np.full((5, 1), 9.0), 100.0)
    assert np.isfinite([*w, b]).all() and w[0] < 0
    with pytest.raises(ValueError, match="C must be positive"):
        logistic_regression(np.ones((2, 1)), np.ones((2, 1)), 0.0)
    with pytest.raises(ValueError, match="expected"):
        logistic_regression(np.ones((0, 1)), np.ones((2, 1)), 1.0)


def test_weights_are_clipped_above_and_zero_below() -> None:
    beta = propensity_weights(np.array([-5.0, 0.0, 1.0, 3.0]), clip=1.0)
    np.testing.assert_allclose(beta, [np.e, 1, np.exp(-1), 0])


def test_effective_sample_size() -> None:
    assert effective_sample_size(np.full(7, 3.0)) == pytest.approx(1)
    assert effective_sample_size(np.eye(8)[2]) == pytest.approx(1 / 8)
    assert effective_sample_size(np.repeat([1.0, 0.0], [3, 9])) == pytest.approx(0.25)
    weights = np.random.default_rng(0).random(20)
    assert effective_sample_size(5 * weights) == pytest.approx(effective_sample_size(weights))
    assert effective_sample_size(np.zeros(3)) == 0.0
    with pytest.raises(ValueError, match="weights"):
        effective_sample_size(np.array([-1.0, 2.0]))
