"""Meta-episodes, ring buffer and state files under random lengths, ends and contents."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ldm_wrappers import TrajectoryBuffer, vector
from ldm_wrappers.latent_dynamics import TransitionSpec
from ldm_wrappers.state_file import StateFileError, load_state, save_state


class PlannedEnv(gym.Env[Any, Any]):
    """Episode e lasts ``plan[e % len(plan)][0]`` steps and ends as ``plan[…][1]`` says."""

    def __init__(self, plan: list[tuple[int, str]]) -> None:
        self.plan, self.episode, self.task = plan, -1, 0.0
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if not (options or {}).get("keep_task"):
            self.task = float(self.np_random.random())
        self.episode, self.t = self.episode + 1, 0
        return self._see(), {}

    def _see(self) -> Any:
        return np.array([self.task, self.episode, self.t])

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        length, end = self.plan[self.episode % len(self.plan)]
        over = self.t >= length
        ends = over and end != "truncated", over and end != "terminated"
        return self._see(), self.t + 100.0 * self.episode, *ends, {}


episode = st.tuples(st.integers(1, 5), st.sampled_from(["terminated", "truncated", "both"]))
plans = st.lists(st.lists(episode, min_size=1, max_size=4), min_size=1, max_size=3)


@given(plans=plans, n_episodes=st.integers(1, 3), horizon=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_meta_episodes(
    plans: list[list[tuple[int, str]]], n_episodes: int, horizon: bool, seed: int
) -> None:
    makers = [lambda plan=plan: PlannedEnv(plan) for plan in plans]
    env: Any = vector.MultiEpisodeWrapper(
        SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED),
        n_episodes,
        finite_horizon=horizon,
    )
    n = len(plans)
    observations, infos = env.reset(seed=seed)
    absolute, inner, t = np.zeros(n, int), np.zeros(n, int), np.zeros(n, int)
    returns: list[list[float]] = [[0.0] * n_episodes for _ in range(n)]
    tasks = observations[:, 0].copy()
    for _ in range(25):
        observations, rewards, terminations, truncations, infos = env.step(np.zeros(n, int))
        for i, plan in enumerate(plans):
            length, end = plan[absolute[i] % len(plan)]
            t[i] += 1
            assert rewards[i] == t[i] + 100.0 * absolute[i]  # nothing is paid twice or lost
            np.testing.assert_array_equal(infos["next_obs"][i], [tasks[i], absolute[i], t[i]])
            returns[i][inner[i]] += rewards[i]
            over = t[i] == length
            last = over and inner[i] == n_episodes - 1
            if horizon:
                assert (terminations[i], truncations[i]) == (last, False)
            else:
                assert terminations[i] == (last and end != "truncated")
                assert truncations[i] == (last and end != "terminated")
            assert infos["episode_start"][i] == over
            if over:
                absolute[i], t[i] = absolute[i] + 1, 0
                inner[i] = 0 if last else inner[i] + 1
            if last:
                final = infos["final_info"]
                assert final["episode_returns"][i].tolist() == returns[i]
                assert final["episode_lengths"][i].sum() > 0
                np.testing.assert_array_equal(infos["final_obs"][i], infos["next_obs"][i])
                assert observations[i, 0] != tasks[i]  # a new task
                returns[i], tasks[i] = [0.0] * n_episodes, observations[i, 0]
            assert infos["episode_index"][i] == inner[i]
            np.testing.assert_array_equal(observations[i], [tasks[i], absolute[i], t[i]])
    env.close()


@given(
    capacity=st.integers(1, 6),
    batches=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=8), max_size=6),
)
@settings(max_examples=80, deadline=None)
def test_the_ring_buffer_holds_the_newest(capacity: int, batches: list[list[int]]) -> None:
    buffer = TrajectoryBuffer(TransitionSpec(2, 1, 3), capacity=capacity, max_length=4, seed=1)
    kept: list[tuple[int, int]] = []  # (mark, length), oldest first
    mark = 0
    for lengths in batches:
        marks = np.arange(mark, mark + len(lengths), dtype=np.float32)
        mark += len(lengths)
        shape = (len(lengths), 4)
        values = np.broadcast_to(marks[:, None], shape).astype(np.float32)
        trajectories = {
            "observations": np.repeat(values[..., None], 2, -1),
            "actions": values[..., None],
            "rewards": values,
            "next_observations": np.repeat(values[..., None], 2, -1),
        }
        buffer.add(trajectories, np.array(lengths))
        kept = [*kept, *zip(marks.astype(int).tolist(), lengths, strict=True)][-capacity:]
        assert len(buffer) == len(kept)
        found = buffer.newest(capacity)
        ends = found.lengths.tolist()
        assert list(zip(found.rewards[0].int().tolist(), ends, strict=True)) == kept
        for column, length in enumerate(ends):
            assert (found.rewards[length:, column] == 0).all()
        drawn = buffer.sample(3).rewards[0].tolist()
        assert len(set(drawn)) == len(drawn) == min(3, len(kept))
        copy = TrajectoryBuffer(buffer.spec, capacity=capacity, max_length=4, seed=9)
        copy.load_state_dict(buffer.state_dict())
        for one, other in zip(buffer.sample(2), copy.sample(2), strict=True):
            np.testing.assert_array_equal(one, other)


arrays = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_, np.float16]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | arrays
keys = st.integers(-5, 5) | st.text(max_size=3)
states = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        pairs = zip(found.items(), expected.items(), strict=True)
        return all(type(a) is type(b) and a == b and same(c, d) for (a, c), (b, d) in pairs)
    if isinstance(expected, list):
        return all(same(a, b) for a, b in zip(found, expected, strict=True))
    if isinstance(expected, np.ndarray):
        return bool(
            (found.dtype, found.shape) == (expected.dtype, expected.shape)
            and found.tobytes() == expected.tobytes()
        )
    return type(found) is type(expected) and (found == expected or found != found)


@given(state=states, place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=80, deadline=None)
def test_states_come_back_and_flips_are_found(state: Any, place: float, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.safetensors"
        save_state(file, state)
        assert same(load_state(file), state)
        content = bytearray(file.read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        file.write_bytes(content)
        try:
            load_state(file)
        except StateFileError:
            return
        raise AssertionError("a flipped bit was not found")
