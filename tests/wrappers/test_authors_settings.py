"""What the authors' code does otherwise than the paper, each as a setting that has its effect."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from reference_models import small_model
from stable_baselines3.common.buffers import RolloutBuffer
from test_buffer import SPEC, numbered, stored
from test_sb3_policy import batch, make
from wrapper_stubs import ScriptedEnv

import ldm_envs  # noqa: F401
from ldm_wrappers import ExpectedReward, ImaginaryRewardWrapper, vector
from ldm_wrappers.imagination import BeliefPool
from ldm_wrappers.latent_dynamics import TrajectoryBuffer
from ldm_wrappers.latent_dynamics.posterior import Posterior
from ldm_wrappers.sb3 import SequenceRecurrentPPO, VectorEnvAdapter, WholeSequenceLstmPolicy
from ldm_wrappers.sb3.time_limits import TimeLimitPPO, cut_advantages


def test_a_buffer_that_keeps_the_oldest() -> None:
    buffer = TrajectoryBuffer(SPEC, capacity=3, max_length=4, keeps="oldest")
    for ids, expected in (([1], [1]), ([2, 3, 4], [1, 2, 3]), ([5], [1, 2, 3])):
        buffer.add(*numbered(ids, [4] * len(ids)))
        assert stored(buffer) == expected
    whole = TrajectoryBuffer(SPEC, capacity=2, max_length=4, keeps="oldest")
    whole.add(*numbered([7, 8, 9], [4, 2, 3]))
    assert stored(whole) == [7, 8]
    bad, lengths = numbered([1], [4])
    bad["rewards"][0, 1] = np.nan
    with pytest.raises(ValueError, match="non-finite rewards"):  # also where it would be dropped
        whole.add(bad, lengths)
    with pytest.raises(ValueError, match="'newest' or 'oldest', got 'best'"):
        TrajectoryBuffer(SPEC, capacity=2, max_length=4, keeps="best")  # type: ignore[arg-type]


def grid_workers(n: int = 6, **kwargs: Any) -> Any:
    env = gym.make_vec(
        "LDM-GridNavi-v0", num_envs=n, autoreset_mode=gym.vector.AutoresetMode.DISABLED
    )
    return vector.MultiEpisodeWrapper(env, 2, **kwargs)


def test_samples_of_beliefs_have_their_spread_and_means_have_none() -> None:
    env = grid_workers()
    model = small_model(env)
    tasks = ExpectedReward(belief_samples=True).start(model, n_mixture=2, n_normal=4, seed=0)
    posterior = Posterior(torch.arange(4.0)[:, None].expand(4, 2).clone(), torch.zeros(4, 2))
    posterior.logvar[1] = 2 * np.log(3.0)
    drawn = torch.stack([tasks.to_mix(posterior) for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(0), posterior.mean, atol=0.15)
    np.testing.assert_allclose(drawn.std(0)[:, 0], [1.0, 3.0, 1.0, 1.0], rtol=0.06)
    means = ExpectedReward().start(model, n_mixture=2, n_normal=4, seed=0)
    assert torch.equal(means.to_mix(posterior), posterior.mean)


def rewards_of(imagination: ExpectedReward, look: bool = False) -> np.ndarray[Any, Any]:
    env = grid_workers()
    model = small_model(env)
    wrapped = vector.ImaginaryRewardWrapper(
        env, model, n_mixture=2, imagination=imagination, seed=3
    )
    wrapped.reset(seed=0)
    paid = []
    for step in range(20):
        if look:
            assert wrapped.imaginary_latents.shape[0] == 2
        paid.append(wrapped.step(np.full(6, step % 5))[1][-2:])
    return np.array(paid)


def test_samples_reach_the_rewards_and_looking_draws_none() -> None:
    samples, means = ExpectedReward(0, belief_samples=True), ExpectedReward(0)
    assert np.ptp(rewards_of(samples) - rewards_of(means)) > 1e-4
    np.testing.assert_array_equal(rewards_of(samples), rewards_of(samples, look=True))


def test_samples_where_only_means_are_known_are_refused() -> None:
    with pytest.raises(ValueError, match="final_beliefs=False"):
        ExpectedReward(belief_samples=True, final_beliefs=True)
    env = gym.make("LDM-GridNavi-v0")
    model = small_model(env)
    pool = BeliefPool(3, model.config.latent_dim)
    with pytest.raises(ValueError, match=r"ldm_wrappers\.vector\.ImaginaryRewardWrapper"):
        ImaginaryRewardWrapper(env, model, pool, imagination=ExpectedReward(belief_samples=True))


def authors_gae(buffer: RolloutBuffer, last: Any, dones: Any, limits: Any) -> tuple[Any, Any]:
    """GAE with masks at ends and "bad" masks at time limits, one worker and step at a time."""
    returns, advantages = np.zeros_like(buffer.rewards), np.zeros_like(buffer.rewards)
    for worker in range(buffer.n_envs):
        gae, value = 0.0, float(last[worker])
        for t in reversed(range(buffer.buffer_size)):
            end = dones[worker] if t + 1 == buffer.buffer_size else buffer.episode_starts[t + 1]
            mask, own = 1.0 - float(end[worker] if np.ndim(end) else end), buffer.values[t, worker]
            delta = buffer.rewards[t, worker] + buffer.gamma * value * mask - own
            gae = delta + buffer.gamma * buffer.gae_lambda * mask * gae
            gae *= 0.0 if limits[t, worker] else 1.0
            advantages[t, worker], returns[t, worker] = gae, gae + own
            value = own
    return advantages, returns


@pytest.mark.parametrize("seed", range(4))
def test_advantages_end_at_time_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_steps, n = 12, 3
    space = spaces.Box(-1.0, 1.0, (1,))
    buffer = RolloutBuffer(n_steps, space, spaces.Discrete(2), "cpu", 0.9, 0.95, n)
    for _ in range(n_steps):
        starts = rng.random(n) < 0.15
        values, log_probs = (torch.from_numpy(rng.normal(size=n).astype("f")) for _ in range(2))
        zeros = np.zeros((n, 1))
        buffer.add(zeros, zeros, rng.normal(size=n), starts, values, log_probs)
    last, dones = torch.from_numpy(rng.normal(size=n).astype("f")), rng.random(n) < 0.3
    limits = (rng.random((n_steps, n)) < 0.2) & ~np.roll(buffer.episode_starts > 0.5, -1, axis=0)
    buffer.compute_returns_and_advantage(last, dones)
    plain = buffer.advantages.copy()
    cut_advantages(buffer, limits)
    advantages, returns = authors_gae(buffer, last, dones, limits)
    np.testing.assert_allclose(buffer.advantages, advantages, atol=1e-5)
    np.testing.assert_allclose(buffer.returns, returns, atol=1e-5)
    assert not limits.any() or np.abs(plain - advantages).max() > 1e-3


@pytest.mark.parametrize("recurrent", [True, False])
def test_the_learners_cut_where_the_inner_time_limit_was(recurrent: bool) -> None:
    vec_env = VectorEnvAdapter(grid_workers(2), info_keys=())
    agent: Any
    if recurrent:
        agent = SequenceRecurrentPPO(
            WholeSequenceLstmPolicy, vec_env, n_steps=60, batch_size=None, cut_at_time_limits=True
        )
    else:
        agent = TimeLimitPPO("MlpPolicy", vec_env, n_steps=60, batch_size=120)
    agent.learn(120)
    buffer = agent.rollout_buffer
    limits = np.zeros((60, 2), bool)
    limits[29] = True  # episodes of GridNavi last 30 steps; the meta-episode ends after 60
    np.testing.assert_array_equal(buffer._limits, limits)
    assert (buffer.advantages[29] == 0.0).all()
    np.testing.assert_array_equal(buffer.returns[29], buffer.values[29])
    assert (buffer.advantages[[28, 30, 59]] != 0.0).all()


@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("how", ["set_env", "load", "copy"])
def test_the_learners_ask_the_environment_that_they_train_on(
    recurrent: bool, how: str, tmp_path: Path
) -> None:
    """The feed-forward one asked the environment of its construction."""
    settings: dict[str, Any] = {"n_steps": 60, "batch_size": 120}
    policy: Any = "MlpPolicy"
    kind: Any = TimeLimitPPO
    if recurrent:
        policy, kind = WholeSequenceLstmPolicy, SequenceRecurrentPPO
        settings["cut_at_time_limits"] = True
    agent = kind(policy, VectorEnvAdapter(grid_workers(2), info_keys=()), **settings)
    if how == "copy":
        agent = copy.deepcopy(agent)
    elif how == "set_env":
        agent.set_env(VectorEnvAdapter(grid_workers(2), info_keys=()))
    else:
        agent.save(tmp_path / "agent.zip")
        env = VectorEnvAdapter(grid_workers(2), info_keys=())
        agent = kind.load(tmp_path / "agent.zip", env=env)
    agent.learn(120)
    assert agent.rollout_buffer._limits.sum() == 2 and agent.rollout_buffer._limits[29].all()


@pytest.mark.parametrize("name", ["class", "kwargs"])
def test_another_rollout_buffer_is_refused(name: str) -> None:
    given = {"class": RolloutBuffer, "kwargs": {"a": 1}}[name]
    env = VectorEnvAdapter(grid_workers(2), info_keys=())
    with pytest.raises(ValueError, match="rollout buffer of its own"):
        TimeLimitPPO("MlpPolicy", env, **{f"rollout_buffer_{name}": given})


@pytest.mark.parametrize("finite_horizon", [False, True])
def test_staggered_workers_begin_at_different_times(finite_horizon: bool) -> None:
    env = grid_workers(4, finite_horizon=finite_horizon, stagger=True)
    env.reset(seed=0)
    ends: list[list[tuple[int, str]]] = [[] for _ in range(4)]
    lengths = {}
    for step in range(1, 151):
        _, _, terminations, truncations, infos = env.step(np.zeros(4, int))
        assert not (terminations & truncations).any()
        for worker in np.flatnonzero(terminations | truncations):
            ends[worker].append((step, "T" if terminations[worker] else "t"))
            if step < 60:
                lengths[int(worker)] = infos["final_info"]["episode_lengths"][worker].tolist()
            assert infos["final_info"]["cut_short"][worker] == (step < 60)
    last = "T" if finite_horizon else "t"
    assert ends == [
        [(15, "t"), (75, last), (135, last)],
        [(30, "t"), (90, last), (150, last)],
        [(45, "t"), (105, last)],
        [(60, last), (120, last)],
    ]
    assert lengths == {0: [15, 0], 1: [30, 0], 2: [30, 15]}
    again = grid_workers(4, finite_horizon=finite_horizon, stagger=True)
    again.reset(seed=0)
    for _ in range(20):
        again.step(np.zeros(4, int))
    resumed = grid_workers(4, finite_horizon=finite_horizon, stagger=True)
    resumed.reset(seed=0)
    resumed.set_state(again.get_state())
    assert resumed.get_state()["remaining"].tolist() == [0, 10, 25, 0]


def test_staggering_needs_a_declared_length() -> None:
    class Endless(gym.Env[Any, Any]):
        observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)

    mode = gym.vector.AutoresetMode.DISABLED
    env = gym.vector.SyncVectorEnv([Endless] * 2, autoreset_mode=mode)
    with pytest.raises(ValueError, match="TimeLimit"):
        vector.MultiEpisodeWrapper(env, 2, stagger=True)


SKIP: dict[str, Any] = {
    "observation_to_heads": True,
    "shared_lstm": True,
    "enable_critic_lstm": False,
}


@pytest.mark.parametrize("value_trains_lstm", [False, True])
def test_heads_that_see_the_observation(value_trains_lstm: bool) -> None:
    policy = make(WholeSequenceLstmPolicy, value_trains_lstm=value_trains_lstm, **SKIP)
    observations, actions, states, starts = batch(policy, "all")
    with torch.no_grad():
        for parameter in policy.lstm_actor.parameters():
            parameter.zero_()  # a memory that says nothing
    values, log_probs, _ = policy.evaluate_actions(observations, actions, states, starts)
    assert values.std() > 1e-3 and log_probs.std() > 1e-6
    mlp, inputs = policy.mlp_extractor, torch.cat([torch.zeros(len(actions), 6), observations], 1)
    expected = policy.value_net(mlp.forward_critic(inputs))
    torch.testing.assert_close(values, expected)
    blind = make(WholeSequenceLstmPolicy, shared_lstm=True, enable_critic_lstm=False)
    with torch.no_grad():
        for parameter in blind.lstm_actor.parameters():
            parameter.zero_()
    assert blind.evaluate_actions(observations, actions, states, starts)[0].std() < 1e-6


def test_a_step_sees_what_a_sequence_sees(tmp_path: Any) -> None:
    policy = make(WholeSequenceLstmPolicy, value_trains_lstm=True, **SKIP)
    observations, actions, states, starts = batch(policy, "all")
    whole = policy.evaluate_actions(observations, actions, states, starts)[0].reshape(5, 7)
    state: Any = states
    for t in range(7):
        rows, flags = observations.reshape(5, 7, 4)[:, t], starts.reshape(5, 7)[:, t]
        values = policy.predict_values(rows, state.vf, flags)
        _, forward_values, _, state = policy.forward(rows, state, flags)
        torch.testing.assert_close(values.flatten(), whole[:, t])
        torch.testing.assert_close(forward_values.flatten(), whole[:, t])
        state = type(states)(state.pi, state.pi)
    policy.save(tmp_path / "policy")
    loaded = WholeSequenceLstmPolicy.load(tmp_path / "policy")
    again = loaded.evaluate_actions(observations, actions, states, starts)[0]
    torch.testing.assert_close(again.reshape(5, 7), whole)


def test_heads_need_a_shared_memory() -> None:
    with pytest.raises(ValueError, match="observation_to_heads=True needs shared_lstm=True"):
        make(WholeSequenceLstmPolicy, observation_to_heads=True)


def scripted_workers(*lengths: int, **kwargs: Any) -> Any:
    """Two workers and more, of two episodes each of at most 10 steps: a horizon of 20."""
    makers = [lambda n=n: gym.wrappers.TimeLimit(ScriptedEnv((n,)), 10) for n in lengths]
    mode = gym.vector.AutoresetMode.DISABLED
    inner = gym.vector.SyncVectorEnv(makers, autoreset_mode=mode)
    return vector.MultiEpisodeWrapper(inner, 2, stagger=True, **kwargs)


def ends_of(env: Any, worker: int, steps: int) -> list[tuple[int, bool, bool, bool]]:
    """Step, terminated, truncated and cut short of each meta-episode that ends."""
    found = []
    for step in range(1, steps + 1):
        _, _, terminations, truncations, infos = env.step(np.zeros(env.num_envs, np.int64))
        if terminations[worker] or truncations[worker]:
            cut = bool(infos["final_info"]["cut_short"][worker])
            found.append((step, bool(terminations[worker]), bool(truncations[worker]), cut))
    return found


def test_only_a_first_meta_episode_is_cut_short_and_only_where_it_goes_on() -> None:
    """Worker 0 of two is due at step 10; scripted episodes are truncated and terminate in turn."""
    env = scripted_workers(2, 10)
    env.reset(seed=0)  # it has ended by itself before
    assert ends_of(env, 0, 16) == [(step, True, False, False) for step in (4, 8, 12, 16)]
    for horizon in (False, True):
        env = scripted_workers(5, 10, finite_horizon=horizon)
        env.reset(seed=0)  # it ends by itself at that very step
        assert ends_of(env, 0, 20) == [(10, True, False, False), (20, True, False, False)]
    env = scripted_workers(7, 10)
    env.reset(seed=0)
    assert ends_of(env, 0, 24) == [(10, False, True, True), (24, True, False, False)]


def test_a_worker_that_is_reset_alone_is_not_cut_short() -> None:
    env = scripted_workers(9, 10)
    env.reset(seed=0)
    env.step(np.zeros(2, np.int64))
    env.reset(options={"reset_mask": np.array([True, False])})
    assert ends_of(env, 0, 18) == [(18, False, True, False)]
    env.reset()  # all at once are staggered again
    assert ends_of(env, 0, 10) == [(10, False, True, True)]
