"""The command line around environments of the user's own: ids, functions, arguments, wrappers."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
import textwrap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import main

from ldm_envs import FiniteTaskSet, TaskDistribution
from train import evaluate
from train.common.command_line import parse
from train.common.env_source import EnvFacts, EnvSource
from train.common.envs import base_env
from train.common.notices import pinned_task_notice, split_notice
from train.config.on_policy import OnPolicySettings
from train.config.presets import resolve
from train.persistence.files import read_csv
from train.recurrent_ppo import train

pytestmark = pytest.mark.filterwarnings("ignore:.*Overriding environment")

MODULE = '''
import functools
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from ldm_envs import FiniteTaskSet, TaskAttributeWrapper, TaskDistribution

TRAIN, TEST = [[1.0, 1.0], [-1.0, -1.0]], [[1.0, 0.0], [0.0, 2.0], [0.0, 0.5]]

class Point(gym.Env):
    """A still agent earns minus the distance of its task at each step."""
    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}
    task_distribution = TaskDistribution(
        {
            "train": FiniteTaskSet(TRAIN),
            "test": FiniteTaskSet(TEST),
            "all": FiniteTaskSet(TRAIN + TEST),
        },
        ("x (m)", "y (m)"),
    )
    task = None
    def __init__(self, split="train", scale=1.0, shape="box", render_mode=None):
        self.split, self.scale, self.render_mode = split, scale, render_mode
        self.observation_space = spaces.Box(-5, 5, (2,), np.float32)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        options = options or {}
        if "task" in options:
            self.task = np.asarray(options["task"], np.float32)  # does not look at its shape
        elif self.task is None or not options.get("keep_task"):
            self.task = self.task_distribution[self.split].sample(self.np_random, 1)[0]
        return np.zeros(2, np.float32), {"task": self.task.copy()}
    def step(self, action):
        reward = -self.scale * float(np.linalg.norm(self.task))
        info = {"task": self.task.copy(), "is_success": False}
        return np.zeros(2, np.float32), reward, False, False, info
    def render(self):
        return np.zeros((32, 32, 3), np.uint8)

class Dicts(Point):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        box = self.observation_space
        self.observation_space = spaces.Dict({"seen": box, "goal": box, "cell": spaces.Discrete(3)})
    def _as_dict(self, seen):
        return {"seen": seen, "goal": self.task, "cell": 1}
    def reset(self, **arguments):
        seen, info = super().reset(**arguments)
        return self._as_dict(seen), info
    def step(self, action):
        seen, *rest = super().step(action)
        return self._as_dict(seen), *rest

class Breaks(Point):
    def __init__(self, **kwargs):
        raise AssertionError("no such\\njoint")

class Listed(Point):
    task_distribution = {"train": TRAIN, "test": TEST}

class Strict(Point):
    task_distribution = None
    def reset(self, *, seed=None, options=None):
        if options:
            raise KeyError(f"unknown reset options {options}")
        super(Point, self).reset(seed=seed)
        self.task = np.ones(2, np.float32)
        return np.zeros(2, np.float32), {}

class Plain(Point):
    """No family: told by its constructor which goal it has."""
    task_distribution = property(lambda self: (_ for _ in ()).throw(AttributeError("none")))
    def __init__(self, goal=1.0, **kwargs):
        super().__init__(**kwargs)
        self.goal = goal
    def reset(self, *, seed=None, options=None):
        super(Point, self).reset(seed=seed)
        self.task = np.float32([self.goal, 0])
        return np.zeros(2, np.float32), {}

gym.register("Point-v0", Point, max_episode_steps=6)
gym.register("Endless-v0", Point)
gym.register("Dicts-v0", Dicts, max_episode_steps=6)
gym.register("Breaks-v0", Breaks, max_episode_steps=6)
gym.register("Listed-v0", Listed, max_episode_steps=6)
gym.register("Strict-v0", Strict, max_episode_steps=6)
gym.register("PlainTrain-v0", Plain, max_episode_steps=6, kwargs={"goal": 1.0})
gym.register("PlainTest-v0", Plain, max_episode_steps=6, kwargs={"goal": 3.0})

def narrow_batch(num_envs, autoreset_mode=None):
    """Takes less than one environment does, as ale_py's AtariVectorEnv."""
    return gym.vector.SyncVectorEnv([Point] * num_envs, autoreset_mode=autoreset_mode)

gym.register("Narrow-v0", Point, max_episode_steps=6, vector_entry_point=narrow_batch)

def make(split="train", far=2.0):
    """An adapter around an environment that is told its goal by an attribute."""
    env = gym.wrappers.TimeLimit(Plain(), 6)
    return TaskAttributeWrapper(env, {"train": [1.0, far], "test": [1.5]}, "goal", split=split)

def drawn(split="train", render_mode=None):
    return gym.wrappers.TimeLimit(Point(split, render_mode=render_mode), 6)

def harder(split="train"):
    return gym.wrappers.TransformReward(make(split), lambda r: 2 * r if split == "test" else r)

def nothing(split="train"):
    return 3

def keeps_split(split="train"):
    """Takes a split and does not hand it on."""
    return make()

def splitless():
    return make()

@functools.cache
def once(split="train"):
    return make(split)

class Deaf(Point):
    """Takes a split and always draws train tasks; has no attribute that says so."""
    def __init__(self, split="train", **kwargs):
        super().__init__(**kwargs)
        del self.split
    def reset(self, *, seed=None, options=None):
        self.split = "train"
        try:
            return super().reset(seed=seed, options=options)
        finally:
            del self.split

gym.register("Deaf-v0", Deaf, max_episode_steps=6)

class Leaks(Point):
    """Takes a split and draws of all tasks."""
    def reset(self, *, seed=None, options=None):
        named, self.split = self.split, "all"
        try:
            return super().reset(seed=seed, options=options)
        finally:
            self.split = named

gym.register("Leaks-v0", Leaks, max_episode_steps=6)

def all_of_them():
    return TaskAttributeWrapper(
        gym.wrappers.TimeLimit(Plain(), 6), {"train": [1.0, 2.0], "test": [1.5]}, "goal",
        split="all",
    )

def unseeded(split="train"):
    """Draws new tasks at each call."""
    tasks = {"train": np.random.uniform(0.5, 1.5, 4), "test": np.random.uniform(0.5, 1.5, 2)}
    env = gym.make("Pendulum-v1", max_episode_steps=6)
    return TaskAttributeWrapper(env, {k: v.tolist() for k, v in tasks.items()}, "l", split=split)

def late(split="train"):
    """Declares a limit that nothing keeps."""
    env = Point(split)
    env.spec = gym.spec("Point-v0")
    return env
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> str:
    """A module of the user's own, under a name that no other test has imported."""
    name = f"mine_{zlib.crc32(request.node.name.encode())}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("LDM_TRUST_MODULES", name)
    monkeypatch.chdir(tmp_path)
    return name


SIZES = "--n-workers 4 --n-mixture-workers 1 --n-episodes 2 --total-timesteps 96 --log-interval 1"
SIZES += " --vae-buffer-trajectories 20 --eval-tasks 4 --device cpu --run-dir run"


def flags(text: str) -> list[str]:
    return [*text.split(), *SIZES.split()]


def returns(path: str = "run/evaluations.csv") -> dict[tuple[str, str], set[float]]:
    """Last evaluation: (split, task) -> returns of its episodes."""
    with Path(path).open() as file:
        rows = list(csv.DictReader(file))
    last = rows[-1]["timesteps"]
    found: dict[tuple[str, str], set[float]] = {}
    for row in rows:
        if row["timesteps"] == last:
            found.setdefault((row["split"], row["task"]), set()).add(round(float(row["return"]), 3))
    return found


def norms(*tasks: Any) -> set[float]:
    return {round(-6 * float(np.linalg.norm(task)), 3) for task in tasks}


TRUE = {
    ("train", "1 1"): norms([1, 1]),
    ("train", "-1 -1"): norms([1, 1]),
    ("test", "1 0"): norms([1, 0]),
    ("test", "0 2"): norms([0, 2]),
    ("test", "0 0.5"): norms([0, 0.5]),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("method", ["ldm", "oracle"])
def test_scalar_families_are_evaluated_on_their_own_tasks(
    mine: str, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(f"--env-id {mine}:Point-v0 --method {method}")) == 0
    assert returns() == TRUE
    assert f"LDM_TRUST_MODULES={mine} python -m train.evaluate run" in capsys.readouterr().out
    assert evaluate.main(["run", "--video", "--tasks", "0"]) == 0
    assert Path("run/pictures/learning_curves.png").exists()
    assert list(Path("run/videos").glob("*.mp4"))
    assert main(["--resume", "run", "--total-timesteps", "192"]) == 0
    assert returns() == TRUE


def test_a_function_makes_the_environment_and_gets_split_and_arguments(
    mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"--env-fn {mine}:make --method oracle --env-kwargs far=3.0"
    assert main(flags(text)) == 0
    expected = {("train", "1"): {-6.0}, ("train", "3"): {-18.0}, ("test", "1.5"): {-9.0}}
    assert returns() == expected
    config = json.loads(Path("run/config.json").read_text())["config"]
    assert (config["env_id"], config["n_steps"]) == (f"{mine}:make", 12)
    assert main(["--resume", "run", "--total-timesteps", "192"]) == 0
    assert evaluate.main(["run", "--tasks", "0"]) == 0
    with pytest.raises(SystemExit):
        evaluate.main(["run", "--video"])  # it takes no render_mode
    assert 'expected one like make(split="train", render_mode=None)' in capsys.readouterr().err


@pytest.mark.parametrize("given", [{"env_kwargs": ("scale=2.0",)}, {"max_episode_steps": 3}])
def test_a_batch_that_does_not_take_what_is_given_is_left_out(
    mine: str, given: dict[str, Any]
) -> None:
    """``ale_py:ALE/Pong-v5`` refused ``obs_type`` and ``--max-episode-steps``, which it needs."""
    source = EnvSource(f"{mine}:Narrow-v0")
    assert source.batch_arguments() == ["num_envs", "autoreset_mode"]
    assert dataclasses.replace(source, **given).batch_arguments() is None
    config = dataclasses.replace(resolve(source.env_id, "rl2"), **given)
    env = base_env(config, 2, "train")
    env.reset(seed=0)
    rewards = [env.step(np.zeros((2, 2), np.float32))[1:4] for _ in range(3)]
    assert (rewards[0][0] < -2).all() == ("env_kwargs" in given)
    assert rewards[2][2].all() == ("max_episode_steps" in given)


def test_what_a_graphics_library_raises_is_one_line(
    mine: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PointMaze and dm_control draw by MuJoCo and are no ``MujocoEnv``."""
    assert main(flags(f"--env-fn {mine}:drawn --method rl2")) == 0
    order: list[str] = []
    load = evaluate.load_artifacts
    monkeypatch.setattr(evaluate, "choose_renderer", lambda: order.append("renderer"))
    monkeypatch.setattr(evaluate, "load_artifacts", lambda *a: order.append("load") or load(*a))

    def no_screen(self: Any) -> Any:
        raise FileNotFoundError("no screen")

    point = importlib.import_module(mine).Point
    for render, expected in {
        no_screen: "cannot draw frames: FileNotFoundError: no screen",
        lambda self: None: "render() returned an array of shape (), expected (height, width, 3)",
    }.items():
        monkeypatch.setattr(point, "render", render)
        with pytest.raises(SystemExit):
            evaluate.main(["run", "--gif"])
        assert expected in capsys.readouterr().err
    assert order == ["renderer", "load"] * 2  # dm_control looks for it when it is imported


@pytest.mark.parametrize("n", ["sync", "async"])
def test_wrappers_limits_arguments_and_processes(mine: str, n: str) -> None:
    text = (
        f"--env-id {mine}:Dicts-v0 --method ldm --observation-keys seen cell --flatten-observation "
        f"--max-episode-steps 5 --env-kwargs scale=2 shape=ring --vectorization {n}"
    )
    assert main(flags(text)) == 0
    assert returns()[("test", "0 2")] == {-20.0}
    config = json.loads(Path("run/config.json").read_text())["config"]
    assert config["n_steps"] == 10 and config["reward_scale"] == "running"
    assert main(["--resume", "run", "--total-timesteps", "192"]) == 0
    assert evaluate.main(["run"]) == 0


def test_test_tasks_may_be_of_another_id(mine: str) -> None:
    text = f"--env-id {mine}:PlainTrain-v0 --eval-env-id {mine}:PlainTest-v0 --method rl2"
    assert main(flags(text)) == 0
    assert returns() == {("train", ""): {-6.0}, ("test", ""): {-18.0}}
    assert evaluate.main(["run"]) == 0
    assert main(["--resume", "run", "--total-timesteps", "192"]) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("--env-id {m}:Breaks-v0", "cannot make env_id '{m}:Breaks-v0': AssertionError: no such"),
        ("--env-id {m}:Endless-v0", "set --max-episode-steps"),
        ("--env-id {m}:Nothing-v0", "has no function 'Nothing-v0' either"),
        ("--env-fn {m}:nothing", "must return a gymnasium.Env, got 3"),
        ("--env-fn {m}:keeps_split --method oracle", "split='all' but made an environment of"),
        ("--env-fn {m}:splitless --method oracle", "{m}:splitless takes no argument split"),
        ("--env-fn {m}:unseeded --method rl2", "different tasks in split 'train' at each call"),
        ("--env-fn {m}:once", "in which one environment is used for several rows"),
        ("--env-fn {m}:late --method rl2", "continue after 6 steps, the limit that the env"),
        ("--env-fn nowhere:make", "unknown env_id 'nowhere:make': ModuleNotFoundError"),
        ("--env-fn nowhere:make", "module:function, with a module (not a file name) in this"),
        ("--env-fn {m}.py:make", "module:function, with a module (not a file name) in this"),
        ("--env-fn nowhere", "exist; expected a registered id, module:Id-v0 or module:function"),
        ("--env-id {m}:Dicts-v0", "--flatten-observation, with --observation-keys for some of ["),
        ("--env-id {m}:Dicts-v0", "FilterObservation"),
        ("--env-id FrozenLake-v1", "got Discrete(16); --flatten-observation turns it into"),
        ("--env-id Pendulum-v1 --env-fn {m}:nothing", "--env-id and --env-fn are the same flag"),
        ("--env-id {m}:Listed-v0", "must be a TaskDistribution, got {{'train': [[1.0, 1.0], "),
        ("--env-id {m}:Strict-v0", "asked for another episode of the same task"),
        ("--env-id Pendulum-v1 --env-kwargs g=abc", "environments failed at step: TypeError: "),
        ("--env-id {m}:PlainTrain-v0 --method oracle", "--env-fn module:function"),
        ("--env-id {m}:Point-v0 --env-kwargs gravity=3", "unexpected keyword argument 'gravity'"),
        ("--env-id {m}:Point-v0 --env-kwargs gravity", "must be name=value"),
        ("--env-id {m}:Point-v0 --max-episode-steps 0", "max_episode_steps must be at least 1"),
        ("--env-id {m}:Point-v0 --n-steps 7", "splits meta-episodes"),
    ],
)
def test_what_cannot_be_made_is_one_line(
    mine: str, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(flags(text.format(m=mine)))
    *before, said = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 1 and says.format(m=mine) in said
    assert not any("Traceback" in line for line in before)


@pytest.mark.parametrize("method", ["promp", "pearl"])
def test_collection_of_episodes_that_never_end_is_one_line(
    mine: str, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"--env-fn {mine}:late --method {method} --total-timesteps 96 --device cpu"
    with pytest.raises(SystemExit):
        main([*text.split(), "--run-dir", "run", "--n-episodes", "2"])
    assert "continue after 6 steps, the limit that the environment" in capsys.readouterr().err


def test_an_oracle_that_may_see_train_tasks_only_is_told(
    mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    deaf = flags(f"--env-id {mine}:Deaf-v0 --method oracle")
    main(deaf)
    assert "with split='all' drew only train tasks" in capsys.readouterr().err
    train(parse("train.recurrent_ppo", [*deaf, "--overwrite"])[0])  # as trials of a sweep do
    assert "with split='all' drew only train tasks" in capsys.readouterr().err
    main(flags(f"--env-id {mine}:Point-v0 --method oracle --overwrite"))
    assert "drew only train tasks" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["--env-id {m}:Leaks-v0", "--env-fn {m}:all_of_them"])
def test_a_method_that_may_train_on_test_tasks_is_told(
    mine: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the constructor does with ``split``: what resets draw counts."""
    text, says = name.format(m=mine), "split='train' drew tasks that are not in it, such as"
    main(flags(f"{text} --method rl2"))
    assert says in capsys.readouterr().err
    main(flags(f"--env-id {mine}:Point-v0 --method rl2 --overwrite"))
    assert says not in capsys.readouterr().err
    config, _ = parse("train.promp", [*text.split(), "--method", "promp"])
    assert split_notice(config) == ""  # it hands the environments its tasks


def test_a_split_that_chooses_more_than_tasks_is_told(
    mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The test tasks were evaluated as they are in the train environments, without a word."""
    main(flags(f"--env-fn {mine}:harder --method rl2"))
    assert "the task [1.5] of " in capsys.readouterr().err
    names = {"make": "", "harder": "", "Dicts-v0": " --flatten-observation", "splitless": ""}
    told = {}
    for name, more in names.items():
        text = f"--env-id {mine}:make --eval-env-id {mine}:{name} --method rl2{more}"
        told[name] = pinned_task_notice(parse("train.recurrent_ppo", text.split())[0]) != ""
    assert told == {name: name == "harder" for name in names}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("--method rl2 --flatten-observation", True),
        ("--method ldm --flatten-observation --observation-keys seen cell", False),
        ("--method known-task --flatten-observation", False),
    ],
)
def test_a_task_that_is_seen_is_told(
    mine: str, text: str, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    main(flags(f"--env-id {mine}:Dicts-v0 {text}"))
    assert ("first observation of" in capsys.readouterr().err) is told


def test_rare_test_tasks_are_no_reason_to_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty resets of a thousand tasks, ten of them test tasks, mostly meet none."""
    sets = {
        "train": FiniteTaskSet(np.arange(990.0)[:, None]),
        "test": FiniteTaskSet(np.arange(990.0, 1000.0)[:, None]),
        "all": FiniteTaskSet(np.arange(1000.0)[:, None]),
    }
    config, _ = parse("train.recurrent_ppo", ["--env-id", "Pendulum-v1", "--method", "rl2"])
    facts = EnvFacts(TaskDistribution(sets, ("x",)), 5, True)
    monkeypatch.setattr(EnvSource, "facts", lambda _: facts)
    monkeypatch.setattr(EnvSource, "make", None)
    assert split_notice(dataclasses.replace(config, method="oracle")) == ""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ldm", "rl2", "varibad"])
def test_a_family_without_presets_is_learned(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To find the button in the first episode, and to press no other in the second: 6 of 6."""
    monkeypatch.setenv("LDM_TRUST_MODULES", "foreign_envs")
    flags = ["--env-fn", "foreign_envs:buttons", "--method", method, "--n-episodes", "2"]
    flags += ["--total-timesteps", "60000", "--eval-interval", "60000", "--device", "cpu"]
    assert main([*flags, "--run-dir", str(tmp_path)]) == 0
    last = [row for row in read_csv(tmp_path / "evaluations.csv") if row["episode"] == "2"]
    trained = [float(row["return"]) for row in last if row["split"] == "train"]
    assert len(trained) == 3
    assert np.mean(trained) >= 5.0


def test_presets_of_our_families_stay_as_they_are() -> None:
    config, _ = parse("train.recurrent_ppo", ["--env-id", "LDM-GridNavi-v0"])
    assert isinstance(config, OnPolicySettings)
    assert config.n_steps == 120 and config.reward_scale == 1.0
    other, _ = parse("train.recurrent_ppo", ["--env-id", "Pendulum-v1", "--n-episodes", "3"])
    assert isinstance(other, OnPolicySettings)
    assert other.n_steps == 600 and other.reward_scale == "running"
    said, _ = parse("train.recurrent_ppo", ["--env-id", "Pendulum-v1", "--n-steps=400"])
    assert isinstance(said, OnPolicySettings) and said.n_steps == 400
