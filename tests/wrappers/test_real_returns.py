"""R7: imaginary returns stay out of the statistics that normalise rewards."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from reference_models import small_model
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from wrapper_stubs import scripted_vector

from ldm_wrappers import vector
from ldm_wrappers.sb3 import (
    NormalizeWithRealReturns,
    SequenceRecurrentPPO,
    VectorEnvAdapter,
    WholeSequenceLstmPolicy,
    imagine,
)


class Paying(VecEnv):
    """Worker i earns ``scale[i]`` times a random number; ends at random."""

    def __init__(self, scale: list[float]) -> None:
        super().__init__(len(scale), spaces.Box(-1, 1, (1,)), spaces.Discrete(2))
        self.scale, self.rng = np.asarray(scale), np.random.default_rng(0)

    def reset(self) -> Any:
        return np.zeros((self.num_envs, 1), np.float32)

    def step_async(self, actions: Any) -> None:
        pass

    def step_wait(self) -> Any:
        rewards = (self.scale * self.rng.normal(size=self.num_envs)).astype(np.float32)
        done = self.rng.random(self.num_envs) < 0.1
        infos: list[dict[str, Any]] = [{"terminal_observation": np.zeros(1)} for _ in self.scale]
        return np.zeros((self.num_envs, 1), np.float32), rewards, done, infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        pass

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kw: Any) -> list[Any]:
        return []

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def run(env: VecNormalize, steps: int = 300) -> list[Any]:
    env.reset()
    return [env.step(np.zeros(env.num_envs, int))[1] for _ in range(steps)]


@pytest.mark.parametrize(("n_normal", "imaginary"), [(2, 50.0), (1, 1e-3), (3, 1e4)])
def test_the_scale_is_that_of_real_returns(n_normal: int, imaginary: float) -> None:
    scale = [1.0] * n_normal + [imaginary] * 4
    env = NormalizeWithRealReturns(Paying(scale), n_normal=n_normal, gamma=0.9)
    shown = run(env)

    returns, statistics, twin = np.zeros(n_normal), RunningMeanStd(shape=()), Paying(scale)
    for normalized in shown:
        _, rewards, done, _ = twin.step_wait()
        returns = returns * 0.9 + rewards[:n_normal]
        statistics.update(returns)
        expected = np.clip(rewards / np.sqrt(statistics.var + 1e-8), -10, 10)
        np.testing.assert_allclose(normalized, expected, rtol=1e-5)
        returns[done[:n_normal]] = 0.0


def test_without_mixture_workers_it_is_vec_normalize() -> None:
    ours = NormalizeWithRealReturns(Paying([1.0, 2.0]), n_normal=2, gamma=0.9)
    stock = VecNormalize(Paying([1.0, 2.0]), gamma=0.9)
    np.testing.assert_array_equal(run(ours), run(stock))


@pytest.mark.parametrize("n_normal", [0, 3, -1])
def test_bad_numbers_of_normal_workers(n_normal: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and 2, got {n_normal}"):
        NormalizeWithRealReturns(Paying([1.0, 2.0]), n_normal=n_normal)


def test_a_second_set_of_environments_is_refused_and_changes_nothing() -> None:
    env = NormalizeWithRealReturns(Paying([1.0] * 4), n_normal=4)
    with pytest.raises(ValueError, match="already initialized"):
        env.set_venv(Paying([1.0] * 2))
    twin = VecNormalize(Paying([1.0] * 4))
    for one in (env, twin):
        one.reset()
        for _ in range(20):
            one.step(np.zeros(4))
    assert env.ret_rms.var == twin.ret_rms.var


def test_loaded_statistics_stay_those_of_real_returns(tmp_path: Path) -> None:
    def made(n: int) -> Any:
        batch = vector.MultiEpisodeWrapper(scripted_vector(*[(3,)] * n), 1)
        return VectorEnvAdapter(
            vector.ImaginaryRewardWrapper(batch, small_model(batch), n_mixture=1, seed=0)
        )

    for name, n_normal in (("real", 3), ("all", 4)):
        NormalizeWithRealReturns(made(4), n_normal=n_normal).save(str(tmp_path / name))
    load = NormalizeWithRealReturns.load
    with pytest.raises(ValueError, match=r"workers \[1\] earn imaginary rewards.* first 3"):
        load(str(tmp_path / "real"), made(2))
    assert load(str(tmp_path / "real"), made(6)).n_normal == 3
    assert [load(str(tmp_path / "all"), made(n)).n_normal for n in (2, 6)] == [2, 6]


@pytest.mark.parametrize("kind", ["stock", "observations only", "real returns"])
def test_the_callback_warns_of_statistics_with_imaginary_returns(kind: str) -> None:
    vec_env, callback = imagine("Pendulum-v1", num_envs=4, check_tasks=False)
    wrapped: VecNormalize = {
        "stock": lambda: VecNormalize(vec_env),
        "observations only": lambda: VecNormalize(vec_env, norm_reward=False),
        "real returns": lambda: NormalizeWithRealReturns(vec_env, n_normal=2),
    }[kind]()
    agent = SequenceRecurrentPPO(WholeSequenceLstmPolicy, wrapped, n_steps=10, batch_size=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent.learn(40, callback=callback)
    told = [str(w.message) for w in caught if "VecNormalize" in str(w.message)]
    assert len(told) == (kind == "stock")
    assert all("NormalizeWithRealReturns(venv, n_normal=2)" in text for text in told)
