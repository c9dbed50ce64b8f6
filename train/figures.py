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
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from train.analysis.ablations import ABLATIONS, ablated, ablations
from train.analysis.aggregate import Run, collect, groups, read_runs, summary_rows
from train.analysis.beliefs import belief_rows, decoded_goal_rows
from train.analysis.condense import read_table
from train.analysis.cut import cut_run
from train.analysis.tables import write_csv
from train.common.command_line import report_errors
from train.common.env_source import EnvSource
from train.common.places import Places
from train.config.old_runs import with_present_names
from train.persistence.files import file_name, read_csv, require_columns
from train.persistence.run_folder import RunFolder
from train.plots.belief_curves import plot_belief_curves, plot_decoded_goals
from train.plots.figure7 import plot_figure7
from train.plots.grid import Grid
from train.plots.optimal_returns import standing_returns
from train.plots.paper_curves import plot_paper_curves
from train.plots.paper_maps import collect_mixtures, plot_paper_maps
from train.plots.paper_paths import collect_paths, plot_paper_paths
from train.plots.paper_tasks import plot_paper_tasks

_DEFAULT = Path("results/gridworld")
_TABLES = ("runs", "curves", "tasks", "mixtures", "beliefs", "decoded_goals", "paths")
_COLUMNS = {
    "mixtures": "run p_drop scheme kind mixture values cells",
    "decoded_goals": "env_id run p_drop timesteps split task dropout x y distance rewards",
    "paths": "run env_id group split task return seconds x y",
}
_MAIN_ENV = "LDM-GridNavi-v0"


def draw(source: Path, out: Path) -> list[Path]:
    """Every figure that the CSV files of ``source`` hold; returns what was written to ``out``."""
    runs = read_runs(source)
    tasks = read_table(source / "tasks.csv")
    require_columns(source / "tasks.csv", tasks, "run split task episode return reached")
    written = [write_csv(out / "summary.csv", summary_rows(runs))]
    beliefs = source / "beliefs.csv"
    errors = pd.read_csv(beliefs) if beliefs.exists() else None
    if errors is not None:
        require_columns(beliefs, errors, "run timesteps split quantity value")
    families: dict[str, dict[str, list[Run]]] = {}
    for env_id in dict.fromkeys(run.row["env_id"] for run in runs):
        own = [run for run in runs if run.row["env_id"] == env_id]
        suffix = _suffix(env_id)
        compared = {name: r for name, r in groups(own).items() if not ablated(r[0])}
        values = {setting: ablations(own, setting) for setting in ABLATIONS}
        if not compared and not any(values.values()):  # but one value of an ablation
            compared = groups(own)
        if len(compared) > 1 or not any(values.values()):
            path = out / f"figure3{suffix}.png"
            title = "Figure 3: the methods"
            written += plot_paper_curves(compared, path, title)
            path = out / f"first_episode{suffix}.png"
            title = "First episode (appendix F)"
            written += plot_paper_curves(compared, path, title, first_episode=True)
        for setting, by_preset in values.items():
            for preset, by_value in by_preset.items():
                end = suffix + ("" if preset == "default" else f"_{preset}")
                written += _draw_ablation(setting, by_value, tasks, out, env_id, end)
        if errors is not None:
            path, title = out / f"reward_error{suffix}.png", f"Beliefs (appendix B, {env_id})"
            written += plot_belief_curves(groups(own), errors, path, title)
        if compared and standing_returns(env_id, np.zeros((1, 2))) is not None:
            families[env_id] = compared
    if len(families) > 1:
        written += plot_figure7(families, out / "figure7.png")
    return written + _draw_tables(source, out)


def _draw_ablation(
    setting: str,
    values: dict[str, list[Run]],
    tasks: pd.DataFrame,
    out: Path,
    env_id: str,
    end: str,
) -> list[Path]:
    name, title = ABLATIONS[setting]
    preset = next(iter(values.values()))[0].row["preset"]
    note = "" if preset == "default" else f", preset {preset}"
    written = plot_paper_curves(values, out / f"{name}{end}.png", title + note)
    if _on_grid(env_id):
        path, title = out / f"{name}{end}_tasks.png", f"Return per task: {title}{note}"
        if setting == "beta" and "Extrapolation" in env_id:
            path = out / f"figure6{end.removeprefix(_suffix(env_id))}.png"
            title = f"Figure 6: return per task{note}"
        written += plot_paper_tasks(values, tasks, path, title)
    return written


def _draw_tables(source: Path, out: Path) -> list[Path]:
    """Figures of what runs were asked when they were collected: mixtures, goals, paths."""
    written = []
    for preset, rows in _parts(source / "mixtures.csv", "preset"):
        end = "" if preset in ("", "default") else f"_{preset}"
        written.append(plot_paper_maps(rows, out / f"figure4{end}.png"))
    for env_id, rows in _parts(source / "decoded_goals.csv", "env_id"):
        if Places.of(EnvSource(env_id)) is None:  # former runs took more families for grids
            print(
                f"warning: decoded goals of {env_id} are left out: its tasks are not goals at "
                "places of its observation",
                file=sys.stderr,
            )
            continue
        written.append(plot_decoded_goals(rows, out / f"decoded_goals{_suffix(env_id)}.png"))
    for env_id, rows in _parts(source / "paths.csv", "env_id"):
        splits = list(dict.fromkeys(row["split"] for row in rows))
        held_out = next((s for s in ("eval", "test") if s in splits), splits[-1])
        for name, split, figure in (
            ("figure8", held_out, "Figure 8"),
            ("paths_train", "train", "Appendix F"),
        ):
            path, title = out / f"{name}{_suffix(env_id)}.png", f"{figure}: {split} tasks"
            own = [row for row in rows if row["split"] == split]
            written.append(plot_paper_paths(own, path, f"{title} of {env_id}, last episode"))
    return written


def _parts(path: Path, column: str) -> list[tuple[str, list[dict[str, str]]]]:
    """Rows of a file, if it is there, by a column."""
    rows = read_csv(path) if path.exists() else []
    for row in rows[:1]:
        require_columns(path, row, _COLUMNS[path.stem])
    values = dict.fromkeys(row.get(column, "") for row in rows)
    return [(value, [row for row in rows if row.get(column, "") == value]) for value in values]


def _suffix(env_id: str) -> str:
    if env_id == _MAIN_ENV:
        return ""
    return "_" + file_name(env_id.removeprefix("LDM-").removesuffix("-v0"))


def _on_grid(env_id: str) -> bool:
    """Whether the tasks are cells of a grid."""
    return Grid.of(EnvSource(env_id)) is not None


def collect_runs(paths: list[Path], out: Path, until: int | None = None) -> list[Path]:
    """Write the CSV files of finished or running runs, named after their folders.

    With ``until``, of their first ``until`` steps.
    """
    folders = [RunFolder.open(path) for path in paths]
    names = [folder.path.resolve().name for folder in folders]
    with tempfile.TemporaryDirectory() as temporary:
        if until is not None:
            places = [Path(temporary) / f"{k}" for k in range(len(folders))]
            folders = [cut_run(f, until, p) for f, p in zip(folders, places, strict=True)]
        return _write_tables(list(zip(names, folders, strict=True)), out)


def _write_tables(runs: list[tuple[str, RunFolder]], out: Path) -> list[Path]:
    written = collect(runs, out)
    tables = {
        "mixtures": collect_mixtures(runs),
        "beliefs": [row for name, folder in runs for row in belief_rows(name, folder)],
        "decoded_goals": decoded_goal_rows(runs),
        "paths": collect_paths(runs),
    }
    for name, rows in tables.items():
        if rows:
            written.append(write_csv(out / f"{name}.csv", rows))
        else:  # of an earlier collection
            (out / f"{name}.csv").unlink(missing_ok=True)
    return written


def add_runs(paths: list[Path], out: Path, until: int | None = None) -> list[Path]:
    """As :func:`collect_runs`, beside the rows of the other runs; those of these are replaced."""
    names = {path.resolve().name for path in paths}
    with tempfile.TemporaryDirectory() as temporary:
        collected = collect_runs(paths, Path(temporary), until)
        fresh = {path.stem: read_csv(path) for path in collected}
    written = []
    for name in _TABLES:
        path = out / f"{name}.csv"
        before = read_csv(path) if path.exists() else []
        kept = [with_present_names(row) for row in before if row.get("run") not in names]
        rows = kept + fresh.get(name, [])
        columns = list(dict.fromkeys(column for row in rows for column in row))
        if rows:
            filled = [{column: row.get(column, "") for column in columns} for row in rows]
            written.append(write_csv(path, filled))
        else:
            path.unlink(missing_ok=True)
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
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--collect", nargs="+", type=Path, metavar="RUN", help="run folders")
    which.add_argument(
        "--add",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="more run folders",
    )
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
        for path in draw(source, options.out or source):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
