"""Nothing in a run folder can run code: pickles planted in every file of it."""

from __future__ import annotations

import ast
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from tiny_runs import train_tiny

import ldm_envs  # noqa: F401
from ldm_wrappers import ImaginaryRewardWrapper, LatentDynamics, MultiEpisodeWrapper, SavedBeliefs
from ldm_wrappers.state_file import StateFileError
from train import evaluate, recurrent_ppo
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def plain_pickle(marker: Path) -> bytes:
    return pickle.dumps(Payload(marker))


def torch_file(marker: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"policy": Payload(marker)}, stream)
    return stream.getvalue()


def sb3_zip(marker: Path) -> bytes:
    stream = io.BytesIO()
    PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8).save(stream)
    stream.seek(0)
    result = io.BytesIO()
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(result, "w") as new:
        for name in old.namelist():
            is_data = name == "data" or name.endswith(".pth")
            new.writestr(name, torch_file(marker) if is_data else old.read(name))
    return result.getvalue()


def numpy_objects(marker: Path) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, means=np.array([Payload(marker)], dtype=object))
    return stream.getvalue()


PAYLOADS = (plain_pickle, torch_file, sb3_zip, numpy_objects)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    return train_tiny(path, "ldm", "--checkpoint-interval", "480")


def files_of(run: Path) -> list[str]:
    return sorted(str(file.relative_to(run)) for file in run.rglob("*") if file.is_file())


def evaluate_run(run: Path) -> None:
    evaluate.main([str(run)])


def resume_run(run: Path) -> None:
    recurrent_ppo.main(["--resume", str(run)])


def wrap(run: Path) -> None:
    env = MultiEpisodeWrapper(gym.make("LDM-GridNavi-v0"), 4)
    model = LatentDynamics.load(run / "latent_dynamics.safetensors")
    wrapped = ImaginaryRewardWrapper(env, model, SavedBeliefs.load(run / "beliefs.safetensors"))
    wrapped.reset(seed=0)
    wrapped.step(1)


DOORS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    # what each way in reads, in this order
    "evaluate": (evaluate_run, ("config.json", "policy", "latent_dynamics", "evaluations.csv")),
    "resume": (
        resume_run,
        ("config.json", "metrics.csv", "evaluations.csv", "decoded_goals.csv", "checkpoints/"),
    ),
    "wrapper": (wrap, ("latent_dynamics", "beliefs")),
}


def test_the_payloads_are_live(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for number, make in enumerate(PAYLOADS):
        file = tmp_path / "file"
        file.write_bytes(make(marker))
        if number == 0:
            pickle.loads(file.read_bytes())
        elif make is torch_file:
            torch.load(file, weights_only=False)
        elif make is numpy_objects:
            np.load(file, allow_pickle=True)["means"]
        else:
            inner = zipfile.ZipFile(file).read("data")
            torch.load(io.BytesIO(inner), weights_only=False)
        assert marker.exists(), make.__name__
        marker.unlink()


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("door", DOORS)
def test_no_payload_runs(
    door: str,
    payload: Callable[[Path], bytes],
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    enter, reads = DOORS[door]
    marker = tmp_path / "marker"
    planted = payload(marker)
    names = files_of(run)
    assert {Path(name).suffix for name in names} >= {".json", ".csv", ".safetensors"}
    for target in (*reads, "everything"):
        copy = tmp_path / "run"
        shutil.copytree(run, copy)
        hit = [name for name in names if target == "everything" or name.startswith(target)]
        assert hit, target
        for name in hit:
            (copy / name).write_bytes(planted)
        with pytest.raises((SystemExit, StateFileError)) as stopped:
            enter(copy)
        assert not marker.exists(), target
        error = capsys.readouterr().err
        if stopped.type is SystemExit:
            assert stopped.value.code == 1
            lines = [line for line in error.splitlines() if not line.startswith("warning: ")]
            assert lines[-1].startswith("error: ") and len(lines) == 1, error
        else:
            error = str(stopped.value)
        assert str(copy) in error and "Traceback" not in error
        shutil.rmtree(copy)


def test_files_that_are_not_read_do_no_harm(run: Path, tmp_path: Path) -> None:
    marker, copy = tmp_path / "marker", tmp_path / "run"
    shutil.copytree(run, copy)
    for name in files_of(run):
        if not name.startswith(("latent_dynamics", "beliefs")):
            (copy / name).write_bytes(plain_pickle(marker))
    wrap(copy)
    assert not marker.exists()


def test_a_run_folder_names_no_module_to_import(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    marker, copy = tmp_path / "marker", tmp_path / "stranger"
    shutil.copytree(run, copy)
    (copy / "payload.py").write_text(f"open({str(marker)!r}, 'w')\n")
    values = json.loads((copy / "config.json").read_text())
    values["config"]["env_id"] = "stranger.payload:LDM-GridNavi-v0"
    (copy / "config.json").write_text(json.dumps(values))
    monkeypatch.syspath_prepend(str(tmp_path))
    for enter in (evaluate_run, resume_run):
        with pytest.raises(SystemExit):
            enter(copy)
        assert "LDM_TRUST_MODULES=stranger.payload" in capsys.readouterr().err
    with pytest.raises(StateFileError, match="would import"):
        RunFolder.open(copy)
    wrap(copy)  # asks no configuration
    assert not marker.exists()
    monkeypatch.setenv("LDM_TRUST_MODULES", "stranger.payload")
    assert RunFolder.open(copy).config.env_id == "stranger.payload:LDM-GridNavi-v0"


@pytest.mark.parametrize("bomb", ["[" * 100_000, '{"a":' * 100_000, "1" * 100_000, "\x00" * 9])
def test_text_bombs_are_one_line(bomb: str, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "config.json").write_text(bomb)
    with pytest.raises(StateFileError):
        RunFolder.open(copy)
    (copy / "metrics.csv").write_bytes(bomb.encode() + b"\xff")
    with pytest.raises(StateFileError):
        read_csv(copy / "metrics.csv")


FORBIDDEN = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}


def test_no_loader_of_ours_knows_pickle() -> None:
    root = Path(__file__).parents[2]
    for file in [*root.glob("train/**/*.py"), *root.glob("ldm_wrappers/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [(node.module or "").split(".")[0]]
            assert not FORBIDDEN & set(names), file
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                banned = ("torch.load", "np.load", "eval", "exec", "RecurrentPPO.load", "PPO.load")
                assert called not in banned, f"{file}:{node.lineno}: {called}"
