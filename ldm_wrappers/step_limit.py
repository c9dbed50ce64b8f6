"""H, the maximum length of an episode, which environments declare in several places."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


def step_limit(env: Any) -> int | None:
    """Maximum episode length of an environment, or of each environment of a batch, in steps.

    A batch's own attribute ``max_episode_steps`` comes first, since its registration may have
    been overridden when it was made; then the largest limit among its environments, by their time
    limits and specs; then the spec of the batch.
    """
    if isinstance(env, gym.Env):
        return _scalar_limit(env)
    inner: Any = env.unwrapped
    own = getattr(inner, "max_episode_steps", None)
    if isinstance(own, int):
        return own
    limits = [_scalar_limit(one) for one in getattr(inner, "envs", ())]
    known = [limit for limit in limits if limit is not None]
    if known and len(known) == len(limits):
        return max(known)
    spec = inner.spec
    if spec is None:
        return None
    limit = spec.kwargs.get("max_episode_steps") or spec.max_episode_steps
    return None if limit is None else int(limit)


def with_step_limit(env: gym.Env[Any, Any], limit: int | None) -> gym.Env[Any, Any]:
    """``env`` with episodes of at most ``limit`` steps; unchanged for ``None``.

    Raises:
        ValueError: Its episodes end sooner, so that the limit would have no effect.
    """
    if limit is None:
        return env
    own = step_limit(env)
    if own is not None and own < limit:
        raise ValueError(
            f"max_episode_steps = {limit} has no effect: episodes end after {own} steps already; "
            f"expected at most {own}"
        )
    return gym.wrappers.TimeLimit(env, limit)


def _scalar_limit(env: gym.Env[Any, Any]) -> int | None:
    limits = [] if env.spec is None else [env.spec.max_episode_steps]
    layer: Any = env
    while isinstance(layer, gym.Wrapper):
        if isinstance(layer, gym.wrappers.TimeLimit):
            limits.append(layer._max_episode_steps)
        layer = layer.env
    return min((limit for limit in limits if limit), default=None)
