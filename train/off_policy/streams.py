"""Seeds of the independent random streams of an off-policy run."""

from __future__ import annotations

import numpy as np

# purposes of seeds, so that all streams of a run differ
WEIGHTS, NOISE, DRAWS, ENVS, EVALUATION = range(5)


def stream_seed(seed: int, purpose: int, *index: int) -> int:
    """A different 63-bit seed for each purpose and run."""
    words = np.random.SeedSequence((seed, purpose, *index)).generate_state(2, np.uint32)
    return int(words[0]) | (int(words[1]) & 0x7FFFFFFF) << 32
