"""PyTorch generators in checkpoints, whose states depend on the type of device."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch


def adapt_generators(pairs: Iterable[tuple[torch.Generator, dict[str, Any]]]) -> None:
    """Keep a learner's own generators if the saved ones are of another type of device.

    Args:
        pairs: Generators, and the saved states that contain theirs under ``generator``; the states
            are changed in place.
    """
    changed = False
    for generator, saved in pairs:
        own = generator.get_state().cpu().numpy()
        if np.shape(saved["generator"]) != own.shape:
            saved["generator"], changed = own, True
    if changed:
        print(
            "warning: the checkpoint was made on another type of device; random numbers of the "
            "device (actions, latents, dropout masks) come from new generators",
            file=sys.stderr,
        )
