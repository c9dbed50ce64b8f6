"""Mixtures of the final beliefs about a run's train tasks, and where their rewards peak."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ldm_wrappers.latent_dynamics import LatentDynamics
from train.common.places import reward_fields
from train.config.on_policy import OnPolicySettings
from train.plots.grid import Grid
from train.plots.rollout import Rollout

Array = np.ndarray[Any, np.dtype[Any]]
_REWARDED = 0.45  # threshold for a goal: halfway between GridNavi's two rewards


@dataclasses.dataclass(frozen=True)
class Mixtures:
    """Imaginary tasks of one run on its grid.

    Attributes:
        grid: The grid.
        train_cells: Goals of the train tasks, (n_train, 2).
        test_cells: Goals of all other tasks of the family, (n_test, 2).
        weights: Weight of each train goal in each mixture, (n_mixtures, n_train), summed over the
            workers on that goal (and averaged over latent dimensions, if they differ).
        maps: Reward per cell without dropout in the decoder, (n_mixtures, n_cells).
        dropout_maps: The same, averaged over dropout masks: over the few that a run keeps for an
            imaginary task if it does so, else over many.
        own_maps: Reward per cell for each train task's own belief, no dropout, (n_train, n_cells).
        own_dropout_maps: The same, averaged over dropout masks.
        p_drop: The decoder's dropout rate.
        scheme: The mixture scheme in words.
    """

    grid: Grid
    train_cells: Array
    test_cells: Array
    weights: Array
    maps: Array
    dropout_maps: Array
    own_maps: Array
    own_dropout_maps: Array
    p_drop: float
    scheme: str

    def peaks(self, maps: Array) -> dict[str, float]:
        """Share of maps whose largest reward lies on a train goal, a test goal, or elsewhere."""
        best = maps.argmax(1)
        train = np.isin(best, self.grid.index(self.train_cells)).mean()
        test = np.isin(best, self.grid.index(self.test_cells)).mean() if len(self.test_cells) else 0
        other = max(0.0, 1.0 - float(train) - float(test))
        return {"train": float(train), "test": float(test), "other": other}

    def coverage(self, maps: Array) -> float:
        """Effective number of test goals that the maps reward by more than ``_REWARDED``.

        This is the exponential of the entropy of how often each goal is rewarded, i.e. the number
        of equally often rewarded goals with the same entropy. It involves no policy or test task.

        Args:
            maps: Reward per cell, (n_maps, n_cells).
        """
        counts = (maps[:, self.grid.index(self.test_cells)] > _REWARDED).sum(0).astype(float)
        if not counts.any():
            return 0.0
        shares = counts[counts > 0] / counts.sum()
        return float(np.exp(-(shares * np.log(shares)).sum()))

    def recognised(self, own_maps: Array) -> int:
        """Number of train tasks whose own belief decodes to their goal."""
        return int((own_maps.argmax(1) == self.grid.index(self.train_cells)).sum())

    def describe(self) -> list[str]:
        """A summary of the maps: a line for the decoder without dropout, and one with it."""
        kinds = [("dropout off", self.maps, self.own_maps)]
        if self.p_drop:
            kinds.append(("with dropout", self.dropout_maps, self.own_dropout_maps))
        lines = [f"{len(self.maps)} mixtures of {self.scheme}"]
        for name, maps, own_maps in kinds:
            shares = self.peaks(maps)
            lines.append(
                f"{name}: largest reward {maps.max(1).mean():.2f} on average, on "
                f"{len(set(maps.argmax(1)))} different cells, in {shares['train']:.0%} on a train "
                f"goal, {shares['test']:.0%} on a test goal, {shares['other']:.0%} elsewhere; "
                f"effectively {self.coverage(maps):.1f} of {len(self.test_cells)} test goals are "
                "rewarded; "
                f"{self.recognised(own_maps)} of {len(self.train_cells)} train tasks' own beliefs "
                "decode to their goal"
            )
        return lines


def sample_mixtures(
    config: OnPolicySettings,
    model: LatentDynamics,
    grid: Grid,
    rollout: Rollout,
    test_cells: Array,
    *,
    n_mixtures: int = 1000,
    samples: int = 128,
) -> Mixtures:
    """Mix final beliefs as in training: normal workers on random train tasks, then Eq. 1.

    If training chooses among candidates (``n_candidates``), these are the candidates.

    Args:
        config: The run's configuration, whose mixture scheme is used.
        model: Its latent dynamics model.
        grid: The grid.
        rollout: Greedy meta-episodes on all train tasks.
        test_cells: Goals of the other tasks, (n_test, 2).
        n_mixtures: Number of mixtures.
        samples: Number of dropout masks to average over, if a run keeps none for a task.
    """
    assert rollout.tasks is not None
    beliefs = rollout.final_beliefs()
    n_tasks, latent_dim = beliefs.shape
    rng = np.random.default_rng(0)
    weights = np.zeros((n_mixtures, n_tasks), np.float32)
    latents = np.zeros((n_mixtures, latent_dim), np.float32)
    for index in range(n_mixtures):
        tasks = rng.integers(n_tasks, size=config.n_normal_workers)
        drawn = config.mixture.sample(rng, 1, config.n_normal_workers, latent_dim)[0]
        latents[index] = (drawn * beliefs[tasks]).sum(0)
        np.add.at(weights[index], tasks, drawn.mean(1))
    sizes = {"n_mixture": n_mixtures, "n_normal": config.n_normal_workers}
    masks = config.imagination.start(model, **sizes, mixture=config.mixture, seed=0).masks
    kept, n_candidates = "", getattr(config.imagination, "n_candidates", 1)
    if n_candidates > 1:
        kept = f" (candidates: training keeps one in {n_candidates}, the rare ones)"
    return Mixtures(
        grid=grid,
        train_cells=rollout.tasks,
        test_cells=test_cells,
        weights=weights,
        maps=reward_fields(model, grid.cells, latents),
        dropout_maps=reward_fields(model, grid.cells, latents, samples=samples, masks=masks),
        own_maps=reward_fields(model, grid.cells, beliefs),
        own_dropout_maps=reward_fields(model, grid.cells, beliefs, samples=samples),
        p_drop=config.p_drop,
        scheme=f"{config.mixture} of {config.n_normal_workers} workers{kept}",
    )
