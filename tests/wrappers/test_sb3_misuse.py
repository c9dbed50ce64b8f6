"""Arguments of the learners, environments and callbacks that cannot work together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_sb3_stranger import agent

from ldm_wrappers.sb3 import (
    MixregRecurrentPPO,
    SequenceRecurrentPPO,
    WholeSequenceLstmPolicy,
    imagine,
)
from ldm_wrappers.sb3.time_limits import TimeLimitPPO


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_steps": 0}, "n_steps must be at least 1, got 0"),
        ({"n_steps": 6.0}, "n_steps must be an integer, got 6.0"),
        ({"n_epochs": 0}, "n_epochs must be at least 1, got 0"),
        ({"batch_size": 6.0}, "batch_size must be an integer, got 6.0"),
        ({"gamma": float("nan")}, r"gamma must be within \[0, 1\], got nan"),
        ({"gae_lambda": 1.5}, r"gae_lambda must be within \[0, 1\], got 1.5"),
        ({"cut_at_time_limits": "no"}, "cut_at_time_limits must be True or False, got 'no'"),
    ],
)
@pytest.mark.parametrize("kind", [SequenceRecurrentPPO, MixregRecurrentPPO])
def test_wrong_sizes_are_refused(kind: Any, wrong: dict[str, Any], message: str) -> None:
    """Without steps ``learn`` never ended, without epochs it failed, and "no" meant yes."""
    with pytest.raises(ValueError, match=message):
        agent(kind, **wrong)


def test_steps_that_were_changed_later_are_refused(tmp_path: Path) -> None:
    learner = agent()
    learner.n_steps = 12
    with pytest.raises(ValueError, match=r"load.*n_steps=12"):
        learner.learn(24)
    learner.save(tmp_path / "agent.zip")
    loaded = SequenceRecurrentPPO.load(tmp_path / "agent.zip", env=learner.get_env(), n_steps=12)
    assert loaded.learn(24).rollout_buffer.buffer_size == 12


def test_inner_time_limits_need_meta_episodes() -> None:
    """An ``AttributeError`` of the first step said that a Monitor lacks a method."""
    with pytest.raises(ValueError, match="VectorEnvAdapter around a"):
        SequenceRecurrentPPO(
            WholeSequenceLstmPolicy, "CartPole-v1", n_steps=6, batch_size=None,
            cut_at_time_limits=True,
        )  # fmt: skip
    with pytest.raises(ValueError, match="or PPO"):
        TimeLimitPPO("MlpPolicy", "CartPole-v1", n_steps=6, batch_size=6)


def test_a_callback_that_is_given_twice_refuses() -> None:
    """It took twice ``n_updates`` gradient steps after each rollout."""
    vec_env, callback = imagine("Pendulum-v1", num_envs=3, n_mixture=1, check_tasks=False)
    sizes: dict[str, Any] = {"n_steps": 4, "batch_size": None, "n_epochs": 1, "device": "cpu"}
    learner = SequenceRecurrentPPO(WholeSequenceLstmPolicy, vec_env, **sizes)
    with pytest.raises(RuntimeError, match="in the callbacks of learn twice"):
        learner.learn(24, callback=[callback, callback])
