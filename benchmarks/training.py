"""Training steps per second: LDM with its VAE, compared with plain sb3-contrib (bar A4).

    python -m benchmarks.training [--env-id LDM-GridNavi-v0] [--repeats 3] [--json OUT]

Both learners train on the same environment, with the same workers, rollout length, network sizes,
optimizer and number of minibatches, taking turns in one process. The stock one is
``sb3_contrib.RecurrentPPO`` with ``MlpLstmPolicy`` on the same wrapper chain without imaginary
rewards. For MuJoCo families, the raw physics rate times the number of cores is also printed
(bar B4).
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from pathlib import Path

from sb3_contrib import RecurrentPPO
from stable_baselines3.common.vec_env import VecNormalize

from benchmarks.overrides import add_override, single_overrides
from benchmarks.result_file import write_result
from benchmarks.stepping import MODELS, raw_rate
from ldm_envs.mujoco_vector import available_cores
from ldm_wrappers.sb3 import LatentDynamicsCallback, VectorEnvAdapter
from train.common.envs import meta_episode_length
from train.common.parts import ppo_arguments
from train.config.on_policy import OnPolicySettings
from train.config.presets import resolve
from train.recurrent_ppo import build, training_env


class LdmTraining:
    """LDM as in ``train/recurrent_ppo.py``, without logging and evaluation."""

    name = "LDM, VAE included"

    def __init__(self, config: OnPolicySettings) -> None:
        self.learner = build(config)
        assert self.learner.trainer is not None
        self.callback = LatentDynamicsCallback(self.learner.trainer, config.vae_updates)

    def run(self, timesteps: int) -> None:
        """Train for ``timesteps`` more steps."""
        self.learner.algorithm.learn(timesteps, self.callback, reset_num_timesteps=False)


class StockTraining:
    """Unmodified sb3-contrib on the RL² chain, without a VAE."""

    name = "stock RecurrentPPO, no VAE"

    def __init__(self, config: OnPolicySettings) -> None:
        env, _, _ = training_env(dataclasses.replace(config, method="rl2"), config.device)
        vec_env: VectorEnvAdapter | VecNormalize = VectorEnvAdapter(env, info_keys=())
        if config.normalize_observation or config.normalize_reward:
            vec_env = VecNormalize(
                vec_env,
                norm_obs=config.normalize_observation,
                norm_reward=config.normalize_reward,
                gamma=config.gamma,
            )
        arguments = ppo_arguments(config, vec_env, config.device)
        arguments["policy_kwargs"] |= {
            "lstm_hidden_size": config.lstm_hidden_size,
            "shared_lstm": True,
            "enable_critic_lstm": False,
        }
        self.algorithm = RecurrentPPO("MlpLstmPolicy", vec_env, **arguments)

    def run(self, timesteps: int) -> None:
        """Train for ``timesteps`` more steps."""
        self.algorithm.learn(timesteps, reset_num_timesteps=False)


def main() -> None:
    """Measure in turns and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--env-id", default="LDM-GridNavi-v0")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--n-workers", type=int, default=None)
    add_override(parser)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--iterations", type=int, default=6, help="rollouts per measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()

    changes = single_overrides(parser, arguments.override)
    if arguments.n_workers is not None:
        changes["n_workers"] = arguments.n_workers
    config = resolve(arguments.env_id, "ldm", arguments.preset, device=arguments.device, **changes)
    timesteps = arguments.iterations * config.n_steps * config.n_workers
    learners: list[LdmTraining | StockTraining] = [LdmTraining(config), StockTraining(config)]
    for learner in learners:
        # one meta-episode per worker, so that the VAE has data to learn from
        steps = max(config.n_steps * arguments.iterations // 3, meta_episode_length(config) + 1)
        learner.run(steps * config.n_workers)
    rates: dict[str, list[float]] = {learner.name: [] for learner in learners}
    physics: list[float] = []
    for _ in range(arguments.repeats):
        for learner in learners:
            start = time.perf_counter()
            learner.run(timesteps)
            rates[learner.name].append(timesteps / (time.perf_counter() - start))
        physics += [
            raw_rate(family)(1.0) for family, ids, _ in MODELS.values() if config.env_id in ids
        ]

    medians = {name: statistics.median(values) for name, values in rates.items()}
    ldm, stock = medians.values()
    print(f"{config.env_id}, {config.n_workers} workers × {config.n_steps} steps, {config.device}")
    for name, value in medians.items():
        print(f"  {name}: {value:,.0f} steps/s")
    print(f"  ratio LDM / stock: {ldm / stock:.2f} (bar A4: >= 1.0 on GridNavi)")
    cores = available_cores()
    if physics:
        limit = statistics.median(physics) * cores
        print(f"  raw physics × {cores} cores: {limit:,.0f} steps/s")
        print(f"  ratio LDM / raw physics: {ldm / limit:.2f} (bar B4: AntGoal 0.25, cheetah 0.10)")
    figures = {
        "config": config.to_dict(),
        "steps_per_second": rates,
        "raw_physics_per_core": physics,
    }
    write_result(arguments.json, "training", figures)


if __name__ == "__main__":
    main()
