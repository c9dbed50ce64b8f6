"""OpenGL: a backend that works on this machine, and importing triton before it is used."""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys

_BACKENDS = ("egl", "osmesa")
_DRAW = "import mujoco; context = mujoco.GLContext(8, 8); context.make_current(); context.free()"


def load_triton_first() -> None:
    """Import triton, which PyTorch's CUDA builds install, before anything is drawn.

    Triton and Mesa's software renderer each contain LLVM. Once Mesa has drawn, importing triton, as
    PyTorch does with the first optimizer, is a segmentation fault.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")


def no_screen_message(render_mode: str, error: Exception) -> str:
    """A line that says why `render` failed and which setting of `MUJOCO_GL` would help."""
    now = os.environ.get("MUJOCO_GL", "unset")
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    cause = f"MuJoCo cannot draw for render_mode={render_mode!r} with MUJOCO_GL={now} ({reason})"
    if render_mode == "human":
        return f"{cause}; a window needs a screen (DISPLAY), render_mode='rgb_array' does not"
    backend = working_backend()
    if backend is None:
        return (
            f"{cause}; without a screen it needs EGL or OSMesa (Debian: libegl1 or libosmesa6), "
            "and neither works here"
        )
    return f"{cause}; set MUJOCO_GL={backend} before Python starts, which works here"


def working_backend() -> str | None:
    """The first OpenGL backend that draws without a screen, each tried in its own process."""
    for backend in _BACKENDS:
        environment = {**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
        try:
            done = subprocess.run(
                [sys.executable, "-c", _DRAW], env=environment, capture_output=True, timeout=60
            )
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            return backend
    return None
