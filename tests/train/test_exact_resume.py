"""The same seed gives the same run; an interrupted run ends as an uninterrupted one."""

from __future__ import annotations

import itertools
import os
import random
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from fault_runs import ANT, ARTIFACTS, GRID, PROMP, assert_same_run, last_state
from tiny_runs import main, train_tiny

from ldm_envs import mujoco_batch
from ldm_wrappers.imagination.tasks import MixedTasks
from ldm_wrappers.state_file import StateFileError, load_state, save_state
from train.common import callbacks, hooks
from train.common.artifacts import load_artifacts
from train.common.notices import warn_of_unsaved_environments
from train.common.random_state import random_state, restore_random_state
from train.persistence import checkpoint
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder

NORMALIZED = ["--normalize-observation", "--normalize-reward"]
POSSIBLE_TASKS = shlex.split("""
--imagination plausible-tasks --imagination.threshold 0.9 --imagination.n-candidates 4
--imagination.n-remembered-transitions 100
""")
CASES: dict[str, tuple[list[str], int]] = {
    "ldm": ([*GRID, "--method", "ldm", *POSSIBLE_TASKS], 1800),
    "rl2": (
        [*GRID, "--method", "rl2", "--lr-decay-start", "0.5", "--policy-ema-decay", "0.7"],
        1800,
    ),
    "varibad": ([*GRID, "--method", "varibad"], 1800),
    "ldm-varibad": ([*GRID, "--method", "ldm-varibad"], 1800),
    "known-task": ([*GRID, "--method", "known-task"], 1800),
    "mixreg": ([*GRID, "--method", "mixreg"], 1800),
    "promp": (PROMP, 1620),
    "varibad, normalised": ([*ANT, "--method", "varibad", *NORMALIZED], 900),
    "ldm, normalised, serial": ([*ANT, "--method", "ldm", *NORMALIZED], 900),
}


class Killed(BaseException):
    """Ends a training without any of its cleaning up being asked."""


def train(path: Path, flags: list[str], steps: int) -> Path:
    assert main([*flags, "--total-timesteps", str(steps), "--run-dir", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def whole_ldm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An LDM run of three iterations with checkpoints after each, never interrupted."""
    return train(tmp_path_factory.mktemp("whole") / "run", [*GRID, "--method", "ldm"], 1800)


def kill_at(monkeypatch: pytest.MonkeyPatch, iteration: int) -> None:
    """Die between two updates, after the checkpoint of an earlier iteration."""
    evaluate = hooks.PeriodicEvaluation.__call__

    def die(self: Any, now: int) -> None:
        if now == iteration:
            raise Killed
        evaluate(self, now)

    monkeypatch.setattr(hooks.PeriodicEvaluation, "__call__", die)


def signal_at(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> None:
    """Receive a signal in the middle of a rollout, at a step of each worker."""
    collect = callbacks.MetaEpisodeStatistics._on_step
    steps = iter(range(10_000))

    def stop(self: Any) -> bool:
        if next(steps) == step:
            os.kill(os.getpid(), number)
        return collect(self)

    monkeypatch.setattr(callbacks.MetaEpisodeStatistics, "_on_step", stop)


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_run_ends_as_a_whole_one(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags, steps = CASES[case]
    if "serial" in case:
        monkeypatch.setattr(mujoco_batch, "mjbatch_available", lambda: False)
    whole = train(tmp_path / "whole", flags, steps)
    broken = tmp_path / "broken"
    with monkeypatch.context() as patch:
        kill_at(patch, 2)
        with pytest.raises(Killed):
            train(broken, flags, steps)
    assert not (broken / "policy.safetensors").exists()
    assert main(["--resume", str(broken)]) == 0
    assert_same_run(broken, whole)
    if case == "rl2":
        assert main(["--resume", str(broken)]) == 0  # of a finished run: nothing changes
        assert_same_run(broken, whole)


def test_one_seed_is_one_run_and_another_is_another(whole_ldm: Path, tmp_path: Path) -> None:
    flags, one = [*GRID, "--method", "ldm"], whole_ldm
    same = train(tmp_path / "same", flags, 1800)
    other = train(tmp_path / "other", [*flags, "--seed", "7"], 1800)
    assert_same_run(same, one)
    for name in ("metrics.csv", "evaluations.csv"):
        assert (other / name).read_text() != (one / name).read_text()
    for name in ARTIFACTS[:3]:
        file = f"{name}.safetensors"
        assert (other / file).read_bytes() != (one / file).read_bytes()


def test_how_often_checkpoints_are_written_changes_nothing(whole_ldm: Path, tmp_path: Path) -> None:
    flags, often = [*GRID, "--method", "ldm"], whole_ldm
    never = train(tmp_path / "never", [*flags, "--checkpoint-interval", "99999999"], 1800)
    assert_same_run(never, often)
    assert len(list((often / "checkpoints").glob("*.safetensors"))) == checkpoint.KEPT
    assert len(list((never / "checkpoints").glob("*.safetensors"))) == 1  # the one at the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_writes_a_checkpoint_and_says_how_to_go_on(
    number: int,
    whole_ldm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = [*GRID, "--method", "ldm", "--checkpoint-interval", "99999999"]
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        signal_at(patch, 130, number)  # amid the second rollout
        before = signal.getsignal(number)
        with pytest.raises(SystemExit) as stopped:
            train(run, flags, 1800)
        assert signal.getsignal(number) is before
    assert stopped.value.code == 130
    last = capsys.readouterr().err.strip().splitlines()[-1]
    said = f"stopped by {signal.Signals(number).name}: continue with "
    assert last == f"{said}python -m train.recurrent_ppo --resume {run}"
    assert last_state(run)["learner"]["algorithm"]["num_timesteps"] == 1200
    assert main(["--resume", str(run)]) == 0
    assert_same_run(run, whole_ldm)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_run_that_has_made_its_last_iteration_lets_it_end(
    number: int, whole_ldm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last checkpoint was not written, nor any line: all since the one before was lost."""
    save = checkpoint.save_state

    def interrupted(path: Path, state: Any) -> None:
        os.kill(os.getpid(), number)
        save(path, state)

    monkeypatch.setattr(checkpoint, "save_state", interrupted)
    flags = [*GRID, "--method", "ldm", "--checkpoint-interval", "99999999"]
    assert_same_run(train(tmp_path / "run", flags, 1800), whole_ldm)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_last_iteration_lets_the_run_end(
    number: int, whole_ldm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was reported as stopped, and lacked only its policy and model."""
    signal_at(monkeypatch, 250, number)  # amid the third rollout
    flags = [*GRID, "--method", "ldm", "--checkpoint-interval", "99999999"]
    assert_same_run(train(tmp_path / "run", flags, 1800), whole_ldm)


def test_iterations_longer_than_what_was_asked_for_are_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path / "run", [*GRID, "--method", "rl2", "--eval-interval", "200"], 500)
    said = " ".join(capsys.readouterr().err.split())
    steps = RunFolder.open(run).config.n_steps * RunFolder.open(run).config.n_workers
    assert steps == 600
    for name, asked in (("total_timesteps", 500), ("eval_interval", 200)):
        assert f"the first iteration had 600 steps, more than {name} = {asked}" in said
    train(tmp_path / "other", [*GRID, "--method", "rl2", "--eval-interval", "600"], 600)
    assert "iteration had" not in capsys.readouterr().err


def test_a_finished_run_can_go_further(tmp_path: Path) -> None:
    flags = [*GRID, "--method", "ldm", "--eval-interval", "900"]
    whole = train(tmp_path / "whole", flags, 1800)
    run = train(tmp_path / "run", flags, 1200)
    assert main(["--resume", str(run), "--total-timesteps", "1800"]) == 0
    assert_same_run(run, whole)
    assert RunFolder.open(run).config.total_timesteps == 1800


def test_a_finished_run_moves_to_another_device_and_writes_its_files_again(tmp_path: Path) -> None:
    flags = [*GRID, "--method", "rl2", "--device", "auto"]
    run = train(tmp_path / "run", flags, 1000)  # trains 1,200: whole rollouts
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "policy.safetensors").unlink()
    assert RunFolder.open(run).config.device == "auto"
    assert main(["--resume", str(copy), "--device", "cpu"]) == 0
    assert (copy / "policy.safetensors").read_bytes() == (run / "policy.safetensors").read_bytes()
    assert main(["--resume", str(copy), "--device", "cpu", "--total-timesteps", "1000"]) == 0


def test_a_longer_run_says_what_becomes_of_its_learning_rate_and_of_old_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*GRID, "--method", "rl2", "--lr-decay-start", "0.5", "--log-interval", "1"]
    run = train(tmp_path / "run", flags, 1200)
    assert capsys.readouterr().err.count("warning") == 1  # of the flags of another method
    load_artifacts(RunFolder.open(run)).vec_env.close()
    old = (run / "policy.safetensors").read_bytes()
    assert capsys.readouterr().err.count("warning") == 0
    assert main(["--resume", str(run), "--total-timesteps", "1800"]) == 0
    message = "decays from 50% of 1,800 steps on, instead of 1,200"
    assert message in capsys.readouterr().err
    (run / "policy.safetensors").write_bytes(old)  # as if it had been stopped on the way
    load_artifacts(RunFolder.open(run)).vec_env.close()
    said = capsys.readouterr().err
    assert "policy.safetensors was written after 1,200 steps, but the run has reached 1,800" in said
    assert said.count("warning") == 1


def test_files_of_two_moments_are_not_put_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A longer run that is killed while it saves leaves new weights beside an old replay."""
    run = train(tmp_path / "run", [*GRID, "--method", "ldm"], 1200)
    old = (run / "latent_dynamics.safetensors").read_bytes()
    assert main(["--resume", str(run), "--total-timesteps", "1800"]) == 0
    (run / "latent_dynamics.safetensors").write_bytes(old)
    with pytest.raises(StateFileError, match=r"after 1,200 steps, .*policy.* 1,800: .*--resume"):
        load_artifacts(RunFolder.open(run))
    assert main(["--resume", str(run)]) == 0
    load_artifacts(RunFolder.open(run)).close()
    assert "written after" not in capsys.readouterr().err


def test_a_run_without_a_checkpoint_begins_at_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [*GRID, "--method", "ldm", "--checkpoint-interval", "1000"]
    whole = train(tmp_path / "whole", flags, 1200)
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        kill_at(patch, 2)
        with pytest.raises(Killed):
            train(run, flags, 1200)
    assert read_csv(run / "metrics.csv") and not (run / "checkpoints").exists()
    assert main(["--resume", str(run)]) == 0
    assert_same_run(run, whole)


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_that_has_lost_its_checkpoints_is_not_begun_again(
    finished: bool, whole_ldm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training it again from the start would first have deleted what it had logged."""
    copy = tmp_path / "copy"
    shutil.copytree(whole_ldm, copy)
    shutil.rmtree(copy / "checkpoints")
    if not finished:
        for file in copy.glob("*.safetensors"):
            file.unlink()
    before = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
    for more in ([], ["--total-timesteps", "2400"]):
        with pytest.raises(SystemExit) as stopped:
            main(["--resume", str(copy), *more])
        assert stopped.value.code == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: {copy} cannot be continued, since {copy / 'checkpoints'}")
        assert "it has logged 1,800 steps" in said and "--overwrite" in said
    assert {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()} == before
    flags = [*GRID, "--method", "ldm", "--overwrite"]
    assert_same_run(train(copy, flags, 1800), whole_ldm)  # the way out


def test_environments_without_saved_state_begin_anew_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    flags = ["--env-id", "CartPole-v1", "--n-steps", "500", "--checkpoint-interval", "2000"]
    flags += ["--eval-tasks", "1"]
    with monkeypatch.context() as patch:
        kill_at(patch, 2)
        with pytest.raises(Killed):
            train_tiny(run, "ldm", *flags, "--total-timesteps", "6000", env_id="CartPole-v1")
    assert main(["--resume", str(run)]) == 0
    said = capsys.readouterr().err
    assert "CartPole-v1 cannot save its state (no get_state of its vector environment)" in said
    assert main(["--resume", str(run)]) == 0
    assert "cannot save" not in capsys.readouterr().err  # nothing follows
    config = RunFolder.open(run).config  # learners with seeded resets save no environment
    for timesteps, warned in ((5999, True), (6000, False)):
        warn_of_unsaved_environments(config, timesteps)
        assert ("contain no state of CartPole-v1" in capsys.readouterr().err) is warned
    timesteps = [int(row["timesteps"]) for row in read_csv(run / "metrics.csv")]
    assert timesteps == [2000, 4000, 6000]


class Drawing(gym.Env[Any, Any]):
    """Draws a task at every reset that does not keep it, writes it down, and saves no state."""

    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)
    drawn: ClassVar[list[float]] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if not (options or {}).get("keep_task"):
            self.drawn.append(float(self.np_random.random()))
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(2, np.float32), 0.0, False, False, {}


@pytest.mark.parametrize(("method", "sittings"), [("rl2", 2), ("ldm", 3)])
def test_no_sitting_draws_the_tasks_of_an_earlier_one(
    method: str, sittings: int, tmp_path: Path
) -> None:
    """R1: and the same sittings of the same seed draw the same ones."""
    if "Drawing-v0" not in gym.registry:
        gym.register("Drawing-v0", Drawing, max_episode_steps=5)
    runs = []
    for name in ("one", "other"):
        of_run: list[list[float]] = []
        for sitting in range(sittings):
            Drawing.drawn.clear()
            flags = ["--total-timesteps", str(40 * (sitting + 1))]
            if sitting:
                assert main(["--resume", str(tmp_path / name), *flags]) == 0
            else:
                flags += ["--n-steps", "5", "--eval-interval", "9999999", "--eval-tasks", "1"]
                train_tiny(tmp_path / name, method, *flags, env_id="Drawing-v0")
            of_run.append(list(Drawing.drawn))
        runs.append(of_run)
    assert runs[0] == runs[1]
    evaluation = set.intersection(*map(set, runs[0]))  # starts from its own seed every time
    training = [task for sitting in runs[0] for task in set(sitting) - evaluation]
    assert len(training) == len(set(training)) >= 8 * sittings


def test_no_sitting_mixes_with_the_weights_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where environments cannot be saved, their imaginary tasks began alike in every sitting."""
    if "Drawing-v0" not in gym.registry:
        gym.register("Drawing-v0", Drawing, max_episode_steps=5)
    drawn: list[Any] = []
    begin = MixedTasks.begin

    def watch(self: Any, tasks: Any = None) -> None:
        begin(self, tasks)
        drawn.append(self.weights.clone())

    monkeypatch.setattr(MixedTasks, "begin", watch)
    firsts = []
    for sitting in range(3):
        drawn.clear()
        flags = ["--total-timesteps", str(40 * (sitting + 1))]
        if sitting:
            assert main(["--resume", str(tmp_path / "run"), *flags]) == 0
        else:
            flags += ["--n-steps", "5", "--eval-interval", "9999999", "--eval-tasks", "1"]
            train_tiny(tmp_path / "run", "ldm", *flags, env_id="Drawing-v0")
        firsts.append(drawn[-1])
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(firsts, 2))


def test_all_global_generators_go_on_where_they_were(tmp_path: Path) -> None:
    """Those of Python and NumPy too, which environments may draw from."""

    def drawn() -> list[float]:
        return [
            random.random(),
            random.gauss(0.0, 1.0),
            *np.random.normal(size=3),
            *torch.rand(2).tolist(),
        ]

    drawn()  # those of Python and NumPy keep the second one of two normal numbers
    save_state(tmp_path / "state", random_state(torch.device("cpu")))
    expected = drawn()
    restore_random_state(load_state(tmp_path / "state"), torch.device("cpu"))
    assert drawn() == expected


def test_versions_that_differ_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path / "run", [*GRID, "--method", "rl2"], 600)
    monkeypatch.setattr(checkpoint, "versions", lambda: {"torch": "9.9"})
    assert main(["--resume", str(run)]) == 0
    error = capsys.readouterr().err
    assert "was made with" in error and "(now 9.9)" in error
