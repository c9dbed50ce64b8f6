"""Reference models of the wrapper tests: known draws, closed forms, and NumPy once more."""

from __future__ import annotations

import contextlib
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from wrapper_stubs import Row, Transition

from ldm_wrappers.latent_dynamics import LatentDynamics, LatentDynamicsConfig, Posterior
from ldm_wrappers.latent_dynamics.transition import TransitionSpec


class ScriptedMixture:
    """A mixture scheme whose draws are known: the k-th task drawn gets ``table[k]``."""

    def __init__(self, n_normal: int, columns: int, n_tasks: int = 200, seed: int = 3) -> None:
        raw = np.random.default_rng(seed).uniform(-1.0, 2.0, (n_tasks, n_normal, columns))
        raw[:, 0] += 1.0 - raw.sum(axis=1)
        self.table = raw.astype(np.float32)
        self.drawn = 0

    def sample(
        self, rng: np.random.Generator, n_mixture: int, n_normal: int, latent_dim: int
    ) -> Row:
        self.drawn += n_mixture
        return self.table[self.drawn - n_mixture : self.drawn]


class ClosedFormModel:
    """Duck-typed LatentDynamics: beliefs and rewards that one can compute by hand.

    m = (number of transitions, Σ r, Σ (s'₃ + a)) / 10 and
    output = (m·(1, −2, 3) + s₂ − a + s'₃ / 2) / 10.
    """

    def __init__(self, env: Any, likelihood: str) -> None:
        observation_space = getattr(env, "single_observation_space", env.observation_space)
        action_space = getattr(env, "single_action_space", env.action_space)
        self.spec = TransitionSpec.from_spaces(observation_space, action_space)
        self.config = SimpleNamespace(latent_dim=3, p_drop=0.0, likelihood=likelihood)
        self.device = torch.device("cpu")
        self.likelihood = likelihood
        self.encoder = self
        self.updating = contextlib.nullcontext()
        self.check_spaces = self.spec.check_spaces

    def parameters(self) -> list[torch.nn.Parameter]:
        return []

    def buffers(self) -> list[torch.Tensor]:
        return []

    def check_process(self) -> None:
        return

    def initial_hidden(self, n: int) -> torch.Tensor:
        return torch.zeros(n, 3)

    def step(self, hidden: Any, actions: Any, rewards: Any, next_observations: Any) -> Any:
        sums = next_observations[:, 3] + actions.sum(1)
        return hidden + torch.stack([torch.ones_like(rewards), rewards, sums], dim=1)

    def posterior(self, hidden: torch.Tensor) -> Posterior:
        return Posterior(hidden / 10.0, torch.zeros_like(hidden))

    def to_tensor(self, array: Row) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    def imagine_reward(self, m: Any, s: Any, a: Any, s2: Any, mask: None) -> Any:
        output = m @ torch.tensor([1.0, -2.0, 3.0]) + s[:, 2] - a.sum(1) + 0.5 * s2[:, 3]
        output = output / 10.0
        return -0.1 + 1.1 * torch.sigmoid(output) if self.likelihood == "bernoulli" else output


def closed_form_belief(transitions: list[Transition]) -> Row:
    """The belief of ClosedFormModel, second implementation."""
    total = np.zeros(3)
    for t in transitions:
        total += [1.0, t.reward, t.next_observation[3] + np.sum(t.action)]
    return total / 10.0


def closed_form_reward(m: Row, t: Transition, likelihood: str) -> float:
    """The reward of ClosedFormModel, second implementation."""
    x = m[0] - 2.0 * m[1] + 3.0 * m[2]
    x = (x + t.observation[2] - np.sum(t.action) + 0.5 * t.next_observation[3]) / 10.0
    return -0.1 + 1.1 / (1.0 + math.exp(-x)) if likelihood == "bernoulli" else float(x)


class NumpyModel:
    """LatentDynamics once more, in float64 NumPy, one transition and one latent at a time."""

    def __init__(self, model: LatentDynamics) -> None:
        self.config, self.spec = model.config, model.spec
        self.w = {k: v.detach().double().numpy() for k, v in model.state_dict().items()}

    def linear(self, name: str, x: Row, bias: bool = True) -> Row:
        return self.w[f"{name}.weight"] @ x + (self.w[f"{name}.bias"] if bias else 0.0)

    def action(self, action: Any) -> Row:
        if not self.spec.n_actions:
            return np.ravel(action).astype(float)
        one_hot = np.zeros(self.spec.n_actions)
        one_hot[int(action) - self.spec.action_start] = 1.0
        return one_hot

    def belief(self, transitions: list[Transition]) -> tuple[Row, Row]:
        """Mean and log-variance after the transitions."""
        h = np.zeros(self.config.encoder_hidden_size)
        for t in transitions:
            values = {
                "next_observation": np.ravel(t.next_observation),
                "action": self.action(t.action),
                "reward": np.array([t.reward]),
            }
            parts = [
                self.linear(f"encoder.embeddings.{name}", value)
                for name, value in values.items()
                if f"encoder.embeddings.{name}.weight" in self.w
            ]
            x = np.maximum(np.concatenate(parts), 0.0)
            xr, xz, xn = np.split(
                self.w["encoder.gru.weight_ih_l0"] @ x + self.w["encoder.gru.bias_ih_l0"], 3
            )
            hr, hz, hn = np.split(
                self.w["encoder.gru.weight_hh_l0"] @ h + self.w["encoder.gru.bias_hh_l0"], 3
            )
            r, z = 1.0 / (1.0 + np.exp(-(xr + hr))), 1.0 / (1.0 + np.exp(-(xz + hz)))
            h = (1.0 - z) * np.tanh(xn + r * hn) + z * h
        return self.linear("encoder.mean", h), self.linear("encoder.logvar", h)

    def output(self, m: Row, t: Transition, mask: Row | float = 1.0) -> float:
        """Raw decoder output, the embedded transition times a mask."""
        hidden = self.linear("decoder.latent_layer", m)
        values = {
            "observation": np.ravel(t.observation),
            "action": self.action(t.action),
            "next_observation": np.ravel(t.next_observation),
        }
        used = [n for n in self.config.decoder_inputs if f"decoder.embeddings.{n}.weight" in self.w]
        if used:
            parts = [self.linear(f"decoder.embeddings.{name}", values[name]) for name in used]
            embedded = mask * np.maximum(np.concatenate(parts), 0.0)
            hidden = hidden + self.linear("decoder.transition_layer", embedded, bias=False)
        for index in range(len(self.config.decoder_hidden_sizes)):
            hidden = self.linear(f"decoder.layers.{index}", np.maximum(hidden, 0.0))
        head = 0
        if self.config.decoder_heads > 1:
            side = round(self.config.decoder_heads ** (1.0 / self.spec.observation_size))
            for value in np.ravel(t.next_observation):
                head = head * side + int(value)
        return float(hidden[head])

    def reward(self, m: Row, t: Transition, mask: Row | float = 1.0) -> float:
        """Imaginary reward."""
        x = self.output(m, t, mask)
        if self.config.likelihood == "gaussian":
            return x
        low, high = self.config.reward_low, self.config.reward_high
        return low + (high - low) / (1.0 + math.exp(-x))


def small_model(env: Any, seed: int = 0, **changes: Any) -> LatentDynamics:
    """A small LatentDynamics for an environment, scalar or vector."""
    sizes: dict[str, Any] = {
        "latent_dim": 3,
        "encoder_observation_size": 5,
        "encoder_action_size": 4,
        "encoder_reward_size": 3,
        "encoder_hidden_size": 8,
        "decoder_observation_size": 6,
        "decoder_action_size": 3,
        "decoder_hidden_sizes": (7, 6),
        "p_drop": 0.0,
    }
    return LatentDynamics(
        getattr(env, "single_observation_space", env.observation_space),
        getattr(env, "single_action_space", env.action_space),
        LatentDynamicsConfig(**{**sizes, **changes}),
        seed=seed,
    )
