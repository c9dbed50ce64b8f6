"""The moment encoder against its definition, and what its settings change in the VAE."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from ldm_wrappers import LatentDynamics, LatentDynamicsConfig, TrajectoryBuffer
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer, TrajectoryBatch, elbo
from ldm_wrappers.latent_dynamics.beliefs import BeliefFilter
from ldm_wrappers.latent_dynamics.moment_encoder import MomentEncoder
from ldm_wrappers.latent_dynamics.observation_scale import ObservationScale
from ldm_wrappers.latent_dynamics.posterior import kl_divergence

T, B = 7, 4
LENGTHS = [7, 3, 5, 1]
BOX = spaces.Box(-1, 1, (3,), np.float32)


def make(**changes: Any) -> LatentDynamics:
    """A small model with the moment encoder."""
    sizes: dict[str, Any] = {
        "encoder": "moments",
        "encoder_features": 6,
        "encoder_projections": 4,
        "encoder_hidden_size": 8,
        "latent_dim": 2,
        "decoder_hidden_sizes": (7, 6),
        "p_drop": 0.0,
    }
    actions = spaces.Discrete(3, start=1)
    return LatentDynamics(BOX, actions, LatentDynamicsConfig(**{**sizes, **changes}), seed=1)


def trajectories(seed: int = 0) -> TrajectoryBatch:
    """Random trajectories of LENGTHS whose reward depends on s' and a."""
    rng = np.random.default_rng(seed)
    s, s2 = rng.normal(size=(2, T, B, 3)).astype(np.float32)
    a = rng.integers(0, 3, (T, B, 1)).astype(np.float32)
    r = s2[..., 0] * 2.0 + a[..., 0]
    inside = np.arange(T)[:, None] < np.array(LENGTHS)
    arrays = [x * (inside if x.ndim == 2 else inside[..., None]) for x in (s, a, r, s2)]
    return TrajectoryBatch(
        *(torch.from_numpy(x) for x in arrays),  # type: ignore[arg-type]
        lengths=torch.tensor(LENGTHS),
    )


def encoder_of(model: LatentDynamics) -> MomentEncoder:
    assert isinstance(model.encoder, MomentEncoder)
    return model.encoder


def encode(model: LatentDynamics, batch: TrajectoryBatch) -> Any:
    with torch.no_grad():
        return model.encoder(batch.actions, batch.rewards, batch.next_observations)


def by_definition(model: LatentDynamics, batch: TrajectoryBatch, worker: int, t: int) -> Any:
    """Mean and log-variance after t transitions, from NumPy's own means and covariances."""
    w = {name: value.double().numpy() for name, value in model.encoder.state_dict().items()}
    one_hot = np.eye(3)[batch.actions[:t, worker, 0].numpy().astype(int)]
    seen = np.concatenate([batch.next_observations[:t, worker].double().numpy(), one_hot], axis=1)
    r = batch.rewards[:t, worker].double().numpy()
    both = np.concatenate([seen, r[:, None]], axis=1)
    features = np.maximum(both @ w["features.weight"].T + w["features.bias"], 0.0)
    inner = np.maximum(seen @ w["nonlinear.0.weight"].T + w["nonlinear.0.bias"], 0.0)
    learned = inner @ w["nonlinear.2.weight"].T + w["nonlinear.2.bias"]
    learned += seen @ w["linear.weight"].T + w["linear.bias"]
    g, e = np.concatenate([np.ones((t, 1)), learned[:, 1:]], axis=1), r - learned[:, 0]
    # ridge regression as least squares with a row of the unit matrix for each coefficient
    rows, values = np.concatenate([np.eye(5), g]), np.concatenate([np.zeros(5), e])
    coefficients = np.linalg.lstsq(rows, values)[0]
    variances = np.diag(np.linalg.inv(rows.T @ rows))
    left = np.square(e - g @ coefficients).sum() + np.square(coefficients).sum()
    n = max(t, 1)
    known = np.concatenate(
        [
            *(features.sum(0) / n, g.sum(0) / n, g.T @ e / n, coefficients, variances),
            [left / n, math.log1p(t) / math.log(400.0)],
        ]
    )
    for layer in (0, 2):
        known = np.maximum(w[f"body.{layer}.weight"] @ known + w[f"body.{layer}.bias"], 0.0)
    return [w[f"{name}.weight"] @ known + w[f"{name}.bias"] for name in ("mean", "logvar")]


def test_posteriors_are_those_of_the_definition() -> None:
    model, batch = make(), trajectories()
    found = encode(model, batch)
    for worker, length in enumerate(LENGTHS):
        for t in range(length + 1):
            mean, logvar = by_definition(model, batch, worker, t)
            np.testing.assert_allclose(found.mean[t, worker], mean, atol=2e-5)
            np.testing.assert_allclose(found.logvar[t, worker], logvar, atol=2e-5)


def test_filtering_equals_whole_trajectories_and_single_lengths() -> None:
    model, batch = make(), trajectories()
    whole, belief = encode(model, batch), BeliefFilter(model, B)
    for t in range(T):
        torch.testing.assert_close(belief.posterior(), type(whole)(whole.mean[t], whole.logvar[t]))
        belief.update(batch.actions[t], batch.rewards[t], batch.next_observations[t])
    belief.reset(np.array([True, False, False, False]))
    torch.testing.assert_close(belief.posterior().mean[0], whole.mean[0, 0])
    lengths = torch.tensor([[0, 3, 5, 1], [7, 2, 0, 0]])
    shorter = (lengths - 1).clamp(min=0)
    found = encoder_of(model).at(lengths, *batch[1:4])
    for index, some in zip((lengths, shorter), found, strict=True):
        for name in ("mean", "logvar"):
            expected = getattr(whole, name).gather(0, index.unsqueeze(-1).expand(2, B, 2))
            torch.testing.assert_close(getattr(some, name).detach(), expected)


def test_encoding_again_gives_what_filtering_gives() -> None:
    model, batch = make(), trajectories()
    whole, belief = encode(model, batch), BeliefFilter(model, 6)
    before = belief.posterior().mean[[0, 5]]
    workers, last = np.array([3, 1, 4, 2]), np.array(LENGTHS) - 1
    belief.encode(workers, batch.actions, batch.rewards, batch.next_observations, last)
    found = belief.posterior().mean
    torch.testing.assert_close(found[workers], whole.mean[last + 1, np.arange(B)])
    assert torch.equal(found[[0, 5]], before)


def test_the_order_of_transitions_does_not_matter() -> None:
    model, batch = make(), trajectories()
    order = torch.tensor([4, 0, 6, 2, 5, 1, 3])
    shuffled = TrajectoryBatch(*(x[order] for x in batch[:4]), batch.lengths)
    torch.testing.assert_close(
        encode(model, shuffled).mean[-1, 0], encode(model, batch).mean[-1, 0]
    )


def test_subsets_leave_both_parts_of_the_bound_unbiased() -> None:
    model, batch = make(), trajectories()
    torch.nn.init.zeros_(model.encoder.logvar.weight)
    torch.nn.init.constant_(model.encoder.logvar.bias, -20.0)  # no noise but the subsets'
    with torch.no_grad():
        full = elbo(model, batch, dropout=False)
        draws = [
            elbo(
                model,
                batch,
                dropout=False,
                n_encoded_lengths=2,
                n_decoded_steps=3,
                generator=torch.Generator().manual_seed(seed),
            )
            for seed in range(600)
        ]
    for name in ("reconstruction", "kl"):
        values = torch.stack([getattr(one, name).double() for one in draws])
        spread = values.std(0)
        assert (spread[:3] > 0).all()
        error = (values.mean(0) - getattr(full, name)).abs()
        assert (error <= 4.0 * spread / math.sqrt(600) + 1e-4 * values.abs().mean(0)).all(), name


def test_kl_terms_of_a_trajectory_are_those_to_the_posterior_before() -> None:
    model, batch = make(), trajectories()
    posterior = encode(model, batch)
    kl = torch.zeros(B)
    for worker, length in enumerate(LENGTHS):
        for t in range(length + 1):
            now = type(posterior)(posterior.mean[t, worker], posterior.logvar[t, worker])
            zeros = torch.zeros(2)
            before = type(posterior)(zeros, zeros)
            if t:
                before = type(posterior)(*(part[t - 1, worker] for part in posterior))
            kl[worker] += kl_divergence(now, before)
    torch.testing.assert_close(elbo(model, batch, dropout=False).kl.detach(), kl)


@pytest.mark.parametrize("encoder", ["gru", "moments"])
def test_the_posterior_begins_at_a_given_width(encoder: str) -> None:
    narrow = encode(make(encoder=encoder, initial_posterior_std=0.1), trajectories()).logvar
    assert (narrow.div(2).exp().div(0.1).log().abs() < 0.3).all()
    assert encode(make(encoder=encoder), trajectories()).logvar.div(2).exp().min() > 0.5


def trained(model: LatentDynamics, n_updates: int, **changes: Any) -> LatentDynamicsTrainer:
    batch = trajectories()
    buffer = TrajectoryBuffer(model.spec, capacity=B, max_length=T)
    names = ("observations", "actions", "rewards", "next_observations")
    arrays = {name: getattr(batch, name).numpy().swapaxes(0, 1).copy() for name in names}
    buffer.add(arrays, np.array(LENGTHS))
    trainer = LatentDynamicsTrainer(model, buffer, batch_trajectories=B, seed=3, **changes)
    trainer.update(n_updates)
    return trainer


@pytest.mark.parametrize("encoder", ["gru", "moments"])
def test_observations_are_scaled_by_what_was_seen(encoder: str) -> None:
    model = make(encoder=encoder, scale_observations=True)
    batch = trajectories()
    assert torch.equal(
        model.observation_scale.normalize(batch.next_observations).clamp(-5, 5),
        batch[3].clamp(-5, 5),
    )
    trained(model, 2)
    every = np.concatenate([batch[3][:n, i].numpy() for i, n in enumerate(LENGTHS)])
    expected = np.clip((every - every.mean(0)) / every.std(0), -5, 5)
    found = np.concatenate(
        [model.observation_scale.normalize(batch[3])[:n, i].numpy() for i, n in enumerate(LENGTHS)]
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    before = model.imagine_reward(
        torch.zeros(B, 2), *(x[0] for x in (batch[0], batch[1], batch[3]))
    )
    posterior = encode(model, batch)
    state = model.state_dict()
    assert {"observation_scale.mean", "observation_scale.square"} <= set(state)
    model.observation_scale.mean += 0.5
    changed = model.imagine_reward(
        torch.zeros(B, 2), *(x[0] for x in (batch[0], batch[1], batch[3]))
    )
    assert not torch.equal(changed, before)
    assert not torch.equal(encode(model, batch).mean, posterior.mean)


@pytest.mark.parametrize("encoder", ["gru", "moments"])
def test_equal_weights_read_scaled_observations_as_they_would_plain_ones(encoder: str) -> None:
    """In s and s', for the encoder and for the decoder."""
    plain, scaled = make(encoder=encoder), make(encoder=encoder, scale_observations=True)
    mean, std = torch.tensor([5.0, -1.0, 0.0]), torch.tensor([2.0, 1.0, 0.5])
    scaled.observation_scale.mean.copy_(mean)
    scaled.observation_scale.square.copy_(std.square() + mean.square())
    batch = trajectories()
    s, s2 = (mean + std * x for x in (batch.observations, batch.next_observations))
    shown = batch._replace(observations=s, next_observations=s2)
    torch.testing.assert_close(encode(scaled, shown), encode(plain, batch), atol=1e-4, rtol=1e-4)
    latents = torch.randn(B, 2, generator=torch.Generator().manual_seed(0))
    rewards = [
        model.imagine_reward(latents, one.observations, one.actions, one.next_observations)
        for model, one in ((scaled, shown), (plain, batch))
    ]
    torch.testing.assert_close(*rewards, atol=1e-4, rtol=1e-4)


def test_off_means_off() -> None:
    model = make(encoder="gru")
    assert not [name for name in model.state_dict() if "scale" in name]
    values = torch.full((2, 3), 9.0)
    assert model.observation_scale.normalize(values) is values


def test_the_learning_rate_falls_with_the_root_of_updates() -> None:
    trainer = trained(make(), 0, learning_rate=0.02, decay_updates=3)
    rates = []
    for _ in range(10):
        trainer.update(1)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.02 / math.sqrt(1 + u / 3) for u in range(10)])
    resumed = trained(make(), 0, learning_rate=0.02, decay_updates=3)
    resumed.load_state_dict(trainer.state_dict())
    resumed.update(1)
    assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(0.02 / math.sqrt(1 + 10 / 3))
    with pytest.raises(ValueError, match="decay_updates must be at least 1, got 0"):
        trained(make(), 0, decay_updates=0)


def weights(model: LatentDynamics) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


def test_the_model_holds_the_average_of_the_weights_that_are_trained() -> None:
    plain, averaged = make(), make()
    average = weights(averaged)
    one, other = trained(plain, 0), trained(averaged, 0, averaging=0.5)
    for u, n in enumerate((1, 1, 3, 2), 1):
        for _ in range(n):
            one.update(1)
            rate = min(0.5, (1 + one.n_updates) / (10 + one.n_updates))
            average = rate * average + (1.0 - rate) * weights(plain)
        other.update(n)  # trains on from the single weights, as the plain one does
        torch.testing.assert_close(weights(averaged), average)
        single = other.state_dict()["single_weights"]
        for name, value in plain.named_parameters():
            torch.testing.assert_close(single[name], value.detach())
        if u == 2:  # a resumed trainer continues alike
            resumed = trained(averaged, 0, averaging=0.5)
            resumed.load_state_dict(other.state_dict())
            resumed.buffer._rng.bit_generator.state = other.buffer._rng.bit_generator.state
            other = resumed
    with pytest.raises(ValueError, match="averaging must lie in"):
        trained(make(), 0, averaging=1.0)


def test_updates_are_adams_on_the_bound_of_the_chosen_subsets() -> None:
    """In the scale of all observations drawn so far, those of the update included."""
    model = make(p_drop=0.3, scale_observations=True)
    sizes = {"n_encoded_lengths": 2, "n_decoded_steps": 3}
    plain, trainer = copy.deepcopy(model), trained(model, 0, **sizes)
    buffer, generator = copy.deepcopy(trainer.buffer), torch.Generator().manual_seed(3)
    adam = torch.optim.Adam(plain.parameters(), lr=1e-3)
    for _ in range(3):
        trainer.update(1)
        batch = buffer.sample(B)
        plain.observation_scale.observe(batch.next_observations, batch.lengths)
        bound = elbo(plain, batch, generator=generator, **sizes).elbo
        adam.zero_grad()
        (-bound.mean() / (T + 1)).backward()
        adam.step()
    torch.testing.assert_close(weights(model), weights(plain))


def test_a_failed_update_keeps_the_last_good_average() -> None:
    model = make()
    trainer = trained(model, 2, averaging=0.5)
    before = weights(model)
    trainer.buffer._data["rewards"][:] = np.nan
    with pytest.raises(FloatingPointError):
        trainer.update(1)
    assert torch.equal(weights(model), before)


def test_what_an_update_says_is_a_mean_over_its_steps() -> None:
    together, alone = trained(make(), 0).update(3), trained(make(), 0)
    steps = [alone.update(1) for _ in range(3)]
    assert together == pytest.approx({n: np.mean([s[n] for s in steps]) for n in steps[0]})
    assert len({step["loss"] for step in steps}) == 3


def test_what_an_update_says_is_per_encoded_length_of_each_trajectory() -> None:
    """A short trajectory's nats were divided by the length of the longest one beside it."""
    model = make(p_drop=0.0)
    short, long = 3, 7
    found = {}
    for lengths in ([short], [long], [short, long]):
        buffer = TrajectoryBuffer(model.spec, capacity=4, max_length=long)
        rng = np.random.default_rng(0)
        arrays = {
            "observations": rng.normal(size=(2, long, 3)),
            "actions": np.zeros((2, long, model.spec.action_columns)),
            "rewards": rng.normal(size=(2, long)),
            "next_observations": rng.normal(size=(2, long, 3)),
        }
        rows = [k for k, one in enumerate((short, long)) if one in lengths]
        data = {name: array[rows].astype(np.float32) for name, array in arrays.items()}
        buffer.add(data, np.array(lengths))
        trainer = LatentDynamicsTrainer(
            copy.deepcopy(model), buffer, batch_trajectories=400, learning_rate=1e-12, seed=0
        )
        found[tuple(lengths)] = trainer.update(1)
    for name, tolerance in (("kl", 0.1), ("reconstruction", 0.1)):
        alone = (found[short,][name] + found[long,][name]) / 2
        assert found[short, long][name] == pytest.approx(alone, rel=tolerance), name


def test_columns_far_from_zero_are_told() -> None:
    """Their spread is lost in float32 moments, and the column was scaled by anything."""
    scale = ObservationScale(2, True)
    values = torch.randn(9, 4, 2, generator=torch.Generator().manual_seed(0))
    lengths = torch.full((4,), 9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scale.observe(values * torch.tensor([3e-3, 1e3]) + torch.tensor([0.5, 1e5]), lengths)
        ObservationScale(2, True).observe(torch.full((9, 4, 2), 1000.1), lengths)  # constant
    with pytest.warns(UserWarning, match="observation column 1 has mean 1e.06 and standard dev"):
        ObservationScale(2, True).observe(values + torch.tensor([0.0, 1e6]), lengths)


def test_columns_in_a_large_unit_are_told() -> None:
    """A column in units of 1e6 of its spread was scaled to nearly 0, as a constant one is."""
    values = torch.randn(9, 4, 3, generator=torch.Generator().manual_seed(0))
    lengths = torch.full((4,), 9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        units = torch.tensor([1e-3, 0.0, 1e-12])  # zeros, and what rounding leaves of them
        ObservationScale(3, True).observe(values * units, lengths)
    with pytest.warns(UserWarning, match="observation column 2 has standard deviation .*e-06"):
        ObservationScale(3, True).observe(values * torch.tensor([1.0, 0.0, 1e-6]), lengths)


def test_large_columns_that_are_not_scaled_are_told_once() -> None:
    """With values of 1e6 the VAE's rewards were 1e5 off, without a word."""
    values = torch.randn(9, 4, 2, generator=torch.Generator().manual_seed(0))
    values[8, 0] = 1e9  # padding
    lengths, scale = torch.tensor([8, 9, 9, 9]), ObservationScale(2, False)
    large = values * torch.tensor([1.0, 10.0]) + torch.tensor([1e6, -20.0])
    with pytest.warns(UserWarning, match="observation column 0 has a root mean square of 1e.06"):
        scale.observe(large, lengths)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scale.observe(large, lengths)
        ObservationScale(2, False).observe(values * torch.tensor([1.0, 100.0]), lengths)
    assert not scale.state_dict()


def test_a_value_whose_square_is_infinite_is_named() -> None:
    """It made the column's variance infinite, so that the column was 0 in all later updates."""
    scale, lengths = ObservationScale(2, True), torch.full((4,), 9)
    values = torch.randn(9, 4, 2, generator=torch.Generator().manual_seed(0))
    scale.observe(values, lengths)
    before = copy.deepcopy(scale.state_dict())
    values[8, 0, 1] = -3e19
    with pytest.raises(FloatingPointError, match=r"column 1 contains 3e\+19, whose square"):
        scale.observe(values, lengths)
    assert all(torch.equal(value, before[name]) for name, value in scale.state_dict().items())
    scale.observe(values, lengths.clamp(max=8))  # padding is not read


@pytest.mark.parametrize("offset", [100.0, 900.0])
def test_columns_whose_scale_comes_out_wrong_are_told(offset: float) -> None:
    """Moments of many batches, each rounded to float32, against those of float64."""
    generator = torch.Generator().manual_seed(0)
    batches = torch.randn(1000, 10, 10, 1, generator=generator) + offset
    scale, lengths = ObservationScale(1, True), torch.full((10,), 10)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for batch in batches.unbind():
            scale.observe(batch, lengths)
    found = float(scale.square - scale.mean.square())
    error = found / float(batches.double().var(correction=0)) - 1.0
    assert (abs(error) > 0.25) == bool(told), error


def test_long_gradients_are_shortened() -> None:
    start = make().state_dict()
    moved = {}
    for limit in (None, 1e-2, 1e9):
        model = make()
        trainer = trained(model, 0, max_grad_norm=limit)
        trainer.optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        trainer.update(1)
        moved[limit] = math.sqrt(
            sum(float((v - start[name]).square().sum()) for name, v in model.state_dict().items())
        )
    assert moved[None] == moved[1e9] > 2e-2
    assert moved[1e-2] == pytest.approx(1e-2, rel=1e-3)
    with pytest.raises(ValueError, match="max_grad_norm must be positive or None, got 0"):
        trained(make(), 0, max_grad_norm=0.0)


@pytest.mark.parametrize(
    "name, value",
    [("encoder", "lstm"), ("encoder_features", 0), ("encoder_projections", 0)]
    + [("initial_posterior_std", value) for value in (0.0, -1.0, math.inf)],
)
def test_bad_settings_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        LatentDynamicsConfig(**{name: value})


def test_a_training_drops_the_decoders_inputs() -> None:
    """As many random numbers are drawn, and the loss is that of the bound with dropout."""
    model = make(p_drop=0.6)
    trainer = trained(model, 0)
    losses = {}
    for dropout in (True, False):
        twin = trained(copy.deepcopy(model), 0)
        terms = twin.evaluate(twin.buffer.sample(B), dropout=dropout)
        losses[dropout] = -float(terms.elbo.mean().detach()) / (T + 1)
    found = trainer.update(1)["loss"]
    assert found == pytest.approx(losses[True], rel=1e-5)
    assert found != pytest.approx(losses[False], rel=1e-2)


@pytest.mark.parametrize("weights_first", [True, False])
def test_a_resumed_training_goes_on_from_the_single_weights(weights_first: bool) -> None:
    """In a new model, which begins with other weights than the saved average."""
    model, fresh = make(), make()
    trainer = trained(model, 4, averaging=0.9)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.add_(0.1)
    resumed = trained(fresh, 0, averaging=0.9)
    saved = copy.deepcopy((model.state_dict(), trainer.state_dict(), trainer.buffer.state_dict()))
    if weights_first:
        fresh.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    resumed.buffer.load_state_dict(saved[2])
    if not weights_first:
        fresh.load_state_dict(saved[0])
    for _ in range(2):
        assert resumed.update(2) == trainer.update(2)
        assert torch.equal(weights(fresh), weights(model))


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_a_trainer_that_averages_otherwise_refuses_a_state(averaging: float) -> None:
    state = trained(make(), 4, averaging=0.9 - averaging).state_dict()
    other = trained(make(), 1, averaging=averaging)
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(ValueError, match=r"expected the averaging=… that it was saved with"):
        other.load_state_dict(state)
    assert other.state_dict()["optimizer"]["state"].keys() == before["optimizer"]["state"].keys()
    assert other.state_dict()["n_updates"] == before["n_updates"] == 1


def test_scales_of_observations_know_no_padding_and_no_division_by_zero() -> None:
    scale, batch = ObservationScale(3, True), trajectories()
    constant = torch.tensor([1.0, 0.0, 0.0])
    values = batch.next_observations * (1.0 - constant) + 0.25 * constant  # column 0 never varies
    inside = (torch.arange(T).unsqueeze(-1) < batch.lengths).unsqueeze(-1)
    scale.observe(torch.where(inside, values, 77.0), batch.lengths)
    every = torch.cat([values[:n, i] for i, n in enumerate(LENGTHS)]).double()
    torch.testing.assert_close(scale.mean.double(), every.mean(0))
    torch.testing.assert_close(scale.square.double(), every.square().mean(0))
    shown = scale.normalize(every.float())
    torch.testing.assert_close(shown[:, 0], torch.zeros(len(every)), atol=1e-2, rtol=0.0)
    rows = torch.tensor([[0.25, 0.0, 0.0], [0.5, 1e9, -1e9]])
    assert scale.normalize(rows).abs().max() == 5.0
    many = ObservationScale(1, True)  # the square of a mean is rounded: the difference is below 0
    many.observe(torch.full((7, 3, 1), 0.1), torch.full((3,), 7))
    many.mean += 1e-7
    assert torch.isfinite(many.normalize(torch.tensor([[0.1]]))).all()


def test_large_regressors_leave_the_posterior_finite() -> None:
    """Where float32 loses the prior's unit matrix beside the products of equal regressors."""
    model = make()
    with torch.no_grad():
        encoder_of(model).linear.weight.mul_(3e4)
    one = trajectories()
    same = TrajectoryBatch(*(x[:1, :1].expand(T, B, *x.shape[2:]) for x in one[:4]), one.lengths)
    posterior = encode(model, same)
    assert torch.isfinite(posterior.mean).all() and torch.isfinite(posterior.logvar).all()
