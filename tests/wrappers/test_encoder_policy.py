"""The authors' policy network: embeddings, a GRU and a linear layer before the heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

import ldm_envs  # noqa: F401
from ldm_wrappers.latent_dynamics import TransitionSpec
from ldm_wrappers.rl2_observation import rl2_observation_space
from ldm_wrappers.sb3 import EncoderPolicy, MixregRecurrentPPO, SequenceRecurrentPPO
from ldm_wrappers.sb3.vec_env import VectorEnvAdapter
from ldm_wrappers.vector import MultiEpisodeWrapper, RL2ObservationWrapper

# observations of 2 columns, 3 actions, reward, start flag
N, T, COLUMNS = 3, 5, 2 + 3 + 2
ACTIONS = spaces.Discrete(3)
STATES = spaces.Box(-9.0, 9.0, (2,), np.float32)
BOX = rl2_observation_space(STATES, TransitionSpec.from_spaces(STATES, ACTIONS))


def policy(**kwargs: Any) -> EncoderPolicy:
    torch.manual_seed(0)
    sizes = {"observation_width": 4, "reward_width": 2, "latent_dim": 3, "lstm_hidden_size": 6}
    return EncoderPolicy(BOX, ACTIONS, lambda _: 2e-3, net_arch=[8], **{**sizes, **kwargs})


def batch() -> tuple[torch.Tensor, torch.Tensor, RNNStates, torch.Tensor]:
    """N sequences of T steps, sequence by sequence; the second one begins an episode."""
    generator = torch.Generator().manual_seed(1)
    observations = torch.randn(N * T, COLUMNS, generator=generator)
    states = tuple(torch.randn(1, N, 6, generator=generator) for _ in range(2))
    starts = torch.zeros(N, T)
    starts[1, 0] = 1.0
    actions = torch.randint(3, (N * T,), generator=generator)
    return observations, actions, RNNStates(states, states), starts.flatten()


def by_hand(made: EncoderPolicy, observations: torch.Tensor, states: RNNStates) -> torch.Tensor:
    """What the heads read, of the weights and PyTorch's own modules: (N · T, 2 · latent_dim)."""
    weights = made.lstm_actor.state_dict()
    gru = nn.GRU(sum(made.widths), 6)
    gru.load_state_dict({k[4:]: v for k, v in weights.items() if k.startswith("gru.")})
    columns = {"observation": slice(0, 2), "action": slice(2, 5), "reward": slice(5, 6)}
    shown = []
    for name, where in columns.items():
        if f"embeddings.{name}.weight" in weights:
            weight, bias = (weights[f"embeddings.{name}.{k}"] for k in ("weight", "bias"))
            shown.append(torch.relu(observations[:, where] @ weight.T + bias))
    hidden = states.pi[0].clone()
    hidden[:, 1] = 0.0
    outputs, _ = gru(torch.cat(shown, 1).reshape(N, T, -1).swapaxes(0, 1), hidden)
    latent = outputs @ weights["posterior.weight"].T + weights["posterior.bias"]
    return latent.swapaxes(0, 1).reshape(N * T, -1)


@pytest.mark.parametrize("action_width", [0, 5])
def test_values_and_probabilities_of_whole_sequences(action_width: int) -> None:
    made = policy(action_width=action_width, value_trains_lstm=True)
    observations, actions, states, starts = batch()
    values, log_probs, _ = made.evaluate_actions(observations, actions, states, starts)
    latent = by_hand(made, observations, states)
    heads = made.mlp_extractor
    torch.testing.assert_close(values, made.value_net(heads.forward_critic(latent)))
    logits = made.action_net(heads.forward_actor(latent)).log_softmax(-1)
    torch.testing.assert_close(log_probs, logits[range(N * T), actions])


def test_columns_that_are_not_shown() -> None:
    made = policy()
    observations, actions, states, starts = batch()

    def values(changed: list[int]) -> torch.Tensor:
        other = observations.clone()
        other[:, changed] += 1.0
        return made.evaluate_actions(other, actions, states, starts)[0]

    torch.testing.assert_close(values([2, 3, 4, 6]), values([]))  # previous action, start flag
    for column in (0, 1, 5):
        assert not torch.allclose(values([column]), values([]))
    seen = policy(action_width=4).lstm_actor.embeddings
    assert set(seen) == {"observation", "action", "reward"}


def test_steps_are_sequences_and_loading_is_exact(tmp_path: Path) -> None:
    made = policy(value_trains_lstm=True, observation_to_heads=True)
    observations, actions, states, starts = batch()
    whole = made.evaluate_actions(observations, actions, states, starts)[0].reshape(N, T)
    state: Any = states
    for t in range(T):
        rows, flags = observations.reshape(N, T, -1)[:, t], starts.reshape(N, T)[:, t]
        _, values, _, state = made.forward(rows, state, flags)
        torch.testing.assert_close(values.flatten(), whole[:, t])
        state = RNNStates(state.pi, state.pi)
    made.save(tmp_path / "policy")
    loaded = EncoderPolicy.load(tmp_path / "policy")
    assert loaded.widths == (4, 0, 2)
    again = loaded.evaluate_actions(observations, actions, states, starts)[0]
    torch.testing.assert_close(again.reshape(N, T), whole)


def workers() -> VecEnv:
    env = gym.make_vec(
        "LDM-GridNavi-v0", num_envs=4, autoreset_mode=gym.vector.AutoresetMode.DISABLED
    )
    return VectorEnvAdapter(RL2ObservationWrapper(MultiEpisodeWrapper(env, 2)))


@pytest.mark.parametrize("algorithm", [SequenceRecurrentPPO, MixregRecurrentPPO])
def test_it_trains(algorithm: type[SequenceRecurrentPPO]) -> None:
    kwargs = {"lstm_hidden_size": 8, "net_arch": [8]}
    agent = algorithm(
        EncoderPolicy, workers(), n_steps=60, batch_size=None, policy_kwargs=kwargs, seed=0
    )
    before = {k: v.clone() for k, v in agent.policy.state_dict().items()}
    agent.learn(240)
    after = agent.policy.state_dict()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert not same, same


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"observation_width": 0, "reward_width": 0}, "one of the widths must be positive"),
        ({"action_width": -1}, "action_width must be at least 0, got -1"),
        ({"latent_dim": 0}, "latent_dim must be at least 1, got 0"),
        ({"n_lstm_layers": 2}, "expected n_lstm_layers=1, got 2"),
        ({"shared_lstm": False}, "expected shared_lstm=True, got False"),
        ({"lstm_kwargs": {"dropout": 0.1}}, "no LSTM, got lstm_kwargs={'dropout': 0.1}"),
        ({"enable_critic_lstm": True}, "expected enable_critic_lstm=False, got True"),
        ({"features_extractor_class": BaseFeaturesExtractor}, "expected features_extractor_class"),
    ],
)
def test_what_it_refuses(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(**kwargs)


def test_observations_without_previous_action() -> None:
    shifted = spaces.Box(np.append(BOX.low[1:], -1).astype(np.float32), np.ones(7, np.float32))
    discretized = spaces.Discrete(4)
    stacked = spaces.Box(np.stack([BOX.low] * 2), np.stack([BOX.high] * 2))
    plain = [spaces.Box(-1.0, 1.0, (columns,), np.float32) for columns in (4, 9)]
    for space in (*plain, shifted, stacked):
        with pytest.raises(ValueError, match=r"do not end with previous action \(3 columns"):
            EncoderPolicy(space, ACTIONS, lambda _: 1e-3)
    with pytest.raises(ValueError, match=r"do not end with previous action \(4 columns"):
        EncoderPolicy(BOX, discretized, lambda _: 1e-3)


def test_the_optimizer_has_the_settings_it_was_given() -> None:
    """It is made again for the GRU; stable-baselines3's own Adam has ε = 1e-5."""
    assert [policy().optimizer.defaults[name] for name in ("lr", "eps")] == [2e-3, 1e-5]
    given = {"eps": 0.125, "weight_decay": 0.25}
    made = policy(optimizer_kwargs=given)
    assert {name: made.optimizer.defaults[name] for name in given} == given
    own = {id(p) for group in made.optimizer.param_groups for p in group["params"]}
    assert own == {id(p) for p in made.parameters()}
