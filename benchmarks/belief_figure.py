"""Draw the results of ``benchmarks.belief_error``.

    python -m benchmarks.belief_figure results/beliefs/*.csv --png results/beliefs/beliefs.png

There is a column per family and a colour per arm. The upper row shows the reward error after 200
steps of a task over the CPU time of training, and the lower row the final error over the steps of a
task, both as shares of the prior variance: solid for held-out tasks, dotted for test tasks. The
exact posterior is dashed, with triangles at the lower edge of a panel if it is below.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from train.persistence.files import read_csv

Row = dict[str, str]
EXACT = "exact posterior"
BAR, BAR_STEPS = 0.1, 200
FLOOR = 1e-3  # of the panels below
STYLES = {"held-out": "-", "test": ":"}


def mean_by(rows: list[Row], key: str, value: str) -> tuple[list[float], list[float]]:
    """Means of a column for each value of another one, in ascending order."""
    found: dict[float, list[float]] = {}
    for row in rows:
        found.setdefault(float(row[key]), []).append(float(row[value]))
    keys = sorted(found)
    return keys, [float(np.mean(found[one])) for one in keys]


def draw(table: list[Row], colours: dict[str, str], over_time: Axes, over_steps: Axes) -> None:
    """Draw one family into its two panels."""
    exact = [row for row in table if row["arm"] == EXACT and row["set"] == "held-out"]
    for arm in dict.fromkeys(row["arm"] for row in table if row["arm"] != EXACT):
        for name, style in STYLES.items():
            chosen = [row for row in table if row["arm"] == arm and row["set"] == name]
            look: dict[str, Any] = {"ls": style, "c": colours[arm], "label": f"{arm}, {name}"}
            at_bar = [row for row in chosen if int(row["steps_of_task"]) == BAR_STEPS]
            # times agree over seeds, except for the duration of the last update
            seconds = mean_by(at_bar, "moment", "cpu_seconds")[1]
            over_time.plot(seconds, mean_by(at_bar, "moment", "share_of_prior")[1], **look)
            last = [row for row in chosen if row["moment"] == at_bar[-1]["moment"]]
            over_steps.plot(*mean_by(last, "steps_of_task", "share_of_prior"), marker="o", **look)
    steps, shares = mean_by(exact, "steps_of_task", "share_of_prior")
    label = f"{EXACT} (triangles: below {FLOOR:g})"
    over_steps.plot(steps, np.maximum(shares, FLOOR), "k--", label=label, clip_on=False)
    below = [step for step, share in zip(steps, shares, strict=True) if share < FLOOR]
    over_steps.plot(below, [FLOOR] * len(below), "kv", ms=4, clip_on=False)
    over_time.axhline(BAR, color="grey", lw=0.5)


def main() -> None:
    """Read, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("csv", nargs="+", type=Path)
    parser.add_argument("--png", type=Path, required=True)
    arguments = parser.parse_args()
    table = [row for path in arguments.csv for row in read_csv(path)]
    families = list(dict.fromkeys(row["env_id"] for row in table))
    arms = sorted({row["arm"] for row in table} - {EXACT})
    colours = {arm: f"C{index}" for index, arm in enumerate(arms)}
    figure, axes = plt.subplots(2, len(families), figsize=(4.5 * len(families), 7), squeeze=False)
    for column, family in enumerate(families):
        draw([row for row in table if row["env_id"] == family], colours, *axes[:, column])
        axes[0, column].set(title=family, xlabel="CPU seconds of VAE training", yscale="log")
        axes[1, column].set(xlabel="steps of a task", yscale="log", ylim=(FLOOR, 2))
    axes[0, 0].set_ylabel(f"reward error / prior variance, step {BAR_STEPS}")
    axes[1, 0].set_ylabel("reward error / prior variance, end of training")
    axes[0, 0].legend(fontsize="small")
    axes[1, 0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(arguments.png, dpi=100)


if __name__ == "__main__":
    main()
