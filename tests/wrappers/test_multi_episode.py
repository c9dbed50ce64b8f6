"""N episodes of one task as one: bookkeeping, infos, and the vector against the scalar wrapper."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper
from wrapper_stubs import ScriptedEnv, actions_for, scripted_vector, seeds_of

import ldm_envs  # noqa: F401
from ldm_wrappers import MultiEpisodeWrapper, vector
from ldm_wrappers.infos import MARK

LENGTHS = [(3, 5, 2), (4,), (1, 2)]


def test_a_meta_episode_step_by_step() -> None:
    env = MultiEpisodeWrapper(ScriptedEnv((2, 3)), 2)
    observation, info = env.reset(seed=0)
    task = observation[0]
    assert info["episode_start"] is True and info["episode_index"] == 0
    assert "next_obs" not in info
    rows, rewards = [], []
    for _ in range(5):
        observation, reward, terminated, truncated, info = env.step(1)
        rewards.append(reward)
        shown, true = observation[1:3].tolist(), info["next_obs"][1:3].tolist()
        rows.append((shown, true, info["episode_start"], info["episode_index"], terminated))
        assert observation[0] == info["next_obs"][0] == task
        assert not truncated
        assert ("episode_returns" in info) == terminated
    assert rows == [
        ([0, 1], [0, 1], False, 0, False),
        ([1, 0], [0, 2], True, 1, False),  # the restart is shown, the true state kept
        ([1, 1], [1, 1], False, 1, False),
        ([1, 2], [1, 2], False, 1, False),
        ([1, 3], [1, 3], False, 1, True),
    ]
    np.testing.assert_allclose(info["episode_returns"], [sum(rewards[:2]), sum(rewards[2:])])
    assert info["episode_lengths"].tolist() == [2, 3]
    observation, info = env.reset()
    assert observation[0] != task
    assert info["episode_index"] == 0
    observation, _ = env.reset(options={"keep_task": True})
    assert observation[0] == info["task"][0]


@pytest.mark.parametrize("finite_horizon", [False, True])
@pytest.mark.parametrize("is_vector", [False, True])
def test_the_end_is_reported_as_it_was_unless_the_horizon_is_finite(
    finite_horizon: bool, is_vector: bool
) -> None:
    if is_vector:
        env: Any = vector.MultiEpisodeWrapper(
            scripted_vector((2,)), 1, finite_horizon=finite_horizon
        )
    else:
        env = MultiEpisodeWrapper(ScriptedEnv((2,)), 1, finite_horizon=finite_horizon)
    env.reset()
    ends = []
    for _ in range(2):  # the first episode is truncated, the second terminates
        env.step([1] if is_vector else 1)
        ends.append(tuple(bool(end) for end in env.step([1] if is_vector else 1)[2:4]))
        if not is_vector:
            env.reset()
    assert ends == ([(True, False)] * 2 if finite_horizon else [(False, True), (True, False)])


def test_inner_time_limits_are_of_truncated_inner_episodes_alone() -> None:
    """Scripted episodes are truncated and terminate in turn; the last one ends the task."""
    env = vector.MultiEpisodeWrapper(scripted_vector((2,), (3,)), 4)
    env.reset(seed=0)
    found: list[list[int]] = [[], []]
    for step in range(1, 25):
        env.step([1, 1])
        for worker in np.flatnonzero(env.inner_time_limits()):
            found[worker].append(step)
    # episodes 1 and 3 of each four are truncated, 2 terminates, 4 is the last
    assert found == [[2, 6, 10, 14, 18, 22], [3, 9, 15, 21]]


def scalar_infos(info: dict[str, Any]) -> dict[str, Any]:
    return {key: np.asarray(value).tolist() for key, value in info.items()}


@pytest.mark.parametrize("family", ["scripted", "GridNavi"])
@pytest.mark.parametrize("n_episodes", [1, 3])
def test_vector_equals_scalar(family: str, n_episodes: int) -> None:
    if family == "GridNavi":
        vec: Any = gym.make_vec(
            "LDM-GridNavi-v0", 3, max_episode_steps=4, autoreset_mode=AutoresetMode.DISABLED
        )
        plain = [gym.make("LDM-GridNavi-v0", max_episode_steps=4) for _ in range(3)]
    else:
        vec, plain = scripted_vector(*LENGTHS), [ScriptedEnv(one) for one in LENGTHS]
    env = vector.MultiEpisodeWrapper(vec, n_episodes)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    singles = [MultiEpisodeWrapper(one, n_episodes) for one in plain]
    observations, infos = env.reset(seed=5)
    keys = ("task", "episode_start", "episode_index")
    for i, single in enumerate(singles):
        observation, info = single.reset(seed=seeds_of(5, 3)[i])
        np.testing.assert_array_equal(observations[i], observation)
        assert all((infos[key][i] == info[key]).all() for key in keys[:1])
    n_ends = 0
    for actions in actions_for(env, 40):
        observations, rewards, terminations, truncations, infos = env.step(actions)
        for i, single in enumerate(singles):
            observation, reward, terminated, truncated, info = single.step(actions[i])
            assert (rewards[i], terminations[i], truncations[i]) == (reward, terminated, truncated)
            np.testing.assert_array_equal(infos["next_obs"][i], info["next_obs"])
            ended = terminated or truncated
            if ended:
                n_ends += 1
                np.testing.assert_array_equal(infos["final_obs"][i], observation)
                assert infos["_final_obs"][i] and infos["_final_info"][i]
                final = infos["final_info"]
                for key in (*keys, "episode_returns", "episode_lengths", "cut_short", "next_obs"):
                    np.testing.assert_array_equal(final[key][i], info[key])
                    assert final[f"_{key}"][i]
                observation, info = single.reset()
            elif "final_obs" in infos:
                assert infos["final_obs"][i] is None and not infos["_final_info"][i]
            np.testing.assert_array_equal(observations[i], observation)
            for key in keys:
                np.testing.assert_array_equal(infos[key][i], info[key])
    assert n_ends >= 6


def test_infos_have_no_masks_of_masks() -> None:
    env = vector.MultiEpisodeWrapper(scripted_vector((1,), (2,)), 1)
    env.reset(seed=0)
    infos = env.step([1, 1])[4]
    assert not [key for key in (*infos, *infos["final_info"]) if key.startswith("__")]
    assert infos["final_info"]["_t"].tolist() == [True, False]


def test_a_reset_mask_begins_some_meta_episodes_anew() -> None:
    env = vector.MultiEpisodeWrapper(scripted_vector((2,), (3,)), 2)
    env.reset(seed=0)
    for _ in range(3):
        observations, *_, infos = env.step([1, 1])
    assert infos["episode_index"].tolist() == [1, 1]
    options = {"reset_mask": np.array([True, False])}
    after, infos = env.reset(options=options)
    assert infos["episode_index"].tolist() == [0, 1]
    assert infos["episode_start"].tolist() == [True, True]  # the other one has just restarted
    np.testing.assert_array_equal(after[1], observations[1])
    assert after[0, 0] != observations[0, 0]
    env.step([1, 1])
    _, infos = env.reset(options=options)
    assert infos["episode_start"].tolist() == [True, False]


def test_returned_arrays_are_the_callers() -> None:
    env = vector.MultiEpisodeWrapper(scripted_vector((2,), (3,)), 2)
    first, _ = env.reset(seed=0)
    copy = first.copy()
    kept = []
    for _ in range(6):
        observations, *_, infos = env.step([1, 1])
        kept.append(
            (observations, observations.copy(), infos["next_obs"], infos["next_obs"].copy())
        )
    np.testing.assert_array_equal(first, copy)
    for shown, shown_then, true, true_then in kept:
        np.testing.assert_array_equal(shown, shown_then)
        np.testing.assert_array_equal(true, true_then)


class OneSetOfArrays(VectorWrapper):
    """Writes each step's results into the same arrays, and clears them at each reset."""

    handles_reset_mask = True

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        for array in getattr(self, "arrays", ()):
            array[:] = 0
        return self.env.reset(**kwargs)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        *results, infos = self.env.step(actions)
        self.arrays = getattr(self, "arrays", results)
        for array, values in zip(self.arrays, results, strict=True):
            array[:] = values
        return *self.arrays, infos


def test_a_batch_may_write_into_its_arrays_again() -> None:
    lengths = ((2,), (3,))
    plain = vector.MultiEpisodeWrapper(scripted_vector(*lengths), 2)
    reusing = vector.MultiEpisodeWrapper(OneSetOfArrays(scripted_vector(*lengths)), 2)
    for env in (plain, reusing):
        env.reset(seed=0)
    histories: list[list[Any]] = [[], []]
    for env, history in zip((plain, reusing), histories, strict=True):
        for _ in range(12):
            *results, infos = env.step([1, 1])
            history += [*results, infos["next_obs"]]
    for one, other in zip(*histories, strict=True):
        np.testing.assert_array_equal(one, other)


class OneInfo(ScriptedEnv):
    """Reports its step in one array, which a reset writes into."""

    def __init__(self, lengths: tuple[int, ...]) -> None:
        super().__init__(lengths)
        self.told = np.zeros(1)

    def reset(self, **kwargs: Any) -> Any:
        self.told[:] = -1.0
        return super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        *result, info = super().step(action)
        self.told[:] = self.t
        return *result, {**info, "told": self.told}


def test_a_single_environment_may_write_into_its_infos_again() -> None:
    env = MultiEpisodeWrapper(OneInfo((2,)), 2)
    env.reset(seed=0)
    env.step(1)
    *_, info = env.step(1)
    assert info["episode_start"] and info["told"] == 2.0
    env.step(1)
    *_, terminated, _, last = env.step(1)
    env.reset()  # as DummyVecEnv does before it hands out the infos of the step
    assert terminated and last["told"] == 2.0


def test_what_callers_do_to_an_observation_leaves_the_true_next_state() -> None:
    env = vector.MultiEpisodeWrapper(scripted_vector((2,), (3,)), 2)
    env.reset(seed=0)
    for _ in range(6):
        observations, *_, infos = env.step([1, 1])
        true = infos["next_obs"].copy()
        observations += 100
        for last in infos.get("final_obs", [None]):
            if last is not None:
                last += 100
        np.testing.assert_array_equal(infos["next_obs"], true)
    single = MultiEpisodeWrapper(ScriptedEnv((3,)), 1)
    single.reset(seed=0)
    observation, *_, info = single.step(1)
    true = info["next_obs"].copy()
    observation += 100
    np.testing.assert_array_equal(info["next_obs"], true)


def test_where_a_task_ended_infos_are_those_of_the_new_one() -> None:
    """As our own environments do with Gymnasium's SAME_STEP, of which each episode is a task."""
    kwargs: dict[str, Any] = {"num_envs": 3, "max_episode_steps": 4}
    disabled = gym.make_vec("LDM-HalfCheetahVel-v0", autoreset_mode="Disabled", **kwargs)
    ours = vector.MultiEpisodeWrapper(disabled, 1)
    theirs = gym.make_vec("LDM-HalfCheetahVel-v0", autoreset_mode="SameStep", **kwargs)
    ours.reset(seed=3)
    theirs.reset(seed=3)
    extra = {MARK, "next_obs", "episode_start", "episode_index"}
    n_ends = 0
    for _ in range(9):
        actions = np.full((3, 6), 0.3, np.float32)
        *_, terminations, truncations, infos = ours.step(actions)
        *_, expected = theirs.step(actions)
        n_ends += int((terminations | truncations).sum())
        shown = {
            key for key in infos if f"_{key}" in infos and np.asarray(infos[f"_{key}"]).any()
        } - extra
        wanted = {key for key in expected if f"_{key}" in expected and expected[f"_{key}"].any()}
        assert shown == wanted
        for key in wanted - {"final_obs", "final_info"}:
            np.testing.assert_array_equal(infos[f"_{key}"], expected[f"_{key}"])
            mask = expected[f"_{key}"]
            np.testing.assert_array_equal(infos[key][mask], expected[key][mask])
    assert n_ends == 6


@pytest.mark.parametrize("n_episodes", [0, -1, 2.0, True, "2"])
def test_bad_numbers_of_episodes_are_refused(n_episodes: Any) -> None:
    for make in (
        lambda: MultiEpisodeWrapper(ScriptedEnv(), n_episodes),
        lambda: vector.MultiEpisodeWrapper(scripted_vector((2,)), n_episodes),
    ):
        with pytest.raises(ValueError, match=f"got {n_episodes!r}"):
            make()


@pytest.mark.parametrize("name", ["finite_horizon", "check_tasks", "stagger"])
def test_switches_are_booleans(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be True or False, got 'no'"):
        vector.MultiEpisodeWrapper(scripted_vector((2,)), 2, **{name: "no"})
    if name != "stagger":
        with pytest.raises(ValueError, match=f"{name} must be True or False, got 1"):
            MultiEpisodeWrapper(ScriptedEnv(), 2, **{name: 1})


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_environments_that_reset_themselves_are_refused(mode: AutoresetMode) -> None:
    env = SyncVectorEnv([ScriptedEnv], autoreset_mode=mode)
    with pytest.raises(ValueError, match=f"DISABLED, got {mode.name}"):
        vector.MultiEpisodeWrapper(env, 2)


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
def test_gymnasium_checks_it_and_records_it() -> None:
    env = gym.make("LDM-GridNavi-v0")
    wrapped = MultiEpisodeWrapper(env, 2, finite_horizon=True)
    check_env(wrapped, skip_render_check=True)
    spec = wrapped.spec
    assert spec is not None
    recorded = {"n_episodes": 2, "finite_horizon": True, "check_tasks": True}
    assert spec.additional_wrappers[-1].kwargs == recorded
    again = gym.make(spec)
    assert isinstance(again, MultiEpisodeWrapper) and again.n_episodes == 2


def test_state_goes_on_alike() -> None:
    for make in (
        lambda: MultiEpisodeWrapper(ScriptedEnv((2, 3)), 2),
        lambda: vector.MultiEpisodeWrapper(scripted_vector((2, 3)), 2),
    ):
        env: Any = make()
        env.reset(seed=0)
        action = env.action_space.sample()
        for _ in range(3):
            env.step(action)
        state = env.get_state()
        env.step(action)
        other: Any = make()
        other.reset(seed=0)
        other.set_state(state)
        np.testing.assert_equal(other.get_state(), state)
        env.step(action)  # a state is a copy
        np.testing.assert_equal(other.get_state(), state)


def test_a_state_of_other_meta_episodes_is_refused() -> None:
    """Returns of one episode would be taken for those of four."""
    pairs: list[tuple[Any, Any]] = [
        (MultiEpisodeWrapper(ScriptedEnv((3,)), 1), MultiEpisodeWrapper(ScriptedEnv((3,)), 4)),
        (
            vector.MultiEpisodeWrapper(scripted_vector((3,), (3,)), 1),
            vector.MultiEpisodeWrapper(scripted_vector((3,), (3,)), 4),
        ),
        (
            vector.MultiEpisodeWrapper(scripted_vector((3,)), 2),
            vector.MultiEpisodeWrapper(scripted_vector((3,), (3,)), 2),
        ),
    ]
    for source, other in pairs:
        source.reset(seed=0)
        other.reset(seed=0)
        source.step(source.action_space.sample())
        before = other.get_state()
        with pytest.raises(ValueError, match="meta-episode"):
            other.set_state(source.get_state())
        np.testing.assert_equal(other.get_state(), before)


def test_a_limit_outside_is_told() -> None:
    """It makes one long episode of a meta-episode, whose N has no effect."""
    cut = gym.wrappers.TimeLimit(MultiEpisodeWrapper(ScriptedEnv((50,)), 4), 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            cut.reset(seed=0)
            while not cut.step(cut.action_space.sample())[3]:
                pass
    with pytest.warns(UserWarning, match="first of 4 episodes .* put TimeLimit around the env"):
        cut.reset(seed=0)
    inside = MultiEpisodeWrapper(gym.wrappers.TimeLimit(ScriptedEnv((50,)), 6), 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(8):
            inside.reset(seed=0)
            for _ in range(10):
                inside.step(inside.action_space.sample())


def test_an_inner_end_that_is_a_time_limit_too_is_no_time_limit() -> None:
    """Advantages flow back across it: what comes after is another episode, not a cut one."""

    class Both(ScriptedEnv):
        def step(self, action: Any) -> Any:
            observation, reward, terminated, truncated, info = super().step(action)
            return observation, reward, terminated or truncated, truncated, info

    env = vector.MultiEpisodeWrapper(
        SyncVectorEnv(
            [lambda: Both((2,)), lambda: ScriptedEnv((2,))], autoreset_mode=AutoresetMode.DISABLED
        ),
        2,
    )
    env.reset(seed=0)
    env.step([1, 1])
    env.step([1, 1])
    assert env.inner_time_limits().tolist() == [False, True]


def test_of_ended_tasks_infos_are_those_of_gymnasiums_same_step() -> None:
    """Nothing of the old task is left beside the masks that say so."""

    class Told(ScriptedEnv):
        def step(self, action: Any) -> Any:
            *result, info = super().step(action)
            return *result, {**info, "words": f"step {self.t}"}

    def batch(mode: AutoresetMode) -> SyncVectorEnv:
        return SyncVectorEnv([lambda: Told((2,)), lambda: Told((3,))], autoreset_mode=mode)

    stock = batch(AutoresetMode.SAME_STEP)
    env = vector.MultiEpisodeWrapper(batch(AutoresetMode.DISABLED), 1)
    env.reset(seed=0)
    stock.reset(seed=0)
    for _ in range(7):
        infos, expected = env.step([1, 1])[4], stock.step([1, 1])[4]
        for key in ("t", "_t", "words", "_words"):
            absent = np.full(2, None if infos[key].dtype == object else 0)
            assert infos[key].tolist() == expected.get(key, absent).tolist(), key
