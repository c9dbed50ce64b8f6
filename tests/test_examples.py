"""Examples run, and what they train on is true: buffer, rewards and tasks against a record."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from ldm_wrappers.sb3 import SequenceRecurrentPPO, WholeSequenceLstmPolicy, imagine
from ldm_wrappers.vector import ImaginaryRewardWrapper

EXAMPLES = Path(__file__).parents[1] / "examples"
NEEDS = {"minigrid_seeds": "minigrid", "metaworld_ml1": "metaworld"}
# name -> steps of a meta-episode of two episodes
FAMILIES = {"own_family": 40, "reacher": 100, "minigrid_seeds": 200, "metaworld_ml1": 300}


def example(name: str) -> Path:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    return EXAMPLES / f"{name}.py"


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", example(name))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example(path.stem)
    monkeypatch.setattr(sys, "argv", [path.name, "--total-timesteps", "1"])
    runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_says_what_it_needs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, NEEDS[name], None)  # as if it were not installed
    for module in [m for m in sys.modules if m.startswith(f"{NEEDS[name]}.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(SystemExit, match=f"pip install {NEEDS[name]}$"):
        runpy.run_path(str(EXAMPLES / f"{name}.py"))


class Spy(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps its own record of all that an environment is asked and answers."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.meta_episodes: list[list[dict[str, Any]]] = []

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        observation, info = self.env.reset(seed=seed, options=options)
        if not (options or {}).get("keep_task"):
            self.meta_episodes.append([])
        self.task, self.observation = info["task"], np.array(observation, np.float32).ravel()
        return observation, info

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        shown = np.array(observation, np.float32).ravel()
        self.meta_episodes[-1].append(
            {
                "observations": self.observation,
                "actions": np.array(action, np.float32).ravel(),
                "rewards": np.float32(reward),
                "next_observations": shown,
                "tasks": (self.task, info["task"]),
            }
        )
        self.observation = shown
        return observation, reward, terminated, truncated, info


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_trained_on_is_what_happened(name: str) -> None:
    make, spies = loaded(name).make, []

    def spied() -> Any:
        spies.append(Spy(make("train")))
        return spies[-1]

    n_steps = FAMILIES[name]
    vec_env, callback = imagine(spied, n_mixture=1, num_envs=3, n_updates=1)
    layer: Any = vec_env.env
    while not isinstance(layer, ImaginaryRewardWrapper):
        layer = layer.env
    paid: list[tuple[Any, Any]] = []
    step = layer.step

    def recorded(actions: Any) -> Any:
        result = step(actions)
        paid.append((result[1].copy(), result[4]["environment_reward"].copy()))
        return result

    layer.step = recorded
    agent = SequenceRecurrentPPO(
        WholeSequenceLstmPolicy, vec_env, n_steps=n_steps, batch_size=None, n_epochs=1, seed=0
    )
    agent.learn(2 * 3 * n_steps, callback=callback)

    normal = [spy for spy in spies if spy.meta_episodes][:2]
    lengths = callback.trainer.buffer.state_dict()["lengths"]
    data = callback.trainer.buffer.state_dict()["data"]
    finished = [m for spy in normal for m in spy.meta_episodes[:-1]]
    assert len(finished) == len(lengths) > 0
    for record in finished:
        rows = [
            row
            for row, length in enumerate(lengths)
            if length == len(record)
            and all(
                np.array_equal(data[key][row, :length], np.stack([one[key] for one in record]))
                for key in data
            )
        ]
        assert rows, "a finished meta-episode of a normal worker is not in the buffer bit for bit"
        tasks = {task.tobytes() for one in record for task in one["tasks"]}
        assert len(tasks) == 1
    assert len({m[0]["tasks"][0].tobytes() for spy in normal for m in spy.meta_episodes if m}) > 1
    rewards, real = (np.array(values) for values in zip(*paid, strict=True))
    np.testing.assert_array_equal(rewards[:, :2], real[:, :2])
    assert np.isfinite(rewards).all() and not np.array_equal(rewards[:, 2], real[:, 2])
