"""Trainings that are stopped or interrupted, copied, and continued with the same objects."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EveryNTimesteps
from test_sb3_ppo import LENGTHS, Run, adapter, learner, weights

from ldm_wrappers import vector
from ldm_wrappers.sb3 import MixregRecurrentPPO, SequenceRecurrentPPO, WholeSequenceLstmPolicy


class Stop(BaseCallback):
    """Stops at a step of all workers, by the value that SB3 reads or by an exception."""

    def __init__(self, at: int, error: BaseException | None) -> None:
        super().__init__()
        self.left, self.error = at, error

    def _on_step(self) -> bool:
        self.left -= 1
        if not self.left and self.error is not None:
            raise self.error
        return self.left != 0


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
@pytest.mark.parametrize("at", [1, 8, 9, 13])
def test_after_a_rollout_that_was_stopped_the_policy_sees_where_the_environment_is(
    at: int, error: BaseException | None
) -> None:
    """It saw what it had seen before, and went on with the memory of a task that had ended."""
    run = Run(0)
    try:
        run.model.learn(8 * 4 * 3, callback=CallbackList([run.callback, Stop(at, error)]))
    except KeyboardInterrupt:
        assert error is not None
    env: Any = run.model.get_env()
    seen: list[tuple[Any, Any]] = []
    forward = run.model.policy.forward

    def watch(observations: torch.Tensor, states: Any, starts: torch.Tensor) -> Any:
        imaginary = env.env.env
        position = imaginary.env
        task_begins = (position._episode == 0) & (position._lengths[:, 0] == 0)
        seen.append((observations[:, :4].numpy(), imaginary._reader.states))
        np.testing.assert_array_equal(starts.numpy() > 0, task_begins)
        return forward(observations, states, starts)

    run.model.policy.forward = watch
    run.model.learn(8 * 4, callback=run.callback, reset_num_timesteps=False)
    assert len(seen) == 8
    for shown, true in seen:
        np.testing.assert_array_equal(shown, true)


def test_after_a_whole_rollout_the_next_training_goes_on_in_the_middle_of_tasks() -> None:
    run = Run(0)
    run.model.learn(8 * 4, callback=run.callback)
    before = np.array(run.model._last_obs)
    shown = []
    collect = run.model.rollout_buffer.add

    def add(observations: Any, *rest: Any, **states: Any) -> None:
        shown.append(np.array(observations))
        collect(observations, *rest, **states)

    run.model.rollout_buffer.add = add  # type: ignore[method-assign]
    run.model.learn(8 * 4, callback=run.callback, reset_num_timesteps=False)
    np.testing.assert_array_equal(shown[0], before)


def test_a_copied_learner_asks_its_own_environment_for_time_limits() -> None:
    """It asked that of the one it was copied from, so that advantages were cut elsewhere."""
    original = learner(adapter(), cut_at_time_limits=True)
    copied = copy.deepcopy(original)
    own: Any = copied.get_env()
    layer = own.env
    while not isinstance(layer, vector.MultiEpisodeWrapper):
        layer = layer.env
    hits = []

    class Note(BaseCallback):
        def _on_step(self) -> bool:
            hits.append(layer.inner_time_limits().copy())
            return True

    copied.learn(8 * len(LENGTHS), callback=Note())
    assert np.any(hits)
    np.testing.assert_array_equal(copied.rollout_buffer._limits, hits)


def test_a_trainer_goes_back_to_where_its_state_was_taken() -> None:
    """The state shared Adam's moments, which further updates had changed."""
    run = Run(0)
    run.model.learn(8 * 4 * 2, callback=run.callback)
    trainer, dynamics = run.trainer, run.dynamics
    weights_then = copy.deepcopy(dynamics.state_dict())
    state, batches = trainer.state_dict(), trainer.buffer.state_dict()
    outcomes = []
    for _ in range(2):
        trainer.update(3)
        outcomes.append(weights(dynamics))
        dynamics.load_state_dict(weights_then)
        trainer.load_state_dict(state)
        trainer.buffer.load_state_dict(batches)
    assert torch.equal(*outcomes)


def test_a_callback_that_is_passed_inside_another_one_the_second_time_says_so() -> None:
    """The latent dynamics were not trained any more."""
    run = Run(0)
    run.model.learn(8 * 4, callback=run.callback)
    with pytest.raises(RuntimeError, match="is not called when rollouts begin and end"):
        run.model.learn(8 * 4, callback=EveryNTimesteps(8, run.callback))


@pytest.mark.parametrize(
    ("kind", "name", "value", "other"),
    [
        (SequenceRecurrentPPO, "cut_at_time_limits", True, False),
        (MixregRecurrentPPO, "mixreg_alpha", 0.5, 0.2),
    ],
)
def test_settings_that_the_rollout_buffer_is_built_with_are_fixed(
    kind: Any, name: str, value: Any, other: Any, tmp_path: Path
) -> None:
    """Setting them later had no effect; a saved learner is loaded with its own, or with others."""
    made = kind(
        WholeSequenceLstmPolicy, adapter(), n_steps=8, batch_size=None, device="cpu",
        policy_kwargs={"lstm_hidden_size": 6, "net_arch": [8]}, **{name: value},
    )  # fmt: skip
    with pytest.raises(AttributeError, match=f"{name} of .*PPO is fixed when it is made"):
        setattr(made, name, other)
    made.save(tmp_path / "saved")
    assert getattr(kind.load(tmp_path / "saved"), name) == value
    changed = kind.load(tmp_path / "saved", env=adapter(), **{name: other})
    assert getattr(changed, name) == other
    own = changed.rollout_buffer
    assert (own.time_limits is None) if name == "cut_at_time_limits" else (own.alpha == other)
