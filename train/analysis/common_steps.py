"""Curves of several runs side by side, at common steps if their evaluations nearly coincide."""

from __future__ import annotations

import numpy as np
import pandas as pd


def common_table(curves: list[pd.Series[float]]) -> pd.DataFrame:
    """Curves of a group side by side: a row per step, a column per run, NaN after its end.

    If the runs share any steps, those at which only some of the unfinished runs were evaluated are
    left out, since means there would be over different runs.
    """
    table, shared = side_by_side(curves)
    return table[shared] if table.notna().all(axis=1).any() else table


def side_by_side(curves: list[pd.Series[float]]) -> tuple[pd.DataFrame, pd.Series[bool]]:
    """All steps of curves, and which of them no unfinished run lacks."""
    table = pd.concat(at_common_steps(curves), axis=1).sort_index()
    over = table.bfill().isna()  # runs that have ended
    return table, (table.notna() | over).all(axis=1)


def usual_distance(curve: pd.Series[float]) -> float:
    """Median number of steps between the evaluations of a run, 0 for a single one."""
    return float(np.median(np.diff(curve.index))) if len(curve) > 1 else 0.0


def at_common_steps(curves: list[pd.Series[float]]) -> list[pd.Series[float]]:
    """Curves in which evaluations at nearly the same step have one timestep, the latest of them.

    If episodes end early, iterations have different numbers of steps in each run, and evaluations
    follow them. Evaluations that are closer than half the usual distance between the evaluations of
    a run are merged, but never two of the same run.
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
