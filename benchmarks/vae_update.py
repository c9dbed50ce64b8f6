"""Time of a VAE update with the paper's AntGoal sizes, and the cost of a cheaper one (bar B5).

    python -m benchmarks.vae_update [--updates 300] [--seeds 4] [--json OUT] [--override NAME=VALUE]

Before: a plain implementation of the published update. ``nn.GRU`` encodes 10 trajectories of 400
steps, and 50 random encoded lengths each decode all 400 rewards, with one row per (latent,
transition) pair in the decoder: 200,000 rows. After: this package's update with the subsets below.
Both train copies of one model on the same trajectories of a random policy, taking turns in one
process. Then the full ELBO of held-out trajectories is compared. One update changes that ELBO by a
few percent, so means over seeds are compared, after a third, two thirds and all of the updates.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import nn

import ldm_envs  # noqa: F401  registers the ids
from benchmarks.overrides import add_override, single_overrides
from benchmarks.result_file import write_result
from ldm_wrappers.latent_dynamics import (
    LatentDynamics,
    LatentDynamicsConfig,
    LatentDynamicsTrainer,
    TrajectoryBatch,
    TrajectoryBuffer,
    TrajectoryRecorder,
    elbo,
)
from ldm_wrappers.latent_dynamics.encoder import Encoder
from ldm_wrappers.latent_dynamics.posterior import Posterior, kl_divergence, sample
from ldm_wrappers.vector import MultiEpisodeWrapper
from train.config.presets import resolve

PUBLISHED_LENGTHS = 50
# settings of the recurrent encoder, whose update is measured
SUBSETS: dict[str, Any] = {
    "vae_trajectories": 10,
    "vae_encoded_lengths": 10,
    "vae_decoded_steps": None,
}


def collect(n: int, seed: int) -> tuple[LatentDynamics, TrajectoryBuffer]:
    """A model for AntGoal and ``n`` meta-episodes of random actions."""
    config = resolve("LDM-AntGoal-v0", "ldm")
    env = MultiEpisodeWrapper(
        gym.make_vec(config.env_id, n, autoreset_mode=AutoresetMode.DISABLED), config.n_episodes
    )
    model = LatentDynamics(
        env.single_observation_space,
        env.single_action_space,
        LatentDynamicsConfig(latent_dim=config.latent_dim, p_drop=config.p_drop),
    )
    buffer = TrajectoryBuffer(model.spec, capacity=n, max_length=400)
    recorder = TrajectoryRecorder(model.spec, n, 400)
    rng = np.random.default_rng(seed)
    observations, _ = env.reset(seed=seed)
    for _ in range(400):
        actions = rng.uniform(-1.0, 1.0, env.action_space.shape or ()).astype(np.float32)
        shown, rewards, _, _, infos = env.step(actions)
        recorder.append(
            model.spec.observations(observations),
            model.spec.actions(actions),
            np.asarray(rewards, np.float32),
            model.spec.observations(infos["next_obs"]),
        )
        observations = shown
    buffer.add(*recorder.finish(np.ones(n, bool)))
    env.close()
    return model, buffer


def plain_elbo(
    model: LatentDynamics, batch: TrajectoryBatch, generator: torch.Generator
) -> torch.Tensor:
    """The published ELBO estimate without any optimization: (batch,)."""
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(encoder, Encoder)
    hidden = encoder.initial_hidden(batch.rewards.shape[1]).unsqueeze(0)
    embedded = encoder.embed(batch.actions, batch.rewards, batch.next_observations)
    outputs, _ = nn.GRU.forward(encoder.gru, embedded, hidden)
    posterior = encoder.posterior(torch.cat([hidden, outputs]))
    n_steps, n = batch.rewards.shape
    index = torch.rand(n_steps + 1, n, generator=generator).topk(PUBLISHED_LENGTHS, dim=0).indices
    wide = index.unsqueeze(-1).expand(-1, -1, model.config.latent_dim)
    previous = Posterior(
        torch.cat([torch.zeros_like(posterior.mean[:1]), posterior.mean[:-1]]),
        torch.cat([torch.zeros_like(posterior.mean[:1]), posterior.logvar[:-1]]),
    )
    kl = kl_divergence(posterior, previous).gather(0, index).sum(0)
    latents = sample(Posterior(*(part.gather(0, wide) for part in posterior)), generator)
    rows = (PUBLISHED_LENGTHS, n_steps, n)
    latents = latents.unsqueeze(1).expand(*rows, -1)
    transitions = (batch.observations, batch.actions, batch.next_observations)
    spread = [array.unsqueeze(0).expand(*rows, -1) for array in transitions]
    output = decoder(latents, *spread, decoder.dropout_mask(*rows, generator=generator))
    likelihood = decoder.log_likelihood(output, batch.rewards).sum((0, 1))
    return (likelihood - kl) * (n_steps + 1) / PUBLISHED_LENGTHS


class PlainTrainer(LatentDynamicsTrainer):
    """The trainer with the plain ELBO."""

    def update(self, n_updates: int) -> dict[str, float]:
        """Take gradient steps, without statistics."""
        for _ in range(n_updates):
            batch = self.buffer.sample(self.batch_trajectories)
            loss = -plain_elbo(self.model, batch, self.generator).mean() / len(batch.rewards)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return {}


@torch.no_grad()
def held_out_elbo(model: LatentDynamics, buffer: TrajectoryBuffer) -> float:
    """Mean full ELBO per encoded length, without dropout."""
    generator = torch.Generator().manual_seed(0)
    values = []
    for start in range(0, len(buffer), 4):
        batch = buffer.get(np.arange(start, min(start + 4, len(buffer))))
        values.append(elbo(model, batch, dropout=False, generator=generator).elbo)
    return float(torch.cat(values).mean()) / 401


class Comparison(NamedTuple):
    """Both updates from one seed.

    Attributes:
        before: Seconds of each plain update.
        after: Seconds of each update of this package.
        elbos: Held-out ELBOs (before, after) by number of updates.
    """

    before: list[float]
    after: list[float]
    elbos: dict[int, tuple[float, float]]


def compare(
    plain: LatentDynamicsTrainer,
    ours: LatentDynamicsTrainer,
    test_set: TrajectoryBuffer,
    updates: int,
) -> Comparison:
    """Train both in turns, and compare them after a third, two thirds and all of the updates."""
    checkpoints = {updates // 3, 2 * updates // 3, updates} - {0}
    result = Comparison([], [], {})
    for i in range(1, updates + 1):
        start = time.perf_counter()
        plain.update(1)
        result.before.append(time.perf_counter() - start)
        start = time.perf_counter()
        ours.update(1)
        result.after.append(time.perf_counter() - start)
        if i in checkpoints:
            pair = held_out_elbo(plain.model, test_set), held_out_elbo(ours.model, test_set)
            result.elbos[i] = pair
    return result


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=4)
    add_override(parser)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    changes = {**SUBSETS, **single_overrides(parser, arguments.override)}
    preset = resolve("LDM-AntGoal-v0", "ldm", **changes)
    model, train_set = collect(200, seed=0)
    _, test_set = collect(40, seed=1)
    results: list[Comparison] = []
    for seed in range(arguments.seeds):
        train_set.sample(1)  # a different order for each seed
        # One buffer each, so that both see the same trajectories in the same order.
        plain = PlainTrainer(
            copy.deepcopy(model), copy.deepcopy(train_set), batch_trajectories=10, seed=seed
        )
        ours = LatentDynamicsTrainer(
            copy.deepcopy(model),
            copy.deepcopy(train_set),
            batch_trajectories=preset.vae_trajectories,
            n_encoded_lengths=preset.vae_encoded_lengths,
            n_decoded_steps=preset.vae_decoded_steps,
            seed=seed,
        )
        results.append(compare(plain, ours, test_set, arguments.updates))
        print(f"seed {seed}: {results[-1].elbos}", flush=True)
    before = statistics.median(itertools.chain.from_iterable(r.before for r in results))
    after = statistics.median(itertools.chain.from_iterable(r.after for r in results))
    print(f"update: {before * 1e3:.0f} ms before, {after * 1e3:.0f} ms after")
    print(f"  {before / after:.1f} times faster (bar B5: >= 4)")
    print(f"held-out ELBO per encoded length, mean of {arguments.seeds} seeds (bar B5: within 2 %)")
    for updates in results[0].elbos:
        plain_mean, our_mean = np.mean([r.elbos[updates] for r in results], axis=0)
        worse = 100 * (plain_mean - our_mean) / abs(plain_mean)
        print(f"  {updates} updates: {plain_mean:.0f} before, {our_mean:.0f} after, {worse:+.1f} %")
    figures = {
        "encoded_lengths": preset.vae_encoded_lengths,
        "decoded_steps": preset.vae_decoded_steps,
        "seconds": {"before": before, "after": after},
        "untrained_elbo": held_out_elbo(model, test_set),
        "elbos": [result.elbos for result in results],
    }
    write_result(arguments.json, "vae_update", figures)


if __name__ == "__main__":
    main()
