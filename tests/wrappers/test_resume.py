"""A chain of wrappers goes on bit for bit from its saved state."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from reference_models import small_model
from wrapper_stubs import ScriptedEnv, actions_for

import ldm_envs  # noqa: F401
from ldm_wrappers import (
    DirichletMixture,
    ExpectedReward,
    LatentDynamics,
    PlausibleTasks,
    TrajectoryBuffer,
    vector,
)
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer

TASKS: dict[str, Any] = {
    "imaginary": ExpectedReward(n_dropout_masks=1),
    "imaginary, kept dropout": ExpectedReward(n_dropout_masks=1, keep_dropout_masks=True),
    "imaginary, final beliefs": ExpectedReward(final_beliefs=True),
    "imaginary, candidates": PlausibleTasks(
        threshold=0.999, n_remembered_transitions=7, n_candidates=4, n_dropout_masks=8
    ),
    "imaginary, absolute threshold": PlausibleTasks(0.5, relative=False, n_candidates=1),
}


class Chain:
    """Environment, wrappers, buffer and trainer of a run."""

    def __init__(self, wrapper: str, seed: int) -> None:
        self.base: Any = gym.make_vec(
            "LDM-GridNavi-v0", 5, max_episode_steps=3, autoreset_mode=AutoresetMode.DISABLED
        )
        self.meta = vector.MultiEpisodeWrapper(self.base, 2)
        self.model = small_model(self.meta, seed=seed, p_drop=0.5, likelihood="bernoulli")
        self.buffer = TrajectoryBuffer(self.model.spec, capacity=9, max_length=6, seed=seed)
        if wrapper.startswith("imaginary"):
            self.top: Any = vector.ImaginaryRewardWrapper(
                self.meta,
                self.model,
                n_mixture=2,
                mixture=DirichletMixture(2.0, n_components=2, per_dimension=True),
                buffer=self.buffer,
                imagination=TASKS[wrapper],
                seed=seed,
            )
        else:
            self.top = vector.BeliefObservationWrapper(self.meta, self.model, buffer=self.buffer)
        self.env = vector.RL2ObservationWrapper(self.top)
        self.trainer = LatentDynamicsTrainer(
            self.model, self.buffer, batch_trajectories=3, n_encoded_lengths=2, seed=seed
        )
        self.env.reset(seed=seed)

    def parts(self) -> dict[str, Any]:
        return {"base": self.base, "meta": self.meta, "top": self.top}

    def save(self) -> Any:
        states = {name: part.get_state() for name, part in self.parts().items()}
        for name in ("model", "buffer", "trainer"):
            states[name] = copy.deepcopy(getattr(self, name).state_dict())
        return pickle.loads(pickle.dumps(states))

    def load(self, states: Any) -> None:
        for name, part in self.parts().items():
            part.set_state(states[name])
        for name in ("model", "buffer", "trainer"):
            getattr(self, name).load_state_dict(states[name])

    def go_on(self, n_steps: int, seed: int) -> list[Any]:
        seen = []
        for index, actions in enumerate(actions_for(self.env, n_steps, seed)):
            observations, rewards, terminations, truncations, infos = self.env.step(actions)
            seen += [observations, rewards, terminations | truncations, infos["task"]]
            if index % 4 == 3:
                seen.append(list(self.trainer.update(2).values()))
        return seen


@pytest.mark.parametrize("wrapper", [*TASKS, "belief"])
@pytest.mark.parametrize("n_steps", [5, 14])
def test_going_on_is_bit_for_bit(wrapper: str, n_steps: int) -> None:
    first, second = Chain(wrapper, seed=0), Chain(wrapper, seed=1)
    first.go_on(n_steps, 2)
    second.go_on(3, 3)
    states, taken = first.save(), first.top.get_state()
    as_taken = pickle.dumps(taken)
    expected = first.go_on(20, 4)
    assert pickle.dumps(taken) == as_taken  # a state is a copy
    second.load(states)
    found = second.go_on(20, 4)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("wrapper", ["imaginary", "belief"])
def test_beliefs_of_former_weights_are_encoded_again_where_a_run_goes_on(wrapper: str) -> None:
    """Saved right after a training, and loaded in the order of runs: weights first."""
    first, second = Chain(wrapper, seed=0), Chain(wrapper, seed=1)
    first.go_on(8, 2)  # the last thing that it does is to train
    states = first.save()
    for name in ("model", "buffer", "trainer"):
        getattr(second, name).load_state_dict(states[name])
    for name, part in second.parts().items():
        part.set_state(states[name])
    before = torch.from_numpy(states["top"]["tracker"]["filter"]["hidden"])
    expected = first.top.tracker.posterior().mean
    former = second.model.encoder.posterior(before).mean
    assert float((expected - former).abs().max().detach()) > 1e-5  # the training has changed them
    torch.testing.assert_close(second.top.tracker.posterior().mean, expected)


@pytest.mark.parametrize("wrapper", ["imaginary", "belief"])
def test_a_state_from_before_a_training_is_encoded_again(wrapper: str) -> None:
    """The beliefs of the weights at that time were mixed and shown as those of the present ones."""
    chain = Chain(wrapper, seed=0)
    chain.go_on(14, 2)
    tracker = chain.top.tracker
    former, state = tracker.posterior().mean, chain.top.get_state()
    as_taken = pickle.dumps(state)
    chain.trainer.update(3)
    expected = tracker.posterior().mean  # of the same trajectories
    assert pickle.dumps(state) == as_taken
    assert float((expected - former).abs().max().detach()) > 1e-5
    chain.top.set_state(state)
    torch.testing.assert_close(tracker.posterior().mean, expected)


def test_a_seed_gives_identical_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    models = [small_model(ScriptedEnv(), seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    weights = [torch.cat([p.ravel() for p in model.parameters()]) for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_training_touches_no_global_generator() -> None:
    torch.manual_seed(123)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr]
    Chain("imaginary", 0).go_on(12, 0)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]


def test_states_of_other_sizes_are_refused() -> None:
    state = Chain("imaginary", 0).top.get_state()
    meta = vector.MultiEpisodeWrapper(
        gym.make_vec("LDM-GridNavi-v0", 4, autoreset_mode="Disabled"), 2
    )
    env = vector.ImaginaryRewardWrapper(meta, small_model(meta), n_mixture=2)
    with pytest.raises(ValueError, match=r"final_means are \(3, 3\).*expected \(2, 3\)"):
        env.set_state(state)


@pytest.mark.parametrize(
    ("wrapper", "part"),
    [
        ("imaginary", "imagination"),
        ("imaginary", "observations"),
        ("imaginary", "recorder"),
        ("belief", "observations"),
        ("belief", "recorder"),
    ],
)
def test_a_state_that_fails_half_way_changes_nothing(wrapper: str, part: str) -> None:
    chain, other = Chain(wrapper, 0), Chain(wrapper, 1)
    chain.go_on(5, 2)
    other.go_on(9, 3)
    states, broken = chain.save(), other.top.get_state()
    if part == "recorder":
        broken["tracker"]["recorder"]["lengths"] = np.zeros(4, np.int64)
    elif part == "observations":
        broken["observations"] = broken["observations"][:2]
    else:
        del broken[part]
    with pytest.raises((KeyError, ValueError)):
        chain.top.set_state(broken)
    expected, found = states["top"], chain.save()["top"]
    assert pickle.dumps(expected) == pickle.dumps(found)


def test_a_model_is_rebuilt_from_its_config() -> None:
    model = small_model(ScriptedEnv(), likelihood="bernoulli")
    config = type(model.config).from_dict(model.config.to_dict())
    assert config == model.config
    env = ScriptedEnv()
    again = LatentDynamics(env.observation_space, env.action_space, config, seed=9)
    again.load_state_dict(model.state_dict())
