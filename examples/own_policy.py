"""A policy in plain PyTorch on an LDM-wrapped vector environment, without Stable-Baselines3.

The wrappers do not depend on the learner. Here it is a GRU trained by A2C, with one rollout per
meta-episode of all workers.
"""

import argparse

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import nn

import ldm_envs  # noqa: F401  registers the ids
from ldm_wrappers import LatentDynamics, LatentDynamicsConfig, TrajectoryBuffer
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer
from ldm_wrappers.vector import ImaginaryRewardWrapper, MultiEpisodeWrapper, RL2ObservationWrapper

N_EPISODES, HORIZON, N_WORKERS, N_MIXTURE = 4, 30, 16, 8
N_STEPS = N_EPISODES * HORIZON


class Policy(nn.Module):
    """A GRU over the RL² observations, with heads for actions and value."""

    def __init__(self, observation_size: int, n_actions: int) -> None:
        super().__init__()
        self.gru = nn.GRU(observation_size, 64)
        self.actor, self.critic = nn.Linear(64, n_actions), nn.Linear(64, 1)

    def forward(
        self, observations: torch.Tensor, hidden: torch.Tensor | None = None
    ) -> tuple[torch.distributions.Categorical, torch.Tensor, torch.Tensor]:
        features, hidden = self.gru(observations, hidden)
        distribution = torch.distributions.Categorical(logits=self.actor(features))
        return distribution, self.critic(features).squeeze(-1), hidden


def main(total_timesteps: int) -> None:
    torch.manual_seed(0)
    env = gym.make_vec("LDM-GridNavi-v0", num_envs=N_WORKERS, autoreset_mode=AutoresetMode.DISABLED)
    env = MultiEpisodeWrapper(env, N_EPISODES, finite_horizon=True)
    model = LatentDynamics(
        env.single_observation_space, env.single_action_space, LatentDynamicsConfig.grid()
    )
    buffer = TrajectoryBuffer(model.spec, capacity=1000, max_length=N_STEPS)
    env = ImaginaryRewardWrapper(env, model, n_mixture=N_MIXTURE, buffer=buffer, seed=0)
    env = RL2ObservationWrapper(env)
    trainer = LatentDynamicsTrainer(model, buffer, n_encoded_lengths=10, n_decoded_steps=60)

    policy = Policy(env.single_observation_space.shape[0], env.single_action_space.n)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    observations, _ = env.reset(seed=0)
    for _ in range(max(1, total_timesteps // (N_STEPS * N_WORKERS))):
        hidden, seen, taken, rewards, real = None, [], [], [], []
        for _ in range(N_STEPS):  # one whole meta-episode: all workers end together
            seen.append(torch.from_numpy(observations))
            with torch.no_grad():
                distribution, _, hidden = policy(seen[-1][None], hidden)
            taken.append(distribution.sample()[0])
            observations, reward, _, _, infos = env.step(taken[-1].numpy())
            rewards.append(reward)
            real.append(infos["environment_reward"])
        # discounted returns; the end of a meta-episode is terminal
        returns = np.zeros((N_STEPS, N_WORKERS), np.float32)
        following = np.zeros(N_WORKERS)
        for step in reversed(range(N_STEPS)):
            following = rewards[step] + 0.95 * following
            returns[step] = following
        distribution, values, _ = policy(torch.stack(seen))
        advantages = torch.from_numpy(returns) - values
        chosen = distribution.log_prob(torch.stack(taken))
        loss = -(chosen * advantages.detach()).mean() + 0.5 * advantages.square().mean()
        loss = loss - 0.01 * distribution.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
        optimizer.step()
        terms = trainer.update(4)
        normal = np.sum(real, axis=0)[: N_WORKERS - N_MIXTURE].mean()
        print(f"return of normal workers {normal:.1f}, ELBO {terms['elbo']:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total-timesteps", type=int, default=100_000)
    main(**vars(parser.parse_args()))
