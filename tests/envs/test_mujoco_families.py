"""The MuJoCo families: Gymnasium's physics, the paper's rewards, ends and pictures."""

from __future__ import annotations

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from ldm_envs.ant import ant_dir_terminated
from ldm_envs.mujoco_family import Physics
from ldm_envs.mujoco_markers import add_to_scene, arrow, disc, sphere

REFERENCE = {
    "LDM-AntDir-v0": "Ant-v5",
    "LDM-AntGoal-v0": "Ant-v5",
    "LDM-HalfCheetahVel-v0": "HalfCheetah-v5",
}


def _reference(mujoco_id: str) -> gym.Env:
    env = gym.make(REFERENCE[mujoco_id]).unwrapped
    env.reset(seed=0)
    return env


def test_physics_and_start_are_gymnasiums(mujoco_id):
    """Same seed with a pinned task: the very start states and steps of Ant-v5, HalfCheetah-v5."""
    env, reference = gym.make(mujoco_id).unwrapped, _reference(mujoco_id)
    task = env.task_distribution["train"].sample(np.random.default_rng(0), 1)[0]
    for seed in (0, 1):
        env.reset(seed=seed, options={"task": task})
        reference.reset(seed=seed)
        rng = np.random.default_rng(seed)
        for _ in range(100):
            assert np.array_equal(env.data.qpos, reference.data.qpos)
            assert np.array_equal(env.data.qvel, reference.data.qvel)
            assert np.array_equal(env.data.xpos, reference.data.xpos)
            action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            env.step(action)
            reference.step(action)
    assert env.dt == reference.dt == 0.05
    assert env.action_space == reference.action_space
    qpos, qvel = reference.data.qpos.copy(), reference.data.qvel.copy()
    env.set_state(qpos, qvel)  # Gymnasium's own way to place the robot still works
    assert np.array_equal(env.data.qpos, qpos) and np.array_equal(env.data.qvel, qvel)


def _rollout(mujoco_id: str, steps: int = 60):
    """(obs, action, reward, info, reference env, reference info) along a random walk."""
    env, reference = gym.make(mujoco_id).unwrapped, _reference(mujoco_id)
    sets = env.task_distribution
    rng = np.random.default_rng(5)
    for split in ("train", "test"):
        task = sets[split].sample(rng, 1)[0]
        env.reset(seed=3, options={"task": task})
        reference.reset(seed=3)
        for _ in range(steps):
            action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            obs, reward, terminated, _, info = env.step(action)
            expected_info = reference.step(action)[4]
            yield (
                task.astype(float),
                obs,
                action.astype(float),
                reward,
                terminated,
                info,
                (
                    reference,
                    expected_info,
                ),
            )


def test_ant_dir_reward_and_observation():
    for task, obs, action, reward, _, info, (reference, expected) in _rollout("LDM-AntDir-v0"):
        along = expected["x_velocity"] * np.cos(task[0]) + expected["y_velocity"] * np.sin(task[0])
        assert reward == pytest.approx(along - 0.5 * (action**2).sum() + 1, abs=1e-9)
        assert np.array_equal(obs, np.r_[reference.data.qpos[2:], reference.data.qvel])
        for key in ("x_position", "y_position", "x_velocity", "y_velocity"):
            assert info[key] == expected[key]


def test_ant_goal_reward_and_observation():
    for task, obs, action, reward, terminated, _, (reference, _) in _rollout("LDM-AntGoal-v0"):
        goal = task[0] * np.array([np.cos(task[1]), np.sin(task[1])])
        expected = -np.abs(obs[:2] - goal).sum() - 0.1 * (action**2).sum()
        assert reward == pytest.approx(expected, abs=1e-9)
        assert np.array_equal(obs, np.r_[reference.data.qpos, reference.data.qvel])
        assert not terminated


def test_half_cheetah_vel_reward_and_observation():
    for task, obs, action, reward, terminated, info, (reference, expected) in _rollout(
        "LDM-HalfCheetahVel-v0"
    ):
        velocity = expected["x_velocity"]
        wanted = -abs(velocity - task[0]) - 0.05 * (action**2).sum()
        assert reward == pytest.approx(wanted, abs=1e-9)
        torso = reference.data.body("torso").xpos
        assert np.array_equal(obs, np.r_[reference.data.qpos[1:], reference.data.qvel, torso])
        assert info["x_velocity"] == velocity and info["x_position"] == expected["x_position"]
        assert not terminated


def test_ant_dir_ends_outside_the_healthy_heights():
    env = gym.make("LDM-AntDir-v0").unwrapped
    for height, over in ((0.75, False), (1.6, True)):
        env.reset(seed=0)
        qpos, qvel = env.init_qpos.copy(), env.init_qvel.copy()
        qpos[2] = height
        env.set_state(qpos, qvel)
        assert env.step(np.zeros(8, np.float32))[2] is over

    qpos = np.zeros((5, 15))
    qpos[:, 2] = (0.19, 0.2, 1.0, 1.01, np.nan)
    ends = ant_dir_terminated(Physics(qpos, np.zeros((5, 14)), np.zeros((5, 14, 3))))
    assert ends.tolist() == [True, False, False, True, True]


@pytest.mark.parametrize("go_back", [False, True])
def test_diverged_simulation_is_an_error(mujoco_id, go_back):
    env = gym.make(mujoco_id).unwrapped
    env.reset(seed=0)
    for value in (np.nan, 1e20):
        good, state = env.get_state(), env.get_state()
        state["physics"]["state"][8] = value
        env.set_state(state)
        with pytest.raises(FloatingPointError, match="diverged"):
            env.step(np.zeros(env.action_space.shape, np.float32))
        if go_back:  # what MuJoCo has counted is not held against a good state
            env.set_state(good)
        else:
            env.reset(seed=0)
        env.step(np.zeros(env.action_space.shape, np.float32))


# ------------------------------------------------------------------ rendering


def test_markers_become_geoms():
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    scene = mujoco.MjvScene(model, maxgeom=3)
    shown = [disc(1, 2, 0.4), sphere((1, 2, 3), 0.1), arrow((0, 0, 1), np.pi / 2, 1.5)]
    for marker in shown:
        add_to_scene(scene, marker)
    with pytest.raises(RuntimeError, match="room for 3 geoms"):
        add_to_scene(scene, shown[0])
    kinds = [scene.geoms[i].type for i in range(3)]
    assert scene.ngeom == 3 and kinds == [
        mujoco.mjtGeom.mjGEOM_CYLINDER,
        mujoco.mjtGeom.mjGEOM_SPHERE,
        mujoco.mjtGeom.mjGEOM_ARROW,
    ]
    assert np.allclose(scene.geoms[0].pos[:2], [1, 2])
    assert np.allclose(scene.geoms[0].size, [0.4, 0.4, 0.01])  # flat
    assert np.allclose(scene.geoms[2].mat[:, 2], [0, 1, 0], atol=1e-6)  # points along +y
    assert np.isclose(np.linalg.det(scene.geoms[2].mat), 1)  # a rotation, not a mirror


def test_markers_show_the_task():
    def markers(env_id, task):
        env = gym.make(env_id).unwrapped
        env.reset(seed=0, options={"task": task})
        return env.markers()

    goal = markers("LDM-AntGoal-v0", [2.0, np.pi / 2])
    assert all(np.allclose(one["pos"][:2], [0, 2], atol=1e-6) for one in goal)
    heading = markers("LDM-AntDir-v0", [np.pi])[0]
    assert np.allclose(heading["mat"].reshape(3, 3)[:, 2], [-1, 0, 0], atol=1e-6)
    slow, fast = (markers("LDM-HalfCheetahVel-v0", [v])[0] for v in (1.0, 3.0))
    assert fast["size"][2] == pytest.approx(3 * slow["size"][2])
    assert np.allclose(fast["mat"].reshape(3, 3)[:, 2], [1, 0, 0], atol=1e-6)


class _Viewer:
    def __init__(self):
        self._markers = []
        self.scn = None
        self.cam = mujoco.MjvCamera()

    def add_marker(self, **marker):
        self._markers.append(marker)


class _Renderer:
    def __init__(self):
        self.viewer = _Viewer()

    def _get_viewer(self, render_mode):
        return self.viewer

    def render(self, render_mode):
        return len(self.viewer._markers)

    def close(self):
        pass


def test_render_hands_the_markers_to_gymnasiums_viewer(mujoco_id):
    env = gym.make(mujoco_id, render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    env.mujoco_renderer = _Renderer()
    count = len(env.markers())
    assert count >= 1 and [env.render() for _ in range(3)] == [count] * 3  # they do not pile up


def test_frames_show_the_task(mujoco_id):
    env = gym.make(mujoco_id, render_mode="rgb_array", width=128, height=96)
    sets = env.unwrapped.task_distribution
    frames = []
    for split in ("train", "test"):
        env.reset(seed=0, options={"task": sets[split].sample(np.random.default_rng(1), 1)[0]})
        try:
            frames.append(env.render())
        except Exception as error:  # whatever a missing OpenGL says
            pytest.skip(f"no OpenGL here: {type(error).__name__}: {error}")
    assert frames[0].shape == (96, 128, 3) and frames[0].dtype == np.uint8
    assert not np.array_equal(*frames)  # same robot, other task
    env.close()


def test_camera_arguments(mujoco_id):
    def frame(**kwargs):
        env = gym.make(mujoco_id, render_mode="rgb_array", width=64, height=64, **kwargs)
        env.reset(seed=0)
        try:
            return env.render()
        except Exception as error:
            pytest.skip(f"no OpenGL here: {type(error).__name__}: {error}")
        finally:
            env.close()

    own = frame()
    assert np.array_equal(frame(camera_id=0), frame(camera_name="track"))
    assert not np.array_equal(own, frame(camera_id=0))
