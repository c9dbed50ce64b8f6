"""Runs are resumed on the tasks that they began with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import listed_tasks
import numpy as np
import pytest
from tiny_runs import main

from ldm_wrappers.state_file import load_state, save_state
from train.common.env_source import EnvSource
from train.common.same_tasks import check_evaluated_tasks, equal_as_written
from train.common.task_text import task_texts
from train.persistence.run_folder import RunFolder

FLAGS: dict[str, str] = {
    "ldm": """--n-workers 4 --n-mixture-workers 2 --mixture.n-components 2 --n-steps 20
    --n-episodes 2 --vae-buffer-trajectories 20 --n-minibatches 1""",
    "rl2": "--n-workers 2 --n-episodes 2 --n-steps 20 --n-minibatches 1",
    "promp": "--n-tasks 2 --n-episodes 2 --net-arch 8",
    "pearl": """--n-workers 2 --initial-episodes 1 --batch-size 6 --net-arch 8 --meta-batch 2
    --updates-per-step 0.1 --replay-size 400 --context-size 8 --encoder-hidden-sizes 8""",
}
OTHER_ENV = "--eval-env-id listed_tasks:other"


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDM_TRUST_MODULES", "listed_tasks")
    EnvSource.facts.cache_clear()


def run(method: str, path: Path, *flags: str) -> Path:
    arguments = shlex.split(f"""--env-fn listed_tasks:pendulum --method {method} --device cpu
    --eval-interval 80 --checkpoint-interval 80 --total-timesteps 160 --run-dir {path}
    {FLAGS[method]}""")
    assert main([*arguments, *flags]) == 0
    return path


def change(patch: pytest.MonkeyPatch, name: str, split: str, tasks: Any) -> None:
    """Edit a list of tasks, as between two processes."""
    patch.setitem(getattr(listed_tasks, name), split, tasks)
    EnvSource.facts.cache_clear()


@pytest.mark.parametrize(
    ("method", "flags", "changed", "said"),
    [
        ("ldm", "", ("TASKS", "train", [2.0, 3.0, 4.0, 5.0]), "other train tasks than"),
        ("rl2", "", ("TASKS", "test", [1.0, 0.8999]), "2 tasks (1, 0.9); now 2 tasks (1, 0.8999)"),
        ("rl2", "", ("TASKS", "test", [1.0]), "now 1 tasks (1)"),
        ("promp", "", ("TASKS", "test", [0.9, 1.0]), "other test tasks than"),
        ("rl2", OTHER_ENV, ("OTHERS", "test", [1.1]), "other eval tasks than listed_tasks:other"),
        ("pearl", "", ("TASKS", "train", [0.5, 0.8, 1.2, 1.6]), "replay has other train tasks"),
        ("pearl", "", ("TASKS", "test", [1.0, 1.1]), "other test tasks than"),
    ],
)
def test_a_run_is_not_resumed_on_other_tasks(
    method: str,
    flags: str,
    changed: tuple[str, str, Any],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = run(method, tmp_path / "run", *shlex.split(flags))
    with monkeypatch.context() as patch:
        change(patch, *changed)
        with pytest.raises(SystemExit) as stopped:
            main(["--resume", str(path), "--total-timesteps", "400"])
    assert stopped.value.code == 1
    errors = capsys.readouterr().err.splitlines()
    assert not any("damaged" in line for line in errors)
    assert errors[-1].startswith("error: ") and said in errors[-1], errors
    assert "a run continues only on its own tasks" in errors[-1]
    EnvSource.facts.cache_clear()
    assert main(["--resume", str(path), "--total-timesteps", "400"]) == 0  # the way out


def test_a_run_without_rows_has_no_tasks_to_compare(tmp_path: Path) -> None:
    config = RunFolder.open(run("rl2", tmp_path / "run")).config
    check_evaluated_tasks(config, tmp_path / "evaluations.csv")
    (tmp_path / "evaluations.csv").write_text("")
    check_evaluated_tasks(config, tmp_path / "evaluations.csv")


def test_checkpoints_from_before_tasks_were_saved_are_resumed(tmp_path: Path) -> None:
    path = run("pearl", tmp_path / "run")
    for checkpoint in (path / "checkpoints").glob("step-*.safetensors"):
        state = load_state(checkpoint)
        del state["learner"]["tasks"]
        save_state(checkpoint, state)
    assert main(["--resume", str(path), "--total-timesteps", "400"]) == 0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 3e4])
def test_six_digits_are_enough_to_know_a_task_again(scale: float) -> None:
    rng = np.random.default_rng(0)
    tasks = (scale * rng.standard_normal((200, 2))).astype(np.float32)
    tasks[0] = 0.0
    read = np.array([[float(v) for v in text.split()] for text in task_texts(tasks)])
    assert equal_as_written(read, tasks)
    assert equal_as_written(np.nextafter(tasks, np.float32(np.inf)), tasks)
    for row in (1, 50):
        moved = read.copy()
        moved[row, 1] += 1e-3 * scale
        assert not equal_as_written(moved, tasks)
    assert not equal_as_written(read[:-1], tasks) and not equal_as_written(read[::-1], tasks)


@pytest.mark.parametrize("seed", [7, 123_456, 1_234_567])
def test_seeds_that_are_neighbours_are_other_tasks(seed: int) -> None:
    tasks = np.array([[seed], [10]], np.float32)
    read = np.array([[float(text)] for text in task_texts(tasks)])
    assert equal_as_written(read, tasks)
    assert not equal_as_written(read + 1.0, tasks)
