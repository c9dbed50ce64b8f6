"""Speed of ProMP: one meta-gradient, and whole iterations (bars P4 and P5).

    OMP_NUM_THREADS=1 python -m benchmarks.meta_gradient [--json OUT]

The meta-gradient is that of 40 tasks × 20 episodes × 200 steps before adaptation and as many after
it. It alternates with plain autograd: a loop over tasks that builds each task's loss with
``torch.nn.functional`` and calls ``backward``. Peak memory is measured in a separate process. Whole
iterations are compared with the raw physics rate times the number of cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces
from torch.nn import functional

from benchmarks.result_file import peak_memory_mib, write_result
from benchmarks.stepping import MODELS, raw_rate
from ldm_envs.mujoco_vector import available_cores
from train.config.presets import resolve
from train.meta_gradient.episodes import TaskBatch
from train.meta_gradient.gradient import adapt_in_chunks, meta_gradient
from train.meta_gradient.objectives import Objective
from train.meta_gradient.policy import MetaPolicy, Parameters
from train.promp import build

TASKS, STEPS, OBSERVATION, ACTION, WIDTH = 40, 20 * 200, 27, 8, 64
OBJECTIVE = Objective("ratio", 0.1, 0.3, inner_kl_coef=5e-4)


def case() -> dict[str, Any]:
    """Arguments of the meta-gradient: random episodes with an Ant's sizes, and θ ≠ θ_old."""
    generator = torch.Generator().manual_seed(0)
    box = spaces.Box(-1, 1, (OBSERVATION,)), spaces.Box(-1, 1, (ACTION,))
    policy = MetaPolicy(*box, (WIDTH, WIDTH))
    old = policy.initial_parameters(generator)

    def batch(parameters: Parameters) -> TaskBatch:
        shown = torch.randn(TASKS, STEPS, OBSERVATION, generator=generator)
        with torch.no_grad():
            states = policy.distribution(parameters, shown)
            actions = states.sample(generator)
            log_probs = states.log_prob(actions)
        advantages = torch.randn(TASKS, STEPS, generator=generator)
        return TaskBatch(
            shown, actions, log_probs, advantages, torch.full_like(log_probs, 1 / STEPS)
        )

    before = batch(old)
    after = batch(adapt_in_chunks(policy, old, before, OBJECTIVE))
    moved = {k: v + 0.01 * torch.randn(v.shape, generator=generator) for k, v in old.items()}
    return {
        "policy": policy,
        "parameters": moved,
        "before": before,
        "after": after,
        "old": old,
        "credit": torch.zeros(TASKS),
    }


def plain_loop(given: dict[str, Any]) -> Parameters:
    """The same gradient, with one graph and one ``backward`` per task."""
    leaves = {k: v.detach().clone().requires_grad_() for k, v in given["parameters"].items()}

    def mean(parameters: Parameters, shown: torch.Tensor) -> torch.Tensor:
        hidden = shown
        for layer in range(3):
            weight, bias = parameters[f"weight_{layer}"], parameters[f"bias_{layer}"]
            hidden = functional.linear(hidden, weight.T, bias)
            hidden = torch.tanh(hidden) if layer < 2 else hidden
        return hidden

    def normal(parameters: Parameters, shown: torch.Tensor) -> torch.distributions.Normal:
        std = parameters["log_std"].exp()
        return torch.distributions.Normal(mean(parameters, shown), std, validate_args=False)

    before, after = given["before"], given["after"]
    for task in range(TASKS):
        states = normal(leaves, before.observations[task])
        ratios = states.log_prob(before.actions[task]).sum(-1) - before.log_probs[task]
        inner = -(before.advantages[task] * ratios.exp()).mean()
        slopes = torch.autograd.grad(inner, list(leaves.values()), create_graph=True)
        own = {k: v - 0.1 * g for (k, v), g in zip(leaves.items(), slopes, strict=True)}
        log_probs = normal(own, after.observations[task]).log_prob(after.actions[task]).sum(-1)
        ratios = (log_probs - after.log_probs[task]).exp()
        advantages = after.advantages[task]
        gains = torch.min(ratios * advantages, ratios.clamp(0.7, 1.3) * advantages)
        with torch.no_grad():
            sampler = normal(given["old"], before.observations[task])
        kl = torch.distributions.kl_divergence(sampler, states).sum(-1).mean()
        ((-gains.mean() + 5e-4 * kl) / TASKS).backward()
    return {name: value.grad for name, value in leaves.items() if value.grad is not None}


def peak_memory(results: Any) -> None:
    """Body of a process: peak memory of one meta-gradient in MiB, libraries included."""
    torch.set_num_threads(1)
    meta_gradient(**case(), objective=OBJECTIVE)
    results.put(peak_memory_mib())


def measure_gradient(repeats: int) -> dict[str, Any]:
    """CPU seconds of both ways in turns, and their difference."""
    given = case()
    ours, _ = meta_gradient(**given, objective=OBJECTIVE)
    theirs = plain_loop(given)
    error = max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
    size = max(float(value.abs().max()) for value in theirs.values())
    seconds: dict[str, list[float]] = {"ours": [], "plain loop": []}
    for _ in range(repeats):
        start = time.process_time()
        meta_gradient(**given, objective=OBJECTIVE)
        middle = time.process_time()
        plain_loop(given)
        seconds["ours"].append(middle - start)
        seconds["plain loop"].append(time.process_time() - middle)
    return {"seconds": seconds, "relative_error": error / size}


def measure_iterations(env_id: str, repeats: int, n_tasks: int | None) -> dict[str, Any]:
    """Steps per second of whole iterations and of raw physics, in turns.

    Also per CPU second, which does not depend on other programs' load.
    """
    changes: dict[str, Any] = {} if n_tasks is None else {"n_tasks": n_tasks}
    config = resolve(env_id, "promp", device="cpu", **changes)
    learner = build(config)
    learner.iterate()
    (family,) = [family for family, ids, _ in MODELS.values() if env_id in ids]
    found: dict[str, list[float]] = {
        name: []
        for name in (
            "steps_per_second",
            "physics",
            "steps_per_cpu_second",
            "physics_per_cpu_second",
        )
    }
    for _ in range(repeats):
        before, start = learner.num_timesteps, (time.perf_counter(), time.process_time())
        learner.iterate()
        steps = learner.num_timesteps - before
        found["steps_per_second"].append(steps / (time.perf_counter() - start[0]))
        found["steps_per_cpu_second"].append(steps / (time.process_time() - start[1]))
        start = time.perf_counter(), time.process_time()
        rate = raw_rate(family)(1.0)
        busy = (time.process_time() - start[1]) / (time.perf_counter() - start[0])
        found["physics"].append(rate)
        found["physics_per_cpu_second"].append(rate / busy)
    learner.close()
    return {"config": config.to_dict(), **found}


def main() -> None:
    """Measure and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--iterations", nargs="*", metavar="ENV_ID",
                        default=["LDM-HalfCheetahVel-v0", "LDM-AntGoal-v0"])  # fmt: skip
    parser.add_argument("--n-tasks", type=int, default=None, help="default: the preset's")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=peak_memory, args=(results,))
    process.start()
    memory = results.get()
    process.join()
    gradient = measure_gradient(arguments.repeats)
    ours, loop = (statistics.median(values) for values in gradient["seconds"].values())
    print(f"one meta-gradient, {TASKS} tasks x {STEPS} steps, {torch.get_num_threads()} thread(s)")
    print(f"  ours {ours:.2f} s, plain loop {loop:.2f} s: ratio {loop / ours:.2f} (bar P4: >= 1.0)")
    print(f"  peak memory {memory:.0f} MiB (bar P4: <= 700)")
    print(f"  largest difference {gradient['relative_error']:.1e} of the largest entry")
    iterations = {}
    cores = available_cores()
    for env_id in arguments.iterations:
        found = measure_iterations(env_id, arguments.repeats, arguments.n_tasks)
        iterations[env_id] = found
        medians = {k: statistics.median(v) for k, v in found.items() if k != "config"}
        rate, limit = medians["steps_per_second"], cores * medians["physics"]
        print(f"{env_id}: whole iterations {rate:,.0f} steps/s, physics x {cores} {limit:,.0f}")
        print(f"  ratio {rate / limit:.2f} (bar P5: cheetah 0.35, AntGoal 0.6)")
        whole, physics = (1 / medians[f"{k}_per_cpu_second"] for k in ("steps", "physics"))
        idle = physics / cores / (physics / cores + whole - physics)
        print(f"  physics is {physics / whole:.0%} of the CPU time; on {cores} idle cores, of")
        print(f"  which all but physics uses one, the ratio would be {idle:.2f}")
    figures = {"meta_gradient": {**gradient, "peak_mib": memory}, "iterations": iterations}
    write_result(arguments.json, "meta_gradient", figures)


if __name__ == "__main__":
    main()
