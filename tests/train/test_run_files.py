"""CSV files, state files, artifacts of a run and its export."""

from __future__ import annotations

import copy
import errno
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from fault_runs import assert_equal
from safetensors.numpy import load_file
from stable_baselines3.common.vec_env import VecNormalize
from tiny_runs import train_tiny

import ldm_envs  # noqa: F401
from ldm_wrappers import ImaginaryRewardWrapper, LatentDynamics, MultiEpisodeWrapper, SavedBeliefs
from ldm_wrappers.sb3 import SequenceRecurrentPPO
from ldm_wrappers.state_file import StateFileError, load_state, save_state
from train import export
from train.common.artifacts import load_artifacts
from train.common.env_source import EnvSource
from train.common.stopping import report_errors
from train.config.presets import resolve
from train.persistence import run_folder
from train.persistence.files import CsvFile, read_csv
from train.persistence.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("runs") / "run", "ldm")


@pytest.fixture(scope="module")
def normalized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    flags = ["--normalize-observation", "--normalize-reward"]
    return train_tiny(tmp_path_factory.mktemp("runs") / "run", "rl2", *flags)


def test_a_csv_file_grows_by_rows_and_columns(tmp_path: Path) -> None:
    file = CsvFile(tmp_path / "x.csv")
    file.append([{"a": 1, "b": "x, y"}])
    position = file.position()
    file.append([{"a": 2, "c": 'a "quoted" word'}, {"b": "line\nbreak"}])
    assert read_csv(file.path) == [
        {"a": "1", "b": "x, y", "c": ""},
        {"a": "2", "b": "", "c": 'a "quoted" word'},
        {"a": "", "b": "line\nbreak", "c": ""},
    ]
    again = CsvFile(file.path)
    assert again.position() == file.position()
    again.truncate(*position)
    assert file.path.read_text() == 'a,b\n1,"x, y"\n'
    again.append([{"a": 3}])
    assert read_csv(file.path)[1] == {"a": "3", "b": ""}
    again.truncate([], 0)
    assert file.path.read_text() == ""
    with pytest.raises(StateFileError, match="0 rows, but had 4 when the checkpoint"):
        again.truncate(["a"], 4)


def test_a_csv_row_cut_short_by_a_kill_is_cut_away(tmp_path: Path) -> None:
    file = CsvFile(tmp_path / "x.csv")
    file.append([{"a": 1, "b": 2}])
    position = file.position()
    with file.path.open("a") as stream:
        stream.write('3,"4')
    again = CsvFile(file.path)
    again.truncate(*position)
    again.append([{"a": 5, "b": 6}])
    assert file.path.read_text() == "a,b\n1,2\n5,6\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_row_that_has_no_room_names_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    file = CsvFile(Path("/dev/null"))
    file.path, file.columns = Path("/dev/full"), ["a"]
    with pytest.raises(SystemExit), report_errors():
        file.append([{"a": 1}])
    assert capsys.readouterr().err == "error: No space left on device: /dev/full\n"
    with pytest.raises(SystemExit), report_errors():
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert capsys.readouterr().err == "error: Connection refused\n"


STATE: dict[str, Any] = {
    "nested": {0: [1, [2.5, None]], -7: {"deep": {}}, "0": [], "": "ünïcode \x00 \n"},
    "integers": [0, -1, 2**127 + 3, -(2**64)],
    "bools": [True, False],
    "floats": [0.1, -0.0, 1e-320, float("inf"), float("-inf")],
    "arrays": {
        "empty": np.zeros((3, 0, 2), np.float32),
        "scalar": np.array(7, np.int64),
        "bool": np.array([[True], [False]]),
        "bytes": np.arange(256, dtype=np.uint8),
        "odd": np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324]),
        "half": np.array([1.5], np.float16),
        "strided": np.arange(12).reshape(3, 4)[:, ::2],
    },
    1: np.ones(2),
    "1": np.zeros(2),
}


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_state(file, STATE)
    found = load_state(file)
    assert_equal(found, {**STATE, "nested": found["nested"]})
    assert found["nested"] == STATE["nested"]
    assert [type(value) for value in found["bools"]] == [bool, bool]
    assert str(found["floats"][1]) == "-0.0"
    nan = load_state(file)["arrays"]["odd"]
    assert nan.tobytes() == STATE["arrays"]["odd"].tobytes()
    first = file.read_bytes()
    save_state(file, STATE)
    assert file.read_bytes() == first


def test_a_state_file_is_a_safetensors_file(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_state(file, {"weights": torch.arange(6.0).reshape(2, 3).t(), "flags": torch.ones(2) > 0})
    found = load_file(file)
    np.testing.assert_array_equal(found["state.weights"], [[0, 3], [1, 4], [2, 5]])
    assert found["state.flags"].dtype == bool


@pytest.mark.parametrize("leaf", [object(), {1.5: 2}, b"bytes", np.array(["a"]), 1j, {1, 2}])
def test_what_cannot_be_saved_is_named_and_leaves_nothing(leaf: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"state\.a\.1 "):
        save_state(tmp_path / "x", {"a": [0, leaf]})
    assert not list(tmp_path.iterdir())


def test_a_missing_state_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateFileError, match="No such file"):
        load_state(tmp_path / "y")


def test_a_run_serves_the_imaginary_reward_wrapper(run: Path) -> None:
    trained = LatentDynamics.load(run / "latent_dynamics.safetensors")
    assert (trained.metadata["env_id"], trained.metadata["method"]) == ("LDM-GridNavi-v0", "ldm")
    learner = load_artifacts(RunFolder.open(run))
    assert learner.latent_dynamics is not None
    for one, other in zip(trained.parameters(), learner.latent_dynamics.parameters(), strict=True):
        assert torch.equal(one, other)
    learner.vec_env.close()
    beliefs = SavedBeliefs.load(run / "beliefs.safetensors")
    assert beliefs.means(0).shape == (beliefs.n_beliefs, 32)
    config = RunFolder.open(run).config
    assert (beliefs.mixture, beliefs.imagination) == (config.mixture, config.imagination)
    env = MultiEpisodeWrapper(gym.make("LDM-GridNavi-v0"), 4)
    wrapped = ImaginaryRewardWrapper(
        env,
        trained,
        beliefs,
        mixture=beliefs.mixture,
        imagination=beliefs.imagination,
        seed=1,
    )
    wrapped.reset(seed=1)
    rewards = [wrapped.step(2)[1] for _ in range(5)]
    assert all(-0.1 <= reward <= 1.0 for reward in rewards)


BIAS = "encoder.mean.bias"
WRONG: dict[str, tuple[str, Any, str]] = {
    "name": ("latent_dynamics", lambda c: c["weights"].update(extra=0), "'extra'"),
    "missing": ("latent_dynamics", lambda c: c["weights"].pop(BIAS), f"missing .*{BIAS}"),
    "shape": (
        "latent_dynamics",
        lambda c: c["weights"].update({BIAS: np.zeros(3, np.float32)}),
        rf"{BIAS} is \(3,\) float32, expected \(32,\) float32",
    ),
    "dtype": (
        "latent_dynamics",
        lambda c: c["weights"].update({BIAS: np.zeros(32)}),
        "float64, expected",
    ),
    "value": (
        "latent_dynamics",
        lambda c: c["weights"][BIAS].fill(np.inf),
        f"{BIAS} is not finite",
    ),
    "kind": (
        "latent_dynamics",
        lambda c: c["weights"].update({BIAS: 1}),
        "expected an array",
    ),
    "beliefs": ("beliefs", lambda c: c.update(means=np.zeros((3, 5), np.float32)), r"\(3, 5"),
    "belief dtype": ("beliefs", lambda c: c.update(means=np.zeros((2, 3, 5))), "float64"),
    "belief values": ("beliefs", lambda c: c["means"].fill(np.nan), "finite"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_named(case: str, run: Path, tmp_path: Path) -> None:
    name, change, message = WRONG[case]
    state = load_state(run / f"{name}.safetensors")
    change(state["content"])
    file = tmp_path / f"{name}.safetensors"
    save_state(file, state)
    load = LatentDynamics.load if name == "latent_dynamics" else SavedBeliefs.load
    with pytest.raises(StateFileError, match=f"{file}.*{message}"):
        load(file)


@pytest.mark.parametrize("name", ["policy", "latent_dynamics"])
def test_a_file_of_another_run_is_refused(name: str, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    state = load_state(run / f"{name}.safetensors")
    for key, value in (("env_id", "CartPole-v1"), ("method", "varibad")):
        save_state(copy / f"{name}.safetensors", {**state, key: value})
        with pytest.raises(StateFileError, match=f"{name}.*belongs to {key} '{value}'"):
            load_artifacts(RunFolder.open(copy))


def test_a_method_without_a_vae_has_none(normalized: Path) -> None:
    for name, load in (("latent_dynamics", LatentDynamics.load), ("beliefs", SavedBeliefs.load)):
        with pytest.raises(StateFileError, match="No such file"):
            load(normalized / f"{name}.safetensors")


def test_statistics_that_do_not_fit_are_named(normalized: Path, tmp_path: Path) -> None:
    learner = load_artifacts(RunFolder.open(normalized))
    learner.vec_env.close()
    file = normalized / "normalization.safetensors"
    good = file.read_bytes()
    state = load_state(file)
    state["content"]["obs_rms"]["mean"] = np.zeros(3)
    save_state(file, state)
    with pytest.raises(StateFileError, match=r"obs_rms: mean is \(3,\) float64, expected"):
        load_artifacts(RunFolder.open(normalized))
    file.write_bytes(good)


def test_the_export_acts_as_the_run(
    normalized: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "policy.zip"
    assert export.main([str(normalized), str(target)]) == 0
    assert "load only your own" in capsys.readouterr().out
    learner = load_artifacts(RunFolder.open(normalized))
    exported = SequenceRecurrentPPO.load(target)
    statistics = VecNormalize.load(str(tmp_path / "policy.vecnormalize.pkl"), learner.vec_env.venv)
    observations = np.random.default_rng(0).random((4, 9)).astype(np.float32)
    assert learner.normalizer is not None
    np.testing.assert_array_equal(
        statistics.normalize_obs(observations), learner.normalizer.normalize_obs(observations)
    )
    # an evaluation with them moves no statistics, and its returns are real ones
    before = copy.deepcopy(statistics.obs_rms)
    statistics.reset()
    rewards = statistics.step(np.zeros(statistics.num_envs, int))[1]
    assert (rewards == statistics.get_original_reward()).all() and rewards.any()
    np.testing.assert_equal(vars(statistics.obs_rms), vars(before))
    for one, other in zip(
        exported.policy.parameters(), learner.algorithm.policy.parameters(), strict=True
    ):
        assert torch.equal(one, other)
    learner.vec_env.close()
    with pytest.raises(SystemExit):
        export.main([str(normalized), str(target)])
    assert f"{target} exists" in capsys.readouterr().err


def test_no_policy_is_exported_without_its_statistics(
    normalized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """It stayed behind, and the next attempt was refused because of it."""

    def full(self: VecNormalize, path: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "policy.zip"
    with monkeypatch.context() as patch:
        patch.setattr(VecNormalize, "save", full)
        with pytest.raises(SystemExit):
            export.main([str(normalized), str(target)])
    assert "error: No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert export.main([str(normalized), str(target)]) == 0


def test_an_export_into_a_folder_asks_for_a_file(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of "." it said that a PosixPath has an empty name."""
    monkeypatch.chdir(tmp_path)
    for folder in (".", str(tmp_path)):
        with pytest.raises(SystemExit):
            export.main([str(run), folder])
        assert f"{folder} is a folder; expected a file" in capsys.readouterr().err


def test_an_export_says_where_actions_are_not_the_environments(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.open(run)
    assert export.acted_by(folder) == ""
    env = gym.make("LDM-GridNavi-v0")
    env.action_space = gym.spaces.Discrete(5, start=-1)
    monkeypatch.setattr(EnvSource, "make", lambda _: env)
    assert "environment_actions(env.action_space, action)" in export.acted_by(folder)


def test_of_two_runs_that_begin_together_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one replaced the configuration of the other, which went on training."""
    begun = threading.Event()

    def commit() -> str:
        begun.set()
        time.sleep(0.3)
        return ""

    monkeypatch.setattr(run_folder, "commit", commit)
    configs = [
        resolve("LDM-GridNavi-v0", "rl2", seed=seed, run_dir=str(tmp_path / "run"))
        for seed in (0, 1)
    ]
    refused: list[str] = []

    def create(config: Any) -> None:
        try:
            RunFolder.create(config)
        except FileExistsError as error:
            refused.append(str(error))

    first = threading.Thread(target=create, args=(configs[0],))
    first.start()
    begun.wait()
    create(configs[1])
    first.join()
    assert len(refused) == 1 and "in use by another training" in refused[0]
    assert RunFolder.open(tmp_path / "run").config.seed == 0


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not a run folder"):
        RunFolder.create(resolve("LDM-GridNavi-v0", "rl2", run_dir=str(tmp_path), overwrite=True))
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


@pytest.mark.parametrize("flags", [(), ("--cut-at-time-limits",)])
def test_an_exported_feed_forward_policy_needs_stable_baselines3_only(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    run = train_tiny(tmp_path / "run", "varibad", "--lr-decay-start", "0.5", *flags)
    target = tmp_path / "policy.zip"
    assert export.main([str(run), str(target)]) == 0
    assert target.stat().st_size < 1_000_000  # weights, and not the training environment
    program = f"""
import sys
sys.modules.update(train=None, ldm_wrappers=None, ldm_envs=None)  # as if not installed
from stable_baselines3 import PPO
print(PPO.load({str(target)!r}, device="cpu").learning_rate)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == RunFolder.open(run).config.learning_rate
