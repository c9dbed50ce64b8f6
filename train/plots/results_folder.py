"""Draw all figures for the CSV files of a results folder."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from train.analysis.ablations import ABLATIONS, ablated, ablations
from train.analysis.aggregate import Run, evaluated_differently, groups, read_runs, summary_rows
from train.analysis.condense import read_table
from train.analysis.tables import write_csv
from train.common.env_source import EnvSource
from train.common.places import Places
from train.persistence.files import file_name, read_csv, require_columns, require_equal_lengths
from train.persistence.run_folder import check_module
from train.plots.belief_curves import plot_belief_curves, plot_decoded_goals
from train.plots.figure7 import plot_figure7
from train.plots.grid import Grid
from train.plots.optimal_returns import standing_returns
from train.plots.paper_curves import plot_paper_curves
from train.plots.paper_maps import plot_paper_maps
from train.plots.paper_paths import plot_paper_paths
from train.plots.paper_tasks import plot_paper_tasks

_COLUMNS = {
    "mixtures": "run p_drop scheme kind mixture values cells",
    "decoded_goals": "env_id run p_drop timesteps split task dropout x y distance rewards",
    "paths": "run env_id group split task return seconds x y",
}
_MAIN_ENV = "LDM-GridNavi-v0"


def plot_results_folder(source: Path, out: Path) -> list[Path]:
    """Draw all figures for the CSV files of ``source``; return the files written to ``out``."""
    runs = read_runs(source)
    tasks = read_table(source / "tasks.csv")
    require_columns(source / "tasks.csv", tasks, "run split task episode return reached")
    written = [write_csv(out / "summary.csv", summary_rows(runs))]
    beliefs = source / "beliefs.csv"
    errors = read_table(beliefs) if beliefs.exists() else None
    if errors is not None:
        require_columns(beliefs, errors, "run timesteps split quantity value")
    families: dict[str, dict[str, list[Run]]] = {}
    env_ids = list(dict.fromkeys(run.row["env_id"] for run in runs))
    suffixes = _suffixes_of(source, env_ids)
    for env_id in env_ids:
        own = [run for run in runs if run.row["env_id"] == env_id]
        suffix = suffixes[env_id]
        for told in filter(None, map(evaluated_differently, groups(own).values())):
            print(f"warning: {told}", file=sys.stderr)
        values = {setting: ablations(own, setting) for setting in ABLATIONS}
        shown = {
            run.name
            for by_preset in values.values()
            for by_value in by_preset.values()
            for members in by_value.values()
            for run in members
        }
        compared = {  # runs of no ablation, and of ablations without a figure
            n: r for n, r in groups(own).items() if not ablated(r[0]) or r[0].name not in shown
        }
        if len(compared) > 1 or any(r[0].name not in shown for r in compared.values()):
            path = out / f"figure3{suffix}.png"
            title = "Figure 3: the methods"
            written += plot_paper_curves(compared, path, title)
            path = out / f"first_episode{suffix}.png"
            title = "First episode (appendix F)"
            written += plot_paper_curves(compared, path, title, first_episode=True)
        for setting, by_preset in values.items():
            for preset, by_value in by_preset.items():
                end = suffix + ("" if preset == "default" else f"_{preset}")
                written += _draw_ablation(setting, by_value, tasks, out, suffix, end)
        if errors is not None:
            path, title = out / f"reward_error{suffix}.png", f"Beliefs (appendix B, {env_id})"
            written += plot_belief_curves(groups(own), errors, path, title)
        if compared and standing_returns(own[0].source, np.zeros((1, 2))) is not None:
            families[env_id] = compared
    if len(families) > 1:
        written += plot_figure7(families, tasks, out / "figure7.png")
    return written + _draw_tables(source, out, runs)


def _draw_ablation(
    setting: str,
    values: dict[str, list[Run]],
    tasks: pd.DataFrame,
    out: Path,
    suffix: str,
    end: str,
) -> list[Path]:
    name, title = ABLATIONS[setting]
    preset = next(iter(values.values()))[0].row["preset"]
    note = "" if preset == "default" else f", preset {preset}"
    written = plot_paper_curves(values, out / f"{name}{end}.png", title + note)
    if _on_grid(next(iter(values.values()))[0].source):
        path, title = out / f"{name}{end}_tasks.png", f"Return per task: {title}{note}"
        if setting == "beta" and "Extrapolation" in suffix:
            path = out / f"figure6{end.removeprefix(suffix)}.png"
            title = f"Figure 6: return per task{note}"
        written += plot_paper_tasks(values, tasks, path, title)
    return written


def _draw_tables(source: Path, out: Path, runs: list[Run]) -> list[Path]:
    """Draw the tables made when runs were collected: mixtures, goals, paths."""
    written = []
    sources = {run.name: run.source for run in runs}
    seeds = {run.name: run.row["seed"] for run in runs}
    suffixes = _suffixes_of(source, [one.env_id for one in sources.values()])
    for preset, rows in _parts(source / "mixtures.csv", "preset"):
        end = "" if preset in ("", "default") else f"_{preset}"
        written.append(plot_paper_maps(rows, out / f"figure4{end}.png"))
    for env_id, rows in _parts(source / "decoded_goals.csv", "env_id"):
        env_source = sources.get(rows[0]["run"], EnvSource(env_id))
        if Places.of(env_source) is None:  # older runs treated more families as grids
            print(
                f"warning: decoded goals of {env_id} are left out, since its tasks are not goals "
                "at positions of its observation",
                file=sys.stderr,
            )
            continue
        path = out / f"decoded_goals{suffixes[env_id]}.png"
        written.append(plot_decoded_goals(rows, path, env_source))
    for env_id, rows in _parts(source / "paths.csv", "env_id"):
        splits = list(dict.fromkeys(row["split"] for row in rows))
        held_out = next((s for s in ("eval", "test") if s in splits), splits[-1])
        for name, split, figure in (
            ("figure8", held_out, "Figure 8"),
            ("paths_train", "train", "Appendix F"),
        ):
            path, title = out / f"{name}{suffixes[env_id]}.png", f"{figure}: {split} tasks"
            own = [row for row in rows if row["split"] == split]
            if not own:  # the tasks of another environment may have other splits
                continue
            title = f"{title} of {env_id}, last episode"
            env_source = sources.get(rows[0]["run"], EnvSource(env_id))
            written.append(plot_paper_paths(own, path, title, env_source, seeds))
    return written


def _parts(path: Path, column: str) -> list[tuple[str, list[dict[str, str]]]]:
    """Rows of a file, grouped by a column; none if the file does not exist."""
    rows = read_csv(path) if path.exists() else []
    require_equal_lengths(path, rows)
    for row in rows[:1]:
        require_columns(path, row, _COLUMNS[path.stem])
    for env_id in dict.fromkeys(row.get("env_id", "") for row in rows):
        check_module(env_id)
    values = dict.fromkeys(row.get(column, "") for row in rows)
    return [(value, [row for row in rows if row.get(column, "") == value]) for value in values]


def _suffixes_of(source: Path, env_ids: list[str]) -> dict[str, str]:
    """Suffixes for the environments of runs, and for further ones in the tables."""
    tables = [_parts(source / f"{name}.csv", "env_id") for name in ("decoded_goals", "paths")]
    named = [env_id for table in tables for env_id, _ in table]
    return file_suffixes(dict.fromkeys([*env_ids, *named]))


def file_suffixes(env_ids: Iterable[str]) -> dict[str, str]:
    """Suffixes of the file names of an environment's figures: distinct, and short if possible.

    Args:
        env_ids: The environments of one folder.
    """
    ids = list(env_ids)
    short = {env_id: env_id.removeprefix("LDM-").removesuffix("-v0") for env_id in ids}
    found: dict[str, str] = {}
    for env_id in ids:
        alike = [other for other in ids if _key(short[other]) == _key(short[env_id])]
        text = "_" + file_name(short[env_id] if len(alike) == 1 else env_id)
        if _key(text) in map(_key, found.values()):  # ids with the same file name
            text += f"_{len(found) + 1}"
        found[env_id] = "" if env_id == _MAIN_ENV else text
    return found


def _key(text: str) -> str:
    return file_name(text).lower()  # some file systems ignore case


def _on_grid(source: EnvSource) -> bool:
    """Whether the tasks are cells of a grid."""
    return Grid.of(source) is not None
