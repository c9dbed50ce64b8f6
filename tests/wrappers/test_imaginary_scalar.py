"""A6, one environment: the imaginary reward, live pools and saved beliefs."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from reference_models import (
    ClosedFormModel,
    NumpyModel,
    ScriptedMixture,
    closed_form_belief,
    closed_form_reward,
    small_model,
)
from wrapper_stubs import PlainWorker, ScriptedEnv, actions_for

from ldm_wrappers import (
    BeliefPool,
    BeliefPublisherWrapper,
    DirichletMixture,
    ExpectedReward,
    ImaginaryRewardWrapper,
    MultiEpisodeWrapper,
    PlausibleTasks,
    SavedBeliefs,
    TrajectoryBuffer,
)
from ldm_wrappers.imagination import ImaginationScheme

LENGTHS = (3, 5, 2)


def saved(n: int = 4, n_steps: int = 6, latent_dim: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).normal(size=(n, n_steps + 1, latent_dim)).astype(np.float32)


def mixed(weights: np.ndarray[Any, Any], means: Any) -> np.ndarray[Any, Any]:
    m = np.zeros(3)
    for weight, mean in zip(weights, means, strict=True):
        m = m + weight.astype(float) * mean
    return m


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("kind", ["closed form", "network"])
def test_saved_beliefs_pay_as_the_second_implementation(likelihood: str, kind: str) -> None:
    base = MultiEpisodeWrapper(ScriptedEnv(LENGTHS), 2)
    model: Any = ClosedFormModel(base, likelihood)
    if kind == "network":
        model = small_model(base, likelihood=likelihood, reward_low=-0.1)
        pay = NumpyModel(model).reward
    else:

        def pay(m: Any, t: Any) -> float:
            return closed_form_reward(m, t, likelihood)

    means, mixture = saved(), ScriptedMixture(4, 3)
    env = ImaginaryRewardWrapper(base, model, SavedBeliefs(means), mixture=mixture)
    worker = PlainWorker(ScriptedEnv(LENGTHS), 2, seed=5)
    worst = 0.0
    env.reset(seed=5)
    for action in actions_for(env, 30):
        step = min(len(worker.running), 6)  # a task that outlasts the beliefs keeps the last
        m = mixed(mixture.table[mixture.drawn - 1], means[:, step])
        _, paid, terminated, truncated, info = env.step(action)
        transition, ended = worker.step(action)
        assert info["environment_reward"] == transition.reward
        assert ended == (terminated or truncated)
        worst = max(worst, abs(paid - pay(m, transition)))
        if ended:
            env.reset()
    print(f"A6 scalar {kind} {likelihood}: largest difference {worst:.1e}")
    assert worst <= 1e-6
    assert mixture.drawn > 3


def test_pool_pays_by_the_beliefs_from_before_the_step() -> None:
    base = MultiEpisodeWrapper(ScriptedEnv(LENGTHS), 2)
    model = ClosedFormModel(base, "gaussian")
    pool = BeliefPool(2, 3)
    buffer = TrajectoryBuffer(model.spec, capacity=9, max_length=20)
    publishers = [
        BeliefPublisherWrapper(
            MultiEpisodeWrapper(ScriptedEnv(LENGTHS), 2), model, pool, index, buffer=buffer
        )
        for index in range(2)
    ]
    mixture = ScriptedMixture(2, 1)
    env = ImaginaryRewardWrapper(base, model, pool, mixture=mixture)
    workers = [PlainWorker(ScriptedEnv(LENGTHS), 2, seed) for seed in range(3)]
    for seed, one in enumerate([*publishers, env]):
        one.reset(seed=seed)
    for action in actions_for(env, 20):
        m = mixed(
            mixture.table[mixture.drawn - 1], [closed_form_belief(w.running) for w in workers[:2]]
        )
        _, paid, *ends, _ = env.step(action)
        transition, _ = workers[2].step(action)
        assert abs(paid - closed_form_reward(m, transition, "gaussian")) <= 1e-6
        for publisher, worker in zip(publishers, workers[:2], strict=True):
            if any(publisher.step(action)[2:4]):
                publisher.reset()
            worker.step(action)
        if any(ends):
            env.reset()
    # the publishers' trajectories are kept, the imagined one is not
    assert len(buffer) == sum(len(w.finished) for w in workers[:2])


CANDIDATES = PlausibleTasks(
    threshold=0.9999, n_remembered_transitions=20, n_candidates=4, n_dropout_masks=8
)


@pytest.mark.parametrize("scheme", [ExpectedReward(n_dropout_masks=1), CANDIDATES])
def test_reset_with_a_seed_repeats_weights_and_dropout(scheme: ImaginationScheme) -> None:
    model = small_model(ScriptedEnv(), p_drop=0.5, likelihood="bernoulli")
    env = ImaginaryRewardWrapper(
        ScriptedEnv((9,)), model, SavedBeliefs(saved()), imagination=scheme
    )

    def episode(seed: int | None) -> list[float]:
        env.unwrapped.episode = -1
        env.reset(seed=seed, options={"task": 0.5})
        return [env.step(1)[1] for _ in range(8)]

    first, other = episode(3), episode(None)
    assert episode(3) == first != other
    assert episode(None) == other


def test_arguments_have_an_effect() -> None:
    model = small_model(ScriptedEnv(), p_drop=0.5)

    def rewards(means: Any = None, **kwargs: Any) -> list[float]:
        beliefs = SavedBeliefs(saved() if means is None else means)
        env = ImaginaryRewardWrapper(ScriptedEnv((9,)), model, beliefs, **kwargs)
        env.reset(options={"task": 0.5})
        return [env.step(1)[1] for _ in range(5)]

    plain = rewards(seed=0)
    assert rewards(seed=0) == plain != rewards(seed=1)
    assert rewards(seed=0, imagination=ExpectedReward(n_dropout_masks=1)) != plain
    assert rewards(seed=0, imagination=ExpectedReward(keep_dropout_masks=True)) != plain
    assert rewards(seed=0, mixture=DirichletMixture(beta=3.0)) != plain
    assert rewards(saved() + 1.0, seed=0) != plain
    assert rewards(seed=0, imagination=ExpectedReward(final_beliefs=True)) != plain


def test_kept_dropout_masks_begin_and_end_with_a_reset() -> None:
    model = small_model(ScriptedEnv(), p_drop=0.5)
    kept = ExpectedReward(n_dropout_masks=2, keep_dropout_masks=True)
    env = ImaginaryRewardWrapper(ScriptedEnv((9,)), model, SavedBeliefs(saved()), imagination=kept)
    imagination = env.imagination

    def masks(seed: int | None) -> Any:
        env.reset(seed=seed, options={"task": 0.5})
        assert imagination.masks is not None
        first = imagination.masks.clone()
        for _ in range(8):
            env.step(1)
            assert np.array_equal(first, imagination.masks)
        return first.numpy()

    one, two = masks(3), masks(None)
    assert one.shape == (2, 1, model.decoder.embedding_size)
    assert not np.array_equal(one, two)
    assert np.array_equal(masks(3), one) and np.array_equal(masks(None), two)


def test_final_beliefs_of_saved_tasks_are_the_last_ones() -> None:
    model = ClosedFormModel(MultiEpisodeWrapper(ScriptedEnv(LENGTHS), 2), "gaussian")
    constant = np.repeat(saved()[:, -1:], 7, axis=1)

    def rewards(means: Any, **kwargs: Any) -> list[float]:
        env = ImaginaryRewardWrapper(
            ScriptedEnv((9,)), model, SavedBeliefs(means), mixture=ScriptedMixture(4, 3), **kwargs
        )
        env.reset(options={"task": 0.5})
        return [env.step(1)[1] for _ in range(5)]

    final = ExpectedReward(final_beliefs=True)
    assert rewards(saved(), imagination=final) == rewards(constant) != rewards(saved())


def test_a_pool_keeps_the_beliefs_of_finished_tasks() -> None:
    model = ClosedFormModel(MultiEpisodeWrapper(ScriptedEnv(LENGTHS), 2), "gaussian")
    pool = BeliefPool(1, 3)
    base = MultiEpisodeWrapper(ScriptedEnv(LENGTHS), 2)
    publisher = BeliefPublisherWrapper(base, model, pool, 0)
    worker = PlainWorker(ScriptedEnv(LENGTHS), 2, 0)
    publisher.reset(seed=0)
    for action in actions_for(publisher, 25):
        ended = any(publisher.step(action)[2:4])
        if ended:
            publisher.reset()
        worker.step(action)
        final = worker.finished[-1] if worker.finished else worker.running
        np.testing.assert_allclose(pool.final_means()[0], closed_form_belief(final), atol=1e-6)
        np.testing.assert_allclose(pool.means(0)[0], closed_form_belief(worker.running), atol=1e-6)
    assert len(worker.finished) > 1


def test_beliefs_that_do_not_fit_are_refused() -> None:
    env = ScriptedEnv()
    model = small_model(env)
    with pytest.raises(ValueError, match="5 dimensions, the latent dynamics model has 3"):
        ImaginaryRewardWrapper(env, model, SavedBeliefs(saved(latent_dim=5)))
    other = gym.wrappers.FlattenObservation(ScriptedEnv(action="box"))
    with pytest.raises(ValueError, match="n_actions=0"):
        ImaginaryRewardWrapper(other, model, SavedBeliefs(saved()))
    with pytest.raises(ValueError, match="n_actions=0"):
        BeliefPublisherWrapper(other, model, BeliefPool(1, 3), 0)
    with pytest.raises(ValueError, match=r"\[0, 2\), got 2"):
        BeliefPublisherWrapper(env, model, BeliefPool(2, 3), 2)
    with pytest.raises(ValueError, match=r"\(4,\), got \(3,\)"):
        BeliefPublisherWrapper(env, model, BeliefPool(2, 4), 1)


class Growing:
    """A source of one's own, to which beliefs may be added."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    @property
    def n_beliefs(self) -> int:
        return len(self.rows)

    def means(self, step: int) -> Any:
        return self.rows

    def final_means(self) -> Any:
        return self.rows


@pytest.mark.parametrize("scheme", [ExpectedReward(), ExpectedReward(final_beliefs=True)])
@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (4, 3)])
def test_a_source_whose_number_of_beliefs_changes_is_refused(
    before: int, after: int, scheme: ImaginationScheme
) -> None:
    """One belief has weight 1: of four, the sum would be decoded."""
    rows, env = saved(4, 0)[:, 0], ScriptedEnv()
    source, model = Growing(rows[:before]), small_model(env)
    wrapped = ImaginaryRewardWrapper(env, model, source, imagination=scheme, seed=0)
    wrapped.reset(seed=0)
    wrapped.step(0)
    source.rows = rows[:after]
    with pytest.raises(ValueError, match=rf"shape \({after}, 3\), expected \({before}, 3\)"):
        wrapped.step(0)
    source.rows = rows[:before]
    wrapped.step(0)  # the environment had not moved


def test_saved_beliefs_copy_and_check_what_they_get() -> None:
    means = saved(2, 3, 1)
    beliefs = SavedBeliefs(means)
    expected = means[:, 2].copy()
    means[:] = 0.0
    beliefs.means(2)[:] = 7.0
    np.testing.assert_array_equal(beliefs.means(2), expected)
    np.testing.assert_array_equal(beliefs.means(3), beliefs.means(99))
    assert beliefs.n_beliefs == 2
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        SavedBeliefs(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"\(0, 3, 2\)"):
        SavedBeliefs(np.zeros((0, 3, 2)))
    with pytest.raises(ValueError, match="finite"):
        SavedBeliefs(np.full((1, 1, 1), np.nan))


def test_belief_pool_copies_and_checks_what_it_gets() -> None:
    pool = BeliefPool(2, 3)
    pool.publish(0, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match=r"rows \[1\] of the 2"):
        pool.means(0)
    mean = np.arange(3.0, dtype=np.float32)
    pool.publish(1, mean)
    mean[:] = 9.0
    pool.means(5)[:] = 8.0
    np.testing.assert_array_equal(pool.means(7), [[0, 0, 0], [0, 1, 2]])
    with pytest.raises(ValueError, match="got -1"):
        pool.publish(-1, mean)
    with pytest.raises(ValueError, match="nan"):
        pool.publish(0, np.array([0, np.nan, 0], np.float32))
    with pytest.raises(ValueError, match="n_beliefs must be at least 1, got 0"):
        BeliefPool(0, 3)
    np.testing.assert_array_equal(pool.means(0), [[0, 0, 0], [0, 1, 2]])
