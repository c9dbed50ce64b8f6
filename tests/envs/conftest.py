"""Environment tests: choose an OpenGL that works without a screen, before mujoco is imported."""

from __future__ import annotations

import os
from ctypes.util import find_library

import pytest


def _choose_gl() -> None:
    if "MUJOCO_GL" in os.environ or os.environ.get("DISPLAY"):
        return
    # OSMesa draws in software and so needs no device; EGL may be there without one.
    for name, library in (("osmesa", "OSMesa"), ("egl", "EGL")):
        if find_library(library):
            os.environ["MUJOCO_GL"] = name
            os.environ.setdefault("PYOPENGL_PLATFORM", name)
            return


_choose_gl()
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame windows without a screen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take `env_id` run over every registered id: a new family is tested for free."""
    import ldm_envs

    if "env_id" in metafunc.fixturenames:
        metafunc.parametrize("env_id", ldm_envs.ENV_IDS)
    if "mujoco_id" in metafunc.fixturenames:
        import gymnasium as gym

        import ldm_envs.mujoco_vector

        chosen = []
        for one in ldm_envs.ENV_IDS:
            module, name = str(gym.spec(one).vector_entry_point).split(":")
            cls = getattr(__import__(module, fromlist=[name]), name)
            if issubclass(cls, ldm_envs.mujoco_vector.MujocoVectorEnv):
                chosen.append(one)
        metafunc.parametrize("mujoco_id", chosen)
