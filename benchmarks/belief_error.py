"""How quickly the VAE alone learns to infer the task, per CPU second (bar E1).

    python -m benchmarks.belief_error --env-id LDM-AntGoal-v0 --data DIR [--arms recurrent moments]
        [--share 1.0] [--seeds 1] [--masks 0] [--csv OUT] [--json OUT] [--override NAME=VALUE]

Trains the VAE of method ``ldm`` offline on stored trajectories of scripted policies, each with
rewards of eight tasks, and evaluates its beliefs about tasks that it was not trained on: the error
of all rewards of a trajectory, decoded from the mean belief after 10, 50, 200 and 400 steps, as a
share of the variance of rewards under the prior. Rewards are decoded without dropout, or averaged
over ``--masks`` dropout masks. ``held-out`` are new tasks of the train set, and ``test`` those of
the test set, which lie elsewhere. The same is computed for the exact posterior.

Arms are presets, with ``--override`` on top. Each gets the CPU time that the VAE of preset
``recurrent``, the paper's encoder, takes in a run of that preset's length, times ``--share``. The
updates of that preset are timed first, in the same process.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

from benchmarks.belief_data import Trajectories, load_or_collect, relabelled
from benchmarks.belief_reference import exact_errors, prior_variance
from benchmarks.overrides import add_override, single_overrides
from benchmarks.result_file import write_result
from ldm_wrappers.latent_dynamics import LatentDynamics, LatentDynamicsTrainer, TrajectoryBuffer
from train.analysis.tables import write_csv
from train.common.parts import vae_trainer
from train.config.presets import resolve

TIMES = (10, 50, 200, 400)
N_TASKS_PER_TRAJECTORY = 8
N_TIMED = 20
N_MEASUREMENTS = 12
COLUMNS = (
    *("env_id", "arm", "seed", "set", "moment", "cpu_seconds", "updates"),
    *("steps_of_task", "error", "share_of_prior"),
)
ARMS = ("recurrent", "moments")


class EvaluationSet(NamedTuple):
    """Trajectories of tasks that the VAE is not trained on.

    Attributes:
        name: ``held-out`` or ``test``.
        trajectories: The trajectories.
        buffer: The same in a buffer.
        variance: Variance of rewards under the prior.
    """

    name: str
    trajectories: Trajectories
    buffer: TrajectoryBuffer
    variance: float


@torch.no_grad()
def belief_errors(model: LatentDynamics, one: EvaluationSet, n_masks: int = 0) -> list[float]:
    """Mean squared reward error over whole trajectories, after each of :data:`TIMES`."""
    errors, counts = np.zeros(len(TIMES)), np.zeros(len(TIMES))
    for start in range(0, len(one.buffer), 50):
        batch = one.buffer.get(np.arange(start, min(start + 50, len(one.buffer))))
        means = model.encoder(batch.actions, batch.rewards, batch.next_observations).mean
        inside = torch.arange(len(batch.rewards)).unsqueeze(-1) < batch.lengths
        for index, now in enumerate(TIMES):
            if now >= len(means):
                continue
            transitions = (batch.observations, batch.actions, batch.next_observations)
            guess = _decoded(model, means[now].unsqueeze(0), transitions, n_masks)
            counted = inside & (batch.lengths >= now)
            errors[index] += float(((guess - batch.rewards).square() * counted).sum())
            counts[index] += int(counted.sum())
    return (errors / np.maximum(counts, 1)).tolist()


def _decoded(
    model: LatentDynamics, latents: torch.Tensor, transitions: Any, n_masks: int
) -> torch.Tensor:
    """Decoded rewards without dropout, or averaged over dropout masks."""
    observations, actions, next_observations = transitions
    if not n_masks:
        return model.imagine_reward(latents, observations, actions, next_observations)
    generator = torch.Generator().manual_seed(0)
    shape = actions.shape[:-1]
    masks = [model.decoder.dropout_mask(*shape, generator=generator) for _ in range(n_masks)]
    guesses = [
        model.imagine_reward(latents, observations, actions, next_observations, mask)
        for mask in masks
    ]
    return torch.stack(guesses).mean(0)


def make_trainer(config: Any, buffer: TrajectoryBuffer, seed: int) -> LatentDynamicsTrainer:
    """The trainer of a run with ``config``."""
    env = gym.make(config.env_id)
    spaces = env.observation_space, env.action_space
    env.close()
    model = LatentDynamics(*spaces, config.latent_dynamics, seed=seed)
    return vae_trainer(dataclasses.replace(config, seed=seed), model, buffer)


def cpu_budget(config: Any, buffer: TrajectoryBuffer) -> tuple[float, int]:
    """CPU seconds of a preset's VAE in a whole run, and the number of its updates."""
    trainer = make_trainer(config, buffer, seed=0)
    trainer.update(3)
    start = time.process_time()
    trainer.update(N_TIMED)
    each = (time.process_time() - start) / N_TIMED
    updates = config.total_timesteps // (config.n_workers * config.n_steps) * config.vae_updates
    return each * updates, updates


def train(
    trainer: LatentDynamicsTrainer, sets: list[EvaluationSet], seconds: float, n_masks: int
) -> list[dict[str, Any]]:
    """Train for some CPU time, and evaluate the beliefs at evenly spaced times."""
    rows: list[dict[str, Any]] = []
    spent = 0.0
    for index, moment in enumerate(np.linspace(0, seconds, N_MEASUREMENTS + 1)[1:]):
        while spent < moment:
            start = time.process_time()
            trainer.update(1)
            spent += time.process_time() - start
        for one in sets:
            for now, error in zip(TIMES, belief_errors(trainer.model, one, n_masks), strict=True):
                rows.append(
                    {
                        "set": one.name,
                        "moment": index,
                        "cpu_seconds": round(spent, 1),
                        "updates": trainer.n_updates,
                        "steps_of_task": now,
                        "error": error,
                        "share_of_prior": error / one.variance,
                    }
                )
        shown = " ".join(f"{row['share_of_prior']:.3f}" for row in rows[-len(sets) * len(TIMES) :])
        print(f"{spent:7.0f} s {trainer.n_updates:6d} updates: {shown}", flush=True)
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--env-id", default="LDM-AntGoal-v0")
    parser.add_argument("--data", type=Path, default=Path("belief-data"))
    parser.add_argument("--trajectories", type=int, default=1200)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--masks", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--csv", type=Path, default=None)
    parser.add_argument("--json", type=Path, default=None)
    add_override(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    env_id, changes = arguments.env_id, single_overrides(parser, arguments.override)
    configs = {arm: resolve(env_id, "ldm", arm, **changes) for arm in arguments.arms}
    reference = resolve(env_id, "ldm", "recurrent")
    stored = load_or_collect(arguments.data, env_id, arguments.trajectories)
    buffer = relabelled(stored["train"], N_TASKS_PER_TRAJECTORY, seed=0).buffer()
    sets, rows = [], []
    for name in ("held-out", "test"):
        variance = prior_variance(stored[name])
        sets.append(EvaluationSet(name, stored[name], stored[name].buffer(), variance))
        errors = exact_errors(stored[name], TIMES)
        for now, error in zip(TIMES, errors, strict=True):
            share = error / variance
            row = {"set": name, "steps_of_task": now, "error": error, "share_of_prior": share}
            rows.append({"arm": "exact posterior", **row})
        shares = " ".join(f"{error / variance:.4f}" for error in errors)
        print(f"{name}: prior variance {variance:.3f}, exact posterior {shares}", flush=True)
    seconds, updates = cpu_budget(reference, buffer)
    print(f"recurrent: {updates} updates per run, {seconds:.0f} CPU s", flush=True)
    for arm in arguments.arms:
        for seed in range(arguments.seeds):
            print(f"{arm}, seed {seed}", flush=True)
            trainer = make_trainer(configs[arm], buffer, seed)
            for row in train(trainer, sets, arguments.share * seconds, arguments.masks):
                rows.append({"arm": arm, "seed": seed, **row})
    if arguments.csv is not None:
        blank = dict.fromkeys(COLUMNS, "")
        write_csv(arguments.csv, [{**blank, "env_id": env_id, **row} for row in rows])
    figures = {
        "env_id": env_id,
        "overrides": changes,
        "masks": arguments.masks,
        "cpu_seconds_of_a_run": seconds,
        "updates_of_a_run": updates,
        "prior_variance": {one.name: one.variance for one in sets},
        "settings": {arm: configs[arm].to_dict() for arm in arguments.arms},
    }
    write_result(arguments.json, "belief_error", figures)


if __name__ == "__main__":
    main()
