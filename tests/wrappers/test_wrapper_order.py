"""Wrappers in the wrong order, or twice, are an error rather than another meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from wrapper_stubs import ScriptedEnv

from ldm_wrappers import (
    BeliefObservationWrapper,
    BeliefPool,
    BeliefPublisherWrapper,
    ImaginaryRewardWrapper,
    LatentDynamics,
    MultiEpisodeWrapper,
    RL2ObservationWrapper,
    SavedBeliefs,
    vector,
)

ENV = ScriptedEnv((3,))
MODEL = LatentDynamics(ENV.observation_space, ENV.action_space)
SIZE = MODEL.config.latent_dim
BELIEFS = SavedBeliefs(np.zeros((4, 7, SIZE)))


def imaginary(env: Any) -> Any:
    return ImaginaryRewardWrapper(env, MODEL, BELIEFS)


def publishing(env: Any) -> Any:
    return BeliefPublisherWrapper(env, MODEL, BeliefPool(1, SIZE), 0)


INNER: dict[str, Callable[[Any], Any]] = {
    "ImaginaryRewardWrapper": imaginary,
    "BeliefPublisherWrapper": publishing,
    "BeliefObservationWrapper": lambda env: BeliefObservationWrapper(env, MODEL),
    "RL2ObservationWrapper": RL2ObservationWrapper,
    "MultiEpisodeWrapper": lambda env: MultiEpisodeWrapper(env, 2),
}


@pytest.mark.parametrize("name", INNER)
def test_what_lasts_a_task_is_refused_inside_meta_episodes(name: str) -> None:
    wrapped = INNER[name](ScriptedEnv((3,)))
    with pytest.raises(ValueError, match=rf"got {name} inside.*expected {name} around"):
        MultiEpisodeWrapper(wrapped, 2)
    batch = SyncVectorEnv([lambda: wrapped] * 2, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match=rf"got {name} inside"):
        vector.MultiEpisodeWrapper(batch, 2)


def batched(env: Any) -> Any:
    return vector.ImaginaryRewardWrapper(env, MODEL, n_mixture=1)


def test_rewards_are_imaginary_once() -> None:
    inside = imaginary(MultiEpisodeWrapper(ScriptedEnv((3,)), 2))
    for wrap in (imaginary, publishing):
        with pytest.raises(ValueError, match=r"got ImaginaryRewardWrapper inside.*imaginary once"):
            wrap(inside)
    batch = SyncVectorEnv([lambda: ScriptedEnv((3,))] * 3, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="imaginary once"):
        batched(batched(vector.MultiEpisodeWrapper(batch, 2)))
    one = SyncVectorEnv([lambda: inside] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(ValueError, match="imaginary once"):
        batched(one)
