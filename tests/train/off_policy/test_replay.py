"""The replay against a list of episodes."""

from __future__ import annotations

import numpy as np
import pytest

from train.off_policy.episodes import Episode, whole_episodes
from train.off_policy.replay import Places, TaskReplay

HORIZON, CAPACITY = 5, 3


def episode(rng: np.random.Generator) -> Episode:
    n = int(rng.integers(1, HORIZON + 1))
    return Episode(
        rng.normal(size=(n + 1, 2)).astype(np.float32),
        rng.uniform(-1, 1, (n, 1)).astype(np.float32),
        rng.normal(size=n).astype(np.float32),
        bool(rng.random() < 0.5),
    )


def filled(seed: int, n: int) -> tuple[TaskReplay, list[list[Episode]]]:
    rng = np.random.default_rng(seed)
    replay, plain = TaskReplay(2, CAPACITY, HORIZON, 2, 1), [[], []]  # type: ignore[var-annotated]
    for _ in range(n):
        task, one = int(rng.integers(2)), episode(rng)
        replay.add(task, one)
        plain[task] = [*plain[task], one][-CAPACITY:]
    return replay, plain


def rows(parts: object) -> np.ndarray:
    values = [getattr(parts, name).numpy() for name in vars(parts)]
    return np.concatenate([v.reshape(len(values[2]), -1) for v in values], axis=1)


def history(one: Episode, t: int, length: int) -> np.ndarray:
    """What happened in the last ``length`` steps before step t, zeros before the beginning."""
    steps = [
        np.concatenate([one.actions[i], one.rewards[[i]], one.observations[i]]) for i in range(t)
    ]
    steps = [np.zeros(4, np.float32)] * length + steps
    return np.array(steps[len(steps) - length :])


@pytest.mark.parametrize("seed", range(20))
def test_a_ring_of_episodes_is_a_list_that_forgets(seed: int) -> None:
    replay, plain = filled(seed, seed)
    for task in range(2):
        kept = replay.episodes(task)
        assert replay.n_transitions[task] == sum(len(e) for e in plain[task])
        assert len(kept) == len(plain[task])
        for found, expected in zip(kept, plain[task], strict=True):
            for name in ("observations", "actions", "rewards"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
            assert found.terminated == expected.terminated
    copy = TaskReplay(2, CAPACITY, HORIZON, 2, 1)
    copy.add(0, episode(np.random.default_rng(99)))
    copy.load_state_dict({k: v.copy() for k, v in replay.state_dict().items()})
    np.testing.assert_array_equal(copy.n_transitions, replay.n_transitions)
    for task in np.flatnonzero(replay.n_transitions):
        drawn = [r.take(r.draw([task], 9, np.random.default_rng(1))) for r in (copy, replay)]
        np.testing.assert_array_equal(rows(drawn[0]), rows(drawn[1]))
    extra = episode(np.random.default_rng(7))
    for one in (copy, replay):
        one.add(1, extra)
    for task in range(2):
        if replay.n_transitions[task]:
            assert rows(whole_episodes(copy.episodes(task))).tolist() == (
                rows(whole_episodes(replay.episodes(task))).tolist()
            )


def test_draws_are_uniform_over_a_tasks_transitions_and_know_terminal_ones() -> None:
    replay, plain = filled(3, 12)
    expected = [rows(whole_episodes(episodes)) for episodes in plain]
    places = replay.draw(np.array([1, 0, 1]), 4000, np.random.default_rng(0))
    found = replay.take(places)
    for row, task in enumerate([1, 0, 1]):
        one = {name: getattr(found, name)[row] for name in vars(found)}
        drawn = rows(type(found)(**one))
        kinds, counts = np.unique(drawn, axis=0, return_counts=True)
        np.testing.assert_array_equal(kinds, np.unique(expected[task], axis=0))
        share = 1 / len(expected[task])
        assert np.abs(counts / 4000 - share).max() < 4 * np.sqrt(share / 4000)
    everything = rows(replay.take(replay.draw_any(4000, np.random.default_rng(1))))
    kinds, counts = np.unique(everything, axis=0, return_counts=True)
    np.testing.assert_array_equal(kinds, np.unique(np.concatenate(expected), axis=0))
    assert counts.max() / counts.min() < 2


@pytest.mark.parametrize("last", [1, 2, 4, 7])
def test_recent_ones_are_the_newest(last: int) -> None:
    """Of a whole episode or of a part of one: the part is its end."""
    replay, plain = filled(5, 15)
    newest = rows(whole_episodes(plain[0]))[-last:]
    assert len(plain[0][-1]) > 1
    found = rows(replay.take(replay.recent(0, 500, last, np.random.default_rng(0))))
    np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(newest, axis=0))


@pytest.mark.parametrize("length", [1, 3, 7])
def test_windows_hold_the_steps_before_and_never_another_episode(length: int) -> None:
    replay, plain = filled(11, 16)
    for task in range(2):
        first = int(replay._next[task])  # the oldest, as the ring is full
        for index, one in enumerate(plain[task]):
            slot = (first + index) % CAPACITY
            n = len(one) + 1  # the state after the last step has a history too
            places = Places(np.full(n, task), np.full(n, slot), np.arange(n))
            found = replay.windows(places, length).numpy()
            assert found.shape == (length, n, 4)
            for t in range(n):
                np.testing.assert_array_equal(found[:, t], history(one, t, length))


def test_what_does_not_fit_is_refused() -> None:
    replay, _ = filled(0, 0)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no transitions of task 1"):
        replay.draw(np.array([1]), 2, rng)
    with pytest.raises(ValueError, match="no transitions"):
        replay.draw_any(2, rng)
    long = Episode(np.zeros((8, 2)), np.zeros((7, 1)), np.zeros(7), False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 to 5 steps, got 7"):
        replay.add(0, long)
    other = TaskReplay(3, CAPACITY, HORIZON, 2, 1)
    with pytest.raises(ValueError, match="observations"):
        replay.load_state_dict(other.state_dict())


def test_what_is_cleared_is_gone_and_other_tasks_stay() -> None:
    replay, plain = filled(3, 12)
    replay.clear(0)
    assert replay.episodes(0) == []
    assert replay.n_transitions.tolist() == [0, sum(len(e) for e in plain[1])]
    only = episode(np.random.default_rng(1))
    replay.add(0, only)
    assert (
        rows(whole_episodes(replay.episodes(0))).tolist() == rows(whole_episodes([only])).tolist()
    )
    assert replay.n_transitions[0] == len(only)


def test_what_is_stored_after_a_clearing_is_saved() -> None:
    """A state leaves out slots that no task has used."""
    rng = np.random.default_rng(0)
    replay, restored = (TaskReplay(1, CAPACITY, HORIZON, 2, 1) for _ in range(2))
    for _ in range(2):
        replay.add(0, episode(rng))
    replay.clear(0)
    only = episode(rng)
    replay.add(0, only)
    restored.load_state_dict(replay.state_dict())
    assert restored.n_transitions.tolist() == [len(only)]
    (found,) = restored.episodes(0)
    np.testing.assert_array_equal(found.observations, only.observations)
