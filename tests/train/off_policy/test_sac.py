"""SAC: where gradients go, and values that can be computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from train.off_policy.episodes import Transitions
from train.off_policy.sac import TwinSAC, ValueSAC

Tensor = torch.Tensor
ARGUMENTS = {"rate": 3e-3, "gamma": 0.9, "tau": 0.05}


def transitions(n: int, generator: torch.Generator, terminated: float = 1.0) -> Transitions:
    actions = torch.rand(n, 1, generator=generator) * 2 - 1
    rewards = -(actions[:, 0] - 0.4).square()
    ones = torch.ones(n, 1)
    return Transitions(ones, actions, rewards, ones, torch.full((n,), terminated))


def step(sac: ValueSAC, critics: torch.optim.Optimizer, batch: Transitions, g: torch.Generator):
    loss = sac.critic_loss(batch, batch.observations, batch.next_observations)
    critics.zero_grad()
    loss.backward()
    critics.step()
    return sac.update_policy(batch.observations, g)


def test_one_step_environment_the_mean_action_is_the_best_one() -> None:
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    value = ValueSAC(1, 1, (32,), ent_coef=0.01, **ARGUMENTS)
    twin = TwinSAC(1, 1, (32,), target_entropy=-2.0, **ARGUMENTS)
    critics = torch.optim.Adam(value.critics.parameters(), 3e-3)
    for _ in range(600):
        batch = transitions(64, g)
        step(value, critics, batch, g)
        twin.update(batch, batch.observations, batch.next_observations, g)
    for sac in (value, twin):
        assert sac.policy.mode(torch.ones(1, 1)).item() == pytest.approx(0.4, abs=0.06)


@pytest.mark.parametrize("terminated", [0.0, 1.0])
def test_a_limit_of_steps_bootstraps_and_a_terminal_state_does_not(terminated: float) -> None:
    """r = 1 for ever is worth 1 / (1 − γ) where nothing terminates, without an entropy bonus."""
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    sac = ValueSAC(1, 1, (16,), ent_coef=1e-6, rate=1e-2, gamma=0.5, tau=0.2)
    critics = torch.optim.Adam(sac.critics.parameters(), 1e-2)
    for _ in range(400):
        batch = transitions(32, g, terminated)
        batch = Transitions(**{**vars(batch), "rewards": torch.ones(32)})
        step(sac, critics, batch, g)
    expected = 1.0 if terminated else 2.0
    assert sac.value(torch.ones(1, 1)).item() == pytest.approx(expected, abs=0.05)


def test_the_soft_value_of_a_uniform_policy_is_alpha_log_2() -> None:
    """Q = 0 and uniform actions: V = −α E log π = α log 2; the target has the reward's scale."""
    sac = ValueSAC(1, 1, (4,), ent_coef=0.7, reward_scale=3.0, rate=1e-2, gamma=0.9, tau=1.0)
    for network in (sac.critics.first, sac.critics.second, sac.value, sac.target_value):
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
    g = torch.Generator().manual_seed(0)
    batch = transitions(512, g, 0.0)
    loss = sac.critic_loss(batch, batch.observations, batch.next_observations)
    torch.testing.assert_close(loss, 2 * (3.0 * batch.rewards).square().mean())
    # u ~ logistic is tanh-uniform; a Gaussian is close to it at the best scale, so be exact instead
    soft = torch.full((512,), 0.7 * math.log(2.0))
    sac.policy.draw = lambda mean, log_std, _: (  # type: ignore[assignment]
        mean * 0,
        mean[:, 0] * 0 - math.log(2.0),
    )
    losses = sac.update_policy(batch.observations, g)
    torch.testing.assert_close(losses["value_loss"], soft.square().mean())


def test_entropy_is_worth_what_its_coefficient_says_and_the_smaller_critic_counts() -> None:
    """Both forms once more, at random weights and with the same draws."""
    torch.manual_seed(0)
    batch = transitions(64, torch.Generator().manual_seed(1), 0.0)
    x, y = batch.observations, batch.next_observations
    value = ValueSAC(1, 1, (8,), ent_coef=0.7, **ARGUMENTS)
    twin = TwinSAC(1, 1, (8,), target_entropy=-1.0, **ARGUMENTS)
    twin.log_ent_coef.data.fill_(math.log(0.7))
    with torch.no_grad():
        for parameter in (*value.target_value.parameters(), *twin.target_critics.parameters()):
            parameter.mul_(1.5)  # targets are other networks
        target = batch.rewards + 0.9 * value.target_value(y)[:, 0]
        wholes = [((q - target) ** 2).mean() for q in value.critics(x, batch.actions)]
        actions, log_prob = value.policy.sample(x, torch.Generator().manual_seed(2))
        soft = torch.stack(value.critics(x, actions)).amin(0) - 0.7 * log_prob
        expected = ((value.value(x)[:, 0] - soft) ** 2).mean()
        actions, log_prob = twin.policy.sample(y, torch.Generator().manual_seed(3))
        soft = torch.stack(twin.target_critics(y, actions)).amin(0) - 0.7 * log_prob
        target = batch.rewards + 0.9 * soft
        halves = [((q - target) ** 2).mean() / 2 for q in twin.critics(x, batch.actions)]
    torch.testing.assert_close(value.critic_loss(batch, x, y).detach(), sum(wholes))
    found = value.update_policy(x, torch.Generator().manual_seed(2))["value_loss"]
    torch.testing.assert_close(found.detach(), expected)
    found = twin.critic_loss(batch, x, y, torch.Generator().manual_seed(3))
    torch.testing.assert_close(found.detach(), sum(halves))


def grouped(sac: nn.Module) -> dict[str, bool]:
    return {
        name: any(p.grad is not None and bool(p.grad.abs().sum()) for p in child.parameters())
        for name, child in sac.named_children()
    }


def test_each_loss_reaches_its_own_networks_only() -> None:
    g = torch.Generator().manual_seed(0)
    batch = transitions(16, g, 0.0)
    sac = ValueSAC(1, 1, (8,), ent_coef=0.1, **ARGUMENTS)
    sac.critic_loss(batch, batch.observations, batch.next_observations).backward()
    assert grouped(sac) == {
        "policy": False, "critics": True, "value": False, "target_value": False
    }  # fmt: skip
    sac.zero_grad()
    sac.update_policy(batch.observations, g)
    assert grouped(sac) == {
        "policy": True, "critics": False, "value": True, "target_value": False
    }  # fmt: skip
    twin = TwinSAC(1, 1, (8,), target_entropy=-1.0, **ARGUMENTS)
    twin.critic_loss(batch, batch.observations, batch.next_observations, g).backward()
    assert grouped(twin) == {"policy": False, "critics": True, "target_critics": False}


def test_the_entropy_coefficient_moves_towards_its_target() -> None:
    g = torch.Generator().manual_seed(0)
    batch = transitions(16, g)
    for target, sign in ((-50.0, -1), (50.0, 1)):  # too much entropy: α falls; too little: it rises
        sac = TwinSAC(1, 1, (8,), target_entropy=target, **ARGUMENTS)
        sac.update(batch, batch.observations, batch.next_observations, g)
        assert sign * sac.log_ent_coef.item() > 0


def test_the_regularisation_shrinks_means_and_log_deviations_alike() -> None:
    """Its gradient is that of weight · (mean of μ² + mean of (log σ)²), and adds to the loss's."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(32, 3, generator=generator)
    gradients = {}
    for weight in (0.0, 0.5):
        torch.manual_seed(0)
        sac = ValueSAC(3, 2, (8,), ent_coef=0.1, regularization=weight, **ARGUMENTS)
        with torch.no_grad():
            mean, log_std = sac.policy(inputs)
        start = {name: p.detach().clone() for name, p in sac.policy.named_parameters()}
        sac.update_policy(inputs, torch.Generator().manual_seed(1))
        gradients[weight] = {name: p.grad for name, p in sac.policy.named_parameters()}
    assert float(mean.std()) > 1e-3 and float(log_std.std()) > 1e-3
    weights = {name: p.requires_grad_() for name, p in start.items()}
    hidden = torch.relu(inputs @ weights["net.0.weight"].T + weights["net.0.bias"])
    columns = hidden @ weights["net.2.weight"].T + weights["net.2.bias"]
    size = (columns[:, :2] ** 2).mean() + (columns[:, 2:] ** 2).mean()
    (0.5 * size).backward()
    for name, parameter in weights.items():
        added = gradients[0.5][name] - gradients[0.0][name]
        torch.testing.assert_close(added, parameter.grad, rtol=1e-3, atol=1e-6)


def test_both_forms_learn_rewards_of_the_chosen_scale() -> None:
    """Where nothing is bootstrapped and the critics say 0, errors are the scaled rewards."""
    g = torch.Generator().manual_seed(0)
    batch = transitions(64, g, 1.0)
    twin = TwinSAC(1, 1, (4,), target_entropy=-1.0, reward_scale=3.0, **ARGUMENTS)
    for parameter in twin.critics.parameters():
        nn.init.zeros_(parameter)
    loss = twin.critic_loss(batch, batch.observations, batch.next_observations, g)
    torch.testing.assert_close(loss, (3.0 * batch.rewards).square().mean())


def test_targets_move_by_the_rate_and_after_the_step() -> None:
    g = torch.Generator().manual_seed(0)
    batch = transitions(16, g, 0.0)
    value = ValueSAC(1, 1, (8,), ent_coef=0.1, **ARGUMENTS)
    twin = TwinSAC(1, 1, (8,), target_entropy=-1.0, **ARGUMENTS)
    before = [[p.clone() for p in one.parameters()] for one in (value.value, twin.critics)]
    value.update_policy(batch.observations, g)
    twin.update(batch, batch.observations, batch.next_observations, g)
    pairs = (value.value, value.target_value), (twin.critics, twin.target_critics)
    for (network, target), start in zip(pairs, before, strict=True):
        moved = 0.0
        for own, slow, old in zip(network.parameters(), target.parameters(), start, strict=True):
            torch.testing.assert_close(slow, 0.95 * old + 0.05 * own.detach())
            moved = max(moved, float((own - old).abs().max().detach()))
        assert moved > 1e-3
