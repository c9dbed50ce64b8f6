"""Train MQL: TD3 on a context of the recent history, adapted to test tasks with the replay.

    python train/mql.py --env-id LDM-HalfCheetahVel-v0 --seed 0

Fakoor et al., "Meta-Q-Learning" (arXiv 1910.00125). It adapts its weights at test time. Its parts
are in ``train/off_policy``: context and adaptation (``mql.py``), TD3 (``td3.py``), the propensity
of old transitions (``propensity.py``), replay per train task (``replay.py``) and episodes on pinned
tasks (``collection.py``). The loop around them is in ``train/common/training.py``. Every setting is
a flag whose default comes from the preset (``train/config/presets``).
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from train.common import training
from train.config.off_policy import MqlSettings as Settings
from train.off_policy.mql import MqlLearner


def build(config: Settings) -> MqlLearner:
    """Build environments, replay and TD3 of a run, without training anything.

    Raises:
        ValueError: If settings contradict the environment.
    """
    return MqlLearner(config)


# Repeat: visit train tasks ▸ gradient steps ▸ evaluation, metrics, checkpoint.
train = partial(training.train, build)
main = partial(training.main, "train.mql", build)


if __name__ == "__main__":
    sys.exit(main())
