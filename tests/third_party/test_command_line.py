"""Environments that nobody here wrote train, evaluate and resume on the command line.

Each needs at most two flags, or a function of five lines. Those that are not installed skip:
``pip install minigrid gymnasium-robotics highway-env 'gymnasium[box2d]' 'shimmy[dm-control]'
metaworld``. Episodes are cut to a few steps, which only makes them faster.
"""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from typing import Any

import pytest

from train import evaluate, recurrent_ppo

# what the environment needs -> (package, flags of its own)
IDS: dict[str, tuple[str, str]] = {
    "Pendulum-v1": ("gymnasium", ""),
    "CartPole-v1": ("gymnasium", ""),
    "Acrobot-v1": ("gymnasium", ""),
    "MountainCarContinuous-v0": ("gymnasium", ""),
    "Reacher-v5": ("mujoco", ""),
    "Hopper-v5": ("mujoco", ""),
    "FrozenLake-v1": ("gymnasium", "--flatten-observation"),
    "Taxi-v4": ("gymnasium", "--flatten-observation"),
    "Blackjack-v1": ("gymnasium", "--flatten-observation"),  # and a limit, which all have here
    "LunarLander-v3": ("Box2D", ""),
    "LunarLander-v3 continuous": ("Box2D", "--env-kwargs continuous=true"),
    "highway_env:highway-fast-v0": ("highway_env", ""),
    "gymnasium_robotics:PointMaze_UMaze-v3": (
        "gymnasium_robotics",
        "--observation-keys observation --flatten-observation",
    ),
    "minigrid:MiniGrid-Empty-5x5-v0": (
        "minigrid",
        "--observation-keys image direction --flatten-observation",
    ),
    "shimmy:dm_control/cartpole-swingup-v0": ("shimmy", "--flatten-observation"),
    "families:point_maze": ("gymnasium_robotics", ""),
    "families:four_rooms": ("minigrid", ""),
    "families:dm_reacher": ("shimmy", ""),
    "families:parking": ("highway_env", ""),
    "families:hopper_masses": ("mujoco", ""),
    "metaworld_ml1:make": ("metaworld", ""),
}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).parent
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.syspath_prepend(str(here.parents[1] / "examples"))
    modules = {name.split(":")[0] for name in IDS if ":" in name}
    monkeypatch.setenv("LDM_TRUST_MODULES", ",".join(sorted(modules)))


# one of each kind in every run of the tests; the others are some ten seconds each
QUICK = ("CartPole-v1", "FrozenLake-v1", "families:hopper_masses")
CASES = [
    pytest.param(name, marks=() if name in QUICK else (pytest.mark.slow, pytest.mark.timeout(600)))
    for name in IDS
]


def splits(run: Path) -> set[str]:
    with (run / "evaluations.csv").open() as file:
        return {row["split"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_trains_evaluates_and_resumes(name: str, tmp_path: Path) -> None:
    package, own = IDS[name]
    pytest.importorskip(package)
    run, env_id = tmp_path / "run", name.split()[0]
    tiny = "--n-workers 3 --n-mixture-workers 1 --n-episodes 2 --max-episode-steps 8"
    tiny += " --total-timesteps 96 --eval-tasks 2 --vae-buffer-trajectories 20 --log-interval 1"
    tiny += " --device cpu"
    flags = ["--env-id", env_id, "--method", "ldm", "--run-dir", str(run)]
    assert recurrent_ppo.main([*flags, *own.split(), *tiny.split()]) == 0
    assert recurrent_ppo.main(["--resume", str(run), "--total-timesteps", "192"]) == 0
    assert evaluate.main([str(run)]) == 0
    family = name.startswith(("families", "metaworld"))
    assert splits(run) == ({"train", "test"} if family else {"train"})


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["families:four_rooms", "metaworld_ml1:make"])
@pytest.mark.filterwarnings("ignore")
def test_oracles_train_on_the_splits_of_an_adapter(name: str, tmp_path: Path) -> None:
    pytest.importorskip(IDS[name][0])
    tiny = "--n-workers 3 --n-episodes 2 --max-episode-steps 8 --total-timesteps 48 --device cpu"
    flags = ["--env-fn", name, "--method", "oracle", "--run-dir", str(tmp_path / "run")]
    assert recurrent_ppo.main([*flags, *tiny.split()]) == 0
    assert splits(tmp_path / "run") == {"train", "test"}
    make: Any = getattr(importlib.import_module(name.split(":")[0]), name.split(":")[1])
    env = make(split="all")
    distribution = env.get_wrapper_attr("task_distribution")
    n = {split: len(tasks.tasks) for split, tasks in distribution.items()}
    assert n["all"] == n["train"] + n["test"]
    if "metaworld" in name:
        assert (n["train"], n["test"]) == (50, 50)
    env.close()
