"""Checks of a wrapped batch: its autoreset mode, its rows and its resets."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from ldm_wrappers.arguments import worker_seeds
from ldm_wrappers.vector.infos import Infos


def autoreset_mode(env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """The autoreset mode of this instance of an environment.

    A wrapper that changes the mode declares it in its own metadata. For the innermost environment,
    its attribute takes precedence: in Gymnasium 1.1 to 1.3, ``metadata`` belongs to the class and
    has the mode of the instance made last.
    """
    layer: Any = env
    while isinstance(layer, VectorWrapper) and layer._metadata is None:
        layer = layer.env
    mode = getattr(layer, "autoreset_mode", None)
    if isinstance(layer, VectorWrapper) or not isinstance(mode, AutoresetMode):
        mode = layer.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise ValueError(
            f"{env} must declare metadata['autoreset_mode'] as an AutoresetMode, got {mode!r}"
        )
    return mode


def check_batch(env: VectorEnv[Any, Any, Any], expected: AutoresetMode, wrapper: str) -> None:
    """Raise a ``ValueError`` unless ``env`` has the autoreset mode ``expected``.

    Its steps must not overwrite earlier observations, which wrappers keep, and no environment may
    be used for several rows.
    """
    mode = autoreset_mode(env)
    if mode is not expected:
        raise ValueError(
            f"{wrapper} needs an environment with autoreset_mode={expected.name}, got {mode.name}"
        )
    if getattr(env.unwrapped, "copy", True) is False:
        raise ValueError(f"{wrapper} needs an environment that returns copies, got copy=False")
    singles = [one for one in getattr(env.unwrapped, "envs", ()) if isinstance(one, gym.Env)]
    if len({id(single.unwrapped) for single in singles}) < len(singles):
        raise ValueError(
            f"{wrapper} got a batch in which one environment is used for several rows, so that "
            "each row's step moves the others; expected functions that make a new environment at "
            "every call: lambda: gym.make(…), not env = gym.make(…) and lambda: env"
        )


def reset_all(
    env: VectorEnv[Any, Any, Any], seed: Any, options: dict[str, Any] | None, wrapper: str
) -> tuple[Any, Infos]:
    """Reset ``env`` as a whole, each worker with its own stream, for a ``wrapper`` around it.

    Raises:
        ValueError: Options select only some environments, or the infos have ``final_…`` keys.
    """
    if options is not None and "reset_mask" in options:
        raise ValueError(
            f"{wrapper} resets all environments at once, got options {sorted(options)}; tasks "
            "restart by themselves when they end"
        )
    observations, infos = env.reset(seed=worker_seeds(seed, env.num_envs), options=options)
    check_reset_infos(infos, wrapper)
    return observations, infos


def check_reset_infos(infos: Any, wrapper: str) -> None:
    """Raise a ``ValueError`` if infos of a reset are a list, or have keys that only ends may have.

    Such keys would hide those of Gymnasium's SAME_STEP autoreset, and so the true last states.
    """
    if not isinstance(infos, dict):
        raise ValueError(
            f"{wrapper} needs infos as a dict of arrays, got a {type(infos).__name__}: put a "
            "wrapper like DictInfoToList around it, not inside"
        )
    for key in ("final_obs", "final_info"):
        if key in infos:
            raise ValueError(
                f"the environment reports its own info {key!r}, a name that Gymnasium's "
                "SAME_STEP autoreset uses: rename it in the environment, or put "
                "MultiEpisodeWrapper around an AutoresetMode.DISABLED environment"
            )
