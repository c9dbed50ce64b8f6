"""MIER: gradients through gradients, closed forms, relabelling with a known reward."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from line_env import HORIZON
from toy_runs import line_episode, settings

from train.common.evaluation import Evaluator
from train.mier import build
from train.off_policy.context_model import ContextModel, adapt_context
from train.off_policy.episodes import Episode, Transitions, whole_episodes
from train.off_policy.mier import MierLearner
from train.off_policy.mier_acting import MierExploration

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


@pytest.mark.parametrize("clip", [0.7, 0.02])  # no gradient is as long; all are longer
def test_all_tasks_at_once_are_one_after_the_other(clip: float) -> None:
    net, batch = model(), transitions(3, 6)
    start = torch.zeros(3, 3, dtype=torch.float64)
    together = adapt_context(net, batch, start, [0.5, 0.5], clip)
    for task in range(3):
        one = Transitions(*(part[[task]] for part in vars(batch).values()))
        alone = adapt_context(net, one, start[[task]], [0.5, 0.5], clip)
        torch.testing.assert_close(together[[task]], alone)
    kept = adapt_context(net, batch, start, [0.5, 0.5], clip, differentiable=True)
    torch.testing.assert_close(kept.detach(), together)


def test_the_loss_is_that_of_rewards_and_of_changes_added() -> None:
    net, batch = model(dynamics=True), transitions(2, 5)
    contexts = torch.tensor([[0.1, 0.2, 0.3], [-1.0, 0.0, 1.0]], dtype=torch.float64)
    found = net.losses(batch, contexts)
    for task in range(2):
        total = 0.0
        for i in range(5):
            s, a, r, after, _ = (part[task, i] for part in vars(batch).values())
            mean, logvar = net(s, a, contexts[task])
            errors = (mean - torch.cat([r[None], after - s])) ** 2 / logvar.exp() + logvar
            total = total + errors[0] / 5 + errors[1:].mean() / 5
        assert float((found[task] - total).detach()) == pytest.approx(0.0, abs=1e-12)


def test_long_gradients_of_the_model_are_shortened_as_a_whole() -> None:
    learner = tiny()
    marked = line_episode(0.0, np.random.default_rng(0))
    marked.rewards[:] = 1e4
    for task in range(2):
        for _ in range(30):
            learner.replay.add(task, marked)
    learner.update()
    square = sum(float(p.grad.square().sum()) for p in learner.model.parameters())
    assert square**0.5 == pytest.approx(10.0, rel=1e-4)


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


def test_the_model_is_a_leaky_network_with_softly_bounded_log_variances() -> None:
    """As the authors' ensembles: a negative slope of 0.01, and softplus at both bounds."""
    net, batch = model(dynamics=True), transitions(2, 5)
    with torch.no_grad():
        for parameter in net.net.parameters():
            parameter.mul_(4.0)
    context = torch.ones(2, 5, 3, dtype=torch.float64)
    hidden = np.concatenate([batch.observations, batch.actions, context], axis=-1)
    weights = [parameter.detach().numpy() for parameter in net.net.parameters()]
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        hidden = hidden @ weight.T + bias
        hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
    mean, raw = np.split(hidden @ weights[-2].T + weights[-1], 2, axis=-1)
    bounded = 0.5 - np.logaddexp(0, 0.5 - raw)
    bounded = -10 + np.logaddexp(0, bounded + 10)
    found = net(batch.observations, batch.actions, context)
    for mine, slow in zip(found, (mean, bounded), strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), slow, rtol=1e-7)


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


def test_identifying_takes_the_trainings_steps_and_smaller_ones_after_them() -> None:
    """r = x (φ₁ + φ₂), so that a step of least squares moves both alike."""
    learner = tiny(context_steps=2, context_learning_rate=0.3)
    rng = np.random.default_rng(0)
    episodes = [line_episode(0.5, rng) for _ in range(2)]
    x = np.concatenate([e.observations[:-1, 0] for e in episodes]).astype(float)
    r, total = np.concatenate([e.rewards for e in episodes]), 0.0
    for rate in (0.3, 0.3, 0.001, 0.001, 0.001):
        total -= rate * 2 * 2 * (x * (x * total - r)).mean()  # of two columns
    learner.model = Linear(1, 1, 2, (4,))
    found = learner.identify(episodes, n_steps=5)
    np.testing.assert_allclose(found.numpy(), [total / 2] * 2, rtol=1e-4)


@pytest.mark.parametrize(
    ("real_share", "n_real"), [(0.15, 6), (0.0, 0), (1.0, 40), (0.01, 1), (0.999, 39)]
)
def test_relabelled_batches_are_mostly_of_train_tasks_as_the_tuned_model_pays_them(
    real_share: float, n_real: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replayed states with the rewards of φ₁, and a share of the test task's own transitions."""
    sizes = {"relabel_updates": 2, "relabel_batch_size": 40, "real_share": real_share}
    learner = tiny(**sizes, test_context_steps=7)
    rng = np.random.default_rng(0)
    episodes = [line_episode(0.5, rng) for _ in range(2)]
    seen: list[tuple[Transitions, Tensor]] = []
    monkeypatch.setattr(
        learner, "sac_step", lambda sac, batch, context, _: seen.append((batch, context))
    )
    monkeypatch.setattr(learner, "_tuned_model", lambda *_: Oracle(1, 1, 2, (4,)))
    _, context = learner.relabel(episodes)
    torch.testing.assert_close(context, learner.identify(episodes, n_steps=7))
    own = {float(x) for e in episodes for x in e.observations[1:, 0]}
    for batch, shown in seen:
        torch.testing.assert_close(shown[0], context)
        after, rewards = batch.next_observations[0, :, 0], batch.rewards[0]
        real = np.array([float(x) in own for x in after])
        assert (real.sum(), len(real)) == (n_real, 40)
        torch.testing.assert_close(rewards[real], -(after[real] - 0.5).abs())
        torch.testing.assert_close(rewards[~real], -(after[~real] - context[0]).abs())
    assert len(seen) == 2 and not torch.equal(seen[0][0].rewards, seen[1][0].rewards)


def test_the_model_is_tuned_by_adam_at_its_own_rate() -> None:
    learner, context = tiny(test_model_updates=3, model_learning_rate=3e-3), torch.ones(2)
    episodes = [line_episode(0.5, np.random.default_rng(0))]
    expected = copy.deepcopy(learner.model)
    adam = torch.optim.Adam(expected.parameters(), lr=3e-3)
    s, a, r = (torch.from_numpy(part) for part in list(vars(episodes[0]).values())[:3])
    for _ in range(3):
        mean, logvar = expected(s[:-1], a, context.expand(HORIZON, 2))
        spread = expected.highest.sum() - expected.lowest.sum()
        loss = ((mean[:, 0] - r) ** 2 / logvar[:, 0].exp() + logvar[:, 0]).mean() + 0.01 * spread
        adam.zero_grad()
        loss.backward()
        adam.step()
    found = learner._tuned_model(episodes, context)
    for mine, slow in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, slow, rtol=1e-3, atol=1e-5)


def test_a_visit_keeps_prior_episodes_as_context_and_adapts_to_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner = tiny(prior_episodes=2, adapted_episodes=3)
    before = [len(learner.context.episodes(task)) for task in range(2)]
    seen: list[list[Episode]] = []
    identify = learner.identify
    monkeypatch.setattr(learner, "identify", lambda e: (seen.append(list(e)), identify(e))[1])
    learner.visit(np.array([0, 1, 1, 0]), initial=False)
    kept = [learner.context.episodes(task)[before[task] :] for task in range(2)]
    assert [len(episodes) for episodes in kept] == [2 * 2, 2 * 2]
    assert [len(episodes) for episodes in seen] == [2] * 4  # of each row
    for task, rows in enumerate(([0, 3], [1, 2])):
        stored = sorted(e.rewards.tolist() for e in kept[task])
        assert stored == sorted(e.rewards.tolist() for row in rows for e in seen[row])


def test_the_model_adapts_to_prior_episodes_and_is_judged_by_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner, seen = tiny(), []
    marked = line_episode(0.0, np.random.default_rng(0))
    marked.rewards[:] = 777.0
    for task in range(2):
        for _ in range(10):  # as many as from the prior
            learner.replay.add(task, marked)
    loss = learner.model_loss
    monkeypatch.setattr(
        learner, "model_loss", lambda *b: (seen.extend(one.rewards for one in b), loss(*b))[1]
    )
    learner.update()
    context, judged = seen
    assert float(context.max()) < 100
    assert 0.2 < float((judged == 777.0).float().mean()) < 0.8


def test_context_model_and_policy_learn_from_the_same_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rewards tell the task and the replay; the policy is shown the contexts of the inner steps."""
    learner, marked = tiny(), line_episode(0.0, np.random.default_rng(0))
    for task in range(2):
        for replay, base in ((learner.context, 10.0), (learner.replay, 20.0)):
            replay.clear(task)
            rewards = np.full(HORIZON, base + task, np.float32)
            replay.add(task, dataclasses.replace(marked, rewards=rewards))
    loss, learn = learner.model_loss, learner.sac.update
    given: list[Any] = []
    contexts: list[Tensor] = []

    def watch_loss(before: Transitions, batch: Transitions) -> tuple[Tensor, Tensor]:
        found = loss(before, batch)
        given.append((before.rewards, batch.rewards))
        contexts.append(found[1])
        return found

    def watch_policy(batch: Transitions, *inputs: Any) -> Any:
        shown = batch.observations, batch.next_observations
        columns = contexts[-1].unsqueeze(1).expand(-1, shown[0].shape[1], -1)
        for one, found in zip(shown, inputs[:2], strict=True):
            assert torch.equal(found, torch.cat([one, columns], -1))
        given[-1] += (batch.rewards,)
        return learn(batch, *inputs)

    monkeypatch.setattr(learner, "model_loss", watch_loss)
    monkeypatch.setattr(learner.sac, "update", watch_policy)
    for _ in range(3):
        learner.update()
    for before, judged, learned in given:
        tasks = before[:, :1] - 10
        assert torch.equal(before, (10 + tasks).expand_as(before))
        assert torch.equal(judged, (20 + tasks).expand_as(judged))
        assert torch.equal(learned, judged)
    assert len({float(task) for before, *_ in given for task in before[:, 0]}) == 2


def test_actions_are_those_of_the_rows_own_context_and_policy() -> None:
    """Sampled with φ₀, greedy in the last episode, there possibly by a policy of the task."""
    learner, rng = tiny(), np.random.default_rng(0)
    last, x = learner.config.n_episodes - 1, np.array([[0.1], [-0.4], [0.7]], np.float32)
    learner.initial_context.data[:] = torch.tensor([0.5, -0.5])
    acting = learner.actor()
    acting.begin(3)
    acting.episodes = [[line_episode(goal, rng) for _ in range(last)] for goal in (-1.0, 1.0, 0.5)]
    for row, episode in enumerate((0, last, last)):
        acting.begin_episode(row, episode)
    acting.policies[2] = tiny(seed=1).sac.policy
    contexts = [learner.initial_context.detach(), *map(learner.identify, acting.episodes[1:])]
    policies = [learner.sac.policy] * 2 + [acting.policies[2]]
    drawn = np.array([acting.actions(x) for _ in range(2000)])[..., 0]
    for row, (policy, context) in enumerate(zip(policies, contexts, strict=True)):
        with torch.no_grad():
            mean, log_std = policy(torch.cat([torch.from_numpy(x[row]), context]))
        if row:
            np.testing.assert_allclose(drawn[:, row], np.tanh(mean.item()), rtol=1e-5)
        else:
            before_tanh = np.arctanh(drawn[:, 0].astype(float))
            assert before_tanh.mean() == pytest.approx(mean.item(), abs=0.1)
            assert before_tanh.std() == pytest.approx(log_std.exp().item(), rel=0.1)
    exploring = MierExploration(learner, n_prior=1)
    exploring.contexts[:] = rng.normal(size=exploring.contexts.shape)
    shown = rng.normal(size=(len(exploring.contexts), 1)).astype(np.float32)
    learner.generator.manual_seed(0)
    noise = torch.randn(len(shown), 1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean, log_std = learner.sac.policy(torch.from_numpy(np.hstack([shown, exploring.contexts])))
    expected = torch.tanh(mean + log_std.exp() * noise)
    np.testing.assert_allclose(exploring.act(shown), expected, rtol=1e-4)


def test_the_models_loss_pulls_the_bounds_of_its_variances_together() -> None:
    learner = tiny()
    before, batch = (
        replay.take(replay.draw(np.array([0, 1]), 8, learner.rng))
        for replay in (learner.context, learner.replay)
    )
    loss, contexts = learner.model_loss(before, batch)
    distance = (learner.model.highest - learner.model.lowest).sum()
    assert float(distance) > 1.0
    expected = learner.model.losses(batch, contexts).mean() + 0.01 * distance
    torch.testing.assert_close(loss, expected)


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


def test_evaluations_adapt_once_to_all_episodes_before_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner, seen = tiny(n_episodes=4), []
    identify = learner.identify
    monkeypatch.setattr(learner, "identify", lambda e: (seen.append(len(e)), identify(e))[1])
    evaluator = Evaluator(learner)
    evaluator.evaluate(learner.actor())
    evaluator.close()
    assert seen == [3] * 3  # of each row


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


def test_relabelling_for_two_rows_draws_random_numbers_of_its_own() -> None:
    learner = tiny(relabel_updates=1)
    episodes = learner.replay.episodes(0)[:1]
    weights = [
        torch.cat([p.detach().flatten() for p in learner.relabel(episodes, row)[0].parameters()])
        for row in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_relabelling_begins_with_optimizers_that_have_seen_nothing() -> None:
    """Adam's first step is the rate long in every weight, whatever the gradient."""
    learner = tiny(relabel_updates=1)
    for _ in range(3):
        learner.update()
    policy, _ = learner.relabel(learner.replay.episodes(0)[:1])
    pairs = zip(policy.parameters(), learner.sac.policy.parameters(), strict=True)
    moved = torch.cat([(new - old).abs().flatten() for new, old in pairs]).detach()
    rate = learner.config.learning_rate
    assert float(moved.max()) < 1.01 * rate
    assert float(moved[moved > 0.01 * rate].median()) > 0.99 * rate


def test_the_policy_of_a_task_ends_with_it() -> None:
    """Plots may go on: the next task's first episodes are the trained policy's again."""
    learner = tiny(relabel_updates=1, adapt_from=0.0)
    actor = learner.actor()
    actor.begin(2)
    actor.episodes = [learner.replay.episodes(task)[:1] for task in range(2)]
    for row in range(2):
        actor.begin_episode(row, learner.config.n_episodes - 1)
    assert None not in actor.policies
    actor.begin_episode(0, 0)
    assert actor.policies[0] is None and actor.policies[1] is not None
    np.testing.assert_array_equal(actor.contexts[0], learner.initial_context.detach())
