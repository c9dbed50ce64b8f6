"""A7: the ELBO and its gradients against slow loops over trajectories, lengths and steps."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from reference_models import small_model
from torch.nn import functional as F
from wrapper_stubs import ScriptedEnv

from ldm_wrappers import LatentDynamics, LatentDynamicsConfig
from ldm_wrappers.latent_dynamics import TrajectoryBatch, elbo

LENGTHS = [6, 3, 5, 1]
T, B = max(LENGTHS), len(LENGTHS)


def make(kind: str, **changes: Any) -> LatentDynamics:
    """A model by name."""
    if kind == "multi-head":
        config = LatentDynamicsConfig.grid(
            decoder_heads=9,
            decoder_inputs=("observation", "next_observation"),
            encoder_hidden_size=8,
            **changes,
        )
        return LatentDynamics(spaces.Box(0.0, 2.0, (2,)), spaces.Discrete(3), config)
    action = "box" if kind == "gaussian" else "discrete"
    return small_model(ScriptedEnv(action=action), likelihood=kind, reward_low=-0.1, **changes)


def trajectories(model: LatentDynamics, seed: int = 0) -> TrajectoryBatch:
    """Random trajectories of LENGTHS, zero behind their ends."""
    rng = np.random.default_rng(seed)
    shape, spec = (T, B), model.spec
    s, s2 = (rng.normal(size=(*shape, spec.observation_size)) for _ in range(2))
    if model.config.decoder_heads > 1:
        s, s2 = (rng.integers(0, 3, s.shape) for _ in range(2))
    a = rng.normal(size=(*shape, spec.action_columns))
    if spec.n_actions:
        a = rng.integers(0, spec.n_actions, (*shape, 1))
    r = rng.choice([-0.1, 1.0], shape) if model.config.likelihood == "bernoulli" else s[..., 0]
    inside = np.arange(T)[:, None] < np.array(LENGTHS)
    arrays = [x * (inside if x.ndim == 2 else inside[..., None]) for x in (s, a, r, s2)]
    return TrajectoryBatch(
        *(torch.from_numpy(x.astype(np.float32)) for x in arrays),  # type: ignore[arg-type]
        lengths=torch.tensor(LENGTHS),
    )


def loop_elbo(model: LatentDynamics, batch: TrajectoryBatch, dropout: bool, seed: int) -> Any:
    """Float64, one trajectory, one encoded length and one transition at a time."""
    config, spec, w = model.config, model.spec, dict(model.named_parameters())
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(T + 1, B, config.latent_dim, generator=generator).double()
    used = list(model.decoder.embeddings)
    width = sum(w[f"decoder.embeddings.{name}.weight"].shape[0] for name in used)
    mask = torch.ones(T, B, width, dtype=torch.float64)
    if dropout:
        keep = 1.0 - config.p_drop
        mask = (torch.rand(T, B, width, generator=generator) < keep).double() / keep

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return w[f"{name}.weight"] @ x + w.get(f"{name}.bias", torch.zeros(1)).double()

    def action(a: torch.Tensor) -> torch.Tensor:
        if not spec.n_actions:
            return a
        one_hot = torch.zeros(spec.n_actions, dtype=torch.float64)
        one_hot[int(a)] = 1.0
        return one_hot

    reconstruction, kl = torch.zeros(B).double(), torch.zeros(B).double()
    for i in range(B):
        n = int(batch.lengths[i])
        steps = [tuple(x[t, i].double() for x in batch[:4]) for t in range(n)]
        hidden = torch.zeros(config.encoder_hidden_size, dtype=torch.float64)
        old_mean = old_logvar = torch.zeros(config.latent_dim, dtype=torch.float64)
        for t in range(n + 1):
            if t:
                _, a, r, s2 = steps[t - 1]
                inputs = {"next_observation": s2, "action": action(a), "reward": r.reshape(1)}
                parts = [
                    linear(f"encoder.embeddings.{name}", inputs[name])
                    for name in model.encoder.embeddings
                ]
                x = torch.cat(parts).clamp(min=0.0)
                g = "encoder.gru"
                xr, xz, xn = (w[f"{g}.weight_ih_l0"] @ x + w[f"{g}.bias_ih_l0"]).chunk(3)
                hr, hz, hn = (w[f"{g}.weight_hh_l0"] @ hidden + w[f"{g}.bias_hh_l0"]).chunk(3)
                z = torch.sigmoid(xz + hz)
                hidden = (1 - z) * torch.tanh(xn + torch.sigmoid(xr + hr) * hn) + z * hidden
            mean, logvar = linear("encoder.mean", hidden), linear("encoder.logvar", hidden)
            for d in range(config.latent_dim):
                ratio = torch.exp(logvar[d] - old_logvar[d])
                distance = (mean[d] - old_mean[d]) ** 2 / torch.exp(old_logvar[d])
                kl[i] = kl[i] + 0.5 * (ratio + distance - 1.0 - torch.log(ratio))
            old_mean, old_logvar = mean, logvar
            m = mean + noise[t, i] * torch.exp(logvar / 2)
            for k, (s, a, r, s2) in enumerate(steps):  # the future included
                inputs = {"observation": s, "action": action(a), "next_observation": s2}
                parts = [linear(f"decoder.embeddings.{name}", inputs[name]) for name in used]
                embedded = torch.cat(parts).clamp(min=0.0) * mask[k, i]
                h = linear("decoder.latent_layer", m)
                h = h + linear("decoder.transition_layer", embedded)
                for layer in range(len(config.decoder_hidden_sizes)):
                    h = linear(f"decoder.layers.{layer}", h.clamp(min=0.0))
                output = h[int(s2[0]) * 3 + int(s2[1])] if config.decoder_heads > 1 else h[0]
                if config.likelihood == "gaussian":
                    reconstruction[i] = reconstruction[i] - (output - r) ** 2
                else:
                    sign = 1.0 if r == config.reward_high else -1.0
                    reconstruction[i] = reconstruction[i] + F.logsigmoid(sign * output)
    return reconstruction - config.kl_weight * kl, reconstruction, kl


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli", "multi-head"])
@pytest.mark.parametrize("dropout", [False, True])
def test_values_and_gradients_match_the_loops(kind: str, dropout: bool) -> None:
    model = make(kind, p_drop=0.4, kl_weight=0.3)
    batch = trajectories(model)
    fast = elbo(model, batch, dropout=dropout, generator=torch.Generator().manual_seed(8))
    fast.elbo.mean().backward()
    plain = copy.deepcopy(model).double()
    plain.zero_grad()
    slow = loop_elbo(plain, batch, dropout, 8)
    slow[0].mean().backward()
    for mine, theirs in zip(fast, slow, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-6)
    value_error = max(
        ((mine - theirs).abs() / theirs.abs()).max().item()
        for mine, theirs in zip(fast, slow, strict=True)
    )
    worst = 0.0
    for (name, mine), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None, name
        worst = max(worst, ((mine.grad - theirs.grad).norm() / theirs.grad.norm()).item())
    print(f"A7 {kind} dropout={dropout}: values {value_error:.1e}, gradients {worst:.1e}, relative")
    assert value_error <= 1e-5
    assert worst <= 1e-5


@pytest.mark.parametrize("subset", ["n_encoded_lengths", "n_decoded_steps", "both"])
def test_subsets_leave_the_estimate_unbiased(subset: str) -> None:
    model = make("gaussian")
    torch.nn.init.zeros_(model.encoder.logvar.weight)
    torch.nn.init.constant_(model.encoder.logvar.bias, -30.0)  # no noise but the subsets'
    batch = trajectories(model)
    sizes = {
        name: 2 for name in ("n_encoded_lengths", "n_decoded_steps") if subset in (name, "both")
    }
    with torch.no_grad():
        full = elbo(model, batch, dropout=False)
        draws, kl = [], []
        for seed in range(500):
            generator = torch.Generator().manual_seed(seed)
            terms = elbo(model, batch, dropout=False, generator=generator, **sizes)
            draws.append(terms.reconstruction.double())
            kl.append(terms.kl)
    values = torch.stack(draws)
    error = (values.mean(0) - full.reconstruction).abs()
    spread = values.std(0)
    assert (spread[:3] > 1e-3).all()
    assert (error <= 4.0 * spread / math.sqrt(500) + 1e-4).all()
    torch.testing.assert_close(torch.stack(kl), full.kl.expand(500, -1))


def test_subsets_as_large_as_the_trajectory_change_nothing() -> None:
    model = make("bernoulli")
    batch = trajectories(model)

    def value(**sizes: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return elbo(model, batch, dropout=False, generator=generator, **sizes).elbo

    assert torch.equal(value(), value(n_encoded_lengths=T + 1, n_decoded_steps=T))
    assert not torch.equal(value(), value(n_encoded_lengths=T))
    assert not torch.equal(value(), value(n_decoded_steps=T - 1))
    with pytest.raises(ValueError, match="got 0"):
        value(n_decoded_steps=0)


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli", "multi-head"])
def test_what_lies_behind_the_end_of_a_trajectory_does_not_matter(kind: str) -> None:
    model = make(kind)
    batch = trajectories(model)
    dirty = [x.clone() for x in batch[:4]]
    for i, length in enumerate(LENGTHS):
        for x in dirty:
            x[length:, i] = 1.0
    values = [
        elbo(model, one, dropout=False, generator=torch.Generator().manual_seed(0)).elbo
        for one in (batch, TrajectoryBatch(*dirty, batch.lengths))
    ]
    torch.testing.assert_close(*values)


def test_padding_is_no_error_where_actions_start_above_zero() -> None:
    model = small_model(ScriptedEnv(start=1))
    batch = trajectories(model)
    raw = (batch.actions[..., 0].numpy() + 1.0).astype(int)  # the environment's 1, 2, 3
    columns = np.stack([model.spec.actions(row) for row in raw])
    inside = torch.arange(T).unsqueeze(-1) < batch.lengths
    shifted = batch._replace(actions=torch.from_numpy(columns) * inside.unsqueeze(-1))
    generator = torch.Generator().manual_seed(0)
    value = elbo(model, shifted, dropout=False, generator=generator).elbo.double()
    plain = loop_elbo(copy.deepcopy(model).double(), shifted, False, 0)[0]
    torch.testing.assert_close(value, plain, rtol=1e-5, atol=1e-6)
