"""What Gymnasium and NumPy hand in: rounded bounds, NumPy numbers, refused first resets."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import ldm_envs
from ldm_envs import mujoco_opengl
from ldm_envs.task_env import TaskEnv


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.9), (-3.3, 1.7), (1e-3, 1e3)])
def test_the_bounds_of_a_rescaled_action_are_accepted(mujoco_id, low, high):
    env = gym.wrappers.RescaleAction(gym.make(mujoco_id), np.float32(low), np.float32(high))
    batch = gym.make_vec(mujoco_id, num_envs=2, backend="serial")
    batch = gym.wrappers.vector.RescaleAction(batch, np.float32(low), np.float32(high))
    for one in (env, batch):
        one.reset(seed=0)
        one.step(one.action_space.high), one.step(one.action_space.low)


@pytest.mark.parametrize("excess", [1e-7, 3e-6])
def test_roundings_are_clipped_and_more_is_refused(mujoco_id, excess):
    env, twin = gym.make(mujoco_id), gym.make(mujoco_id)
    one = np.ones(env.action_space.shape)
    env.reset(seed=0), twin.reset(seed=0)
    first, second = env.step(one * (1 + excess)), twin.step(one)
    assert np.array_equal(first[0], second[0]) and first[1] == second[1]
    for bad in (one * 1.0001, -one * 1.01, one * np.nan):
        with pytest.raises(ValueError, match="clip them"):
            env.step(bad)


def test_a_refused_first_reset_leaves_a_usable_environment(env_id):
    env = gym.make(env_id)
    for bad in ({"task": [1e9, 1e9]}, {"tusk": 1}):
        with pytest.raises(ValueError):
            env.reset(options=bad)
    with pytest.raises(ValueError):
        env.reset(seed=-4)
    env.reset(seed=0)
    env.action_space.seed(0)
    env.step(env.action_space.sample()), env.step(env.action_space.sample())


class Family(TaskEnv):
    """A researcher's own, registered as Gymnasium's documentation has it."""

    task_distribution = gym.make("LDM-GridNavi-v0").unwrapped.task_distribution
    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)

    def __init__(self, split="train"):
        self._set_split(split)

    def reset(self, *, seed=None, options=None):
        self._begin_episode(seed, options)
        return np.zeros(1, np.float32), self._task_info()

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, False, False, self._task_info()


@pytest.mark.parametrize("bad", [{"options": {"task": (0, 0)}}, {"seed": -1}])
def test_a_family_behind_gymnasiums_checker_says_what_to_do(bad):
    gym.register("Family-v0", Family, max_episode_steps=5)
    try:
        env = gym.make("Family-v0")
        with pytest.raises(ValueError, match=r"make the environment again.*disable_env_checker"):
            env.reset(**bad)
        free = gym.make("Family-v0", disable_env_checker=True)
        with pytest.raises(ValueError):
            free.reset(**bad)
        free.reset(seed=0), free.step(1)
        env = gym.make("Family-v0")
        env.reset(seed=0)
        with pytest.raises(ValueError) as caught:
            env.reset(**bad)
        assert "again" not in str(caught.value)
        env.step(1)
    finally:
        del gym.registry["Family-v0"]


@pytest.mark.parametrize("action", [True, np.int8(1), np.array(1)])
def test_grids_take_what_discrete_contains(action):
    env, twin = gym.make("LDM-GridNavi-v0"), gym.make("LDM-GridNavi-v0")
    env.reset(seed=0), twin.reset(seed=0)
    assert np.array_equal(env.step(action)[0], twin.step(1)[0])


@pytest.mark.parametrize("action", [1.0, np.float32(1), np.array([1]), "1", None, 5])
def test_grids_refuse_all_else(action):
    env = gym.make("LDM-GridNavi-v0")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="Expected an action"):
        env.step(action)


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), np.array(3)])
def test_numpy_seeds(env_id, seed):
    env, batch = gym.make(env_id).unwrapped, gym.make_vec(env_id, num_envs=2)
    task = env.reset(seed=seed)[1]["task"]
    assert np.array_equal(env.reset(seed=3)[1]["task"], task)
    tasks = batch.reset(seed=seed)[1]["task"]
    assert np.array_equal(batch.reset(seed=3)[1]["task"], tasks)


@pytest.mark.parametrize("seed", [np.array([3]), [3], np.array(3.0), np.array(True), -1])
def test_bad_scalar_seeds(env_id, seed):
    with pytest.raises(ValueError, match="seed must be a non-negative integer"):
        gym.make(env_id).unwrapped.reset(seed=seed)


def test_numpy_sizes():
    env = gym.make_vec("LDM-AntDir-v0", num_envs=np.int64(2), num_threads=np.array(1))
    assert env.num_envs == 2 and env.num_threads == 1


def test_rendering_without_a_screen_says_which_setting_helps(monkeypatch):
    monkeypatch.setattr(mujoco_opengl, "working_backend", lambda: "egl")
    env = gym.make("LDM-HalfCheetahVel-v0", render_mode="rgb_array")
    env.reset(seed=0)

    def fail(mode):
        raise RuntimeError("gladLoadGL error")

    monkeypatch.setattr(env.unwrapped.mujoco_renderer, "_get_viewer", fail)
    with pytest.raises(RuntimeError, match=r"MUJOCO_GL=egl before Python.*") as caught:
        env.unwrapped.render()
    assert "gladLoadGL" in str(caught.value) and "\n" not in str(caught.value)
    error = RuntimeError("no display")
    assert "needs a screen" in mujoco_opengl.no_screen_message("human", error)
    monkeypatch.setattr(mujoco_opengl, "working_backend", lambda: None)
    assert "libegl1" in mujoco_opengl.no_screen_message("rgb_array", error)


def test_the_backend_that_is_named_works():
    backend = mujoco_opengl.working_backend()
    if backend is None:
        pytest.skip("no OpenGL without a screen on this machine")
    draw = [sys.executable, "-c", mujoco_opengl._DRAW]
    subprocess.run(draw, env={"MUJOCO_GL": backend, "PATH": ""}, check=True, timeout=60)


def test_triton_is_imported_before_anything_is_drawn(monkeypatch, tmp_path):
    """In the other order, Mesa's LLVM and triton's end the process."""
    (tmp_path / "triton.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "triton", None)  # what is there in the end goes, or comes back
    del sys.modules["triton"]
    env = gym.make("LDM-HalfCheetahVel-v0", render_mode="rgb_array")
    env.reset(seed=0)

    def draw(mode):
        raise RuntimeError(f"triton {'is' if 'triton' in sys.modules else 'is not'} loaded")

    monkeypatch.setattr(env.unwrapped.mujoco_renderer, "_get_viewer", draw)
    monkeypatch.setattr(mujoco_opengl, "working_backend", lambda: "egl")
    with pytest.raises(RuntimeError, match="triton is loaded"):
        env.unwrapped.render()


def test_all_ids_are_registered_without_the_passive_checker():
    for env_id in ldm_envs.ENV_IDS:
        assert gym.spec(env_id).disable_env_checker
