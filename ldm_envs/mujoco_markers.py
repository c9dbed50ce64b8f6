"""Geoms that show a hidden task in a MuJoCo scene.

A `Marker` contains the arguments of `add_marker` of Gymnasium's viewers. `add_to_scene` makes the
geom, since Gymnasium 1.1's own function leaves fields unset: depending on the MuJoCo release, it
draws noise, raises an error or ends the process.
"""

from __future__ import annotations

from typing import TypedDict

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

TASK_COLOUR = (0.9, 0.15, 0.1, 1.0)
STATE_COLOUR = (0.1, 0.4, 0.9, 1.0)


class Marker(TypedDict):
    """One decorative geom: kind, size (3,), position (3,) in metres, rotation (9,), RGBA (4,)."""

    type: mujoco.mjtGeom
    size: NDArray[np.float64]
    pos: NDArray[np.float64]
    mat: NDArray[np.float64]
    rgba: NDArray[np.float32]


def disc(x: float, y: float, radius: float) -> Marker:
    """A flat disc on the ground at (x, y)."""
    size = (radius, 0.01, 0.0)  # radius, half-height
    return _marker(mujoco.mjtGeom.mjGEOM_CYLINDER, size, (x, y, 0.01), np.eye(3), TASK_COLOUR)


def sphere(position: ArrayLike, radius: float) -> Marker:
    """A ball at `position` (3,)."""
    return _marker(mujoco.mjtGeom.mjGEOM_SPHERE, (radius,) * 3, position, np.eye(3), TASK_COLOUR)


def arrow(
    start: ArrayLike, heading: float, length: float, colour: ArrayLike = TASK_COLOUR
) -> Marker:
    """A horizontal arrow from `start` (3,) towards the angle `heading` (radians from +x)."""
    # MuJoCo's arrow points along its local z axis: the columns are local x, y, z in the world.
    cos, sin = np.cos(heading), np.sin(heading)
    rotation = np.array([[0.0, -sin, cos], [0.0, cos, sin], [-1.0, 0.0, 0.0]])
    return _marker(mujoco.mjtGeom.mjGEOM_ARROW, (0.04, 0.04, length), start, rotation, colour)


def add_to_scene(scene: mujoco.MjvScene, marker: Marker) -> None:
    """Append `marker` to the geoms of `scene`; RuntimeError if it is full."""
    if scene.ngeom >= scene.maxgeom:
        raise RuntimeError(f"the scene has room for {scene.maxgeom} geoms, and it is full")
    mujoco.mjv_initGeom(scene.geoms[scene.ngeom], **marker)
    scene.ngeom += 1


def _marker(
    kind: mujoco.mjtGeom, size: ArrayLike, pos: ArrayLike, mat: ArrayLike, colour: ArrayLike
) -> Marker:
    return {
        "type": kind,
        "size": np.array(size, np.float64),
        "pos": np.array(pos, np.float64),
        "mat": np.array(mat, np.float64).flatten(),
        "rgba": np.array(colour, np.float32),
    }
