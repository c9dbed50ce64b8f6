"""SequenceRecurrentPPO: A2C by hand, batch sizes, the VAE callback, seeds, files."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from reference_models import small_model
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.vec_env import DummyVecEnv
from wrapper_stubs import ScriptedEnv, scripted_vector

from ldm_wrappers import TrajectoryBuffer, vector
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer
from ldm_wrappers.sb3 import (
    LatentDynamicsCallback,
    SequenceRecurrentPPO,
    SingleThreadedRollouts,
    VectorEnvAdapter,
    WholeSequenceLstmPolicy,
)

LENGTHS = [(3, 5, 2), (4,), (1, 2), (6, 3)]


def adapter() -> VectorEnvAdapter:
    base = vector.MultiEpisodeWrapper(scripted_vector(*LENGTHS), 2)
    return VectorEnvAdapter(vector.RL2ObservationWrapper(base), info_keys=())


def learner(env: Any = None, policy_kwargs: Any = None, **kwargs: Any) -> SequenceRecurrentPPO:
    settings: dict[str, Any] = {"n_steps": 8, "batch_size": None, "n_epochs": 1, "seed": 0}
    policy = {"lstm_hidden_size": 6, "net_arch": [8], **(policy_kwargs or {})}
    settings.update(policy_kwargs=policy, device="cpu", **kwargs)
    return SequenceRecurrentPPO(WholeSequenceLstmPolicy, env or adapter(), **settings)


def weights(module: Any) -> torch.Tensor:
    return torch.cat([p.detach().ravel() for p in module.parameters()])


def test_with_one_epoch_and_one_batch_it_is_a2c() -> None:
    """Two iterations: the second begins inside episodes, with recurrent states carried over."""
    model = learner(
        learning_rate=7e-3,
        gamma=0.9,
        gae_lambda=0.8,
        ent_coef=0.1,
        vf_coef=0.4,
        max_grad_norm=0.3,
        normalize_advantage=False,
        policy_kwargs={
            "optimizer_class": torch.optim.RMSprop,
            "optimizer_kwargs": {"alpha": 0.99, "eps": 1e-5},
        },
    )
    _, callback = model._setup_learn(10_000, None)
    plain = RecurrentActorCriticPolicy(
        model.observation_space, model.action_space, lambda _: 0.0, lstm_hidden_size=6, net_arch=[8]
    )
    optimizer = torch.optim.RMSprop(plain.parameters(), lr=7e-3, alpha=0.99, eps=1e-5)
    plain.load_state_dict(model.policy.state_dict())
    for _ in range(2):
        states = copy.deepcopy(model._last_lstm_states)
        first_starts = model._last_episode_starts.copy()
        buffer: Any = model.rollout_buffer
        model.collect_rollouts(model.env, callback, buffer, model.n_steps)
        model.train()
        # generalised advantages, but for the last step, whose value of what follows is gone
        alive = 1.0 - buffer.episode_starts[1:]
        expected = buffer.rewards[:-1] + 0.9 * alive * buffer.values[1:] - buffer.values[:-1]
        expected += 0.9 * 0.8 * alive * buffer.advantages[1:]
        np.testing.assert_allclose(buffer.advantages[:-1], expected, atol=1e-5)
        # by hand: all workers side by side, one step after the other
        total = torch.zeros(())
        np.testing.assert_array_equal(buffer.episode_starts[0], first_starts)
        for t in range(model.n_steps):
            starts = torch.from_numpy(buffer.episode_starts[t])
            _, _, _, after = plain(torch.from_numpy(buffer.observations[t]), states, starts)
            values, log_prob, entropy = plain.evaluate_actions(
                torch.from_numpy(buffer.observations[t]),
                torch.from_numpy(buffer.actions[t, :, 0]),
                states,
                starts,
            )
            advantages = torch.from_numpy(buffer.advantages[t])
            returns = torch.from_numpy(buffer.returns[t])
            total = total - (advantages * log_prob).sum() - 0.1 * entropy.sum()
            total = total + 0.4 * (returns - values.flatten()).square().sum()
            states = after
        optimizer.zero_grad()
        (total / buffer.advantages.size).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.3)
        optimizer.step()
        difference = (weights(plain) - weights(model.policy)).abs().max().item()
        print(f"A2C: largest difference of a weight {difference:.1e}")
        assert difference < 2e-5


@pytest.mark.parametrize("batch_size", [0, -8, 12, 24, 64, 128])
def test_batch_sizes_that_split_workers_are_refused(batch_size: int) -> None:
    with pytest.raises(ValueError, match=rf"n_steps=8 .* = 32, got {batch_size}"):
        learner(batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [None, 8, 16, 32])
def test_batch_sizes_of_whole_workers_learn(batch_size: int | None) -> None:
    model = learner(batch_size=batch_size, n_epochs=2)
    before = weights(model.policy)
    model.learn(64)
    assert torch.isfinite(weights(model.policy)).all()
    assert not torch.equal(weights(model.policy), before)
    assert model.num_timesteps == 64


class ManyActions(ScriptedEnv):
    def __init__(self) -> None:
        super().__init__((3, 5, 2))
        self.action_space = spaces.Box(-1.0, 1.0, (64,), np.float32)


def test_padding_does_not_overflow_where_densities_are_large() -> None:
    """At the mean of 64 actions with σ = e⁻³ the density is e¹³³, which float32 does not have."""
    narrow = {"log_std_init": -3.0}
    model = learner(DummyVecEnv([ManyActions] * 3), policy_kwargs=narrow, n_epochs=2)
    before = weights(model.policy)
    model.learn(24)
    assert torch.isfinite(weights(model.policy)).all()
    assert not torch.equal(weights(model.policy), before)


def test_dict_observations_are_refused() -> None:
    class DictEnv(ScriptedEnv):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = spaces.Dict({"x": self.observation_space})

    with pytest.raises(TypeError, match=r"must be a Box, got Dict"):
        learner(DummyVecEnv([DictEnv]))


class Run:
    """A small LDM run by the public API."""

    def __init__(self, seed: int, n_updates: int = 2) -> None:
        base = vector.MultiEpisodeWrapper(scripted_vector(*LENGTHS), 2)
        self.dynamics = small_model(base, seed=seed, p_drop=0.3)
        buffer = TrajectoryBuffer(self.dynamics.spec, capacity=20, max_length=12, seed=seed)
        imagined = vector.ImaginaryRewardWrapper(
            base, self.dynamics, n_mixture=1, buffer=buffer, seed=seed
        )
        self.trainer = LatentDynamicsTrainer(
            self.dynamics, buffer, batch_trajectories=4, n_encoded_lengths=3, seed=seed
        )
        self.callback = LatentDynamicsCallback(self.trainer, n_updates)
        env = VectorEnvAdapter(vector.RL2ObservationWrapper(imagined), info_keys=())
        self.model = learner(env, seed=seed, batch_size=16, n_epochs=2)


class Count(BaseCallback):
    """Counts rollouts and keeps what the logger was told by the end of each iteration."""

    def __init__(self) -> None:
        super().__init__()
        self.rollouts, self.logged = 0, []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.logged.append(dict(self.logger.name_to_value))

    def _on_rollout_end(self) -> None:
        self.rollouts += 1

    def _on_training_end(self) -> None:
        self.logged.append(dict(self.logger.name_to_value))


def test_the_callback_trains_once_per_rollout_and_logs() -> None:
    run, count = Run(0, n_updates=3), Count()
    run.model.learn(8 * 4 * 3, callback=CallbackList([run.callback, count]))
    assert count.rollouts == 3
    assert run.trainer.n_updates == 9
    assert [logged.get("latent_dynamics/n_updates") for logged in count.logged] == [None, 3, 6, 9]
    names = {"loss", "elbo", "reconstruction", "kl", "n_updates", "n_trajectories"}
    assert {f"latent_dynamics/{name}" for name in names} <= set(count.logged[-1])
    terms = {name: count.logged[-1][f"latent_dynamics/{name}"] for name in names}
    assert terms["elbo"] == pytest.approx(terms["reconstruction"] - terms["kl"], rel=1e-5)
    assert 0 < terms["loss"] <= -terms["elbo"]  # per encoded length of the longest, of each
    with pytest.raises(ValueError, match="got 0"):
        LatentDynamicsCallback(run.trainer, 0)


class OneAfterTheOther(BaseCallback):
    """The latent dynamics' updates in the main thread, before the policy's."""

    def __init__(self, trainer: LatentDynamicsTrainer, n_updates: int) -> None:
        super().__init__()
        self.trainer, self.n_updates = trainer, n_updates

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.trainer.update(self.n_updates)


def test_updates_beside_the_policys_equal_updates_before_them() -> None:
    outcomes = []
    for beside in (True, False):
        run = Run(0)
        callback = run.callback if beside else OneAfterTheOther(run.trainer, 2)
        run.model.learn(8 * 4 * 3, callback=callback)
        assert run.trainer.n_updates == 6
        outcomes.append((weights(run.model.policy), weights(run.dynamics)))
    for mine, theirs in zip(*outcomes, strict=True):
        assert torch.equal(mine, theirs)


def test_an_error_of_the_latent_dynamics_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(0)

    sample = run.trainer.buffer.sample

    def broken(*arguments: Any) -> Any:
        batch = sample(*arguments)
        return batch._replace(rewards=batch.rewards * float("nan"))

    monkeypatch.setattr(run.trainer.buffer, "sample", broken)
    with pytest.raises(FloatingPointError, match="latent dynamics update 0"):
        run.model.learn(8 * 4 * 3, callback=run.callback)


@pytest.mark.parametrize(("kind", "while_updating"), [("policy only", 4), ("both", 2)])
def test_rollouts_take_one_thread_and_updates_share_the_others(
    kind: str, while_updating: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = Run(0), []
    update = run.trainer.update

    def updated(n_updates: int) -> dict[str, float]:
        seen.append(("latent dynamics", torch.get_num_threads()))
        return update(n_updates)

    def trained() -> None:
        seen.append(("policy", torch.get_num_threads()))

    def on_step(self: BaseCallback) -> bool:
        seen.append(("rollout", torch.get_num_threads()))
        return True

    monkeypatch.setattr(run.trainer, "update", updated)
    monkeypatch.setattr(run.model, "train", trained)
    monkeypatch.setattr(SingleThreadedRollouts, "_on_step", on_step)
    callback = run.callback if kind == "both" else SingleThreadedRollouts()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        run.model.learn(8 * 4 * 2, callback=callback)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)
    expected = {("rollout", 1), ("policy", while_updating)}
    assert set(seen) == expected | ({("latent dynamics", 2)} if kind == "both" else set())


def test_the_same_seed_gives_identical_weights() -> None:
    outcomes = []
    for seed in (0, 0, 1):
        run = Run(seed)
        run.model.learn(8 * 4 * 3, callback=run.callback)
        outcomes.append((weights(run.model.policy), weights(run.dynamics)))
    for index in range(2):
        assert torch.equal(outcomes[0][index], outcomes[1][index])
        assert not torch.equal(outcomes[0][index], outcomes[2][index])


def test_a_model_file_loads_and_goes_on(tmp_path: Path) -> None:
    kwargs = {"shared_lstm": True, "enable_critic_lstm": False, "value_trains_lstm": True}
    model = learner(policy_kwargs=kwargs)
    model.learn(64)
    model.save(tmp_path / "model.zip")
    again = SequenceRecurrentPPO.load(tmp_path / "model.zip", env=adapter(), device="cpu")
    assert torch.equal(weights(again.policy), weights(model.policy))
    assert isinstance(again.policy, WholeSequenceLstmPolicy) and again.policy.value_trains_lstm
    observation = np.zeros((4, *model.observation_space.shape), np.float32)
    expected = model.predict(observation, deterministic=True)
    for mine, theirs in zip(again.predict(observation, deterministic=True), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    again.learn(64)
    assert not torch.equal(weights(again.policy), weights(model.policy))


def test_after_an_interrupted_training_the_next_one_has_all_threads_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(self: BaseCallback) -> bool:
        raise KeyboardInterrupt

    run = Run(0)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(SingleThreadedRollouts, "_on_step", interrupt)
            run.model.learn(8 * 4, callback=run.callback)
        assert torch.get_num_threads() == 1
        run.model.learn(8 * 4, callback=LatentDynamicsCallback(run.trainer, 1))
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)
