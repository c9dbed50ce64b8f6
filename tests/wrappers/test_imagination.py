"""The arithmetic that both imaginary-reward wrappers share, without a wrapper."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from reference_models import NumpyModel, small_model
from wrapper_stubs import ScriptedEnv, Transition

import ldm_envs  # noqa: F401
from ldm_wrappers import (
    DirichletMixture,
    ExpectedReward,
    LatentDynamics,
    LatentDynamicsConfig,
    PlausibleTasks,
)
from ldm_wrappers.imagination import transition_memory
from ldm_wrappers.imagination.plausible_tasks import SelectedTasks
from ldm_wrappers.imagination.tasks import MixedTasks
from ldm_wrappers.imagination.transition_memory import TransitionMemory


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("samples", [1, 8])
def test_a_decoder_with_nothing_to_drop_pays_each_worker_its_own_reward(
    samples: int, kept: bool
) -> None:
    grid = gym.make("LDM-GridNavi-v0")
    config = LatentDynamicsConfig.grid(decoder_heads=49, p_drop=0.5)
    model = LatentDynamics(grid.observation_space, grid.action_space, config, seed=1)
    imagination = ExpectedReward(samples, keep_dropout_masks=kept).start(
        model,
        n_mixture=3,
        n_normal=2,
        mixture=DirichletMixture(),
        seed=0,
    )
    means = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    cells = torch.tensor([[0.0, 1.0], [3.0, 4.0], [6.0, 6.0]])
    paid = imagination.rewards(means, cells, torch.zeros(3, 1), cells)
    plain, latents = NumpyModel(model), imagination.latents(means).numpy().astype(float)
    expected = [
        plain.reward(latents[i], Transition(cells[i].numpy(), 0, 0.0, cells[i].numpy()))
        for i in range(3)
    ]
    np.testing.assert_allclose(paid, expected, atol=1e-6)
    assert np.ptp(paid) > 1e-4


def test_each_imaginary_task_draws_dropout_masks_of_its_own() -> None:
    """Workers that do the same and mix alike are paid alike, but for their masks."""
    model = small_model(ScriptedEnv(), p_drop=0.5)
    tasks = ExpectedReward(n_dropout_masks=1).start(model, n_mixture=40, n_normal=1, seed=0)
    states, actions = torch.ones(40, 4), torch.ones(40, 1)
    paid = tasks.rewards(torch.zeros(1, 3), states, actions, states)
    assert len(np.unique(paid)) > 4


def test_dropout_masks_follow_the_seed() -> None:
    """Of a single belief there is one mixture only, so nothing else is drawn."""
    model = small_model(ScriptedEnv(), p_drop=0.5)
    states, actions = torch.ones(40, 4), torch.ones(40, 1)

    def paid(seed: int) -> Any:
        tasks = ExpectedReward(n_dropout_masks=1).start(model, n_mixture=40, n_normal=1, seed=seed)
        return tasks.rewards(torch.zeros(1, 3), states, actions, states)

    np.testing.assert_array_equal(paid(0), paid(0))
    assert (paid(0) != paid(1)).any()


def relative(share: float, size: int, candidates: int = 1, masks: int = 0) -> PlausibleTasks:
    """Relative thresholds; dropout off unless said otherwise."""
    return PlausibleTasks(
        threshold=share,
        n_remembered_transitions=size,
        n_candidates=candidates,
        n_dropout_masks=masks,
    )


class Walk:
    """Random transitions of three mixture workers, for a model and its second implementation."""

    def __init__(self, model: LatentDynamics, seed: int) -> None:
        self.spec = model.spec
        self.rng = np.random.default_rng(seed)
        self.seen: list[Transition] = []

    def row(self, size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return self.rng.normal(size=size).astype(np.float32)

    def step(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rows = [
            Transition(
                self.row(self.spec.observation_size),
                self.row(self.spec.action_columns),
                0.0,
                self.row(self.spec.observation_size),
            )
            for _ in range(3)
        ]
        self.seen += rows
        observations, actions, _, next_observations = zip(*rows, strict=True)
        return tuple(
            torch.from_numpy(np.stack(v)) for v in (observations, actions, next_observations)
        )


@pytest.mark.parametrize(("samples", "candidates"), [(0, 1), (2, 1), (2, 5), (0, 5)])
def test_relative_thresholds_agree_with_the_second_implementation(
    samples: int, candidates: int
) -> None:
    low, high, share, window = -0.1, 2.0, 0.97, 8
    model = small_model(
        ScriptedEnv(action="box"),
        likelihood="bernoulli",
        reward_low=low,
        reward_high=high,
        p_drop=0.5,
    )
    plain = NumpyModel(model)
    tasks = relative(share, window, candidates, samples)
    imagination = tasks.start(model, n_mixture=3, n_normal=2, seed=0)
    walk, thresholds = Walk(model, 0), np.zeros(3)
    means = torch.randn(2, model.config.latent_dim, generator=torch.Generator().manual_seed(0))
    new, outcomes = np.ones(3, bool), set()
    for step in range(30):
        if step in (7, 20):
            new = np.array([True, False, step == 20])
            imagination.begin(new)
        paid = imagination.rewards(means, *walk.step())
        latents = imagination.latents(means).numpy().astype(float)
        masks: Any = [1.0] if imagination.masks is None else imagination.masks.numpy()
        if imagination.masks is not None:  # every candidate has masks of its own
            assert len(np.unique(masks, axis=1).swapaxes(0, 1)) == 3

        def probability(task: int, transition: Transition) -> float:
            own = [mask if imagination.masks is None else mask[task] for mask in masks]  # noqa: B023
            found = [plain.reward(latents[task], transition, mask) for mask in own]  # noqa: B023
            return float((np.mean(found) - low) / (high - low))

        for task in np.flatnonzero(new):
            peak = max(probability(task, t) for t in walk.seen[-window:])
            odds = share * peak / (1.0 - peak)
            thresholds[task] = odds / (1.0 + odds)
        new = np.zeros(3, bool)
        np.testing.assert_allclose(imagination.thresholds, thresholds, atol=1e-6)
        found = np.array([probability(task, walk.seen[-3 + task]) for task in range(3)])
        clear = np.abs(found - thresholds) > 1e-5
        expected = np.where(found > thresholds, high, low)
        np.testing.assert_array_equal(paid[clear], expected[clear])
        outcomes |= set(paid.tolist())
    assert outcomes == {low, high}


def test_thresholds_are_those_of_a_mean_over_masks() -> None:
    model = small_model(ScriptedEnv(action="box"), likelihood="bernoulli", p_drop=0.5)
    means = torch.randn(2, model.config.latent_dim, generator=torch.Generator().manual_seed(0))
    found, generator = [], torch.Generator().manual_seed(7)
    for samples in (0, 2000):
        tasks = relative(0.97, 9, masks=samples)
        imagination = tasks.start(model, n_mixture=3, n_normal=2, seed=0)
        walk = Walk(model, 0)
        transitions = walk.step()
        imagination.rewards(means, *transitions)
        expected = np.zeros((3, 3))
        for _ in range(samples):
            mask = model.decoder.dropout_mask(3, 1, generator=generator)
            expected += model.imagine_reward(
                imagination.latents(means)[:, None], *transitions, mask
            ).numpy()
        if samples:
            peaks = (expected / samples).max(1)
            odds = 0.97 * peaks / (1.0 - peaks)
            np.testing.assert_allclose(imagination.thresholds, odds / (1.0 + odds), atol=0.02)
        found.append(imagination.thresholds.copy())
    assert not np.allclose(*found, atol=1e-4)


def test_what_a_decoder_cannot_tell_apart_is_measured_once(monkeypatch: Any) -> None:
    model = small_model(
        ScriptedEnv(action="box"),
        likelihood="bernoulli",
        decoder_inputs=("next_observation",),
        p_drop=0.5,
    )
    memory = TransitionMemory(model, 12)
    walk = Walk(model, 0)
    first, second, third = (list(walk.step()) for _ in range(3))
    second[2] = first[2]
    third[0] = torch.full_like(third[0], torch.inf)
    for transition in (first, second, third):
        memory.remember(*transition)
    latents = torch.randn(5, model.config.latent_dim, generator=torch.Generator().manual_seed(0))
    masks = model.decoder.dropout_mask(2, 5, generator=torch.Generator().manual_seed(0))
    for dropped, rows in ((None, 13), (masks, 26)):
        values = memory.probabilities(latents, dropped)
        assert values.shape == (5, 6)
        with monkeypatch.context() as patch:
            patch.setattr(transition_memory, "_ROWS", rows)  # two tasks at a time
            parts = memory.probabilities(latents, dropped)
        np.testing.assert_allclose(values, parts, atol=1e-6)


def test_a_decoder_that_is_certain_still_pays() -> None:
    model = small_model(ScriptedEnv(action="box"), likelihood="bernoulli")
    with torch.no_grad():
        model.decoder.layers[-1].bias.fill_(80.0)
    imagination = relative(0.9, 5).start(model, n_mixture=3, n_normal=2, seed=0)
    means, walk = torch.zeros(2, model.config.latent_dim), Walk(model, 0)
    for _ in range(3):
        paid = imagination.rewards(means, *walk.step())
        assert paid.tolist() == [model.config.reward_high] * 3


@pytest.mark.parametrize("candidates", [1, 4])
def test_a_saved_imaginary_task_keeps_its_threshold(candidates: int) -> None:
    model = small_model(ScriptedEnv(action="box"), likelihood="bernoulli", p_drop=0.5)

    def imagination(seed: int) -> SelectedTasks:
        tasks = relative(0.9, 20, candidates, masks=8)
        return tasks.start(model, n_mixture=3, n_normal=2, seed=seed)

    means = torch.randn(2, model.config.latent_dim, generator=torch.Generator().manual_seed(0))
    whole, later, walk = imagination(0), imagination(1), Walk(model, 1)
    for _ in range(5):
        whole.rewards(means, *walk.step())
    whole.begin(np.array([False, True, False]))
    saved = whole.state_dict()
    as_taken = copy.deepcopy(saved)
    later.load_state_dict(saved)
    for step in range(10):
        if step == 5:
            whole.begin(np.array([True, True, False]))
            later.begin(np.array([True, True, False]))
        transition = walk.step()
        np.testing.assert_array_equal(
            whole.rewards(means, *transition), later.rewards(means, *transition)
        )
        np.testing.assert_array_equal(whole.thresholds, later.thresholds)
    np.testing.assert_equal(saved, as_taken)
    state = whole.state_dict()
    state["memory"]["recent"] = state["memory"]["recent"][:, 1:]
    before = later.state_dict()
    with pytest.raises(ValueError, match=r"shape \(20, 9\), expected at most 20 rows of 10"):
        later.load_state_dict(state)
    for name in ("weights", "thresholds", "masks"):
        np.testing.assert_array_equal(before[name], later.state_dict()[name])
    other = ExpectedReward(8, True, True).start(model, n_mixture=3, n_normal=2)
    with pytest.raises(ValueError, match=r"have \['memory', 'thresholds'\], which these do not"):
        other.load_state_dict(whole.state_dict())
    with pytest.raises(ValueError, match=r"they lack \['memory', 'thresholds'\]"):
        whole.load_state_dict(other.state_dict())


def test_with_final_beliefs_a_task_keeps_the_latent_it_began_with() -> None:
    """Other workers finish tasks in the middle of it, and change what would be mixed."""
    model = small_model(ScriptedEnv(action="box"))
    settings = ExpectedReward(n_dropout_masks=0, final_beliefs=True)
    whole, later = (settings.start(model, n_mixture=3, n_normal=3, seed=seed) for seed in (0, 1))
    generator = torch.Generator().manual_seed(0)
    old, new, other = torch.randn(3, 3, model.config.latent_dim, generator=generator)
    walk, numbers = Walk(model, 1), NumpyModel(model)

    def mixed(row: int, means: torch.Tensor) -> np.ndarray[Any, Any]:
        return (whole.weights[row] * means).sum(0).numpy()

    def check(means: torch.Tensor, *expected: np.ndarray[Any, Any]) -> None:
        transition = walk.step()
        np.testing.assert_allclose(whole.latents(means), expected, atol=1e-6)
        paid = whole.rewards(means, *transition)
        observations, actions, following = (array.numpy() for array in transition)
        rewards = [
            numbers.reward(
                expected[k].astype(float),
                Transition(observations[k], actions[k], 0.0, following[k]),
            )
            for k in range(3)
        ]
        np.testing.assert_allclose(paid, rewards, atol=1e-5)

    whole.begin(np.array([False, True, False]))  # before any transition: all tasks are new
    first, last = mixed(0, old), mixed(2, old)
    check(old, first, mixed(1, old), last)
    check(new, first, mixed(1, old), last)
    whole.begin(np.array([False, True, False]))
    check(new, first, mixed(1, new), last)
    check(other, first, mixed(1, new), last)
    later.load_state_dict(whole.state_dict())
    transition = walk.step()
    np.testing.assert_array_equal(
        whole.rewards(other, *transition), later.rewards(other, *transition)
    )
    present = ExpectedReward(n_dropout_masks=0).start(model, n_mixture=3, n_normal=3)
    with pytest.raises(ValueError, match=r"have \['latents'\], which these do not"):
        present.load_state_dict(whole.state_dict())
    with pytest.raises(ValueError, match=r"they lack \['latents'\]"):
        whole.load_state_dict(present.state_dict())


def test_a_state_that_does_not_fit_leaves_the_imaginary_tasks_as_they_were() -> None:
    model = small_model(ScriptedEnv(), p_drop=0.5)

    def imagination(seed: int, **kwargs: Any) -> MixedTasks:
        return ExpectedReward(**kwargs).start(model, n_mixture=2, n_normal=3, seed=seed)

    kept = {"keep_dropout_masks": True}
    for ours, theirs, message in (
        (imagination(0), imagination(1, **kept), r"have \['masks'\], which these do not"),
        (imagination(0, **kept), imagination(1), r"they lack \['masks'\]"),
        (
            imagination(0, **kept),
            imagination(1, n_dropout_masks=3, **kept),
            r"dropout masks have shape \(3, 2, 15\), expected \(8, 2, 15\)",
        ),
    ):
        weights, masks = ours.weights.clone(), ours.masks
        with pytest.raises(ValueError, match=message):
            ours.load_state_dict(theirs.state_dict())
        assert torch.equal(ours.weights, weights) and ours.masks is masks


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("generator", np.zeros(16, np.uint8), "saved on another kind of device"),
        ("thresholds", np.zeros(3), r"saved thresholds have shape \(3,\), expected \(2,\)"),
        ("just_begun", np.zeros(1, bool), r"saved just_begun have shape \(1,\), expected \(2,\)"),
        ("rng", {"bit_generator": "MT19937"}, "PCG64"),
    ],
)
def test_each_part_of_a_state_is_checked_before_any_changes(
    name: str, value: Any, message: str
) -> None:
    model = small_model(ScriptedEnv(), p_drop=0.5, likelihood="bernoulli")
    ours, theirs = (
        relative(0.5, 8).start(model, n_mixture=2, n_normal=3, seed=seed) for seed in (0, 1)
    )
    before = ours.state_dict()
    with pytest.raises(ValueError, match=message):
        ours.load_state_dict({**theirs.state_dict(), name: value})
    after = ours.state_dict()
    assert after["rng"] == before["rng"]
    for key in ("weights", "generator", "thresholds", "just_begun", "latents"):
        np.testing.assert_array_equal(after[key], before[key])
