"""Generators of PyTorch in checkpoints, which are of another kind on another kind of device."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch


def adapt_generators(pairs: Iterable[tuple[torch.Generator, dict[str, Any]]]) -> None:
    """Keep a learner's own generators where the saved ones are of another kind of device.

    Args:
        pairs: Generators, and the saved states that hold theirs under ``generator``; these are
            changed in place.
    """
    changed = False
    for generator, saved in pairs:
        own = generator.get_state().cpu().numpy()
        if np.shape(saved["generator"]) != own.shape:
            saved["generator"], changed = own, True
    if changed:
        print(
            "warning: the checkpoint was made on another kind of device; what is drawn there "
            "(actions, latents, dropout masks) comes from new generators",
            file=sys.stderr,
        )
