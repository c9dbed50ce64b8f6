"""Every info of the vector wrappers has Gymnasium's mask of the environments that report it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference_models import small_model
from wrapper_stubs import scripted_vector

from ldm_wrappers.vector import ImaginaryRewardWrapper, MultiEpisodeWrapper, RL2ObservationWrapper


def to_list(infos: dict[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """As ``DictInfoToList`` of Gymnasium 1.1, which looks up the mask of every key."""
    rows: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key in (key for key in infos if not key.startswith("_")):
        value, mask = infos[key], infos[f"_{key}"]
        assert mask.shape == (num_envs,) and mask.dtype == bool
        values = to_list(value, num_envs) if isinstance(value, dict) else value
        for index in np.flatnonzero(mask):
            rows[index][key] = values[index]
    return rows


@pytest.mark.parametrize("imaginary", [False, True])
def test_each_info_has_a_mask(imaginary: bool) -> None:
    env: Any = MultiEpisodeWrapper(scripted_vector((2, 3), (2, 3), (4, 2)), 2)
    own = {"ldm_wrappers.MultiEpisodeWrapper", "episode_start", "episode_index", "task"}
    own_of_steps = own | {"next_obs"}
    if imaginary:
        env = RL2ObservationWrapper(ImaginaryRewardWrapper(env, small_model(env), n_mixture=1))
        own_of_steps = own_of_steps | {"environment_reward"}
    ends = {"final_obs", "final_info"}
    _, infos = env.reset(seed=0)
    assert all(own <= row.keys() for row in to_list(infos, 3))
    for _ in range(12):
        *_, terminations, truncations, infos = env.step(env.action_space.sample())
        for row, ended in zip(to_list(infos, 3), terminations | truncations, strict=True):
            assert own_of_steps <= row.keys() and ends & row.keys() == (ends if ended else set())
            if ended:
                lengths = row["final_info"]["episode_lengths"]
                assert (row["final_info"]["next_obs"] == row["next_obs"]).all() and lengths.all()
