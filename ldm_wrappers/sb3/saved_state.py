"""State for an exact resume that stable-baselines3's own save leaves out, as nested data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from ldm_wrappers.saved_state import (
    check_like,
    check_optimizer,
    check_weights_like,
    load_weights,
    state_part,
    to_tensors,
)
from ldm_wrappers.sb3.recurrent_ppo import SequenceRecurrentPPO


def algorithm_state(algorithm: OnPolicyAlgorithm) -> dict[str, Any]:
    """Weights, optimizer, counters and the running rollout of PPO or RecurrentPPO.

    Weights are views: save them before the training continues.
    """
    state: dict[str, Any] = {
        "policy": algorithm.policy.state_dict(),
        "policy_optimizer": algorithm.policy.optimizer.state_dict(),
        "num_timesteps": algorithm.num_timesteps,
        "n_updates": algorithm._n_updates,
        "last_obs": algorithm._last_obs,
        "last_episode_starts": np.asarray(algorithm._last_episode_starts),
    }
    if isinstance(algorithm, SequenceRecurrentPPO):
        lstm = algorithm._last_lstm_states
        assert lstm is not None
        state["lstm_states"] = [list(lstm.pi), list(lstm.vf)]
        state["rollout_rng"] = algorithm.rollout_rng.bit_generator.state
    return state


def check_algorithm_state(algorithm: OnPolicyAlgorithm, state: Any, running: bool) -> None:
    """Compare a saved state with a freshly built algorithm.

    Args:
        algorithm: Algorithm that is to load it.
        state: Result of :func:`algorithm_state`, with arrays instead of tensors.
        running: Whether the running rollout is to be loaded too.

    Raises:
        ValueError: They differ; the message says where.
    """
    check_weights_like(state_part(state, "policy"), algorithm.policy, "policy")
    check_optimizer(state_part(state, "policy_optimizer"), algorithm.policy.optimizer, "policy")
    if not running:
        return
    n_envs, space = algorithm.n_envs, algorithm.observation_space
    shown = np.zeros((n_envs, *(space.shape or ())), space.dtype)
    check_like(state.get("last_obs"), shown, "last observations")
    check_like(state.get("last_episode_starts"), np.zeros(n_envs, bool), "episode starts")
    if isinstance(algorithm, SequenceRecurrentPPO):
        lstm: Any = algorithm._last_lstm_states
        check_like(state.get("lstm_states"), [list(lstm.pi), list(lstm.vf)], "LSTM states")


def load_algorithm_state(algorithm: OnPolicyAlgorithm, state: Any, running: bool) -> None:
    """Inverse of :func:`algorithm_state`, for a state that has been checked."""
    load_weights(algorithm.policy, state["policy"], "policy")
    algorithm.policy.optimizer.load_state_dict(to_tensors(state["policy_optimizer"]))
    algorithm.num_timesteps = int(state["num_timesteps"])
    algorithm._n_updates = int(state["n_updates"])
    if isinstance(algorithm, SequenceRecurrentPPO):
        algorithm.rollout_rng.bit_generator.state = state["rollout_rng"]
    if not running:
        return
    algorithm._last_obs = state["last_obs"]
    algorithm._last_episode_starts = state["last_episode_starts"]
    if isinstance(algorithm, SequenceRecurrentPPO):
        pi, vf = (
            tuple(torch.from_numpy(array).to(algorithm.device) for array in states)
            for states in state["lstm_states"]
        )
        # declared as None in sb3-contrib
        setattr(algorithm, "_last_lstm_states", RNNStates(pi, vf))  # noqa: B010


def normalization_state(normalizer: VecNormalize) -> dict[str, Any]:
    """Running statistics of observations and returns, and the running returns themselves."""
    state: dict[str, Any] = {"returns": np.asarray(normalizer.returns)}
    for name in ("obs_rms", "ret_rms"):
        statistics = getattr(normalizer, name, None)
        if statistics is not None:
            state[name] = {
                "mean": np.asarray(statistics.mean),
                "var": np.asarray(statistics.var),
                "count": float(statistics.count),
            }
    return state


def load_normalization(normalizer: VecNormalize, state: dict[str, Any]) -> None:
    """Inverse of :func:`normalization_state`.

    Raises:
        ValueError: They differ; nothing is changed then.
    """
    check_like(state, normalization_state(normalizer), "normalization")
    for name in ("obs_rms", "ret_rms"):
        statistics = getattr(normalizer, name, None)
        if statistics is not None:
            statistics.mean = np.array(state[name]["mean"])
            statistics.var = np.array(state[name]["var"])
            statistics.count = float(state[name]["count"])
    normalizer.returns = np.array(state["returns"])
