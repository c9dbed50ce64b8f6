"""variBAD's updates of policy and VAE against slow second implementations."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from tiny_runs import build
from torch.nn import functional as F

from ldm_wrappers.latent_dynamics import LatentDynamics
from ldm_wrappers.sb3 import LatentDynamicsCallback, MixregRecurrentPPO
from ldm_wrappers.vector import BeliefObservationWrapper, ImaginaryRewardWrapper
from train.common.on_policy import OnPolicyLearner as Learner
from train.config.presets import resolve

WORKERS, STEPS = 3, 120
LATENT = 4
UPDATES = 2


def learner(method: str = "varibad", **changes: Any) -> Learner:
    settings: dict[str, Any] = {
        "n_workers": WORKERS,
        "latent_dim": LATENT,
        "encoder_hidden_size": 12,
        "decoder_hidden_sizes": (8, 6),
        "vae_trajectories": 2,
        "vae_encoded_lengths": None,
        "vae_updates": UPDATES,
        "vae_buffer_trajectories": 10,
        "vae_learning_rate": 5e-3,
        "device": "cpu",
        "seed": 3,
    }
    return build(resolve("LDM-GridNavi-v0", method, "paper", **{**settings, **changes}))


@pytest.fixture()
def varibad() -> Any:
    made = learner()
    yield made
    made.vec_env.close()


def test_the_presets_are_the_published_ones() -> None:
    for env_id in ("LDM-GridNavi-v0", "LDM-GridNaviExtrapolation-v0"):
        config = resolve(env_id, "varibad", "paper")
        assert (config.decoder_heads, config.p_drop, config.vae_updates) == (49, 0.0, 3)
        assert resolve(env_id, "oracle-varibad", "paper").decoder_heads == 49
        assert (config.n_epochs, config.n_minibatches, config.optimizer) == (1, 1, "rmsprop")
        assert config.finite_horizon


def test_methods_are_what_they_say(varibad: Learner) -> None:
    assert type(varibad.algorithm) is PPO and varibad.latent_dynamics is not None
    env: Any = varibad.env
    assert isinstance(env, BeliefObservationWrapper)
    while hasattr(env, "env"):
        assert not isinstance(env, ImaginaryRewardWrapper)
        env = env.env
    assert varibad.algorithm.observation_space.shape == (2 + 2 * LATENT,)
    assert (
        varibad.latent_dynamics.decoder.transition_layer is None
    )  # s' picks a head and is no input
    activation = varibad.algorithm.policy.mlp_extractor.policy_net[1]
    assert isinstance(activation, torch.nn.Tanh)
    mixreg = learner("mixreg", mixreg_alpha=0.3)
    assert type(mixreg.algorithm) is MixregRecurrentPPO and mixreg.algorithm.mixreg_alpha == 0.3
    assert mixreg.latent_dynamics is None
    mixreg.vec_env.close()


def one_step(model: LatentDynamics, hidden: Any, action: int, reward: float, state: Any) -> Any:
    """A GRU step of one worker by its equations, in float64."""
    w = {name: value.detach().double() for name, value in model.named_parameters()}

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return w[f"encoder.embeddings.{name}.weight"] @ x + w[f"encoder.embeddings.{name}.bias"]

    inputs = {
        "next_observation": torch.from_numpy(state).double(),
        "action": F.one_hot(torch.tensor(action), 5).double(),
        "reward": torch.tensor([reward]).double(),
    }
    x = torch.cat([torch.relu(linear(n, inputs[n])) for n in model.encoder.embeddings])
    gates_x = w["encoder.gru.weight_ih_l0"] @ x + w["encoder.gru.bias_ih_l0"]
    gates_h = w["encoder.gru.weight_hh_l0"] @ hidden + w["encoder.gru.bias_hh_l0"]
    (rx, zx, nx), (rh, zh, nh) = gates_x.chunk(3), gates_h.chunk(3)
    reset, update = torch.sigmoid(rx + rh), torch.sigmoid(zx + zh)
    new = torch.tanh(nx + reset * nh)
    return (1 - update) * new + update * hidden


def collected(made: Learner) -> Any:
    """A rollout of whole meta-episodes; nothing has been trained."""
    _, callback = made.algorithm._setup_learn(10_000, None)
    buffer: Any = made.algorithm.rollout_buffer
    made.algorithm.collect_rollouts(made.algorithm.env, callback, buffer, STEPS)
    return buffer


def test_the_policy_sees_state_mean_and_log_variance(varibad: Learner) -> None:
    buffer = collected(varibad)
    moves = np.array([(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)])
    model, worst = varibad.latent_dynamics, 0.0
    w = {name: value.detach().double() for name, value in model.named_parameters()}
    for worker in range(WORKERS):
        hidden = torch.zeros(12, dtype=torch.float64)
        for t in range(STEPS):
            shown = buffer.observations[t, worker]
            mean = w["encoder.mean.weight"] @ hidden + w["encoder.mean.bias"]
            logvar = w["encoder.logvar.weight"] @ hidden + w["encoder.logvar.bias"]
            expected = np.concatenate([shown[:2], mean.numpy(), logvar.numpy()])
            worst = max(worst, np.abs(expected - shown).max())
            action = int(buffer.actions[t, worker, 0])
            true_next = np.clip(shown[:2] + moves[action], 0, 6)  # also where an episode ends
            if (t + 1) % 30 and t + 1 < STEPS:
                np.testing.assert_array_equal(true_next, buffer.observations[t + 1, worker, :2])
            hidden = one_step(model, hidden, action, float(buffer.rewards[t, worker]), true_next)
    print(f"variBAD observations: largest difference {worst:.1e}")
    assert worst <= 1e-5


def test_the_policy_update_equals_a_loop_over_steps(varibad: Learner) -> None:
    """A2C: GAE without bootstrapping behind the end of a meta-episode, then one gradient."""
    config, policy = varibad.config, varibad.algorithm.policy
    buffer = collected(varibad)
    plain = copy.deepcopy(policy)
    total = torch.zeros(1)
    for worker in range(WORKERS):
        steps = []
        for t in range(STEPS):
            value, log_prob, entropy = plain.evaluate_actions(
                torch.from_numpy(buffer.observations[t, worker : worker + 1]),
                torch.from_numpy(buffer.actions[t, worker]).long(),
            )
            steps.append((value.flatten(), log_prob, entropy))
        advantage = 0.0
        for t in reversed(range(STEPS)):
            value, log_prob, entropy = steps[t]
            following = steps[t + 1][0].item() if t + 1 < STEPS else 0.0  # finite horizon
            delta = buffer.rewards[t, worker] + config.gamma * following - value.item()
            advantage = delta + config.gamma * config.gae_lambda * advantage
            target = advantage + value.item()
            total = total - advantage * torch.exp(log_prob - log_prob.detach())
            total = total - config.ent_coef * entropy + config.vf_coef * (target - value) ** 2
    loss = total / (WORKERS * STEPS)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters(), config.max_grad_norm)
    varibad.algorithm.train()
    value_error = abs(varibad.algorithm.logger.name_to_value["train/loss"] - loss.item())
    pairs = zip(policy.parameters(), plain.parameters(), strict=True)
    gradient_error = max((mine.grad - slow.grad).abs().max().item() for mine, slow in pairs)
    print(f"variBAD policy: value {value_error:.1e}, gradient {gradient_error:.1e}")
    assert value_error <= 1e-5 and gradient_error <= 1e-5


def slow_vae_loss(model: LatentDynamics, batch: Any, noise: torch.Tensor) -> torch.Tensor:
    """−ELBO per encoded length; every latent decodes a reward table of the 49 cells."""
    total = torch.zeros(1, dtype=torch.float64)
    parameters = dict(model.named_parameters())

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return parameters[f"{name}.weight"] @ x + parameters[f"{name}.bias"]

    for i in range(batch.rewards.shape[1]):
        cells = (7 * batch.next_observations[:, i, 0] + batch.next_observations[:, i, 1]).long()
        hits = batch.rewards[:, i] > 0.5
        hidden = torch.zeros(12, dtype=torch.float64)
        previous = (torch.zeros(LATENT).double(), torch.zeros(LATENT).double())
        for t in range(STEPS + 1):
            if t:
                r, s = batch.rewards[t - 1, i], batch.next_observations[t - 1, i]
                x = [linear("encoder.embeddings.next_observation", s.double())]
                x.append(linear("encoder.embeddings.reward", r.reshape(1).double()))
                x = torch.relu(torch.cat(x))
                w = [parameters[f"encoder.gru.weight_{k}h_l0"] for k in "ih"]
                b = [parameters[f"encoder.gru.bias_{k}h_l0"] for k in "ih"]
                (rx, zx, nx), (rh, zh, nh) = (
                    (w[0] @ x + b[0]).chunk(3),
                    (w[1] @ hidden + b[1]).chunk(3),
                )
                update = torch.sigmoid(zx + zh)
                hidden = (1 - update) * torch.tanh(
                    nx + torch.sigmoid(rx + rh) * nh
                ) + update * hidden
            mean, logvar = linear("encoder.mean", hidden), linear("encoder.logvar", hidden)
            gap = (mean - previous[0]) ** 2 / previous[1].exp()
            kl = 0.5 * ((logvar - previous[1]).exp() + gap - 1 - logvar + previous[1]).sum()
            previous = (mean, logvar)
            table = linear("decoder.latent_layer", mean + noise[t, i] * (logvar / 2).exp())
            for layer in range(2):
                table = linear(f"decoder.layers.{layer}", torch.relu(table))
            log_p = torch.where(hits, F.logsigmoid(table[cells]), F.logsigmoid(-table[cells]))
            total = total - (log_p.sum() - kl)
    return total / (batch.rewards.shape[1] * (STEPS + 1))


def test_the_vae_update_equals_a_loop_over_lengths(varibad: Learner) -> None:
    collected(varibad)
    trainer, model = varibad.trainer, varibad.latent_dynamics
    assert len(trainer.buffer) == WORKERS
    plain = copy.deepcopy(model).double()
    batch = copy.deepcopy(trainer.buffer).sample(2, "cpu")
    generator = torch.Generator()
    generator.set_state(trainer.generator.get_state())
    noise = torch.randn(STEPS + 1, 2, LATENT, generator=generator).double()
    loss = slow_vae_loss(plain, batch, noise)
    loss.backward()
    value_error = abs(trainer.update(1)["loss"] - loss.item()) / abs(loss.item())
    gradient_error = 0.0
    for (name, mine), slow in zip(model.named_parameters(), plain.parameters(), strict=True):
        difference = (mine.grad - slow.grad).abs().max() / slow.grad.abs().max()
        gradient_error = max(gradient_error, difference.item())
        assert np.isfinite(difference.item()), name
    print(f"variBAD VAE: value {value_error:.1e}, gradient {gradient_error:.1e}, relative")
    assert value_error <= 1e-5 and gradient_error <= 1e-5


def test_the_vae_trains_once_per_rollout_and_its_loss_falls() -> None:
    made = learner(n_workers=8, vae_updates=20, vae_encoded_lengths=8, vae_trajectories=10)
    callback = LatentDynamicsCallback(made.trainer, made.config.vae_updates)
    before = copy.deepcopy(made.latent_dynamics.state_dict())
    losses = []
    for _ in range(3):
        made.algorithm.learn(8 * STEPS, callback, log_interval=None, reset_num_timesteps=False)
        losses.append(made.algorithm.logger.name_to_value["latent_dynamics/loss"])
    assert made.trainer.n_updates == 60
    assert losses[-1] < 0.7 * losses[0]
    changed = [
        name
        for name, w in made.latent_dynamics.state_dict().items()
        if not torch.equal(w, before[name])
    ]
    assert set(changed) == set(before)  # encoder and every head
    made.vec_env.close()
