"""Quality of the VAE's beliefs in evaluations during training (appendix B of the paper)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from train.analysis.condense import (
    cut_evaluation,
    evaluations,
    format_number,
    require_same_rows,
)
from train.analysis.shown_runs import NO_TABLES, NamedRun, Tables, candidates
from train.persistence.files import read_log
from train.persistence.run_folder import RunFolder

_WITH = "_with_dropout"
_MOMENTS = 6


def belief_rows(name: str, folder: RunFolder) -> list[dict[str, Any]]:
    """Reward errors of metrics.csv and mean distances of decoded goals, as rows of beliefs.csv.

    There is a row per evaluation, split and quantity: ``reward_error`` and ``goal_distance``, each
    also with dropout in the decoder. Methods without a VAE have no rows.
    """
    metrics = read_log(folder.metrics) if folder.metrics.exists() else []
    table = evaluations(folder)  # read later than the metrics, which are written later
    steps = sorted(table["timesteps"].unique().tolist()) if len(table) else []
    errors: dict[tuple[int, str, str], float] = {}
    for row in metrics:
        logged = int(row["timesteps"])  # some iterations after the evaluation, in older runs
        evaluated = max((step for step in steps if step <= logged), default=logged)
        for column, value in row.items():
            split, middle, rest = column.removeprefix("eval/").partition("_reward_error")
            if column.startswith("eval/") and middle and value:
                # a second value is of a later evaluation, which was left out
                errors.setdefault((evaluated, split, middle[1:] + rest), float(value))
    found = [(*key, value) for key, value in errors.items()]
    if rows := _decoded_goals(folder):
        goals = pd.DataFrame(rows).astype({"timesteps": int, "dropout": int, "distance": float})
        means = goals.groupby(["timesteps", "split", "dropout"], sort=False)["distance"].mean()
        found += [
            (int(step), str(split), "goal_distance" + _WITH * int(dropout), float(value))
            for (step, split, dropout), value in means.items()
        ]
    columns = ("timesteps", "split", "quantity")
    return [
        {"run": name, **dict(zip(columns, key, strict=True)), "value": format_number(value)}
        for *key, value in found
    ]


def decoded_goal_rows(runs: list[NamedRun], kept: Tables = NO_TABLES) -> list[dict[str, Any]]:
    """Rows of decoded_goals.csv: some evaluations of one run per environment, preset and p_drop.

    The tasks are those of the reported split; the rewards at all places are those of the first
    task. See :func:`~train.analysis.shown_runs.candidates` for the choice of run and for ``kept``.
    """
    found = [(name, folder) for name, folder in runs if _decoded_goals(folder)]
    chosen = [own[0] for own in candidates("decoded_goals", found, kept)]
    written = []
    for name, folder in sorted(chosen, key=_order):
        env_id, p_drop = folder.config.env_id, folder.config.p_drop
        rows = _decoded_goals(folder)
        splits = dict.fromkeys(row["split"] for row in rows)
        split = next((s for s in ("eval", "test") if s in splits), list(splits)[-1])
        steps = sorted({int(row["timesteps"]) for row in rows})
        picks = np.linspace(0, len(steps) - 1, min(_MOMENTS, len(steps))).round().astype(int)
        moments = {str(steps[pick]) for pick in picks}
        own = [r for r in rows if r["split"] == split and r["timesteps"] in moments]
        for row in own:
            shown = row["task"] == own[0]["task"]
            field = row["rewards"] if shown else ""
            written.append(
                {"env_id": env_id, "run": name, "p_drop": f"{p_drop:g}", **row, "rewards": field}
            )
    return written


def _decoded_goals(folder: RunFolder) -> list[dict[str, str]]:
    """Rows of a run's decoded_goals.csv, except for an evaluation with missing rows."""
    rows = read_log(folder.decoded_goals) if folder.decoded_goals.exists() else []
    cut = cut_evaluation(int(row["timesteps"]) for row in rows) if rows else None
    if cut is not None:
        rows = [row for row in rows if int(row["timesteps"]) != cut[0]]
    if rows:
        require_same_rows(folder.decoded_goals, pd.DataFrame(rows), ["split", "dropout"])
    return rows


def _order(run: NamedRun) -> tuple[str, str, float]:
    config = run[1].config
    return config.env_id, f"{config.method} {config.preset}", config.p_drop
