"""The lean GRU is nn.GRU: values, gradients, state dict."""

from __future__ import annotations

import pytest
import torch
from reference_models import small_model
from torch import nn
from wrapper_stubs import ScriptedEnv

from ldm_wrappers.latent_dynamics.gru import GRU
from ldm_wrappers.sb3.encoder_policy import EncoderMemory


def both(inputs: int, hidden: int) -> tuple[GRU, nn.GRU]:
    torch.manual_seed(0)
    stock = nn.GRU(inputs, hidden)
    ours = GRU(inputs, hidden)
    ours.load_state_dict(stock.state_dict())
    return ours, stock


@pytest.mark.parametrize(
    ("steps", "batch", "inputs", "hidden"),
    [(1, 3, 4, 5), (2, 1, 1, 1), (7, 5, 6, 3), (40, 9, 16, 32), (120, 2, 8, 128)],
)
def test_values_and_every_gradient_equal_nn_gru(
    steps: int, batch: int, inputs: int, hidden: int
) -> None:
    ours, stock = both(inputs, hidden)
    outcomes = []
    for gru in (ours, stock):
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(steps, batch, inputs, generator=generator, requires_grad=True)
        h = torch.randn(1, batch, hidden, generator=generator, requires_grad=True)
        weight = torch.randn(steps, batch, hidden, generator=generator)
        outputs, last = gru(x, h)
        ((outputs * weight).sum() + 3.0 * last.square().sum()).backward()
        gradients = [x.grad, h.grad, *(p.grad for p in gru.parameters())]
        outcomes.append((outputs, last, *gradients))
    for mine, theirs in zip(*outcomes, strict=True):
        assert mine.shape == theirs.shape
        scale = theirs.abs().max().item() + 1e-6
        assert (mine - theirs).abs().max().item() / scale < 2e-6


def test_inputs_that_need_no_gradient_and_expanded_gradients() -> None:
    ours, stock = both(3, 4)
    x, h = torch.randn(5, 2, 3), torch.zeros(1, 2, 4)
    for gru in (ours, stock):
        gru(x, h)[0].sum().backward()
    for mine, theirs in zip(ours.parameters(), stock.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_the_inputs_are_left_as_they_were() -> None:
    ours, _ = both(3, 4)
    x, h = torch.randn(5, 2, 3), torch.randn(1, 2, 4)
    before = x.clone(), h.clone()
    outputs, _ = ours(x, h)
    outputs.sum().backward()
    torch.testing.assert_close((x, h), before, rtol=0, atol=0)


def test_gradients_are_right_by_finite_differences() -> None:
    ours, _ = both(2, 3)
    x, h = torch.randn(4, 2, 2), torch.randn(1, 2, 3)
    (ours(x, h)[0] ** 2).sum().backward()
    for parameter in ours.parameters():
        direction = torch.randn_like(parameter)
        values = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                parameter += sign * 1e-2 * direction
                values.append((ours(x, h)[0] ** 2).sum().item())
                parameter -= sign * 1e-2 * direction
        assert parameter.grad is not None
        slope = (parameter.grad * direction).sum().item()
        assert (values[0] - values[1]) / 2e-2 == pytest.approx(slope, rel=2e-2, abs=2e-3)


def test_other_dtypes_take_the_stock_path() -> None:
    ours, stock = both(3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    h = torch.zeros(1, 2, 4, dtype=torch.float64)
    torch.testing.assert_close(ours.double()(x, h)[0], stock.double()(x, h)[0])


def test_state_dicts_are_interchangeable() -> None:
    ours, stock = both(3, 4)
    assert list(ours.state_dict()) == list(stock.state_dict())
    nn.GRU(3, 4).load_state_dict(ours.state_dict())


@pytest.mark.parametrize("where", ["VAE", "policy"])
def test_both_encoders_begin_as_the_authors_with_orthogonal_weights_and_no_biases(
    where: str,
) -> None:
    memory = EncoderMemory((2, 3, 1), (4, 0, 2), 6, 3)
    encoder = small_model(ScriptedEnv()).encoder if where == "VAE" else memory
    for name, value in encoder.gru.named_parameters():
        expected = torch.zeros(len(value)) if value.dim() == 1 else torch.eye(value.shape[1])
        found = value if value.dim() == 1 else value.T @ value
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0.0, msg=name)
