"""LDM on variBAD and the diagnostic that shows the task: what their workers see and learn from."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from tiny_runs import build

from ldm_wrappers.vector import MultiEpisodeWrapper, TaskObservationWrapper
from train.config.presets import PRESETS, resolve

SMALL: dict[str, Any] = {
    "n_workers": 5,
    "n_minibatches": 5,
    "n_mixture_workers": 2,
    "device": "cpu",
    "seed": 3,
}
MIX = {"mixture.n_components": 2}


def test_imaginary_rewards_reach_the_beliefs_of_mixture_workers_only() -> None:
    learner = build(resolve("LDM-GridNavi-v0", "ldm-varibad", **SMALL, **MIX))
    env: Any = learner.env
    model, (imaginary, belief) = learner.latent_dynamics, (env.env, env)
    assert model is not None and learner.trainer is not None
    assert imaginary.tracker.n_workers == 3 and belief.tracker.n_workers == 5
    shown, _ = env.reset(seed=0)
    history: list[list[Any]] = [[], [], []]
    rng = np.random.default_rng(0)
    for _ in range(25):
        actions = rng.integers(0, 5, 5)
        shown, paid, _, _, infos = env.step(actions)
        assert (paid[:3] == infos["environment_reward"][:3]).all()
        for kept, value in zip(
            history, (model.spec.actions(actions), paid, infos["next_obs"]), strict=True
        ):
            kept.append(np.asarray(value, np.float32))
    actions, rewards, states = (torch.from_numpy(np.stack(kept)) for kept in history)
    with torch.no_grad():
        posterior = model.encoder(actions, rewards, states)
    expected = torch.cat([posterior.mean[-1], posterior.logvar[-1]], dim=1).numpy()
    np.testing.assert_allclose(shown[:, 2:], expected, atol=1e-4)
    learner.algorithm.learn(5 * 120)
    assert len(learner.trainer.buffer) == 3  # the mixture workers' trajectories stay out
    learner.close()


def test_the_policy_is_varibads_and_the_vae_is_ldms() -> None:
    for env_id, presets in PRESETS.items():
        for preset in presets:
            mine = resolve(env_id, "ldm-varibad", preset)
            ldm, varibad = (resolve(env_id, name, preset) for name in ("ldm", "varibad"))
            if (env_id, preset) == ("LDM-AntDir-v0", "default"):
                ldm = resolve(env_id, "ldm", "moments")  # the paper's beta
            assert mine.latent_dynamics == ldm.latent_dynamics
            assert (mine.imagination, mine.mixture) == (ldm.imagination, ldm.mixture)
            assert (mine.net_arch, mine.ent_coef) == (varibad.net_arch, varibad.ent_coef)


def test_the_shown_task_is_the_environments() -> None:
    learner = build(
        resolve("LDM-AntGoal-v0", "known-task", n_workers=3, n_minibatches=3, device="cpu")
    )
    env: Any = learner.env
    observations, infos = env.reset(seed=0)
    assert env.single_observation_space.shape == (29 + 2 + 8 + 2,)
    np.testing.assert_array_equal(observations[:, 29:31], infos["task"])
    assert len(np.unique(infos["task"], axis=0)) == 3
    learner.close()
    evaluated = learner.evaluation_env(meta_episodes("LDM-AntGoal-v0"))
    assert evaluated.single_observation_space == env.single_observation_space
    evaluated.close()


def meta_episodes(env_id: str) -> Any:
    env = gym.make_vec(env_id, num_envs=2, autoreset_mode=AutoresetMode.DISABLED)
    return MultiEpisodeWrapper(env, 2)


def test_the_last_observation_shows_the_task_that_ended() -> None:
    env = TaskObservationWrapper(meta_episodes("LDM-GridNavi-v0"), 2)
    _, infos = env.reset(seed=0)
    first = infos["task"].copy()
    for step in range(60):
        observations, _, _, truncations, infos = env.step(np.zeros(2, int))
        if step < 59:
            np.testing.assert_array_equal(observations[:, 2:], first)
    assert truncations.all()
    np.testing.assert_array_equal(np.stack(list(infos["final_obs"]))[:, 2:], first)
    np.testing.assert_array_equal(observations[:, 2:], infos["task"])
    assert (infos["task"] != first).any()
    assert env.observation_space.contains(observations)


def test_tasks_that_nobody_tells_are_refused() -> None:
    env = TaskObservationWrapper(meta_episodes("LDM-GridNavi-v0"), 3)
    with pytest.raises(ValueError, match=r"shape \(2, 3\).*got \(2, 2\).*TaskMethodWrapper"):
        env.reset(seed=0)

    class Silent(gym.Env[Any, Any]):
        observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)

        def reset(self, **kwargs: Any) -> Any:
            return np.zeros(1, np.float32), {}

    vector = gym.vector.SyncVectorEnv([Silent] * 2, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="got None"):
        TaskObservationWrapper(MultiEpisodeWrapper(vector, 2, check_tasks=False), 1).reset()
    with pytest.raises(ValueError, match="has no task_distribution"):
        build(resolve("Pendulum-v1", "known-task", n_steps=400, device="cpu"))
