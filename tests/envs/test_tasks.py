"""Task sets against a second statement of them, written from the tables of the paper."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import ldm_envs
from ldm_envs.tasks import (
    AnnulusTaskSet,
    FiniteTaskSet,
    IntervalTaskSet,
    TaskDistribution,
)

N = 20_000
QUARTER = np.pi / 2


def _distribution(env_id: str) -> TaskDistribution:
    env = gym.make(env_id)
    sets = env.unwrapped.task_distribution
    env.close()
    return sets


def _ring(cell: np.ndarray) -> np.ndarray:
    return cell.max(axis=-1)


def _held_out(cell: np.ndarray) -> np.ndarray:
    """The three middle cells of ring 2, and of ring 6 the second and fourth cell of each arm."""
    low = cell.min(axis=-1)
    return np.where(_ring(cell) == 2, low >= 1, (_ring(cell) == 6) & np.isin(low, [2, 4]))


def _degrees(theta: np.ndarray) -> np.ndarray:
    """Degrees, to the thousandth: finer than any two tasks, coarser than float32 rounding."""
    return np.round(np.rad2deg(theta.astype(np.float64)), 3)


def _in(values: np.ndarray, *intervals: tuple[float, float]) -> np.ndarray:
    return np.any([(low <= values) & (values < high) for low, high in intervals], axis=0)


def _near(values: np.ndarray, *targets: float) -> np.ndarray:
    return np.any([np.abs(values - target) < 1e-5 for target in targets], axis=0)


# env id -> split -> (predicate on tasks (n, dim), number of tasks or None)
RINGS = {"train": {2, 6}, "test": {3, 4, 5}, "eval": {3, 4, 5}, "all": {2, 3, 4, 5, 6}}
RINGS_EXTRA = {
    "train": {2, 5},
    "test1": {3, 4},
    "test2": {6},
    "test": {3, 4, 6},
    "eval": {3, 4, 6},
    "all": {2, 3, 4, 5, 6},
}


def _grid_splits(rings: dict) -> dict:
    # There are 2m + 1 cells whose larger coordinate is m.
    return {
        split: (lambda t, ms=ms: np.isin(_ring(t), list(ms)), sum(2 * m + 1 for m in ms))
        for split, ms in rings.items()
    }


EXPECTED = {
    "LDM-GridNavi-v0": _grid_splits(RINGS),
    "LDM-GridNaviExtrapolation-v0": _grid_splits(RINGS_EXTRA),
    "LDM-GridNaviValidation-v0": {
        "train": (lambda t: np.isin(_ring(t), [2, 6]) & ~_held_out(t), 11),
        "test": (lambda t: _held_out(t), 7),
        "eval": (lambda t: _held_out(t), 7),
        "all": (lambda t: np.isin(_ring(t), [2, 6]), 18),
    },
    "LDM-AntDir-v0": {
        "train": (lambda t: _near(_degrees(t[:, 0]), 0, 90, 180, 270), 4),
        "test": (lambda t: _near(_degrees(t[:, 0]), 45, 135, 225, 315), 4),
        "eval": (lambda t: _near(_degrees(t[:, 0]), 45, 135, 225, 315), 4),
        "all": (lambda t: _near(_degrees(t[:, 0]), *range(0, 360, 45)), 8),
    },
    "LDM-AntGoal-v0": {
        "train": (lambda t: _in(t[:, 0], (0, 1), (2.5, 3)) & _in(t[:, 1], (0, 2 * np.pi)), None),
        "test": (lambda t: _in(t[:, 0], (1, 2.5)) & _in(t[:, 1], (0, 2 * np.pi)), None),
        "eval": (lambda t: _near(t[:, 0], 1.75) & _near(_degrees(t[:, 1]), 0, 90, 180, 270), 4),
        "all": (lambda t: _in(t[:, 0], (0, 3)) & _in(t[:, 1], (0, 2 * np.pi)), None),
    },
    "LDM-HalfCheetahVel-v0": {
        "train": (lambda t: _in(t[:, 0], (0, 0.5), (3, 3.5)), None),
        "test": (lambda t: _in(t[:, 0], (0.5, 3)), None),
        "eval": (lambda t: _near(t[:, 0], 0.75, 1.25, 1.75, 2.25, 2.75), 5),
        "all": (lambda t: _in(t[:, 0], (0, 3.5)), None),
    },
}


def test_every_id_has_an_expectation(env_id):
    assert env_id in EXPECTED


def test_splits_match_the_paper(env_id):
    sets = _distribution(env_id)
    assert set(sets.splits) == set(EXPECTED[env_id]) == set(sets)
    for split, (inside, count) in EXPECTED[env_id].items():
        task_set = sets[split]
        drawn = task_set.sample(np.random.default_rng(1), N)
        assert drawn.shape == (N, sets.task_dim) and drawn.dtype == np.float32
        assert inside(drawn).all(), split
        assert task_set.contains(drawn).all()
        if count is None:
            assert task_set.tasks is None
        else:
            assert task_set.tasks.dtype == np.float32 and len(task_set.tasks) == count
            assert inside(task_set.tasks).all()
            assert len(np.unique(task_set.tasks, axis=0)) == count


def test_contains_agrees_with_the_paper_on_all_tasks(env_id):
    sets = _distribution(env_id)
    everything = sets["all"].sample(np.random.default_rng(2), 2000)
    if sets["all"].tasks is None and sets["eval"].tasks is not None:
        everything = np.concatenate([everything, sets["eval"].tasks])
    for split, (inside, _) in EXPECTED[env_id].items():
        assert np.array_equal(sets[split].contains(everything), inside(everything)), split


def test_set_relations(env_id):
    sets = _distribution(env_id)
    rng = np.random.default_rng(3)
    train, test = sets["train"].sample(rng, 3000), sets["test"].sample(rng, 3000)
    assert not sets["test"].contains(train).any() and not sets["train"].contains(test).any()
    assert sets["all"].contains(train).all() and sets["all"].contains(test).all()
    assert sets["test"].contains(sets["eval"].sample(rng, 1000)).all()
    drawn = sets["all"].sample(rng, 3000)
    assert (sets["train"].contains(drawn) ^ sets["test"].contains(drawn)).all()


def test_finite_sets_are_sampled_uniformly(env_id):
    for split, task_set in _distribution(env_id).items():
        if task_set.tasks is None:
            continue
        many = task_set.sample(np.random.default_rng(4), N)
        rng = np.random.default_rng(5)
        singly = np.concatenate([task_set.sample(rng, 1) for _ in range(4000)])
        for drawn in (many, singly):
            _, counts = np.unique(drawn, axis=0, return_counts=True)
            k, expected = len(task_set.tasks), len(drawn) / len(task_set.tasks)
            assert len(counts) == k
            chi2 = ((counts - expected) ** 2 / expected).sum()
            assert chi2 < k + 6 * np.sqrt(2 * k), split  # mean k-1, deviation sqrt(2(k-1))


def test_several_draws_from_a_finite_set_are_independent():
    rng, task_set = np.random.default_rng(0), FiniteTaskSet([[0.0], [1.0], [2.0]])
    pairs = np.stack([task_set.sample(rng, 2) for _ in range(3000)])
    _fraction((pairs[:, 0] == pairs[:, 1])[:, 0], 1 / 3)


def _fraction(found: np.ndarray, expected: float) -> None:
    deviation = np.sqrt(expected * (1 - expected) / len(found))
    assert abs(found.mean() - expected) < 5 * deviation, (found.mean(), expected)


def test_ant_goals_are_uniform_over_area():
    sets = _distribution("LDM-AntGoal-v0")
    train = sets["train"].sample(np.random.default_rng(6), N)
    _fraction(train[:, 0] < 1, 4 / 15)
    _fraction(train[:, 0] < 0.5, 1 / 15)  # a quarter of the inner disc
    _fraction(train[:, 0] < np.sqrt((2.5**2 + 3**2) / 2), 4 / 15 + 11 / 30)
    _fraction(train[:, 1] < QUARTER, 1 / 4)
    test = sets["test"].sample(np.random.default_rng(7), N)
    _fraction(test[:, 0] < 1.75, (1.75**2 - 1) / (2.5**2 - 1))
    _fraction(test[:, 1] >= 3 * QUARTER, 1 / 4)
    everything = sets["all"].sample(np.random.default_rng(8), N)
    _fraction(everything[:, 0] < 1.5, 1 / 4)


def test_half_cheetah_velocities():
    sets = _distribution("LDM-HalfCheetahVel-v0")
    train = sets["train"].sample(np.random.default_rng(9), N)[:, 0]
    _fraction(train < 0.5, 1 / 2)
    _fraction(train < 0.25, 1 / 4)
    _fraction(train < 3.25, 3 / 4)
    _fraction(sets["test"].sample(np.random.default_rng(10), N)[:, 0] < 1.0, 0.2)
    _fraction(sets["all"].sample(np.random.default_rng(11), N)[:, 0] < 0.7, 0.2)


class _EdgeGenerator:
    """Stands in for a generator whose uniform draws lie as close to 1 as float64 allows."""

    def random(self, n: int) -> np.ndarray:
        return np.full(n, np.nextafter(1.0, 0.0))


@pytest.mark.parametrize(
    "task_set",
    [
        IntervalTaskSet([(0.0, 0.5), (3.0, 3.5)], weights=(0.5, 0.5)),
        IntervalTaskSet([(0.1, 0.3)]),
        AnnulusTaskSet([(0.0, 1.0), (2.5, 3.0)]),
        AnnulusTaskSet([(1.0, 2.5)]),
    ],
)
def test_rounding_to_float32_stays_inside_half_open_intervals(task_set):
    drawn = task_set.sample(_EdgeGenerator(), 3)
    assert task_set.contains(drawn).all()
    assert drawn.dtype == np.float32


@pytest.mark.parametrize("n", [1, 2])
def test_what_is_sampled_is_the_callers(n):
    task_set = FiniteTaskSet([[0.0, 2.0], [3.0, 1.0], [4.0, 4.0]])
    before = task_set.tasks
    for _ in range(20):
        drawn = task_set.sample(np.random.default_rng(0), n)
        drawn += 0.5
    np.testing.assert_array_equal(task_set.tasks, before)


@pytest.mark.parametrize(
    "weights", [(1.0,), (2.0, -1.0), (0.5, 0.6), (0.0, 1.0), (np.nan, 1.0), (0.2, 0.3, 0.5)]
)
def test_weights_that_are_no_probabilities_of_the_intervals(weights):
    with pytest.raises(ValueError, match=r"2 positive weights that sum to 1, got"):
        IntervalTaskSet([(0.0, 1.0), (2.0, 3.0)], weights=weights)


def test_radii_and_tolerances_are_not_negative():
    with pytest.raises(ValueError, match="radii of at least 0"):
        AnnulusTaskSet([(-1.0, 2.0)])
    with pytest.raises(ValueError, match="tolerance of at least 0, got -1"):
        FiniteTaskSet([[1.0]], tolerance=-1)


@pytest.mark.parametrize("kind", [IntervalTaskSet, AnnulusTaskSet])
@pytest.mark.parametrize(
    "intervals",
    [[(0.0, 2.0), (1.0, 3.0)], [(2.0, 3.0), (0.0, 2.5)], [(1.0, 1.0)], [(0.0, np.inf)], [], [1.0]],
)
def test_intervals_that_are_not_disjoint_and_finite(kind, intervals):
    with pytest.raises(ValueError, match=r"Expected (disjoint intervals|\(low, high\) pairs)"):
        kind(intervals)
    kind([(2.0, 3.0), (0.0, 2.0)])  # neighbours, in any order


def test_interval_ends():
    task_set = IntervalTaskSet([(0.0, 0.5), (3.0, 3.5)])
    values = np.array([[0.0], [0.5], [2.999], [3.0], [3.5], [-0.1], [np.nan], [np.inf]])
    expected = [True, False, False, True, False, False, False, False]
    assert task_set.contains(values).tolist() == expected


def test_ant_goal_angle_is_half_open():
    everything = _distribution("LDM-AntGoal-v0")["all"]
    assert everything.contains([1.0, 0.0]) is True
    assert everything.contains([1.0, 2 * np.pi]) is False
    assert everything.contains([1.0, -1e-3]) is False
    assert everything.contains([3.0, 1.0]) is False


def test_ant_dir_compares_headings_modulo_a_turn():
    sets = _distribution("LDM-AntDir-v0")
    for turns in (-2, -1, 0, 1, 3):
        assert sets["train"].contains([QUARTER + 2 * np.pi * turns])
        assert sets["test"].contains([QUARTER / 2 + 2 * np.pi * turns])
    assert sets["train"].contains([2 * np.pi - 1e-6]) and sets["train"].contains([-1e-6])
    assert not sets["all"].contains([0.1])
    assert np.array_equal(sets.validate(np.array([-QUARTER])), np.float32([-QUARTER]))


def test_grid_goals_are_whole_cells():
    sets = _distribution("LDM-GridNavi-v0")
    assert sets["train"].contains([2, 0]) and not sets["train"].contains([2 + 1e-6, 0])
    assert not sets["all"].contains([1, 1]) and not sets["all"].contains([7, 0])


def test_contains_shapes(env_id):
    task_set = _distribution(env_id)["train"]
    drawn = task_set.sample(np.random.default_rng(0), 12)
    assert task_set.contains(drawn[0]) is True
    assert task_set.contains(drawn.reshape(3, 4, -1)).shape == (3, 4)
    with pytest.raises(ValueError, match="shape"):
        task_set.contains(np.zeros(task_set.task_dim + 1))


def test_tasks_is_a_copy(env_id):
    for task_set in _distribution(env_id).values():
        if task_set.tasks is not None:
            task_set.tasks[:] = -7
            assert not (task_set.tasks == -7).any()


def test_unknown_split_shows_value_and_names(env_id):
    sets = _distribution(env_id)
    with pytest.raises(ValueError, match=r"'trian'.*'train'.*'test'.*'eval'.*'all'"):
        sets["trian"]
    assert "trian" not in sets and sets.get("trian") is None
    with pytest.raises(ValueError, match="'trian'"):
        gym.make(env_id, split="trian")
    with pytest.raises(ValueError, match="'trian'"):
        gym.make_vec(env_id, num_envs=2, split="trian")


def test_validate_rejects_with_the_value(env_id):
    sets = _distribution(env_id)
    outside = np.full(sets.task_dim, 123.0)
    if env_id == "LDM-AntDir-v0":
        outside = np.array([0.123])
    with pytest.raises(ValueError, match=r'outside the set "all".*123'):
        sets.validate(outside)
    with pytest.raises(ValueError, match=rf"\({sets.task_dim},\)"):
        sets.validate(np.zeros(sets.task_dim + 1))
    with pytest.raises(ValueError, match="nan"):
        sets.validate(np.full(sets.task_dim, np.nan))
    with pytest.raises(ValueError, match="'north'"):
        sets.validate("north")


@pytest.mark.parametrize("kind", ["finite", "interval"])
def test_all_holds_the_tasks_of_every_split(kind: str) -> None:
    """An oracle would miss the others, and none of them could be asked for."""
    if kind == "finite":
        low, high = FiniteTaskSet([[1.0], [2.0]]), FiniteTaskSet([[3.0]])
    else:
        low, high = IntervalTaskSet([(1.0, 2.0)]), IntervalTaskSet([(3.0, 4.0)])
    with pytest.raises(ValueError, match=r"Split 'train' has tasks that are not in .*: \[\[1\."):
        TaskDistribution({"train": low, "test": high, "all": high}, ("v",))


def test_construction_errors_and_period():
    with pytest.raises(ValueError, match="all"):
        TaskDistribution({"train": IntervalTaskSet([(0, 1)])}, ("v",))
    with pytest.raises(ValueError, match="length 1"):
        TaskDistribution({"all": IntervalTaskSet([(0, 1)])}, ("x", "y"))
    with pytest.raises(ValueError, match="low < high"):
        IntervalTaskSet([(1, 1)])
    with pytest.raises(ValueError, match="shape"):
        FiniteTaskSet([1.0, 2.0])
    with pytest.raises(ValueError, match="periods"):
        FiniteTaskSet([[1.0]], period=[None, None])
    assert FiniteTaskSet([[0.0]], period=[10.0]).contains([20.0])
    assert not FiniteTaskSet([[0.0]]).contains([20.0])
    assert FiniteTaskSet([[0.0]], tolerance=0.5).contains([0.4])


def test_registration_survives_a_reload():
    import importlib
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(ldm_envs)
    assert len(set(ldm_envs.ENV_IDS)) == len(ldm_envs.ENV_IDS) == 6


def test_rounding_to_float32_does_not_fall_below_an_interval() -> None:
    """float32(0.7) is smaller than 0.7."""
    rng = np.random.default_rng(0)
    for task_set in (
        IntervalTaskSet([(0.7, 0.7 + 1e-7)]),
        AnnulusTaskSet([(0.7, 0.7 + 1e-7)]),
    ):
        assert task_set.contains(task_set.sample(rng, 1000)).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"tasks": [[0.0]], "period": [-360.0]}, "periods that are positive"),
        ({"tasks": [[0.0]], "period": [0.0]}, "periods that are positive"),
        ({"tasks": [[np.nan]]}, "finite in float32"),
        ({"tasks": [[1.0], [np.inf]]}, "finite in float32"),
    ],
)
def test_finite_sets_refuse_what_contains_cannot_answer(arguments, says) -> None:
    with pytest.raises(ValueError, match=says):
        FiniteTaskSet(**arguments)
