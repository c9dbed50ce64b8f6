"""Time of a gradient step of PEARL, MQL and MIER, compared with plain modules (bar O6).

    OMP_NUM_THREADS=1 python -m benchmarks.off_policy [--json OUT] [--repeats N]

Sizes are those of the ``default`` preset of HalfCheetahVel, and transitions are random. "Plain" is
the same step with PyTorch's default Adam, critics that collect gradients in the policy's loss,
targets updated one tensor at a time, ReLU that keeps its input, and ``nn.GRU``. Both take turns in
one process. Times are CPU times, which depend less on other work on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.result_file import peak_memory_mib, write_result
from train import mier, mql, pearl
from train.config.presets import resolve
from train.off_policy import mier as mier_parts
from train.off_policy import networks, sac, td3
from train.off_policy import pearl as pearl_parts
from train.off_policy.episodes import Episode
from train.off_policy.learner import OffPolicyLearner

SCRIPTS: dict[str, Any] = {"pearl": pearl, "mql": mql, "mier": mier}


def plain_adam(parameters: Any, rate: float) -> torch.optim.Adam:
    """PyTorch's default Adam."""
    return torch.optim.Adam(parameters, lr=rate)


@torch.no_grad()
def plain_polyak(targets: Any, sources: Any, rate: float) -> None:
    """Update targets one tensor at a time."""
    for target, source in zip(targets, sources, strict=True):
        target.mul_(1 - rate).add_(rate * source)


@contextlib.contextmanager
def not_frozen(module: torch.nn.Module) -> Iterator[None]:
    """Let critics collect gradients that are not used."""
    yield


def plain_mlp(sizes: Any) -> torch.nn.Sequential:
    """Linear layers with a ReLU that keeps its input."""
    layers: list[torch.nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


class PlainGRU(torch.nn.GRU):
    """PyTorch's own GRU."""


PLAIN: dict[str, Any] = {
    "adam": plain_adam,
    "frozen": not_frozen,
    "polyak": plain_polyak,
    "mlp": plain_mlp,
}


@contextlib.contextmanager
def plain_modules() -> Iterator[None]:
    """Undo all optimizations of the package inside the block."""
    with contextlib.ExitStack() as stack:
        for module in (sac, td3, pearl_parts, mier_parts, networks):
            for name, value in PLAIN.items():
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, value))
        stack.enter_context(mock.patch.object(td3, "GRU", PlainGRU))
        yield


def learner(method: str) -> OffPolicyLearner:
    """A learner with the default sizes, and with random episodes in its replays."""
    config = resolve("LDM-HalfCheetahVel-v0", method, device="cpu", num_threads=1)
    built: OffPolicyLearner = SCRIPTS[method].build(config)
    rng, sizes = np.random.default_rng(0), built.sizes
    for replay in built.replays().values():
        for task in range(len(built.tasks)):
            for _ in range(2):
                n = built.horizon
                episode = Episode(
                    rng.normal(size=(n + 1, sizes.observation_dim)).astype(np.float32),
                    rng.uniform(-1, 1, (n, sizes.action_dim)).astype(np.float32),
                    rng.normal(size=n).astype(np.float32),
                    False,
                )
                replay.add(task, episode)
    return built


def seconds(built: OffPolicyLearner, steps: int) -> float:
    """CPU seconds of a gradient step, averaged over ``steps``."""
    start = time.process_time()
    for _ in range(steps):
        built.update()
        built.n_updates += 1
    return (time.process_time() - start) / steps


def measure(method: str, repeats: int, steps: int = 10) -> dict[str, float]:
    """Milliseconds per step with this package and with plain modules, best of ``repeats``."""
    ours = learner(method)
    with plain_modules():
        plain = learner(method)
        seconds(plain, steps)
    seconds(ours, steps)
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(repeats):
        times["ours"].append(seconds(ours, steps))
        with plain_modules():
            times["plain"].append(seconds(plain, steps))
    found = {f"{name}_ms": 1000 * min(values) for name, values in times.items()}
    ratios = [a / b for a, b in zip(times["ours"], times["plain"], strict=True)]
    return {**found, "ratio": found["ours_ms"] / found["plain_ms"], "median_ratio": median(ratios)}


def median(values: list[float]) -> float:
    """The middle value."""
    return float(statistics.median(values))


def main(arguments: list[str] | None = None) -> int:
    """Print the results, and optionally write them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.off_policy", description=__doc__)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    for method in SCRIPTS:
        figures[method] = measure(method, given.repeats)
        print(method, {name: round(value, 3) for name, value in figures[method].items()})
    memory = peak_memory_mib()
    figures["peak_memory_mib"] = memory
    print(f"peak memory of the process {memory:.0f} MiB")
    write_result(given.json, "off_policy", figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
