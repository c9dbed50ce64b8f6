"""Appendix C of the paper: what imaginary tasks ask for, per degree of extrapolation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ldm_wrappers.imagination import BeliefSource, DirichletMixture
from ldm_wrappers.latent_dynamics import LatentDynamics
from train.common.places import Places, reward_fields
from train.common.velocities import Velocities
from train.plots.style import TEST, figure, save

Array = np.ndarray[Any, np.dtype[Any]]
_PANEL = 2.5
Probes = Places | Velocities


@dataclasses.dataclass(frozen=True)
class GoalMap:
    """Decoded rewards of beliefs, or of mixtures of them, over positions or velocities.

    Attributes:
        name: Name of the decoded latents.
        fields: Reward at each position or velocity, (n_latents, n).
    """

    name: str
    fields: Array

    def rows(self, probes: Probes, splits: Array) -> list[dict[str, Any]]:
        """What the largest reward of each latent asks for."""
        best = self.fields.argmax(1)
        return [
            {"latents": self.name, "index": i, **probes.columns(field), "split": splits[best[i]]}
            for i, field in enumerate(self.fields)
        ]

    def title(self, splits: Array) -> str:
        """The number of latents, and how many of them ask for test tasks."""
        best = self.fields.argmax(1)
        test = np.isin(splits[best], ["train", "outside"], invert=True).mean()
        return f"{len(best)}: {test:.0%} on test tasks"

    def describe(self, probes: Probes, splits: Array) -> str:
        """Shares of splits among these tasks, and a number that sums them up."""
        best = self.fields.argmax(1)
        named, counts = np.unique(splits[best], return_counts=True)
        shares = ", ".join(
            f"{s} {n / len(best):.0%}" for s, n in zip(named, counts, strict=True)
        )  # fmt: skip
        return f"{self.name}: goals in {shares}; {probes.describe(self.fields)}"


def goal_maps(
    model: LatentDynamics,
    beliefs: BeliefSource,
    mixture: DirichletMixture,
    probes: Probes,
    betas: list[float],
    *,
    n_mixtures: int = 200,
) -> list[GoalMap]:
    """Maps of the beliefs at the end of tasks, then of their mixtures for each β.

    Rewards are decoded without dropout.

    Args:
        model: The latent dynamics model.
        beliefs: Beliefs of normal workers, whose final means are mixed (Eq. 1).
        mixture: Scheme of the weights, apart from its β.
        probes: Positions or velocities to decode at.
        betas: Degrees of extrapolation.
        n_mixtures: Number of mixtures per β, with the same random draws for each.
    """

    def decoded(latents: Array) -> Array:
        shown, then = probes.observations, probes.next_observations
        return reward_fields(model, shown, latents, next_observations=then)

    own = beliefs.final_means()
    maps = [GoalMap("beliefs", decoded(own))]
    for beta in betas:
        scheme, rng = dataclasses.replace(mixture, beta=beta), np.random.default_rng(0)
        weights = scheme.sample(rng, n_mixtures, *own.shape)
        latents = (weights * own[None]).sum(1).astype(np.float32)
        maps.append(GoalMap(f"β = {beta:g}", decoded(latents)))
    return maps


def plot_goal_maps(
    runs: dict[str, list[GoalMap]], places: Places, splits: Array, path: Path
) -> Path:
    """Draw two rows per run: rewards decoded from the first latent, and the best place of each."""
    columns = len(next(iter(runs.values())))
    drawing = figure(_PANEL * columns + 1.0, 2 * _PANEL * len(runs) + 0.5)
    panels = drawing.subplots(2 * len(runs), columns, squeeze=False)
    for index, (name, maps) in enumerate(runs.items()):
        above, below = panels[2 * index : 2 * index + 2]
        for axes, drawn in zip(above, maps, strict=True):
            field = drawn.fields[0]
            draw_field(axes, places, field)
            axes.plot(*places.xy[field.argmax()], "x", color=TEST, ms=9, mew=2.4)
            axes.set_title(drawn.name, fontsize=9)
        for axes, drawn in zip(below, maps, strict=True):
            _shade_train(axes, places, splits)
            best = drawn.fields.argmax(1)
            cells, counts = np.unique(best, return_counts=True)
            axes.scatter(*places.xy[cells].T, s=4 + 400 * counts / len(best), color=TEST, alpha=0.6)
            axes.set_title(drawn.title(splits), fontsize=8)
        above[0].set_ylabel(f"{name}\nreward of the first\ny ({places.unit})", fontsize=8)
        below[0].set_ylabel(f"largest rewards\ny ({places.unit})", fontsize=8)
    for axes in panels[-1]:
        axes.set_xlabel(f"x ({places.unit})", fontsize=8)
    drawing.supxlabel(
        "above: decoded reward, dark where high; below: places of the largest reward of each, "
        "blue: goals of train tasks",
        fontsize=8,
    )
    return save(drawing, path)


def draw_field(axes: Axes, places: Places, field: Array) -> None:
    """Draw rewards per position as colours."""
    _image(axes, places, field, cmap="Reds")


def _shade_train(axes: Axes, places: Places, splits: Array) -> None:
    train = np.where(splits == "train", 0.35, np.nan)
    _image(axes, places, train, cmap="Blues", vmin=0.0, vmax=1.0)


def _image(axes: Axes, places: Places, values: Array, **style: Any) -> None:
    half = (places.xy[1, 0] - places.xy[0, 0]) / 2
    (left, bottom), (right, top) = places.xy.min(0) - half, places.xy.max(0) + half
    image = values.reshape(places.shape)
    axes.imshow(image, origin="lower", extent=(left, right, bottom, top), **style)
    axes.tick_params(labelsize=7)
