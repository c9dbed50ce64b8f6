"""Mixture weights: Eq. 1 by its closed form, and schemes that are not ours."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from reference_models import small_model
from wrapper_stubs import ScriptedEnv

from ldm_wrappers.imagination import DirichletMixture, ExpectedReward
from ldm_wrappers.imagination.tasks import MixedTasks

N, M, D = 5, 4000, 3


def draw(seed: int = 0, n_mixture: int = M, **kwargs: Any) -> np.ndarray[Any, Any]:
    return DirichletMixture(**kwargs).sample(np.random.default_rng(seed), n_mixture, N, D)


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("per_dimension", [False, True])
@pytest.mark.parametrize("n_components", [None, 1, 2])
def test_sums_bounds_and_moments(
    beta: float, per_dimension: bool, n_components: int | None
) -> None:
    weights = draw(beta=beta, per_dimension=per_dimension, n_components=n_components)
    n = n_components or N
    assert weights.shape == (M, N, D if per_dimension else 1)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-5)
    shift = (beta - 1.0) / n
    members = weights[..., 0] != 0.0 if n_components else np.ones((M, N), bool)
    np.testing.assert_array_equal(members.sum(1), n)
    inside = weights.swapaxes(1, 2)[np.broadcast_to(members[:, None], (M, weights.shape[2], N))]
    assert inside.min() >= -shift - 1e-5  # β·0 − (β − 1)/n
    assert inside.max() <= beta - shift + 1e-5  # β·1 − (β − 1)/n
    # a weight has mean 1/n whatever β; β scales the Dirichlet's standard deviation
    variance = (n - 1.0) / (n * n * (n + 1.0))
    assert inside.mean() == pytest.approx(1.0 / n, abs=1e-5)
    assert inside.std() == pytest.approx(beta * variance**0.5, rel=0.03, abs=1e-5)
    # every belief takes part equally often
    assert np.abs(members.mean(0) - n / N).max() < 0.04
    np.testing.assert_allclose(weights.mean((0, 2)), 1.0 / N, atol=0.05 * max(beta, 1.0))


def test_weights_per_dimension_are_independent() -> None:
    weights = draw(per_dimension=True)
    assert abs(np.corrcoef(weights[:, 0, 0], weights[:, 0, 1])[0, 1]) < 0.06
    members = draw(per_dimension=True, n_components=2) != 0.0
    assert (members == members[..., :1]).all()  # but the beliefs of a task are one subset


def test_as_many_components_as_beliefs_are_all_beliefs_and_more_are_refused() -> None:
    assert (draw(n_components=N) != 0.0).all()
    with pytest.raises(ValueError, match=f"at most the number of beliefs, {N}, got {N + 1}"):
        draw(n_components=N + 1)


def test_the_generator_decides() -> None:
    np.testing.assert_array_equal(draw(1, 7), draw(1, 7))
    assert (draw(1, 7) != draw(2, 7)).any()


@pytest.mark.parametrize("beta", [0.0, -1.0, np.nan, np.inf, 1e39, 10**400, "x", None, True])
def test_bad_beta_is_refused(beta: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"got {beta!r}")):
        DirichletMixture(beta=beta)


def test_bad_component_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="got 0"):
        DirichletMixture(n_components=0)
    for bad in (2.5, True, "3"):
        with pytest.raises(ValueError, match=f"n_components must be an integer, got {bad!r}"):
            DirichletMixture(n_components=bad)  # type: ignore[arg-type]


class Fixed:
    """A scheme of somebody else's."""

    def __init__(self, weights: Any) -> None:
        self.weights = np.asarray(weights)

    def sample(self, rng: Any, n_mixture: int, n_normal: int, latent_dim: int) -> Any:
        return self.weights[:n_mixture]


def imagine(weights: Any, n_mixture: int = 2) -> MixedTasks:
    model = small_model(ScriptedEnv())
    return ExpectedReward().start(
        model, n_mixture=n_mixture, n_normal=2, mixture=Fixed(weights), seed=0
    )


@pytest.mark.parametrize("columns", [1, D])
def test_a_scheme_of_ones_own_is_accepted(columns: int) -> None:
    weights = np.array([[[0.25], [0.75]], [[3.0], [-2.0]]]).repeat(columns, 2)
    means = torch.tensor([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]])
    latents = imagine(weights).latents(means)
    torch.testing.assert_close(latents, torch.tensor([[4.0, 5.0, 6.0], [-7.0, -6.0, -5.0]]))


def test_weights_of_later_tasks_are_not_written_into_the_schemes_array() -> None:
    weights = np.array([[[0.25], [0.75]], [[3.0], [-2.0]]], np.float32)
    before, imagination = weights.copy(), imagine(weights)
    imagination.begin(np.array([False, True]))
    np.testing.assert_array_equal(imagination.weights, before[[0, 0]])
    np.testing.assert_array_equal(weights, before)


def test_a_scheme_that_writes_into_its_array_again_leaves_running_tasks_alone() -> None:
    weights = np.array([[[0.25], [0.75]], [[3.0], [-2.0]]], np.float32)
    imagination = imagine(weights)
    mixture: Any = imagination.mixture
    mixture.weights[0] = [[0.5], [0.5]]  # for the task that begins next
    imagination.begin(np.array([False, True]))
    assert imagination.weights[:, :, 0].tolist() == [[0.25, 0.75], [0.5, 0.5]]


def test_bad_schemes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\), expected \(2, 2, 3\) or \(2, 2, 1\)"):
        imagine(np.full((2, 2), 0.5))
    with pytest.raises(ValueError, match=r"\(2, 2, 2\)"):
        imagine(np.full((2, 2, 2), 0.5))
    with pytest.raises(ValueError, match="sum to 1"):
        imagine(np.full((2, 2, 1), 0.6))
    with pytest.raises(ValueError, match="sum to 1"):
        imagine(np.full((2, 2, 1), np.nan))
    with pytest.raises(ValueError, match="got 0 and 2"):
        imagine(np.full((2, 2, 1), 0.5), n_mixture=0)


def test_rounding_of_large_beta_is_no_error() -> None:
    mixture = DirichletMixture(beta=1e5)
    model = small_model(ScriptedEnv())
    ExpectedReward().start(model, n_mixture=50, n_normal=14, mixture=mixture, seed=0)


def test_non_finite_imaginary_rewards_stop() -> None:
    imagination = imagine(np.array([[[0.5], [0.5]], [[2.0], [-1.0]]]))
    s, a = torch.zeros(2, 4), torch.zeros(2, 1)
    s[1] = torch.inf
    with pytest.raises(FloatingPointError, match=r"mixtures \[1\]"):
        imagination.rewards(torch.zeros(2, D), s, a, torch.zeros(2, 4))
