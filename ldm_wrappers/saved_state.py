"""Taking over saved states: what fits is loaded whole, what does not is named."""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import nn

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type)


def check_like(found: Any, expected: Any, name: str) -> None:
    """Compare a loaded value with one of the right structure.

    Args:
        found: Nested dicts and lists of arrays and numbers.
        expected: A value with the names, shapes and dtypes that ``found`` must have.
        name: What the value is, for messages.

    Raises:
        ValueError: Another name, shape or dtype, or a floating-point number that is not finite.
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
        raise ValueError(f"the {name} optimizer has other settings than this run's")
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
    """The part ``name`` of a loaded dict; a ``ValueError`` names it where it is missing."""
    if not isinstance(state, dict) or name not in state:
        raise ValueError(f"there is no {name!r} in it")
    return state[name]


def check_weights_like(weights: Any, module: nn.Module, name: str) -> None:
    """Raise a ``ValueError`` unless ``weights`` have every name, shape and dtype of a module's."""
    check_like(weights, dict(module.state_dict()), name)


def load_weights(module: nn.Module, weights: Any, name: str) -> None:
    """Load weights after comparing every name, shape and dtype.

    Raises:
        ValueError: What differs; nothing has been changed then.
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


def stateful_layers(env: Any) -> list[Any]:
    """The wrappers with a ``get_state`` of their own or inherited, outermost first, and the env."""
    layers = []
    while hasattr(env, "env"):
        if hasattr(type(env), "get_state"):
            layers.append(env)
        env = env.env
    return [*layers, env]


def env_state(env: Any) -> list[dict[str, Any]] | None:
    """States of all layers of a wrapper chain; ``None`` if the innermost env offers none."""
    layers = stateful_layers(env)
    if not hasattr(layers[-1], "get_state"):
        return None
    return [layer.get_state() for layer in layers]


def load_env_state(env: Any, states: list[dict[str, Any]]) -> None:
    """Inverse of :func:`env_state`."""
    for layer, state in zip(stateful_layers(env), states, strict=True):
        layer.set_state(state)


class UnsavedLayers:
    """Finds wrappers that have a state and no ``get_state`` to save it with.

    A wrapper has a state if it steps or resets in a way of its own and holds something that can
    change (an array, a container, a generator, an object with attributes) or a number that did.

    Args:
        env: The outermost wrapper, as built.
    """

    def __init__(self, env: Any) -> None:
        self._layers = []
        while hasattr(env, "env"):
            if not hasattr(type(env), "get_state") and _acts(type(env)):
                self._layers.append((env, _own(env)))
            env = env.env

    def names(self) -> list[str]:
        """Class names of the wrappers whose state would be lost, outermost first."""
        return [
            type(layer).__name__
            for layer, before in self._layers
            if any(
                _can_change(value)
                or (isinstance(value, (int, float)) and before.get(name, value) != value)
                for name, value in _own(layer).items()
            )
        ]


def _acts(kind: type) -> bool:
    """Whether a class defines what happens at a step or a reset, outside Gymnasium's bases."""
    bases = [base for base in kind.__mro__ if base.__module__ != "gymnasium.core"]
    bases = [base for base in bases if base.__module__ != "gymnasium.vector.vector_env"]
    return any({"step", "reset", "observations", "rewards"} & vars(base).keys() for base in bases)


def _own(layer: Any) -> dict[str, Any]:
    """Attributes of a wrapper that are neither the wrapped env nor its description."""
    described = ("env", "spec", "metadata", "_metadata", "_saved_kwargs", "_cached_spec")
    return {
        name: value
        for name, value in vars(layer).items()
        if name not in described and not name.endswith("_space")
    }


def _can_change(value: Any) -> bool:
    if isinstance(value, (np.ndarray, list, dict, set, deque, np.random.Generator)):
        return True
    if dataclasses.is_dataclass(value) and value.__dataclass_params__.frozen:  # type: ignore[union-attr]
        return False
    return not isinstance(value, _PLAIN) and not callable(value) and hasattr(value, "__dict__")
