"""Whole runs of the off-policy scripts, through the command line as a user would."""

from __future__ import annotations

import dataclasses
import importlib
import os
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fault_runs import assert_same_run
from line_env import Line
from stable_baselines3.common.logger import Logger
from toy_runs import settings

from ldm_wrappers.state_file import load_state, save_state
from train import evaluate
from train.common import hooks
from train.common.artifacts import load_artifacts
from train.common.evaluation import Evaluator
from train.config.methods import get_method
from train.config.presets import resolve
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder

METHODS = ("pearl", "mql", "mier")
SIZES: dict[str, str] = {
    "pearl": """--meta-batch 3 --context-size 8 --encoder-hidden-sizes 8 --prior-episodes 1
    --posterior-episodes 1""",
    "mql": """--n-episodes 3 --history-length 3 --context-dim 4 --snapshot-updates 1
    --replay-updates 2 --adapt-batch-size 8""",
    "mier": """--meta-batch 3 --prior-episodes 1 --adapted-episodes 1 --model-hidden-sizes 8
    --relabel-updates 2 --relabel-batch-size 6 --test-model-updates 2""",
}
FLAGS = """--env-fn line_env:line --n-workers 2 --initial-episodes 2 --batch-size 6 --net-arch 8
--updates-per-step 0.1 --replay-size 200 --device cpu --eval-interval 80 --checkpoint-interval 40"""


def run(method: str, path: Path, *flags: str) -> Path:
    arguments = [*shlex.split(FLAGS), *shlex.split(SIZES[method]), "--run-dir", str(path)]
    script = importlib.import_module(get_method(method).script)
    assert script.main([*arguments, "--total-timesteps", "200", "--method", method, *flags]) == 0
    return path


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDM_TRUST_MODULES", "line_env")


class Killed(BaseException):
    """Ends a training without any of its cleaning up being asked."""


def resume(method: str, path: Path, *flags: str) -> None:
    script = importlib.import_module(get_method(method).script)
    assert script.main(["--resume", str(path), *flags]) == 0


def run_until_killed(method: str, path: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    """A run that dies in its fourth iteration, without a checkpoint of it."""
    evaluation = hooks.PeriodicEvaluation.__call__

    def die(self: Any, now: int) -> None:
        if now == 4:
            raise Killed
        evaluation(self, now)

    with monkeypatch.context() as patch:
        patch.setattr(hooks.PeriodicEvaluation, "__call__", die)
        with pytest.raises(Killed):
            run(method, path, *flags)


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_run_ends_as_a_whole_one(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = run(method, tmp_path / "whole"), tmp_path / "broken"
    run_until_killed(method, broken, monkeypatch)
    resume(method, broken)
    assert_same_run(broken, whole)
    other = run(method, tmp_path / "other", "--seed", "1")
    assert (other / "metrics.csv").read_text() != (whole / "metrics.csv").read_text()


@pytest.mark.parametrize("method", METHODS)
def test_environments_that_draw_from_global_generators_repeat_and_resume_exactly(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--env-fn", "line_env:jittery")
    np.random.seed(1)
    whole, broken = run(method, tmp_path / "whole", *flags), tmp_path / "broken"
    np.random.seed(2)
    run_until_killed(method, broken, monkeypatch, *flags)
    resume(method, broken)
    assert_same_run(broken, whole)


@pytest.mark.parametrize("method", (*METHODS, "promp"))
def test_a_resumed_run_says_that_foreign_environments_may_keep_more_than_a_reset_restores(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    script = importlib.import_module(get_method(method).script)
    for env_id, warned in (("line_env:line", True), ("LDM-HalfCheetahVel-v0", False)):
        config = resolve(env_id, method, device="cpu", net_arch=(8,), num_threads=1)
        learner = script.build(config)
        learner.load_state_dict(_as_loaded(learner.state_dict()))
        learner.close()
        said = capsys.readouterr().err
        assert (f"{env_id}, since every iteration begins with a seeded reset" in said) == warned


def _as_loaded(value: Any) -> Any:
    """A nested state with arrays for tensors, as a file gives it back."""
    if isinstance(value, dict):
        return {key: _as_loaded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_loaded(one) for one in value]
    return value.cpu().numpy() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("method", METHODS)
def test_a_finished_run_is_evaluated_from_its_files(method: str, tmp_path: Path) -> None:
    path = run(method, tmp_path / "run")
    rows = read_csv(path / "evaluations.csv")
    last = [row for row in rows if row["timesteps"] == rows[-1]["timesteps"]]
    learner = load_artifacts(RunFolder.open(path))
    found = {r.split: r.returns for r in Evaluator(learner).evaluate(learner.actor())}
    learner.close()
    returns = np.concatenate([found[split].ravel() for split in ("train", "eval")])
    assert [repr(float(value)) for value in returns] == [row["return"] for row in last]
    assert evaluate.main([str(path)]) in (0, None)
    assert list(path.glob("**/*.png"))


@pytest.mark.parametrize("method", METHODS)
def test_episodes_of_the_other_evaluated_environment_may_be_longer(
    method: str, tmp_path: Path
) -> None:
    path = run(method, tmp_path / "run", "--eval-env-id", "line_env:longer")
    splits = [row["split"] for row in read_csv(path / "evaluations.csv")]
    assert "test" in splits and (path / "policy.safetensors").exists()


@pytest.mark.parametrize(
    ("method", "adapting", "changes"),
    [
        ("pearl", "posterior", {}),
        ("mql", "adapt", {"replay_updates": 1, "snapshot_updates": 1}),
        ("mier", "identify", {}),
        ("mier", "relabel", {"relabel_updates": 1, "test_model_updates": 0}),
    ],
)
def test_each_task_is_adapted_to_once_however_early_its_episodes_end(
    method: str, adapting: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = importlib.import_module(get_method(method).script)
    learner, calls = script.build(settings(method, "line_env:brief", **changes)), []
    for _ in range(learner.n_initial_iterations):
        learner.visit(learner._next_tasks(True), True)
    adapt = getattr(learner, adapting)
    monkeypatch.setattr(learner, adapting, lambda *a, **k: (calls.append(a), adapt(*a, **k))[1])
    evaluator = Evaluator(learner)
    evaluator.evaluate(learner.actor())
    evaluator.close()
    learner.close()
    assert len(calls) == 3  # tasks: two of train and one of eval


@pytest.mark.parametrize("method", METHODS)
def test_evaluation_comes_before_training_repeats_and_changes_nothing(method: str) -> None:
    script = importlib.import_module(get_method(method).script)
    changes = {"replay_updates": 10} if method == "mql" else {}
    learner = script.build(settings(method, **changes))
    for _ in range(learner.n_initial_iterations):
        learner.visit(learner._next_tasks(True), True)
    before = [value.clone() for net in learner.networks.values() for value in net.parameters()]
    state = learner.generator.get_state()
    evaluator = Evaluator(learner)
    first, second = (evaluator.evaluate(learner.actor()) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.returns, other.returns)
    after = [value for net in learner.networks.values() for value in net.parameters()]
    assert all(bool((a == b).all()) for a, b in zip(after, before, strict=True))
    assert bool((learner.generator.get_state() == state).all())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--env-id LDM-GridNavi-v0", "continuous actions with finite bounds, got Discrete(5)"),
        ("--env-id Pendulum-v1", "has no task_distribution"),
        ("--replay-size 3", "replay_size = 3 keeps 0 episodes"),
        ("--n-episodes 1", "n_episodes must be at least 2"),
        ("--updates-per-step 0", "updates_per_step must be positive"),
        ("--gamma 1.5", "gamma must lie in [0, 1], got 1.5"),
        ("--net-arch 0", "net_arch must hold widths of at least 1, got (0,"),
        ("--n-mixture-workers 3", "--n-mixture-workers"),
        ("--method ldm", "python -m train.recurrent_ppo"),
    ],
)
def test_bad_input_is_refused_in_a_line(
    flags: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = importlib.import_module("train.pearl")
    base = shlex.split(FLAGS.replace("--net-arch 8", "") if "--net-arch" in flags else FLAGS)
    if "--env-id" in flags:
        base = base[2:]
    with pytest.raises(SystemExit) as stopped:
        script.main([*base, "--run-dir", str(tmp_path / "run"), *shlex.split(flags)])
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error, error
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("method", "first", "later"),
    [
        ("pearl", "prior", "posterior"),
        ("mier", "prior", "adapted"),
        ("mql", "random", "training"),
    ],
)
def test_logged_returns_are_those_of_the_episodes_since_the_last_row(
    method: str, first: str, later: str
) -> None:
    learner = importlib.import_module(get_method(method).script).build(settings(method))
    stored: dict[str, list[float]] = {"replay": [], "context": []}

    def new(name: str) -> list[float]:
        episodes = [e for k in range(2) for e in learner.replays()[name].episodes(k)]
        found = [float(e.rewards.sum()) for e in episodes]
        added = sorted((Counter(found) - Counter(stored[name])).elements())
        stored[name] = found
        return added

    def logged() -> dict[str, float]:
        seen = Logger(None, [])
        learner.set_logger(seen)
        learner.log_statistics()
        return {name.rpartition("_")[2]: value for name, value in seen.name_to_value.items()}

    learner.visit(learner._next_tasks(True), True)
    assert logged() == {first: pytest.approx(np.mean(new("replay")), rel=1e-5)}
    given_prior = new("context") if "context" in learner.replays() else []
    learner.visit(learner._next_tasks(False), False)
    given_prior = new("context") if given_prior else []
    others = list((Counter(new("replay")) - Counter(given_prior)).elements())
    expected = {first: given_prior, later: others} if given_prior else {later: others}
    assert logged() == {k: pytest.approx(np.mean(v), rel=1e-5) for k, v in expected.items()}
    learner.close()


def test_test_tasks_never_enter_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentinel: the held-out goal would be seen in ``_begin_episode`` of a training step."""
    played: set[float] = set()
    reset = Line.reset

    def watch(self: Line, **arguments: Any) -> Any:
        result = reset(self, **arguments)
        played.add(float(self._current_task()[0]))
        return result

    monkeypatch.setattr(Line, "reset", watch)
    for method in METHODS:
        script = importlib.import_module(get_method(method).script)
        learner = script.build(settings(method, updates_per_step=0.01))
        learner.learn(1000, lambda _: None)
    assert played == {-1.0, 1.0}


@pytest.mark.parametrize(("env_id", "short"), [("line_env:brief", True), ("line_env:line", False)])
def test_a_replay_that_short_episodes_fill_is_noticed_once(
    env_id: str, short: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"n_workers": 2, "initial_episodes": 5, "replay_size": 200, "updates_per_step": 0.01}
    config = dataclasses.replace(settings("pearl", **changes), env_id=env_id)
    learner = importlib.import_module("train.pearl").build(config)
    learner.learn(600, lambda _: None)
    learner.close()
    kept = "with 10 transitions of task 0, although replay_size = 200 has room for 100: it keeps 10"
    assert capsys.readouterr().err.count(kept) == int(short)


def test_a_run_without_a_gradient_step_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run("pearl", tmp_path / "short", "--total-timesteps", "20")
    assert "iteration,timesteps" in (path / "metrics.csv").read_text()
    said = capsys.readouterr().err
    assert "warning: no gradient step was made" in said and "(up to 40 steps)" in said
    _, found, command = said.partition("train for longer with ")
    assert found
    trust, python, flag, script, *arguments = shlex.split(command.splitlines()[0])
    assert [trust, python, flag] == ["LDM_TRUST_MODULES=line_env", "python", "-m"]
    assert importlib.import_module(script).main(arguments) == 0
    assert "gradient step" not in capsys.readouterr().err
    assert float(read_csv(path / "metrics.csv")[-1]["train/n_updates"]) >= 1
    run("pearl", tmp_path / "never", "--updates-per-step", "1e-30")
    assert "no total is large enough" in capsys.readouterr().err


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_of_another_kind_of_device_goes_on_with_new_generators(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = importlib.import_module(get_method(method).script)
    config = settings(method, updates_per_step=0.1)
    learner, other = script.build(config), script.build(config)
    save_state(tmp_path / "state.safetensors", learner.state_dict())
    state = load_state(tmp_path / "state.safetensors")
    state["generator"] = np.zeros(16, np.uint8)  # the size of a CUDA generator's
    own = other.generator.get_state().clone()
    assert other.load_state_dict(state)
    assert bool((other.generator.get_state() == own).all())
    assert "another type of device" in capsys.readouterr().err
    learner.close()
    other.close()
