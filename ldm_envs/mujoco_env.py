"""The scalar MuJoCo environment: Gymnasium's `MujocoEnv` with a family and a hidden task."""

from __future__ import annotations

import functools
import operator
from typing import Any

import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.envs.mujoco.mujoco_env import DEFAULT_SIZE
from numpy.typing import NDArray

from ldm_envs.arguments import (
    check_arguments_known,
    check_render_mode,
    own_spaces,
    rebuild,
    require_render_mode,
)
from ldm_envs.mujoco_family import (
    DIVERGENCE_WARNINGS,
    TORSO,
    MujocoFamily,
    Physics,
    check_action,
    check_state,
    is_sane,
)
from ldm_envs.mujoco_markers import Marker, add_to_scene
from ldm_envs.mujoco_opengl import load_triton_first, no_screen_message
from ldm_envs.task_env import TaskEnv

FREE_CAMERA = -1
_INTEGRATION_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class MujocoTaskEnv(TaskEnv[NDArray[np.float64], NDArray[np.float64]], MujocoEnv):
    """Base of the scalar MuJoCo environments; a family fills in the class attributes.

    Args:
        split: Task set that tasks are drawn from.
        render_mode: One of `metadata["render_modes"]`, or None. Frames show the task.
        width, height: Size of a frame in pixels.
        camera_id, camera_name: A camera of the model, instead of the family's own view.

    Raises:
        ValueError: For an unknown split or render mode.
    """

    metadata = {
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
        "render_fps": 20,
    }
    family: MujocoFamily
    camera: dict[str, Any]
    camera_follows_torso: bool

    def __init__(
        self,
        split: str = "train",
        render_mode: str | None = None,
        width: int = DEFAULT_SIZE,
        height: int = DEFAULT_SIZE,
        camera_id: int | None = None,
        camera_name: str | None = None,
    ) -> None:
        self._set_split(split)
        check_render_mode(render_mode, self.metadata["render_modes"])
        self._kwargs: dict[str, Any] = {
            "split": split,
            "render_mode": render_mode,
            "width": width,
            "height": height,
            "camera_id": camera_id,
            "camera_name": camera_name,
        }
        self._own_view = camera_id is None and camera_name is None
        MujocoEnv.__init__(
            self,
            self.family.model_file,
            self.family.frame_skip,
            self.family.observation_space(),
            render_mode=render_mode,
            width=width,
            height=height,
            # None is the model's camera "track" in older releases of Gymnasium.
            camera_id=FREE_CAMERA if self._own_view else camera_id,
            camera_name=camera_name,
            default_camera_config=self.camera,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        self._begin_episode(seed, options)
        mujoco.mj_resetData(self.model, self.data)
        start = self.family.start_state(self.np_random, self.init_qpos, self.init_qvel)
        MujocoEnv.set_state(self, *start)
        if self.render_mode == "human":
            self.render()
        return self.family.observation(self._physics()), self._start_info()

    def step(  # type: ignore[override]
        self, action: Any
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Take a step; ValueError for a bad action, FloatingPointError if the simulation diverged.

        MuJoCo silently resets a simulation with a non-finite or huge state. The state after
        that is not an outcome of the action, so it is not returned as one.
        """
        task = self._current_task()
        control = check_action(action, self.action_space, "an action")
        before = self.family.tracked(self._physics()).copy()
        self.do_simulation(control, self.frame_skip)
        physics = self._physics()
        reset_by_mujoco = any(self.data.warning[kind].number for kind in DIVERGENCE_WARNINGS)
        if reset_by_mujoco or not (is_sane(physics.qpos) and is_sane(physics.qvel)):
            self._started = False
            raise FloatingPointError(
                f"The simulation diverged at time {self.data.time:.2f} s (task {task.tolist()}): "
                "MuJoCo met a non-finite or huge state; call reset()"
            )
        terms, velocities = self.family.outcome(physics, before, self.dt, control, task)
        rewards = {name: float(term) for name, term in terms.items()}
        info = self._start_info()
        info.update(rewards)
        info.update({name: float(value) for name, value in velocities.items()})
        if self.render_mode == "human":
            self.render()
        # In the order of the batch; from Python 3.12 on, sum() of floats rounds differently.
        reward = functools.reduce(operator.add, rewards.values())
        terminated = bool(self.family.terminated(physics))
        return self.family.observation(physics), reward, terminated, False, info

    def render(self) -> Any:
        """Like Gymnasium's `MujocoEnv.render`, with the task drawn into the scene."""
        self._current_task()
        mode = require_render_mode(self.render_mode, self.metadata["render_modes"])
        viewer = self._viewer(mode)
        viewer._markers.clear()  # the offscreen viewer does not clear them
        viewer._add_marker_to_scene = functools.partial(add_to_scene, viewer.scn)
        for marker in self.markers():
            viewer.add_marker(**marker)
        if self._own_view and self.camera_follows_torso:
            viewer.cam.lookat[:2] = self.data.xpos[TORSO, :2]
        return self.mujoco_renderer.render(mode)

    def _viewer(self, render_mode: str) -> Any:
        """Gymnasium's viewer; a RuntimeError that says what to do if it cannot be created."""
        load_triton_first()
        try:
            return self.mujoco_renderer._get_viewer(render_mode)
        except Exception as error:  # each OpenGL backend fails in its own way
            raise RuntimeError(no_screen_message(render_mode, error)) from error

    def markers(self) -> list[Marker]:
        """The hidden task as geoms to draw into the scene."""
        raise NotImplementedError

    def set_state(self, state: Any, qvel: Any = None) -> None:
        """Continue from a `get_state` dict; or `set_state(qpos, qvel)`, as in Gymnasium."""
        if qvel is not None:
            MujocoEnv.set_state(self, np.asarray(state), np.asarray(qvel))
        else:
            self._restore(state)

    def _physics(self) -> Physics:
        return Physics(self.data.qpos, self.data.qvel, self.data.xpos)

    def _start_info(self) -> dict[str, Any]:
        metrics = self.family.metrics(self._physics())
        return {**self._task_info(), **{name: float(value) for name, value in metrics.items()}}

    def _get_physics(self) -> dict[str, Any]:
        state = np.empty(mujoco.mj_stateSize(self.model, _INTEGRATION_STATE))
        mujoco.mj_getState(self.model, self.data, state, _INTEGRATION_STATE)
        return {"state": state, "xpos": self.data.xpos.copy()}

    def _set_physics(self, physics: dict[str, Any]) -> None:
        size = mujoco.mj_stateSize(self.model, _INTEGRATION_STATE)
        state, xpos = check_state(physics, (size,), self.data.xpos.shape)
        mujoco.mj_resetData(self.model, self.data)
        mujoco.mj_setState(self.model, self.data, state, _INTEGRATION_STATE)
        mujoco.mj_forward(self.model, self.data)  # what rendering reads
        mujoco.mj_setState(self.model, self.data, state, _INTEGRATION_STATE)
        # One substep older than qpos, so it does not follow from the state.
        self.data.xpos[:] = xpos

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy as constructor arguments, spaces and state.

        The renderer and changes to the model's parameters are left out.
        """
        state = self.get_state() if self._started else None
        check_arguments_known(type(self), self._kwargs, "_kwargs")
        spaces = own_spaces(self, "observation_space", "action_space")
        return rebuild, (type(self), self._kwargs, self.spec, state, spaces)
