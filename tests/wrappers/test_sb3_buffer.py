"""Minibatches of whole workers, against the rollout that went in and against the stock buffer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from ldm_wrappers.sb3 import SequenceRolloutBuffer

T, N, LAYERS, HIDDEN = 8, 5, 2, 3
BOX, DISCRETE = spaces.Box(-np.inf, np.inf, (2,)), spaces.Discrete(4)
STARTS = np.zeros((T, N), np.float32)
STARTS[0, 0] = STARTS[4, 0] = 1.0  # two whole episodes
STARTS[3, 1] = STARTS[5, 1] = 1.0  # begins inside one
STARTS[0, 2] = 1.0
STARTS[7, 3] = 1.0  # an episode of one step at the end


def states(seed: int) -> RNNStates:
    generator = torch.Generator().manual_seed(seed)
    four = [torch.randn(LAYERS, N, HIDDEN, generator=generator) for _ in range(4)]
    return RNNStates((four[0], four[1]), (four[2], four[3]))


def filled(cls: Any, **kwargs: Any) -> Any:
    """A buffer of which worker i's observation at step t is (i, t)."""
    buffer = cls(T, BOX, DISCRETE, (T, LAYERS, N, HIDDEN), "cpu", 0.9, 0.95, N, **kwargs)
    rng = np.random.default_rng(0)
    for t in range(T):
        buffer.add(
            np.stack([np.arange(N), np.full(N, t)], axis=1).astype(np.float32),
            rng.integers(0, 4, (N, 1)),
            rng.normal(size=N),
            STARTS[t],
            torch.from_numpy(rng.normal(size=(N, 1)).astype(np.float32)),
            torch.from_numpy(rng.normal(size=N).astype(np.float32)),
            lstm_states=states(t),
        )
    last = torch.from_numpy(rng.normal(size=(N, 1)).astype(np.float32))
    buffer.compute_returns_and_advantage(last, np.array([True, False, False, True, False]))
    return buffer


def sequences(samples: Any) -> list[dict[str, Any]]:
    """The sequences of a minibatch without their padding, which must be zeros at the end."""
    n = samples.lstm_states.pi[0].shape[1]
    mask = samples.mask.reshape(n, -1) > 0.5
    result = []
    for index in range(n):
        length = int(mask[index].sum())
        assert mask[index, :length].all() and length > 0
        one: dict[str, Any] = {
            "states": [state[:, index] for pair in samples.lstm_states for state in pair]
        }
        for name in (
            "observations",
            "actions",
            "old_values",
            "old_log_prob",
            "advantages",
            "returns",
            "episode_starts",
        ):
            values = getattr(samples, name)
            values = values.reshape(n, -1, *values.shape[1:])[index]
            # the ratio of probabilities is 0 where the stock buffer pads with 0 and it may overflow
            padding = (0.0, np.float32(1e30)) if name == "old_log_prob" else (0.0,)
            assert np.isin(values[length:], padding).all()
            one[name] = values[:length]
        result.append(one)
    return result


@pytest.mark.parametrize("batch_size", [None, T, 2 * T])
def test_every_worker_comes_once_and_whole(batch_size: int | None) -> None:
    buffer = filled(SequenceRolloutBuffer, seed=1)
    seen: list[tuple[int, int]] = []
    for samples in buffer.get(batch_size):
        workers = set()
        for one in sequences(samples):
            rows = [(int(i), int(t)) for i, t in one["observations"]]
            worker = rows[0][0]
            workers.add(worker)
            begin = rows[0][1]
            assert rows == [(worker, begin + k) for k in range(len(rows))]
            # cut where an episode starts, and nowhere else
            assert begin == 0 or STARTS[begin, worker] == 1.0
            assert not STARTS[begin + 1 : begin + len(rows), worker].any()
            after = begin + len(rows)
            assert after == T or STARTS[after, worker] == 1.0
            assert one["episode_starts"].tolist() == STARTS[begin:after, worker].tolist()
            for name, array in (
                ("actions", buffer.actions),
                ("old_values", buffer.values),
                ("old_log_prob", buffer.log_probs),
                ("advantages", buffer.advantages),
                ("returns", buffer.returns),
            ):
                np.testing.assert_array_equal(one[name], array[begin:after, worker])
            expected = [s[:, worker] for pair in states(0) for s in pair]
            for state, start in zip(one["states"], expected, strict=True):
                torch.testing.assert_close(state, start if begin == 0 else torch.zeros_like(start))
            seen += rows
        if batch_size is not None:
            assert len(workers) <= batch_size // T
    assert sorted(seen) == [(i, t) for i in range(N) for t in range(T)]


def test_advantages_values_and_sequences_equal_the_stock_buffer() -> None:
    ours, stock = filled(SequenceRolloutBuffer), filled(RecurrentRolloutBuffer)
    for name in ("returns", "advantages", "values", "log_probs", "rewards"):
        np.testing.assert_allclose(getattr(ours, name), getattr(stock, name), atol=1e-6)
    np.random.seed(0)
    rows = []
    for buffer in (ours, stock):
        found = {}
        for samples in buffer.get(None):
            for one in sequences(samples):
                for index, (i, t) in enumerate(one["observations"].tolist()):
                    names = ("actions", "old_values", "old_log_prob", "advantages", "returns")
                    found[i, t] = [float(one[name][index]) for name in names]
        rows.append(found)
    assert rows[0].keys() == rows[1].keys()
    for key, values in rows[0].items():
        assert values == pytest.approx(rows[1][key], abs=1e-6)


def test_the_seed_decides_the_order() -> None:
    def order(seed: int) -> list[int]:
        buffer = filled(SequenceRolloutBuffer, seed=seed)
        batches = [batch for _ in range(3) for batch in buffer.get(T)]
        return [int(batch.observations[0, 0]) for batch in batches]

    assert order(0) == order(0) != order(1)
    epochs = [order(0)[k : k + N] for k in (0, N, 2 * N)]
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]


def test_padding_does_not_change_what_is_stored() -> None:
    buffer = filled(SequenceRolloutBuffer)
    before = buffer.returns.copy(), buffer.observations.copy()
    first = [samples.returns.clone() for samples in buffer.get(None)]
    for samples in buffer.get(T):
        samples.returns.zero_()
    np.testing.assert_array_equal(buffer.returns, before[0])
    np.testing.assert_array_equal(buffer.observations, before[1])
    again = [samples.returns for samples in buffer.get(None)]
    assert torch.sort(first[0]).values.tolist() == torch.sort(again[0]).values.tolist()


def test_without_episode_ends_nothing_is_padded() -> None:
    buffer = filled(SequenceRolloutBuffer)
    buffer.episode_starts[:] = 0.0
    (samples,) = buffer.get(None)
    assert samples.mask.shape == (T * N,) and bool(samples.mask.all())
    assert not samples.episode_starts.any()


def test_it_is_used_again_after_a_reset() -> None:
    buffer = filled(SequenceRolloutBuffer)
    buffer.reset()
    with pytest.raises(ValueError, match="0 of 8 steps"):
        next(buffer.get(None))
    assert buffer.pos == 0 and not buffer.full


@pytest.mark.parametrize("batch_size", [0, -8, 4, 12])
def test_a_batch_that_splits_workers_is_refused(batch_size: int) -> None:
    buffer = filled(SequenceRolloutBuffer)
    with pytest.raises(ValueError, match=f"buffer_size = {T}, got {batch_size}"):
        next(buffer.get(batch_size))
