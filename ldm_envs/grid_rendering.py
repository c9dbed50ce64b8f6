"""Rendering of a grid world: text, pixels, and a pygame window."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import ArrayLike, NDArray

CELL_PIXELS = 32
LINE_COLOUR = (200, 200, 200)
FLOOR_COLOUR = (255, 255, 255)
START_COLOUR = (225, 232, 245)
GOAL_COLOUR = (92, 184, 92)
AGENT_COLOUR = (51, 102, 187)


def draw_ansi(position: ArrayLike, goal: ArrayLike, size: int) -> str:
    """The grid as text, y upwards: A agent, G goal, * agent on the goal."""
    rows = [["."] * size for _ in range(size)]
    (agent_x, agent_y), (goal_x, goal_y) = _cell(position), _cell(goal)
    rows[goal_y][goal_x] = "G"
    rows[agent_y][agent_x] = "*" if (agent_x, agent_y) == (goal_x, goal_y) else "A"
    return "\n".join(" ".join(row) for row in reversed(rows)) + "\n"


def draw_rgb(position: ArrayLike, goal: ArrayLike, size: int) -> NDArray[np.uint8]:
    """The grid as a uint8 image (size * CELL_PIXELS, size * CELL_PIXELS, 3), y upwards."""
    image = np.empty((size * CELL_PIXELS, size * CELL_PIXELS, 3), dtype=np.uint8)
    image[:] = LINE_COLOUR
    for x in range(size):
        for y in range(size):
            _fill(image, (x, y), size, 1, START_COLOUR if x == y == 0 else FLOOR_COLOUR)
    _fill(image, _cell(goal), size, 2, GOAL_COLOUR)
    _fill(image, _cell(position), size, CELL_PIXELS // 4, AGENT_COLOUR)
    return image


def _cell(point: ArrayLike) -> tuple[int, int]:
    x, y = np.asarray(point)
    return int(x), int(y)


def _fill(
    image: NDArray[np.uint8],
    cell: tuple[int, int],
    size: int,
    margin: int,
    colour: tuple[int, int, int],
) -> None:
    left, top = cell[0] * CELL_PIXELS, (size - 1 - cell[1]) * CELL_PIXELS
    inner = slice(margin, CELL_PIXELS - margin)
    image[top : top + CELL_PIXELS, left : left + CELL_PIXELS][inner, inner] = colour


class Window:
    """A pygame window that shows frames; pygame is imported only here.

    Args:
        title: Caption.
        fps: Frames per second that `show` waits for.

    Raises:
        gymnasium.error.DependencyNotInstalled: If pygame is missing.
    """

    def __init__(self, title: str, fps: int) -> None:
        try:
            import pygame
        except ImportError as error:
            raise DependencyNotInstalled(
                'pygame is not installed, run `pip install "gymnasium[toy-text]"`'
            ) from error
        self._pygame = pygame
        self._title = title
        self._fps = fps
        self._surface: Any = None
        pygame.display.init()
        self._clock = pygame.time.Clock()

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show a uint8 frame (height, width, 3)."""
        pygame = self._pygame
        if self._surface is None:
            pygame.display.set_caption(self._title)
            self._surface = pygame.display.set_mode((frame.shape[1], frame.shape[0]))
        pygame.surfarray.blit_array(self._surface, frame.transpose(1, 0, 2))
        pygame.event.pump()
        pygame.display.update()
        self._clock.tick(self._fps)

    def close(self) -> None:
        self._pygame.display.quit()
