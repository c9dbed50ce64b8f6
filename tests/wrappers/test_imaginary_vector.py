"""A6, many environments: the imaginary reward against a second implementation."""

from __future__ import annotations

import itertools
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
from wrapper_stubs import PlainWorker, ScriptedEnv, actions_for, scripted_vector, seeds_of

import ldm_envs  # noqa: F401
from ldm_wrappers import (
    BeliefPool,
    BeliefPublisherWrapper,
    ExpectedReward,
    PlausibleTasks,
    TrajectoryBuffer,
)
from ldm_wrappers.vector import ImaginaryRewardWrapper, MultiEpisodeWrapper

LENGTHS = [(3, 5, 2), (4,), (1, 2), (6, 3), (2, 7)]
N_MIXTURE, N_EPISODES, N_STEPS = 2, 2, 40


def plain_workers(action: str = "discrete") -> list[PlainWorker]:
    """The workers of a wrapper that was reset with seed 10, by hand."""
    return [
        PlainWorker(ScriptedEnv(lengths, action=action), N_EPISODES, seed)
        for lengths, seed in zip(LENGTHS, seeds_of(10, len(LENGTHS)), strict=True)
    ]


class Reference:
    """All workers by hand; the last N_MIXTURE are paid by the second implementation."""

    def __init__(
        self,
        workers: list[PlainWorker],
        mixture: Any,
        belief: Any,
        pay: Any,
        final_beliefs: bool = False,
    ) -> None:
        self.workers, self.belief, self.pay = workers, belief, pay
        self.final_beliefs = final_beliefs
        self.n_normal = len(workers) - N_MIXTURE
        self.table = mixture.table
        self.drawn = mixture.drawn  # the reset of the wrapper was the last to draw
        self.weights = list(self.table[self.drawn - N_MIXTURE : self.drawn])
        self.kept: list[Any] = [None] * N_MIXTURE  # with final beliefs, each task keeps its own

    def step(self, actions: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        beliefs = [
            self.belief(w.finished[-1] if self.final_beliefs and w.finished else w.running)
            for w in self.workers[: self.n_normal]
        ]
        true, paid = [], []
        for index, (worker, action) in enumerate(zip(self.workers, actions, strict=True)):
            transition, ended = worker.step(action)
            true.append(transition.reward)
            if index < self.n_normal:
                paid.append(transition.reward)
                continue
            which = index - self.n_normal
            m = self.kept[which]
            if m is None:
                m = np.zeros(len(beliefs[0]))
                for weight, belief in zip(self.weights[which], beliefs, strict=True):
                    m = m + weight.astype(float) * belief
            paid.append(self.pay(m, transition))
            self.kept[which] = m if self.final_beliefs else None
            if ended:
                self.weights[which], self.kept[which] = self.table[self.drawn], None
                self.drawn += 1
        return np.array(paid), np.array(true)


def models(env: Any, kind: str, likelihood: str) -> tuple[Any, Any, Any]:
    """A model and the second implementation of its beliefs and of its rewards."""
    if kind == "closed form":
        return (
            ClosedFormModel(env, likelihood),
            closed_form_belief,
            lambda m, t: closed_form_reward(m, t, likelihood),
        )
    model = small_model(env, likelihood=likelihood, reward_low=-0.1)
    plain = NumpyModel(model)
    return model, lambda running: plain.belief(running)[0], plain.reward


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("kind", ["closed form", "network"])
@pytest.mark.parametrize(("action", "columns"), [("discrete", 1), ("box", 3)])
@pytest.mark.parametrize("final_beliefs", [False, True])
def test_rewards_beliefs_and_buffer_match_the_second_implementation(
    likelihood: str, kind: str, action: str, columns: int, final_beliefs: bool
) -> None:
    base = MultiEpisodeWrapper(scripted_vector(*LENGTHS, action=action), N_EPISODES)
    model, belief, pay = models(base, kind, likelihood)
    mixture = ScriptedMixture(len(LENGTHS) - N_MIXTURE, columns)
    buffer = TrajectoryBuffer(model.spec, capacity=100, max_length=20)
    env = ImaginaryRewardWrapper(
        base,
        model,
        n_mixture=N_MIXTURE,
        mixture=mixture,
        buffer=buffer,
        imagination=ExpectedReward(final_beliefs=final_beliefs),
        seed=0,
    )
    env.reset(seed=10)
    workers = plain_workers(action)
    reference = Reference(workers, mixture, belief, pay, final_beliefs)
    worst = 0.0
    for actions in actions_for(env, N_STEPS):
        _, paid, _, _, infos = env.step(actions)
        expected, true = reference.step(actions)
        np.testing.assert_array_equal(infos["environment_reward"], true)
        np.testing.assert_array_equal(paid[:-N_MIXTURE], true[:-N_MIXTURE])
        worst = max(worst, float(np.abs(paid - expected).max()))
    print(f"A6 vector {kind} {likelihood}: largest difference {worst:.1e}")
    assert worst <= 1e-6
    assert reference.drawn == mixture.drawn > 10
    # only normal workers' trajectories are kept, each as it was
    kept = sum(len(worker.finished) for worker in workers[:-N_MIXTURE])
    assert len(buffer) == kept
    assert sum(len(worker.finished) for worker in workers[-N_MIXTURE:]) > 0
    starts = buffer.get(np.arange(kept)).observations[0, :, 0].tolist()
    tasks = [run[0].observation[0] for w in workers[:-N_MIXTURE] for run in w.finished]
    assert sorted(starts) == sorted(float(task) for task in tasks)


def test_a_threshold_pays_what_the_environment_could_pay() -> None:
    low, high = -0.1, 2.0

    def paid(threshold: float | None = None) -> np.ndarray[Any, Any]:
        base = MultiEpisodeWrapper(scripted_vector(*LENGTHS), N_EPISODES)
        model = small_model(base, likelihood="bernoulli", reward_low=low, reward_high=high)
        tasks: Any = ExpectedReward(final_beliefs=True)
        if threshold is not None:
            tasks = PlausibleTasks(threshold=threshold, relative=False, n_candidates=1)
        env = ImaginaryRewardWrapper(base, model, n_mixture=3, imagination=tasks, seed=0)
        env.reset(seed=0)
        return np.stack([env.step(actions)[1] for actions in actions_for(env, N_STEPS)])

    expected = paid()
    probability = (expected[:, -3:] - low) / (high - low)
    for threshold in np.quantile(probability, [0.2, 0.5, 0.8]):
        sharp = paid(float(threshold))
        np.testing.assert_array_equal(sharp[:, :-3], expected[:, :-3])
        np.testing.assert_array_equal(sharp[:, -3:], np.where(probability > threshold, high, low))
        assert set(np.unique(sharp[:, -3:])) == {low, high}


def test_one_reward_for_all_mixture_workers_is_refused() -> None:
    base = MultiEpisodeWrapper(scripted_vector(*LENGTHS), N_EPISODES)
    env = ImaginaryRewardWrapper(base, small_model(base), n_mixture=3, seed=0)
    env.reset(seed=0)
    tasks: Any = env.imagination
    tasks.rewards = lambda *_: np.zeros(1)
    with pytest.raises(ValueError, match=r"returned shape \(1,\), expected \(3,\)"):
        env.step(env.action_space.sample())


def test_gridnavi_batch_agrees_with_the_second_implementation() -> None:
    n_envs = 5
    grid = gym.make_vec(
        "LDM-GridNavi-v0",
        n_envs,
        max_episode_steps=6,
        autoreset_mode=gym.vector.AutoresetMode.DISABLED,
    )
    base = MultiEpisodeWrapper(grid, 2)
    model = small_model(
        base, likelihood="bernoulli", reward_low=-0.1, decoder_heads=49, encoder_action_size=0
    )
    plain = NumpyModel(model)
    mixture = ScriptedMixture(n_envs - N_MIXTURE, 3)
    env = ImaginaryRewardWrapper(base, model, n_mixture=N_MIXTURE, mixture=mixture)
    env.reset(seed=4)
    workers = [
        PlainWorker(gym.make("LDM-GridNavi-v0", max_episode_steps=6), 2, seed)
        for seed in seeds_of(4, n_envs)
    ]
    reference = Reference(workers, mixture, lambda run: plain.belief(run)[0], plain.reward)
    for actions in actions_for(env, 30):
        paid = env.step(actions)[1]
        np.testing.assert_allclose(paid, reference.step(actions)[0], atol=1e-6, rtol=0)


def test_without_inner_episodes_the_last_state_comes_from_final_obs() -> None:
    """Directly around a same-step environment, where only final_obs knows the true next state."""
    makers = [lambda one=one: ScriptedEnv(one) for one in LENGTHS]
    base = gym.vector.SyncVectorEnv(makers, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)
    model, belief, pay = models(base, "network", "gaussian")
    mixture = ScriptedMixture(len(LENGTHS) - N_MIXTURE, 3)
    env = ImaginaryRewardWrapper(base, model, n_mixture=N_MIXTURE, mixture=mixture)
    env.reset(seed=2)
    seeds = seeds_of(2, len(LENGTHS))
    pairs = zip(LENGTHS, seeds, strict=True)
    workers = [PlainWorker(ScriptedEnv(one), 1, seed) for one, seed in pairs]
    reference = Reference(workers, mixture, belief, pay)
    for actions in actions_for(env, 30):
        paid = env.step(actions)[1]
        np.testing.assert_allclose(paid, reference.step(actions)[0], atol=1e-6, rtol=0)


def test_belief_means_are_those_of_the_normal_workers() -> None:
    base = MultiEpisodeWrapper(scripted_vector(*LENGTHS), N_EPISODES)
    env = ImaginaryRewardWrapper(base, ClosedFormModel(base, "gaussian"), n_mixture=N_MIXTURE)
    env.reset(seed=0)
    pairs = zip(LENGTHS, seeds_of(0, len(LENGTHS)), strict=True)
    workers = [PlainWorker(ScriptedEnv(one), N_EPISODES, seed) for one, seed in pairs]
    for actions in actions_for(env, 12):
        env.step(actions)
        for worker, action in zip(workers, actions, strict=True):
            worker.step(action)
        expected = [closed_form_belief(worker.running) for worker in workers[:-N_MIXTURE]]
        np.testing.assert_allclose(env.belief_means, expected, atol=1e-5)
        mixed = (env.imagination.weights.numpy() * np.array(expected)).sum(1)
        np.testing.assert_allclose(env.imaginary_latents, mixed, atol=1e-5)
    env.reset()
    np.testing.assert_array_equal(env.belief_means, np.zeros((3, 3)))


def test_training_the_model_takes_effect_at_once() -> None:
    base = MultiEpisodeWrapper(scripted_vector((3,), (4,)), 1)
    model = small_model(base)
    env = ImaginaryRewardWrapper(base, model, n_mixture=1)
    env.reset(seed=0)
    actions = np.zeros(2, np.int64)
    before = env.step(actions)[1][1]
    model.decoder.layers[-1].bias.data += 5.0
    assert env.step(actions)[1][1] > before + 3.0


@pytest.mark.parametrize("samples", [1, 3])
def test_kept_dropout_masks_last_for_a_task_and_are_what_the_decoder_uses(samples: int) -> None:
    base = MultiEpisodeWrapper(scripted_vector(*LENGTHS), N_EPISODES)
    model = small_model(base, likelihood="bernoulli", p_drop=0.4)
    plain = NumpyModel(model)
    mixture = ScriptedMixture(len(LENGTHS) - N_MIXTURE, 3)
    env = ImaginaryRewardWrapper(
        base,
        model,
        n_mixture=N_MIXTURE,
        mixture=mixture,
        imagination=ExpectedReward(n_dropout_masks=samples, keep_dropout_masks=True),
        seed=0,
    )
    env.reset(seed=10)
    workers = plain_workers()

    def masks() -> np.ndarray[Any, Any]:
        assert env.imagination.masks is not None
        return env.imagination.masks.numpy().astype(float)

    def pay(m: Any, transition: Any) -> float:
        own = before[:, next(turn)]
        return float(np.mean([plain.reward(m, transition, mask) for mask in own]))

    reference = Reference(workers, mixture, lambda running: plain.belief(running)[0], pay)
    turn = itertools.cycle(range(N_MIXTURE))  # the reference pays one after the other
    seen = [masks()]
    for actions in actions_for(env, N_STEPS):
        before = masks()
        running = [len(worker.finished) for worker in workers[-N_MIXTURE:]]
        _, paid, _, _, _ = env.step(actions)
        expected, _ = reference.step(actions)
        np.testing.assert_allclose(paid, expected, atol=1e-6)
        ended = [len(w.finished) > n for w, n in zip(workers[-N_MIXTURE:], running, strict=True)]
        same = (masks() == before).all(axis=(0, 2))
        assert same.tolist() == [not end for end in ended]
        if any(ended):
            seen.append(masks())
    drawn = np.stack(seen)
    assert drawn.shape[1:] == (samples, N_MIXTURE, model.decoder.embedding_size)
    assert len(drawn) >= 5
    kept = drawn[drawn > 0]
    np.testing.assert_allclose(kept, 1.0 / 0.6, rtol=1e-6)
    assert abs(kept.size / drawn.size - 0.6) < 0.1


@pytest.mark.parametrize("scalar", [True, False])
def test_what_callers_do_to_an_observation_does_not_reach_the_buffer(scalar: bool) -> None:
    """With float32 observations, which need no conversion."""
    model = small_model(gym.make("LDM-GridNavi-v0"))

    def stored(spoil: bool) -> Any:
        buffer = TrajectoryBuffer(model.spec, capacity=20, max_length=20)
        if scalar:
            pool = BeliefPool(1, model.config.latent_dim)
            inner = gym.make("LDM-GridNavi-v0", max_episode_steps=3)
            env: Any = BeliefPublisherWrapper(inner, model, pool, 0, buffer=buffer)
        else:
            batch = gym.make_vec(
                "LDM-GridNavi-v0", 2, max_episode_steps=3, autoreset_mode="Disabled"
            )
            env = MultiEpisodeWrapper(batch, 1)
            env = ImaginaryRewardWrapper(env, model, n_mixture=1, buffer=buffer, seed=0)
        observation, _ = env.reset(seed=0)
        for _ in range(3):
            if spoil:
                observation += 100.0
            observation, *_ = env.step(1 if scalar else [1, 1])
        assert len(buffer) == 1
        return buffer.state_dict()["data"]

    clean, spoilt = stored(False), stored(True)
    assert clean["observations"].any()
    for name, value in clean.items():
        np.testing.assert_array_equal(value, spoilt[name], err_msg=name)
