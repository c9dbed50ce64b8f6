"""Parts that are shared by mistake, or replaced after others have been made of them."""

from __future__ import annotations

import copy
import functools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from reference_models import small_model
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import SubprocVecEnv
from wrapper_stubs import ScriptedEnv, scripted_vector

from ldm_wrappers import (
    BeliefObservationWrapper,
    BeliefPool,
    BeliefPublisherWrapper,
    ImaginaryRewardWrapper,
    MultiEpisodeWrapper,
    TrajectoryBuffer,
    vector,
)
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer
from ldm_wrappers.sb3 import LatentDynamicsCallback, VectorEnvAdapter, imagine


def publishers(n: int) -> list[BeliefPublisherWrapper]:
    """Several on the only row of one pool."""
    model = small_model(ScriptedEnv())
    pool = BeliefPool(1, model.config.latent_dim)
    return [
        BeliefPublisherWrapper(MultiEpisodeWrapper(ScriptedEnv((9,)), 2), model, pool, 0)
        for _ in range(n)
    ]


def test_one_environment_cannot_stand_for_several_rows() -> None:
    """Each row's step moved the others: s and s' of a transition were of different workers."""
    env = gym.wrappers.TimeLimit(ScriptedEnv(), 5)
    batch = SyncVectorEnv([lambda: env] * 3, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="MultiEpisodeWrapper got a batch in which one environm"):
        vector.MultiEpisodeWrapper(batch, 2)
    with pytest.raises(ValueError, match="functions that make a new environment at every call"):
        imagine(lambda: env, n_episodes=2, n_mixture=2)


def chain() -> Any:
    env = vector.MultiEpisodeWrapper(scripted_vector((2,), (3,), (2,)), 2)
    imaginary = vector.ImaginaryRewardWrapper(env, small_model(env), n_mixture=1, seed=0)
    return VectorEnvAdapter(vector.RL2ObservationWrapper(imaginary))


@pytest.mark.parametrize("name", ["n_mixture", "n_normal", "n_episodes", "latent_dynamics"])
def test_what_others_are_made_of_cannot_be_replaced(name: str) -> None:
    """``get_attr`` told the new value, and everything went on with the old one."""
    adapter = chain()
    before = adapter.get_attr(name)[0]
    with pytest.raises(AttributeError, match=f"{name} of .*Wrapper is fixed when it is made"):
        adapter.set_attr(name, 2)
    assert adapter.get_attr(name)[0] is before


def test_the_same_of_single_environments() -> None:
    env = MultiEpisodeWrapper(ScriptedEnv(), 2)
    model = small_model(env)
    pool = BeliefPool(2, model.config.latent_dim)
    publisher = BeliefPublisherWrapper(env, model, pool, 1)
    for name in ("latent_dynamics", "pool", "index"):
        with pytest.raises(AttributeError, match=f"{name} of BeliefPublisherWrapper is fixed"):
            publisher.set_wrapper_attr(name, 0)
    assert publisher.get_wrapper_attr("index") == 1
    with pytest.raises(AttributeError, match="n_episodes of MultiEpisodeWrapper is fixed"):
        publisher.set_wrapper_attr("n_episodes", 3)
    with pytest.raises(AttributeError, match="latent_dynamics of BeliefObservationWrapper"):
        BeliefObservationWrapper(env, model).set_wrapper_attr("latent_dynamics", model)


def test_a_trainer_and_imaginary_rewards_keep_what_they_were_made_of() -> None:
    env = MultiEpisodeWrapper(ScriptedEnv(), 2)
    model = small_model(env)
    buffer = TrajectoryBuffer(model.spec, capacity=2, max_length=9)
    trainer = LatentDynamicsTrainer(model, buffer)
    with pytest.raises(AttributeError, match="model of LatentDynamicsTrainer is fixed"):
        trainer.model = small_model(env)  # Adam would go on with the weights of the former one
    pool = BeliefPool(1, model.config.latent_dim)
    imaginary = ImaginaryRewardWrapper(env, model, pool)
    with pytest.raises(AttributeError, match="beliefs of ImaginaryRewardWrapper is fixed"):
        imaginary.set_wrapper_attr("beliefs", BeliefPool(1, model.config.latent_dim))


@pytest.mark.parametrize("decay_updates", [None, 3])
def test_a_learning_rate_that_is_changed_is_used(decay_updates: int | None) -> None:
    """Without a decay, Adam went on with the one that the trainer was made with."""
    adapter, callback = imagine(ScriptedEnv, num_envs=3, max_episode_steps=2, n_mixture=1)
    adapter.reset()
    for _ in range(12):
        adapter.step(np.zeros(3, np.int64))
    made = callback.trainer
    outcomes = []
    for first, then in [(1e-3, 4e-3), (4e-3, None), (1e-3, None)]:
        model = copy.deepcopy(made.model)
        buffer = copy.deepcopy(made.buffer)
        trainer = LatentDynamicsTrainer(
            model, buffer, learning_rate=first, decay_updates=decay_updates
        )
        if then is not None:
            trainer.learning_rate = then
        trainer.update(2)
        outcomes.append(np.concatenate([p.detach().ravel() for p in model.parameters()]))
    np.testing.assert_array_equal(outcomes[0], outcomes[1])
    assert (outcomes[0] != outcomes[2]).any()
    saved = LatentDynamicsTrainer(made.model, made.buffer).state_dict()
    trainer.learning_rate = 2e-3
    trainer.load_state_dict(saved)
    assert trainer.optimizer.param_groups[0]["lr"] == 2e-3
    with pytest.raises(ValueError, match="learning_rate must be positive, got 0"):
        made.learning_rate = 0


def test_two_publishers_of_one_row_are_noticed_once_both_publish() -> None:
    """An imaginary task mixed the belief of whichever had stepped last."""
    training, evaluation = publishers(2)
    evaluation.reset(seed=0)
    with pytest.raises(ValueError, match="two environments publish to row 0 of the belief pool"):
        training.reset(seed=0)


def test_a_publisher_that_was_only_made_or_is_closed_is_in_nobodys_way() -> None:
    """As where ``check_env`` makes the environment once more from its spec."""
    first, made, closed = publishers(3)
    first.reset(seed=0)
    first.step(0)
    closed.reset(seed=0)
    closed.close()
    first.step(0)
    made.reset(seed=0)
    first.close()
    made.step(0)


def test_a_batch_of_things_that_are_no_environments_is_left_alone() -> None:
    env = vector.MultiEpisodeWrapper(scripted_vector((2,), (3,)), 2)
    env.unwrapped.envs = [3, 3]  # a simulator's handles
    vector.RL2ObservationWrapper(env)


def test_a_publisher_may_take_the_place_of_a_former_one() -> None:
    """As where a notebook makes its environments again."""
    model = small_model(ScriptedEnv())
    pool = BeliefPool(2, model.config.latent_dim)
    for _ in range(2):
        publishers = [
            BeliefPublisherWrapper(MultiEpisodeWrapper(ScriptedEnv((2,)), 1), model, pool, row)
            for row in range(2)
        ]
        for step in range(2):
            for env in publishers:
                if step == 0:
                    env.reset(seed=step)
                env.step(0)
    imaginary = ImaginaryRewardWrapper(MultiEpisodeWrapper(ScriptedEnv(), 1), model, pool)
    imaginary.reset(seed=0)
    imaginary.step(0)
    pool.publish(0, np.zeros(model.config.latent_dim))  # whoever does not say who it is


def belief_env() -> gym.Env[Any, Any]:
    env = MultiEpisodeWrapper(ScriptedEnv((2,)), 2)
    model = small_model(env)
    buffer = TrajectoryBuffer(model.spec, capacity=9, max_length=9)
    return BeliefObservationWrapper(env, model, buffer=buffer)


def test_a_model_that_nothing_has_trained_is_told_at_the_end() -> None:
    """Workers in processes of their own fill buffers of their own."""
    env = belief_env()
    model = env.get_wrapper_attr("latent_dynamics")
    trainer = LatentDynamicsTrainer(model, TrajectoryBuffer(model.spec, capacity=9, max_length=9))
    venv = SubprocVecEnv([functools.partial(belief_env) for _ in range(2)], start_method="fork")
    try:
        agent = PPO("MlpPolicy", venv, n_steps=8, batch_size=16, n_epochs=1, device="cpu")
        with pytest.warns(UserWarning, match="no trajectory has reached the trainer's buffer"):
            agent.learn(16, callback=LatentDynamicsCallback(trainer, n_updates=1))
    finally:
        venv.close()
    assert trainer.n_updates == 0


def test_the_belief_of_a_closed_environment_is_not_mixed() -> None:
    """Fewer new ones, on the same pool, left the beliefs of the former ones in the other rows."""
    model = small_model(ScriptedEnv())
    pool = BeliefPool(2, model.config.latent_dim)

    def made(row: int) -> BeliefPublisherWrapper:
        env = MultiEpisodeWrapper(ScriptedEnv((2,)), 1)
        publisher = BeliefPublisherWrapper(env, model, pool, row)
        publisher.reset(seed=row)
        return publisher

    former = [made(row) for row in range(2)]
    imaginary = ImaginaryRewardWrapper(MultiEpisodeWrapper(ScriptedEnv((9,)), 1), model, pool)
    imaginary.reset(seed=0)
    for env in [*former, imaginary] * 2:  # to the end of the tasks of the publishers
        env.step(0)
    final = pool.final_means()
    for env in former:
        env.close()
    new = made(0)
    with pytest.raises(ValueError, match=r"nobody has published to rows \[1\] of the 2 rows"):
        imaginary.step(0)
    made(1)
    imaginary.step(0)
    np.testing.assert_array_equal(pool.final_means(), pool.means(0))  # no new task has ended
    assert (pool.final_means() != final).any()
    new.step(0)
    shown = pool.means(0)
    BeliefPublisherWrapper(MultiEpisodeWrapper(ScriptedEnv(), 1), model, pool, 0)
    np.testing.assert_array_equal(pool.means(0), shown)  # not yet reset, so no worker


def test_an_older_publisher_that_closes_lets_nobody_else_in() -> None:
    """Only the newest one of a row hands it back."""
    oldest, older, newest = publishers(3)
    older.reset(seed=0)
    newest.reset(seed=0)
    oldest.close()
    with pytest.raises(ValueError, match="two environments publish to row 0 of the belief pool"):
        older.step(0)
    newest.step(0)
