"""Models and beliefs in files of their own: what is saved comes back, what is not is refused."""

from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import ldm_envs  # noqa: F401
from ldm_wrappers import (
    DirichletMixture,
    ExpectedReward,
    ImaginaryRewardWrapper,
    LatentDynamics,
    LatentDynamicsConfig,
    MultiEpisodeWrapper,
    PlausibleTasks,
    SavedBeliefs,
)
from ldm_wrappers.state_file import StateFileError, load_state, save_state

GRID = spaces.Box(0.0, 6.0, (2,), np.float32)
CASES: dict[str, tuple[Any, Any, LatentDynamicsConfig]] = {
    "discrete": (GRID, spaces.Discrete(5), LatentDynamicsConfig.grid()),
    "discrete from 3": (GRID, spaces.Discrete(2, start=3), LatentDynamicsConfig.grid(latent_dim=4)),
    "heads": (GRID, spaces.Discrete(5), LatentDynamicsConfig.grid(decoder_heads=49)),
    "box": (
        spaces.Box(-1.0, 1.0, (3, 2), np.float64),
        spaces.Box(-1.0, 1.0, (4,), np.float32),
        LatentDynamicsConfig(encoder_observation_size=0, decoder_inputs=("action",)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_model_comes_back(case: str, tmp_path: Path) -> None:
    observations, actions, config = CASES[case]
    model, file = (
        LatentDynamics(observations, actions, config, seed=3),
        tmp_path / "vae.safetensors",
    )
    model.save(file, {"env_id": "mine", "mixture": {"beta": 1.5, "members": [1, None, True]}})
    before = torch.random.get_rng_state()
    found = LatentDynamics.load(file)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (found.spec, found.config) == (model.spec, model.config)
    assert found.metadata == {
        "env_id": "mine",
        "mixture": {"beta": 1.5, "members": [1, None, True]},
    }
    found.check_spaces(observations, actions)
    n, spec = 6, model.spec
    rng = np.random.default_rng(0)
    latents = torch.from_numpy(rng.normal(size=(n, config.latent_dim)).astype(np.float32))
    observed = torch.from_numpy(rng.integers(0, 7, (n, spec.observation_size)).astype(np.float32))
    acted = torch.full((n, spec.action_columns), float(spec.action_start))
    for one, other in (
        (m.imagine_reward(latents, observed, acted, observed.flip(0)) for m in (model, found)),
        (model.state_dict().values(), found.state_dict().values()),
    ):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_beliefs_come_back(tmp_path: Path) -> None:
    means = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    file = tmp_path / "new" / "beliefs.safetensors"
    SavedBeliefs(means).save(file)
    SavedBeliefs(means).save(str(file), {"note": "twice"})
    found = SavedBeliefs.load(str(file))
    assert found.metadata == {"note": "twice"} and found.n_beliefs == 3
    assert (found.mixture, found.imagination) == (None, None)
    for step in range(6):
        np.testing.assert_array_equal(found.means(step), means[:, min(step, 3)])


def test_what_was_loaded_and_saved_again_stays_of_its_run(tmp_path: Path) -> None:
    model = LatentDynamics(*CASES["discrete"])
    beliefs = SavedBeliefs(np.zeros((3, 4, 5), np.float32))
    for kind, saved in ((LatentDynamics, model), (SavedBeliefs, beliefs)):
        first, again, bare = (tmp_path / f"{kind.__name__}-{k}.safetensors" for k in range(3))
        saved.save(first, {"run": "a1b2"})
        assert saved.metadata == {}
        kind.load(first).save(again)
        assert kind.load(again).metadata == {"run": "a1b2"}
        kind.load(first).save(bare, {})
        assert kind.load(bare).metadata == {}


SCHEMES = (
    (DirichletMixture(1.5, n_components=2), ExpectedReward(n_dropout_masks=3)),
    (DirichletMixture(per_dimension=True), PlausibleTasks()),
)


@pytest.mark.parametrize("schemes", SCHEMES)
def test_beliefs_carry_how_their_run_mixed_them(schemes: Any, tmp_path: Path) -> None:
    SavedBeliefs(np.zeros((3, 2, 4)), *schemes).save(tmp_path / "beliefs")
    found = SavedBeliefs.load(tmp_path / "beliefs")
    assert (found.mixture, found.imagination) == schemes


@pytest.mark.parametrize("values", [{"kind": "mine"}, {"kind": "dirichlet-mixture"}, 3, [1, 2]])
def test_hostile_schemes_are_one_error(values: Any, tmp_path: Path) -> None:
    file = tmp_path / "beliefs"
    SavedBeliefs(np.zeros((3, 2, 4)), *SCHEMES[0]).save(file)
    state = load_state(file)
    for name in ("mixture", "imagination"):
        content = {**state["content"], name: values}
        save_state(file, {**state, "content": content})
        with pytest.raises(StateFileError, match=str(file)):
            SavedBeliefs.load(file)


def test_a_scheme_that_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Mine(DirichletMixture):
        pass

    with pytest.raises(ValueError, match="got 'mine'"):
        SavedBeliefs(np.zeros((3, 2, 4)), Mine()).save(tmp_path / "beliefs")


def test_a_file_is_readable_by_whom_the_umask_lets(tmp_path: Path) -> None:
    file, before = tmp_path / "beliefs.safetensors", os.umask(0o027)
    try:
        SavedBeliefs(np.zeros((1, 1, 1))).save(file)
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_metadata_must_leave_the_content_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'content'"):
        SavedBeliefs(np.zeros((1, 1, 1))).save(tmp_path / "x", {"content": 1})


def test_one_kind_of_file_is_not_the_other(tmp_path: Path) -> None:
    SavedBeliefs(np.zeros((1, 1, 1))).save(tmp_path / "beliefs")
    LatentDynamics(*CASES["box"]).save(tmp_path / "model")
    with pytest.raises(StateFileError, match="kind 'SavedBeliefs'"):
        LatentDynamics.load(tmp_path / "beliefs")
    with pytest.raises(StateFileError, match="kind 'LatentDynamics'"):
        SavedBeliefs.load(tmp_path / "model")


HOSTILE: dict[str, Any] = {
    "a size that would take all memory": lambda c: c["config"].update(encoder_hidden_size=10**9),
    "a size beyond integers": lambda c: c["config"].update(latent_dim=10**40),
    "a size that is text": lambda c: c["config"].update(latent_dim="32"),
    "a setting that is unknown": lambda c: c["config"].update(code="import os"),
    "a reward that is infinite": lambda c: c["config"].update(reward_high=float("inf")),
    "no space": lambda c: c["spec"].update(observation_size=0),
    "half a column": lambda c: c["spec"].update(action_columns=0.5),
    "other spaces": lambda c: c["spec"].update(observation_size=1),
    "more of the spaces": lambda c: c["spec"].update(extra=1),
    "heads that are no square": lambda c: c["config"].update(decoder_heads=48),
    "no weights": lambda c: c.pop("weights"),
    "weights in a list": lambda c: c.update(weights=[1]),
    "weights that are not finite": lambda c: c["weights"]["encoder.mean.bias"].fill(np.nan),
    "another dtype": lambda c: c["weights"].update({"encoder.mean.bias": np.zeros(32)}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_model_is_one_error(case: str, tmp_path: Path) -> None:
    file = tmp_path / "vae.safetensors"
    LatentDynamics(*CASES["heads"]).save(file)
    state = load_state(file)
    HOSTILE[case](state["content"])
    save_state(file, state)
    with pytest.raises(StateFileError, match=str(file)):
        LatentDynamics.load(file)


@pytest.mark.parametrize("state", [None, 3, [], {}, {"content": None}, {"content": []}])
def test_another_state_is_one_error(state: Any, tmp_path: Path) -> None:
    file = tmp_path / "x"
    save_state(file, state)
    for load in (LatentDynamics.load, SavedBeliefs.load):
        with pytest.raises(StateFileError, match=str(file)):
            load(file)


def test_no_file_and_no_safetensors_file_are_one_error(tmp_path: Path) -> None:
    pickled = tmp_path / "pickle"
    pickled.write_bytes(pickle.dumps({"content": 1}))
    for load in (LatentDynamics.load, SavedBeliefs.load):
        for path, message in (
            (tmp_path / "none", "No such file"),
            (tmp_path, "Is a directory"),
            (pickled, "not contain a"),
        ):
            with pytest.raises(StateFileError, match=message) as error:
                load(path)
            assert str(path) in str(error.value)


def test_heads_for_another_grid_are_refused() -> None:
    model = LatentDynamics(*CASES["heads"])
    larger = spaces.Box(0.0, 8.0, (2,), np.float32)
    with pytest.raises(ValueError, match="decoder_heads=49"):
        model.check_spaces(larger, spaces.Discrete(5))


def test_beliefs_of_another_latent_are_refused(tmp_path: Path) -> None:
    SavedBeliefs(np.zeros((2, 3, 5))).save(tmp_path / "beliefs")
    env = MultiEpisodeWrapper(gym.make("LDM-GridNavi-v0"), 4)
    model = LatentDynamics(env.observation_space, env.action_space, LatentDynamicsConfig.grid())
    with pytest.raises(ValueError, match=r"5 dimensions, .* has 32"):
        wrapped = ImaginaryRewardWrapper(env, model, SavedBeliefs.load(tmp_path / "beliefs"))
        wrapped.reset(seed=0)
        wrapped.step(0)
