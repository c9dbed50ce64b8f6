"""Figures of many runs: from run folders to small CSV files, and from these to PNG.

python -m train.figures --collect runs/gridworld/runs/* --out results/gridworld
python -m train.figures results/gridworld
python -m train.figures results/gridworld --check

The first command condenses runs into CSV files that can be committed (and draws). The second
draws every figure again from those files alone. The third draws into a temporary folder and
compares with what is there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from train.analysis.aggregate import BUDGET, Run, collect, groups, read_runs, summary_rows
from train.analysis.condense import read_table
from train.analysis.tables import write_csv
from train.common.command_line import report_errors
from train.common.envs import task_distribution
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder
from train.plots.paper_curves import plot_paper_curves
from train.plots.paper_maps import collect_mixtures, plot_paper_maps
from train.plots.paper_tasks import plot_paper_tasks

_DEFAULT = Path("results/gridworld")
_MAIN_ENV = "LDM-GridNavi-v0"
# setting: file name, title
ABLATIONS = {
    "p_drop": ("dropout", "Dropout of the decoder's inputs (appendix E)"),
    "n_mixture_workers": ("worker_ratio", "Number of mixture workers (appendix D)"),
    "beta": ("beta", "Degree of extrapolation β (section 5.1.2)"),
}


def draw(source: Path, out: Path) -> list[Path]:
    """Every figure that the CSV files of ``source`` hold; returns what was written to ``out``."""
    runs = read_runs(source)
    tasks = read_table(source / "tasks.csv")
    written = [write_csv(out / "summary.csv", summary_rows(runs))]
    for env_id in dict.fromkeys(run.row["env_id"] for run in runs):
        own = [run for run in runs if run.row["env_id"] == env_id]
        suffix = (
            "" if env_id == _MAIN_ENV else "_" + env_id.removeprefix("LDM-").removesuffix("-v0")
        )
        compared = {name: r for name, r in groups(own).items() if not ablated(r[0])}
        ablations = {setting: ablation(own, setting) for setting in ABLATIONS}
        if not compared and not any(ablations.values()):  # but one value of an ablation
            compared = groups(own)
        if len(compared) > 1 or not any(ablations.values()):
            path = out / f"figure3{suffix}.png"
            title = "Figure 3: the methods"
            written += plot_paper_curves(compared, path, title)
            path = out / f"first_episode{suffix}.png"
            title = "First episode (appendix F)"
            written += plot_paper_curves(compared, path, title, first_episode=True)
        for setting, (name, title) in ABLATIONS.items():
            values = ablations[setting]
            if not values:
                continue
            written += plot_paper_curves(values, out / f"{name}{suffix}.png", title)
            if _on_grid(env_id):
                figure6 = setting == "beta" and "Extrapolation" in env_id
                path = out / ("figure6.png" if figure6 else f"{name}{suffix}_tasks.png")
                title = "Figure 6: return per task" if figure6 else f"Return per task: {title}"
                written += plot_paper_tasks(values, tasks, path, title)
    if (source / "mixtures.csv").exists():
        written.append(plot_paper_maps(read_csv(source / "mixtures.csv"), out / "figure4.png"))
    return written


def ablated(run: Run) -> str | None:
    """The one setting in which a run differs from its preset, if it is one of the ablations'."""
    own = [name for name in run.overrides if name != BUDGET]
    return own[0] if len(own) == 1 and own[0] in ABLATIONS and run.row["method"] == "ldm" else None


def ablation(runs: list[Run], setting: str) -> dict[str, list[Run]]:
    """LDM runs by value of a setting, all else equal; empty if there is but one value."""
    by_rest: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        rest = " ".join(f"{k}={v}" for k, v in run.overrides.items() if k != setting)
        if run.row["method"] == "ldm":
            by_rest.setdefault((run.row["preset"], rest), []).append(run)
    best: dict[str, list[Run]] = {}
    for members in by_rest.values():
        values: dict[str, list[Run]] = {}
        for run in sorted(members, key=lambda run: float(run.row[setting])):
            values.setdefault(f"{setting} {run.row[setting]}", []).append(run)
        if len(values) > max(len(best), 1):
            best = values
    return best


def _on_grid(env_id: str) -> bool:
    """Whether the tasks are cells of a grid."""
    distribution = task_distribution(env_id)
    tasks = None if distribution is None else distribution["all"].tasks
    return tasks is not None and tasks.shape[1] == 2 and not (tasks % 1).any()


def collect_runs(paths: list[Path], out: Path) -> list[Path]:
    """Write the CSV files of finished or running runs, named after their folders."""
    folders = [RunFolder.open(path) for path in paths]
    names = [folder.path.resolve().name for folder in folders]
    written = collect(zip(names, folders, strict=True), out)
    mixtures = collect_mixtures(list(zip(names, folders, strict=True)))
    if mixtures:
        written.append(write_csv(out / "mixtures.csv", mixtures))
    else:  # of an earlier collection
        (out / "mixtures.csv").unlink(missing_ok=True)
    return written


def check(source: Path) -> int:
    """Draw again and compare with the files of ``source``; the number that differ."""
    with tempfile.TemporaryDirectory() as temporary:
        drawn = draw(source, Path(temporary))
        differing = [path.name for path in drawn if not _same(path, source / path.name)]
        known = {path.name for path in drawn}
        left = [path.name for path in sorted(source.glob("*.png")) if path.name not in known]
    for name in differing:
        print(f"differs from the committed file: {name}")
    for name in left:
        print(f"not drawn from the CSV files: {name}")
    print(f"{len(drawn) - len(differing)} of {len(drawn)} files of {source} drawn again, equal")
    return len(differing) + len(left)


def _same(mine: Path, theirs: Path) -> bool:
    """Equal text, or equal pixels: PNG files may differ in what wrote them."""
    if not theirs.exists():
        return False
    if mine.suffix != ".png":
        return mine.read_bytes() == theirs.read_bytes()
    from matplotlib.image import imread

    read: Callable[[Path], np.ndarray] = imread
    return np.array_equal(read(mine), read(theirs))


def main(arguments: list[str] | None = None) -> int:
    """Collect, draw or check, and say what was written."""
    parser = argparse.ArgumentParser(
        prog="python -m train.figures", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "source", nargs="?", type=Path, help=f"folder of CSV files, default {_DEFAULT}"
    )
    parser.add_argument("--collect", nargs="+", type=Path, metavar="RUN", help="run folders")
    parser.add_argument("--out", type=Path, default=None, help="where to write, default: source")
    parser.add_argument("--check", action="store_true", help="compare with what is there")
    options = parser.parse_args(arguments)
    source = options.source or _DEFAULT
    with report_errors():
        if options.check and options.out and not options.collect:
            raise ValueError("--check compares within one folder: expected no --out beside it")
        if options.collect:
            source = options.out or source
            for path in collect_runs(options.collect, source):
                print(path)
        if not (source / "runs.csv").exists():
            raise ValueError(
                f"{source} holds no runs.csv; make it with --collect RUN… --out {source}"
            )
        if options.check:
            return int(check(source) > 0)
        for path in draw(source, options.out or source):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
