"""Commands that the scripts print can be pasted into a shell, whatever the path of the run."""

from __future__ import annotations

import importlib
import shlex
import shutil
from pathlib import Path

import pytest
from fault_runs import GRID
from tiny_runs import main

from train.common import hooks
from train.common.artifacts import load_artifacts
from train.persistence.run_folder import RunFolder

FLAGS = [*GRID, "--method", "rl2", "--total-timesteps", "600"]
Capture = pytest.CaptureFixture[str]


def run_command(text: str) -> None:
    """Run the ``python -m …`` at the end of a message, as a shell would split it."""
    python, module, script, *arguments = shlex.split(text[text.index("python -m") :])
    assert [python, module] == ["python", "-m"]
    assert importlib.import_module(script).main(arguments) == 0


def said(capsys: Capture) -> str:
    """What was printed last; the carriage returns of the progress bar do not count."""
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("my  runs") / "it's a run"
    assert main([*FLAGS, "--run-dir", str(path)]) == 0
    return path


def test_of_a_finished_run(run: Path, capsys: Capture) -> None:
    assert main(["--resume", str(run)]) == 0
    run_command(capsys.readouterr().out.strip().splitlines()[-1])
    assert (run / "evaluation" / "summary.csv").exists()


def test_of_a_path_that_begins_with_a_dash(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shutil.copytree(run, tmp_path / "-x", ignore=shutil.ignore_patterns("evaluation"))
    monkeypatch.chdir(tmp_path)
    assert main(["--resume=-x"]) == 0
    run_command(capsys.readouterr().out.strip().splitlines()[-1])
    assert (tmp_path / "-x" / "evaluation" / "summary.csv").exists()


def test_of_another_script(run: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module("train.varibad").main(["--resume", str(run), "--device", "cpu"])
    run_command(said(capsys))


def test_of_files_from_different_steps(run: Path, capsys: Capture) -> None:
    old = (run / "policy.safetensors").read_bytes()
    assert main(["--resume", str(run), "--total-timesteps", "1200"]) == 0
    (run / "policy.safetensors").write_bytes(old)  # as if it had been killed on the way
    capsys.readouterr()
    load_artifacts(RunFolder.open(run)).close()
    run_command(said(capsys))
    assert (run / "policy.safetensors").read_bytes() != old


def test_after_a_second_signal(run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hooks.MetricsLog, "__call__", interrupt)
        with pytest.raises(SystemExit) as stopped:
            main(["--resume", str(run), "--total-timesteps", "1800"])
    assert stopped.value.code == 130
    text = said(capsys)
    assert text.startswith("interrupted; continue from the last checkpoint, if any, with python")
    run_command(text)


def test_of_a_folder_in_use(run: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main([*FLAGS, "--run-dir", str(run)])
    run_command(said(capsys).partition(", or start over")[0])
