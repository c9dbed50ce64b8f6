"""Train PEARL: infer a latent of the hidden task from context, act by SAC conditioned on it.

    python train/pearl.py --env-id LDM-HalfCheetahVel-v0 --seed 0

Rakelly et al. (arXiv 1903.08254). Its parts are in ``train/off_policy``: the encoder and its losses
(``pearl.py``), SAC (``sac.py``), replay per train task (``replay.py``) and episodes on pinned tasks
(``collection.py``). The loop around them is ``train/common/training.py``. Every setting is a flag;
its default is the preset's, of ``train/config/presets``.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from train.common import training
from train.config.off_policy import PearlSettings as Settings
from train.off_policy.pearl import PearlLearner
from train.persistence.run_folder import RunFolder


def build(config: Settings) -> PearlLearner:
    """Environments, replay, encoder and SAC of a run; nothing is trained yet.

    Raises:
        ValueError: Settings that contradict the environment.
    """
    return PearlLearner(config)


def train(config: Settings, resume: RunFolder | None = None) -> RunFolder:
    """Visit of train tasks ▸ gradient steps ▸ evaluation, metrics, checkpoint; and again."""
    return training.train(config, build, resume)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, train, and say where the results are."""
    return training.main("train.pearl", build, arguments)


if __name__ == "__main__":
    sys.exit(main())
