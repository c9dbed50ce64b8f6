"""What the learners of PEARL, MQL and MIER tell the user about a run."""

from __future__ import annotations

import math

from train.config.off_policy import OffPolicySettings
from train.off_policy.replay import TaskReplay


def untrained(
    config: OffPolicySettings, n_tasks: int, n_initial_iterations: int, horizon: int
) -> tuple[str, int]:
    """Why a run ended before its first gradient step, and a total of steps that includes one."""
    rate = config.updates_per_step
    episodes = n_initial_iterations * config.n_workers * config.initial_episodes
    initial_steps = episodes * horizon  # if no episode ends early
    reason = (
        f"the first {n_initial_iterations} iterations collect initial_episodes = "
        f"{config.initial_episodes} episodes of each of {n_tasks} train tasks (up to "
        f"{initial_steps:,} steps), and each later step gives updates_per_step = {rate:g} "
        f"gradient steps; total_timesteps was {config.total_timesteps:,}"
    )
    return reason, initial_steps + math.ceil(1.0 / rate) + 1


def short_episodes(replay: TaskReplay, config: OffPolicySettings, horizon: int) -> str:
    """A notice if short episodes fill a task's slots in the replay; empty otherwise."""
    full, share = replay.full_tasks, replay.capacity * horizon
    kept = replay.n_transitions[full]
    if not len(full) or kept.min() >= share / 2:
        return ""
    return (
        f"episodes end early, so the replay is full with {kept.min():,} transitions of task "
        f"{full[kept.argmin()]}, although replay_size = {config.replay_size:,} has room for "
        f"{share:,}: it keeps {replay.capacity:,} episodes of each train task, whatever their "
        "length; for more, use a larger --replay-size in a new run"
    )
