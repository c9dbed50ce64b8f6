"""The EnvPool process of benchmarks/stepping.py, run by a Python with envpool.

It reads requests from standard input: "version", or a number of seconds to step for, answered with
environment steps per second.
"""

from __future__ import annotations

import itertools
import sys
import time

import envpool
import numpy as np


def main() -> None:
    env_id, num_envs, threads, horizon = sys.argv[1], *map(int, sys.argv[2:])
    env = envpool.make(
        env_id,
        env_type="gymnasium",
        num_envs=num_envs,
        num_threads=threads,
        max_episode_steps=horizon,
        seed=0,
    )
    env.reset()
    shape = (97, num_envs, *env.action_space.shape)
    actions = itertools.cycle(np.random.default_rng(0).uniform(-1, 1, size=shape))
    for line in sys.stdin:
        if line.strip() == "version":
            print(envpool.__version__, flush=True)
            continue
        calls, begin = 0, time.perf_counter()
        while (passed := time.perf_counter() - begin) < float(line):
            env.step(next(actions))
            calls += 1
        print(calls * num_envs / passed, flush=True)


if __name__ == "__main__":
    main()
