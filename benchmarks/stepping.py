"""How fast environments step: this package's batches compared with raw physics and others.

    python -m benchmarks.stepping [--envpool-python PATH] [--json OUT]

Prints the medians of repeated measurements, and the ratios of the bars:

- A5: GridNavi batch of 64 over Gymnasium's SyncVectorEnv of 64 scalar environments, >= 20;
- B2: a full step of the MuJoCo engine (observation, reward, autoreset, infos) over the raw
  `mj_step` loop of one core times the number of threads, Ant >= 0.92, HalfCheetah >= 0.80;
- B3: the engine over EnvPool, Ant >= 1.10, HalfCheetah >= 1.30. EnvPool needs its own virtual
  environment: `python -m venv /tmp/envpool && /tmp/envpool/bin/pip install envpool`, then
  `--envpool-python /tmp/envpool/bin/python`.

Each repeat measures everything once, and ratios are computed within a repeat before taking the
median, so that a temporary slowdown of the machine affects both sides. In parentheses: B2 compared
with as many raw loops as threads, run at the same time, which shows what a shared machine can give.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import statistics
import subprocess
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

import ldm_envs  # noqa: F401  (registers the ids)
from benchmarks.result_file import write_result
from ldm_envs.ant import ANT_DIR
from ldm_envs.half_cheetah import HALF_CHEETAH_VEL
from ldm_envs.mujoco_family import MujocoFamily

Rate = Callable[[float], float]  # seconds -> environment steps per second

HORIZON = 200
MODELS: dict[str, tuple[MujocoFamily, tuple[str, ...], str]] = {
    "Ant": (ANT_DIR, ("LDM-AntDir-v0", "LDM-AntGoal-v0"), "Ant-v4"),
    "HalfCheetah": (HALF_CHEETAH_VEL, ("LDM-HalfCheetahVel-v0",), "HalfCheetah-v4"),
}
BARS = {"A5": 20.0, "B2 Ant": 0.92, "B2 HalfCheetah": 0.80, "B3 Ant": 1.10, "B3 HalfCheetah": 1.30}


def vector_rate(env: gym.vector.VectorEnv) -> Rate:
    """Step a vector environment with random actions, including the ends of episodes."""
    rng = np.random.default_rng(0)
    space = env.single_action_space
    if isinstance(space, gym.spaces.Discrete):
        actions = rng.integers(space.n, size=(97, env.num_envs))
    else:
        assert isinstance(space, gym.spaces.Box)
        shape = (97, env.num_envs, *space.shape)
        actions = rng.uniform(space.low, space.high, size=shape).astype(np.float32)
    env.reset(seed=0)
    stream = itertools.cycle(actions)
    return lambda seconds: _measure(lambda: env.step(next(stream)), env.num_envs, seconds)


def raw_rate(family: MujocoFamily) -> Rate:
    """Raw physics on one core: random controls, and a noisy start every HORIZON steps."""
    model = family.load_model()
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    controls = itertools.cycle(rng.uniform(-1, 1, size=(97, model.nu)))
    count = itertools.count()
    start = data.qpos.copy(), data.qvel.copy()

    def step() -> None:
        if next(count) % HORIZON == 0:
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = family.start_state(rng, *start)
        data.ctrl[:] = next(controls)
        mujoco.mj_step(model, data, nstep=family.frame_skip)

    return lambda seconds: _measure(step, 1, seconds)


def _serve_raw(name: str, pipe: Connection) -> None:
    rate = raw_rate(MODELS[name][0])
    with contextlib.suppress(EOFError):  # the other side is gone
        while True:
            pipe.send(rate(pipe.recv()))


class RawAtOnce:
    """The raw loop in several processes at the same time.

    On an idle machine this is the one-core rate times the number of cores; on a shared machine, it
    is what was available.
    """

    def __init__(self, name: str, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes = []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            context.Process(target=_serve_raw, args=(name, theirs), daemon=True).start()
            self._pipes.append(ours)

    def __call__(self, seconds: float) -> float:
        for pipe in self._pipes:
            pipe.send(seconds)
        return sum(pipe.recv() for pipe in self._pipes)


class EnvPool:
    """EnvPool in another Python, controlled through a pipe, to take turns with this package."""

    SCRIPT = Path(__file__).with_name("envpool_worker.py")

    def __init__(self, python: str, env_id: str, num_envs: int, threads: int) -> None:
        arguments = [env_id, str(num_envs), str(threads), str(HORIZON)]
        self._process = subprocess.Popen(
            [python, str(self.SCRIPT), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = self._ask("version")

    def __call__(self, seconds: float) -> float:
        return float(self._ask(str(seconds)))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def _ask(self, question: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"the EnvPool process ended with {self._process.wait(20)}")
        return answer


def _measure(step: Callable[[], Any], steps_per_call: int, seconds: float) -> float:
    calls = 0
    begin = time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds:
        step()
        calls += 1
    return calls * steps_per_call / passed


def contestants(args: argparse.Namespace) -> tuple[dict[str, Rate], list[EnvPool]]:
    """Everything to measure, by name, and the EnvPool processes to close."""
    same_step = gym.vector.AutoresetMode.SAME_STEP
    found: dict[str, Rate] = {
        "GridNavi batch 64": vector_rate(
            gym.make_vec("LDM-GridNavi-v0", num_envs=64, autoreset_mode=same_step)
        ),
        "GridNavi sync 64": vector_rate(
            gym.make_vec(
                "LDM-GridNavi-v0",
                num_envs=64,
                vectorization_mode="sync",
                vector_kwargs={"autoreset_mode": same_step},
            )
        ),
    }
    pools = []
    for name, (family, ids, envpool_id) in MODELS.items():
        found[f"{name} raw"] = raw_rate(family)
        found[f"{name} raw at once"] = RawAtOnce(name, args.threads)
        for n in args.num_envs:
            for env_id in ids:
                found[f"{env_id} {n}"] = vector_rate(
                    gym.make_vec(
                        env_id, num_envs=n, num_threads=args.threads, autoreset_mode=same_step
                    )
                )
            if args.envpool_python:
                pool = EnvPool(args.envpool_python, envpool_id, n, args.threads)
                pools.append(pool)
                found[f"{name} EnvPool {n}"] = pool
    return found, pools


def ratios(args: argparse.Namespace, rates: dict[str, float]) -> dict[str, float]:
    """The ratios of the bars, from the rates of one repeat."""
    found = {"A5 GridNavi batch/sync": rates["GridNavi batch 64"] / rates["GridNavi sync 64"]}
    for name, (_, ids, _) in MODELS.items():
        for env_id, n in itertools.product(ids, args.num_envs):
            ours = rates[f"{env_id} {n}"]
            found[f"B2 {name}: {env_id} {n}/raw x {args.threads}"] = ours / (
                args.threads * rates[f"{name} raw"]
            )
            found[f"(B2 {name}: {env_id} {n}/raw at once)"] = ours / rates[f"{name} raw at once"]
            if args.envpool_python:
                found[f"B3 {name}: {env_id} {n}/EnvPool"] = ours / rates[f"{name} EnvPool {n}"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="per measurement")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--num-envs", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--envpool-python", help="a Python with envpool")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    args = parser.parse_args()
    for name in ("repeats", "seconds", "threads"):
        if getattr(args, name) <= 0:
            parser.error(f"--{name} must be positive, got {getattr(args, name)}")

    measured, pools = contestants(args)
    samples: dict[str, list[float]] = {name: [] for name in measured}
    per_repeat: list[dict[str, float]] = []
    for rate in measured.values():
        rate(args.seconds / 5)  # warm up
    for _ in range(args.repeats):
        now = {name: rate(args.seconds) for name, rate in measured.items()}
        for name, value in now.items():
            samples[name].append(value)
        per_repeat.append(ratios(args, now))

    rates = {name: statistics.median(values) for name, values in samples.items()}
    figures = {name: statistics.median(r[name] for r in per_repeat) for name in per_repeat[0]}
    print(f"{'env steps/s, median of ' + str(args.repeats):<50}{'median':>12}{'best':>12}")
    for name, value in rates.items():
        print(f"{name:<50}{value:>12,.0f}{max(samples[name]):>12,.0f}")
    # On a busy machine, the best rates are closest to the cost of the code itself.
    best = ratios(args, {name: max(values) for name, values in samples.items()})
    print(f"\n{'ratio':<50}{'median':>12}{'of bests':>12}{'bar':>12}")
    for name, value in figures.items():
        bar = next(bar for key, bar in BARS.items() if name.lstrip("(").startswith(key))
        print(f"{name:<50}{value:>12.2f}{best[name]:>12.2f}{bar:>12.2f}")
    result = {
        "threads": args.threads,
        "seconds": args.seconds,
        "envpool": pools[0].version if pools else None,
        "steps_per_second": samples,
        "median_steps_per_second": rates,
        "median_ratios": figures,
        "ratios_of_bests": best,
        "bars": BARS,
    }
    write_result(args.json, "stepping", result)
    for pool in pools:
        pool.close()


if __name__ == "__main__":
    main()
