"""Bad input over the command line, the environments and the wrappers: one line that shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from tiny_runs import train_tiny

import ldm_envs  # noqa: F401
from ldm_wrappers import (
    BeliefPool,
    BeliefPublisherWrapper,
    DirichletMixture,
    ImaginaryRewardWrapper,
    LatentDynamics,
    LatentDynamicsConfig,
    MultiEpisodeWrapper,
    RL2ObservationWrapper,
    SavedBeliefs,
    TrajectoryBuffer,
    sb3,
    vector,
)
from train import evaluate
from train.config.on_policy import OnPolicySettings
from train.config.presets import resolve
from train.config.settings import known_settings
from train.recurrent_ppo import main

BASE = """--run-dir out --total-timesteps 480 --n-workers 4 --n-mixture-workers 1 --device cpu
--mixture.n-components 3"""
# flags, and what the line must show
TRAINING = {
    "--env-id Nope-v0": "'Nope-v0'",
    "--env-id nomodule:Nope-v0": "'nomodule'",
    "--env-id CartPole": "'CartPole'",
    "--env-id Blackjack-v1": "Blackjack-v1 declares no max_episode_steps",
    "--env-id FrozenLake-v1 --n-steps 100": "got Discrete(16)",
    "--env-id CartPole-v1 --method oracle --n-steps 500": "CartPole-v1 has no task_distribution",
    "--env-id CartPole-v1 --max-episode-steps 0": "max_episode_steps must be at least 1",
    "--env-id CartPole-v1 --env-kwargs sutton": "must be name=value",
    "--env-id CartPole-v1 --env-kwargs a=1 b=2 a=3": "env_kwargs has a twice, 1 and 3",
    "--env-id CartPole-v1 --env-kwargs sutton_barto_reward=False": "_reward=false, or",
    "--env-id CartPole-v1 --env-kwargs a=1 --env_kwargs=b=2": "--env-kwargs is given 2 times",
    "--net-arch 8 --decoder-inputs action --net-arch 9 9": "--net-arch is given 2 times",
    "--env-id CartPole-v1 --vectorization threads": "threads",
    "--env-id CartPole-v1 --eval-env-id Nope-v0": "'Nope-v0'",
    "--env-id CartPole-v1 --reward-scale 0": "reward_scale must be positive",
    "--return-statistics some": "some",
    "--method sac": "'sac'",
    "--preset huge": "'huge'",
    "--bogus 3": "--bogus, 3",
    "stray": "stray",
    "--seed": "'--seed'",
    "--seed -1": "got -1",
    "--seed 4294967296": "got 4294967296",
    "--total-timesteps 0": "got 0",
    "--device cuda:99": "'cuda:99'",
    "--device gpu": "'gpu'",
    "--run-dir /dev/null": "/dev/null",
    "--overwrite maybe": "maybe",
    "--log-std-init nan": "got nan",
    "--target-kl 0": "got 0.0",
    "--target-kl inf": "got inf",
    "--log-std-init -1": "log_std_init = -1.0 needs continuous actions, got Discrete(5)",
    "--n-episodes 0": "got 0",
    "--n-episodes 1.5": "'1.5'",
    "--n-workers 0": "got 0",
    "--n-mixture-workers 0": "got 0",
    "--n-mixture-workers 4": "got 4",
    "--mixture.beta 0": "got 0.0",
    "--mixture.beta inf": "got inf",
    "--mixture.n-components 0": "got 0",
    "--mixture.n-components 4": "3 normal workers: n_components must be at most the number of",
    "--imagination.threshold 1": "got 1.0",
    "--likelihood gaussian": "plausible-tasks needs likelihood bernoulli, got gaussian",
    "--imagination.n-dropout-masks -1": "got -1",
    "--imagination dream": "unknown imagination 'dream', expected one of ['expected-reward'",
    "--num-threads 0": "got 0",
    "--n-steps abc": "'abc'",
    "--n-steps -120": "got -120",
    "--n-steps 100": "n_steps = 100 splits",
    "--n-epochs 0": "got 0",
    "--n-minibatches 3": "got 3",
    "--method mixreg --n-workers 1 --n-minibatches 1": "expected at least two workers in each",
    "--learning-rate nan": "got nan",
    "--learning-rate -1e-3": "got -0.001",
    "--learning-rate 1e300": "between 1.2e-38 and 3.4e+38 in magnitude, the range of float32, got",
    "--optimizer-eps 1e-300": "the range of float32, got 1e-300",
    "--mixture.beta 1e39": "beta must be positive and at most 3.4e+38, got 1e+39",
    f"--total-timesteps 1{400 * '0'}": "total_timesteps must be below 2^63 in magnitude, got 1",
    "--n-workers 99999999999999999999": "n_workers must be below 2^63",
    "--net-arch 99999999999999999999": "net_arch must be below 2^63",
    "--lstm-hidden-size 10000000000000": "not enough memory",
    "--optimizer sgd": "'sgd'",
    "--policy-memory gru": "'gru'",
    "--optimizer-eps 0": "got 0.0",
    "--gamma 1.5": "got 1.5",
    "--imagination.n-remembered-transitions 0": "must be at least 1, got 0",
    "--imagination.n-candidates 0": "n_candidates must be at least 1, got 0",
    "--imagination expected-reward --imagination.n-candidates 2": "imagination.n-candidates",
    "--lr-decay-start 1.5": "lr_decay_start must lie in [0, 1], got 1.5",
    "--gae-lambda -0.1": "got -0.1",
    "--clip-range 0": "got 0.0",
    "--ent-coef -1": "got -1.0",
    "--vf-coef inf": "got inf",
    "--max-grad-norm 0": "got 0.0",
    "--lstm-hidden-size 0": "got 0",
    "--net-arch 0": "got (0,",
    "--mixreg-alpha 0": "got 0.0",
    "--policy-ema-decay 1": "got 1.0",
    "--latent-dim 0": "got 0",
    "--encoder-observation-size -1": "at least 0, got -1",
    "--encoder-hidden-size 0": "got 0",
    "--decoder-inputs touch": "'touch'",
    "--decoder-inputs action action": "got ('action', 'action')",
    "--decoder-observation-size 0": "decoder_observation_size must be at least 1, got 0",
    "--decoder-hidden-sizes 0": "decoder_hidden_sizes[0] must be at least 1, got 0",
    "--decoder-heads 7": "decoder_heads=7",
    "--likelihood poisson": "'poisson'",
    "--reward-low 2": "got 2.0",
    "--p-drop 1": "got 1.0",
    "--kl-weight -1": "got -1.0",
    "--encoder transformer": "'transformer'",
    "--encoder-features 0": "got 0",
    "--encoder-projections 0": "got 0",
    "--initial-posterior-std 0": "got 0.0",
    "--vae-decay-updates 0": "got 0",
    "--vae-ema-decay 1": "got 1.0",
    "--vae-max-grad-norm 0": "got 0.0",
    "--vae-learning-rate 0": "got 0.0",
    "--vae-updates 0": "got 0",
    "--vae-trajectories 0": "got 0",
    "--vae-encoded-lengths 0": "got 0",
    "--vae-buffer-trajectories 0": "got 0",
    "--vae-buffer-keeps best": "'best'",
    "--clip-range-vf 0": "got 0.0",
    "--stagger-workers": "expected truncate_backpropagation as well",
    "--imagination expected-reward --imagination.belief-samples --imagination.final-beliefs": (
        "expected final_beliefs=False"
    ),
    "--vae-buffer-trajectories 999999999999": "(999999999999, 120",
    "--eval-interval 0": "got 0",
    "--eval-tasks 0": "got 0",
    "--log-interval 0": "got 0",
    "--checkpoint-interval 0": "got 0",
    "--resume nowhere": "nowhere",
    "--resume nowhere --seed 3": "--seed 3; besides --resume RUN, expected only --total-timesteps",
    "--resume nowhere --total-timesteps many": "'many'\n",
}


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1, text
    return text


@pytest.mark.parametrize("flags", TRAINING)
def test_the_training_script(
    flags: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    base = [] if "--resume" in flags else BASE.split()
    with pytest.raises(SystemExit) as stopped:
        main([*base, *flags.split()])
    assert stopped.value.code == 1
    assert TRAINING[flags] in one_line(capsys)
    assert not list(tmp_path.iterdir())


def test_a_run_folder_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_tiny(tmp_path / "run", "rl2", "--total-timesteps", "480")
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        train_tiny(run, "rl2")
    error = one_line(capsys)
    assert f"{run} exists" in error and "--resume" in error and "--overwrite" in error
    with pytest.raises(SystemExit):
        train_tiny(run, "rl2", "--overwrite", "--n-steps", "7")  # bad: nothing is deleted
    one_line(capsys)
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    train_tiny(run, "rl2", "--overwrite", "--seed", "5")
    assert (run / "policy.safetensors").read_bytes() != before[run / "policy.safetensors"]
    home = tmp_path / "home"
    (home / "letters").mkdir(parents=True)
    for flags in (["--overwrite"], []):
        with pytest.raises(SystemExit):
            train_tiny(home, "rl2", *flags)
        assert f"{home} is not a run folder" in capsys.readouterr().err
        assert (home / "letters").exists()
    for text in ("{}", '{"name": "mine"}', "[]", "no JSON"):  # somebody else's config.json
        (home / "config.json").write_text(text)
        with pytest.raises(SystemExit):
            train_tiny(home, "rl2", "--overwrite")
        assert (home / "config.json").read_text() == text and (home / "letters").exists()


def test_a_run_does_not_go_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train_tiny(tmp_path / "run", "rl2")
    before = (run / "config.json").read_bytes()
    with pytest.raises(SystemExit):
        main(["--resume", str(run), "--total-timesteps", "480"])
    assert "has already trained 960 steps" in capsys.readouterr().err
    assert (run / "config.json").read_bytes() == before


@pytest.mark.parametrize("arguments", [[], ["nowhere", "--video", "--device", "gpu"], ["."]])
def test_the_evaluation_script(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        evaluate.main(arguments)
    assert stopped.value.code != 0
    assert "Traceback" not in capsys.readouterr().err and not list(tmp_path.iterdir())


def grid(**kwargs: Any) -> Any:
    return gym.make("LDM-GridNavi-v0", **kwargs)


def batch(mode: AutoresetMode = AutoresetMode.DISABLED) -> Any:
    return gym.make_vec("LDM-GridNavi-v0", 3, autoreset_mode=mode)


def meta_batch() -> Any:
    return vector.MultiEpisodeWrapper(batch(), 2)


def model(env: Any = None, **config: Any) -> LatentDynamics:
    env = env or grid()
    config = {"latent_dim": 2, "encoder_hidden_size": 4, **config}
    return LatentDynamics(
        env.observation_space, env.action_space, LatentDynamicsConfig.grid(**config)
    )


def reset(env_id: str, **options: Any) -> Callable[[], Any]:
    return lambda: gym.make(env_id).reset(options=options)


def imagine(**kwargs: Any) -> Any:
    return vector.ImaginaryRewardWrapper(meta_batch(), model(), **{"n_mixture": 1, **kwargs})


def buffer(**kwargs: Any) -> TrajectoryBuffer:
    return TrajectoryBuffer(model().spec, **{"capacity": 2, "max_length": 3, **kwargs})


def step(env: Any, action: Any) -> Any:
    env.reset(seed=0)
    return env.step(action)


API: dict[str, tuple[Callable[[], Any], str]] = {
    "split": (lambda: grid(split="valid"), "'valid'"),
    "render mode": (lambda: gym.make("LDM-AntGoal-v0", render_mode="svg"), "'svg'"),
    "seed": (lambda: grid().reset(seed=-1), "-1"),
    "task outside": (reset("LDM-GridNavi-v0", task=[1, 1]), "[[1.0, 1.0]]"),
    "task of another shape": (reset("LDM-AntDir-v0", task=[1, 2, 3]), "[1, 2, 3]"),
    "task that is no number": (reset("LDM-AntGoal-v0", task=[np.nan, 0]), "nan"),
    "task of text": (reset("LDM-HalfCheetahVel-v0", task="fast"), "'fast'"),
    "velocity outside": (reset("LDM-HalfCheetahVel-v0", task=[9.0]), "[[9.0]]"),
    "task and keep_task": (reset("LDM-GridNavi-v0", task=[2, 2], keep_task=True), "[2, 2]"),
    "keep_task": (reset("LDM-GridNavi-v0", keep_task="yes"), "'yes'"),
    "unknown option": (reset("LDM-GridNavi-v0", goal=[2, 2]), "'goal'"),
    "action": (lambda: step(grid(), 9), "9"),
    "action of NaN": (lambda: step(gym.make("LDM-AntGoal-v0"), np.full(8, np.nan)), "nan"),
    "actions": (lambda: step(batch(), np.array([0, 1, 7])), "7"),
    "reset_mask": (lambda: batch().reset(options={"reset_mask": [1, 0, 0]}), "[1, 0, 0]"),
    "seeds": (lambda: batch().reset(seed=[1, 2]), "[1, 2]"),
    "num_envs": (lambda: gym.make_vec("LDM-GridNavi-v0", 0), "0"),
    "n_episodes": (lambda: MultiEpisodeWrapper(grid(), 0), "got 0"),
    "n_episodes of 1.5": (lambda: vector.MultiEpisodeWrapper(batch(), 1.5), "1.5"),  # type: ignore[arg-type]
    "autoreset": (
        lambda: vector.MultiEpisodeWrapper(batch(AutoresetMode.SAME_STEP), 2),
        "SAME_STEP",
    ),
    "no autoreset": (lambda: vector.RL2ObservationWrapper(batch()), "DISABLED"),
    "observation space": (lambda: RL2ObservationWrapper(gym.make("FrozenLake-v1")), "Discrete(16)"),
    "n_mixture of all": (lambda: imagine(n_mixture=3), "got 3"),
    "n_mixture of none": (lambda: imagine(n_mixture=0), "got 0"),
    "seed of imaginary tasks": (lambda: imagine(seed=True), "True"),
    "seed of a whole chain": (lambda: sb3.imagine("CartPole-v1", n_mixture=1, seed=1.5), "1.5"),
    "beta": (lambda: DirichletMixture(-1.0), "-1.0"),
    "n_components": (lambda: DirichletMixture(1.0, 0), "got 0"),
    "another model": (
        lambda: ImaginaryRewardWrapper(
            gym.make("CartPole-v1"), model(), SavedBeliefs(np.zeros((2, 3, 2)))
        ),
        "observation_size=4",
    ),
    "beliefs of another model": (
        lambda: ImaginaryRewardWrapper(grid(), model(), SavedBeliefs(np.zeros((2, 3, 5)))),
        "5 dimensions",
    ),
    "saved beliefs": (lambda: SavedBeliefs(np.zeros((2, 3))), "(2, 3)"),
    "saved beliefs of NaN": (lambda: SavedBeliefs(np.full((1, 1, 1), np.nan)), "finite"),
    "pool": (lambda: BeliefPool(0, 2), "got 0"),
    "pool row": (lambda: BeliefPublisherWrapper(grid(), model(), BeliefPool(2, 2), 2), "got 2"),
    "buffer": (lambda: buffer(capacity=0), "got 0"),
    "borrowed observations": (
        lambda: vector.MultiEpisodeWrapper(
            gym.vector.SyncVectorEnv(
                [grid], copy=False, autoreset_mode=AutoresetMode.DISABLED
            ), 2
        ),
        "copy=False",
    ),
    "empty buffer": (lambda: buffer().sample(1), "empty"),
    "latent_dim": (lambda: model(latent_dim=0), "got 0"),
    "heads": (lambda: model(decoder_heads=5), "decoder_heads=5"),
    "config key": (lambda: LatentDynamicsConfig.from_dict({"size": 1}), "'size'"),
    "preset key": (lambda: resolve("LDM-GridNavi-v0", "ldm", width=3), "'width'"),
    "preset value": (lambda: resolve("LDM-GridNavi-v0", "ldm", optimizer="sgd"), "'sgd'"),
    "preset type": (lambda: resolve("LDM-GridNavi-v0", "ldm", n_steps="120"), "'120'"),
    "preset bool": (lambda: resolve("LDM-GridNavi-v0", "ldm", overwrite=1), "got 1"),
    "preset tuple": (lambda: resolve("LDM-GridNavi-v0", "ldm", net_arch=(8, "8")), "(8, '8')"),
    "config keys": (
        lambda: type(resolve("LDM-GridNavi-v0", "ldm")).from_dict({"speed": 1}),
        "'speed'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", API)
def test_environments_and_wrappers(case: str) -> None:
    call, shown = API[case]
    with pytest.raises((ValueError, TypeError)) as raised:
        call()
    assert shown in str(raised.value), raised.value


def test_there_are_enough_cases() -> None:
    assert len(TRAINING) + len(API) >= 60


def test_every_flag_with_a_range_is_tried() -> None:
    tried = {flag for flags in TRAINING for flag in flags.split() if flag.startswith("--")}
    free = {  # any value of the type is good, and tyro checks the type
        "run-dir", "finite-horizon", "mixture.per-dimension", "truncate-backpropagation",
        "mixture",  # there is one kind
        "normalize-advantage", "value-trains-lstm", "observation-to-heads", "cut-at-time-limits",
        "normalize-observation", "normalize-reward", "imagination.relative",
        "imagination.final-beliefs", "imagination.keep-dropout-masks",
        "encoder-action-size", "encoder-reward-size", "decoder-action-size", "reward-high",
        "vae-decoded-steps", "scale-observations", "observation-keys", "flatten-observation",
    }  # fmt: skip
    names = {name.replace("_", "-") for name in known_settings(OnPolicySettings)}
    assert names - {flag[2:] for flag in tried} - free == set()
