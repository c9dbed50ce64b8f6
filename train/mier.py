"""Train MIER: identify a context by gradient steps on a reward model, act by SAC on it.

    python train/mier.py --env-id LDM-HalfCheetahVel-v0 --seed 0

Mendonca et al. (arXiv 2006.07178); with ``--relabel-updates`` it adapts weights at test. Its parts
are in ``train/off_policy``: the model and the context's gradient steps (``context_model.py``),
training and relabelling (``mier.py``), SAC (``sac.py``), replay per train task (``replay.py``) and
episodes on pinned tasks (``collection.py``). The loop around them is ``train/common/training.py``.
Every setting is a flag; its default is the preset's, of ``train/config/presets``.
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
    """Environments, replay, model and SAC of a run; nothing is trained yet.

    Raises:
        ValueError: Settings that contradict the environment.
    """
    return MierLearner(config)


# Visit of train tasks ▸ gradient steps ▸ evaluation, metrics, checkpoint; and again.
train = partial(training.train, build)
main = partial(training.main, "train.mier", build)


if __name__ == "__main__":
    sys.exit(main())
