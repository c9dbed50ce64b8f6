"""An exception in the main thread leaves an update of the model running; what follows waits."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from reference_models import small_model
from wrapper_stubs import scripted_vector

from ldm_wrappers import LatentDynamics, vector
from ldm_wrappers.latent_dynamics import BeliefTracker, LatentDynamicsTrainer, TrajectoryBuffer
from ldm_wrappers.sb3 import (
    LatentDynamicsCallback,
    SequenceRecurrentPPO,
    VectorEnvAdapter,
    WholeSequenceLstmPolicy,
)


class SlowTrainer(LatentDynamicsTrainer):
    """Pauses after its next step while the model has weights that no finished update leaves."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reached, self.go_on = threading.Event(), threading.Event()

    def _step(self) -> torch.Tensor:
        terms = super()._step()
        self.reached.set()
        assert self.go_on.wait(60)
        return terms


class Waiting(threading.Thread):
    """Calls ``work`` in a thread of its own."""

    def __init__(self, work: Any) -> None:
        super().__init__(target=work, daemon=True)
        self.start()

    def waits(self) -> bool:
        self.join(0.2)
        return self.is_alive()


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in model.state_dict().values()])


class Interrupted:
    """A training that Ctrl-C ended during the policy's update, beside the model's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.env = vector.MultiEpisodeWrapper(scripted_vector((3, 5, 2), (4,), (1, 2), (6, 3)), 2)
        self.dynamics = small_model(self.env, seed=0)
        buffer = TrajectoryBuffer(self.dynamics.spec, capacity=20, max_length=12, seed=0)
        self.imagined = vector.ImaginaryRewardWrapper(
            self.env, self.dynamics, n_mixture=1, buffer=buffer, seed=0
        )
        adapter = VectorEnvAdapter(vector.RL2ObservationWrapper(self.imagined), info_keys=())
        self.trainer = SlowTrainer(self.dynamics, buffer, batch_trajectories=4, averaging=0.9)
        self.agent = SequenceRecurrentPPO(
            WholeSequenceLstmPolicy, adapter, n_steps=8, batch_size=16, seed=0, device="cpu"
        )

        def interrupt(agent: SequenceRecurrentPPO) -> None:
            assert self.trainer.reached.wait(60)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(SequenceRecurrentPPO, "train", interrupt)
            self.agent.learn(32, LatentDynamicsCallback(self.trainer, n_updates=1))

    def finish(self, *waiting: Waiting) -> None:
        self.trainer.go_on.set()
        for thread in waiting:
            thread.join(60)
            assert not thread.is_alive()


def test_a_saved_model_has_the_weights_of_a_finished_update(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stopped = Interrupted(monkeypatch)
    path = tmp_path / "vae.safetensors"
    saving = Waiting(lambda: stopped.dynamics.save(path))
    assert saving.waits()
    stopped.finish(saving)
    saved = LatentDynamics.load(path)
    assert torch.equal(weights(saved), weights(stopped.dynamics))
    assert not torch.equal(weights(saved), weights(small_model(stopped.env, seed=0)))


def test_the_trainers_state_is_that_of_a_finished_update(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped, states = Interrupted(monkeypatch), []
    reading = Waiting(lambda: states.append(stopped.trainer.state_dict()))
    assert reading.waits()
    stopped.finish(reading)
    single = stopped.trainer.state_dict()["single_weights"]
    assert all(torch.equal(states[0]["single_weights"][name], single[name]) for name in single)


def test_the_next_training_begins_with_beliefs_of_new_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped = Interrupted(monkeypatch)
    resetting = Waiting(stopped.imagined.reset)
    assert resetting.waits()
    stopped.finish(resetting)
    posterior = stopped.imagined.tracker.posterior()
    fresh = BeliefTracker(stopped.dynamics, stopped.imagined.tracker.n_workers).posterior()
    assert torch.equal(posterior.mean, fresh.mean)


def test_a_saved_state_has_beliefs_of_one_set_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """It called those new that were about to be encoded again."""
    stopped, states = Interrupted(monkeypatch), []
    tracker = stopped.imagined.tracker
    encode, reached, go_on = tracker._filter.encode, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> None:
        reached.set()
        assert go_on.wait(60)
        encode(*arguments)

    monkeypatch.setattr(tracker._filter, "encode", slow)
    stopped.trainer.go_on.set()
    assert reached.wait(60)
    reading = Waiting(lambda: states.append(stopped.imagined.get_state()))
    waits = reading.waits()
    go_on.set()
    stopped.finish(reading)
    expected = tracker.posterior().mean.clone()
    stopped.imagined.set_state(states[0])
    assert torch.equal(tracker.posterior().mean, expected)
    assert waits


def test_rollouts_of_another_callback_wait_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Interrupted(monkeypatch)
    trainer = LatentDynamicsTrainer(stopped.dynamics, stopped.trainer.buffer)
    callback = LatentDynamicsCallback(trainer, 1)
    taken = stopped.agent.num_timesteps
    learning = Waiting(lambda: stopped.agent.learn(32, callback, reset_num_timesteps=False))
    assert learning.waits()
    assert stopped.agent.num_timesteps == taken
    stopped.finish(learning)


def test_copies_of_a_model_have_locks_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Interrupted(monkeypatch)
    copies = copy.deepcopy(stopped.dynamics), pickle.loads(pickle.dumps(stopped.dynamics))
    for other in copies:
        with other.updating:
            pass
    stopped.finish()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are spawned here")
def test_a_forked_process_does_not_wait_for_a_thread_that_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped = Interrupted(monkeypatch)

    def enter() -> None:
        with stopped.dynamics.updating:
            pass

    child = multiprocessing.get_context("fork").Process(target=enter)
    child.start()
    child.join(30)
    assert child.exitcode == 0
    stopped.finish()
