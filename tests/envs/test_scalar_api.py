"""The environment API of the scalar environments, over every registered id."""

from __future__ import annotations

import copy
import functools
import json
import operator
import pickle
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from env_helpers import arrays_in, assert_same, one_task
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env


@pytest.fixture
def env(env_id):
    made = gym.make(env_id)
    yield made
    made.close()


def _actions(env: gym.Env, n: int, seed: int = 0) -> list:
    space = copy.deepcopy(env.action_space)
    space.seed(seed)
    return [space.sample() for _ in range(n)]


def test_checkers_have_nothing_to_say(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = gym.make(env_id)
        check_env(made.unwrapped, skip_render_check=True)
        sb3_check_env(made, skip_render_check=True)
        made.close()


def test_spec(env_id):
    spec = gym.spec(env_id)
    assert spec.max_episode_steps == (30 if "Grid" in env_id else 200)
    assert gym.make(f"ldm_envs:{env_id}").spec.id == env_id


def test_split_decides_the_tasks(env_id):
    for split in gym.make(env_id).unwrapped.task_distribution.splits:
        made = gym.make(env_id, split=split)
        task_set = made.unwrapped.task_distribution[split]
        assert made.unwrapped.split == split
        drawn = [made.reset(seed=0)[1]["task"]] + [made.reset()[1]["task"] for _ in range(20)]
        assert task_set.contains(np.array(drawn)).all()
        assert len(np.unique(drawn, axis=0)) > 1
        made.close()


def test_seed_then_task_then_start_state(env):
    obs, info = env.reset(seed=11)
    again, info_again = env.reset(seed=11)
    assert_same((obs, info), (again, info_again))
    expected = env.unwrapped.task_distribution["train"].sample(
        gym.utils.seeding.np_random(11)[0], 1
    )[0]
    assert np.array_equal(info["task"], expected)


def test_seeds_differ(env):
    tasks = [env.reset(seed=seed)[1]["task"] for seed in range(30)]
    assert len(np.unique(tasks, axis=0)) > 1


def test_pinning_a_task_draws_nothing(env):
    """A pinned task must leave the generator alone, so equal seeds give equal start states."""
    env_id = env.spec.id
    first, info = env.reset(seed=3, options={"task": one_task(env_id, "train")})
    second, other = env.reset(seed=3, options={"task": one_task(env_id, "test")})
    assert np.array_equal(info["task"], one_task(env_id, "train"))
    assert np.array_equal(other["task"], one_task(env_id, "test"))
    assert np.array_equal(first, second)


def test_keep_task(env):
    task = env.reset(seed=0)[1]["task"]
    for _ in range(10):
        info = env.reset(options={"keep_task": True})[1]
        assert np.array_equal(info["task"], task)
    changed = [env.reset(options={"keep_task": False})[1]["task"] for _ in range(20)]
    assert len(np.unique(changed, axis=0)) > 1
    pinned = one_task(env.spec.id, "test")
    env.reset(options={"task": pinned, "keep_task": False})
    assert np.array_equal(env.reset(options={"keep_task": True})[1]["task"], pinned)


def test_keep_task_with_no_task_yet_draws_one(env):
    info = env.reset(seed=5, options={"keep_task": True})[1]
    assert np.array_equal(info["task"], env.reset(seed=5)[1]["task"])


def test_infos_and_reward_terms(env):
    _, info = env.reset(seed=1)
    task = info["task"]
    assert task.dtype == np.float32 and task.shape == (env.unwrapped.task_distribution.task_dim,)
    for action in _actions(env, 25):
        obs, reward, _, _, info = env.step(action)
        assert env.observation_space.contains(obs)
        assert np.array_equal(info["task"], task) and info["task"].dtype == np.float32
        terms = {k: v for k, v in info.items() if k.startswith("reward_")}
        assert len(terms) >= 2 and all(type(v) is float for v in terms.values())
        added = functools.reduce(operator.add, terms.values())  # Python 3.12's sum rounds once
        assert type(reward) is float and added == reward


def test_returned_arrays_are_the_callers(env):
    results = [env.reset(seed=2)]
    for action in _actions(env, 6):
        results.append(env.step(action))
    kept = copy.deepcopy(results)
    arrays = arrays_in(results)
    for i, a in enumerate(arrays):
        assert not any(np.shares_memory(a, b) for b in arrays[i + 1 :])
    for array in arrays:
        array[...] = -1  # must not reach the environment
    follow = env.step(_actions(env, 7)[6])
    reference = gym.make(env.spec.id)
    reference.reset(seed=2)
    for action in _actions(env, 6):
        reference.step(action)
    assert_same(follow, reference.step(_actions(env, 7)[6]))
    assert np.array_equal(follow[4]["task"], kept[0][1]["task"])


def test_the_task_changes_the_reward(env_id):
    rewards = []
    for split in ("train", "test"):
        made = gym.make(env_id)
        made.reset(seed=0, options={"task": one_task(env_id, split, seed=3)})
        rewards.append([made.step(action)[1] for action in _actions(made, 30, seed=4)])
    if "Grid" not in env_id:  # a random walk need not meet a goal cell
        assert rewards[0] != rewards[1]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"tsak": 1}, "tsak"),
        ({"reset_mask": np.ones(1, bool)}, "reset_mask"),
        ({"keep_task": 1}, "1"),
        ({"keep_task": "yes"}, "yes"),
        ({"task": None}, "None"),
        ({"task": "north"}, "north"),
        ({"task": np.zeros(7)}, "(7,)"),
        ("keep_task", "keep_task"),
    ],
)
def test_bad_options(env, options, shown):
    env.reset(seed=0)
    before = env.unwrapped.get_state()
    with pytest.raises(ValueError) as caught:
        env.unwrapped.reset(seed=9, options=options)
    assert shown in str(caught.value)
    assert_same(before, env.unwrapped.get_state())


def test_bad_tasks(env):
    dim = env.unwrapped.task_distribution.task_dim
    for task, shown in ((np.full(dim, np.nan), "nan"), (np.full(dim, -77.7), "-77.6")):
        with pytest.raises(ValueError) as caught:
            env.reset(options={"task": task})
        assert shown in str(caught.value)
    with pytest.raises(ValueError, match="keep_task"):
        env.reset(options={"task": one_task(env.spec.id, "train"), "keep_task": True})


@pytest.mark.parametrize("seed", [-1, 1.5, "3", True])
def test_bad_seed(env, seed):
    with pytest.raises(ValueError) as caught:
        env.unwrapped.reset(seed=seed)
    assert repr(seed) in str(caught.value)


def test_bad_actions(env):
    env.reset(seed=0)
    if isinstance(env.action_space, gym.spaces.Discrete):
        bad = [(5, "5"), (-1, "-1"), (0.5, "0.5"), (np.array([1, 2]), "1, 2")]
    else:
        good = env.action_space.sample()
        nan, big = good.copy(), good.copy()
        nan[2], big[1] = np.nan, 1.5
        bad = [(nan, "nan"), (big, "1.5"), (good[:3], "(3,)"), ("left", "left")]
    for action, shown in bad:
        before = env.unwrapped.get_state()
        with pytest.raises(ValueError) as caught:
            env.unwrapped.step(action)
        assert shown in str(caught.value)
        assert_same(before, env.unwrapped.get_state())


def test_before_the_first_reset(env):
    for call in (lambda e: e.step(e.action_space.sample()), lambda e: e.get_state()):
        with pytest.raises(ResetNeeded, match="reset"):
            call(env.unwrapped)


def test_unknown_render_mode(env_id):
    env = gym.make(env_id)
    with pytest.raises(ValueError, match="'oil'"):
        type(env.unwrapped)(render_mode="oil")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="None"):
        env.unwrapped.render()


def _jsonable(value):
    if isinstance(value, dict):
        return all(isinstance(k, str) and _jsonable(v) for k, v in value.items())
    return isinstance(value, np.ndarray) or json.dumps(value) is not None


def test_resume_is_exact(env_id):
    env, other = gym.make(env_id).unwrapped, gym.make(env_id).unwrapped
    env.reset(seed=8)
    actions = _actions(env, 130)
    for action in actions[:30]:
        env.step(action)
    state = env.get_state()
    assert _jsonable(state)
    kept = copy.deepcopy(state)
    other.set_state(state)
    for i, action in enumerate(actions[30:]):
        assert_same(env.step(action), other.step(action))
        if i in (40, 80):
            assert_same(env.reset(), other.reset())
    assert_same(state, kept)  # neither env writes into the dict


def test_pickle_and_deepcopy_carry_the_state(env_id):
    env = gym.make(env_id, split="test").unwrapped
    pickle.loads(pickle.dumps(env)).reset(seed=0)
    env.reset(seed=8)
    actions = _actions(env, 20)
    for action in actions[:10]:
        env.step(action)
    copies = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]
    for action in actions[10:]:
        result = env.step(action)
        for one in copies:
            assert one.split == "test"
            assert_same(result, one.step(action))


def test_state_of_another_family_is_refused(env_id):
    env = gym.make(env_id).unwrapped
    env.reset(seed=0)
    state = env.get_state()
    state["task"] = np.zeros(5, np.float32)
    with pytest.raises(ValueError, match=r"\(5,\)"):
        env.set_state(state)
    state = env.get_state()
    state["physics"] = {key: np.zeros(3) for key in state["physics"]}
    with pytest.raises(ValueError, match=r"\(3,\)|0\., 0\., 0\."):
        env.set_state(state)


def test_no_torch_and_no_wrappers():
    code = (
        "import sys, gymnasium as gym, ldm_envs\n"
        "for one in ldm_envs.ENV_IDS:\n"
        "    gym.make(one).reset(); gym.make_vec(one, num_envs=2).reset()\n"
        "print(sorted({'torch', 'ldm_wrappers', 'stable_baselines3', 'pygame'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
