"""The batched environments, over every id: against Gymnasium's SyncVectorEnv of the scalar ones."""

from __future__ import annotations

import copy
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from env_helpers import arrays_in, assert_same, one_task, sample_actions
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from ldm_envs.grid_navi import GridNaviVectorEnv

MODES = list(AutoresetMode)


def _pair(env_id: str, n: int, mode: AutoresetMode, horizon: int, split: str = "train"):
    batched = gym.make_vec(
        env_id, num_envs=n, split=split, autoreset_mode=mode, max_episode_steps=horizon
    )
    scalar = gym.make_vec(
        env_id,
        num_envs=n,
        split=split,
        max_episode_steps=horizon,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
    )
    return batched, scalar


@pytest.mark.parametrize(
    ("mode", "n", "steps"),
    [
        (AutoresetMode.SAME_STEP, 16, 500),
        (AutoresetMode.DISABLED, 8, 200),
        (AutoresetMode.NEXT_STEP, 8, 200),
    ],
)
def test_equal_to_the_scalar_environment(env_id, mode, n, steps):
    """Observations, rewards, ends and infos, bit for bit, through many resets (bar B1)."""
    batched, scalar = _pair(env_id, n, mode, horizon=43)
    first = batched.reset(seed=7)
    assert_same(first, scalar.reset(seed=list(batched.np_random_seed)))
    early = np.random.default_rng(1)
    terminations = 0
    for t, actions in enumerate(sample_actions(batched, steps)):
        result = batched.step(actions)
        assert_same(result, scalar.step(actions), f"step {t}")
        terminations += int(result[2].sum())
        done = result[2] | result[3]
        if mode is AutoresetMode.DISABLED:
            mask = done | (early.random(n) < 0.02)
            if mask.any():
                options = {"keep_task": True} if t % 2 else {}
                assert_same(
                    batched.reset(options={"reset_mask": mask, **options}),
                    scalar.reset(options={"reset_mask": mask.copy(), **options}),
                    f"reset {t}",
                )
        elif t % 97 == 96:
            assert_same(batched.reset(), scalar.reset(), f"reset {t}")
    if env_id == "LDM-AntDir-v0" and mode is AutoresetMode.SAME_STEP:
        assert terminations > 0  # else the comparison of terminations was empty
    batched.close()
    scalar.close()


def test_make_vec_is_quiet_and_complete(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in MODES:
            env = gym.make_vec(env_id, num_envs=3, split="test", autoreset_mode=mode)
            assert env.metadata["autoreset_mode"] is mode
            assert env.spec.id == env_id and env.num_envs == 3
            assert type(env).metadata.get("autoreset_mode") is None  # set on the instance only
            env.close()
    single = gym.make(env_id)
    env = gym.make_vec(env_id, num_envs=3)
    assert env.single_observation_space == single.observation_space
    assert env.single_action_space == single.action_space
    assert env.observation_space == gym.vector.utils.batch_space(single.observation_space, 3)
    assert env.action_space == gym.vector.utils.batch_space(single.action_space, 3)
    assert env.unwrapped.task_distribution is single.unwrapped.task_distribution
    by_name = gym.make_vec(env_id, num_envs=2, autoreset_mode="SameStep")
    assert by_name.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_observations_and_results_fit_the_spaces(env_id):
    env = gym.make_vec(env_id, num_envs=5)
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    obs, rewards, terminated, truncated, infos = env.step(sample_actions(env, 1)[0])
    assert env.observation_space.contains(obs)
    assert rewards.shape == (5,) and rewards.dtype == np.float64
    assert terminated.dtype == truncated.dtype == np.bool_
    terms = [v for k, v in infos.items() if k.startswith("reward_")]
    assert np.array_equal(sum(terms), rewards)
    for key in [k for k in infos if not k.startswith("_")]:
        assert infos["_" + key].all() and infos["_" + key].shape == (5,)


def test_seeds(env_id):
    a, b = gym.make_vec(env_id, num_envs=3), gym.make_vec(env_id, num_envs=3)
    first = a.reset(seed=20)
    seeds = tuple(int(word) for word in np.random.SeedSequence(20).generate_state(3))
    assert_same(first, b.reset(seed=list(seeds)))
    assert_same(first, b.reset(seed=np.int64(20)))
    assert a.np_random_seed == seeds and len(a.np_random) == 3
    c, d = gym.make_vec(env_id, num_envs=3), gym.make_vec(env_id, num_envs=3)
    c.reset(seed=20), d.reset(seed=20)
    # None leaves a generator running, a number starts it anew.
    x, y = c.reset(seed=[None, 5, None]), d.reset(seed=None)
    assert np.array_equal(x[1]["task"][[0, 2]], y[1]["task"][[0, 2]])
    assert np.array_equal(x[0][[0, 2]], y[0][[0, 2]])
    alone = gym.make(env_id)
    obs, info = alone.reset(seed=5)
    assert np.array_equal(x[0][1], obs) and np.array_equal(x[1]["task"][1], info["task"])


def test_unseeded_batches_differ(env_id):
    tasks = [gym.make_vec(env_id, num_envs=16, split="all").reset()[1]["task"] for _ in range(2)]
    assert not np.array_equal(*tasks)


def test_pinned_tasks(env_id):
    env = gym.make_vec(env_id, num_envs=4)
    sets = env.unwrapped.task_distribution
    tasks = sets["all"].sample(np.random.default_rng(0), 4)
    handed = tasks.copy()
    assert np.array_equal(env.reset(seed=0, options={"task": handed})[1]["task"], tasks)
    handed[:] = -1
    infos = env.step(sample_actions(env, 1)[0])[4]
    assert np.array_equal(infos["task"], tasks)
    infos["task"][:] = -1
    assert np.array_equal(env.step(sample_actions(env, 1)[0])[4]["task"], tasks)
    one = one_task(env_id, "test")
    assert np.array_equal(env.reset(options={"task": one})[1]["task"], np.tile(one, (4, 1)))
    # As in the scalar environment, a pinned task leaves the stream to the start state.
    alone = gym.make(env_id)
    obs = env.reset(seed=9, options={"task": tasks})[0]
    for i in range(4):
        expected = alone.reset(seed=env.np_random_seed[i], options={"task": tasks[i]})[0]
        assert np.array_equal(obs[i], expected)


def test_keep_task_per_environment(env_id):
    env = gym.make_vec(env_id, num_envs=12, split="all")
    tasks = env.reset(seed=0)[1]["task"]
    assert np.array_equal(env.reset(options={"keep_task": True})[1]["task"], tasks)
    keep = np.arange(12) % 2 == 0
    after = env.reset(options={"keep_task": keep})[1]["task"]
    assert np.array_equal(after[keep], tasks[keep])
    assert not np.array_equal(after[~keep], tasks[~keep])
    fresh, pinned = (gym.make_vec(env_id, num_envs=12, split="all") for _ in range(2))
    assert np.array_equal(fresh.reset(seed=0, options={"keep_task": True})[1]["task"], tasks)
    pinned.reset(seed=1, options={"task": tasks})
    assert np.array_equal(pinned.reset(options={"keep_task": True})[1]["task"], tasks)


def test_reset_mask(env_id):
    env = gym.make_vec(env_id, num_envs=4, autoreset_mode="Disabled", split="all")
    env.reset(seed=0)
    actions = sample_actions(env, 10)
    for one in actions[:5]:
        last, _, _, _, infos = env.step(one)
    mask = np.array([True, False, False, True])
    options = {
        "reset_mask": mask,
        "task": env.unwrapped.task_distribution["all"].sample(np.random.default_rng(1), 4),
    }
    options["task"][1:3] = np.nan  # rows outside the mask are not looked at
    handed = copy.deepcopy(options)
    obs, after = env.reset(seed=[3, None, None, 4], options=options)
    assert_same(options, handed)  # the caller's dict is untouched
    assert np.array_equal(obs[1:3], last[1:3])
    assert np.array_equal(after["_task"], mask)
    assert np.array_equal(after["task"][mask], handed["task"][mask])
    _, _, _, _, infos_after = env.step(actions[5])
    assert np.array_equal(infos_after["task"][1:3], infos["task"][1:3])
    assert np.array_equal(infos_after["task"][mask], handed["task"][mask])
    assert env.np_random_seed[0] == 3 and env.np_random_seed[3] == 4


def test_max_episode_steps(env_id):
    for horizon in (3, 5, None):
        env = gym.make_vec(env_id, num_envs=2, max_episode_steps=horizon, autoreset_mode="Disabled")
        env.reset(seed=0)
        truncations = [env.step(a)[3].copy() for a in sample_actions(env, horizon or 8)]
        assert not np.any(truncations[:-1])
        assert truncations[-1].all() == (horizon is not None)
    default = gym.make_vec(env_id, num_envs=1)
    assert default.unwrapped.max_episode_steps == gym.spec(env_id).max_episode_steps


def test_autoreset_draws_a_new_task_even_after_a_pinned_one(env_id):
    env = gym.make_vec(env_id, num_envs=8, max_episode_steps=2, autoreset_mode="SameStep")
    pinned = one_task(env_id, "test")
    env.reset(seed=0, options={"task": pinned})
    for actions in sample_actions(env, 2):
        infos = env.step(actions)[4]
    assert env.unwrapped.task_distribution["train"].contains(infos["task"]).all()
    assert np.array_equal(infos["final_info"]["task"], np.tile(pinned, (8, 1)))
    assert infos["_final_info"].all() and infos["_final_obs"].all()


def test_a_finished_environment_is_not_stepped(env_id):
    env = gym.make_vec(env_id, num_envs=2, max_episode_steps=1, autoreset_mode="Disabled")
    env.reset(seed=0)
    action = sample_actions(env, 1)[0]
    env.step(action)
    env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded, match=r"\[1\]"):
        env.step(action)


class _Ends(GridNaviVectorEnv):
    """Says that the first environment has ended, at every step and also when it is reset."""

    def _advance(self, actions, active):
        terms, _, infos = super()._advance(actions, active)
        return terms, np.arange(self.num_envs) == 0, infos


def test_what_dynamics_say_of_an_environment_that_is_being_reset_is_ignored():
    env = _Ends(2, autoreset_mode="NextStep")
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, np.int64))[2].tolist() for _ in range(4)]
    assert ends == [[True, False], [False, False]] * 2


def test_results_are_the_callers(env_id):
    for mode in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP):
        env, twin = (
            gym.make_vec(env_id, num_envs=3, max_episode_steps=4, autoreset_mode=mode)
            for _ in range(2)
        )
        results = [env.reset(seed=1)]
        twin.reset(seed=1)
        arrays = arrays_in(results)
        for action in sample_actions(env, 12):
            result = env.step(action)
            expected = twin.step(action)
            assert_same(result, expected)
            new = arrays_in(result)
            for i, a in enumerate(new):
                assert not any(np.shares_memory(a, b) for b in new[i + 1 :] + arrays)
            arrays += new
            for array in new:
                array[...] = 1  # must not reach the environment


@pytest.mark.parametrize("mode", MODES)
def test_resume_is_exact(env_id, mode):
    def make():
        return gym.make_vec(env_id, num_envs=4, max_episode_steps=17, autoreset_mode=mode)

    def step(env, action):
        result = env.step(action)
        done = result[2] | result[3]
        if mode is AutoresetMode.DISABLED and done.any():
            return result, env.reset(options={"reset_mask": done})
        return result

    env, other = make(), make()
    env.reset(seed=4)
    actions = sample_actions(env, 151)
    for action in actions[:51]:  # in next-step mode, with a reset pending
        step(env, action)
    state = env.get_state()
    kept = copy.deepcopy(state)
    other.set_state(state)
    for action in actions[51:]:
        assert_same(step(env, action), step(other, action))
    assert_same(state, kept)


def test_pickle_and_deepcopy_carry_the_state(env_id):
    env = gym.make_vec(env_id, num_envs=3, split="test", autoreset_mode="SameStep")
    untouched = pickle.loads(pickle.dumps(env))
    assert_same(untouched.reset(seed=1), env.reset(seed=1))
    actions = sample_actions(env, 20)
    for action in actions[:10]:
        env.step(action)
    for one in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        twin = copy.deepcopy(env)
        assert one.spec.id == env_id and one.split == "test"
        assert one.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        for action in actions[10:]:
            assert_same(one.step(action), twin.step(action))


def test_copies_sample_the_actions_that_their_original_samples(env_id):
    for env in (gym.make_vec(env_id, num_envs=2), gym.make(env_id)):
        env.action_space.seed(3)
        for copied in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
            twin = copy.deepcopy(env.action_space)
            for _ in range(3):
                np.testing.assert_array_equal(copied.action_space.sample(), twin.sample())


def test_state_of_another_batch_is_refused(env_id):
    small, large = gym.make_vec(env_id, num_envs=2), gym.make_vec(env_id, num_envs=3)
    small.reset(seed=0), large.reset(seed=0)
    before = large.get_state()
    with pytest.raises(ValueError, match="2 environments, expected 3"):
        large.set_state(small.get_state())
    assert_same(before, large.get_state())


def test_a_batch_that_continues_keeps_its_tasks_and_seeds(env_id):
    """In a new process: the batch that takes over the state was never reset itself."""
    env, other = (gym.make_vec(env_id, num_envs=3, autoreset_mode="Disabled") for _ in range(2))
    infos = env.reset(seed=[5, 6, 7])[1]
    other.set_state(env.get_state())
    assert tuple(other.np_random_seed) == (5, 6, 7)
    result = other.reset(options={"keep_task": True})
    assert np.array_equal(result[1]["task"], infos["task"])
    assert_same(result, env.reset(options={"keep_task": True}))
