"""The trajectory buffer is a ring, and the recorder fills it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from ldm_wrappers.latent_dynamics import TrajectoryBuffer, TrajectoryRecorder, TransitionSpec

SPEC = TransitionSpec(observation_size=2, action_columns=1)


def numbered(ids: list[int], lengths: list[int], n_steps: int = 4) -> tuple[Any, Any]:
    """Trajectories whose every entry is id + step / 10."""
    values = np.array(ids)[:, None] + np.arange(n_steps) / 10.0
    values = np.where(np.arange(n_steps) < np.array(lengths)[:, None], values, 0.0)
    columns = values[..., None].astype(np.float32)
    return {
        "observations": columns.repeat(2, 2),
        "actions": columns,
        "rewards": columns[..., 0].copy(),
        "next_observations": columns.repeat(2, 2),
    }, np.array(lengths)


def stored(buffer: TrajectoryBuffer) -> list[int]:
    return buffer.get(np.arange(len(buffer))).rewards[0].int().tolist()


def test_the_newest_replace_the_oldest() -> None:
    buffer = TrajectoryBuffer(SPEC, capacity=3, max_length=4)
    for ids, expected in (([1], [1]), ([2, 3], [1, 2, 3]), ([4, 5], [4, 5, 3]), ([6], [4, 5, 6])):
        buffer.add(*numbered(ids, [4] * len(ids)))
        assert stored(buffer) == expected
    buffer.add(*numbered([10, 11, 12, 13, 14, 15, 16], [4] * 7))  # only the newest can stay
    assert sorted(stored(buffer)) == [14, 15, 16]
    buffer.add(*numbered([20], [4]))
    assert sorted(stored(buffer)) == [15, 16, 20]
    buffer.add(*numbered([], []))
    assert len(buffer) == 3


def test_lengths_vary_and_behind_the_end_are_zeros() -> None:
    buffer = TrajectoryBuffer(SPEC, capacity=2, max_length=4)
    buffer.add(*numbered([1, 2], [4, 4]))
    buffer.add(*numbered([3], [2], n_steps=2))  # into the slot of a longer one
    batch = buffer.get(np.array([0, 1]))
    assert batch.lengths.tolist() == [2, 4]
    expected = [[3.0, 3.1, 0.0, 0.0], [2.0, 2.1, 2.2, 2.3]]
    np.testing.assert_allclose(batch.rewards.T, expected)
    np.testing.assert_allclose(batch.observations[..., 1].T, expected)
    np.testing.assert_allclose(batch.actions[..., 0].T, expected)
    np.testing.assert_allclose(batch.next_observations[..., 0].T, expected)
    assert buffer.get(np.array([0])).rewards.shape == (2, 1)  # cut to the longest
    assert batch.lengths.dtype == torch.int64


def test_samples_are_distinct_and_follow_the_seed() -> None:
    def drawn(seed: int) -> list[list[int]]:
        buffer = TrajectoryBuffer(SPEC, capacity=20, max_length=4, seed=seed)
        buffer.add(*numbered(list(range(1, 16)), [4] * 15))
        assert buffer.sample(99).rewards.shape == (4, 15)
        return [buffer.sample(6).rewards[0].int().tolist() for _ in range(4)]

    assert drawn(0) == drawn(0) != drawn(1)
    assert all(len(set(one)) == 6 for one in drawn(0))


def test_state_dict_goes_on_alike() -> None:
    first = TrajectoryBuffer(SPEC, capacity=5, max_length=4, seed=0)
    first.add(*numbered([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 4, 3, 2]))
    first.sample(2)
    second = TrajectoryBuffer(SPEC, capacity=5, max_length=4, seed=9)
    second.add(*numbered([50], [4]))
    second.load_state_dict(first.state_dict())
    assert len(second) == 5
    for _ in range(2):
        for one, other in zip(first.sample(3), second.sample(3), strict=True):
            assert torch.equal(one, other)
        for buffer in (first, second):
            buffer.add(*numbered([8, 9], [4, 1]))
    assert stored(first) == stored(second)
    with pytest.raises(ValueError, match=r"\(5, 4, 2\), expected \(3, 4, 2\)"):
        TrajectoryBuffer(SPEC, capacity=3, max_length=4).load_state_dict(first.state_dict())


def test_a_larger_buffer_takes_over_a_full_smaller_one() -> None:
    small = TrajectoryBuffer(SPEC, capacity=3, max_length=4)
    small.add(*numbered([1, 2, 3], [4] * 3))
    small.add(*numbered([4], [2]))
    large = TrajectoryBuffer(SPEC, capacity=5, max_length=4)
    large.load_state_dict(small.state_dict())
    assert stored(large) == [2, 3, 4]
    assert large.get(np.arange(3)).lengths.tolist() == [4, 4, 2]
    large.add(*numbered([5, 6, 7], [4] * 3))
    assert stored(large) == [7, 3, 4, 5, 6]


def test_a_state_is_a_copy() -> None:
    buffer = TrajectoryBuffer(SPEC, capacity=2, max_length=4)
    buffer.add(*numbered([1], [4]))
    state = buffer.state_dict()
    buffer.add(*numbered([2, 3], [4, 4]))
    buffer.load_state_dict(state)
    assert stored(buffer) == [1]


def test_nbytes_counts_every_field() -> None:
    buffer = TrajectoryBuffer(SPEC, capacity=10, max_length=4)
    assert buffer.nbytes == 10 * 4 * (2 + 1 + 1 + 2) * 4 + 10 * 8


@pytest.mark.parametrize("field", ["observations", "actions", "rewards", "next_observations"])
def test_non_finite_trajectories_are_refused_whole(field: str) -> None:
    buffer = TrajectoryBuffer(SPEC, capacity=3, max_length=4)
    buffer.add(*numbered([1], [4]))
    before = buffer.state_dict()
    bad, lengths = numbered([2, 3], [4, 3])
    bad[field][1, 2] = np.nan
    with pytest.raises(ValueError, match=f"non-finite {field}"):
        buffer.add(bad, lengths)
    np.testing.assert_equal(buffer.state_dict(), before)
    bad[field][1, 2] = 0.0
    bad[field][1, 3] = np.nan  # behind its end
    buffer.add(bad, lengths)
    assert stored(buffer) == [1, 2, 3]
    assert all(torch.isfinite(array).all() for array in buffer.get(np.arange(3))[:4])


def test_bad_sizes_are_refused() -> None:
    buffer = TrajectoryBuffer(SPEC, capacity=3, max_length=3)
    for lengths, named in (([0], r"\[0\]"), ([4], r"\[4\]")):
        with pytest.raises(ValueError, match=rf"\[1, 3\], got {named}"):
            buffer.add(numbered([1], lengths)[0], np.array(lengths))
    buffer.add(*numbered([1], [3]))  # arrays may be wider than the lengths need
    assert len(buffer) == 1
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        TrajectoryBuffer(SPEC, capacity=0, max_length=4)
    with pytest.raises(ValueError, match="empty"):
        TrajectoryBuffer(SPEC, capacity=1, max_length=4).sample(1)


def append(recorder: TrajectoryRecorder, step: int, n: int = 3) -> None:
    rewards = (np.arange(n) * 10 + step).astype(np.float32)
    states = rewards[:, None].repeat(2, 1)
    recorder.append(states, rewards[:, None], rewards, states + 0.5)


def test_a_recorder_hands_out_workers_as_they_end() -> None:
    recorder = TrajectoryRecorder(SPEC, 3, max_length=4)
    for step in range(1, 4):
        append(recorder, step)
    taken, lengths = recorder.finish(np.array([True, False, True]))
    assert lengths.tolist() == [3, 3]
    np.testing.assert_array_equal(taken["rewards"], [[1, 2, 3], [21, 22, 23]])
    np.testing.assert_array_equal(taken["next_observations"][0, :, 1], [1.5, 2.5, 3.5])
    for step in range(4, 7):
        append(recorder, step)
    recorder.discard(np.array([False, False, True]))
    append(recorder, 7)
    taken, lengths = recorder.finish(np.ones(3, bool))
    assert lengths.tolist() == [4, 4, 1]  # worker 1 was cut at max_length
    expected = [[4, 5, 6, 7], [11, 12, 13, 14], [27, 0, 0, 0]]
    np.testing.assert_array_equal(taken["rewards"], expected)
    assert (taken["observations"][2, 1:] == 0).all()  # nothing is left of earlier trajectories


def test_a_recorder_goes_on_from_its_state() -> None:
    first, second = (TrajectoryRecorder(SPEC, 3, max_length=4) for _ in range(2))
    append(first, 1)
    second.load_state_dict(first.state_dict())
    for recorder in (first, second):
        append(recorder, 2)
    everyone = np.ones(3, bool)
    np.testing.assert_equal(first.finish(everyone), second.finish(everyone))


def test_a_new_recorder_takes_over_a_long_trajectory() -> None:
    first, second = (TrajectoryRecorder(SPEC, 3, max_length=200) for _ in range(2))
    for step in range(150):
        append(first, step)
    second.load_state_dict(first.state_dict())
    everyone = np.ones(3, bool)
    np.testing.assert_equal(first.finish(everyone), second.finish(everyone))


def test_a_larger_buffer_goes_on_behind_a_full_smaller_one_that_was_at_its_beginning() -> None:
    """Its next slot was 0, which is free in an empty buffer only."""
    small = TrajectoryBuffer(SPEC, capacity=3, max_length=4)
    small.add(*numbered([1, 2, 3], [4] * 3))
    large = TrajectoryBuffer(SPEC, capacity=5, max_length=4)
    large.load_state_dict(small.state_dict())
    large.add(*numbered([4], [4]))
    assert stored(large) == [1, 2, 3, 4]
    assert large.newest(2).rewards[0].int().tolist() == [3, 4]


@pytest.mark.parametrize("keeps", ["newest", "oldest"])
def test_a_full_buffer_that_nobody_read_warns_once(keeps: Any) -> None:
    """As when the callback of `imagine` was not passed to `learn`."""
    buffer = TrajectoryBuffer(SPEC, capacity=3, max_length=4, keeps=keeps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        buffer.add(*numbered([1, 2, 3], [4, 4, 4]))
    with pytest.warns(UserWarning, match="nothing has been trained on it"):
        buffer.add(*numbered([4], [4]))
    read = TrajectoryBuffer(SPEC, capacity=3, max_length=4, keeps=keeps)
    read.add(*numbered([5, 6], [4, 4]))
    read.sample(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        buffer.add(*numbered([4], [4]))
        read.add(*numbered([5, 6], [4, 4]))
