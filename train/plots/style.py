"""Colours and sizes shared by all figures, and how figures are saved."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image
from scipy.spatial import KDTree

from ldm_wrappers.atomic_file import atomic_path

TRAIN, TEST, GOAL, START = "#2b5c9e", "#d1602c", "#1a8a3a", "#222222"
_SPLITS = {
    "train": TRAIN,
    "test": TEST,
    "eval": "#7a4fa3",
    "test1": "#d9a520",
    "test2": "#8e3b6b",
}
_METHODS = {
    "ldm": "#c8322b",
    "rl2": "#2b5c9e",
    "varibad": "#1a8a3a",
    "mixreg": "#8a5a2b",
    "ldm-varibad": "#e8963a",
    "known-task": "#7fd13b",
    "promp": "#7a4fa3",
    "e-maml": "#d16ba5",
    "pearl": "#2aa5a0",
    "mql": "#d9a520",
    "mier": "#5b7fd1",
    "oracle": "#444444",
    "oracle-rl2": "#444444",
    "oracle-varibad": "#9a9a9a",
    "oracle-promp": "#3f2065",
    "oracle-e-maml": "#7d2a55",
}
_OTHER = "#7a4fa3"  # of methods that are not ours
_SHARES = (0.299, 0.587, 0.114)  # of red, green and blue in the brightness of a colour
_SPARE = tuple(
    to_hex(colour)
    for name in ("Dark2", "tab20", "tab20b")
    for colour in colormaps[name].colors  # type: ignore[attr-defined]
    if np.dot(_SHARES, colour) < 0.66  # visible as a line on white
)
_DPI = 130
_STEPS = re.compile(r" total_timesteps=(\d+)")


def split_colour(split: str) -> str:
    """The colour of a split, the same in all figures."""
    return _SPLITS.get(split, "#666666")


def group_colours(methods: Mapping[str, str]) -> dict[str, str]:
    """One colour per group of runs; ``methods`` are those of the groups, by label.

    A method's own colour is for its group with the shortest label, which has the fewest settings
    of its own. Each other group has the spare colour that is farthest from all in the figure.
    """
    plain: dict[str, str] = {}
    for label in sorted(methods, key=len):
        plain.setdefault(_METHODS.get(methods[label], _OTHER), label)
    colours = {label: colour for colour, label in plain.items()}
    for label in methods:
        if label not in colours:
            used = set(colours.values())
            colours[label] = max(_SPARE, key=lambda one: min(_distance(one, two) for two in used))
    return colours


def _distance(one: str, other: str) -> float:
    """How different two colours look: squared, with each channel's share of the brightness."""
    return float(np.dot(_SHARES, np.subtract(to_rgb(one), to_rgb(other)) ** 2))


def figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, without a display or global state."""
    return Figure(figsize=(width, height), layout="constrained")


def group_label(name: str) -> str:
    """The name of a group of runs for a legend, with its number of steps in millions."""
    return _STEPS.sub(lambda found: f" {int(found[1]) / 1e6:.3g} M steps", name)


def without_steps(name: str) -> str:
    """The name of a group of runs without its number of steps."""
    return _STEPS.sub("", name)


def short_labels(labels: Sequence[str], most: int = 8) -> list[str]:
    """Labels of groups, where one with more than ``most`` changed settings shows fewer.

    Runs on an environment without presets may change dozens, which no legend can show. Such a label
    has their number instead, and those in which the groups of its method differ.
    """
    words = [label.split() for label in labels]
    settings = [[word for word in label if "=" in word] for label in words]
    short = []
    for label, own, changed in zip(labels, words, settings, strict=True):
        if len(changed) <= most:
            short.append(label)
            continue
        same_method = [set(other) for other, all_ in zip(settings, words, strict=True)
                       if all_[0] == own[0]]  # fmt: skip
        shared = set.intersection(*same_method)
        differing = [word for word in changed if word not in shared]
        name = [word for word in own if "=" not in word and not word.startswith("(")]
        ending = own[-1:] if own[-1].startswith("(") else []
        n_hidden = len(changed) - len(differing[:most])
        short.append(" ".join([*name, *differing[:most], f"+ {n_hidden} settings", *ending]))
    return short


def legend_beside(
    drawing: Figure, handles: list[Any], labels: list[str], title: str | None = None
) -> None:
    """Draw a legend to the right of all panels; long labels are shortened and broken into lines."""
    broken = [textwrap.fill(group_label(label), 26) for label in short_labels(labels)]
    drawing.legend(handles, broken, fontsize=8, loc="outside right upper", title=title)


def save(drawing: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically, with 256 colours, for a third of the size."""
    pixels = io.BytesIO()
    drawing.savefig(pixels, format="png", dpi=_DPI)
    lines = {to_rgb(line.get_color()) for axes in drawing.axes for line in axes.lines}
    picture = _with_256_colours(Image.open(pixels).convert("RGB"), sorted(lines))
    with atomic_path(path) as temporary:
        picture.save(temporary, format="png", optimize=True)
    return path


def _with_256_colours(
    picture: Image.Image, lines: Sequence[tuple[float, float, float]]
) -> Image.Image:
    """Give each pixel the nearest colour of a palette with those of all lines and typical others.

    A line that others nearly cover would get the colour of another one without the first, and
    bands those of other methods without k-means.
    """
    kept = np.round(255 * np.array(lines[:128]).reshape(-1, 3)).astype(np.uint8)
    n = 256 - len(kept)
    enough = picture.width * picture.height // 1000  # pixels that the last step of k-means moves
    typical = picture.quantize(n, Image.Quantize.MAXCOVERAGE, kmeans=enough).getpalette() or []
    palette = np.concatenate([kept, np.array(typical[: 3 * n], np.uint8).reshape(-1, 3)])
    packed = np.asarray(picture).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found, where = np.unique(packed, return_inverse=True)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)
    _, nearest = KDTree(palette).query(colours)  # Pillow's own search makes white slightly grey
    result = Image.fromarray(nearest.astype(np.uint8)[where].reshape(packed.shape))
    result.putpalette(palette.tobytes())
    return result


def tidy(axes: Axes) -> None:
    """Draw a light grid, and remove the frame on sides without an axis."""
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plot_line(axes: Axes, xs: np.ndarray, ys: np.ndarray, **style: Any) -> None:
    """Draw a curve over steps, or a dot if it has only one point.

    Shorter curves are drawn above longer ones, which may begin with the same points.
    """
    if len(xs) == 1:
        style |= {"marker": "o", "markersize": 4}
    style.setdefault("zorder", 2 + 1 / (1 + max(xs, default=0.0)))
    axes.plot(xs, ys, **style)


def step_unit(largest: float) -> tuple[float, str]:
    """Scale and label of an axis of environment steps."""
    if largest >= 1e6:
        return 1e6, "environment steps (millions)"
    if largest >= 1e4:
        return 1e3, "environment steps (thousands)"
    return 1.0, "environment steps"


def task_name(task: np.ndarray) -> str:
    """A task's components as text."""
    return ", ".join(f"{value:.3g}" for value in task)
