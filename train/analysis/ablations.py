"""Runs that differ in one setting from their preset, as the paper's ablations do."""

from __future__ import annotations

from train.analysis.aggregate import BUDGET, Run

# setting: file name, title
ABLATIONS = {
    "p_drop": ("dropout", "Dropout of the decoder's inputs (appendix E)"),
    "n_mixture_workers": ("worker_ratio", "Number of mixture workers (appendix D)"),
    "beta": ("beta", "Degree of extrapolation β (section 5.1.2)"),
}


def ablated(run: Run) -> bool:
    """Whether an LDM run differs from its preset only in settings of ablations."""
    own = set(run.overrides) - {BUDGET}
    return bool(own) and own <= set(ABLATIONS) and run.row["method"] == "ldm"


def ablations(runs: list[Run], setting: str) -> dict[str, dict[str, list[Run]]]:
    """LDM runs by preset and value of a setting, with everything else equal.

    Presets with only one value are left out. Of several comparisons, the one with most values is
    kept.
    """
    by_rest: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        rest = " ".join(f"{k}={v}" for k, v in run.overrides.items() if k != setting)
        if run.row["method"] == "ldm":
            by_rest.setdefault((run.row["preset"], rest), []).append(run)
    best: dict[str, dict[str, list[Run]]] = {}
    for (preset, _), members in by_rest.items():
        values: dict[str, list[Run]] = {}
        for run in sorted(members, key=lambda run: float(run.row[setting])):
            values.setdefault(f"{setting} {run.row[setting]}", []).append(run)
        if len(values) > max(len(best.get(preset, {})), 1):
            best[preset] = values
    return best
