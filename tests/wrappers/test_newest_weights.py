"""R6: beliefs about running tasks are those of the newest weights, wherever a rollout ends."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

from ldm_wrappers import (
    BeliefObservationWrapper,
    LatentDynamics,
    LatentDynamicsConfig,
    MultiEpisodeWrapper,
)
from ldm_wrappers import vector as batched
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer, TrajectoryBuffer
from ldm_wrappers.sb3 import LatentDynamicsCallback, VectorEnvAdapter
from ldm_wrappers.sb3.callbacks import show_newest_beliefs

N, H = 2, 6


def make() -> gym.Env[Any, Any]:
    return MultiEpisodeWrapper(gym.make("Pendulum-v1", max_episode_steps=H), N)


def vector_env(n: int) -> Any:
    envs = [lambda: gym.make("Pendulum-v1", max_episode_steps=H)] * n
    inner = SyncVectorEnv(envs, autoreset_mode=AutoresetMode.DISABLED)
    return batched.MultiEpisodeWrapper(inner, N)


def change(model: LatentDynamics) -> None:
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def actions(steps: int, n: int) -> Any:
    return np.random.default_rng(0).uniform(-1, 1, (steps, n, 1)).astype(np.float32)


@pytest.mark.parametrize("changed_after", [1, 4, 7, 11])  # within and across inner episodes
def test_scalar_beliefs_follow_the_weights(changed_after: int) -> None:
    torch.manual_seed(0)
    env = make()
    model = LatentDynamics(env.observation_space, env.action_space, seed=0)
    running, fresh = BeliefObservationWrapper(env, model), BeliefObservationWrapper(make(), model)
    taken = actions(N * H, 1)[:, 0]
    running.reset(seed=3)
    for action in taken[:changed_after]:
        running.step(action)
    change(model)
    shown = running.step(taken[changed_after])[0]
    fresh.reset(seed=3)
    for action in taken[: changed_after + 1]:
        expected = fresh.step(action)[0]
    np.testing.assert_allclose(shown, expected, atol=2e-6)


@pytest.mark.parametrize("with_buffer", [False, True])
def test_batched_beliefs_follow_the_weights_and_finished_tasks_stay_forgotten(
    with_buffer: bool,
) -> None:
    torch.manual_seed(0)
    env = vector_env(3)
    model = LatentDynamics(env.single_observation_space, env.single_action_space, seed=0)
    buffer = TrajectoryBuffer(model.spec, capacity=9, max_length=N * H) if with_buffer else None
    wrapped = batched.BeliefObservationWrapper(env, model, buffer=buffer)
    wrapped.reset(seed=1)
    record: list[tuple[Any, ...]] = []
    shown = wrapped._reader.states
    for step, action in enumerate(actions(N * H + 5, 3)):
        result = wrapped.step(action)
        following = wrapped._reader.states
        record.append((action, result[1], following))
        if step == N * H - 1:
            record = []  # all tasks are over
        if step == N * H + 2:
            change(model)
    assert shown.shape == (3, 3)
    # the running tasks once more, from nothing, with the weights of now
    columns = [torch.as_tensor(np.stack(field), dtype=torch.float32) for field in zip(*record)]  # noqa: B905
    posterior = model.encoder(columns[0], columns[1], columns[2])
    np.testing.assert_allclose(
        wrapped.tracker.posterior().mean.numpy(), posterior.mean[-1].detach().numpy(), atol=2e-6
    )


def test_a_task_longer_than_its_record_keeps_its_filtered_belief() -> None:
    torch.manual_seed(0)
    env = vector_env(2)
    model = LatentDynamics(env.single_observation_space, env.single_action_space, seed=0)
    buffer = TrajectoryBuffer(model.spec, capacity=9, max_length=4)
    wrapped = batched.BeliefObservationWrapper(env, model, buffer=buffer)
    wrapped.reset(seed=1)
    for action in actions(6, 2):
        wrapped.step(action)
    hidden = wrapped.tracker._filter.hidden.clone()
    change(model)
    wrapped.tracker.encode_again()
    assert torch.equal(hidden, wrapped.tracker._filter.hidden)


@pytest.mark.parametrize("normalized", [False, True])
def test_the_first_observation_of_a_rollout_has_the_newest_belief(normalized: bool) -> None:
    env = vector_env(2)
    model = LatentDynamics(env.single_observation_space, env.single_action_space, seed=0)
    buffer = TrajectoryBuffer(model.spec, capacity=9, max_length=N * H)
    chain = batched.BeliefObservationWrapper(env, model, buffer=buffer)
    vec_env: Any = VectorEnvAdapter(chain)
    if normalized:
        vec_env = VecNormalize(vec_env)
    trainer = LatentDynamicsTrainer(model, buffer, batch_trajectories=2, learning_rate=0.05)
    agent = PPO("MlpPolicy", vec_env, n_steps=N * H + 5, batch_size=17, n_epochs=1, seed=0)
    firsts: list[Any] = []
    collect = agent.collect_rollouts

    def watch(env: Any, callback: Any, *args: Any, **kwargs: Any) -> bool:
        start = callback.on_rollout_start

        def started() -> None:
            start()
            expected = chain.current_observations()
            if normalized:
                expected = vec_env.normalize_obs(expected)
            firsts.append((np.array(agent._last_obs), expected))

        callback.on_rollout_start = started
        try:
            return collect(env, callback, *args, **kwargs)
        finally:
            callback.on_rollout_start = start

    agent.collect_rollouts = watch  # type: ignore[method-assign]
    agent.learn(3 * 2 * (N * H + 5), LatentDynamicsCallback(trainer, n_updates=2))
    assert len(firsts) == 3
    for shown, expected in firsts:
        np.testing.assert_allclose(shown, expected, atol=1e-6)


def test_after_a_reset_in_the_middle_of_a_task_beliefs_follow_the_weights_again() -> None:
    """The steps of a task that was given up are none of the one that runs."""
    torch.manual_seed(0)
    env = vector_env(2)
    model = LatentDynamics(env.single_observation_space, env.single_action_space, seed=0)
    wrapped = batched.BeliefObservationWrapper(env, model)
    fresh = batched.BeliefObservationWrapper(vector_env(2), model)
    taken = actions(8, 2)
    wrapped.reset(seed=1)
    for action in taken[:3]:
        wrapped.step(action)
    wrapped.reset(seed=2)
    for action in taken[3:6]:
        wrapped.step(action)
    change(model)
    fresh.reset(seed=2)
    for action in taken[3:7]:
        expected = fresh.step(action)[0]
    np.testing.assert_allclose(wrapped.step(taken[6])[0], expected, atol=2e-6)


def test_beliefs_follow_scales_that_a_failed_training_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The weights are those of the last good update, the moments of rewards are not."""
    env = vector_env(2)
    config = LatentDynamicsConfig(reward_scale="running")
    spaces = env.single_observation_space, env.single_action_space
    model = LatentDynamics(*spaces, config, seed=0)
    buffer = TrajectoryBuffer(model.spec, capacity=9, max_length=N * H)
    wrapped = batched.BeliefObservationWrapper(env, model, buffer=buffer)
    trainer, sample = LatentDynamicsTrainer(model, buffer), buffer.sample

    def broken(*arguments: Any) -> Any:
        batch = sample(*arguments)
        return batch._replace(rewards=batch.rewards * float("nan"))

    monkeypatch.setattr(buffer, "sample", broken)
    wrapped.reset(seed=1)
    taken = actions(N * H + 4, 2)
    for action in taken[:-1]:
        wrapped.step(action)
    with pytest.raises(FloatingPointError):
        trainer.update(1)
    fresh = batched.BeliefObservationWrapper(vector_env(2), model)
    fresh.reset(seed=1)
    for action in taken:
        expected = fresh.step(action)[0]
    np.testing.assert_allclose(wrapped.step(taken[-1])[0], expected, atol=2e-6)


def test_beliefs_about_finished_tasks_outlast_resets_and_are_saved() -> None:
    env = vector_env(2)
    model = LatentDynamics(env.single_observation_space, env.single_action_space, seed=0)
    trackers = [batched.BeliefObservationWrapper(vector_env(2), model).tracker for _ in range(2)]
    rng = np.random.default_rng(0)

    def step(tracker: Any) -> None:
        states, following = rng.normal(size=(2, 2, 3)).astype(np.float32)
        tracker.update(states, rng.normal(size=(2, 1)).astype(np.float32), np.ones(2), following)

    first, second = trackers
    step(first)
    final = first.posterior().mean[0].clone()
    first.end(np.array([True, False]))  # worker 1 has finished nothing yet
    step(first)
    expected = torch.stack([final, first.posterior().mean[1]])
    assert not torch.allclose(final, first.posterior().mean[0], atol=1e-4)
    torch.testing.assert_close(first.final_means(), expected)
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second.final_means(), expected)
    first.reset()
    torch.testing.assert_close(first.final_means()[0], final)
    torch.testing.assert_close(first.final_means()[1], first.posterior().mean[1])


def test_the_newest_belief_is_normalised_from_the_inside_outwards() -> None:
    env = vector_env(2)
    model = LatentDynamics(env.single_observation_space, env.single_action_space, seed=0)
    inner = VecNormalize(VectorEnvAdapter(batched.BeliefObservationWrapper(env, model)))
    outer = VecNormalize(inner)
    agent = PPO("MlpPolicy", outer, n_steps=N * H + 5, batch_size=17, n_epochs=1, seed=0)
    agent.learn(2 * (N * H + 5))  # ends inside a task
    expected = np.array(agent._last_obs)
    inner.training = outer.training = False
    agent._last_obs = None
    show_newest_beliefs(agent)
    np.testing.assert_allclose(agent._last_obs, expected, atol=1e-5)
