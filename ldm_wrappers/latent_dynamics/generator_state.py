"""States of PyTorch's random generators, whose size depends on the kind of device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def check_generator_state(state: Any, generator: torch.Generator) -> None:
    """Raise a ``ValueError`` unless ``state`` (uint8 array or tensor) fits ``generator``.

    PyTorch's generators differ between devices, so a state saved on one cannot be restored on
    another.
    """
    expected = tuple(generator.get_state().shape)
    if np.shape(state) != expected:
        raise ValueError(
            f"the saved generator state has shape {np.shape(state)}, expected "
            f"{expected} for {generator.device}: it was saved on another kind of device"
        )
