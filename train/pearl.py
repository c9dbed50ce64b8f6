"""Train PEARL: infer a latent of the hidden task from context, and condition SAC on it.

    python train/pearl.py --env-id LDM-HalfCheetahVel-v0 --seed 0

Rakelly et al. (arXiv 1903.08254). Its parts are in ``train/off_policy``: the encoder and its losses
(``pearl.py``), SAC (``sac.py``), replay per train task (``replay.py``) and episodes on pinned tasks
(``collection.py``). The loop around them is in ``train/common/training.py``. Every setting is a
flag whose default comes from the preset (``train/config/presets``).
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from train.common import training
from train.config.off_policy import PearlSettings as Settings
from train.off_policy.pearl import PearlLearner


def build(config: Settings) -> PearlLearner:
    """Build environments, replay, encoder and SAC of a run, without training anything.

    Raises:
        ValueError: If settings contradict the environment.
    """
    return PearlLearner(config)


# Repeat: visit train tasks ▸ gradient steps ▸ evaluation, metrics, checkpoint.
train = partial(training.train, build)
main = partial(training.main, "train.pearl", build)


if __name__ == "__main__":
    sys.exit(main())
