"""The reward decoder: values, heads, likelihoods and where dropout acts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from reference_models import NumpyModel, small_model
from wrapper_stubs import ScriptedEnv, Transition

from ldm_wrappers import LatentDynamics, LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.config import DecoderInput

INPUTS: list[tuple[DecoderInput, ...]] = [
    ("next_observation",),
    ("observation", "action", "next_observation"),
    ("action", "observation"),
]


def rows(n: int, start: int = 0, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    m, s, s2 = (torch.randn(n, size, generator=generator) for size in (3, 4, 4))
    return m, s, torch.randint(start, start + 3, (n, 1), generator=generator).float(), s2


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("start", [0, 2])
def test_rewards_match_numpy(inputs: tuple[DecoderInput, ...], likelihood: str, start: int) -> None:
    model = small_model(
        ScriptedEnv(start=start), decoder_inputs=inputs, likelihood=likelihood, reward_high=2.0
    )
    m, s, _, s2 = rows(6)
    raw = rows(6, start)[2].numpy().astype(int)  # as the environment counts them
    a = torch.from_numpy(model.spec.actions(raw))
    paid = model.imagine_reward(m, s, a, s2)
    plain = NumpyModel(model)
    for i in range(6):
        t = Transition(s[i].numpy(), int(raw[i, 0]), 0.0, s2[i].numpy())
        assert paid[i].item() == pytest.approx(plain.reward(m[i].numpy(), t), abs=1e-6)
    if likelihood == "bernoulli":
        assert 0.0 < paid.min() < paid.max() < 2.0


def test_latents_and_transitions_broadcast() -> None:
    model = small_model(ScriptedEnv())
    m, s, a, s2 = rows(5)
    part = model.decoder.transition_part(s, a, s2)
    table = model.decoder.head(m.unsqueeze(1), part, s2)
    assert table.shape == (5, 5)
    for k in range(5):
        alone = model.decoder(m[k].expand(5, -1), s, a, s2)
        torch.testing.assert_close(table[k], alone, atol=1e-6, rtol=1e-6)


def grid_model(**changes: Any) -> LatentDynamics:
    config = LatentDynamicsConfig.grid(decoder_heads=9, **{"encoder_hidden_size": 8, **changes})
    return LatentDynamics(spaces.Box(0.0, 2.0, (2,)), spaces.Discrete(5), config)


@pytest.mark.parametrize("inputs", [("next_observation",), ("observation", "next_observation")])
def test_every_cell_has_a_head_of_its_own(inputs: tuple[DecoderInput, ...]) -> None:
    model = grid_model(decoder_inputs=inputs)
    cells = torch.tensor([[x, y] for x in range(3) for y in range(3)]).float()
    np.testing.assert_array_equal(model.decoder.head_index(cells), np.arange(9))
    m, s, a = torch.randn(9, 32), torch.zeros(9, 2), torch.zeros(9, 1)
    plain = NumpyModel(model)
    values = model.imagine_reward(m, s, a, cells)
    for i in range(9):
        t = Transition(s[i].numpy(), 0, 0.0, cells[i].numpy())
        assert values[i].item() == pytest.approx(plain.reward(m[i].numpy(), t), abs=1e-6)


def test_heads_that_do_not_fit_the_space_are_refused() -> None:
    config = LatentDynamicsConfig.grid(decoder_heads=9)
    for space in (spaces.Box(0.0, 3.0, (2,)), spaces.Box(-1.0, 1.0, (2,)), spaces.Box(0, 2, (3,))):
        with pytest.raises(ValueError, match="decoder_heads=9"):
            LatentDynamics(space, spaces.Discrete(5), config)
    config = LatentDynamicsConfig.grid(decoder_heads=9, decoder_inputs=("observation",))
    with pytest.raises(ValueError, match=r"\('observation',\)"):
        LatentDynamics(spaces.Box(0.0, 2.0, (2,)), spaces.Discrete(5), config)


def test_likelihoods() -> None:
    rewards = torch.tensor([0.0, 1.0, 0.4, 0.5])
    output = torch.tensor([0.3, -1.0, 2.0, 0.5])
    gaussian = small_model(ScriptedEnv()).decoder
    torch.testing.assert_close(gaussian.log_likelihood(output, rewards), -((output - rewards) ** 2))
    assert torch.equal(gaussian.expected_reward(output), output)
    bernoulli = small_model(ScriptedEnv(), likelihood="bernoulli", reward_low=-0.1).decoder
    coin = torch.distributions.Bernoulli(logits=output)
    outcomes = torch.tensor([0.0, 1.0, 0.0, 1.0])  # is the reward nearer to 1 than to -0.1?
    torch.testing.assert_close(bernoulli.log_likelihood(output, rewards), coin.log_prob(outcomes))
    torch.testing.assert_close(bernoulli.expected_reward(output), 1.1 * coin.probs - 0.1)


def dropped(model: LatentDynamics, n: int = 4000) -> torch.Tensor:
    """Transition parts of a decoder whose embedded inputs are all 1 and pass unchanged."""
    decoder = model.decoder
    for embedding in decoder.embeddings.values():
        torch.nn.init.zeros_(embedding.weight)
        torch.nn.init.ones_(embedding.bias)
    assert decoder.transition_layer is not None
    torch.nn.init.eye_(decoder.transition_layer.weight)
    _, s, a, s2 = rows(n)
    mask = decoder.dropout_mask(n, generator=torch.Generator().manual_seed(0))
    part = decoder.transition_part(s, a, s2, mask)
    assert part is not None
    return part.detach()


@pytest.mark.parametrize("p_drop", [0.3, 0.7])
def test_dropout_has_its_rate_and_scale_on_every_embedded_input(p_drop: float) -> None:
    model = small_model(ScriptedEnv(), p_drop=p_drop, decoder_hidden_sizes=(15, 4))
    part = dropped(model)
    kept = part != 0.0
    torch.testing.assert_close(part[kept], torch.full_like(part[kept], 1.0 / (1.0 - p_drop)))
    rate = 1.0 - kept.float().mean(0)
    assert rate.shape == (15,)
    assert (rate - p_drop).abs().max() < 5.0 * (p_drop * (1.0 - p_drop) / 4000) ** 0.5
    correlation = np.corrcoef(kept.numpy().T)
    assert np.abs(correlation - np.eye(15)).max() < 0.08  # each input is dropped on its own


def test_dropout_never_touches_the_latent() -> None:
    model = small_model(ScriptedEnv(), p_drop=0.9)
    m, s, a, s2 = rows(50)
    for embedding in model.decoder.embeddings.values():  # nothing but the latent is left
        torch.nn.init.zeros_(embedding.weight)
        torch.nn.init.zeros_(embedding.bias)
    mask = model.decoder.dropout_mask(50)
    assert torch.equal(model.decoder(m, s, a, s2, mask), model.decoder(m, s, a, s2))


def test_dropout_is_off_unless_asked_for_and_follows_its_generator() -> None:
    model = small_model(ScriptedEnv(), p_drop=0.5)
    m, s, a, s2 = rows(50)

    def paid(seed: int | None = None) -> torch.Tensor:
        mask = None
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            mask = model.decoder.dropout_mask(50, generator=generator)
        return model.imagine_reward(m, s, a, s2, mask)

    plain = paid()
    assert torch.equal(plain, paid())
    one, two, three = (paid(seed) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert not torch.equal(one, plain)
    assert not plain.requires_grad


def test_heads_are_of_the_nearest_cell() -> None:
    """What arithmetic leaves a little below a whole number is that number."""
    config = LatentDynamicsConfig.grid(decoder_heads=9)
    decoder = LatentDynamics(spaces.Box(0.0, 2.0, (2,)), spaces.Discrete(5), config).decoder
    cells = torch.tensor([[0.0, 0.9999999], [1.9999998, 1.0000001], [2.4, -0.3]])
    assert decoder.head_index(cells).tolist() == [1, 7, 6]
