"""MIER: gradients through gradients, closed forms, relabelling with a known reward."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from line_env import HORIZON
from toy_runs import settings

from train.common.evaluation import Evaluator
from train.mier import build
from train.off_policy.context_model import ContextModel, adapt_context
from train.off_policy.episodes import Episode, Transitions, whole_episodes
from train.off_policy.mier import MierLearner

Tensor = torch.Tensor


def transitions(tasks: int, n: int, seed: int = 0) -> Transitions:
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return Transitions(
        draw(tasks, n, 2), draw(tasks, n, 1), draw(tasks, n), draw(tasks, n, 2),
        torch.zeros(tasks, n, dtype=torch.float64),
    )  # fmt: skip


def model(dynamics: bool = False) -> ContextModel:
    torch.manual_seed(0)
    return ContextModel(2, 1, 3, (8, 8), dynamics).double()


@pytest.mark.parametrize("dynamics", [False, True])
def test_inner_and_outer_gradients_are_those_of_central_differences(dynamics: bool) -> None:
    net, before, after = model(dynamics), transitions(2, 5), transitions(2, 5, 1)
    start = torch.full((2, 3), 0.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: net.losses(before, c), (start,), rtol=1e-6)

    def outer() -> Tensor:
        contexts = adapt_context(net, before, start, [0.3, 0.2], 10.0, differentiable=True)
        return net.losses(after, contexts).mean()

    gradients = torch.autograd.grad(outer(), list(net.parameters()), allow_unused=True)
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        flat = parameter.data.view(-1)
        for index in range(0, len(flat), max(1, len(flat) // 4)):
            value, step = float(flat[index]), 1e-6
            ends = []
            for sign in (1, -1):
                flat[index] = value + sign * step
                ends.append(float(outer().detach()))
            flat[index] = value
            found = 0.0 if gradient is None else float(gradient.view(-1)[index])
            assert found == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-7)


def test_all_tasks_at_once_are_one_after_the_other() -> None:
    net, batch = model(), transitions(3, 6)
    start = torch.zeros(3, 3, dtype=torch.float64)
    together = adapt_context(net, batch, start, [0.5, 0.5], 0.7)
    for task in range(3):
        one = Transitions(*(part[[task]] for part in vars(batch).values()))
        alone = adapt_context(net, one, start[[task]], [0.5, 0.5], 0.7)
        torch.testing.assert_close(together[[task]], alone)
    kept = adapt_context(net, batch, start, [0.5, 0.5], 0.7, differentiable=True)
    torch.testing.assert_close(kept.detach(), together)


class Linear(ContextModel):
    """r = φ · s with variance 1: the loss is quadratic in φ."""

    def forward(self, observations: Tensor, actions: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        mean = (observations * context).sum(-1, keepdim=True)
        return mean, torch.zeros_like(mean)


def test_a_linear_gaussian_model_descends_as_least_squares_does() -> None:
    net, batch = Linear(2, 1, 2, (4,)), transitions(1, 20)
    s, r = batch.observations[0].numpy(), batch.rewards[0].numpy()
    expected, rates = np.zeros(2), [0.2, 0.1, 0.05]
    for rate in rates:
        expected = expected - rate * 2 / 20 * s.T @ (s @ expected - r)
    found = adapt_context(net, batch, torch.zeros(1, 2, dtype=torch.float64), rates, 1e9)
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-10)
    clipped = adapt_context(net, batch, torch.zeros(1, 2, dtype=torch.float64), [1.0], 0.01)
    assert float(clipped.norm()) == pytest.approx(0.01)


def test_log_variances_stay_within_their_bounds() -> None:
    net = model()
    with torch.no_grad():
        net.net[-1].bias[1] = 50.0
    inputs = [torch.zeros(1, n, dtype=torch.float64) for n in (2, 1, 3)]
    _, high = net(*inputs)
    with torch.no_grad():
        net.net[-1].bias[1] = -50.0
    _, low = net(*inputs)
    assert high.item() == pytest.approx(0.5, abs=1e-3)
    assert low.item() == pytest.approx(-10.0, abs=1e-3)
    assert float(net.bound_penalty().detach()) == pytest.approx(0.01 * 10.5)


def line_episode(goal: float, rng: np.random.Generator) -> Episode:
    actions = rng.uniform(-1, 1, (HORIZON, 1)).astype(np.float32)
    x = np.concatenate([[[0.0]], np.cumsum(0.2 * actions, axis=0)]).astype(np.float32)
    return Episode(x, actions, -np.abs(x[1:, 0] - goal).astype(np.float32), False)


def tiny(**changes: Any) -> MierLearner:
    learner = build(settings("mier", **changes))
    for _ in range(learner.n_initial_iterations):
        learner.visit(learner._next_tasks(True), True)
    return learner


class Oracle(ContextModel):
    """Rewards of the line for the goal φ_0, without noise."""

    def sample_rewards(
        self, observations: Tensor, actions: Tensor, context: Tensor, generator: torch.Generator
    ) -> Tensor:
        return -(observations[:, 0] + 0.2 * actions[:, 0] - context[0]).abs()


def test_relabelling_with_the_true_model_is_the_familys_reward() -> None:
    learner = tiny()
    rng, goal = np.random.default_rng(0), torch.tensor([0.5, 0.0])
    old = whole_episodes([line_episode(-1.0, rng) for _ in range(3)])
    new = learner.relabelled(old, Oracle(1, 1, 2, (4,)), goal, learner.generator)
    torch.testing.assert_close(new.rewards, -(new.next_observations[:, 0] - 0.5).abs())
    for name in ("observations", "actions", "next_observations", "terminations"):
        assert torch.equal(getattr(new, name), getattr(old, name))


def test_sampled_rewards_have_the_models_mean_and_spread() -> None:
    net = model().float()
    s, a, context = torch.zeros(20_000, 2), torch.zeros(20_000, 1), torch.ones(3)
    rewards = net.sample_rewards(s, a, context, torch.Generator().manual_seed(0))
    mean, log_variance = net(s[:1], a[:1], context.unsqueeze(0))
    assert rewards.mean().item() == pytest.approx(mean.item(), abs=0.05)
    assert rewards.std().item() == pytest.approx(log_variance.mul(0.5).exp().item(), rel=0.05)


def test_contexts_give_the_policy_no_gradient_to_the_model() -> None:
    learner = tiny()
    contexts = torch.ones(2, 2)
    batch = learner.replay.take(learner.replay.draw(np.array([0, 1]), 8, learner.rng))
    learner.sac_step(learner.sac, batch, contexts, learner.generator)
    assert all(parameter.grad is None for parameter in learner.model.parameters())


def test_identifying_and_relabelling_change_nothing_of_the_learner() -> None:
    learner = tiny(relabel_updates=3, test_model_updates=2)
    learner.update()
    modules = [learner.model, learner.sac]
    before = [copy.deepcopy(module.state_dict()) for module in modules]
    generator = learner.generator.get_state()
    evaluator = Evaluator(learner)
    first, second = (evaluator.evaluate(learner.actor()) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.returns, other.returns)
    for module, state in zip(modules, before, strict=True):
        for name, value in module.state_dict().items():
            assert torch.equal(value, state[name]), name
    assert torch.equal(generator, learner.generator.get_state())
    policy, _ = learner.relabel(learner.replay.episodes(0)[:1])
    assert not torch.equal(policy.net[0].weight, learner.sac.policy.net[0].weight)


def test_the_initial_context_is_learned_only_if_asked_for() -> None:
    for learns in (False, True):
        learner = tiny(learn_initial_context=learns)
        learner.update()
        assert bool(learner.initial_context.any()) == learns


@pytest.mark.slow
def test_the_toy_context_has_a_sign_and_relabelling_helps_on_the_held_out_goal() -> None:
    learner = build(settings("mier", total_timesteps=4000))
    learner.learn(4000, lambda _: None)
    rng = np.random.default_rng(0)

    def both(goal: float) -> np.ndarray:
        return learner.identify([line_episode(goal, rng) for _ in range(2)]).numpy()

    found = np.array([[both(goal) for goal in (-1.0, 1.0)] for _ in range(10)])
    left, right = found.mean(axis=0)  # where φ = 0 lies between them is left to the training
    side = (found - (left + right) / 2) @ (right - left)
    assert (side[:, 0] < 0).all() and (side[:, 1] > 0).all(), found
    returns = {}
    for updates in (0, 600):
        learner.config = settings("mier", relabel_updates=updates)
        evaluator = Evaluator(learner)
        returns[updates] = {r.split: r.returns for r in evaluator.evaluate(learner.actor())}
        evaluator.close()
    print(returns)
    assert returns[0]["train"][:, -1].mean() > -4
    assert returns[600]["eval"][:, -1].mean() > returns[0]["eval"][:, -1].mean()
