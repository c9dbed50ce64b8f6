"""The whole-sequence policy is stock sb3-contrib's in values, losses and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from ldm_wrappers.sb3 import WholeSequenceLstmPolicy

N, T, HIDDEN = 5, 7, 6
LSTMS: dict[str, dict[str, Any]] = {
    "separate": {},
    "shared": {"shared_lstm": True, "enable_critic_lstm": False},
    "no critic LSTM": {"enable_critic_lstm": False},
    "two layers": {"n_lstm_layers": 2},
    "own extractors": {"share_features_extractor": False},
}
STARTS = ["none", "some", "all", "middle"]


def make(cls: Any, action: str = "discrete", **kwargs: Any) -> Any:
    torch.manual_seed(0)
    space: spaces.Space[Any] = spaces.Discrete(3)
    if action == "box":
        space = spaces.Box(-1.0, 1.0, (2,))
    box = spaces.Box(-np.inf, np.inf, (4,))
    return cls(box, space, lambda _: 1e-3, lstm_hidden_size=HIDDEN, net_arch=[8], **kwargs)


def batch(policy: Any, starts: str, seed: int = 0) -> tuple[Any, ...]:
    """Observations, actions, states and episode starts of N sequences of length T."""
    generator = torch.Generator().manual_seed(seed)
    observations = torch.randn(N * T, 4, generator=generator)
    actions = torch.randint(0, 3, (N * T,), generator=generator).float()
    if isinstance(policy.action_space, spaces.Box):
        actions = torch.randn(N * T, 2, generator=generator)
    layers = policy.lstm_actor.num_layers
    states = [torch.randn(layers, N, HIDDEN, generator=generator) for _ in range(4)]
    flags = torch.zeros(N, T)
    if starts == "some":
        flags[[1, 3], 0] = 1.0
    if starts in ("all", "middle"):
        flags[:, 0] = 1.0
    if starts == "middle":
        flags[2, 3] = flags[0, 5] = 1.0
    return (
        observations,
        actions,
        RNNStates((states[0], states[1]), (states[2], states[3])),
        flags.ravel(),
    )


def loss(policy: Any, data: tuple[Any, ...]) -> tuple[torch.Tensor, ...]:
    values, log_prob, entropy = policy.evaluate_actions(*data)
    generator = torch.Generator().manual_seed(9)
    advantages, returns = (torch.randn(N * T, generator=generator) for _ in range(2))
    total = -(advantages * log_prob).mean() + 0.5 * (returns - values.flatten()).square().mean()
    return values, log_prob, entropy, total - 0.01 * entropy.mean()


@pytest.mark.parametrize("starts", STARTS)
@pytest.mark.parametrize("kind", LSTMS)
@pytest.mark.parametrize("action", ["discrete", "box"])
def test_values_losses_and_gradients_equal_stock(starts: str, kind: str, action: str) -> None:
    ours = make(WholeSequenceLstmPolicy, action, **LSTMS[kind])
    stock = make(RecurrentActorCriticPolicy, action, **LSTMS[kind])
    stock.load_state_dict(ours.state_dict())
    outcomes = []
    for policy in (ours, stock):
        outcome = loss(policy, batch(policy, starts))
        outcome[-1].backward()
        gradients = [p.grad for p in policy.parameters()]
        assert any(gradient is not None for gradient in gradients)
        outcomes.append((*outcome, *gradients))
    for mine, theirs in zip(*outcomes, strict=True):
        if theirs is None:
            assert mine is None
        else:
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("starts", ["none", "some", "all"])
@pytest.mark.parametrize("kind", LSTMS)
def test_acting_equals_stock(starts: str, kind: str) -> None:
    ours = make(WholeSequenceLstmPolicy, **LSTMS[kind])
    stock = make(RecurrentActorCriticPolicy, **LSTMS[kind])
    stock.load_state_dict(ours.state_dict())
    observations, _, states, flags = batch(ours, starts)
    step, flags = observations[:N], flags.reshape(N, T)[:, 0]
    results = []
    for policy in (ours, stock):
        actions, values, log_prob, after = policy(step, states, flags, deterministic=True)
        predicted = policy.predict_values(step, states.vf, flags)
        chosen, memory = policy.predict(
            step.numpy(),
            tuple(state.numpy() for state in states.pi),
            flags.numpy() > 0,
            deterministic=True,
        )
        results.append(
            (actions, values, log_prob, *after.pi, *after.vf, predicted, chosen, *memory)
        )
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(torch.as_tensor(mine), torch.as_tensor(theirs))


def test_no_python_loop_over_steps_where_episodes_start_sequences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = make(WholeSequenceLstmPolicy)

    def fail(*_: Any) -> None:
        raise AssertionError("the stock path was taken")

    monkeypatch.setattr(RecurrentActorCriticPolicy, "_process_sequence", staticmethod(fail))
    for starts in ("none", "some", "all"):
        policy.evaluate_actions(*batch(policy, starts))
    with pytest.raises(AssertionError, match="stock path"):
        policy.evaluate_actions(*batch(policy, "middle"))


@pytest.mark.parametrize("starts", STARTS)
def test_the_value_loss_trains_a_shared_lstm_only_when_asked(starts: str) -> None:
    gradients = {}
    for trains in (False, True):
        policy = make(WholeSequenceLstmPolicy, **LSTMS["shared"], value_trains_lstm=trains)
        data = batch(policy, starts)
        outputs = policy.evaluate_actions(*data)
        outputs[0].square().sum().backward()
        gradients[trains] = policy.lstm_actor.weight_hh_l0.grad
        stock = make(RecurrentActorCriticPolicy, **LSTMS["shared"])
        stock.load_state_dict(policy.state_dict())
        for mine, theirs in zip(outputs, stock.evaluate_actions(*data), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)
    assert gradients[False] is None
    assert gradients[True] is not None and gradients[True].abs().max() > 0.0


def test_value_gradients_of_a_shared_lstm_by_finite_differences() -> None:
    policy = make(WholeSequenceLstmPolicy, **LSTMS["shared"], value_trains_lstm=True)
    torch.nn.init.orthogonal_(policy.value_net.weight, gain=3.0)
    data = batch(policy, "all")

    def value() -> torch.Tensor:
        return policy.evaluate_actions(*data)[0].sum()

    value().backward()
    weight = policy.lstm_actor.weight_hh_l0
    direction = weight.grad / weight.grad.norm()
    with torch.no_grad():
        weight += 1e-2 * direction
        above = value()
        weight -= 2e-2 * direction
        below = value()
    assert ((above - below) / 2e-2).item() == pytest.approx(weight.grad.norm().item(), rel=1e-2)


def test_the_value_cannot_train_an_lstm_that_is_not_shared() -> None:
    with pytest.raises(ValueError, match="shared_lstm=False"):
        make(WholeSequenceLstmPolicy, value_trains_lstm=True)


@pytest.mark.parametrize("kind", LSTMS)
def test_a_policy_file_loads(kind: str, tmp_path: Path) -> None:
    extra = {"value_trains_lstm": True} if kind == "shared" else {}
    policy = make(WholeSequenceLstmPolicy, **LSTMS[kind], **extra)
    policy.save(str(tmp_path / "policy.pt"))
    again = WholeSequenceLstmPolicy.load(str(tmp_path / "policy.pt"))
    assert again.value_trains_lstm == bool(extra)
    data = batch(policy, "some")
    for mine, theirs in zip(
        again.evaluate_actions(*data), policy.evaluate_actions(*data), strict=True
    ):
        torch.testing.assert_close(mine, theirs)
