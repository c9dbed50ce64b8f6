"""Tables that show one run of several seeds, put together out of two collections."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]

_ALIKE = {  # what runs have in common of which a table shows one
    "mixtures": ("preset", "p_drop"),
    "decoded_goals": ("env_id", "p_drop", "method", "preset"),
    "paths": ("env_id", "group"),
}


def shown_once(name: str, rows: list[Row], runs: list[Row]) -> list[Row]:
    """Rows of a table without those of a higher seed, where it shows one run of each kind.

    As in a collection of all the runs, runs of a preset come before those of an ablation, and low
    seeds first.

    Args:
        name: Stem of the table's file.
        rows: Its rows, those of both collections.
        runs: Rows of runs.csv.
    """
    if name not in _ALIKE:
        return rows
    known = {run["run"]: run for run in runs}
    chosen: dict[tuple[str, ...], tuple[bool, int, str]] = {}
    kinds = {}
    for row in rows:
        run = known.get(row["run"], {})
        kind = tuple(str({**run, **row}.get(column) or "") for column in _ALIKE[name])
        rank = bool(run.get("overrides")), int(run.get("seed") or 0), row["run"]
        kinds[row["run"]] = kind
        chosen[kind] = min(chosen.get(kind, rank), rank)
    return [row for row in rows if chosen[kinds[row["run"]]][-1] == row["run"]]
