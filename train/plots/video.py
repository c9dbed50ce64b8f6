"""Videos of the greedy policy, with the hidden task drawn into the scene; no display is needed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from errno import EIO
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ldm_wrappers.atomic_file import atomic_path
from train.common.env_source import EnvSource
from train.common.envs import evaluation_env
from train.common.guard import FiniteCheckWrapper
from train.common.learner import AnyVectorEnv, Learner
from train.common.rollout import EVALUATION_SEED, play

Array = np.ndarray[Any, np.dtype[Any]]
_BACKENDS = ("egl", "osmesa", "glfw")
_PROBE = "import mujoco; mujoco.GLContext(16, 16).make_current()"
_MACRO_BLOCK = 16  # H.264 encodes blocks of this many pixels
_SMALLEST = 384
# a separate palette per film, since the default one dithers white into yellow
_PALETTE = "split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none"
_ENCODINGS: dict[str, dict[str, Any]] = {
    ".mp4": {"output_params": ["-f", "mp4"]},
    ".gif": {
        "output_params": ["-vf", _PALETTE, "-f", "gif"],
        "codec": "gif",
        "pix_fmt_out": "pal8",
    },
}


class RenderingError(ValueError):
    """This machine or environment cannot render."""


def choose_renderer() -> None:
    """Set ``MUJOCO_GL`` to the first backend that works, unless it is already set.

    MuJoCo and dm_control read it when they are imported, Gymnasium when it first renders. Each
    backend is tried in a new process, since PyOpenGL keeps the first one it has loaded.

    Raises:
        RenderingError: If none works.
    """
    chosen = os.environ.get("MUJOCO_GL")
    for backend in (chosen,) if chosen else _BACKENDS:
        environment = {**os.environ, "MUJOCO_GL": backend}
        environment.pop("PYOPENGL_PLATFORM", None)
        tried = subprocess.run([sys.executable, "-c", _PROBE], env=environment, capture_output=True)
        if tried.returncode == 0:
            os.environ["MUJOCO_GL"] = backend
            return
    raise RenderingError(
        f"MuJoCo cannot render here: tried MUJOCO_GL={chosen or ', '.join(_BACKENDS)}; install a "
        "headless OpenGL (Debian and Ubuntu: apt install libegl1 libosmesa6) or set MUJOCO_GL"
    )


def record_video(learner: Learner, task: Array | None, path: Path) -> str:
    """Film one greedy meta-episode.

    Args:
        learner: A loaded run.
        task: float32 (task_dim,); ``None`` for a seeded reset.
        path: File to write, ``.mp4`` or ``.gif``; it appears only once it is complete.

    Returns:
        The returns of its episodes, as text.

    Raises:
        RenderingError: If the environment cannot be rendered here.
        OSError: If the film cannot be written; an older file of this name is left as it is.
    """
    config = learner.config
    source = EnvSource.of(config)
    plain = source.make()
    modes, needs_gl = plain.metadata.get("render_modes", []), isinstance(plain.unwrapped, MujocoEnv)
    plain.close()
    if "rgb_array" not in modes:
        raise RenderingError(f"{config.env_id} cannot draw frames: its render modes are {modes}")
    if needs_gl:
        choose_renderer()
    if not source.takes("render_mode"):
        raise RenderingError(
            f"{config.env_id} cannot draw frames: the function takes no argument render_mode; "
            'expected one like make(split="train", render_mode=None), which hands it on to '
            "gym.make or to the environment's class"
        )
    try:
        inner = source.make(render_mode="rgb_array")
    except ValueError as error:
        raise RenderingError(f"{config.env_id} cannot draw frames: {error}") from error
    batch = SyncVectorEnv([lambda: inner], autoreset_mode=AutoresetMode.DISABLED)
    camera = _Camera(FiniteCheckWrapper(batch), inner)
    env = evaluation_env(learner, camera)
    fps = int(inner.metadata.get("render_fps", 20))
    scores: list[float] = []
    try:
        frames = _frames(learner, env, camera, task, scores)
        first = next(frames)
        with atomic_path(path) as temporary:
            writer = imageio_ffmpeg.write_frames(
                str(temporary), first.shape[1::-1], fps=fps, macro_block_size=_MACRO_BLOCK,
                ffmpeg_log_level="error", **_ENCODINGS[path.suffix],
            )  # fmt: skip
            writer.send(None)
            writer.send(first)
            n_frames = 1
            for frame in frames:
                writer.send(frame)
                n_frames += 1
            writer.close()
            _check_film(temporary, n_frames)
    finally:
        env.close()
    return ", ".join(f"{score:.1f}" for score in scores)


def _check_film(path: Path, n_frames: int) -> None:
    """Raise an ``OSError`` unless a film has all frames, since ffmpeg's failures go unnoticed."""
    # imageio's count_frames passes stdin to ffmpeg, which would be stopped as a background job
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "null", "-"]
    read = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    counts = re.findall(rb"frame= *(\d+)", read.stderr)
    found = int(counts[-1]) if counts and read.returncode == 0 else 0
    if found < n_frames:
        raise OSError(
            EIO, f"ffmpeg wrote only {found} of {n_frames} frames (is the disk full?)", str(path)
        )


class _Camera(VectorWrapper):
    """Keeps the frame after the latest step, inside the wrapper that resets finished episodes.

    Args:
        env: A vector environment with one environment.
        filmed: That environment.
    """

    def __init__(self, env: AnyVectorEnv, filmed: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.filmed = filmed
        self.frames: list[Array] = []  # of the reset and of the latest step
        self.fresh = True

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        result = self.env.reset(seed=seed, options=options)
        if options is None or "reset_mask" not in options:
            self.frames = [self._frame()]
        elif options.get("keep_task"):  # the next start replaces an episode's last frame
            self.frames[-1] = self._frame()
        return result

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        result = self.env.step(actions)
        self.frames[1:] = [self._frame()]
        return result

    def _frame(self) -> Array:
        """What is seen now, (height, width, 3)."""
        try:
            frame = np.asarray(self.filmed.render())
        except Exception as error:  # whatever a graphics library raises where it has no screen
            text = f"{type(error).__name__}: {error}".rstrip(": ")
            raise RenderingError(f"{self.filmed} cannot draw frames: {text}") from error
        if frame.ndim != 3 or frame.shape[2] != 3:
            raise RenderingError(
                f"{self.filmed} cannot draw frames: render() returned an array of shape "
                f"{frame.shape}, expected (height, width, 3)"
            )
        return frame


def _frames(
    learner: Learner, env: AnyVectorEnv, camera: _Camera, task: Array | None, scores: list[float]
) -> Iterator[Array]:
    """Frames of a meta-episode; ``scores`` receives the return of each inner episode."""
    options = None if task is None else {"task": np.asarray(task, np.float32)}
    caption, score, length = _Caption(learner.config.n_episodes), 0.0, 0
    for step in play(env, learner.actor(), seed=EVALUATION_SEED, options=options):
        episode, over = int(step.episode[0]), bool(step.ended[0])
        score, length = score + float(step.rewards[0]), length + 1
        restarted = not over and int(step.infos["episode_index"][0]) != episode
        if restarted or over:
            scores.append(score)
        if restarted:
            episode, score, length = episode + 1, 0.0, 0
        first, latest = camera.frames[0], camera.frames[-1]
        if camera.fresh:  # first the frame of the reset
            camera.fresh = False
            yield caption.on(first, 0, 0, 0.0)
        yield caption.on(latest, episode, length, score)


class _Caption:
    """Enlarges small frames and adds a line of text below."""

    def __init__(self, n_episodes: int) -> None:
        self.n_episodes = n_episodes

    def on(self, frame: Array, episode: int, step: int, score: float) -> Array:
        """The frame with its caption; width and height are multiples of macro blocks."""
        factor = max(1, -(-_SMALLEST // frame.shape[1]))
        frame = frame.repeat(factor, axis=0).repeat(factor, axis=1)
        text = f"episode {episode + 1} of {self.n_episodes}   step {step}   return {score:.1f}"
        height, width = frame.shape[:2]
        rows = 2 * _MACRO_BLOCK + -height % _MACRO_BLOCK
        full = np.full((height + rows, width + -width % _MACRO_BLOCK, 3), 255, np.uint8)
        full[:height, :width] = frame
        full[height:] = _text(text, full.shape[1], rows)
        return full


def _text(text: str, width: int, height: int) -> Array:
    """A line of text as an image (height, width, 3)."""
    drawing = Figure(figsize=(width / 100, height / 100), dpi=100)
    canvas = FigureCanvasAgg(drawing)
    drawing.text(0.02, 0.5, text, va="center", fontsize=9, family="monospace")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:height, :width, :3]
