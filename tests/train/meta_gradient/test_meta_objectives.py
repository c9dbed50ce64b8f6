"""The meta-gradient against closed forms, finite differences and other ways to compute it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from train.meta_gradient.episodes import TaskBatch
from train.meta_gradient.gradient import adapt_in_chunks, meta_gradient
from train.meta_gradient.objectives import Objective, adapt, inner_loss
from train.meta_gradient.policy import MetaPolicy, Parameters

F64 = torch.float64
OBJECTIVES = {
    "promp": Objective("ratio", 0.1, 0.3, inner_kl_coef=0.7),
    "e-maml": Objective("log", 0.1, 0.3, exploration_coef=0.5),
}
SPACES: list[spaces.Space[Any]] = [spaces.Box(-1, 1, (2,)), spaces.Discrete(4)]


class Bandit:
    """a ~ N(theta, std²), reward -(a - goal)², by Gauss–Hermite nodes instead of samples."""

    theta, goal, std, rate = 0.2, 1.3, 0.7, 0.1

    def __init__(self) -> None:
        space = spaces.Box(-1, 1, (1,))
        self.policy = MetaPolicy(space, space, (), float(np.log(self.std)), dtype=F64)
        self.nodes, weights = np.polynomial.hermite_e.hermegauss(20)
        self.weights = weights / weights.sum()

    def parameters(self, mean: torch.Tensor) -> Parameters:
        log_std = torch.full((1,), float(np.log(self.std)), dtype=F64)
        return {"weight_0": torch.zeros(1, 1, dtype=F64), "bias_0": mean, "log_std": log_std}

    def batch(self, mean: float) -> TaskBatch:
        actions = mean + self.std * self.nodes
        rewards = -((actions - self.goal) ** 2)
        advantages = rewards - (self.weights * rewards).sum()
        columns = torch.tensor(actions, dtype=F64)[None, :, None]
        shown = torch.zeros_like(columns)
        at = self.parameters(torch.tensor([mean], dtype=F64))
        log_probs = self.policy.distribution(at, shown).log_prob(columns)
        parts = (torch.tensor(part, dtype=F64)[None] for part in (advantages, self.weights))
        return TaskBatch(shown, columns, log_probs, *parts)


@pytest.mark.parametrize(("form", "expected"), [("ratio", 1.408), ("log", 1.760)])
def test_bandit_with_a_known_meta_gradient(form: Any, expected: float) -> None:
    bandit = Bandit()
    mean = torch.tensor([bandit.theta], dtype=F64)
    parameters = bandit.parameters(mean)
    before = bandit.batch(bandit.theta)
    offset = bandit.theta - bandit.goal
    adapted = bandit.theta - 2 * bandit.rate * offset
    stepped = adapt(bandit.policy, parameters, before, form, bandit.rate)
    assert stepped["bias_0"].item() == pytest.approx(adapted, abs=1e-12)

    theta = mean.clone().requires_grad_()
    after = bandit.batch(adapted)
    own = bandit.parameters(theta)
    shown = bandit.policy.distribution(own, before.observations)
    (slope,) = torch.autograd.grad(inner_loss(form, shown, before).sum(), theta, create_graph=True)
    moved = bandit.parameters(theta - bandit.rate * slope)
    log_probs = bandit.policy.distribution(moved, after.observations).log_prob(after.actions)
    gain = after.mean(torch.exp(log_probs - after.log_probs) * after.advantages).sum()
    (gradient,) = torch.autograd.grad(gain, theta)
    assert gradient.item() == pytest.approx(expected, abs=1e-9)


def case(space: spaces.Space[Any], tasks: int = 5, steps: int = 12) -> dict[str, Any]:
    """Random episodes, with parameters that have moved since they were drawn."""
    generator = torch.Generator().manual_seed(3)
    policy = MetaPolicy(spaces.Box(-1, 1, (3,)), space, (5, 4), dtype=F64)
    old = policy.initial_parameters(generator)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=F64)

    def batch(parameters: Parameters) -> TaskBatch:
        shown = noise(tasks, steps, 3)
        distribution = policy.distribution(parameters, shown)
        actions = distribution.sample(generator)
        mask = torch.ones(tasks, steps, dtype=F64)
        mask[1, -3:] = 0
        weights = mask / mask.sum(1, keepdim=True)
        log_probs = distribution.log_prob(actions)
        return TaskBatch(shown, actions, log_probs, noise(tasks, steps), weights)

    before = batch(old)
    after = batch(adapt(policy, old, before, "ratio", 0.1))
    moved = {name: value + 0.05 * noise(*value.shape) for name, value in old.items()}
    return {
        "policy": policy,
        "parameters": moved,
        "before": before,
        "after": after,
        "old": old,
        "credit": noise(tasks),
    }


def flat(parameters: Parameters) -> torch.Tensor:
    return torch.cat([value.reshape(-1) for value in parameters.values()])


@pytest.mark.parametrize("space", SPACES, ids=["gaussian", "categorical"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_chunks_of_any_size_agree(space: spaces.Space[Any], name: str) -> None:
    given = {**case(space), "objective": OBJECTIVES[name]}
    alone, values = meta_gradient(**given, tasks_per_chunk=1)
    for size in (2, 3, 5, 9):
        together, same = meta_gradient(**given, tasks_per_chunk=size)
        assert (flat(together) - flat(alone)).abs().max() <= 1e-12
        assert same == pytest.approx(values, abs=1e-12)


@pytest.mark.parametrize("space", SPACES, ids=["gaussian", "categorical"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_meta_gradient_is_the_slope_of_the_loss(space: spaces.Space[Any], name: str) -> None:
    given = {**case(space), "objective": OBJECTIVES[name], "tasks_per_chunk": 5}
    gradient, _ = meta_gradient(**given)
    generator = torch.Generator().manual_seed(0)
    directions = {
        key: torch.randn(value.shape, generator=generator, dtype=F64)
        for key, value in gradient.items()
    }

    def loss(step: float) -> float:
        moved = {k: v + step * directions[k] for k, v in given["parameters"].items()}
        return meta_gradient(**{**given, "parameters": moved})[1]["loss"]

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    assert slope == pytest.approx(float(flat(gradient) @ flat(directions)), rel=1e-7)


def test_every_argument_has_an_effect() -> None:
    given = {**case(SPACES[0]), "objective": Objective("ratio", 0.1, 0.3, 0.7, 0.5)}
    reference = flat(meta_gradient(**given)[0])
    other = case(SPACES[0], steps=13)
    changed = [
        {"after": other["after"]},
        {"before": other["before"]},
        {"credit": -given["credit"]},
        *(
            {"objective": Objective("ratio", *values)}
            for values in [
                (0.2, 0.3, 0.7, 0.5),
                (0.1, 0.01, 0.7, 0.5),
                (0.1, 0.3, 0.1, 0.5),
                (0.1, 0.3, 0.7, 0.1),
            ]
        ),
        {"objective": Objective("log", 0.1, 0.3, 0.7, 0.5)},
    ]
    for change in changed:
        assert (flat(meta_gradient(**{**given, **change})[0]) - reference).abs().max() > 1e-6


def test_deviations_are_at_least_a_millionth_of_the_policys_unit() -> None:
    """ProMP's code has this floor before adaptation only; here each task's own has it, too."""
    given = case(SPACES[0])
    low = {**given["old"], "log_std": torch.tensor([-99.0, 0.5], dtype=F64)}
    shown = given["before"].observations
    for parameters in (low, {name: value.expand(5, *value.shape) for name, value in low.items()}):
        noise = given["policy"].distribution(parameters, shown)
        spread = noise.sample(torch.Generator().manual_seed(0)) - noise.mode()
        assert 5e-7 < float(spread[..., 0].std()) < 2e-6 and float(spread[..., 1].std()) > 1


def test_first_epoch_has_ratios_of_one_and_no_divergence() -> None:
    given = {**case(SPACES[0])}
    objective = Objective("ratio", 0.1, 0.3, 0.7)
    given["parameters"] = given["old"]
    gradient, values = meta_gradient(**given, objective=objective)
    without, _ = meta_gradient(**given, objective=Objective("ratio", 0.1, 0.3, 0.0))
    assert values["inner_kl"] == pytest.approx(0, abs=1e-15)
    assert values["clip_fraction"] == 0
    assert (flat(gradient) - flat(without)).abs().max() <= 1e-14


def test_adapting_in_chunks_is_adapting_each_task() -> None:
    given = case(SPACES[0])
    objective = Objective("ratio")
    together = adapt_in_chunks(given["policy"], given["old"], given["before"], objective)
    for index, chunk in enumerate(given["before"].chunks(1)):
        own = {name: value.clone().requires_grad_() for name, value in given["old"].items()}
        log_probs = given["policy"].distribution(own, chunk.observations).log_prob(chunk.actions)
        gain = (chunk.weights * chunk.advantages * log_probs).sum()
        for (name, value), slope in zip(
            own.items(), torch.autograd.grad(gain, list(own.values())), strict=True
        ):
            assert torch.allclose(together[name][index], value + 0.1 * slope, atol=1e-12)
