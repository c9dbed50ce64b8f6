"""States of PyTorch's random generators, whose size tells the kind of device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def check_generator_state(state: Any, generator: torch.Generator) -> None:
    """Raise a ``ValueError`` unless ``state`` (uint8 array or tensor) is one of ``generator``'s.

    PyTorch's generators differ between devices, so a state saved on one cannot be restored on
    another.
    """
    expected = tuple(generator.get_state().shape)
    if np.shape(state) != expected:
        raise ValueError(
            f"the saved generator state has shape {np.shape(state)}, one of {generator.device} has "
            f"{expected}: it was saved on another kind of device"
        )
