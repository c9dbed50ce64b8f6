"""Where LDM's imaginary targets lie on Reacher (bar T5): a table and a figure.

    python -m benchmarks.reacher_maps RUN … [--csv OUT] [--png OUT]

For each belief of a finished ``ldm`` run on ``examples.reacher:make``, and for as many mixtures of
them, the reward at rest is decoded over postures of the arm. The fingertip position with the
highest reward is taken as that task's target.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ldm_wrappers import DirichletMixture, LatentDynamics
from ldm_wrappers.imagination import SavedBeliefs
from train.analysis.tables import write_csv
from train.common.places import reward_fields
from train.plots.style import figure, save

N_ANGLES = 72
LINKS = (0.1, 0.11)  # m, of reacher.xml
BOUNDS = (0.07, 0.15)  # m, test targets lie between


def postures() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Observations (n, 8) of examples.reacher at rest, and fingertips (n, 2) in m."""
    angles = np.linspace(-np.pi, np.pi, N_ANGLES, endpoint=False)
    first, second = (a.ravel() for a in np.meshgrid(angles, angles))
    tip = LINKS[0] * np.stack([np.cos(first), np.sin(first)], 1)
    tip += LINKS[1] * np.stack([np.cos(first + second), np.sin(first + second)], 1)
    joints = [np.cos(first), np.cos(second), np.sin(first), np.sin(second)]
    rest = np.zeros((len(tip), 2))
    return np.concatenate([np.stack(joints, 1), rest, tip], 1).astype(np.float32), tip


def best_places(model: LatentDynamics, latents: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The fingertip with the highest decoded reward of each latent, (n, 2)."""
    observations, tips = postures()
    return tips[reward_fields(model, observations, latents).argmax(1)]


def main() -> None:
    """Print, and optionally write, the shares of targets in the test ring."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--csv", type=Path, default=None)
    parser.add_argument("--png", type=Path, default=None)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    drawing = figure(3.2 * 2, 3.2 * len(arguments.runs))
    for line, run in enumerate(arguments.runs):
        model = LatentDynamics.load(run / "latent_dynamics.safetensors")
        beliefs = SavedBeliefs.load(run / "beliefs.safetensors")
        own = beliefs.final_means()
        mixture = beliefs.mixture or DirichletMixture()
        shape = (len(own), len(own), own.shape[1])
        weights = mixture.sample(np.random.default_rng(0), *shape)
        latents = {"beliefs": own, "mixtures": (weights * own[None]).sum(1)}
        for column, (name, values) in enumerate(latents.items()):
            places = best_places(model, values)
            radii = np.hypot(*places.T)
            share = float(((radii >= BOUNDS[0]) & (radii < BOUNDS[1])).mean())
            rows.append(
                {
                    "run": run.name,
                    "latents": name,
                    "n": len(places),
                    "share_in_test_ring": f"{share:.3f}",
                    "median_radius": f"{float(np.median(radii)):.4f}",
                }
            )
            axes = drawing.add_subplot(len(arguments.runs), 2, 2 * line + column + 1)
            axes.scatter(places[:, 0], places[:, 1], s=6)
            for radius in BOUNDS:
                around = np.linspace(0.0, 2 * np.pi, 100)
                axes.plot(radius * np.cos(around), radius * np.sin(around), lw=0.8, color="#d1602c")
            axes.set(xlim=(-0.22, 0.22), ylim=(-0.22, 0.22), aspect="equal")
            axes.set(xlabel="x (m)", ylabel="y (m)")
            axes.set_title(f"{run.name}, {name}: {share:.0%} between", fontsize=8)
    for row in rows:
        print(*row.values())
    if arguments.csv is not None:
        write_csv(arguments.csv, rows)
    if arguments.png is not None:
        save(drawing, arguments.png)


if __name__ == "__main__":
    main()
