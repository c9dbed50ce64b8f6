"""States of the layers of a wrapper chain, and detection of layers whose state is not saved."""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Any

import numpy as np

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type)


def stateful_layers(env: Any) -> list[Any]:
    """The wrappers that define or inherit ``get_state``, outermost first, and the environment."""
    layers = []
    while hasattr(env, "env"):
        if hasattr(type(env), "get_state"):
            layers.append(env)
        env = env.env
    return [*layers, env]


def env_state(env: Any) -> list[dict[str, Any]] | None:
    """States of all layers of a wrapper chain; ``None`` if the innermost one has no state."""
    layers = stateful_layers(env)
    if not hasattr(layers[-1], "get_state"):
        return None
    return [layer.get_state() for layer in layers]


def load_env_state(env: Any, states: list[dict[str, Any]]) -> None:
    """Inverse of :func:`env_state`."""
    for layer, state in zip(stateful_layers(env), states, strict=True):
        layer.set_state(state)


class UnsavedLayers:
    """Finds wrappers that have a state but no ``get_state`` to save it with.

    A wrapper has a state if it overrides ``step`` or ``reset`` and has an attribute that can change
    (an array, a container, a generator, an object with attributes) or a number that has changed.

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
    """Whether a class overrides ``step`` or ``reset``, apart from Gymnasium's base classes."""
    bases = [base for base in kind.__mro__ if base.__module__ != "gymnasium.core"]
    bases = [base for base in bases if base.__module__ != "gymnasium.vector.vector_env"]
    return any({"step", "reset", "observations", "rewards"} & vars(base).keys() for base in bases)


def _own(layer: Any) -> dict[str, Any]:
    """Attributes of a wrapper other than the wrapped environment and its description."""
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
