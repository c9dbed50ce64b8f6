"""Compares loaded state with what a run expects, before anything of the run is touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from ldm_wrappers.latent_dynamics import TrajectoryBuffer
from ldm_wrappers.sb3 import SequenceRecurrentPPO
from train.common.learner import Learner
from train.persistence.state_file import StateFileError


def check(learner: Learner, state: Any) -> None:
    """Compare a collected training state with a freshly built learner.

    Raises:
        StateFileError: What differs.
    """
    algorithm = learner.algorithm
    expected: dict[str, Any] = {"policy": dict(algorithm.policy.state_dict())}
    if learner.model is not None:
        expected["latent_dynamics"] = dict(learner.model.state_dict())
    if learner.average is not None:
        expected["policy_average"] = dict(learner.average.state_dict())
    for name, weights in expected.items():
        check_like(_part(state, name), weights, name)
    check_optimizer(_part(state, "policy_optimizer"), algorithm.policy.optimizer, "policy")
    if learner.trainer is not None:
        trainer = _part(state, "trainer")
        check_optimizer(_part(trainer, "optimizer"), learner.trainer.optimizer, "VAE")
        _check_buffer(_part(state, "buffer"), learner.trainer.buffer)
    if state.get("env") is None:
        return
    saved, n_envs = _part(state, "algorithm"), algorithm.n_envs
    space = algorithm.observation_space
    shown = np.zeros((n_envs, *(space.shape or ())), space.dtype)
    check_like(saved.get("last_obs"), shown, "last observations")
    check_like(saved.get("last_episode_starts"), np.zeros(n_envs, bool), "episode starts")
    if isinstance(algorithm, SequenceRecurrentPPO):
        lstm: Any = algorithm._last_lstm_states
        check_like(saved.get("lstm_states"), [list(lstm.pi), list(lstm.vf)], "LSTM states")


def load_weights(module: nn.Module, weights: Any, name: str) -> None:
    """Load weights after comparing every name, shape and dtype.

    Raises:
        StateFileError: What differs; nothing has been changed then.
    """
    check_like(weights, dict(module.state_dict()), name)
    tensors = {key: torch.from_numpy(np.array(value)) for key, value in weights.items()}
    module.load_state_dict(tensors)


def check_like(found: Any, expected: Any, name: str) -> None:
    """Raise a ``StateFileError`` unless ``found`` has the names, shapes and dtypes of ``expected``.

    Floating-point numbers must be finite as well.
    """
    if isinstance(expected, dict):
        keys = set(found) if isinstance(found, dict) else set()
        if keys != set(expected):
            missing, unknown = set(expected) - keys, keys - set(expected)
            raise StateFileError(
                f"{name}: missing {sorted(missing, key=str)}, unknown {sorted(unknown, key=str)}"
            )
        for key, value in expected.items():
            check_like(found[key], value, f"{name}: {key}")
        return
    if isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            raise StateFileError(f"{name} is no list of {len(expected)}")
        for index, value in enumerate(expected):
            check_like(found[index], value, f"{name} {index}")
        return
    if isinstance(expected, torch.Tensor):
        expected = expected.detach().cpu().numpy()
    if isinstance(expected, np.ndarray):
        if not isinstance(found, np.ndarray):
            raise StateFileError(f"{name} is {found!r:.80}, expected an array")
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise StateFileError(
                f"{name} is {found.shape} {found.dtype}, expected {expected.shape} {expected.dtype}"
            )
    elif isinstance(found, bool) or not isinstance(found, (int, float)):
        raise StateFileError(f"{name} is {found!r:.80}, expected a number")
    if not np.isfinite(found).all():
        raise StateFileError(f"{name} is not finite")


def check_optimizer(state: Any, optimizer: torch.optim.Optimizer, name: str) -> None:
    """Raise a ``StateFileError`` unless ``state`` belongs to an optimizer of these parameters."""
    groups = optimizer.state_dict()["param_groups"]
    found = _part(state, "param_groups")
    if not isinstance(found, list) or [set(g) for g in found] != [set(g) for g in groups]:
        raise StateFileError(f"the {name} optimizer has other settings than this run's")
    if [len(g["params"]) for g in found] != [len(g["params"]) for g in groups]:
        raise StateFileError(f"the {name} optimizer has another number of parameters")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, entries in _part(state, "state").items():
        if not (isinstance(index, int) and 0 <= index < len(parameters)):
            raise StateFileError(f"the {name} optimizer has no parameter {index!r}")
        shape = tuple(parameters[index].shape)
        for key, value in entries.items():
            if np.shape(value) not in ((), shape) or not np.isfinite(value).all():
                raise StateFileError(
                    f"the {name} optimizer's {key} of parameter {index} is {np.shape(value)} or "
                    f"not finite, expected {shape}"
                )


def _check_buffer(state: Any, buffer: TrajectoryBuffer) -> None:
    lengths, following = _part(state, "lengths"), _part(state, "next")
    check_like(lengths, np.zeros(np.shape(lengths), np.int64), "buffer lengths")
    inside = lengths.ndim == 1 and ((lengths >= 1) & (lengths <= buffer.max_length)).all()
    if not inside or len(lengths) > buffer.capacity or not 0 <= following < buffer.capacity:
        raise StateFileError(
            f"the buffer of {np.shape(lengths)} trajectories does not fit one of {buffer.capacity} "
            f"of at most {buffer.max_length} transitions"
        )


def _part(state: Any, name: str) -> Any:
    if not isinstance(state, dict) or name not in state:
        raise StateFileError(f"there is no {name!r} in it")
    return state[name]
