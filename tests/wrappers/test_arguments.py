"""Every argument has an effect, and a bad one an error that shows it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from reference_models import small_model
from wrapper_stubs import ScriptedEnv, actions_for, scripted_vector

from ldm_wrappers import (
    BeliefObservationWrapper,
    BeliefPool,
    BeliefPublisherWrapper,
    DirichletMixture,
    ExpectedReward,
    LatentDynamics,
    LatentDynamicsConfig,
    PlausibleTasks,
    TrajectoryBuffer,
    vector,
)
from ldm_wrappers.imagination import imagination_from_dict, mixture_from_dict
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer, TransitionSpec, elbo

LENGTHS = [(3, 5, 2), (4,), (1, 2), (6, 3)]
CHANGES: dict[str, Any] = {
    "latent_dim": 4,
    "encoder_observation_size": 6,
    "encoder_action_size": 5,
    "encoder_reward_size": 4,
    "encoder_hidden_size": 9,
    "decoder_inputs": ("next_observation",),
    "decoder_observation_size": 7,
    "decoder_action_size": 4,
    "decoder_hidden_sizes": (7,),
    "decoder_heads": 9,
    "likelihood": "gaussian",
    "reward_low": -0.1,
    "reward_high": 2.0,
    "p_drop": 0.5,
    "kl_weight": 0.5,
}


def collected(model: Any) -> TrajectoryBuffer:
    """A buffer with trajectories of GridLike."""
    buffer = TrajectoryBuffer(model.spec, capacity=30, max_length=9)
    env = BeliefObservationWrapper(GridLike((5, 3)), model, buffer=buffer)
    env.reset(seed=0)
    for action in actions_for(env, 40):
        if any(env.step(action)[2:4]):
            env.reset()
    return buffer


class GridLike(ScriptedEnv):
    """Integer cells of a 3×3 grid, rewards 0 and 1."""

    def __init__(self, lengths: tuple[int, ...]) -> None:
        super().__init__(lengths)
        self.observation_space = spaces.Box(0.0, 2.0, (2,))

    def _observation(self) -> Any:
        return np.array([self.t % 3, round(self.position * 10) % 3], np.float32)

    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return observation, float(observation[0] == 1.0), *rest


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_of_the_model_has_an_effect(name: str) -> None:
    env = GridLike((5, 3))
    outcomes = []
    for changes in ({}, {name: CHANGES[name]}):
        model = small_model(env, **{"likelihood": "bernoulli", **changes})
        batch = collected(model).get(np.arange(5))
        terms = elbo(model, batch, generator=torch.Generator().manual_seed(0))
        zeros = torch.zeros(1, model.config.latent_dim)
        reward = model.imagine_reward(zeros, *(torch.zeros(1, n) for n in (2, 1, 2)))
        size = sum(p.numel() for p in model.parameters())
        outcomes.append((terms.elbo.sum().item(), reward.item(), size))
    assert outcomes[0] != outcomes[1]


BAD: list[tuple[str, Any, str]] = [
    ("latent_dim", 0, "0"),
    ("encoder_hidden_size", -1, "-1"),
    ("decoder_heads", 0, "0"),
    ("encoder_observation_size", -2, "-2"),
    ("decoder_inputs", (), r"\(\)"),
    ("decoder_inputs", ("state",), "'state'"),
    ("decoder_inputs", ("action", "action"), r"'action', 'action'"),
    ("decoder_hidden_sizes", (), r"\(\)"),
    ("decoder_hidden_sizes", (4, 0), r"decoder_hidden_sizes\[1\] must be at least 1, got 0"),
    ("decoder_hidden_sizes", 8, "must be a tuple of at least one width, got 8"),
    ("decoder_hidden_sizes", (8.5,), r"\[0\] must be an integer, got 8.5"),
    ("decoder_observation_size", 0, "decoder_observation_size must be at least 1, got 0"),
    ("decoder_action_size", 0, "decoder_action_size must be at least 1, got 0"),
    ("encoder_reward_size", 2.5, "encoder_reward_size must be an integer, got 2.5"),
    ("scale_observations", "no", "scale_observations must be True or False, got 'no'"),
    ("likelihood", "poisson", "'poisson'"),
    ("reward_low", 1.0, "1.0 and 1.0"),
    ("reward_high", np.nan, "nan"),
    ("reward_low", "0", "reward_low must be finite, got '0'"),
    ("p_drop", 1.0, "1.0"),
    ("p_drop", -0.1, "-0.1"),
    ("p_drop", np.nan, "nan"),
    ("kl_weight", -1.0, "-1.0"),
    ("kl_weight", np.nan, "nan"),
    ("kl_weight", np.inf, "inf"),
    ("p_drop", "half", "p_drop must lie in .*'half'"),
    ("latent_dim", 2.5, "latent_dim must be an integer, got 2.5"),
]


@pytest.mark.parametrize(("name", "value", "shown"), BAD)
def test_bad_settings_of_the_model_are_refused(name: str, value: Any, shown: str) -> None:
    with pytest.raises(ValueError, match=shown):
        LatentDynamicsConfig(**{name: value})


def test_an_encoder_must_see_something_and_keys_must_be_known() -> None:
    blind = {f"encoder_{name}_size": 0 for name in ("observation", "action", "reward")}
    with pytest.raises(ValueError, match="must be positive, got 0 for all"):
        LatentDynamicsConfig(**blind)
    with pytest.raises(ValueError, match=r"\['beta'\]"):
        LatentDynamicsConfig.from_dict({"beta": 1.0})
    grid = LatentDynamicsConfig.grid(latent_dim=7)
    assert (grid.latent_dim, grid.likelihood, grid.p_drop) == (7, "bernoulli", 0.7)


NUMPY = [
    (LatentDynamicsConfig, {"latent_dim": np.int64(5), "encoder_hidden_size": np.int32(8)}),
    (LatentDynamicsConfig, {"p_drop": np.float32(0.5), "scale_observations": np.bool_(True)}),
    (LatentDynamicsConfig, {"reward_scale": np.float32(2), "reward_low": np.float64(-1)}),
    (LatentDynamicsConfig, {"decoder_hidden_sizes": [np.int64(8)], "decoder_inputs": ["action"]}),
    (DirichletMixture, {"beta": np.float32(2), "n_components": np.int64(3)}),
    (DirichletMixture, {"per_dimension": np.bool_(True)}),
    (PlausibleTasks, {"threshold": np.float32(0.5), "n_candidates": np.int64(3)}),
    (ExpectedReward, {"n_dropout_masks": np.int16(2), "final_beliefs": np.bool_(True)}),
]


@pytest.mark.parametrize(("kind", "values"), NUMPY)
def test_numpy_numbers_become_plain_ones_that_json_takes(kind: Any, values: Any) -> None:
    settings = kind(**values)
    written = json.loads(json.dumps(settings.to_dict()))
    for name, value in values.items():
        assert written[name] == (value if isinstance(value, list) else value.item())
    plain = {n: v if isinstance(v, list) else v.item() for n, v in values.items()}
    assert settings == kind(**plain) and hash(settings) == hash(kind(**plain))
    if kind is LatentDynamicsConfig:
        assert LatentDynamicsConfig.from_dict(written) == settings
        box = spaces.Box(-1.0, 1.0, (2,))
        LatentDynamics(box, box, settings)  # torch takes no NumPy integer for a layer's size


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (DirichletMixture, "per_dimension"),
        (PlausibleTasks, "relative"),
        (ExpectedReward, "keep_dropout_masks"),
        (ExpectedReward, "final_beliefs"),
        (ExpectedReward, "belief_samples"),
    ],
)
@pytest.mark.parametrize("value", ["no", 0, None])
def test_switches_are_booleans(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be True or False, got {value!r}"):
        kind(**{name: value})


def rewards(n_steps: int = 20, **kwargs: Any) -> Any:
    """What a vector chain pays; p_drop 0.5."""
    meta = vector.MultiEpisodeWrapper(scripted_vector(*LENGTHS), kwargs.pop("n_episodes", 2))
    model = small_model(meta, p_drop=0.5, likelihood=kwargs.pop("likelihood", "gaussian"))
    settings = {"n_mixture": 1, "seed": 0, **kwargs}
    env = vector.ImaginaryRewardWrapper(meta, model, **settings)
    env.reset(seed=0)
    return np.stack([env.step(actions)[1] for actions in actions_for(env, n_steps)])


@pytest.mark.parametrize(
    "changes",
    [
        {"n_mixture": 2},
        {"mixture": DirichletMixture(beta=2.0)},
        {"mixture": DirichletMixture(n_components=1)},
        {"mixture": DirichletMixture(per_dimension=True)},
        {"imagination": ExpectedReward(n_dropout_masks=0)},
        {"imagination": ExpectedReward(n_dropout_masks=1)},
        {"imagination": ExpectedReward(keep_dropout_masks=True)},
        {"imagination": ExpectedReward(final_beliefs=True)},
        {"seed": 1},
        {"n_episodes": 1},
    ],
)
def test_every_argument_of_the_vector_wrapper_has_an_effect(changes: dict[str, Any]) -> None:
    plain, changed = rewards(), rewards(**changes)
    assert np.array_equal(plain, rewards())
    assert not np.array_equal(plain[:, -1], changed[:, -1])
    if "n_episodes" not in changes:
        np.testing.assert_array_equal(plain[:, :2], changed[:, :2])


def test_every_setting_of_thresholds_has_an_effect() -> None:
    def paid(scheme: Any) -> Any:
        return rewards(60, imagination=scheme, likelihood="bernoulli", n_mixture=2)[:, -2:]

    probabilities = paid(ExpectedReward(final_beliefs=True, keep_dropout_masks=True))
    plain = {"n_remembered_transitions": 12, "n_candidates": 1, "n_dropout_masks": 8}
    outcomes = [
        paid(PlausibleTasks(float(q), relative=False, **{**plain, **changes}))
        for q in np.quantile(probabilities, [0.3, 0.7])
        for changes in ({}, {"n_candidates": 9})
    ]
    for changes in (
        {},
        {"n_remembered_transitions": 3},
        {"n_candidates": 9},
        {"n_dropout_masks": 1},
        {"n_dropout_masks": 0},
    ):
        outcomes.append(paid(PlausibleTasks(0.98, **{**plain, **changes})))
    assert len({array.tobytes() for array in outcomes}) == len(outcomes)
    assert all(set(np.unique(array)) == {0.0, 1.0} for array in outcomes)


@pytest.mark.parametrize("n_mixture", [0, 4, 5, -1])
def test_numbers_of_mixture_workers_out_of_range_are_refused(n_mixture: int) -> None:
    with pytest.raises(ValueError, match=rf"expected 1 to 3, got {n_mixture}"):
        rewards(n_mixture=n_mixture)


def test_a_threshold_needs_a_likelihood_with_two_outcomes() -> None:
    with pytest.raises(ValueError, match=r"needs likelihood bernoulli, got gaussian; expected-rew"):
        rewards(imagination=PlausibleTasks())


@pytest.mark.parametrize(
    ("scheme", "changes", "shown"),
    [
        (ExpectedReward, {"n_dropout_masks": -1}, "at least 0, got -1"),
        (ExpectedReward, {"n_dropout_masks": 1.5}, "1.5"),
        (PlausibleTasks, {"n_dropout_masks": -1}, "at least 0, got -1"),
        (PlausibleTasks, {"n_candidates": True}, "True"),
        (PlausibleTasks, {"n_candidates": 0}, "at least 1, got 0"),
        (PlausibleTasks, {"threshold": 0.0}, "0.0"),
        (PlausibleTasks, {"threshold": 1.0}, "1.0"),
        (PlausibleTasks, {"threshold": np.nan}, "nan"),
        (PlausibleTasks, {"threshold": "x"}, "threshold must lie in .*'x'"),
        (PlausibleTasks, {"n_remembered_transitions": -1}, "at least 1, got -1"),
        (PlausibleTasks, {"n_remembered_transitions": 0}, "at least 1, got 0"),
    ],
)
def test_bad_settings_of_imaginary_tasks_are_refused(
    scheme: Any, changes: dict[str, Any], shown: str
) -> None:
    with pytest.raises(ValueError, match=shown):
        scheme(**changes)


def test_values_in_range_are_never_contradictions() -> None:
    """Every combination of values starts, on a decoder that drops out and on one that does not."""
    expected = itertools.product((0, 1, 8), (False, True), (False, True))
    plausible = itertools.product((0.5,), (False, True), (1, 9), (1, 4), (0, 1, 8))
    schemes: list[Any] = [ExpectedReward(*values) for values in expected]
    schemes += [PlausibleTasks(*values) for values in plausible]
    for scheme, p_drop in itertools.product(schemes, (0.0, 0.5)):
        model = small_model(ScriptedEnv(), likelihood="bernoulli", p_drop=p_drop)
        tasks = scheme.start(model, n_mixture=2, n_normal=3, seed=0)
        s, a = torch.zeros(2, 4), torch.zeros(2, 1)
        for _ in range(2):
            assert np.isfinite(tasks.rewards(torch.zeros(3, 3), s, a, s)).all()


@pytest.mark.parametrize(
    "scheme",
    [
        DirichletMixture(2.0, n_components=3, per_dimension=True),
        ExpectedReward(1, keep_dropout_masks=True),
        PlausibleTasks(0.5, relative=False, n_candidates=4),
    ],
)
def test_schemes_become_plain_dictionaries_and_back(scheme: Any) -> None:
    read = mixture_from_dict if isinstance(scheme, DirichletMixture) else imagination_from_dict
    values = json.loads(json.dumps(scheme.to_dict()))
    assert read(values) == scheme and type(read(values)) is type(scheme)
    with pytest.raises(ValueError, match="kind must be one of"):
        read({**values, "kind": "dream"})
    with pytest.raises(ValueError, match="has the settings"):
        read({**values, "colour": 1})
    del values[list(values)[1]]  # the first setting after the kind; younger ones have defaults
    with pytest.raises(ValueError, match="has the settings"):
        read(values)


def losses(n_updates: int = 3, **kwargs: Any) -> tuple[Any, ...]:
    model = small_model(GridLike((5, 3)), p_drop=0.2)
    trainer = LatentDynamicsTrainer(model, collected(model), **{"batch_trajectories": 4, **kwargs})
    values = trainer.update(n_updates)
    return values["loss"], trainer.update(1)["loss"]


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1e-2},
        {"batch_trajectories": 6},
        {"n_encoded_lengths": 2},
        {"n_decoded_steps": 2},
        {"seed": 1},
        {"n_updates": 2},
    ],
)
def test_every_argument_of_the_trainer_has_an_effect(changes: dict[str, Any]) -> None:
    assert losses() == losses()
    assert losses() != losses(**changes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("batch_trajectories", 0),
        ("n_encoded_lengths", 0),
        ("n_decoded_steps", -1),
        ("n_encoded_lengths", 1.5),
        ("learning_rate", "fast"),
        ("max_grad_norm", "x"),
        ("averaging", None),
    ],
)
def test_bad_arguments_of_the_trainer_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*got {value!r}"):
        losses(**{name: value})


def test_training_stops_at_non_finite_losses_and_keeps_the_weights() -> None:
    model = small_model(GridLike((5, 3)))
    trainer = LatentDynamicsTrainer(model, collected(model))
    trainer.update(2)
    good = [p.detach().clone() for p in model.parameters()]
    model.decoder.layers[-1].bias.data.fill_(torch.inf)
    with pytest.raises(FloatingPointError, match="update 2: loss"):
        trainer.update(1)
    model.decoder.layers[-1].bias.data.copy_(good[-1])
    for before, after in zip(good, model.parameters(), strict=True):
        assert torch.equal(before, after)


def test_an_empty_buffer_trains_nothing_and_other_spaces_are_refused() -> None:
    model = small_model(GridLike((5, 3)))
    empty = TrajectoryBuffer(model.spec, capacity=3, max_length=9)
    trainer = LatentDynamicsTrainer(model, empty)
    assert trainer.update(3) == {} and trainer.n_updates == 0
    with pytest.raises(ValueError, match=r"stores .*observation_size=2.* reads .*=4"):
        LatentDynamicsTrainer(small_model(ScriptedEnv()), empty)


def test_publisher_arguments_have_an_effect() -> None:
    env = ScriptedEnv((3,))
    model = small_model(env)
    pool = BeliefPool(3, 3)
    buffer = TrajectoryBuffer(model.spec, capacity=3, max_length=9)
    for index in (0, 2):
        pool.publish(index, np.zeros(3, np.float32))
    publisher = BeliefPublisherWrapper(env, model, pool, 1, buffer=buffer)
    prior = pool.means(0)
    assert prior[1].any() and not prior[[0, 2]].any()
    publisher.reset(seed=0)
    for _ in range(3):
        publisher.step(1)
    assert len(buffer) == 1
    assert (pool.means(0)[1] != prior[1]).any() and not pool.means(0)[[0, 2]].any()
    publisher.reset()
    np.testing.assert_array_equal(pool.means(0), prior)


def test_spaces_are_read_as_they_are() -> None:
    spec = TransitionSpec.from_spaces(spaces.Box(0, 1, (2, 3)), spaces.Box(-1, 1, (2, 2)))
    assert (spec.observation_size, spec.action_columns, spec.action_size) == (6, 4, 4)
    spec = TransitionSpec.from_spaces(spaces.Box(0, 1, ()), spaces.Discrete(4, start=-1))
    assert (spec.observation_size, spec.action_columns, spec.action_size) == (1, 1, 4)
    columns = spec.actions(np.array([-1, 2]))
    expected = [[1, 0, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(spec.encode_action_arrays(columns), expected)
    np.testing.assert_array_equal(spec.encode_actions(torch.from_numpy(columns)), expected)
