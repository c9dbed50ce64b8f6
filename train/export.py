"""Export a run's policy as a stable-baselines3 zip file.

python -m train.export runs/LDM-GridNavi-v0-ldm-seed0 policy.zip

The file is for programs that use stable-baselines3's ``load``. For a recurrent policy it refers to
a class of this package, which must be installed there. Like all such files it contains pickles:
loading one runs the code in it, so load only files that you made yourself. A run that normalises
observations also needs its ``VecNormalize`` statistics, which are written next to the file, set up
for evaluation (``training=False``, ``norm_reward=False``; set both to ``True`` to train on).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ldm_wrappers.atomic_file import atomic_path
from ldm_wrappers.sb3.actions import policy_action_space
from train.common.artifacts import load_artifacts
from train.common.env_source import EnvSource
from train.common.on_policy import OnPolicyLearner
from train.common.stopping import report_errors
from train.config.methods import get_method
from train.persistence.run_folder import RunFolder


def export(folder: RunFolder, target: Path) -> list[Path]:
    """Write ``target`` and, if the run normalises, its statistics (suffix ``.vecnormalize.pkl``).

    Raises:
        FileExistsError: If one of the files exists, or ``target`` is a folder.
        StateFileError: If the run is incomplete or damaged.
        ValueError: If the method does not use stable-baselines3.
    """
    if target.is_dir():  # "." has no suffix to replace
        raise FileExistsError(f"{target} is a folder; expected a file, such as policy.zip")
    statistics = target.with_suffix(".vecnormalize.pkl")
    for file in (target, statistics):
        if file.exists():
            raise FileExistsError(f"{file} exists; name another file")
    learner = load_artifacts(folder)
    if not isinstance(learner, OnPolicyLearner):
        learner.close()
        raise ValueError(
            f"{folder.path}: method {folder.config.method} does not use stable-baselines3"
        )
    try:
        # a plain number, since the schedule of a decaying rate is a class of this package
        learner.algorithm.learning_rate = folder.config.learning_rate
        learner.algorithm._setup_lr_schedule()
        with atomic_path(target) as policy:  # appears only with its statistics
            with policy.open("wb") as stream:
                learner.algorithm.save(stream)
            if learner.normalizer is None:
                return [target]
            learner.normalizer.training = learner.normalizer.norm_reward = False
            with atomic_path(statistics) as temporary:
                learner.normalizer.save(str(temporary))
        return [target, statistics]
    finally:
        learner.close()


def shown_by(folder: RunFolder) -> str:
    """Wrappers of ``ldm_wrappers`` that make the observations a run's policy was trained on."""
    method = get_method(folder.config.method)
    if method.observation == "belief":
        model = folder.artifact("latent_dynamics")
        return f"BeliefObservationWrapper with LatentDynamics.load('{model}')"
    return f"{'TaskObservationWrapper, then ' * method.shows_task}RL2ObservationWrapper"


def acted_by(folder: RunFolder) -> str:
    """How to pass the policy's actions to the environment; empty if both spaces are the same."""
    env = EnvSource.of(folder.config).make()
    space = env.action_space
    env.close()
    if policy_action_space(space) == space:
        return ""
    return (
        f"its actions are from {policy_action_space(space)}, those of the environment from {space}:"
        " pass it ldm_wrappers.sb3.actions.environment_actions(env.action_space, action)"
    )


def main(arguments: list[str] | None = None) -> int:
    """Export one run."""
    flags = argparse.ArgumentParser(
        prog="python -m train.export",
        description="Export a run's policy as a stable-baselines3 zip file. Such files hold "
        "pickles: load only your own.",
    )
    flags.add_argument("run", type=Path, metavar="RUN", help="run folder")
    flags.add_argument("target", type=Path, metavar="OUT.zip")
    given = flags.parse_args(arguments)
    with report_errors():
        folder = RunFolder.open(given.run)
        for file in export(folder, given.target):
            print(f"{file} (holds pickles: load only your own)")
        print(f"the policy observes what {shown_by(folder)} shows around MultiEpisodeWrapper")
        if text := acted_by(folder):
            print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
