"""The whole state of a running training, as nested data, and back."""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np
import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from ldm_wrappers.sb3 import SequenceRecurrentPPO
from train.common.artifacts import load_normalization, normalization_state
from train.common.envs import AnyVectorEnv
from train.common.guard import guard_of
from train.common.learner import Learner
from train.common.state_check import load_weights


def collect(learner: Learner) -> dict[str, Any]:
    """Everything that decides about the rest of the run, taken between two updates.

    Weights and buffer are views: save them before the training goes on.
    """
    algorithm = learner.algorithm
    state: dict[str, Any] = {
        "policy": algorithm.policy.state_dict(),
        "policy_optimizer": algorithm.policy.optimizer.state_dict(),
        "algorithm": {
            "num_timesteps": algorithm.num_timesteps,
            "n_updates": algorithm._n_updates,
            "last_obs": algorithm._last_obs,
            "last_episode_starts": np.asarray(algorithm._last_episode_starts),
        },
        "env": env_state(learner.env),
        "random": random_state(algorithm.device),
        "logger": {name: float(value) for name, value in algorithm.logger.name_to_value.items()},
    }
    if isinstance(algorithm, SequenceRecurrentPPO):
        lstm = algorithm._last_lstm_states
        assert lstm is not None
        state["algorithm"]["lstm_states"] = [list(lstm.pi), list(lstm.vf)]
        state["algorithm"]["rollout_rng"] = algorithm.rollout_rng.bit_generator.state
    if learner.normalizer is not None:
        state["normalization"] = normalization_state(learner.normalizer)
    if learner.average is not None:
        state["policy_average"] = learner.average.state_dict()
    if learner.model is not None and learner.trainer is not None:
        state["latent_dynamics"] = learner.model.state_dict()
        state["trainer"] = learner.trainer.state_dict()
        state["buffer"] = learner.trainer.buffer.state_dict(copy=False)
    return state


def restore(learner: Learner, state: dict[str, Any]) -> bool:
    """Put a learner into a collected state, which
    :func:`train.common.state_check.check` has passed.

    Returns:
        Whether the environments could be put back too; if not (they offer no ``get_state``), the
        running meta-episodes begin anew.
    """
    algorithm = learner.algorithm
    _adapt_generators(learner, state)
    load_weights(algorithm.policy, state["policy"], "policy")
    algorithm.policy.optimizer.load_state_dict(_tensors(state["policy_optimizer"]))
    if learner.model is not None and learner.trainer is not None:
        load_weights(learner.model, state["latent_dynamics"], "latent dynamics")
        learner.trainer.load_state_dict(_tensors(state["trainer"]))
        learner.trainer.buffer.load_state_dict(state["buffer"])
    if learner.normalizer is not None:
        load_normalization(learner.normalizer, state["normalization"])
    if learner.average is not None:
        load_weights(learner.average, state["policy_average"], "policy average")

    saved = state["algorithm"]
    algorithm.num_timesteps = int(saved["num_timesteps"])
    guard_of(learner).steps = algorithm.num_timesteps // learner.config.n_workers
    algorithm._n_updates = int(saved["n_updates"])
    if isinstance(algorithm, SequenceRecurrentPPO):
        algorithm.rollout_rng.bit_generator.state = saved["rollout_rng"]
    algorithm.logger.name_to_value.clear()
    for name, value in state["logger"].items():
        algorithm.logger.record(name, value)

    complete = state["env"] is not None
    if complete:
        restore_env(learner.env, state["env"])
        algorithm._last_obs = saved["last_obs"]
        algorithm._last_episode_starts = saved["last_episode_starts"]
        if isinstance(algorithm, SequenceRecurrentPPO):
            pi, vf = (
                tuple(torch.from_numpy(array).to(algorithm.device) for array in states)
                for states in saved["lstm_states"]
            )
            # declared as None in sb3-contrib
            setattr(algorithm, "_last_lstm_states", RNNStates(pi, vf))  # noqa: B010
    restore_random_state(state["random"], algorithm.device)
    return complete


def _adapt_generators(learner: Learner, state: dict[str, Any]) -> None:
    """Keep this learner's own generators where the saved ones are of another kind of device."""
    pairs: list[tuple[torch.Generator, dict[str, Any]]] = []
    if learner.trainer is not None:
        pairs.append((learner.trainer.generator, state["trainer"]))
    for layer, saved in zip(_layers(learner.env), state["env"] or [], strict=False):
        if isinstance(saved, dict) and "imagination" in saved:
            pairs.append((layer.imagination.generator, saved["imagination"]))
    changed = False
    for generator, saved in pairs:
        own = generator.get_state().cpu().numpy()
        if np.shape(saved["generator"]) != own.shape:
            saved["generator"], changed = own, True
    if changed:
        print(
            "warning: the checkpoint was made on another kind of device; latents and dropout "
            "masks are drawn anew",
            file=sys.stderr,
        )


def _layers(env: AnyVectorEnv) -> list[Any]:
    """The wrappers with a state of their own, outermost first, and the innermost environment."""
    layers: list[Any] = []
    layer: Any = env
    while hasattr(layer, "env"):
        if "get_state" in type(layer).__dict__:
            layers.append(layer)
        layer = layer.env
    return [*layers, layer]


def env_state(env: AnyVectorEnv) -> list[dict[str, Any]] | None:
    """States of all layers of the wrapper chain; ``None`` if the environment offers none."""
    layers = _layers(env)
    if not hasattr(layers[-1], "get_state"):
        return None
    return [layer.get_state() for layer in layers]


def restore_env(env: AnyVectorEnv, states: list[dict[str, Any]]) -> None:
    """Inverse of :func:`env_state`."""
    for layer, state in zip(_layers(env), states, strict=True):
        layer.set_state(state)


def random_state(device: torch.device) -> dict[str, Any]:
    """States of the global generators that a training on ``device`` draws from."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state = {
        "python": [version, list(words), gauss],
        "numpy": [str(kind), np.asarray(keys), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Inverse of :func:`random_state`; on another kind of device what that has of it."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(torch.from_numpy(state["torch"]))
    if "cuda" in state and device.type == "cuda":
        saved = state["cuda"]
        if isinstance(saved, list):  # checkpoints of before held the states of all GPUs
            saved = saved[device.index or 0]
        torch.cuda.set_rng_state(torch.from_numpy(saved), device)


def _tensors(value: Any) -> Any:
    """Arrays of a nested value as tensors, which optimizers expect."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        return {key: _tensors(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tensors(item) for item in value]
    return value
