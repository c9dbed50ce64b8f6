"""Which candidates become imaginary tasks: the rarer what they pay, the likelier."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from ldm_wrappers import PlausibleTasks
from ldm_wrappers.imagination.candidates import keep_rare
from ldm_wrappers.latent_dynamics import TransitionSpec


class TwoPlaces:
    """Duck-typed LatentDynamics: latent +1 pays at place +1, latent −1 at place −1."""

    config = SimpleNamespace(
        latent_dim=1, p_drop=0.0, likelihood="bernoulli", reward_low=0.0, reward_high=1.0,
        decoder_inputs=("next_observation",),
    )  # fmt: skip
    spec = TransitionSpec.from_spaces(spaces.Box(-1, 1, (1,)), spaces.Discrete(2))
    device = torch.device("cpu")

    def imagine_reward(self, m: Any, s: Any, a: Any, s2: Any, mask: None) -> torch.Tensor:
        return torch.sigmoid(5.0 * (m * s2).squeeze(-1))


class Rarely:
    """Mixtures of the first of two beliefs, and with probability ``p`` of the second."""

    def __init__(self, p: float) -> None:
        self.p = p

    def sample(self, rng: Any, n_mixture: int, n_normal: int, latent_dim: int) -> Any:
        second = rng.random(n_mixture) < self.p
        return np.stack([~second, second], 1).astype(np.float32)[:, :, None]


def one_after_the_other(paid: Any, count: int, rng: Any) -> list[int]:
    """Draw without replacement by the chances 1 / commonness of those that are left."""
    shares = [float(np.mean(column)) for column in paid.T]
    chances = []
    for row in paid:
        own = [share for share, pays in zip(shares, row, strict=True) if pays]
        chances.append(1.0 / (sum(own) / len(own)) if own else 1.0)
    left, kept = list(range(len(paid))), []
    for _ in range(count):
        p = np.array([chances[i] for i in left])
        kept.append(left.pop(rng.choice(len(left), p=p / p.sum())))
    return kept


def test_candidates_are_kept_by_how_rare_the_places_are_that_they_pay() -> None:
    pays = ["1000", "1000", "1100", "0011", "0000", "1000", "0111"]
    paid = np.array([[int(c) for c in row] for row in pays], bool)
    repeats, rng, other = 6000, np.random.default_rng(0), np.random.default_rng(1)
    ours, theirs = np.zeros(len(paid)), np.zeros(len(paid))
    for _ in range(repeats):
        kept = keep_rare(paid, 2, rng)
        assert len(set(kept.tolist())) == 2
        ours[kept] += 1.0 / repeats
        theirs[one_after_the_other(paid, 2, other)] += 1.0 / repeats
    np.testing.assert_allclose(ours, theirs, atol=0.025)
    assert np.ptp(theirs) > 0.2


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("candidates", [1, 2, 8])
def test_rare_tasks_are_kept_more_often(candidates: int, together: bool) -> None:
    n_tasks, p, repeats = 6, 0.1, 400
    model: Any = TwoPlaces()
    tasks = PlausibleTasks(
        threshold=0.9,
        n_remembered_transitions=2 * n_tasks,
        n_candidates=candidates,
        n_dropout_masks=0,
    )
    imagination = tasks.start(
        model,
        n_mixture=n_tasks,
        n_normal=2,
        mixture=Rarely(p),
        seed=0,
    )
    means, nothing = torch.tensor([[1.0], [-1.0]]), torch.zeros(n_tasks, 1)
    places = torch.tensor([[1.0], [-1.0]]).repeat(n_tasks // 2, 1)
    begins = [np.ones(n_tasks, bool)] if together else list(np.eye(n_tasks, dtype=bool))
    rare = 0
    for _ in range(repeats):
        for begin in begins:
            imagination.begin(begin)
            paid = imagination.rewards(means, nothing, nothing, places)
            latents = imagination.latents(means)
            np.testing.assert_array_equal(paid, (latents == places).numpy()[:, 0])
        rare += int((latents < 0).sum())
    rng, count, found = np.random.default_rng(5), n_tasks if together else 1, []
    for _ in range(repeats * n_tasks // count):
        pool = rng.random(n_tasks * candidates) < p
        kept = one_after_the_other(np.stack([pool, ~pool], 1), count, rng)
        found.append(pool[kept].mean())
    expected = float(np.mean(found))
    if candidates == 1 and not together:
        expected = p  # nothing to choose from
    assert abs(rare / (n_tasks * repeats) - expected) < 0.03
    assert candidates == 1 or expected > p + 0.05
