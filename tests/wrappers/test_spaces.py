"""Spaces: which are read, how products of choices are encoded, and hints that help."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from ldm_wrappers.latent_dynamics import TransitionSpec

BOX = spaces.Box(-1, 1, (3,), np.float32)
STATE = spaces.Box(-1, 1, (2,), np.float32)
GOALS = spaces.Dict({"observation": STATE, "achieved_goal": STATE, "desired_goal": STATE})


@pytest.mark.parametrize(
    ("space", "action", "encoded"),
    [
        (spaces.MultiDiscrete([2, 3]), [1, 2], [0, 1, 0, 0, 1]),
        (spaces.MultiDiscrete([[2, 2], [3, 1]]), [[0, 1], [2, 0]], [1, 0, 0, 1, 0, 0, 1, 1]),
        (spaces.MultiBinary(3), [1, 0, 1], [1, 0, 1]),
        (spaces.MultiBinary((2, 2)), [[1, 0], [0, 1]], [1, 0, 0, 1]),
    ],
)
def test_products_of_choices_are_one_hots_side_by_side(
    space: Any, action: Any, encoded: list[float]
) -> None:
    spec = TransitionSpec.from_spaces(BOX, space)
    columns = spec.action_row(np.array(action, space.dtype))
    assert columns.shape == (1, spec.action_columns) and spec.action_size == len(encoded)
    np.testing.assert_array_equal(spec.encode_action_arrays(columns)[0], encoded)
    np.testing.assert_array_equal(spec.encode_actions(torch.from_numpy(columns))[0], encoded)
    assert TransitionSpec.from_dict(dataclasses.asdict(spec)) == spec
    codes = set()
    for _ in range(200):  # no two actions look alike
        one = space.sample()
        codes.add((one.tobytes(), spec.encode_action_arrays(spec.action_row(one)).tobytes()))
    assert len({a for a, _ in codes}) == len({b for _, b in codes}) == len(codes)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (spaces.Discrete(4), "FlattenObservation"),
        (spaces.MultiBinary(4), "FlattenObservation"),
        (spaces.Tuple([spaces.Discrete(2), BOX]), "FlattenObservation"),
        (spaces.Dict({"a": STATE}), r"FilterObservation\(env, \['a'\]\)"),
        (GOALS, r"FilterObservation\(env, \['observation'\]\) leaves out 'desired_goal'"),
        (spaces.Dict({"image": STATE, "mission": spaces.Text(9)}), "ImgObsWrapper"),
        (spaces.Sequence(STATE), "TransformObservation"),
        (spaces.Graph(STATE, None), "TransformObservation"),
        (spaces.Box(0, 255, (96, 96, 3), np.uint8), r"\(96, 96, 3\) have 27648 values.*4096"),
        (spaces.Box(0, 1, (84, 84), np.float32), "ResizeObservation"),
    ],
)
def test_observations_that_no_network_reads_are_refused_with_a_way_out(
    space: Any, says: str
) -> None:
    with pytest.raises(TypeError, match=says):
        TransitionSpec.from_spaces(space, spaces.Discrete(2))


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (spaces.Tuple([spaces.Discrete(2)]), "TransformAction"),
        (spaces.Dict({"a": spaces.Discrete(2)}), "TransformAction"),
        (spaces.MultiDiscrete([2, 3], start=[0, 1]), "start at 0"),
    ],
)
def test_actions_that_cannot_be_encoded_are_refused_with_a_way_out(space: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        TransitionSpec.from_spaces(BOX, space)


@pytest.mark.parametrize("sizes", [(2,), (2, 0), (2, 2.5)])
def test_sizes_of_no_space_are_refused(sizes: Any) -> None:
    values = {"observation_size": 3, "action_columns": 2, "column_sizes": sizes}
    with pytest.raises(ValueError, match="sizes of no spaces"):
        TransitionSpec.from_dict(values)


def test_what_the_hints_name_works() -> None:
    class Goals(gym.Env[Any, Any]):
        observation_space, action_space = GOALS, spaces.Discrete(2)

    filtered = gym.wrappers.FilterObservation(Goals(), ["observation"])
    flat = gym.wrappers.FlattenObservation(filtered)
    spec = TransitionSpec.from_spaces(flat.observation_space, flat.action_space)
    assert spec.observation_size == 2
    small = spaces.Box(0, 255, (7, 7, 3), np.uint8)
    assert TransitionSpec.from_spaces(small, spaces.Discrete(2)).observation_size == 147
    long = spaces.Box(-1, 1, (5000,), np.float32)  # flat: somebody meant it
    assert TransitionSpec.from_spaces(long, spaces.Discrete(2)).observation_size == 5000
