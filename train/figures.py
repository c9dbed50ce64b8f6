"""Draw figures of many runs: from run folders to small CSV files, and from those to PNG.

python -m train.figures --collect runs/gridworld/runs/* --out results/gridworld
python -m train.figures --add runs/LDM-GridNavi-v0-ldm-seed8 --out results/gridworld
python -m train.figures --merge results/ant_goal results/off_policy --out results/mujoco
python -m train.figures results/gridworld
python -m train.figures results/gridworld --check
python -m train.figures --collect runs/* --until 5000000 --out results/five_million

The first command condenses runs into CSV files that can be committed, and draws the figures. The
second adds runs to these files; the folders of the earlier runs are no longer needed. The third
combines the files of several folders, for figures of runs that were collected apart. The fourth
redraws all figures from the files alone. The fifth draws into a temporary folder and compares the
result with the existing figures. The sixth uses only what the runs had logged up to a common number
of steps, to compare runs of different lengths.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from train.analysis.beliefs import belief_rows, decoded_goal_rows
from train.analysis.collect import collect
from train.analysis.copies import (
    refuse_copied_rows,
    refuse_other_runs,
    refuse_other_tasks,
    warn_of_rows_of_other_commits,
)
from train.analysis.cut import cut_run
from train.analysis.merge import merge
from train.analysis.shown_runs import NO_TABLES, NamedRun, Tables, shown_once
from train.analysis.tables import stored_rows, with_all_columns, write_tables
from train.common.stopping import report_errors
from train.persistence.files import require_folder
from train.persistence.run_folder import RunFolder
from train.plots.paper_maps import collect_mixtures
from train.plots.paper_paths import collect_paths
from train.plots.results_folder import plot_results_folder

Rows = list[dict[str, Any]]
_DEFAULT = Path("results/gridworld")
_TABLES = ("runs", "curves", "tasks", "mixtures", "beliefs", "decoded_goals", "paths")


def collect_runs(paths: list[Path], out: Path, until: int | None = None) -> list[Path]:
    """Write the CSV files of finished or running runs, which are named after their folders.

    With ``until``, only their first ``until`` steps count.
    """
    with _opened(paths, until) as runs:
        # make all tables before writing any, so that a failure leaves the old files as they are
        tables = collect(runs)
        warn_of_rows_of_other_commits(tables["runs"])
        return write_tables(out, {**tables, **_played(runs, tables["runs"], NO_TABLES)})


@contextlib.contextmanager
def _opened(paths: list[Path], until: int | None) -> Iterator[list[NamedRun]]:
    """Runs with the names of their folders, cut at ``until`` steps if given."""
    folders = [RunFolder.open(path) for path in paths]
    names = [folder.path.resolve().name for folder in folders]
    with tempfile.TemporaryDirectory() as temporary:
        if until is not None:
            places = [Path(temporary) / f"{k}" for k in range(len(folders))]
            folders = [cut_run(f, until, p) for f, p in zip(folders, places, strict=True)]
        yield list(zip(names, folders, strict=True))


def _played(runs: list[NamedRun], collected: Rows, kept: Tables) -> dict[str, Rows]:
    """Tables of beliefs and behaviour of the collected runs, given the tables that are kept."""
    names = {row["run"] for row in collected}
    runs = [run for run in runs if run[0] in names]
    return {
        "mixtures": collect_mixtures(runs, kept),
        "beliefs": [row for name, folder in runs for row in belief_rows(name, folder)],
        "decoded_goals": decoded_goal_rows(runs, kept),
        "paths": collect_paths(runs, kept),
    }


def add_runs(paths: list[Path], out: Path, until: int | None = None) -> list[Path]:
    """Like :func:`collect_runs`, but keep the rows of other runs; those of these are replaced.

    Raises:
        ValueError: If a run has the same settings and seed as another run, the same settings but
            other tasks, or the same name but other settings; or if a table of the other runs is
            missing or damaged.
    """
    before = {name: stored_rows(out / f"{name}.csv") for name in _TABLES}
    for name in ("curves", "tasks"):
        if before["runs"] and not before[name]:
            raise ValueError(f"{out} has a runs.csv, but {name}.csv has no rows of its runs")
    with _opened(paths, until) as runs:
        fresh = collect(runs)
        names = {row["run"] for row in fresh["runs"]}
        kept = {
            name: [row for row in rows if row.get("run") not in names]
            for name, rows in before.items()
        }
        refuse_other_runs(before["runs"], fresh["runs"])
        refuse_copied_rows(kept["runs"] + fresh["runs"])
        refuse_other_tasks(kept["runs"] + fresh["runs"], kept["tasks"] + fresh["tasks"])
        fresh |= _played(runs, fresh["runs"], kept)  # takes minutes, so after all checks
    known = kept["runs"] + fresh["runs"]
    warn_of_rows_of_other_commits(known)
    tables = {
        name: with_all_columns(shown_once(name, kept[name] + fresh[name], known))
        for name in _TABLES
    }
    return write_tables(out, tables)


def merge_folders(folders: list[Path], out: Path) -> list[Path]:
    """Write the CSV files of several collections as one; see :func:`~train.analysis.merge.merge`.

    Raises:
        ValueError: If ``out`` has runs of another kind, which would be lost, or the folders do not
            fit together.
    """
    before = stored_rows(out / "runs.csv")
    tables = merge(folders)
    warn_of_rows_of_other_commits(tables["runs"])
    lost = {row["run"] for row in before} - {row["run"] for row in tables["runs"]}
    if lost:
        raise ValueError(
            f"{out} has runs that are not in these folders, such as {min(lost)}: expected a folder "
            "without runs, or one that an earlier --merge of them has written"
        )
    return write_tables(out, tables)


def check(source: Path) -> int:
    """Redraw all figures, compare them with those in ``source``, and return how many differ."""
    with tempfile.TemporaryDirectory() as temporary:
        drawn = plot_results_folder(source, Path(temporary))
        differing = [path.name for path in drawn if not _same(path, source / path.name)]
        left = _left_over(source, drawn)
    for name in differing:
        print(f"differs from the committed file: {name}")
    for name in left:
        print(f"not drawn from the CSV files: {name}")
    print(f"{len(drawn) - len(differing)} of {len(drawn)} redrawn files equal those of {source}")
    return len(differing) + len(left)


def _left_over(folder: Path, drawn: list[Path]) -> list[str]:
    """Names of pictures in a folder that are not among those drawn from its tables."""
    known = {path.name for path in drawn}
    names = [path.name for path in sorted(folder.glob("*.png")) if path.name not in known]
    # train.imaginary_goals draws from a run's model
    return [name for name in names if not name.startswith("imaginary_goals")]


def _same(mine: Path, theirs: Path) -> bool:
    """Whether text or pixels are equal; PNG files may differ in their metadata."""
    if not theirs.exists():
        return False
    if mine.suffix != ".png":
        return mine.read_bytes() == theirs.read_bytes()
    from matplotlib.image import imread

    read: Callable[[Path], np.ndarray] = imread
    return np.array_equal(read(mine), read(theirs))


def main(arguments: list[str] | None = None) -> int:
    """Collect, draw or check, and print the written files."""
    parser = argparse.ArgumentParser(
        prog="python -m train.figures", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "source", nargs="?", type=Path, help=f"folder of CSV files (default {_DEFAULT})"
    )
    which = parser.add_mutually_exclusive_group()
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "type": Path, "metavar": "RUN"}
    which.add_argument("--collect", **several, help="condense these run folders into CSV files")
    which.add_argument("--add", **several, help="add these run folders to the CSV files")
    which.add_argument(
        "--merge",
        **{**several, "metavar": "FOLDER"},
        help="combine the CSV files of these folders",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        help="output folder; where only figures are drawn, the default is the source",
    )
    parser.add_argument(
        "--until",
        type=int,
        metavar="STEPS",
        help="collect or add only what runs had logged up to STEPS, to compare at equal steps",
    )
    parser.add_argument("--check", action="store_true", help="compare with the existing figures")
    options = parser.parse_args(arguments)
    source = options.source or _DEFAULT
    with report_errors():
        if options.out is not None:
            require_folder("--out", options.out)
        paths = options.collect or options.add or options.merge
        if options.check and options.out and not paths:
            raise ValueError("--check compares within one folder; expected no --out with it")
        if options.until is not None and not (options.collect or options.add):
            raise ValueError("--until cuts runs; expected --collect or --add RUN… with it")
        if paths:
            if options.source is not None:
                raise ValueError(
                    "--collect, --add and --merge write to --out, so the folder "
                    f"{options.source} has no use; expected it after --out, or not at all"
                )
            if options.out is None:
                raise ValueError(
                    "--collect, --add and --merge write CSV files and figures; expected --out "
                    "FOLDER, for example --out results/mine"
                )
            source = options.out
            if (source / "config.json").exists():
                raise ValueError(
                    f"--out {source} is a run folder, whose decoded_goals.csv would be replaced, "
                    "so that the run could not be resumed; expected a folder of its own"
                )
            if options.merge:
                written = merge_folders(paths, source)
            else:
                write = add_runs if options.add else collect_runs
                written = write(paths, source, options.until)
            for path in written:
                print(path)
        if not (source / "runs.csv").exists():
            raise ValueError(
                f"{source} has no runs.csv; make it with --collect RUN… --out {source}"
            )
        if options.check:
            return int(check(source) > 0)
        out = options.out or source
        drawn = plot_results_folder(source, out)
        for path in drawn:
            print(path)
        if left := _left_over(out, drawn):
            print(
                f"warning: {out} has pictures that are not drawn from these CSV files: "
                f"{', '.join(left)}; delete those of an earlier collection",
                file=sys.stderr,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
