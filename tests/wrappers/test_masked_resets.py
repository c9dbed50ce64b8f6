"""Vector wrappers inside MultiEpisodeWrapper that cannot reset some environments alone."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper
from gymnasium.wrappers import RecordEpisodeStatistics
from gymnasium.wrappers import vector as theirs
from wrapper_stubs import ScriptedEnv, scripted_vector

from ldm_wrappers import LatentDynamics
from ldm_wrappers.sb3 import VectorEnvAdapter
from ldm_wrappers.vector import (
    ImaginaryRewardWrapper,
    MultiEpisodeWrapper,
    RL2ObservationWrapper,
)
from ldm_wrappers.vector.masked_resets import refuse_moved_rows
from train.common.guard import FiniteCheckWrapper


class MyStatistics(theirs.RecordEpisodeStatistics):
    """A subclass is as bad as its parent."""


@pytest.mark.parametrize(
    "wrapper",
    [
        theirs.RecordEpisodeStatistics,
        MyStatistics,
        theirs.NormalizeReward,
        theirs.DictInfoToList,
        lambda env: theirs.ClipReward(theirs.RecordEpisodeStatistics(env), 0, 1),
    ],
)
def test_stateful_ones_are_refused_by_name(wrapper: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inner = wrapper(scripted_vector((3,), (5,)))
    name = r"(RecordEpisodeStatistics|MyStatistics|NormalizeReward|DictInfoToList)"
    with pytest.raises(ValueError, match=f"{name} inside.*; use "):
        MultiEpisodeWrapper(inner, 2)


def in_imagination(env: Any) -> Any:
    model = LatentDynamics(env.env.single_observation_space, env.env.single_action_space)
    return ImaginaryRewardWrapper(env, model, n_mixture=1)


@pytest.mark.parametrize("wrapper", [RL2ObservationWrapper, in_imagination, VectorEnvAdapter])
def test_infos_as_lists_are_refused_between_our_wrappers_too(wrapper: Any) -> None:
    env = wrapper(theirs.DictInfoToList(MultiEpisodeWrapper(scripted_vector((3,), (5,)), 2)))
    with pytest.raises(ValueError, match=r"infos as a dict of arrays, got a list: put .* it"):
        env.reset()


class Counter(VectorWrapper):
    """A user's own: counts the steps of every episode."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.counts = np.zeros(self.num_envs, int)
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> Any:
        self.counts += 1
        return self.env.step(actions)


class AwareCounter(Counter):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if options and "reset_mask" in options:
            self.counts[options["reset_mask"]] = 0
            return self.env.reset(seed=seed, options=options)
        return super().reset(seed=seed, options=options)


class Declared(Counter):
    handles_reset_mask = True


def test_a_wrapper_of_ones_own_is_warned_of_unless_it_knows_masks() -> None:
    with pytest.warns(UserWarning, match="Counter inside MultiEpisodeWrapper.*handles_reset_mask"):
        MultiEpisodeWrapper(Counter(scripted_vector((3,), (5,))), 2)


@pytest.mark.parametrize(
    "wrapper",
    [
        AwareCounter,
        Declared,
        FiniteCheckWrapper,
        theirs.ClipAction,
        lambda e: theirs.ClipReward(e, -1, 1),
    ],
)
def test_harmless_wrappers_are_let_in_without_a_word(wrapper: Any) -> None:
    env = scripted_vector((3,), (5,), action="box")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MultiEpisodeWrapper(wrapper(env), 2).reset(seed=0)


def test_the_ways_out_work() -> None:
    makers = [lambda n=n: RecordEpisodeStatistics(ScriptedEnv((n,))) for n in (3, 5)]
    inner = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
    env = theirs.RecordEpisodeStatistics(MultiEpisodeWrapper(inner, 2), stats_key="meta")
    env.reset(seed=0)
    for _ in range(30):
        env.step(np.zeros(2, int))
    if tuple(map(int, gym.__version__.split(".")[:2])) >= (1, 4):  # earlier ones lose a step
        assert set(map(int, env.length_queue)) == {6, 10}
    for one in inner.envs:
        assert isinstance(one, gym.Wrapper)
        assert len(set(one.get_wrapper_attr("length_queue"))) == 1


def test_what_is_unknown_before_and_after_has_not_moved() -> None:
    """NaN differs from itself."""
    before = np.array([[np.nan, 1.0], [2.0, 3.0], [4.0, 5.0]])
    shown, mask = before.copy(), np.array([False, True, False])
    shown[1] = 9.0
    refuse_moved_rows("Nan-v0", mask, shown, before)
    shown[2] = np.nan
    with pytest.raises(ValueError, match=r"changes the observations of \[2\] too"):
        refuse_moved_rows("Nan-v0", mask, shown, before)
