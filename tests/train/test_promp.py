"""``train.promp`` as a user meets it: runs, evaluations, films, foreign environments, bad input."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fault_runs import PROMP

from train import evaluate, promp
from train.config.meta_gradient import MetaGradientSettings
from train.config.settings import RunSettings, known_settings
from train.persistence.files import read_csv


def train(path: Path, *flags: str) -> Path:
    assert promp.main([*PROMP, "--run-dir", str(path), *flags]) == 0
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    return train(path, "--total-timesteps", "1080", "--log-interval", "1")


def test_metrics_tell_before_and_after(run: Path) -> None:
    rows = read_csv(run / "metrics.csv")
    assert [row["timesteps"] for row in rows] == ["540", "1080"]
    for row in rows:
        before, after = float(row["rollout/return_before"]), float(row["rollout/return_after"])
        assert float(row["rollout/gain"]) == pytest.approx(after - before, abs=1e-9)
        assert float(row["rollout/return_episode_3"]) == after
        assert float(row["train/inner_kl"]) > 0 and float(row["train/adaptation_kl"]) > 0


def test_an_evaluation_of_the_saved_policy_is_that_of_the_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert evaluate.main([str(copy), "--video", "--tasks", "0", "--out", str(tmp_path)]) == 0
    assert "learning_curves.png" in capsys.readouterr().out
    last = [row for row in read_csv(run / "evaluations.csv") if row["timesteps"] == "1080"]
    again = read_csv(copy / "evaluation" / "tasks.csv")
    assert [row["return"] for row in last] == [row["return"] for row in again]
    assert len(again) == 45 * 3 and len(list((copy / "videos").glob("*.mp4"))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "Pendulum-v1 --max-episode-steps 6",
        "examples.own_family:make",
        "examples.own_family:make --vectorization async",
    ],
)
def test_environments_of_ones_own(source: str, tmp_path: Path) -> None:
    env = ["--env-fn", *source.split()]
    small = ["--n-tasks", "2", "--n-episodes", "4", "--total-timesteps", "400", "--device", "cpu"]
    small += ["--eval-tasks", "2", "--run-dir", str(tmp_path / "run")]
    assert promp.main([*env, *small]) == 0
    last = read_csv(tmp_path / "run" / "metrics.csv")[-1]
    assert int(last["timesteps"]) >= 400
    assert np.isfinite([float(value) for key, value in last.items() if key != "iteration"]).all()


BAD = {
    "--method ldm": "python -m train.recurrent_ppo --run-dir out --method ldm",
    "--preset a2c": "'a2c' of LDM-GridNavi-v0 is not for promp, expected one of ['default', 'pa",
    "--n-workers 4": "Unrecognized options: --n-workers",
    "--n-episodes 1": "n_episodes must be at least 2",
    "--n-tasks 0": "got 0",
    "--inner-lr -1": "got -1",
    "--inner-lr nan": "got nan",
    "--n-epochs 0": "got 0",
    "--learning-rate 0": "got 0.0",
    "--clip-range 0": "got 0.0",
    "--inner-kl-coef -1": "got -1.0",
    "--exploration-coef -1": "got -1.0",
    "--gamma 1.5": "got 1.5",
    "--gae-lambda -0.1": "got -0.1",
    "--net-arch 0": "got (0,",
    "--log-std-init inf": "got inf",
    "--log-std-init 1": "log_std_init = 1.0 needs continuous actions, got Discrete(5)",
    "--action-scale 0": "got 0.0",
    "--action-scale 3": "action_scale = 3.0 needs continuous actions, got Discrete(5)",
    "--log-interval 0": "got 0",
    "--env-id Blackjack-v1": "Blackjack-v1 declares no max_episode_steps",
    "--env-id FrozenLake-v1": "must be a Box, got Discrete(16)",
    "--env-id CartPole-v1 --method oracle-promp": "CartPole-v1 has no task_distribution",
}


@pytest.mark.parametrize("flags", BAD)
def test_bad_input_is_one_line(
    flags: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        promp.main(["--run-dir", "out", *flags.split()])
    text = capsys.readouterr().err
    assert stopped.value.code == 1 and text.startswith("error: ") and text.count("\n") == 1, text
    assert BAD[flags] in text and not list(tmp_path.iterdir())


def test_every_flag_of_its_own_is_tried() -> None:
    own = known_settings(MetaGradientSettings).keys() - known_settings(RunSettings).keys()
    tried = {word[2:].replace("-", "_") for flags in BAD for word in flags.split()[::2]}
    assert own - tried == set()
