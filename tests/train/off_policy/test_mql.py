"""MQL: contexts, the penalty, adaptation and what it leaves alone."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from line_env import HORIZON
from scipy import optimize
from stable_baselines3.common.logger import Logger
from toy_runs import line_episode, settings

from ldm_wrappers.state_file import load_state, save_state
from train.common.evaluation import Evaluator
from train.common.notices import adaptation_notice
from train.mql import build
from train.off_policy import mql_acting
from train.off_policy.episodes import Episode
from train.off_policy.mql import MqlLearner
from train.off_policy.mql_acting import Histories
from train.off_policy.propensity import propensity_weights
from train.off_policy.replay import Places
from train.off_policy.streams import EVALUATION, stream_seed
from train.off_policy.td3 import TD3, HistoryBatch, squared_distance, td3_step

Tensor = torch.Tensor


def tiny(**changes: Any) -> MqlLearner:
    learner = build(settings("mql", **changes))
    for _ in range(learner.n_initial_iterations):
        learner.visit(learner._next_tasks(True), True)
    return learner


def some_batch(learner: MqlLearner, n: int = 32) -> HistoryBatch:
    return learner.batch(learner.replay, learner.replay.draw_any(n, np.random.default_rng(0)))


def test_acting_encodes_what_training_encodes() -> None:
    """At each step of an episode the behaviour's history is the window of the replay."""
    learner = tiny()
    episode = learner.replay.episodes(0)[0]
    slot = int(learner.replay._next[0])  # the oldest, if the ring is full; else 0
    slot = slot if learner.replay._lengths[0, slot] else 0
    histories = Histories(learner.config.history_length, 1, learner.columns)
    for t in range(len(episode)):
        place = Places(*(np.array([value]) for value in (0, slot, t)))
        window = learner.replay.windows(place, learner.config.history_length)
        np.testing.assert_array_equal(histories.windows, window.numpy())
        histories.add(episode.actions[[t]], episode.rewards[[t]], episode.observations[[t]])
    histories.forget(0)
    assert not histories.windows.any()


def test_the_window_of_a_next_state_holds_the_step_that_led_to_it() -> None:
    learner = tiny()
    slots = np.repeat(np.flatnonzero(learner.replay._lengths[0])[:1], HORIZON)
    places = Places(np.zeros(HORIZON, np.int64), slots, np.arange(HORIZON))
    batch = learner.batch(learner.replay, places)
    steps = batch.steps
    step = torch.cat([steps.actions, steps.rewards[:, None], steps.observations], dim=-1)
    assert torch.equal(batch.next_windows, torch.cat([batch.windows[1:], step[None]]))
    assert not batch.windows[:, 0].any()  # before an episode's first step


def windows_of_acting(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, ...]]:
    """What the network is shown from now on and answers: observations, windows, actions."""
    seen: list[tuple[np.ndarray, ...]] = []
    original = mql_acting.greedy

    def spy(actor: Any, observations: Any, windows: Any, device: str) -> Any:
        actions = original(actor, observations, windows, device)
        seen.append((observations.copy(), windows.copy(), actions.copy()))
        return actions

    monkeypatch.setattr(mql_acting, "greedy", spy)
    return seen


def test_training_episodes_act_on_the_windows_that_the_replay_will_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner, length = tiny(episodes_per_visit=2), settings("mql").history_length
    first = learner.replay._next.copy()
    seen = windows_of_acting(monkeypatch)
    learner.visit(np.array([0, 1, 0, 1]), initial=False)
    assert len(seen) == 2 * HORIZON
    for call, (_, windows, _) in enumerate(seen):
        episode, t = divmod(call, HORIZON)
        rows = np.arange(4)
        slots = (first[rows % 2] + 2 * episode + rows // 2) % learner.replay.capacity
        expected = learner.replay.windows(Places(rows % 2, slots, np.full(4, t)), length)
        np.testing.assert_array_equal(windows, expected.numpy())


def test_the_actor_of_evaluations_sees_the_steps_of_its_episode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Windows hold action, reward and place of each step before, in order, of this episode only."""
    learner = tiny(adapt_from=1.0)
    seen = windows_of_acting(monkeypatch)
    evaluator = Evaluator(learner)
    evaluator.evaluate(learner.actor())
    evaluator.close()
    goals = np.array([-1.0, 1.0, 0.5])  # of the splits train and eval
    meta_episode = seen[: learner.config.n_episodes * HORIZON]
    for call, (x, windows, _) in enumerate(meta_episode):
        past: list[np.ndarray] = []
        for before, _, actions in meta_episode[call - call % HORIZON : call]:
            rewards = -np.abs(before[:, 0] + 0.2 * actions[:, 0] - goals)
            past.append(np.stack([actions[:, 0], rewards, before[:, 0]], axis=1))
        assert x.shape == (3, 1)
        padded = [np.zeros((3, 3))] * len(windows) + past
        np.testing.assert_allclose(windows, padded[-len(windows) :], atol=1e-6)


def test_what_a_task_is_called_changes_no_context() -> None:
    """Tasks with equal episodes are the same to everything that is learned."""
    learner, rng = tiny(), np.random.default_rng(0)
    for _ in range(learner.replay.capacity):
        episode = line_episode(0.3, rng)
        for task in range(2):
            learner.replay.add(task, episode)
    slots, times = np.array([0, 1, 5]), np.array([0, 4, HORIZON - 1])
    one, other = (
        learner.batch(learner.replay, Places(np.full(3, task), slots, times)) for task in range(2)
    )
    np.testing.assert_array_equal(learner.features(one), learner.features(other))
    for batch in (one, other):
        learner.generator.manual_seed(0)
        batch.steps.rewards.add_(learner.td3.critic_loss(batch, learner.generator).detach())
    assert torch.equal(one.steps.rewards, other.steps.rewards)


def test_the_penalty_is_zero_at_the_anchor_and_has_its_gradient_elsewhere() -> None:
    td3, anchor = tiny().td3, tiny().td3
    distance = squared_distance(td3.actor, anchor.actor)
    gradients = torch.autograd.grad(distance, list(td3.actor.parameters()))
    assert float(distance.detach()) == 0 and not any(g.any() for g in gradients)
    with torch.no_grad():
        for parameter in td3.actor.parameters():
            parameter.add_(0.25)
    gradients = torch.autograd.grad(
        0.3 * squared_distance(td3.actor, anchor.actor), list(td3.actor.parameters())
    )
    for gradient in gradients:
        torch.testing.assert_close(gradient, torch.full_like(gradient, 2 * 0.3 * 0.25))


def test_gradients_of_the_two_losses() -> None:
    learner = tiny()
    td3, batch = learner.td3, some_batch(learner)

    def reached() -> dict[str, bool]:
        return {
            name: any(p.grad is not None and bool(p.grad.any()) for p in child.parameters())
            for name, child in td3.named_children()
        }

    none = dict.fromkeys(("actor", "critics", "target_actor", "target_critics"), False)
    td3.critic_loss(batch, learner.generator).backward()
    assert reached() == {**none, "critics": True}
    td3.zero_grad()
    td3.actor_loss(batch).backward()
    assert reached() == {**none, "actor": True}


def test_weights_of_zero_leave_the_penalty_alone() -> None:
    learner = tiny()
    td3 = learner.td3
    optimizers = td3.optimizers(1e-3)
    before = [p.clone() for p in td3.parameters()]
    zero = torch.zeros(32)
    td3_step(td3, optimizers, some_batch(learner), learner.generator, True, zero, (0.5, td3))
    assert all(torch.equal(a, b) for a, b in zip(td3.parameters(), before, strict=True))


def test_a_truncated_state_bootstraps_and_a_terminal_one_does_not() -> None:
    torch.manual_seed(0)
    learner = tiny()
    for terminated, expected in ((1.0, 1.0), (0.0, 2.0)):
        td3 = TD3(1, 1, 4, (16,), gamma=0.5, tau=0.2, target_noise=0.1)
        optimizers = td3.optimizers(1e-2)
        batch = some_batch(learner, 64)
        steps = {name: torch.zeros_like(value) for name, value in vars(batch.steps).items()}
        steps |= {"rewards": torch.ones(64), "terminations": torch.full((64,), terminated)}
        still = HistoryBatch(type(batch.steps)(**steps), batch.windows * 0, batch.next_windows * 0)
        for index in range(150):
            td3_step(td3, optimizers, still, learner.generator, index % 2 == 0)
        shown = still.steps.observations
        inputs = td3.critics.inputs(shown, still.windows)
        values = td3.critics.values.smallest(inputs, td3.actor(shown, still.windows))
        assert float(values.mean().detach()) == pytest.approx(expected, abs=0.25)


@pytest.mark.parametrize("bias", [0.0, 2.0])
def test_the_targets_noise_is_cut_off_at_one_half(bias: float) -> None:
    """And so is what it adds up to, at the bounds of actions, which tanh(2) is near to."""
    learner = tiny(target_noise=2.0)
    td3, batch, steps = learner.td3, some_batch(learner), some_batch(learner).steps
    with torch.no_grad():
        td3.target_actor.net[-1].bias.add_(bias)
    noise = (2 * torch.randn(32, 1, generator=torch.Generator().manual_seed(0))).clip(-0.5, 0.5)
    with torch.no_grad():
        found = td3.critic_loss(batch, torch.Generator().manual_seed(0))
        action = td3.target_actor(steps.next_observations, batch.next_windows) + noise
        inputs = td3.target_critics.inputs(steps.next_observations, batch.next_windows)
        q = torch.stack(td3.target_critics.values(inputs, action.clip(-1, 1))).amin(0)
        y = steps.rewards + learner.config.gamma * q  # nothing terminates here
        shown = td3.critics.inputs(steps.observations, batch.windows)
        expected = sum(((q - y) ** 2).mean() for q in td3.critics.values(shown, steps.actions))
    torch.testing.assert_close(found, expected)


def test_every_second_update_moves_the_actor() -> None:
    learner = tiny(policy_freq=2)
    assert ["actor_loss" in learner.update() for learner.n_updates in range(4)] == [False, True] * 2


@pytest.mark.parametrize("env", ["line", "brief"])
def test_adaptation_sees_the_episodes_as_they_were(env: str) -> None:
    """Also the last state and the kind of end of an inner episode, which meta-episodes hide."""
    learner, seen = tiny(env_id=f"line_env:{env}"), []
    learner.adapt = lambda episodes, row: seen.append(list(episodes)) or learner.td3  # type: ignore
    evaluator = Evaluator(learner)
    evaluator.evaluate(learner.actor())
    evaluator.close()
    assert [len(episodes) for episodes in seen] == [learner.config.n_episodes - 1] * 3
    for goal, episodes in zip((-1.0, 1.0, 0.5), seen, strict=True):
        for episode in episodes:
            x, falls = episode.observations[:, 0], env == "brief" and goal < 0
            assert len(episode) == (1 if falls else HORIZON) and x[0] == 0
            assert episode.terminated is falls
            np.testing.assert_allclose(np.diff(x), 0.2 * episode.actions[:, 0], atol=1e-6)
            np.testing.assert_allclose(episode.rewards, -np.abs(x[1:] - goal), atol=1e-6)


def test_parts_of_a_gradient_step_are_owed_to_the_next_visit() -> None:
    """Three visits of 40 steps after the initial 400, each worth 1.6 gradient steps."""
    learner = build(settings("mql", updates_per_step=0.04))
    learner.learn(520, lambda _: None)
    assert (learner.num_timesteps, learner.n_updates) == (520, 4)


def test_a_logged_loss_is_the_mean_over_the_steps_that_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner, seen = build(settings("mql", updates_per_step=0.1)), Logger(None, [])
    losses = iter([{"a": 1.0}, {"a": 2.0, "b": 5.0}, {"a": 3.0}, {"a": 6.0, "b": 9.0}])
    monkeypatch.setattr(learner, "update", lambda: next(losses))
    learner.set_logger(seen)
    learner.learn(440, lambda _: None)  # a visit of 40 steps after the initial 400
    found = {name: seen.name_to_value[f"train/{name}"] for name in ("a", "b", "n_updates")}
    assert found == {"a": 3.0, "b": 7.0, "n_updates": 4}


def test_adaptation_changes_a_copy_and_restores_by_leaving_the_rest() -> None:
    learner = tiny(replay_updates=3)
    learner.update()
    tensors = [
        *learner.td3.state_dict().values(),
        *(v for o in learner.optimizers.values() for s in o.state.values() for v in s.values()),
    ]
    before = [t.clone() for t in tensors]
    generators = (learner.generator.get_state(), str(learner.rng.bit_generator.state))
    evaluator = Evaluator(learner)
    actor = learner.actor()
    evaluator.evaluate(actor)
    adapted = learner.adapt(learner.replay.episodes(0)[:1])
    assert not torch.equal(adapted.actor.net[0].weight, learner.td3.actor.net[0].weight)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))
    assert torch.equal(generators[0], learner.generator.get_state())
    assert generators[1] == str(learner.rng.bit_generator.state)
    again = learner.adapt(learner.replay.episodes(0)[:1])
    pairs = zip(adapted.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_adaptation_may_wait_until_a_share_of_the_training() -> None:
    learner = tiny(adapt_from=1.0)
    assert not learner.adapts
    learner._steps = learner.config.total_timesteps
    assert learner.adapts
    assert tiny(adapt_from=0.0).adapts
    assert not tiny(adapt_from=0.0, snapshot_updates=0, replay_updates=0).adapts


@pytest.mark.parametrize(
    ("snapshot_updates", "replay_updates"), [(3, 3), (4, 3), (3, 4), (0, 3), (0, 0)]
)
def test_adaptation_that_never_moves_the_actor_is_noticed(
    snapshot_updates: int, replay_updates: int
) -> None:
    changes = {"snapshot_updates": snapshot_updates, "replay_updates": replay_updates}
    learner = tiny(policy_freq=4, **changes)
    adapted = learner.adapt(learner.replay.episodes(0)[:1])
    actor_moved, critics_moved = (
        not all(map(torch.equal, new.parameters(), old.parameters()))
        for new, old in (
            (adapted.actor, learner.td3.actor),
            (adapted.critics, learner.td3.critics),
        )
    )
    notice = adaptation_notice(learner.config)
    assert bool(notice) == (critics_moved and not actor_moved)
    assert not notice or "policy_freq = 4" in notice


def test_the_propensity_tells_the_tasks_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a feature that knows the goal's sign, the other goal's transitions count less.

    The window's last step has a, r and x, so x' = x + 0.2 a, and x' (r + 1) is x'² where the goal
    is 1 and −x'² where it is −1.
    """
    learner, rng = tiny(), np.random.default_rng(0)

    def features(self: MqlLearner, batch: HistoryBatch) -> np.ndarray:
        a, r, x = batch.windows[-1].double().numpy().T
        known = batch.windows[-1].any(dim=-1).numpy()  # no step before an episode's first one
        return np.where(known, 10 * (x + 0.2 * a) * (r + 1), 0.0)[:, None]

    monkeypatch.setattr(MqlLearner, "features", features)
    weights, bias = learner.propensity(
        learner.new_batch([line_episode(1.0, rng) for _ in range(20)]), rng
    )
    beta = {
        goal: propensity_weights(
            learner.features(learner.new_batch([line_episode(goal, rng) for _ in range(30)]))
            @ weights
            + bias,
            clip=5.0,
        )
        for goal in (-1.0, 1.0)
    }
    assert weights[0] < 0  # log odds of "old"
    assert beta[1.0].mean() > 1.15 * beta[-1.0].mean()


def test_the_propensity_compares_with_as_many_transitions_of_every_train_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """⌊n/K⌋ + 2 of each of K tasks, which the first test goal's n are set against."""
    learner, rng = tiny(), np.random.default_rng(0)
    for task in range(2):
        for _ in range(learner.replay.capacity):
            marked = dataclasses.replace(
                line_episode(0.0, rng), rewards=np.full(HORIZON, task, np.float32)
            )
            learner.replay.add(task, marked)
    seen: list[np.ndarray] = []
    original = MqlLearner.features

    def spy(self: MqlLearner, batch: HistoryBatch) -> np.ndarray:
        seen.append(batch.steps.rewards.numpy())
        return original(self, batch)

    monkeypatch.setattr(MqlLearner, "features", spy)
    new = [line_episode(1.0, rng) for _ in range(3)]
    learner.propensity(learner.new_batch(new), rng)
    old = next(rewards for rewards in seen if np.isin(rewards, (0.0, 1.0)).all())
    assert np.unique(old, return_counts=True)[1].tolist() == [3 * HORIZON // 2 + 2] * 2


Picks = list[tuple[Episode, int]]  # an episode, and a step of it


def tensors(picks: Picks, length: int) -> list[Tensor]:
    """s, a, r, s', d and the windows before s and s', each step cut out of its episode by hand."""
    rows = []
    for e, t in picks:
        steps = np.column_stack([e.actions, e.rewards, e.observations[:-1]])
        past = np.concatenate([np.zeros((length, 3)), steps])
        over = float(e.terminated and t == len(e) - 1)
        step = (e.observations[t], e.actions[t], e.rewards[t], e.observations[t + 1], over)
        rows.append((*step, past[t : t + length], past[t + 1 : t + 1 + length]))
    found = [torch.tensor(np.array(part), dtype=torch.float32) for part in zip(*rows, strict=True)]
    return [*found[:5], *(windows.transpose(0, 1) for windows in found[5:])]


def slow_log_odds(old: np.ndarray, new: np.ndarray, c: float) -> Any:
    """The logistic regression by a general optimiser; w and b of the log odds of "old"."""
    x = np.concatenate([old, new])
    y = np.repeat([1.0, -1.0], [len(old), len(new)])

    def objective(w: np.ndarray) -> float:
        return 0.5 * w[:-1] @ w[:-1] + c * np.logaddexp(0, -y * (x @ w[:-1] + w[-1])).sum()

    return optimize.minimize(objective, np.zeros(x.shape[1] + 1), options={"gtol": 1e-7}).x


def slow_adapt(learner: MqlLearner, episodes: list[Episode]) -> TD3:
    """Section 4.2 of the paper once more, with Adam's own step and a target without noise."""
    c, meta, replay = learner.config, learner.td3, learner.replay
    td3, rng = copy.deepcopy(meta), np.random.default_rng(stream_seed(c.seed, EVALUATION, 0))
    adam = {
        name: torch.optim.Adam(getattr(td3, name).parameters(), lr=c.adapt_learning_rate)
        for name in ("critics", "actor")
    }

    def descend(name: str, loss: Tensor, prox: float) -> None:
        own = list(getattr(td3, name).parameters())
        for p, start in zip(own, getattr(meta, name).parameters(), strict=True):
            loss = loss + prox * ((p - start.detach()) ** 2).sum()
        for p, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
            p.grad = gradient
        adam[name].step()

    def step(picks: Picks, number: int, beta: Tensor, prox: float) -> None:
        s, a, r, after, over, window, next_window = tensors(picks, c.history_length)
        target, own = td3.target_critics, td3.critics
        with torch.no_grad():
            choice = td3.target_actor(after, next_window)
            best = torch.minimum(*target.values(target.inputs(after, next_window), choice))
            y = r + c.gamma * (1 - over) * best
        first, second = own.values(own.inputs(s, window), a)
        descend("critics", (beta * ((first - y) ** 2 + (second - y) ** 2)).mean(), prox)
        if number % c.policy_freq == 0:
            values = own.values(own.inputs(s, window).detach(), td3.actor(s, window))[0]
            descend("actor", -(beta * values).mean(), prox)
            for name in ("actor", "critics"):
                both = (getattr(td3, one).parameters() for one in (f"target_{name}", name))
                for slow, fast in zip(*both, strict=True):
                    slow.data = (1 - c.tau) * slow.data + c.tau * fast.data

    def features(picks: Picks) -> np.ndarray:
        s, *_, window, _ = tensors(picks, c.history_length)
        context = meta.actor.encoder(window).detach()
        shown = [s, context] if c.propensity_features == "observation-context" else [context]
        return torch.cat(shown, 1).double().numpy()

    new = [(e, t) for e in episodes for t in range(len(e))][-c.snapshot_size :]
    for number in range(1, c.snapshot_updates + 1):
        step(new, number, torch.ones(len(new)), 0.0)
    old: Picks = []
    for task in range(2):
        newest = [(e, t) for e in replay.episodes(task) for t in range(len(e))][::-1]
        newest = newest[: c.snapshot_size]
        old += [newest[i] for i in rng.integers(0, len(newest), len(new) // 2 + 2)]
    *w, b = slow_log_odds(features(old), features(new), c.propensity_c)
    b += np.log(len(new) / len(old)) if c.correct_class_sizes else 0.0
    for number in range(1, c.replay_updates + 1):
        places = vars(replay.draw_any(c.adapt_batch_size, rng)).values()
        drawn = [(replay._episode(k, slot), t) for k, slot, t in zip(*places, strict=True)]
        beta = np.exp(np.minimum(-(features(drawn) @ w + b), c.propensity_clip))
        beta[beta < 0.1] = 0.0
        ess = beta.sum() ** 2 / (len(beta) * (beta**2).sum())
        step(drawn, number, torch.tensor(beta).float(), 1 - ess if c.prox is None else c.prox)
    return td3


@pytest.mark.parametrize(
    "changes",
    [
        {"propensity_clip": 0.02},
        {"propensity_features": "observation-context", "correct_class_sizes": True, "prox": 0.3},
    ],
)
def test_adaptation_is_that_of_a_slow_second_implementation(changes: dict[str, Any]) -> None:
    sizes = {"snapshot_size": 15, "snapshot_updates": 3, "replay_updates": 4, "target_noise": 0.0}
    learner = tiny(**sizes, adapt_learning_rate=3e-3, **changes)
    rng = np.random.default_rng(0)
    new = [dataclasses.replace(line_episode(0.5, rng), terminated=end) for end in (False, True)]
    found, expected = learner.adapt(new), slow_adapt(learner, new)
    pairs = zip(found.named_parameters(), expected.parameters(), strict=True)
    for (name, mine), slow in pairs:
        torch.testing.assert_close(mine, slow, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.slow
def test_the_toy_adaptation_helps_on_the_held_out_goal() -> None:
    learner = build(settings("mql", total_timesteps=4000))
    learner.learn(4000, lambda _: None)
    returns = {}
    for adapt_from in (0.0, 1.0):
        learner.config = settings("mql", total_timesteps=10**9, adapt_from=adapt_from)
        evaluator = Evaluator(learner)
        returns[adapt_from] = {r.split: r.returns for r in evaluator.evaluate(learner.actor())}
        evaluator.close()
    print(returns)
    for split in ("train", "eval"):
        with_it, without = (returns[share][split][:, -1].mean() for share in (0.0, 1.0))
        assert with_it > without - 0.3
    assert returns[0.0]["eval"][:, -1].mean() > returns[1.0]["eval"][:, -1].mean()


def test_exploring_actions_stay_in_their_box_and_so_does_what_is_stored() -> None:
    learner = tiny(exploration_noise=3.0)
    behaviour = mql_acting.MqlExploration(learner, False)
    n = learner.config.n_workers
    actions = np.concatenate([behaviour.act(np.zeros((n, 1), np.float32)) for _ in range(20)])
    assert np.abs(actions).max() == 1.0
    learner.visit(learner._next_tasks(False), False)
    stored = np.concatenate([e.actions for task in range(2) for e in learner.replay.episodes(task)])
    assert np.abs(stored).max() == 1.0


def test_adaptations_of_two_rows_draw_random_numbers_of_their_own() -> None:
    learner = tiny(replay_updates=2)
    episodes = learner.replay.episodes(0)[:1]
    weights = [
        torch.cat([p.detach().flatten() for p in learner.adapt(episodes, row).actor.parameters()])
        for row in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_networks_of_a_task_end_with_it() -> None:
    learner = tiny(adapt_from=0.0)
    actor = learner.actor()
    actor.begin(2)
    actor.episodes = [learner.replay.episodes(task)[:1] for task in range(2)]
    for row in range(2):
        actor.begin_episode(row, learner.config.n_episodes - 1)
    assert None not in actor.adapted
    actor.begin_episode(0, 0)
    assert actor.adapted[0] is None and actor.adapted[1] is not None


def test_a_part_of_a_gradient_step_that_is_owed_is_saved(tmp_path: Path) -> None:
    first = build(settings("mql", updates_per_step=0.0475))
    first.learn(440, lambda _: None)  # a visit of 40 steps, worth 1.9 gradient steps
    second = build(settings("mql", updates_per_step=0.0475))
    save_state(tmp_path / "state", first.state_dict())
    second.load_state_dict(load_state(tmp_path / "state"))
    for learner in (first, second):
        learner.learn(520, lambda _: None)
        assert (learner.num_timesteps, learner.n_updates) == (520, 5)
