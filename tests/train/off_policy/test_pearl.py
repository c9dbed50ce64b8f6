"""PEARL: where its gradients come from, what its encoder may read, and the toy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from line_env import HORIZON
from toy_runs import settings

from train.common.evaluation import Evaluator
from train.off_policy import learner as learner_module
from train.off_policy.episodes import Episode, Transitions
from train.off_policy.pearl import PearlLearner
from train.off_policy.pearl_acting import PearlExploration
from train.pearl import build


def tiny(**changes: Any) -> PearlLearner:
    learner = build(settings("pearl", **changes))
    for _ in range(learner.n_initial_iterations):
        learner.visit(learner._next_tasks(True), True)
    return learner


def batches(learner: PearlLearner) -> tuple[Transitions, Transitions]:
    rng = np.random.default_rng(0)
    tasks = np.array([0, 1, 0, 1])
    context = learner.context.take(learner.context.draw(tasks, 8, rng))
    return context, learner.replay.take(learner.replay.draw(tasks, 8, rng))


def test_the_encoder_learns_from_the_critics_loss_alone() -> None:
    """With λ_KL = 0 its gradient is that of the critics' loss, by a second computation."""
    learner = tiny(kl_weight=0.0)
    context, batch = batches(learner)
    noise = torch.Generator().manual_seed(5)
    learner.generator.manual_seed(5)
    mean, variance = learner.encoder(context)
    z = mean + variance.sqrt() * torch.randn(mean.shape, generator=noise)
    repeated = z.unsqueeze(1).expand(-1, 8, -1)
    inputs = torch.cat([batch.observations, repeated], -1)
    following = torch.cat([batch.next_observations, repeated], -1)
    loss = learner.sac.critic_loss(batch, inputs, following)
    expected = torch.autograd.grad(loss, list(learner.encoder.parameters()))
    assert sum(float(g.abs().sum()) for g in expected) > 0
    learner.learn_from(context, batch)
    for parameter, gradient in zip(learner.encoder.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_kl_term_is_a_sum_over_tasks() -> None:
    learner = tiny(kl_weight=2.0)
    context, batch = batches(learner)
    losses = learner.learn_from(context, batch)
    mean, variance = tiny(kl_weight=2.0).encoder(context)
    kl = 0.5 * (mean**2 + variance - variance.log() - 1).sum()
    assert float(losses["kl"]) * 4 == pytest.approx(kl.item(), rel=1e-5)
    # a weight of the KL alone: the critics' loss of rewards, values and targets of 0 vanishes
    zero = Transitions(*(torch.zeros_like(part) for part in vars(batch).values()))
    for parameter in [*learner.sac.critics.parameters(), *learner.sac.target_value.parameters()]:
        parameter.data.zero_()
    mean, variance = learner.encoder(context)
    loss = 2.0 * 0.5 * (mean**2 + variance - variance.log() - 1).sum()
    expected = torch.autograd.grad(loss, list(learner.encoder.parameters()))
    learner.learn_from(context, zero)
    for parameter, gradient in zip(learner.encoder.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_posterior_is_a_product_of_factors_of_single_transitions() -> None:
    learner = tiny()
    context, _ = batches(learner)
    found = learner.posterior(context)
    for task in range(4):
        precision, weighted = torch.zeros(2), torch.zeros(2)
        for i in range(8):
            s, a, r = context.observations, context.actions, context.rewards
            row = torch.cat([s[task, i], a[task, i], r[task, i, None]])
            out = learner.encoder.net(row).detach()
            variance = torch.log1p(out[2:].exp())
            precision, weighted = precision + 1 / variance, weighted + out[:2] / variance
        torch.testing.assert_close(found[0][task], weighted / precision)
        torch.testing.assert_close(found[1][task], 1 / precision)


def test_every_visit_has_random_starts_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, seeds = tiny(), []
    monkeypatch.setattr(learner_module, "collect", lambda *given: seeds.append(given[-1]) or 0)
    for learner.iteration in (1, 2, 1):
        learner.visit(np.array([0, 1, 0, 1]), initial=False)
    assert seeds[0] == seeds[2] != seeds[1]


def test_a_tasks_context_changes_its_own_latent_only() -> None:
    learner = tiny()
    context, _ = batches(learner)
    before, _ = learner.posterior(context)
    rewards = context.rewards.clone()
    rewards[1] += 3.0
    after, _ = learner.posterior(dataclasses.replace(context, rewards=rewards))
    changed = (after != before).any(dim=1)
    assert changed.tolist() == [False, True, False, False]


def sentinel(length: int = HORIZON) -> Episode:
    rewards = np.full(length, 777.0, np.float32)
    return Episode(
        np.zeros((length + 1, 1), np.float32), np.zeros((length, 1), np.float32), rewards, False
    )


def test_the_encoder_reads_prior_episodes_of_this_task_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sentinel rewards of posterior episodes, of other tasks and of evaluations never get there."""
    learner = tiny()
    seen: list[torch.Tensor] = []
    forward = type(learner.encoder).forward
    monkeypatch.setattr(
        type(learner.encoder),
        "forward",
        lambda self, c: (seen.append(c.rewards), forward(self, c))[1],
    )
    learner.replay.add(0, sentinel())  # data that is not from the prior
    learner.context.add(1, sentinel())  # another task's context
    for _ in range(3):
        learner.update()
    of_task_0 = learner.context.take(learner.context.draw(np.array([0]), 500, learner.rng))
    assert float(of_task_0.rewards.max()) < 100
    learner.visit(np.array([0, 0, 1, 1]), initial=False)
    held = [float(e.rewards.max()) for t in range(2) for e in learner.context.episodes(t)]
    assert max(held) < 100  # the visit has emptied both
    assert len(held) == 4 * learner.config.prior_episodes
    assert len(learner.context.episodes(0)) == 2 * learner.config.prior_episodes
    seen.clear()
    before = {k: v.copy() for k, v in learner.replay.state_dict().items()}
    evaluator = Evaluator(learner)
    evaluator.evaluate(learner.actor())
    evaluator.close()
    for name, value in learner.replay.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    # at test, the context is the row's own episodes so far: all of them, once each
    assert {tuple(c.shape) for c in seen} == {(HORIZON * (learner.config.n_episodes - 1),)}
    assert len(learner.tasks) == 2 and 0.5 not in learner.tasks


def test_critics_learn_scaled_rewards() -> None:
    """The loss of critics and target values of 0 is twice the mean of (3 r)²."""
    learner = tiny(reward_scale=3.0)
    context, batch = batches(learner)
    for parameter in [*learner.sac.critics.parameters(), *learner.sac.target_value.parameters()]:
        parameter.data.zero_()
    found = learner.learn_from(context, batch)["critic_loss"]
    assert float(found) == pytest.approx(18 * float(batch.rewards.square().mean()), rel=1e-5)


def test_training_episodes_act_on_the_posterior_of_their_own_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner, seen = tiny(), []
    for task in range(2):
        learner.context.clear(task)
        marked = np.full(HORIZON, 100.0 + task, np.float32)
        learner.context.add(task, dataclasses.replace(sentinel(), rewards=marked))
    posterior = learner.posterior
    monkeypatch.setattr(learner, "posterior", lambda c: (seen.append(c.rewards), posterior(c))[1])
    behaviour = PearlExploration(learner, np.array([1, 0, 1]), n_prior=1)
    for row in range(3):
        behaviour.begin_episode(row, 0)
    assert not seen
    for row in range(3):
        behaviour.begin_episode(row, 1)
    assert [rewards.unique().tolist() for rewards in seen] == [[101.0], [100.0], [101.0]]


def test_latents_have_the_mean_and_the_spread_of_the_posterior(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner, n = tiny(), 800
    mean, variance = torch.tensor([3.0, -1.0]), torch.tensor([4.0, 0.25])

    def posterior(context: Transitions) -> tuple[torch.Tensor, ...]:
        shape = (*context.rewards.shape[:-1], 2)
        return mean.expand(shape), variance.expand(shape)

    monkeypatch.setattr(learner, "posterior", posterior)
    exploring = PearlExploration(learner, np.zeros(n, np.int64), n_prior=1)
    acting = learner.actor()
    acting.begin(n)
    acting.episodes = [[sentinel()]] * n
    for behaviour, last in ((exploring, 1), (acting, learner.config.n_episodes - 1)):
        for episode, centre, spread in ((0, [0, 0], [1, 1]), (last, [3, -1], [2, 0.5])):
            for row in range(n):
                behaviour.begin_episode(row, episode)
            np.testing.assert_allclose(behaviour.z.mean(0), centre, atol=0.25)
            np.testing.assert_allclose(behaviour.z.std(0), spread, rtol=0.1)


def test_the_encoder_reads_the_tasks_that_critics_and_policy_learn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner, seen = tiny(), []
    for task in range(2):
        for replay, base in ((learner.context, 10.0), (learner.replay, 20.0)):
            replay.clear(task)
            rewards = np.full(HORIZON, base + task, np.float32)
            replay.add(task, dataclasses.replace(sentinel(), rewards=rewards))
    monkeypatch.setattr(learner, "learn_from", lambda *given: seen.append(given) or {})
    for _ in range(3):
        learner.update()
    for context, batch in seen:
        tasks = context.rewards[:, :1] - 10
        assert torch.equal(context.rewards, (10 + tasks).expand_as(context.rewards))
        assert torch.equal(batch.rewards, (20 + tasks).expand_as(batch.rewards))
        assert len(tasks.unique()) == 2


def test_actions_are_those_of_the_rows_own_latent() -> None:
    learner, rng = tiny(), np.random.default_rng(0)
    x, z = (rng.normal(size=(3, columns)).astype(np.float32) for columns in (1, 2))
    exploring, acting = PearlExploration(learner, np.zeros(3, np.int64), 1), learner.actor()
    acting.begin(3)
    exploring.z = acting.z = z
    learner.generator.manual_seed(0)
    noise = torch.randn(3, 1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean, log_std = learner.sac.policy(torch.from_numpy(np.hstack([x, z])))
    np.testing.assert_allclose(acting.actions(x), torch.tanh(mean), rtol=1e-4)
    expected = torch.tanh(mean + log_std.exp() * noise)
    np.testing.assert_allclose(exploring.act(x), expected, rtol=1e-4)


def test_a_settings_way_out() -> None:
    with pytest.raises(ValueError, match="n_episodes must be at least 2"):
        settings("pearl", n_episodes=1)


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute of CPU time
def test_the_toy_third_episode_knows_the_goal() -> None:
    """Contexts in training are what a test has: two episodes of a task, and many different ones."""
    steps = 17_900
    learner = build(
        settings(
            "pearl",
            total_timesteps=steps,
            seed=0,
            prior_episodes=1,  # of each of the two rows of a task
            posterior_episodes=2,
            updates_per_step=0.2,
        )
    )
    learner.learn(steps, lambda _: None)
    third, first, means = [], [], []
    rng = np.random.default_rng(0)
    for seed in range(5):
        evaluator = Evaluator(learner, seed)
        actor = learner.actor()
        actor.seed = seed
        results = {r.split: r.returns for r in evaluator.evaluate(actor)}
        third.append(results["train"][:, -1])
        first.append(results["train"][:, 0])
        evaluator.close()
    for _ in range(5):
        places = learner.context.draw(np.arange(2), 2 * HORIZON, rng)
        means.append(learner.posterior(learner.context.take(places))[0].numpy())
    print(np.mean(third), np.mean(first), np.mean(means, axis=0))
    assert np.mean(third) > -3
    assert np.mean(first) < -4
    sign = np.sign(np.array(means))  # (draws, goals, latent_dim)
    opposite, steady = sign[:, 0] == -sign[:, 1], (sign == sign[0]).all(axis=1)
    assert (opposite & steady).all(axis=0).any(), means


def test_the_context_has_room_for_all_rows_of_a_task() -> None:
    """More workers than train tasks: two rows of each, with two prior episodes."""
    learner = tiny(initial_episodes=1, prior_episodes=2, n_workers=4)
    learner.visit(learner._next_tasks(False), False)
    assert [len(learner.context.episodes(task)) for task in range(2)] == [4, 4]


def test_visits_share_the_workers_out_among_the_train_tasks() -> None:
    learner = tiny(n_workers=3)
    for learner.iteration, expected in enumerate([[0, 1, 0], [1, 0, 1]]):
        assert learner._next_tasks(True).tolist() == expected
    drawn = np.array([learner._next_tasks(False) for _ in range(40)])
    assert (np.sort(drawn[:, :2], axis=1) == [0, 1]).all()  # each once before any twice
    assert 0 < drawn[:, 0].sum() < 40 and 0 < drawn[:, 2].sum() < 40
