"""Which run is shown by tables that show only one of several seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from train.analysis.condense import group_name, run_row
from train.persistence.run_folder import RunFolder

Row = Mapping[str, Any]
Tables = Mapping[str, list[dict[str, Any]]]
NamedRun = tuple[str, RunFolder]
NO_TABLES: Tables = {}

_ALIKE = {  # columns that agree for runs of which a table shows only one
    "mixtures": ("preset", "p_drop"),
    "decoded_goals": ("env_id", "p_drop", "method", "preset"),
    "paths": ("env_id", "group"),
}
# a run that differs only in these settings still shows what its preset imagines
_AS_THE_PRESET = {"p_drop", "total_timesteps"}


def stands_for_preset(run: Row) -> bool:
    """Whether a row of runs.csv differs from its preset at most in dropout and budget."""
    pairs = str(run.get("overrides") or "").split()
    return {pair.partition("=")[0] for pair in pairs} <= _AS_THE_PRESET


def candidates(name: str, runs: Iterable[NamedRun], kept: Tables) -> list[list[NamedRun]]:
    """Runs that a table may show: a list for each kind, in order of preference.

    Runs of a preset come before those of an ablation, and low seeds come first. Runs that come
    after one that the table already shows are left out, so that nothing is played needlessly.

    Args:
        name: Stem of the table's file.
        runs: Names and folders of the collected runs.
        kept: Tables of an earlier collection, without the rows of these runs.
    """
    best = _best(name, kept.get(name, []), kept.get("runs", []))
    found: dict[tuple[str, ...], list[tuple[tuple[Any, ...], NamedRun]]] = {}
    for run in runs:
        row = {"run": run[0], **run_row(run[1].config, 0)}
        kind, rank = _kind(name, row), _rank(row)
        if kind not in best or rank < best[kind]:
            found.setdefault(kind, []).append((rank, run))
    return [[run for _, run in sorted(own, key=lambda one: one[0])] for own in found.values()]


def shown_once(name: str, rows: list[dict[str, Any]], runs: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows of a table, of the most preferred run of each kind only.

    Args:
        name: Stem of the table's file.
        rows: Its rows, from both collections.
        runs: Rows of runs.csv.
    """
    if name not in _ALIKE:
        return rows
    runs = list(runs)
    shown = {rank[-1] for rank in _best(name, rows, runs).values()}
    return [row for row in rows if row["run"] in shown]


def _best(name: str, rows: Iterable[Row], runs: Iterable[Row]) -> dict[tuple[str, ...], Any]:
    """Rank of the most preferred run of each kind in the rows of a table."""
    known = {run["run"]: run for run in runs}
    best: dict[tuple[str, ...], tuple[Any, ...]] = {}
    for row in rows:
        own = {**row, **known.get(row["run"], {})}
        kind, rank = _kind(name, own), _rank(own)
        best[kind] = min(best.get(kind, rank), rank)
    return best


def _kind(name: str, run: Row) -> tuple[str, ...]:
    named = {**run, "group": group_name(run)} if "method" in run else run
    return tuple(str(named.get(column) or "") for column in _ALIKE[name])


def _rank(run: Row) -> tuple[bool, int, str]:
    return not stands_for_preset(run), int(run.get("seed") or 0), str(run["run"])
