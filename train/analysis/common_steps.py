"""Curves of several runs side by side, whose evaluations are of the same moments or nearly."""

from __future__ import annotations

import numpy as np
import pandas as pd


def common_table(curves: list[pd.Series[float]]) -> pd.DataFrame:
    """Curves of a group side by side: a row per moment, a column per run, NaN after its end.

    Moments at which some runs were evaluated between two evaluations of others are left out, if
    they share any: means would be of changing runs.
    """
    table, shared = side_by_side(curves)
    return table[shared] if table.notna().all(axis=1).any() else table


def side_by_side(curves: list[pd.Series[float]]) -> tuple[pd.DataFrame, pd.Series[bool]]:
    """All moments of curves, and which of them no run lacks that has not ended."""
    table = pd.concat(at_common_steps(curves), axis=1).sort_index()
    over = table.bfill().isna()  # runs that have ended
    return table, (table.notna() | over).all(axis=1)


def usual_distance(curve: pd.Series[float]) -> float:
    """Median number of steps between the evaluations of a run, 0 for a single one."""
    return float(np.median(np.diff(curve.index))) if len(curve) > 1 else 0.0


def at_common_steps(curves: list[pd.Series[float]]) -> list[pd.Series[float]]:
    """Curves whose evaluations of one moment have one timestep, the latest of theirs.

    Where episodes end early, iterations have other numbers of steps in each run, and so have the
    evaluations after them. What is nearer together than half of the usual distance between the
    evaluations of a run is one moment; no run has two evaluations of one moment.
    """
    gaps = [usual_distance(curve) for curve in curves if len(curve) > 1]
    near = min(gaps, default=0.0) / 2
    moments: list[dict[int, int]] = []  # step by run
    for step, run in sorted((step, run) for run, c in enumerate(curves) for step in c.index):
        latest = moments[-1] if moments else {}
        if latest and run not in latest and step - min(latest.values()) < max(near, 1):
            latest[run] = step
        else:
            moments.append({run: step})
    common: list[dict[int, int]] = [{} for _ in curves]
    label = 0
    for moment in moments:
        label = max(label + 1, *moment.values())
        for run, step in moment.items():
            common[run][step] = label
    return [
        curve.set_axis([own[step] for step in curve.index])
        for curve, own in zip(curves, common, strict=True)
    ]
