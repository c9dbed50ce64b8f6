"""The autoreset mode of the very instance, on every Gymnasium that the package admits."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import ClipReward
from wrapper_stubs import ScriptedEnv

from ldm_wrappers.sb3 import VectorEnvAdapter
from ldm_wrappers.vector import MultiEpisodeWrapper, RL2ObservationWrapper
from ldm_wrappers.vector.infos import autoreset_mode

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
