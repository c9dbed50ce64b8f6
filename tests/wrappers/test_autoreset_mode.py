"""The autoreset mode of the very instance, on every Gymnasium that the package admits."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import ClipReward
from wrapper_stubs import ScriptedEnv

from ldm_wrappers.sb3 import VectorEnvAdapter
from ldm_wrappers.vector import MultiEpisodeWrapper, RL2ObservationWrapper
from ldm_wrappers.vector.batch import autoreset_mode

MODES = list(AutoresetMode)


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("later", MODES)
@pytest.mark.parametrize("mode", MODES)
def test_instances_made_later_change_nothing(kind: Any, mode: Any, later: Any) -> None:
    env = kind([ScriptedEnv], autoreset_mode=mode)
    other = kind([ScriptedEnv], autoreset_mode=later)
    assert autoreset_mode(env) is mode and autoreset_mode(other) is later
    assert autoreset_mode(ClipReward(env, -1, 1)) is mode
    env.close(), other.close()


def test_wrappers_judge_by_the_instance() -> None:
    same = SyncVectorEnv([ScriptedEnv], autoreset_mode=AutoresetMode.SAME_STEP)
    disabled = SyncVectorEnv([ScriptedEnv], autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="DISABLED, got SAME_STEP"):
        MultiEpisodeWrapper(same, 2)
    RL2ObservationWrapper(same), VectorEnvAdapter(same)
    same = SyncVectorEnv([ScriptedEnv], autoreset_mode=AutoresetMode.SAME_STEP)
    meta = MultiEpisodeWrapper(ClipReward(disabled, -1, 1), 2)
    assert autoreset_mode(meta) is autoreset_mode(RL2ObservationWrapper(meta))
    with pytest.raises(ValueError, match="SAME_STEP, got DISABLED"):
        VectorEnvAdapter(disabled)


def test_a_registered_environment_made_by_gymnasium() -> None:
    def make(mode: AutoresetMode) -> Any:
        return gym.make_vec(
            "Pendulum-v1", 2, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}
        )

    first, _ = make(AutoresetMode.NEXT_STEP), make(AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="DISABLED, got NEXT_STEP"):
        MultiEpisodeWrapper(first, 2)


def test_what_the_page_says_of_batches_that_restart_in_their_next_step() -> None:
    """EnvPool's mode (docs/own_environments.md): another task, and a step whose action is lost."""

    def batch() -> SyncVectorEnv:
        makers = [lambda: ScriptedEnv((2,))] * 2
        return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)

    shown = []
    for action in (0, 2):  # what is done in the step of the restart
        env = batch()
        _, begun = env.reset(seed=0)
        first = begun["task"].copy()
        for _ in range(2):
            _, _, _, truncations, _ = env.step(np.zeros(2, int))
        assert truncations.all()
        observations, rewards, *_, infos = env.step(np.full(2, action))
        shown.append(observations)
        assert (rewards == 0.0).all()  # no reward, so nothing that the VAE should learn from
        assert (infos["task"] != first).all()  # nobody could say that the task is to be kept
    np.testing.assert_array_equal(*shown)
    with pytest.raises(ValueError, match=r"DISABLED, got NEXT_STEP"):
        MultiEpisodeWrapper(batch(), 2)
    with pytest.raises(ValueError, match=r"SAME_STEP, got NEXT_STEP"):
        VectorEnvAdapter(batch())
