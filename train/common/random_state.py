"""Save and restore the global random generators that a training draws from."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.utils import set_random_seed

_GLOBAL = 0x610BA1  # distinguishes this stream of a run's seed


def seed_global_generators(seed: int, iteration: int) -> None:
    """Reseed the global generators for an iteration, for environments that draw from them.

    If every iteration begins this way, they need not be saved for an exact resume.

    Args:
        seed: Seed of the run.
        iteration: Number of the iteration about to begin.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(_GLOBAL, iteration))
    set_random_seed(int(sequence.generate_state(1)[0]))


@contextlib.contextmanager
def global_generators_kept() -> Iterator[None]:
    """Undo what the block draws from the global generators of Python, NumPy and torch's CPU."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def random_state(device: torch.device) -> dict[str, Any]:
    """States of the global generators that a training on ``device`` draws from."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state = {
        "python": [version, list(words), gauss],
        "numpy": [str(kind), np.asarray(keys), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Inverse of :func:`random_state`; on another type of device, as far as it applies."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(torch.from_numpy(state["torch"]))
    if "cuda" in state and device.type == "cuda":
        saved = state["cuda"]
        if isinstance(saved, list):  # older checkpoints contain the states of all GPUs
            saved = saved[device.index or 0]
        torch.cuda.set_rng_state(torch.from_numpy(saved), device)
