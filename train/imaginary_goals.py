"""Show where the goals of a run's imaginary tasks lie, for several β (appendix C of the paper).

python -m train.imaginary_goals runs/LDM-AntGoal-v0-ldm-seed0

For runs on a grid or on a MuJoCo family. Beliefs at the end of train tasks are mixed with each β.
The goal of such a task is the place at which the decoder, without dropout, predicts the highest
reward for staying there; on HalfCheetahVel the velocity, and on AntDir the heading at 1 m/s, with
the highest reward for a body in its initial posture.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ldm_wrappers import DirichletMixture
from ldm_wrappers.imaginary_reward import FEW
from ldm_wrappers.imagination import SavedBeliefs
from ldm_wrappers.latent_dynamics.model import LatentDynamics
from train.analysis.tables import write_csv
from train.common.artifacts import RunContents
from train.common.env_source import EnvSource
from train.common.parts import saved_mixture
from train.common.places import CELLS, Places
from train.common.stopping import report_errors
from train.common.velocities import Velocities
from train.config.methods import get_method
from train.persistence.files import require_folder
from train.persistence.run_folder import RunFolder
from train.plots.goal_maps import GoalMap, Probes, goal_maps, plot_goal_maps
from train.plots.velocity_maps import plot_velocity_maps

_BETAS = [1.0, 1.5, 2.0, 2.5]


def measure(
    folder: RunFolder, probes: Probes, betas: list[float], n_mixtures: int
) -> tuple[list[GoalMap], int | None]:
    """The maps of a run for its own mixture scheme, with its β replaced by each of ``betas``.

    A run without imaginary tasks has no scheme, so a few of its beliefs are mixed instead.

    Returns:
        A map per β, and the number of steps after which the run saved its beliefs: early ones say
        little. ``None`` if the run's files were written by an older version and do not tell.

    Raises:
        StateFileError: If the run left no latent dynamics model or no beliefs, or they are damaged
            or were not saved at the same time.
        ValueError: If the run's method has no latent dynamics model.
    """
    if not get_method(folder.config.method).has_latent_dynamics:
        raise ValueError(
            f"{folder.path}: method {folder.config.method} has no latent dynamics model to imagine "
            "goals with; expected a run of ldm, varibad or ldm-varibad"
        )
    contents = RunContents(folder)
    for stem in ("latent_dynamics", "beliefs"):
        _ = contents[stem]  # raises if not of this run, or saved at different steps
    model = LatentDynamics.load(folder.artifact("latent_dynamics"))
    beliefs = SavedBeliefs.load(folder.artifact("beliefs"))
    n_beliefs = beliefs.n_beliefs
    mixture = DirichletMixture(n_components=min(FEW, n_beliefs))
    if get_method(folder.config.method).imaginary:
        mixture = saved_mixture(folder.config, n_beliefs)
    maps = goal_maps(model, beliefs, mixture, probes, betas, n_mixtures=n_mixtures)
    return maps, contents.timesteps


def run_names(folders: list[RunFolder]) -> list[str]:
    """Distinct names for runs: those of their folders, or the paths if two names are equal.

    Raises:
        ValueError: If a run is given twice.
    """
    paths = [folder.path.resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise ValueError(f"expected each run once, got {' '.join(map(str, paths))}")
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def main(arguments: list[str] | None = None) -> int:
    """Measure runs, write ``imaginary_goals.csv`` and ``.png``, and print where the goals lie."""
    flags = argparse.ArgumentParser(
        prog="python -m train.imaginary_goals", description=__doc__.split("\n")[0]
    )
    flags.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    flags.add_argument(
        "--betas", nargs="+", action="extend", type=float, help="default 1, 1.5, 2 and 2.5"
    )
    flags.add_argument("--mixtures", type=int, default=200, help="mixtures per β (default 200)")
    flags.add_argument(
        "--out", type=Path, default=None, help="default: evaluation/ of the first run"
    )
    given = flags.parse_args(arguments)
    with report_errors():
        if given.mixtures < 1:
            raise ValueError(f"--mixtures must be at least 1, got {given.mixtures}")
        if given.out is not None:
            require_folder("--out", given.out)
        folders = [RunFolder.open(path) for path in given.runs]
        config = folders[0].config
        source = EnvSource.of(config)
        if any(EnvSource.of(folder.config) != source for folder in folders):
            raise ValueError("expected runs of one environment, which share a figure; got several")
        probes: Probes | None = Places.of(source) or Velocities.of(source)
        if probes is None:
            raise ValueError(
                f"{folders[0].path}: tasks of {config.env_id} are neither goals at positions that "
                "it observes nor velocities; expected AntGoal, AntDir, HalfCheetahVel, or a grid "
                f"whose tasks have the components {CELLS}"
            )
        splits = probes.splits(source.facts().distribution)
        runs, rows = {}, []
        betas = list(dict.fromkeys(given.betas or _BETAS))
        for name, folder in zip(run_names(folders), folders, strict=True):
            runs[name], steps = measure(folder, probes, betas, given.mixtures)
            print(f"{folder.path}:" if steps is None else f"{folder.path}, after {steps:,} steps:")
            for found in runs[name]:
                rows += [{"run": name, **row} for row in found.rows(probes, splits)]
                print(f"  {found.describe(probes, splits)}")
        out = given.out or folders[0].path / "evaluation"
        print(write_csv(out / "imaginary_goals.csv", rows))
        picture = out / "imaginary_goals.png"
        if isinstance(probes, Velocities):
            print(plot_velocity_maps(runs, probes, splits, picture))
        else:
            print(plot_goal_maps(runs, probes, splits, picture))
    return 0


if __name__ == "__main__":
    sys.exit(main())
