"""Train MIER: identify a context by gradient steps on a reward model, and condition SAC on it.

    python train/mier.py --env-id LDM-HalfCheetahVel-v0 --seed 0

Mendonca et al. (arXiv 2006.07178). With ``--relabel-updates`` it adapts its weights at test time.
Its parts are in ``train/off_policy``: the model and the gradient steps on the context
(``context_model.py``), training and relabelling (``mier.py``), SAC (``sac.py``), replay per train
task (``replay.py``) and episodes on pinned tasks (``collection.py``). The loop around them is in
``train/common/training.py``. Every setting is a flag whose default comes from the preset
(``train/config/presets``).
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from train.common import training
from train.config.off_policy import MierSettings as Settings
from train.off_policy.mier import MierLearner


def build(config: Settings) -> MierLearner:
    """Build environments, replay, model and SAC of a run, without training anything.

    Raises:
        ValueError: If settings contradict the environment.
    """
    return MierLearner(config)


# Repeat: visit train tasks ▸ gradient steps ▸ evaluation, metrics, checkpoint.
train = partial(training.train, build)
main = partial(training.main, "train.mier", build)


if __name__ == "__main__":
    sys.exit(main())
