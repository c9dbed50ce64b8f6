"""Refuse runs that must not be averaged as seeds, and warn about runs of different commits."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

_OF_A_GROUP = ("env_id", "method", "preset", "overrides", "environment")


def refuse_copies(runs: Iterable[tuple[str, Hashable, Any]]) -> None:
    """Raise an error if two runs of one group have the same seed.

    They would count as independent seeds, so that intervals would be too narrow.

    Args:
        runs: Name, group and seed of each run.

    Raises:
        ValueError: If there are two such runs; the message names both.
    """
    found: dict[tuple[Hashable, str], str] = {}
    for name, group, seed in runs:
        first = found.get((group, str(seed)))
        if first is not None:
            raise ValueError(
                f"{first} and {name} have the same settings and seed {seed} (apart from settings "
                "without effect), so they are not independent: expected each seed of a group once. "
                "Leave one out (a copy or a backup; with --add, delete the rows of the older one "
                "from the CSV files), or train it with another --seed"
            )
        found[group, str(seed)] = name


def refuse_copied_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """:func:`refuse_copies` for rows of ``runs.csv``."""
    refuse_copies((row["run"], _group(row), row.get("seed")) for row in rows)


def refuse_other_tasks(
    runs: Iterable[Mapping[str, Any]], tasks: Iterable[Mapping[str, Any]]
) -> None:
    """Raise an error if two runs of one group were evaluated on different tasks.

    This happens if an environment's module has changed in between. Their mean would be meaningless.

    Args:
        runs: Rows of ``runs.csv``.
        tasks: Rows of ``tasks.csv``.

    Raises:
        ValueError: If there are two such runs; the message names both.
    """
    evaluated: dict[str, set[tuple[str, str]]] = {}
    for row in tasks:
        evaluated.setdefault(row["run"], set()).add((row["split"], row["task"]))
    first: dict[Hashable, str] = {}
    for row in runs:
        name = row["run"]
        if name not in evaluated:
            continue
        other = first.setdefault(_group(row), name)
        if differing := evaluated[name] ^ evaluated[other]:
            split, task = min(differing)
            one = name if (split, task) in evaluated[name] else other
            raise ValueError(
                f"{other} and {name} have the same settings, but only {one} was evaluated on task "
                f"{task!r} of split {split!r}: expected the seeds of a group to be evaluated on "
                "the same tasks. Collect them into different folders (--out), or train the older "
                "one again on the present tasks"
            )


def refuse_other_runs(
    before: Iterable[Mapping[str, Any]], fresh: Iterable[Mapping[str, Any]]
) -> None:
    """Raise an error if a row of ``runs.csv`` would be replaced by a different run of that name.

    Args:
        before: Existing rows.
        fresh: Rows that would replace those of the same name.

    Raises:
        ValueError: If two of them differ in environment, method, seed or settings.
    """
    known = {row["run"]: row for row in before}
    for row in fresh:
        old = known.get(row["run"], row)
        differing = [
            f"{name} {_text(row, name) or 'none'} (there {_text(old, name) or 'none'})"
            for name in (*_OF_A_GROUP, "seed")
            if _text(old, name) != _text(row, name)
        ]
        if differing:
            raise ValueError(
                f"a run called {row['run']!r} with other settings already exists: "
                f"{', '.join(differing)}; rename the new run's folder to keep both, or delete the "
                "old run's rows from the CSV files to replace it"
            )


def warn_of_other_commits(runs: Iterable[tuple[str, Hashable, str]]) -> None:
    """Warn about groups whose seeds were trained with different commits.

    Args:
        runs: Name, group and commit of each run; an empty commit is unknown and not compared.
    """
    found: dict[Hashable, dict[str, str]] = {}
    for name, group, commit in runs:
        if commit:
            found.setdefault(group, {}).setdefault(commit, name)
    for commits in found.values():
        if len(commits) > 1:
            named = ", ".join(f"{name} with {commit}" for commit, name in commits.items())
            print(
                f"warning: seeds of one group were trained with different commits ({named}): "
                "their mean is meaningful only if no change between the commits affects results",
                file=sys.stderr,
            )


def warn_of_rows_of_other_commits(rows: Iterable[Mapping[str, Any]]) -> None:
    """:func:`warn_of_other_commits` for rows of ``runs.csv``; older rows have no commit."""
    warn_of_other_commits((row["run"], _group(row), str(row.get("commit") or "")) for row in rows)


def _group(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row.get(name, "")) for name in _OF_A_GROUP)


def _text(row: Mapping[str, Any], name: str) -> str:
    """The value in a row, without ``total_timesteps``: an extended run is still the same run."""
    words = str("" if row.get(name) is None else row[name]).split()
    return " ".join(word for word in words if not word.startswith("total_timesteps="))
