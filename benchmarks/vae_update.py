"""Time of a VAE update at the paper's AntGoal sizes, and what a cheaper one costs (bar B5).

    python -m benchmarks.vae_update [--updates 300] [--json OUT]

Before: the published update done plainly. ``nn.GRU`` encodes 10 trajectories of 400 steps, 50
random encoded lengths each decode all 400 rewards through a decoder that sees every
(latent, transition) pair as a row of its own: 200,000 rows. After: this package's update with the
preset's subsets. Both train copies of one model, on the same trajectories of a random policy, in
turns of one process; then the full ELBO of held-out trajectories is compared.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import nn

import ldm_envs  # noqa: F401  registers the ids
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
from ldm_wrappers.latent_dynamics.encoder import Posterior, kl_divergence, sample
from ldm_wrappers.vector import MultiEpisodeWrapper
from train.presets import resolve

PUBLISHED_LENGTHS = 50


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
    """The published ELBO estimate without any shortcut: (batch,)."""
    encoder, decoder = model.encoder, model.decoder
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

    def step(self) -> None:
        """One update."""
        batch = self.buffer.sample(self.batch_trajectories)
        loss = -plain_elbo(self.model, batch, self.generator).mean() / len(batch.rewards)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


@torch.no_grad()
def held_out_elbo(model: LatentDynamics, buffer: TrajectoryBuffer) -> float:
    """Mean full ELBO per encoded length, without dropout."""
    generator = torch.Generator().manual_seed(0)
    values = []
    for start in range(0, len(buffer), 4):
        batch = buffer.get(np.arange(start, min(start + 4, len(buffer))))
        values.append(elbo(model, batch, dropout=False, generator=generator).elbo)
    return float(torch.cat(values).mean()) / 401


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    preset = resolve("LDM-AntGoal-v0", "ldm")
    model, train_set = collect(200, seed=0)
    _, test_set = collect(40, seed=1)
    plain = PlainTrainer(copy.deepcopy(model), train_set, batch_trajectories=10, seed=0)
    ours = LatentDynamicsTrainer(
        copy.deepcopy(model),
        train_set,
        batch_trajectories=preset.vae_trajectories,
        n_encoded_lengths=preset.vae_encoded_lengths,
        n_decoded_steps=preset.vae_decoded_steps,
        seed=0,
    )
    before: list[float] = []
    after: list[float] = []
    for _ in range(arguments.updates):
        start = time.perf_counter()
        plain.step()
        before.append(time.perf_counter() - start)
        start = time.perf_counter()
        ours.update(1)
        after.append(time.perf_counter() - start)
    times = {"before": statistics.median(before), "after": statistics.median(after)}
    elbos = {
        "untrained": held_out_elbo(model, test_set),
        "before": held_out_elbo(plain.model, test_set),
        "after": held_out_elbo(ours.model, test_set),
    }
    faster = times["before"] / times["after"]
    worse = (elbos["before"] - elbos["after"]) / abs(elbos["before"])
    print(f"update: {times['before'] * 1e3:.0f} ms before, {times['after'] * 1e3:.0f} ms after")
    print(f"  {faster:.1f} times faster (bar B5: >= 4)")
    print(f"held-out ELBO per encoded length after {arguments.updates} updates: {elbos}")
    print(f"  {100 * worse:+.1f} % worse after than before (bar B5: within 2 %)")
    figures = {"updates": arguments.updates, "seconds": times, "elbo": elbos}
    write_result(arguments.json, "vae_update", figures)


if __name__ == "__main__":
    main()
