"""Figure 4 of the paper from committed numbers: mixtures of beliefs, and their decoded rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from train.analysis.condense import run_row
from train.analysis.shown_runs import NO_TABLES, NamedRun, Tables, candidates, stands_for_preset
from train.common.artifacts import first_trained, load_artifacts
from train.common.env_source import EnvSource
from train.common.envs import evaluation_tasks
from train.persistence.run_folder import RunFolder
from train.plots.grid import Grid
from train.plots.mixtures import Mixtures, sample_mixtures
from train.plots.reward_maps import plot_dropout_comparison
from train.plots.rollout import record

Array = np.ndarray[Any, np.dtype[Any]]
_MIXTURES = 50


def collect_mixtures(runs: list[NamedRun], kept: Tables = NO_TABLES) -> list[dict[str, Any]]:
    """Mixtures of one finished LDM run per preset and dropout rate (the lowest seed).

    Runs must be on the grid and differ from their preset only in dropout and budget, so that all
    rows of a preset show the same kind of mixture. A warning names lower seeds without saved
    weights. For ``kept`` see :func:`~train.analysis.shown_runs.candidates`.
    """
    chosen = [
        first_trained(own, ("latent_dynamics", "policy"), "mixtures")
        for own in candidates("mixtures", filter(_shows_its_preset, runs), kept)
    ]
    rows = []
    for name, folder in sorted(filter(None, chosen), key=_order):
        preset = folder.config.preset
        rows += [{**row, "preset": preset} for row in _rows(name, _mixtures(folder))]
    return rows


def _shows_its_preset(run: NamedRun) -> bool:
    config = run[1].config
    on_grid = (config.env_id, config.method) == ("LDM-GridNavi-v0", "ldm")
    return on_grid and stands_for_preset(run_row(config, 0))


def _order(run: NamedRun) -> tuple[str, float]:
    return run[1].config.preset, run[1].config.p_drop


def _mixtures(folder: RunFolder) -> Mixtures:
    learner = load_artifacts(folder)
    try:
        tasks = evaluation_tasks(learner.config)
        train, test = tasks["train"], tasks["test"]
        assert train is not None and test is not None and learner.latent_dynamics is not None
        rollout = record(learner, train)
        grid = Grid.of(EnvSource.of(learner.config))
        assert grid is not None
        return sample_mixtures(
            folder.config, learner.latent_dynamics, grid, rollout, test, n_mixtures=_MIXTURES
        )
    finally:
        learner.close()


_CELLED = ("maps", "dropout_maps", "own_maps", "own_dropout_maps")


def _rows(name: str, mixtures: Mixtures) -> list[dict[str, Any]]:
    tables = {kind: (mixtures.grid.cells, getattr(mixtures, kind)) for kind in _CELLED}
    tables["weights"] = (mixtures.train_cells, mixtures.weights)
    tables["test_cells"] = (mixtures.test_cells, np.zeros((1, len(mixtures.test_cells))))
    return [
        {
            "run": name,
            "p_drop": f"{mixtures.p_drop:g}",
            "scheme": mixtures.scheme,
            "kind": kind,
            "mixture": index,
            "values": " ".join(f"{value:.4g}" for value in row),
            "cells": " ".join(f"{x:g},{y:g}" for x, y in cells) if index == 0 else "",
        }
        for kind, (cells, table) in tables.items()
        for index, row in enumerate(table)
    ]


def _mixtures_of(rows: list[dict[str, str]]) -> Mixtures:
    """Inverse of :func:`_rows`."""
    tables: dict[str, Array] = {}
    cells: dict[str, Array] = {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        tables[kind] = np.array([row["values"].split() for row in own], float)
        places = [place.split(",") for place in own[0]["cells"].split()]
        cells[kind] = np.array(places, np.float32).reshape(-1, 2)
    low, high = cells["maps"].min(0).astype(int), cells["maps"].max(0).astype(int)
    return Mixtures(
        grid=Grid((int(low[0]), int(low[1])), (int(high[0]), int(high[1]))),
        train_cells=cells["weights"],
        test_cells=cells["test_cells"],
        weights=tables["weights"],
        **{kind: tables[kind] for kind in _CELLED},
        p_drop=float(rows[0]["p_drop"]),
        scheme=rows[0]["scheme"],
    )


def plot_paper_maps(rows: list[dict[str, str]], path: Path) -> Path:
    """Draw the same mixture weights with the decoder of each run in ``mixtures.csv``."""
    names = list(dict.fromkeys(row["run"] for row in rows))
    runs = [(name, _mixtures_of([row for row in rows if row["run"] == name])) for name in names]
    return plot_dropout_comparison(runs, path)
