"""Cost of a checkpoint: its time with a full buffer, relative to the training time per interval.

    python -m benchmarks.checkpoint --env-id LDM-AntGoal-v0 [--preset paper] [--json OUT]

Both are measured in one process: iterations without a checkpoint, then checkpoints of the same
learner with a full trajectory buffer, as in most of a run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from stable_baselines3.common.logger import Logger

from benchmarks.result_file import write_result
from ldm_wrappers.sb3 import LatentDynamicsCallback
from ldm_wrappers.state_file import load_state, save_state
from train.common.on_policy import OnPolicyLearner
from train.config.presets import resolve
from train.recurrent_ppo import build


def fill(learner: OnPolicyLearner) -> None:
    """Fill the trajectory buffer with random whole trajectories."""
    assert learner.trainer is not None
    buffer = learner.trainer.buffer
    rng = np.random.default_rng(0)
    spec, length = buffer.spec, buffer.max_length
    rows = 100
    batch = {
        "observations": rng.random((rows, length, spec.observation_size), np.float32),
        "actions": np.zeros((rows, length, spec.action_columns), np.float32),
        "rewards": rng.random((rows, length), np.float32),
        "next_observations": rng.random((rows, length, spec.observation_size), np.float32),
    }
    while len(buffer) < buffer.capacity:
        buffer.add(batch, np.full(rows, length))


def main() -> None:
    """Measure and print one line per quantity."""
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    flags.add_argument("--env-id", default="LDM-GridNavi-v0")
    flags.add_argument("--preset", default="default")
    flags.add_argument("--iterations", type=int, default=10)
    flags.add_argument("--checkpoints", type=int, default=3)
    flags.add_argument("--dir", type=Path, default=None, help="where to write (default: /tmp)")
    flags.add_argument("--json", type=Path, default=None)
    given = flags.parse_args()

    config = resolve(given.env_id, "ldm", given.preset, device="cpu")
    learner = build(config)
    fill(learner)
    algorithm, trainer = learner.algorithm, learner.trainer
    assert trainer is not None
    algorithm.set_logger(Logger(None, []))
    callback = LatentDynamicsCallback(trainer, config.vae_updates)
    per_iteration = config.n_steps * config.n_workers
    algorithm.learn(2 * per_iteration, callback)  # warm-up
    start = time.perf_counter()
    algorithm.learn(given.iterations * per_iteration, callback, reset_num_timesteps=False)
    rate = given.iterations * per_iteration / (time.perf_counter() - start)

    seconds = []
    with tempfile.TemporaryDirectory(dir=given.dir) as folder:
        file = Path(folder) / "state.safetensors"
        for _ in range(given.checkpoints):
            start = time.perf_counter()
            save_state(file, learner.state_dict())
            seconds.append(time.perf_counter() - start)
        size = file.stat().st_size
        start = time.perf_counter()
        load_state(file)
        loading = time.perf_counter() - start
    learner.close()

    interval = config.checkpoint_interval / rate
    save = statistics.median(seconds)
    print(f"{given.env_id}: {rate:,.0f} env steps/s without checkpoints")
    print(
        f"checkpoint: {size / 1e6:,.0f} MB in {save:.2f} s (all: {[round(s, 2) for s in seconds]})"
    )
    print(f"loading and checking it: {loading:.2f} s")
    print(f"one per {config.checkpoint_interval:,} steps = {interval:.0f} s: {save / interval:.2%}")
    figures = {
        "config": config.to_dict(),
        "steps_per_second": rate,
        "checkpoint_megabytes": size / 1e6,
        "checkpoint_seconds": seconds,
        "loading_seconds": loading,
        "share_of_interval": save / interval,
    }
    write_result(given.json, "checkpoint", figures)


if __name__ == "__main__":
    main()
