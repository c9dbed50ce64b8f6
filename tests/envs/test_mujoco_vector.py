"""The batched MuJoCo engine: backends, threads, processes, divergence, closing."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
import types
import warnings

import gymnasium as gym
import numpy as np
import pytest
from env_helpers import assert_same, sample_actions
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

from ldm_envs import mujoco_batch

needs_mjbatch = pytest.mark.skipif(
    not mujoco_batch.mjbatch_available(), reason="mjbatch is not installed"
)


def _run(env, steps=120):
    results = [env.reset(seed=2)]
    for actions in sample_actions(env, steps):
        results.append(env.step(actions))
    return results


@needs_mjbatch
def test_backends_and_thread_counts_agree(mujoco_id):
    def make(**kwargs):
        return gym.make_vec(
            mujoco_id, num_envs=5, autoreset_mode="NextStep", max_episode_steps=31, **kwargs
        )

    reference = _run(make(backend="serial"))
    for kwargs in ({"num_threads": 1}, {"num_threads": 3}, {"backend": "mjbatch"}):
        assert_same(reference, _run(make(**kwargs)))


@needs_mjbatch
def test_state_moves_between_backends(mujoco_id):
    fast = gym.make_vec(mujoco_id, num_envs=2, backend="mjbatch")
    slow = gym.make_vec(mujoco_id, num_envs=2, backend="serial")
    fast.reset(seed=0)
    actions = sample_actions(fast, 20)
    for one in actions[:10]:
        fast.step(one)
    slow.set_state(fast.get_state())
    for one in actions[10:]:
        assert_same(fast.step(one), slow.step(one))


@needs_mjbatch
def test_backend_argument(mujoco_id):
    kinds = {
        "auto": mujoco_batch.MjbatchPhysics,
        "mjbatch": mujoco_batch.MjbatchPhysics,
        "serial": mujoco_batch.SerialPhysics,
    }
    for backend, kind in kinds.items():
        env = gym.make_vec(mujoco_id, num_envs=1, backend=backend)
        env.reset(seed=0)
        assert type(env._batch) is kind
    with pytest.raises(ValueError, match="'gpu'"):
        gym.make_vec(mujoco_id, num_envs=1, backend="gpu")


def test_without_mjbatch_the_batch_is_serial_and_says_so_once(mujoco_id, monkeypatch):
    real = builtins.__import__

    def without_mjbatch(name, *args, **kwargs):
        if name.split(".")[0] == "mjbatch":
            raise ImportError("No module named 'mjbatch'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_mjbatch)
    caches = (mujoco_batch.mjbatch_obstacle, mujoco_batch._say_why_serial)
    for one in caches:
        one.cache_clear()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                env = gym.make_vec(mujoco_id, num_envs=2)
                env.reset(seed=0, options={"keep_task": np.array([True, False])})
                assert isinstance(env._batch, mujoco_batch.SerialPhysics)
        said = [str(one.message) for one in caught if "mjbatch" in str(one.message)]
        assert len(said) == 1 and "pip install mjbatch" in said[0]
        with pytest.raises(ImportError):
            gym.make_vec(mujoco_id, num_envs=1, backend="mjbatch").reset()
    finally:
        for one in caches:
            one.cache_clear()


@pytest.mark.parametrize("pin", ["mujoco==3.0.1", "mujoco (==3.0.1)", "mujoco == 3.0.1"])
def test_mjbatch_beside_another_mujoco_is_not_used(mujoco_id, monkeypatch, pin):
    """It would end the process from C at the first batch."""
    monkeypatch.setattr(mujoco_batch.metadata, "requires", lambda name: ["numpy", pin])
    monkeypatch.setitem(sys.modules, "mjbatch", types.ModuleType("mjbatch"))
    caches = (mujoco_batch.mjbatch_obstacle, mujoco_batch._say_why_serial)
    for one in caches:
        one.cache_clear()
    try:
        env = gym.make_vec(mujoco_id, num_envs=2)
        with pytest.warns(UserWarning, match=r"built for mujoco 3\.0\.1, but mujoco"):
            env.reset(seed=0)
        assert isinstance(env._batch, mujoco_batch.SerialPhysics)
        with pytest.raises(ImportError, match=r"pip install mujoco==3\.0\.1"):
            gym.make_vec(mujoco_id, num_envs=1, backend="mjbatch").reset()
    finally:
        for one in caches:
            one.cache_clear()


@pytest.mark.parametrize("num_threads", [0, -1, 1.5, "two"])
def test_bad_num_threads(mujoco_id, num_threads):
    with pytest.raises(ValueError) as caught:
        gym.make_vec(mujoco_id, num_envs=1, num_threads=num_threads)
    assert repr(num_threads) in str(caught.value)


def test_num_threads_default_and_limit(mujoco_id):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert gym.make_vec(mujoco_id, num_envs=500).unwrapped.num_threads == min(500, cores)
    assert gym.make_vec(mujoco_id, num_envs=2, num_threads=7).unwrapped.num_threads == 2


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


@needs_mjbatch
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")
def test_close_ends_the_threads(mujoco_id):
    before = _threads()
    env = gym.make_vec(mujoco_id, num_envs=8, num_threads=4)
    assert _threads() == before  # nothing is made before the first reset
    kept = env.reset(seed=0)
    assert _threads() > before
    env.close()
    env.close()
    assert _threads() == before
    with pytest.raises(ClosedEnvironmentError):
        env.reset()
    with pytest.raises((ClosedEnvironmentError, ResetNeeded)):
        env.step(sample_actions(env, 1)[0])
    assert np.isfinite(kept[0]).all()


@pytest.mark.parametrize("kwargs", [{"split": "x"}, {"num_envs": 0}, {"num_threads": 0}])
def test_a_batch_that_was_refused_can_be_closed(mujoco_id, kwargs):
    """Gymnasium before 1.3 closes it in ``__del__``, after the error that says what is wrong."""
    cls = type(gym.make_vec(mujoco_id, num_envs=1).unwrapped)
    env = cls.__new__(cls)
    with pytest.raises(ValueError, match=r"x|0"):
        env.__init__(**kwargs)
    env.close()


def test_a_batch_does_not_render_and_says_what_does(mujoco_id):
    with pytest.raises(ValueError, match=r"got 'rgb_array'.*vectorization_mode='sync'"):
        gym.make_vec(mujoco_id, num_envs=2, render_mode="rgb_array")
    env = gym.make_vec(mujoco_id, num_envs=2, vectorization_mode="sync", render_mode="rgb_array")
    assert env.render_mode == "rgb_array"
    env.close()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20])
@pytest.mark.parametrize("backend", ["auto", "serial"])
def test_divergence_names_env_and_step(mujoco_id, backend, value):
    env = gym.make_vec(mujoco_id, num_envs=4, backend=backend, autoreset_mode="SameStep")
    env.reset(seed=0)
    actions = sample_actions(env, 8)
    for one in actions[:6]:
        env.step(one)
    state = env.get_state()
    state["physics"]["state"][2, 8] = value
    env.set_state(state)
    with pytest.raises(FloatingPointError, match=r"env 2 at step 7 ") as caught:
        env.step(actions[6])
    assert "env 1" not in str(caught.value)
    with pytest.raises(ResetNeeded):  # not a silent reset: the caller must decide
        env.step(actions[7])
    obs, _ = env.reset(seed=0)
    assert np.isfinite(obs).all()
    env.step(actions[7])


def test_rendering_is_left_to_the_scalar_env(mujoco_id):
    with pytest.raises(ValueError, match="rgb_array"):
        gym.make_vec(mujoco_id, num_envs=1, render_mode="rgb_array")


PROCESSES = """
import multiprocessing, sys
import gymnasium as gym, numpy as np
import ldm_envs

def rollout(env):
    out = [env.reset(seed=1)[0]]
    for _ in range(5):
        out.append(env.step(np.full(env.action_space.shape, 0.3, np.float32))[0])
    return np.array(out)

def in_child(env, queue):
    queue.put(rollout(env))

def use_started(env, queue):
    try:
        env.step(np.zeros(env.action_space.shape, np.float32))
    except RuntimeError as error:
        queue.put(str(error))

def ask(method, target, env):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=target, args=(env, queue))
    process.start()
    answer = queue.get(timeout=50)
    process.join(20)
    assert process.exitcode == 0
    return answer

if __name__ == "__main__":
    make = lambda: gym.make_vec("LDM-HalfCheetahVel-v0", num_envs=4, num_threads=2)
    here = rollout(make())
    assert np.array_equal(here, ask("spawn", in_child, make())), "spawn"
    assert np.array_equal(here, ask("fork", in_child, make())), "fork"
    started = make()
    rollout(started)
    assert "process" in ask("fork", use_started, started)
    assert np.array_equal(here, ask("spawn", in_child, started)), "spawn of a started env"
    print("fine")
"""


@needs_mjbatch
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_and_spawned_processes(tmp_path):
    script = tmp_path / "processes.py"
    script.write_text(PROCESSES)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert done.stdout.strip() == "fine", done.stderr


@pytest.mark.parametrize("backend", ["serial", pytest.param("mjbatch", marks=needs_mjbatch)])
def test_a_batch_goes_back_to_a_state_from_before_it_diverged(mujoco_id, backend):
    """What MuJoCo has counted against a simulation is not held against the state."""
    env, twin = (gym.make_vec(mujoco_id, num_envs=3, backend=backend) for _ in range(2))
    env.reset(seed=0), twin.reset(seed=0)
    actions = sample_actions(env, 6)
    for one in actions[:3]:
        env.step(one), twin.step(one)
    good, bad = env.get_state(), env.get_state()
    bad["physics"]["state"][1, 8] = np.nan
    env.set_state(bad)
    with pytest.raises(FloatingPointError, match="env 1"):
        env.step(actions[3])
    env.set_state(good)
    for one in actions[3:]:
        assert_same(env.step(one), twin.step(one))
