"""Families that break the task protocol without a word are noticed, each with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ldm_envs import FamilyError, check_family
from ldm_wrappers import TaskProtocolWarning, vector


def flat(env: gym.Env[Any, Any], keys: list[str]) -> gym.Env[Any, Any]:
    return gym.wrappers.FlattenObservation(gym.wrappers.FilterObservation(env, keys))


def point_maze() -> gym.Env[Any, Any]:
    pytest.importorskip("gymnasium_robotics")
    return flat(gym.make("gymnasium_robotics:PointMaze_UMaze-v3"), ["observation"])


def ant_maze() -> gym.Env[Any, Any]:
    pytest.importorskip("gymnasium_robotics")
    return flat(gym.make("gymnasium_robotics:AntMaze_UMaze-v5"), ["observation"])


def four_rooms() -> gym.Env[Any, Any]:
    wrappers = pytest.importorskip("minigrid.wrappers")
    return wrappers.ImgObsWrapper(gym.make("MiniGrid-FourRooms-v0"))


def dm_reacher() -> gym.Env[Any, Any]:
    pytest.importorskip("shimmy")
    return flat(gym.make("shimmy:dm_control/reacher-easy-v0"), ["position", "velocity"])


def parking() -> gym.Env[Any, Any]:
    pytest.importorskip("highway_env")
    return flat(gym.make("highway_env:parking-v0"), ["observation"])


def reach(sample: bool) -> Callable[[], gym.Env[Any, Any]]:
    def make() -> gym.Env[Any, Any]:
        metaworld = pytest.importorskip("metaworld")
        ml1 = metaworld.ML1("reach-v3", seed=0)
        env = ml1.train_classes["reach-v3"]()
        env.set_task(ml1.train_tasks[0])
        if sample:  # another goal at each reset
            env._freeze_rand_vec = False
        return gym.wrappers.TimeLimit(env, 20)

    return make


class SetTask(gym.Wrapper[Any, Any, Any, Any]):
    """Waits for set_task (garage), reset_task (variBAD) or options={"new_task": True}."""

    task = 1.0

    def set_task(self, task: float) -> None:
        self.task = task

    reset_task = set_task

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if (options or {}).get("new_task"):
            self.task = float(self.np_random.uniform())
        return self.env.reset(seed=seed)


def waits() -> gym.Env[Any, Any]:
    return SetTask(gym.make("Pendulum-v1"))


FAMILIES = {
    "PointMaze": point_maze,
    "AntMaze": ant_maze,
    "FourRooms": four_rooms,
    "dm_control reacher": dm_reacher,
    "parking": parking,
    "reach, one goal": reach(False),
    "reach, sampled": reach(True),
    "set_task": waits,
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_each_is_a_warning_that_names_the_environment_and_a_remedy(name: str) -> None:
    make = FAMILIES[name]
    env = SyncVectorEnv([make] * 2, autoreset_mode=AutoresetMode.DISABLED)
    kind = type(env.envs[0].unwrapped).__name__
    meta = vector.MultiEpisodeWrapper(env, 2)
    with pytest.warns(TaskProtocolWarning, match=rf"{kind}.*ldm_envs.TaskMethodWrapper"):
        meta.reset(seed=0)
    env.close()
    with pytest.raises(FamilyError, match="TaskMethodWrapper"):
        check_family(lambda split: make())


@pytest.mark.parametrize("name", ["parking"])
def test_the_remedy_helps(name: str) -> None:
    pytest.importorskip("highway_env")
    import families

    env = vector.MultiEpisodeWrapper(
        SyncVectorEnv([families.parking] * 2, autoreset_mode=AutoresetMode.DISABLED), 2
    )
    env.reset(seed=0)
    for _ in range(110):
        env.step(np.zeros((2, 2), np.float32))
