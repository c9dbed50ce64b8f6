"""The linear feature baseline of gradient-based meta-RL, and advantages over it.

Source: Duan et al. (2016), "Benchmarking deep reinforcement learning for continuous control",
whose features and ridge regression the reference implementation of ProMP uses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

RIDGE = 1e-5
OBSERVATION_LIMIT = 10.0
STD_EPSILON = 1e-8


def discounted_returns(rewards: FloatArray, gamma: float) -> FloatArray:
    """Discounted sums of rewards (…, H) from each step to the end of its episode."""
    result = np.empty_like(rewards)
    running = np.zeros(rewards.shape[:-1])
    for step in reversed(range(rewards.shape[-1])):
        running = rewards[..., step] + gamma * running
        result[..., step] = running
    return result


def features(observations: NDArray[Any]) -> FloatArray:
    """Per step: clipped observation, its square, t, t², t³ and 1, with t = step / 100.

    Args:
        observations: (…, H, observation_size); t counts from 0 in each episode.

    Returns:
        float64 (…, H, 2 * observation_size + 4).
    """
    clipped = np.clip(observations, -OBSERVATION_LIMIT, OBSERVATION_LIMIT, dtype=np.float64)
    time = np.arange(observations.shape[-2]) / 100.0
    powers = np.stack([time, time**2, time**3, np.ones_like(time)], axis=-1)
    powers = np.broadcast_to(powers, (*observations.shape[:-1], 4))
    return np.concatenate([clipped, np.square(clipped), powers], axis=-1)


def linear_baseline(observations: NDArray[Any], returns: FloatArray, mask: BoolArray) -> FloatArray:
    """Values of the steps, by one ridge regression of the returns per task, XᵀX + λI.

    λ is ``RIDGE``. If the result is not finite, the regression is repeated with ten times as large
    a λ, up to five times.

    Args:
        observations: (n_tasks, R, H, observation_size).
        returns: Targets, (n_tasks, R, H).
        mask: (n_tasks, R, H), true at the steps to fit.

    Returns:
        Fitted values, float64 (n_tasks, R, H), zero outside the mask.

    Raises:
        FloatingPointError: If no regression has a finite result.
    """
    inputs = features(observations) * mask[..., None]
    inputs = inputs.reshape(len(inputs), -1, inputs.shape[-1])
    targets = (returns * mask).reshape(len(returns), -1, 1)
    transposed = inputs.transpose(0, 2, 1)
    gram, moments = transposed @ inputs, transposed @ targets
    for attempt in range(6):
        penalty = RIDGE * 10**attempt * np.eye(gram.shape[-1])
        try:
            weights = np.linalg.solve(gram + penalty, moments)
        except np.linalg.LinAlgError:
            continue
        if np.isfinite(weights).all():
            return (inputs @ weights).reshape(mask.shape)
    raise FloatingPointError(
        "the linear baseline has no finite solution: observations or rewards are not finite"
    )


def advantages(
    observations: NDArray[Any],
    rewards: FloatArray,
    mask: BoolArray,
    gamma: float,
    gae_lambda: float,
) -> FloatArray:
    """Generalised advantage estimates over the linear baseline, standardised per task.

    The value after the last step of an episode is 0, whether it terminated or was truncated, since
    the baseline's returns end there too.

    Args:
        observations: (n_tasks, R, H, observation_size).
        rewards: float64 (n_tasks, R, H).
        mask: (n_tasks, R, H), true at steps that were taken.
        gamma: Discount factor.
        gae_lambda: λ; 1 is the discounted return minus the baseline.

    Returns:
        float64 (n_tasks, R, H), zero outside the mask; over the steps of a task the mean is 0 and
        the standard deviation 1.
    """
    rewards = rewards * mask
    values = linear_baseline(observations, discounted_returns(rewards, gamma), mask)
    following = np.concatenate([values[..., 1:], np.zeros_like(values[..., :1])], axis=-1)
    errors = rewards + gamma * following - values
    return standardise(discounted_returns(errors, gamma * gae_lambda), mask)


def standardise(values: FloatArray, mask: BoolArray) -> FloatArray:
    """Shift and scale each task's values (n_tasks, R, H) to mean 0 and standard deviation 1."""
    axes = tuple(range(1, values.ndim))
    count = mask.sum(axis=axes, keepdims=True)
    mean = (values * mask).sum(axis=axes, keepdims=True) / count
    centred = (values - mean) * mask
    std = np.sqrt(np.square(centred).sum(axis=axes, keepdims=True) / count)
    return centred / (std + STD_EPSILON)
