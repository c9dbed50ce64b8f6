"""A number that is not finite stops a run at once: its name, the worker and the step."""

from __future__ import annotations

import os
import signal
from multiprocessing import Pipe, Process
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from fault_runs import last_state
from gymnasium import spaces
from tiny_runs import main

from ldm_wrappers.imagination.tasks import MixedTasks
from ldm_wrappers.latent_dynamics import BeliefTracker, LatentDynamicsTrainer
from train.common.env_source import EnvSource
from train.common.envs import base_env
from train.common.guard import FiniteCheckWrapper
from train.common.learner import chosen_device
from train.config.presets import resolve

LENGTH, WORKERS, BAD_STEP = 10, 4, 47


class FaultyEnv(gym.Env[Any, Any]):
    """Counts its steps; env ``worker`` (by order of creation) misbehaves at step 47."""

    created = 0

    def __init__(self, fault: str = "", value: float = np.nan, worker: int = 0) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.fault, self.value, self.steps = fault, value, 0
        # two trial environments come before the workers: spaces and task distribution
        self.mine = fault != "" and FaultyEnv.created == worker
        FaultyEnv.created += 1
        if fault == "dead process":
            self.pipe, other = Pipe()
            self.child = Process(target=_echo, args=(other,), daemon=True)
            self.child.start()
            other.close()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.random(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        observation, reward = self.np_random.random(2, np.float32), float(action)
        now = self.mine and self.steps == BAD_STEP
        if now and self.fault == "observation":
            observation[1] = self.value
        elif now and self.fault == "reward":
            reward = self.value
        elif now and self.fault == "error":
            raise RuntimeError("the simulator lost its mind")
        elif self.fault == "dead process":
            if now:
                assert self.child.pid is not None
                os.kill(self.child.pid, signal.SIGKILL)
                self.child.join()
            self.pipe.send(reward)
            reward = self.pipe.recv()
        return observation, reward, False, False, {}


def _echo(pipe: Any) -> None:
    while True:
        pipe.send(pipe.recv())


gym.register("Faulty-v0", FaultyEnv, max_episode_steps=LENGTH)

FLAGS = [
    "--env-id",
    "Faulty-v0",
    "--n-workers",
    str(WORKERS),
    "--n-mixture-workers",
    "1",
    "--n-steps",
]
FLAGS += [str(LENGTH), "--total-timesteps", "400", "--checkpoint-interval", "40"]
FLAGS += ["--vae-buffer-trajectories", "10", "--eval-interval", "9999", "--eval-tasks", "1"]


def stopped_run(path: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """The one line that a run ends with; its last checkpoint is safe."""
    with pytest.raises(SystemExit) as stopped:
        main([*FLAGS, "--device", "cpu", "--run-dir", str(path), *flags])
    assert stopped.value.code == 1
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if "error" in line.lower()]
    assert len(lines) == 1 and lines[0].startswith("error: ") and "Traceback" not in text
    assert not list(path.rglob(".*"))
    return lines[0]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Registers an env in which one worker misbehaves."""

    def register(fault: str, worker: int, value: float = np.nan) -> None:
        EnvSource.facts.cache_clear()  # so that each run makes an environment to ask first
        spec = gym.spec("Faulty-v0")
        before = 1 + 0 * worker  # the environment that is asked for its task distribution
        monkeypatch.setattr(FaultyEnv, "created", -before)
        kwargs = {"fault": fault, "value": value, "worker": worker}
        monkeypatch.setitem(gym.registry, "Faulty-v0", gym.envs.registration.EnvSpec(
            id="Faulty-v0", entry_point=spec.entry_point, max_episode_steps=LENGTH, kwargs=kwargs
        ))  # fmt: skip

    return register


@pytest.mark.parametrize("method", ["ldm", "rl2", "varibad"])
@pytest.mark.parametrize(
    ("fault", "worker", "value", "message"),
    [
        ("observation", 1, np.nan, "observation of worker 1 is not finite: [0."),
        ("observation", 3, -np.inf, "observation of worker 3 is not finite: [0."),
        ("reward", 0, np.inf, "reward of worker 0 is not finite: inf"),
        ("reward", 3, np.nan, "reward of worker 3 is not finite: nan"),
        ("reward", 2, 1e39, "reward of worker 2 is not finite as float32: 1e+39"),
    ],
)
def test_bad_values_of_an_environment(
    method: str,
    fault: str,
    worker: int,
    value: float,
    message: str,
    faulty: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    faulty(fault, worker, value)
    error = stopped_run(tmp_path / "run", capsys, "--method", method)
    assert message in error
    assert error.startswith(f"error: iteration 5, step {BAD_STEP} of each worker: ")
    assert "the last checkpoint is" in error and "step-000000000160" in error
    assert last_state(tmp_path / "run")["learner"]["algorithm"]["num_timesteps"] == 160


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("error", "the environments failed at step: RuntimeError: the simulator lost its mind"),
        ("dead process", "the environments failed at step: "),
    ],
)
def test_an_environment_that_fails(
    fault: str, message: str, faulty: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty(fault, 2)
    assert message in stopped_run(tmp_path / "run", capsys, "--method", "ldm")
    assert last_state(tmp_path / "run")["learner"]["algorithm"]["num_timesteps"] == 160


def test_a_worker_process_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Closing the batch raised an error of its own in place of this one."""
    step = FiniteCheckWrapper.step

    def kill(self: FiniteCheckWrapper, actions: Any) -> Any:
        if self.steps == BAD_STEP - 1:
            victim = self.env.processes[1]  # type: ignore[attr-defined]
            os.kill(victim.pid, signal.SIGKILL)
        return step(self, actions)

    monkeypatch.setattr(FiniteCheckWrapper, "step", kill)
    error = stopped_run(tmp_path / "run", capsys, "--method", "rl2", "--vectorization", "async")
    assert "the environments failed at step: " in error
    assert "one of their processes has ended" in error
    assert last_state(tmp_path / "run")["learner"]["algorithm"]["num_timesteps"] == 160


@pytest.mark.parametrize("dead", [False, True])
def test_closing_processes_waits_for_no_lost_answer(dead: bool) -> None:
    """A second Ctrl-C amid a step leaves some answers read and others not."""
    config = resolve("Faulty-v0", "rl2", vectorization="async")
    env: Any = base_env(config, 3, "train")
    env.reset(seed=0)
    if dead:
        os.kill(env.processes[1].pid, signal.SIGKILL)
        env.processes[1].join()
    else:
        env.step_async(np.zeros(3, np.int64))
        env.parent_pipes[0].recv()
    env.close()
    assert not any(process.is_alive() for process in env.processes)


def test_a_bad_imaginary_reward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    latents, calls = MixedTasks.latents, iter(range(10_000))

    def bad(self: MixedTasks, means: torch.Tensor) -> torch.Tensor:
        return latents(self, means) * (np.nan if next(calls) == BAD_STEP - 1 else 1.0)

    monkeypatch.setattr(MixedTasks, "latents", bad)
    error = stopped_run(tmp_path / "run", capsys, "--method", "ldm")
    assert f"iteration 5, step {BAD_STEP} of each worker: " in error and "imaginary reward" in error


def test_a_bad_belief(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    update, calls = BeliefTracker.update, iter(range(10_000))

    def bad(self: BeliefTracker, *arguments: Any) -> None:
        update(self, *arguments)
        if next(calls) == BAD_STEP - 1:
            self._filter.hidden[2, 0] = np.nan

    monkeypatch.setattr(BeliefTracker, "update", bad)
    error = stopped_run(tmp_path / "run", capsys, "--method", "varibad")
    assert "policy observation of worker 2 is not finite" in error
    assert f"iteration 5, step {BAD_STEP} of each worker: " in error


def test_a_bad_loss_of_the_vae(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = LatentDynamicsTrainer._step

    def bad(self: LatentDynamicsTrainer) -> torch.Tensor:
        if self.n_updates == 6:
            next(self.model.parameters()).data[0] = np.inf
        return step(self)

    monkeypatch.setattr(LatentDynamicsTrainer, "_step", bad)
    error = stopped_run(tmp_path / "run", capsys, "--method", "ldm", "--vae-updates", "2")
    assert "iteration 4, step 40 of each worker: latent dynamics update 6: loss " in error
    assert "gradient norm nan" in error


@pytest.mark.parametrize("method", ["rl2", "varibad"])
def test_a_bad_gradient_of_the_policy(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, calls = torch.nn.utils.clip_grad_norm_, iter(range(10_000))

    def bad(parameters: Any, *arguments: Any, **kwargs: Any) -> Any:
        parameters = list(parameters)
        if next(calls) == 26:  # in the third of eight epochs of the fourth iteration
            [p for p in parameters if p.grad is not None][-1].grad[0] = np.nan
        return clip(parameters, *arguments, **kwargs)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", bad)
    error = stopped_run(tmp_path / "run", capsys, "--method", method)
    assert "of the policy are not finite after this update" in error
    assert error.startswith("error: iteration 4, step 40 of each worker: ")
    assert last_state(tmp_path / "run")["learner"]["algorithm"]["num_timesteps"] == 120


def test_a_gpu_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    error = stopped_run(tmp_path / "run", capsys, "--method", "rl2", "--device", "cuda")
    assert error.startswith("error: device 'cuda' cannot be used: ")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="device 'gpu0' cannot be used"):
        chosen_device("gpu0")


def test_a_gpu_that_vanishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(self: LatentDynamicsTrainer, n: int) -> dict[str, float]:
        raise RuntimeError("CUDA error: unspecified launch failure\nCompile with …")

    monkeypatch.setattr(LatentDynamicsTrainer, "update", gone)
    error = stopped_run(tmp_path / "run", capsys, "--method", "ldm")
    assert error == "error: the GPU failed: CUDA error: unspecified launch failure"


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    error = stopped_run(tmp_path / "file" / "run", capsys, "--method", "rl2")
    assert error == f"error: Not a directory: {tmp_path / 'file' / 'run'}"
