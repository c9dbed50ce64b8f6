"""Where the VAE believes goals to be during training (appendix B of the paper)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ldm_wrappers.latent_dynamics.model import LatentDynamics, drops
from train.common.evaluation import SplitResult
from train.common.places import Places, reward_fields
from train.common.task_text import task_texts

_N_MASKS = 8
_FIELDS = 4  # tasks per split whose rewards at all places are written


class GoalDecoder:
    """Decodes rewards at all places from the beliefs at the end of evaluated tasks.

    Args:
        model: The VAE.
        places: Positions.
    """

    def __init__(self, model: LatentDynamics, places: Places) -> None:
        self.model = model
        self.places = places

    def rows(self, timesteps: int, results: list[SplitResult]) -> list[dict[str, Any]]:
        """Rows of ``decoded_goals.csv``: one per split, task and decoder (dropout off, then on).

        ``x``, ``y`` is the place with the largest reward, and ``distance`` its distance from the
        task's goal. Rewards at all places, in the order of :class:`~train.common.places.Places`,
        are given for the first few tasks of each split except ``"train"``.
        """
        rows = []
        for result in results:
            if result.beliefs is None or result.tasks is None or result.tasks.shape[1] != 2:
                continue  # tasks of another family (eval_env_id)
            goals, names = self.places.goals(result.tasks), task_texts(result.tasks)
            for dropout in range(2 if drops(self.model) else 1):
                fields = reward_fields(
                    self.model,
                    self.places.observations,
                    result.beliefs,
                    samples=_N_MASKS * dropout,
                )
                found = self.places.xy[fields.argmax(1)]
                distances = np.linalg.norm(found - goals, axis=1)
                for task, values in enumerate(fields):
                    shown = result.split != "train" and task < _FIELDS
                    row = {
                        "timesteps": timesteps,
                        "split": result.split,
                        "task": names[task],
                        "dropout": dropout,
                        "x": f"{found[task, 0]:g}",
                        "y": f"{found[task, 1]:g}",
                        "distance": f"{distances[task]:.4g}",
                        "rewards": " ".join(f"{v:.3g}" for v in values) if shown else "",
                    }
                    rows.append(row)
        return rows
