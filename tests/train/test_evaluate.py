"""``train.evaluate``: its numbers against hand-played episodes, its files, and its errors."""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from matplotlib.image import imread
from tiny_runs import train_tiny

import ldm_envs  # noqa: F401
from ldm_wrappers import (
    BeliefObservationWrapper,
    ImaginaryRewardWrapper,
    LatentDynamics,
    MultiEpisodeWrapper,
    SavedBeliefs,
    TrajectoryBuffer,
)
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer
from ldm_wrappers.state_file import load_state, save_state
from train import evaluate
from train.common.artifacts import load_artifacts
from train.config.presets import resolve
from train.evaluate import chosen_tasks, main, parser
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder
from train.plots.video import record_video


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        "ldm": train_tiny(folder / "ldm", "ldm"),
        "dropout off": train_tiny(folder / "ldm0", "ldm", "--p-drop", "0", "--seed", "1"),
        "rl2": train_tiny(folder / "rl2", "rl2", "--n-episodes", "2"),
    }


@pytest.fixture(scope="module")
def evaluated(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All three runs, evaluated together; warnings are errors."""
    out = tmp_path_factory.mktemp("joint")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("error", UserWarning)
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *a, **_: lines.append(" ".join(map(str, a))))
        assert main([*map(str, runs.values()), "--out", str(out)]) == 0
    return {"runs": runs, "out": out, "text": "\n".join(lines)}


def hand_played(path: Path, task: np.ndarray) -> tuple[list[float], list[bool]]:
    """Returns and successes of greedy episodes, played with nothing but the scalar environment."""
    learner = load_artifacts(RunFolder.open(path))
    env = gym.make(learner.config.env_id)
    previous, reward, state = np.zeros(5, np.float32), 0.0, None
    returns, reached = [], []
    for episode in range(learner.config.n_episodes):
        observation, _ = env.reset(options={"keep_task": True} if episode else {"task": task})
        start, over, total, hit = 1.0, False, 0.0, False
        while not over:
            shown = np.concatenate([observation, previous, [reward, start]]).astype(np.float32)
            first = np.array([episode == 0 and start == 1.0])
            seen = shown[None]
            if learner.normalizer is not None:
                moments = learner.normalizer.obs_rms
                seen = np.clip((seen - moments.mean) / np.sqrt(moments.var + 1e-8), -10, 10)
            action, state = learner.algorithm.policy.predict(
                seen.astype(np.float32), state, first, deterministic=True
            )
            observation, step_reward, terminated, truncated, info = env.step(action[0])
            previous, reward, start = (
                np.eye(5, dtype=np.float32)[action[0]],
                float(step_reward),
                0.0,
            )
            total, hit, over = total + reward, hit or info["is_success"], terminated or truncated
        returns.append(total)
        reached.append(hit)
    env.close()
    learner.vec_env.close()
    return returns, reached


@pytest.mark.parametrize("method", ["ldm", "rl2"])
def test_the_tables_hold_what_the_policy_does(evaluated: dict[str, Any], method: str) -> None:
    path = evaluated["runs"][method]
    tasks = read_csv(path / "evaluation" / "tasks.csv")
    assert len(tasks) == (18 + 27) * {"ldm": 4, "rl2": 2}[method]
    for name in ("6 3", "0 3", "5 5"):
        rows = [row for row in tasks if row["task"] == name]
        returns, reached = hand_played(path, np.array(name.split(), np.float32))
        assert [float(row["return"]) for row in rows] == pytest.approx(returns, abs=1e-9)
        assert [bool(int(row["reached"])) for row in rows] == reached
    for row in read_csv(path / "evaluation" / "summary.csv"):
        own = [t for t in tasks if (t["split"], t["episode"]) == (row["split"], row["episode"])]
        assert int(row["tasks"]) == len(own) == {"train": 18, "test": 27}[row["split"]]
        mean = np.mean([float(t["return"]) for t in own])
        assert float(row["mean_return"]) == pytest.approx(mean, abs=1e-9)
        assert int(row["tasks_reached"]) == sum(int(t["reached"]) for t in own)


def test_the_evaluation_repeats_the_last_one_of_the_training(evaluated: dict[str, Any]) -> None:
    for path in evaluated["runs"].values():
        rows = read_csv(path / "evaluations.csv")
        last = [{k: v for k, v in row.items() if k != "timesteps"} for row in rows]
        played = read_csv(path / "evaluation" / "tasks.csv")
        assert last[-len(played) :] == played


def picture(path: Path) -> np.ndarray:
    image = imread(path)
    assert image.shape[0] > 200 and image.shape[1] > 400, f"{path} is tiny: {image.shape}"
    assert image[..., :3].std() > 0.05, f"{path} is nearly of one colour"
    return image


def test_each_run_gets_the_pictures_it_can_have(evaluated: dict[str, Any]) -> None:
    expected = {"learning_curves.png", "film_strip.png"}
    for name, path in evaluated["runs"].items():
        maps = set() if name == "rl2" else {"reward_maps.png"}
        pictures = list((path / "pictures").iterdir())
        assert {file.name for file in pictures} == expected | maps
        for file in pictures:
            picture(file)
            assert str(file) in evaluated["text"]
    assert "no reward maps: method rl2 has no latent dynamics model" in evaluated["text"]
    assert "1000 mixtures of 3 random beliefs, β = 1 of 3 workers" in evaluated["text"]


def test_several_runs_share_a_table_and_figures(evaluated: dict[str, Any]) -> None:
    out = evaluated["out"]
    assert {file.name for file in out.iterdir()} == {
        "summary.csv",
        "learning_curves.png",
        "reward_maps_p_drop.png",
    }
    for file in out.glob("*.png"):
        picture(file)
    rows = read_csv(out / "summary.csv")
    for path in evaluated["runs"].values():
        own = [row for row in rows if row["run"] == str(path)]
        alone = read_csv(path / "evaluation" / "summary.csv")
        assert [{k: row[k] for k in alone[0]} for row in own] == alone


def test_reward_maps_of_an_earlier_comparison_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were of other runs than the table beside them."""
    monkeypatch.setattr(evaluate, "print_joint_table", lambda _: None)
    monkeypatch.setattr(evaluate, "joint_rows", lambda _: [{"run": "a"}])
    monkeypatch.setattr(evaluate, "plot_joint_curves", lambda _, path: path)
    for name in ("reward_maps_p_drop.png", "reward_maps_p_drop_2.png", "mine.png"):
        (tmp_path / name).touch()
    evaluate.compare([], [], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"summary.csv", "mine.png"}


def test_no_picture_leaves_a_temporary_file(evaluated: dict[str, Any]) -> None:
    for path in evaluated["runs"].values():
        assert not [file for file in path.rglob(".*") if file.is_file()]


@pytest.mark.parametrize("flag", ["--video", "--gif"])
def test_a_video_of_a_pinned_task(flag: str, runs: dict[str, Path], tmp_path: Path) -> None:
    import imageio.v3 as iio

    path = copy(runs["rl2"], tmp_path / "run")
    assert main([str(path), flag, "--tasks", "4,5"]) == 0
    (film,) = (path / "videos").iterdir()
    assert film.name == ("task_4_5.mp4" if flag == "--video" else "task_4_5.gif")
    frames = iio.imread(film)
    assert len(frames) == 2 * 30 + 1
    assert (frames[0] != frames[-1]).any()
    if flag == "--gif":  # white stays white: no dithering
        assert (frames[0, 5:20, 5:20] == frames[0, 5, 5]).all()
    else:
        seconds = iio.immeta(film)["duration"]
        assert seconds == pytest.approx(len(frames) / 8, abs=0.2)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_film_that_has_no_room_does_not_replace_one(
    suffix: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    """ffmpeg's exit status is not told: half a film lay there, with exit status 0."""
    resource = pytest.importorskip("resource")
    path = tmp_path / f"film{suffix}"
    path.write_text("old")
    learner = load_artifacts(RunFolder.open(runs["rl2"]))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match=re.escape(str(path))):
            record_video(learner, np.array([4.0, 5.0]), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        learner.close()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def copy(run: Path, to: Path) -> Path:
    shutil.copytree(run, to, ignore=shutil.ignore_patterns("evaluation", "pictures", "videos"))
    return to


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    file.write_bytes(content[: len(content) // 2])


BREAKAGES: dict[str, Any] = {
    "no run": lambda run: shutil.rmtree(run),
    "no config": lambda run: (run / "config.json").unlink(),
    "damaged config": lambda run: damage(run / "config.json"),
    "no policy": lambda run: (run / "policy.safetensors").unlink(),
    "damaged policy": lambda run: damage(run / "policy.safetensors"),
    "another run's policy": lambda run: shutil.copy(
        run / "latent_dynamics.safetensors", run / "policy.safetensors"
    ),
    "no VAE": lambda run: (run / "latent_dynamics.safetensors").unlink(),
    "no evaluations": lambda run: (run / "evaluations.csv").unlink(),
    "empty evaluations": lambda run: (run / "evaluations.csv").write_text(""),
    "damaged evaluations": lambda run: (run / "evaluations.csv").write_text("a,b\n1,2\n"),
    "text for a number": lambda run: (run / "evaluations.csv").write_text(
        "timesteps,split,task,episode,return,reached\n5,train,0 2,1,many,0\n"
    ),
}


def test_files_of_two_runs_are_not_put_together(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two seeds agree in environment, method and steps: a policy acted on a stranger's beliefs."""
    name = "latent_dynamics.safetensors"
    run, other = copy(runs["ldm"], tmp_path / "run"), runs["dropout off"] / name
    shutil.copy(other, run / name)
    with pytest.raises(SystemExit):
        main([str(run)])
    assert f"{run / name} belongs to seed 1, expected 0" in capsys.readouterr().err
    save_state(run / name, {**load_state(other), "seed": 0})  # of other settings, not another seed
    with pytest.raises(SystemExit):
        main([str(run)])
    assert "are from different runs (other settings or another seed)" in capsys.readouterr().err
    older = {key: value for key, value in load_state(runs["ldm"] / name).items()}
    del older["seed"], older["run"]
    save_state(run / name, older)
    load_artifacts(RunFolder.open(run)).close()


def test_a_model_does_not_mix_beliefs_of_another_run(runs: dict[str, Path]) -> None:
    def wrapped(model_of: str, beliefs_of: str) -> ImaginaryRewardWrapper:
        model = LatentDynamics.load(runs[model_of] / "latent_dynamics.safetensors")
        beliefs = SavedBeliefs.load(runs[beliefs_of] / "beliefs.safetensors")
        env = MultiEpisodeWrapper(gym.make("LDM-GridNavi-v0"), 4)
        return ImaginaryRewardWrapper(env, model, beliefs, seed=0)

    wrapped("ldm", "ldm").reset(seed=0)
    with pytest.raises(ValueError, match=r"model comes from run .* the beliefs from run"):
        wrapped("ldm", "dropout off")


def test_a_model_that_was_trained_further_does_not_mix_beliefs_of_its_run(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    """Saved again, it looked like the model that the beliefs are of."""
    run, file = runs["ldm"], tmp_path / "model.safetensors"
    model = LatentDynamics.load(run / "latent_dynamics.safetensors")
    beliefs = SavedBeliefs.load(run / "beliefs.safetensors")
    env = gym.make("LDM-GridNavi-v0")
    buffer = TrajectoryBuffer(model.spec, capacity=4, max_length=30, seed=0)
    played = BeliefObservationWrapper(env, model, buffer=buffer)
    played.reset(seed=0)
    for _ in range(30):
        played.step(0)
    trainer = LatentDynamicsTrainer(model, buffer, seed=0)
    trainer.update(0)
    ImaginaryRewardWrapper(env, model, beliefs)
    trainer.update(1)
    model.save(file)
    for trained in (model, LatentDynamics.load(file)):
        with pytest.raises(ValueError, match="model from none: it is new, or was trained after"):
            ImaginaryRewardWrapper(env, trained, beliefs)
    ImaginaryRewardWrapper(env, model, SavedBeliefs(np.zeros((2, 3, model.config.latent_dim))))


@pytest.mark.parametrize("breakage", BREAKAGES, ids=str)
def test_a_broken_run_is_one_line(
    breakage: str, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy(runs["ldm"], tmp_path / "run")
    BREAKAGES[breakage](run)
    with pytest.raises(SystemExit) as stopped:
        main([str(run)])
    error = capsys.readouterr().err
    assert stopped.value.code == 1
    assert error.startswith("error: ") and error.count("\n") == 1 and str(run) in error
    way_out = f"continue the run with python -m train.recurrent_ppo --resume {run}"
    assert (way_out in error) == (breakage in ("no policy", "no VAE"))
    assert not run.exists() or not [file for file in run.rglob(".*") if file.is_file()]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (["1,"], "shape"),
        (["27"], "--tasks 27 is out of range: split 'test' of LDM-GridNavi-v0 has tasks 0 to 26"),
        (["1,1"], "outside the set"),
        (["3,4,5"], "shape"),
        (["home"], "'home' is neither an index nor components"),
    ],
)
def test_bad_tasks_are_one_line(
    tasks: list[str],
    message: str,
    runs: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = copy(runs["rl2"], tmp_path / "run")
    with pytest.raises(SystemExit) as stopped:
        main([str(run), "--tasks", *tasks])
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and message in error and error.count("\n") == 1
    assert not (run / "evaluation").exists() and not (run / "pictures").exists()


def test_nothing_is_evaluated_before_all_runs_and_the_folder_are_known_to_be_usable(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file in place of the folder, and an unfinished run, were noticed after the evaluations."""
    good, unfinished = copy(runs["rl2"], tmp_path / "good"), copy(runs["ldm"], tmp_path / "ldm")
    (unfinished / "policy.safetensors").unlink()
    (tmp_path / "file").touch()
    for arguments, says in (
        (
            [str(good), "--out", str(tmp_path / "file" / "out")],
            f"but {tmp_path / 'file'} is a file",
        ),
        ([str(good), str(unfinished)], f"cannot read {unfinished / 'policy.safetensors'}"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        said = capsys.readouterr()
        assert says in said.err and said.err.count("\n") == 1 and not said.out
    assert not (good / "evaluation").exists()


def test_one_film_is_asked_for_and_tasks_may_begin_with_a_minus_sign() -> None:
    assert parser().parse_args(["run", "--tasks=-3,4", "--tasks", "0"]).tasks == ["-3,4", "0"]
    with pytest.raises(SystemExit):  # the MP4 was not made, without a word
        parser().parse_args(["run", "--video", "--gif"])


def test_tasks_of_one_component_end_with_a_comma() -> None:
    config = resolve("LDM-HalfCheetahVel-v0", "rl2")
    tasks = chosen_tasks(config, ["2,", "1.25,", "2.5"])
    assert tasks is not None and tasks.tolist() == [[2.0], [1.25], [2.5]]
