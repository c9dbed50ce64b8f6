"""Whole iterations: what they minimise, what has an effect, and what is the same twice."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from test_meta_objectives import F64, case, flat

from ldm_wrappers.state_file import load_state, save_state
from train.config.presets import resolve
from train.config.unused import unused_settings
from train.meta_gradient import gradient as gradient_module
from train.meta_gradient import learner as learner_module
from train.meta_gradient.baseline import advantages
from train.meta_gradient.distributions import Gaussian
from train.meta_gradient.episodes import Episodes, TaskBatch, task_batch
from train.meta_gradient.gradient import mean_kl, meta_gradient
from train.meta_gradient.learner import MetaGradientLearner
from train.meta_gradient.objectives import Objective, exploration_credit
from train.promp import build, objective

BOX = spaces.Box(-1, 1, (2,))
SMALL: dict[str, Any] = {"n_tasks": 3, "n_episodes": 3, "device": "cpu", "net_arch": (8,)}


def learner(method: str = "promp", **changes: Any) -> MetaGradientLearner:
    return build(resolve("LDM-GridNavi-v0", method, **{**SMALL, **changes}))


def weights_after(made: MetaGradientLearner, iterations: int) -> torch.Tensor:
    for _ in range(iterations):
        made.iterate()
    made.close()
    return flat(made.parameters)


def one_task(given: dict[str, Any]) -> dict[str, Any]:
    first = {key: next(given[key].chunks(1)) for key in ("before", "after")}
    batches = {
        key: TaskBatch(*(getattr(one, f.name)[None] for f in dataclasses.fields(one)))
        for key, one in first.items()
    }
    return {**given, **batches, "credit": given["credit"][:1]}


def test_beyond_the_clip_range_there_is_no_gradient_and_the_inner_ratio_is_never_clipped() -> None:
    """Without inner step, log π of the outer loss is that of θ; ratios are chosen freely."""
    given = one_task(case(BOX, steps=4))
    after: TaskBatch = given["after"]
    ratios = torch.tensor([[1.5, 0.5, 1.5, 0.5]], dtype=F64)  # with A > 0 twice, then A < 0
    signs = torch.tensor([[1.0, 1.0, -1.0, -1.0]], dtype=F64)
    log_probs = given["policy"].distribution(given["parameters"], after.observations[0])
    log_probs = log_probs.log_prob(after.actions[0]) - ratios.log()
    for step, moves in enumerate([False, True, True, False]):
        only = torch.zeros(1, 4, dtype=F64)
        only[0, step] = 1.0
        batch = TaskBatch(after.observations, after.actions, log_probs, signs, only)
        clipped = {**given, "after": batch, "objective": Objective("ratio", 0.0, 0.3)}
        assert bool(flat(meta_gradient(**clipped)[0]).abs().max() > 1e-6) == moves
    inner = dataclasses.replace(given["before"], log_probs=given["before"].log_probs - 1.0)
    far = {**given, "before": inner}  # all inner ratios are e times as large, far from 1 ± 0.3
    steps = []
    for one in (given, far):  # so is the inner step, and with it what the outer loss sees
        outcome = [
            meta_gradient(**{**one, "objective": Objective("ratio", rate, 9.0)})[1]["surrogate"]
            for rate in (1e-6, 0.0)
        ]
        steps.append(outcome[0] - outcome[1])
    assert steps[1] == pytest.approx(np.e * steps[0], rel=1e-3)


def test_without_inner_step_promp_is_ppo_with_a_divergence_penalty() -> None:
    given = case(BOX, tasks=3)
    found, _ = meta_gradient(**given, objective=Objective("ratio", 0.0, 0.3, inner_kl_coef=0.7))
    own = {name: value.clone().requires_grad_() for name, value in given["parameters"].items()}

    def normal(parameters: Any, shown: Any) -> torch.distributions.Normal:
        made = given["policy"].distribution(parameters, shown)
        assert isinstance(made, Gaussian)
        return torch.distributions.Normal(made.mean, made.log_std.exp().expand_as(made.mean))

    before, after = given["before"], given["after"]
    log_probs = normal(own, after.observations).log_prob(after.actions).sum(-1)
    ratios = (log_probs - after.log_probs).exp()
    gains = torch.min(ratios * after.advantages, ratios.clamp(0.7, 1.3) * after.advantages)
    kl = torch.distributions.kl_divergence(
        normal(given["old"], before.observations), normal(own, before.observations)
    ).sum(-1)
    loss = (-(after.weights * gains).sum(-1) + 0.7 * (before.weights * kl).sum(-1)).mean()
    expected = torch.autograd.grad(loss, list(own.values()))
    assert (flat(found) - torch.cat([g.reshape(-1) for g in expected])).abs().max() <= 1e-12
    penalty = mean_kl(given["policy"], given["old"], given["parameters"], before)
    assert penalty == pytest.approx((before.weights * kl).sum(-1).mean().item(), rel=1e-12)


def test_without_its_term_e_maml_is_maml() -> None:
    given = case(BOX)
    without = Objective("log", 0.1, 0.3, exploration_coef=0.0)
    other = {**given, "credit": 100 * given["credit"]}
    found = [meta_gradient(**one, objective=without)[0] for one in (given, other)]
    assert torch.equal(flat(found[0]), flat(found[1]))


def test_credit_is_a_tasks_mean_reward_standardised_over_the_steps_of_all() -> None:
    rng = np.random.default_rng(0)
    mask = np.arange(7) < rng.integers(1, 8, (3, 2, 1))  # episodes of unequal lengths
    rewards = rng.normal(size=mask.shape) * mask
    after = Episodes(np.zeros((*mask.shape, 1)), np.zeros(mask.shape, np.int64), rewards, mask)
    steps = [one[taken].tolist() for one, taken in zip(rewards, mask, strict=True)]
    every = [reward for task in steps for reward in task]
    middle, spread = statistics.fmean(every), statistics.pstdev(every)
    expected = [(statistics.fmean(task) - middle) / spread for task in steps]
    np.testing.assert_allclose(exploration_credit(after), expected, rtol=1e-6)


@pytest.mark.parametrize("n_tasks", [1, 2])
def test_the_term_of_e_maml_compares_tasks_and_one_task_is_told(n_tasks: int) -> None:
    changes: list[dict[str, Any]] = [{"exploration_coef": coef} for coef in (0.0, 9.0)]
    without, found = (weights_after(learner("e-maml", n_tasks=n_tasks, **c), 2) for c in changes)
    unused = torch.allclose(without, found, atol=1e-6)
    assert unused == (n_tasks == 1)
    config = resolve("LDM-GridNavi-v0", "e-maml", n_tasks=n_tasks)
    assert ("exploration_coef" in unused_settings(config)) == unused


@pytest.mark.parametrize("tasks_per_chunk", [1, 2, 3])
def test_the_meta_gradient_is_the_mean_of_its_tasks_each_with_its_own_credit(
    tasks_per_chunk: int,
) -> None:
    given, e_maml = case(BOX, tasks=3), Objective("log", 0.1, 0.3, exploration_coef=1.0)
    found, _ = meta_gradient(**given, objective=e_maml, tasks_per_chunk=tasks_per_chunk)
    alone = []
    for task in range(3):
        rows = slice(task, task + 1)
        batches = {
            key: TaskBatch(*(part[rows] for part in vars(given[key]).values()))
            for key in ("before", "after")
        }
        one = {**given, **batches, "credit": given["credit"][rows]}
        alone.append(flat(meta_gradient(**one, objective=e_maml)[0]))
    torch.testing.assert_close(flat(found), torch.stack(alone).mean(0))


def test_a_tasks_mean_is_over_its_own_steps_however_many_others_have() -> None:
    rng, policy = np.random.default_rng(0), case(BOX)["policy"]
    mask = np.arange(5) < np.array([[[5], [4]], [[1], [2]]])  # 9 steps and 3 steps
    actions, rewards = rng.normal(size=(2, 2, 5, 2)), rng.normal(size=mask.shape) * mask
    shown = rng.normal(size=(2, 2, 5, policy.observation_size))
    batch = task_batch(
        policy, case(BOX)["parameters"], Episodes(shown, actions, rewards, mask), 0.9, 0.8
    )
    expected = [shown[task][mask[task]].mean(0) for task in range(2)]
    for column in range(policy.observation_size):
        found = batch.mean(batch.observations[..., column])
        np.testing.assert_allclose(found, [row[column] for row in expected])


def test_logged_returns_are_means_over_iterations_since_the_last_row() -> None:
    made, seen = learner(), Logger(None, [])
    made.set_logger(seen)
    made._returns = [[1.0, 3.0], [3.0, 7.0]]
    made.log_statistics()
    found = {name: seen.name_to_value[f"rollout/{name}"] for name in ("return_before", "gain")}
    assert found == {"return_before": 2.0, "gain": 3.0}
    assert seen.name_to_value["rollout/return_after"] == 5.0 and not made._returns
    made.close()


def test_outer_updates_are_given_what_was_drawn_after_adaptation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Log probabilities of the adapted policies, and credit of their episodes, in every update."""
    made, drawn, given = learner("e-maml", n_epochs=3), [], []
    collect, compute = made.rollouts.collect, learner_module.meta_gradient

    def watch(parameters: Any, generator: Any) -> Any:
        drawn.append((parameters, collect(parameters, generator)))
        return drawn[-1][1]

    def remember(*arguments: Any) -> Any:
        given.append(arguments)
        return compute(*arguments)

    monkeypatch.setattr(made.rollouts, "collect", watch)
    monkeypatch.setattr(learner_module, "meta_gradient", remember)
    start = made.parameters
    made.iterate()
    (theta, _), (adapted, after) = drawn
    assert len(given) == 3
    for _, _, before_batch, after_batch, old, credit, _ in given:
        for name, value in start.items():
            assert torch.equal(old[name], value) and torch.equal(theta[name], value)
        np.testing.assert_allclose(credit, exploration_credit(after), rtol=1e-5)
        for parameters, batch in ((theta, before_batch), (adapted, after_batch)):
            log_probs = made.policy.distribution(parameters, batch.observations)
            torch.testing.assert_close(log_probs.log_prob(batch.actions), batch.log_probs)
    made.close()


def test_logged_divergences_are_those_from_the_policy_that_sampled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the policy after the outer updates, and of each task to its adapted one."""
    made, drawn, seen = learner(learning_rate=0.1, inner_lr=1.0), [], Logger(None, [])
    collect, start = made.rollouts.collect, made.parameters

    def watch(parameters: Any, generator: Any) -> Any:
        drawn.append((parameters, collect(parameters, generator)))
        return drawn[-1][1]

    monkeypatch.setattr(made.rollouts, "collect", watch)
    made.set_logger(seen)
    made.iterate()
    (_, before), (adapted, after) = drawn
    for name, episodes in (("inner", before), ("adaptation", after)):
        means, reversed_means = [], []
        for task in range(3):
            own = {key: value[task] for key, value in adapted.items()}
            shown = torch.tensor(episodes.observations[task][episodes.mask[task]])
            one, other = (
                torch.distributions.Categorical(logits=made.policy.distribution(p, shown).log_probs)
                for p in (start, made.parameters if name == "inner" else own)
            )
            means.append(torch.distributions.kl_divergence(one, other).mean())
            reversed_means.append(torch.distributions.kl_divergence(other, one).mean())
        expected = float(torch.stack(means).mean())
        assert seen.name_to_value[f"train/{name}_kl"] == pytest.approx(expected, rel=1e-3)
        assert float(torch.stack(reversed_means).mean()) != pytest.approx(expected, rel=1e-2)
    made.close()


def test_the_size_of_a_task_s_rewards_changes_nothing() -> None:
    """Episodes of one length: advantages, hence inner and outer updates, are the same."""
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((2, 3, 60, 2))
    rewards, mask = rng.standard_normal((2, 3, 60)), np.ones((2, 3, 60), bool)
    reference = advantages(observations, rewards, mask, 1.0, 1.0)
    for changed, tolerance in ((5 * rewards[0], 1e-6), (rewards[0] + 3, 1e-2)):
        other = np.stack([changed, rewards[1]])
        found = advantages(observations, other, mask, 1.0, 1.0)
        assert found == pytest.approx(reference, abs=tolerance)


def test_methods_differ_in_what_the_papers_say() -> None:
    chosen = {name: objective(resolve("LDM-GridNavi-v0", name)) for name in ("promp", "e-maml")}
    assert chosen["promp"] == Objective("ratio", 0.1, 0.3, 5e-4, 0.0)
    assert chosen["e-maml"] == Objective("log", 0.1, 0.3, 0.0, 1.0)
    assert objective(resolve("LDM-GridNavi-v0", "oracle-promp")) == chosen["promp"]
    both = resolve("LDM-GridNavi-v0", "promp", inner_kl_coef=0.0, exploration_coef=2.0)
    assert objective(both) == Objective("ratio", 0.1, 0.3, 0.0, 2.0)


CHANGES: dict[str, Any] = {
    "method": "e-maml", "seed": 1, "n_tasks": 4, "n_episodes": 4, "inner_lr": 0.5, "n_epochs": 2,
    "learning_rate": 1e-2, "clip_range": 1e-3, "inner_kl_coef": 10.0, "exploration_coef": 1.0,
    "gamma": 0.5, "gae_lambda": 0.5, "net_arch": (9,), "max_episode_steps": 9,
}  # fmt: skip


def test_every_setting_has_an_effect_and_one_seed_is_one_run() -> None:
    reference = weights_after(learner(), 2)
    assert torch.equal(weights_after(learner(), 2), reference)
    for name, value in CHANGES.items():
        changed = weights_after(learner(**{name: value}), 2)
        same = changed.shape == reference.shape and torch.equal(changed, reference)
        assert not same, name


@pytest.mark.parametrize("change", [{"action_scale": 3.0}, {"log_std_init": -1.0}])
def test_settings_of_continuous_actions(change: dict[str, float]) -> None:
    small = {"n_tasks": 2, "n_episodes": 2, "device": "cpu", "net_arch": (4,), "num_threads": 1}
    small |= {"max_episode_steps": 20}
    made = [
        build(resolve("LDM-HalfCheetahVel-v0", "promp", **{**small, **one})) for one in ({}, change)
    ]
    seen = Logger(None, [])
    made[1].set_logger(seen)
    assert not torch.equal(*(weights_after(one, 1) for one in made))
    spread = np.exp(change.get("log_std_init", 0.0))
    assert seen.name_to_value["train/std"] == pytest.approx(spread, rel=0.02)


def test_evaluations_adapt_as_the_training_does() -> None:
    made = learner("e-maml", gamma=0.9, gae_lambda=0.8, inner_lr=0.3, max_episode_steps=9)
    acting = made.actor()
    assert (acting.gamma, acting.gae_lambda) == (0.9, 0.8)
    assert (acting.n_episodes, acting.length) == (SMALL["n_episodes"], 9)
    assert acting.objective == made.objective == Objective("log", 0.3, 0.3, 0.0, 1.0)
    made.close()


def test_a_restored_learner_goes_on_as_the_first() -> None:
    first, second = learner(), learner(seed=0)
    first.iterate()
    state = first.state_dict()
    numbers = {
        key: value.numpy() if isinstance(value, torch.Tensor) else value
        for key, value in state["weights"].items()
    }
    optimizer = state["optimizer"]
    optimizer = {
        **optimizer,
        "state": {
            i: {k: v.numpy() for k, v in entries.items()}
            for i, entries in optimizer["state"].items()
        },
    }
    saved = {**state, "weights": numbers, "optimizer": optimizer}
    spoiled = {**saved, "weights": {**numbers, "bias_0": np.full(8, np.nan, np.float32)}}
    before = flat(second.parameters)
    with pytest.raises(ValueError, match="bias_0"):
        second.load_state_dict(spoiled)
    assert torch.equal(flat(second.parameters), before)
    assert second.load_state_dict(saved)
    assert (second.num_timesteps, second.iterations) == (first.num_timesteps, 1) == (540, 1)
    assert torch.equal(weights_after(first, 1), weights_after(second, 1))


def test_an_inner_step_that_is_not_finite_stops_the_run() -> None:
    made = learner()
    # as a setting, a size that overflows is refused
    made.objective = dataclasses.replace(made.objective, inner_lr=1e300)
    with pytest.raises(FloatingPointError, match="adapted policy"):
        made.iterate()
    made.close()


def test_returns_that_wait_for_their_row_are_saved(tmp_path: Path) -> None:
    first, second, seen = learner(), learner(seed=1), Logger(None, [])
    first._returns = [[1.0, 3.0]]
    save_state(tmp_path / "state", first.state_dict())
    second.load_state_dict(load_state(tmp_path / "state"))
    second._returns.append([3.0, 7.0])
    second.set_logger(seen)
    second.log_statistics()
    assert seen.name_to_value["rollout/return_before"] == 2.0
    assert seen.name_to_value["rollout/return_after"] == 5.0
    first.close()
    second.close()


def test_every_task_is_compared_with_its_own_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of later chunks, the last of which is smaller."""
    given = case(BOX, tasks=5)
    policy, batch, own = given["policy"], given["after"], {}
    for name, value in given["parameters"].items():
        steps = 0.1 * torch.arange(5, dtype=F64).reshape(5, *[1] * value.dim())
        own[name] = value + steps * torch.ones_like(value)
    expected = []
    for task in range(5):
        shown = batch.observations[task]
        pair = []
        for parameters in (given["parameters"], {n: v[task] for n, v in own.items()}):
            made = policy.distribution(parameters, shown)
            pair.append(torch.distributions.Normal(made.mean, made.log_std.exp()))
        kl = torch.distributions.kl_divergence(*pair).sum(-1)
        expected.append(float((batch.weights[task] * kl).sum()))
    assert min(np.abs(np.diff(expected))) > 1e-6
    monkeypatch.setattr(gradient_module, "chunk_size", lambda batch: 2)
    found = mean_kl(policy, given["parameters"], own, batch)
    assert found == pytest.approx(np.mean(expected), rel=1e-10)


def test_the_clipped_share_counts_both_ends_of_the_range() -> None:
    given = one_task(case(BOX, steps=4))
    after: TaskBatch = given["after"]
    log_probs = given["policy"].distribution(given["parameters"], after.observations[0])
    ratios = torch.tensor([[1.5, 0.5, 1.2, 0.1]], dtype=F64)
    log_probs = log_probs.log_prob(after.actions[0]) - ratios.log()
    quarters = torch.full((1, 4), 0.25, dtype=F64)
    batch = dataclasses.replace(after, log_probs=log_probs, weights=quarters)
    clipped = {**given, "after": batch, "objective": Objective("ratio", 0.0, 0.3)}
    values = meta_gradient(**clipped)[1]
    assert values["clip_fraction"] == pytest.approx(0.75)


def test_environments_that_draw_from_global_generators_repeat_too() -> None:
    """What these were before an iteration changes nothing; the next one has other numbers."""
    found = []
    for before in (1, 2):
        made = learner()
        np.random.seed(before)
        for _ in range(2):
            made.iterate()
            found.append((np.random.random(), float(torch.rand(()))))
        made.close()
    assert found[:2] == found[2:]
    assert found[0] != found[1]
