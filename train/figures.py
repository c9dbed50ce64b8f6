"""Figures of many runs: from run folders to small CSV files, and from these to PNG.

python -m train.figures --collect runs/gridworld/runs/* --out results/gridworld
python -m train.figures --add runs/LDM-GridNavi-v0-ldm-seed8 --out results/gridworld
python -m train.figures results/gridworld
python -m train.figures results/gridworld --check
python -m train.figures --collect runs/* --until 5000000 --out results/five_million

The first command condenses runs into CSV files that can be committed (and draws). The second does
so beside the runs that are there, whose folders may be gone. The third draws every figure again
from those files alone. The fourth draws into a temporary folder and compares with what is there.
The fifth takes only what runs of different lengths had logged until a common number of steps.
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
from train.analysis.shown_runs import NO_TABLES, NamedRun, Tables, shown_once
from train.analysis.tables import write_tables
from train.common.stopping import report_errors
from train.config.old_runs import row_with_present_names
from train.persistence.files import read_csv, require_equal_lengths
from train.persistence.run_folder import RunFolder
from train.plots.paper_maps import collect_mixtures
from train.plots.paper_paths import collect_paths
from train.plots.results_folder import plot_results_folder

Rows = list[dict[str, Any]]
_DEFAULT = Path("results/gridworld")
_TABLES = ("runs", "curves", "tasks", "mixtures", "beliefs", "decoded_goals", "paths")


def collect_runs(paths: list[Path], out: Path, until: int | None = None) -> list[Path]:
    """Write the CSV files of finished or running runs, named after their folders.

    With ``until``, of their first ``until`` steps.
    """
    with _opened(paths, until) as runs:
        # all tables before any is written: whatever fails, the old files stay
        tables = collect(runs)
        warn_of_rows_of_other_commits(tables["runs"])
        return write_tables(out, {**tables, **_played(runs, tables["runs"], NO_TABLES)})


@contextlib.contextmanager
def _opened(paths: list[Path], until: int | None) -> Iterator[list[NamedRun]]:
    """Runs under the names of their folders, cut if ``until`` says so."""
    folders = [RunFolder.open(path) for path in paths]
    names = [folder.path.resolve().name for folder in folders]
    with tempfile.TemporaryDirectory() as temporary:
        if until is not None:
            places = [Path(temporary) / f"{k}" for k in range(len(folders))]
            folders = [cut_run(f, until, p) for f, p in zip(folders, places, strict=True)]
        yield list(zip(names, folders, strict=True))


def _played(runs: list[NamedRun], collected: Rows, kept: Tables) -> dict[str, Rows]:
    """Tables of what the runs that were collected believe and do, beside those that stay."""
    names = {row["run"] for row in collected}
    runs = [run for run in runs if run[0] in names]
    return {
        "mixtures": collect_mixtures(runs, kept),
        "beliefs": [row for name, folder in runs for row in belief_rows(name, folder)],
        "decoded_goals": decoded_goal_rows(runs, kept),
        "paths": collect_paths(runs, kept),
    }


def add_runs(paths: list[Path], out: Path, until: int | None = None) -> list[Path]:
    """As :func:`collect_runs`, beside the rows of the other runs; those of these are replaced.

    Raises:
        ValueError: A run has the settings and the seed of another one that is there already, its
            settings and other tasks, or the name of one with other settings; or a table of the
            other runs is missing or damaged.
    """
    before = {name: _rows_of(out / f"{name}.csv") for name in _TABLES}
    for name in ("curves", "tasks"):
        if before["runs"] and not before[name]:
            raise ValueError(f"{out} has a runs.csv, but no rows of these runs in {name}.csv")
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
        fresh |= _played(runs, fresh["runs"], kept)  # after all that refuses: it takes minutes
    known = kept["runs"] + fresh["runs"]
    warn_of_rows_of_other_commits(known)
    tables = {}
    for name in _TABLES:
        shown = shown_once(name, kept[name] + fresh[name], known)
        columns = list(dict.fromkeys(column for row in shown for column in row))
        tables[name] = [{column: row.get(column, "") for column in columns} for row in shown]
    return write_tables(out, tables)


def _rows_of(path: Path) -> Rows:
    rows = read_csv(path) if path.exists() else []
    require_equal_lengths(path, rows)
    return [row_with_present_names(row) for row in rows]


def check(source: Path) -> int:
    """Draw again and compare with the files of ``source``; the number that differ."""
    with tempfile.TemporaryDirectory() as temporary:
        drawn = plot_results_folder(source, Path(temporary))
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
    which = parser.add_mutually_exclusive_group()
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "type": Path, "metavar": "RUN"}
    which.add_argument("--collect", **several, help="run folders")
    which.add_argument("--add", **several, help="more run folders")
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        help="where to write; figures alone go to the source by default",
    )
    parser.add_argument(
        "--until",
        type=int,
        metavar="STEPS",
        help="collect or add only what runs had logged until then: methods at equal steps",
    )
    parser.add_argument("--check", action="store_true", help="compare with what is there")
    options = parser.parse_args(arguments)
    source = options.source or _DEFAULT
    with report_errors():
        paths = options.collect or options.add
        if options.check and options.out and not paths:
            raise ValueError("--check compares within one folder: expected no --out beside it")
        if options.until is not None and not paths:
            raise ValueError("--until cuts runs: expected --collect or --add RUN… beside it")
        if paths:
            if options.source is not None:
                raise ValueError(
                    f"--collect and --add read runs and write into --out: {options.source} beside "
                    "them has no part in that; expected it after --out, or not at all"
                )
            if options.out is None:
                raise ValueError(
                    "--collect and --add write CSV files and figures: expected --out FOLDER beside "
                    "them, results/mine for example"
                )
            source = options.out
            for path in (add_runs if options.add else collect_runs)(paths, source, options.until):
                print(path)
        if not (source / "runs.csv").exists():
            raise ValueError(
                f"{source} holds no runs.csv; make it with --collect RUN… --out {source}"
            )
        if options.check:
            return int(check(source) > 0)
        for path in plot_results_folder(source, options.out or source):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
