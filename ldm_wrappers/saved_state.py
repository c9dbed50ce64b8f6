"""Loading of saved states: a state is loaded as a whole, or an error says what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn


def check_like(found: Any, expected: Any, name: str) -> None:
    """Compare a loaded value with one of the right structure.

    Args:
        found: Nested dicts and lists of arrays and numbers.
        expected: A value with the names, shapes and dtypes that ``found`` must have.
        name: What the value is, for messages.

    Raises:
        ValueError: A name, shape or dtype differs, or a floating-point number is not finite.
    """
    if isinstance(expected, dict):
        keys = set(found) if isinstance(found, dict) else set()
        if keys != set(expected):
            missing, unknown = set(expected) - keys, keys - set(expected)
            raise ValueError(
                f"{name}: missing {sorted(missing, key=str)}, unknown {sorted(unknown, key=str)}"
            )
        for key, value in expected.items():
            check_like(found[key], value, f"{name}: {key}")
        return
    if isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            raise ValueError(f"{name} is not a list of {len(expected)}")
        for index, value in enumerate(expected):
            check_like(found[index], value, f"{name} {index}")
        return
    if isinstance(expected, torch.Tensor):
        expected = expected.detach().cpu().numpy()
    if isinstance(expected, np.ndarray):
        if not isinstance(found, np.ndarray):
            raise ValueError(f"{name} is {found!r:.80}, expected an array")
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise ValueError(
                f"{name} is {found.shape} {found.dtype}, expected {expected.shape} {expected.dtype}"
            )
    elif isinstance(found, bool) or not isinstance(found, (int, float)):
        raise ValueError(f"{name} is {found!r:.80}, expected a number")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} is not finite")


def check_optimizer(state: Any, optimizer: torch.optim.Optimizer, name: str) -> None:
    """Raise a ``ValueError`` unless ``state`` belongs to an optimizer of these parameters."""
    groups = optimizer.state_dict()["param_groups"]
    found = state_part(state, "param_groups")
    if not isinstance(found, list) or [set(g) for g in found] != [set(g) for g in groups]:
        raise ValueError(f"the {name} optimizer's settings differ from this run's")
    if [len(g["params"]) for g in found] != [len(g["params"]) for g in groups]:
        raise ValueError(f"the {name} optimizer has another number of parameters")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, entries in state_part(state, "state").items():
        if not (isinstance(index, int) and 0 <= index < len(parameters)):
            raise ValueError(f"the {name} optimizer has no parameter {index!r}")
        shape = tuple(parameters[index].shape)
        for key, value in entries.items():
            if np.shape(value) not in ((), shape) or not np.isfinite(value).all():
                raise ValueError(
                    f"the {name} optimizer's {key} of parameter {index} is {np.shape(value)} or "
                    f"not finite, expected {shape}"
                )


def state_part(state: Any, name: str) -> Any:
    """The part ``name`` of a loaded dict; a ``ValueError`` names it if it is missing."""
    if not isinstance(state, dict) or name not in state:
        raise ValueError(f"there is no {name!r} in it")
    return state[name]


def check_weights_like(weights: Any, module: nn.Module, name: str) -> None:
    """Raise a ``ValueError`` unless ``weights`` have every name, shape and dtype of a module's."""
    check_like(weights, dict(module.state_dict()), name)


def load_weights(module: nn.Module, weights: Any, name: str) -> None:
    """Load weights after comparing every name, shape and dtype.

    Raises:
        ValueError: They differ; nothing is changed then.
    """
    check_weights_like(weights, module, name)
    module.load_state_dict(to_tensors(weights))


def to_tensors(value: Any) -> Any:
    """A nested value with copies of its arrays as tensors, which optimizers expect."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        return {key: to_tensors(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_tensors(item) for item in value]
    return value
