"""Flags and configuration: each setting arrives, and each has an effect."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import build, train_tiny

from ldm_wrappers import PlausibleTasks, vector
from train.common.command_line import parse, unused_flags
from train.common.envs import evaluation_tasks
from train.common.parts import LinearDecay
from train.config.grouping import override_text
from train.config.on_policy import OnPolicySettings
from train.config.presets import PRESETS, resolve
from train.config.settings import flattened, known_settings, nested_kinds
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder
from train.recurrent_ppo import check_steps

SCRIPT = "train.recurrent_ppo"
FIELDS = known_settings(OnPolicySettings)
SMALL: dict[str, Any] = {"n_workers": 4, "n_mixture_workers": 1, "vae_buffer_trajectories": 5}


def test_sections_of_the_settings_do_not_overlap() -> None:
    own = [set(vars(kind).get("__annotations__", {})) for kind in OnPolicySettings.__mro__[:-1]]
    assert sum(map(len, own)) == len(set().union(*own)) == len([f for f in FIELDS if "." not in f])


def test_settings_that_are_younger_than_a_run_have_the_value_it_had() -> None:
    config = resolve("LDM-GridNavi-v0", "ldm", "present-beliefs")
    values = config.to_dict()
    younger = {"env_kwargs": (), "max_episode_steps": None, "vectorization": "sync"}
    younger |= {"observation_keys": (), "flatten_observation": False, "eval_env_id": ""}
    younger |= {"reward_scale": 1.0, "encoder": "gru", "scale_observations": False}
    younger |= {"encoder_features": 64, "encoder_projections": 32, "initial_posterior_std": None}
    younger |= {"vae_decay_updates": None, "vae_ema_decay": 0.0, "vae_max_grad_norm": None}
    for name, value in younger.items():
        assert values.pop(name) == value
    assert OnPolicySettings.from_dict(values) == config


OTHER: dict[str, str] = {
    "method": "rl2", "preset": "paper", "optimizer": "adam", "likelihood": "gaussian",
    "decoder_inputs": "observation action", "net_arch": "8 9", "decoder_hidden_sizes": "7 5",
    "env_id": "LDM-GridNaviExtrapolation-v0", "device": "cpu", "run_dir": "elsewhere",
    "gamma": "0.5", "gae_lambda": "0.5", "p_drop": "0.25", "n_minibatches": "2", "n_workers": "8",
    "n_mixture_workers": "3", "reward_low": "-0.5", "reward_high": "2.0",
    "mixture.n_components": "3", "mixture": "dirichlet-mixture",
    "num_threads": "1", "vae_encoded_lengths": "6", "vae_decoded_steps": "9",
    "policy_ema_decay": "0.5", "imagination.threshold": "0.5", "imagination": "plausible-tasks",
    "lr_decay_start": "0.5",
    "target_kl": "0.02", "return_statistics": "all",
    "env_kwargs": "gravity=3 shape=ring", "max_episode_steps": "50",
    "observation_keys": "seen cell", "vectorization": "async", "eval_env_id": "LDM-AntDir-v0",
    "reward_scale": "running",
    "encoder": "moments", "initial_posterior_std": "0.125", "vae_max_grad_norm": "3.0",
    "vae_decay_updates": "7", "vae_buffer_keeps": "oldest", "clip_range_vf": "0.25",
    "vae_ema_decay": "0.5", "policy_memory": "encoder",
}  # fmt: skip


parsed = functools.cache(lambda *arguments: parse(SCRIPT, list(arguments))[0])
NESTED = nested_kinds(OnPolicySettings)
PLAUSIBLE = ["--imagination", "plausible-tasks"]  # the paper preset's are expected rewards
IMAGINATION_OF = {
    f"imagination.{field.name}": PLAUSIBLE for field in dataclasses.fields(PlausibleTasks)
}


def value_of(config: Any, name: str) -> Any:
    """A setting as the command line names it."""
    return flattened(config.to_dict())[name]


def changed(config: Any, name: str, value: Any) -> Any:
    """The configuration with another value of a setting, nested ones included."""
    outer, _, inner = name.partition(".")
    if inner:
        value = dataclasses.replace(getattr(config, outer), **{inner: value})
    return dataclasses.replace(config, **{outer: value})


@pytest.mark.parametrize("name", FIELDS)
def test_every_flag_reaches_the_configuration(name: str) -> None:
    base = [] if name == "preset" else ["--preset", "paper"]
    base += IMAGINATION_OF.get(name, [])
    if name == "reward_scale":
        base += ["--likelihood", "gaussian"]  # the one that it scales
    default = parsed(*base)
    before = value_of(default, name)
    flag = "--" + name.replace("_", "-")
    if isinstance(before, bool):
        outer, dot, inner = flag[2:].rpartition(".")
        arguments = [flag if not before else f"--{outer}{dot}no-{inner}"]
        expected: Any = not before
    elif name in OTHER:
        arguments = [flag, *OTHER[name].split()]
        plain = isinstance(before, (int, float, str)) and name != "reward_scale"
        expected = type(before)(OTHER[name]) if plain else None
    else:
        expected = before + 1
        arguments = [flag, str(expected)]
    config, resumed = parse(SCRIPT, [*base, *arguments])
    found = value_of(config, name)
    assert resumed is None and (found != before or name == "mixture")  # there is one kind
    if expected is not None:
        assert found == expected
    elif isinstance(found, tuple):
        assert [str(value) for value in found] == OTHER[name].split()
    else:
        assert str(found) == OTHER[name]
    if name not in ("env_id", "method", "preset"):  # those choose other defaults
        rest = changed(config, name, getattr(default, name) if name in NESTED else before)
        assert rest == default
    flag = "--" + arguments[0][2:].replace("-", "_")
    underscored, _ = parse(SCRIPT, [*base, flag, *arguments[1:]])
    assert underscored == config


def test_flags_choose_the_preset_they_belong_to() -> None:
    config, _ = parse(
        "train.recurrent_ppo", ["--env-id", "LDM-AntGoal-v0", "--method", "rl2", "--n-steps", "400"]
    )
    assert config == resolve("LDM-AntGoal-v0", "rl2", n_steps=400)
    same, _ = parse(
        "train.recurrent_ppo", ["--env_id=LDM-AntGoal-v0", "--method=rl2", "--n_steps=400"]
    )
    assert same == config


def test_an_annealed_learning_rate_never_turns_round() -> None:
    decay = LinearDecay(1e-3, 0.5)
    shares = {1.0: 1e-3, 0.5: 1e-3, 0.25: 5e-4, 0.0: 0.0, -0.5: 0.0}  # remaining: rate
    assert {share: pytest.approx(decay(share)) for share in shares} == shares


@pytest.mark.parametrize(("statistics", "counted"), [("real", 3), ("all", 4)])
def test_rewards_are_normalised_by_the_returns_of_the_workers_that_count(
    statistics: str, counted: int
) -> None:
    sizes = {"n_workers": 4, "n_mixture_workers": 1, "n_minibatches": 1, "device": "cpu"}
    sizes |= {"normalize_reward": True, "mixture.n_components": 2}
    learner = build(resolve("LDM-GridNavi-v0", "ldm", return_statistics=statistics, **sizes))
    assert learner.normalizer.n_normal == counted
    learner.close()


def test_a_run_folder_keeps_its_configuration(tmp_path: Path) -> None:
    config = resolve("LDM-AntDir-v0", "varibad", run_dir=str(tmp_path / "run"))
    folder = RunFolder.create(config)
    assert RunFolder.open(folder.path).config == config
    resumed, run = parse("train.varibad", ["--resume", str(folder.path), "--total-timesteps", "7"])
    assert run is not None and run.path == folder.path
    assert resumed == dataclasses.replace(config, total_timesteps=7)
    with pytest.raises(ValueError, match=f"python -m train.varibad --resume {folder.path}"):
        parse(SCRIPT, ["--resume", str(folder.path)])
    with pytest.raises(ValueError, match=r"python -m train\.varibad --method varibad"):
        parse(SCRIPT, ["--method", "varibad"])


def seen(config: OnPolicySettings) -> list[str]:
    """What a built learner shows of its configuration."""
    learner = build(config)
    algorithm: Any = learner.algorithm
    optimizer = algorithm.policy.optimizer
    names = [
        "n_steps",
        "batch_size",
        "n_epochs",
        "learning_rate",
        "gamma",
        "gae_lambda",
        "ent_coef",
        "vf_coef",
        "max_grad_norm",
        "target_kl",
        "normalize_advantage",
        "clip_range_vf",
        "seed",
        "n_envs",
        "device",
    ]
    shown: list[Any] = [getattr(algorithm, name) for name in names]
    shown += [algorithm.lr_schedule(0.5)]
    shown += [algorithm.clip_range(1.0), type(optimizer), optimizer.param_groups[0]["eps"]]
    shown += [tuple(p.shape) for p in algorithm.policy.parameters()]
    shown += [getattr(algorithm.policy, "value_trains_lstm", None)]
    buffer = algorithm.rollout_buffer
    shown += [getattr(buffer, "alpha", None), buffer.time_limits is None]
    shown += [float(next(algorithm.policy.parameters()).detach().sum())]
    shown += [learner.average is None]
    if learner.normalizer is not None:
        shown += [learner.normalizer.norm_obs, learner.normalizer.norm_reward]
        shown += [learner.normalizer.n_normal]
    layer: Any = learner.env
    while layer is not None:
        shown.append(type(layer))
        for name in (
            "n_episodes",
            "finite_horizon",
            "num_envs",
            "n_mixture",
            "split",
            "imagination",
        ):
            shown.append(getattr(layer, name, None) if name != "imagination" else None)
        shown.append(getattr(getattr(layer, "_stagger", None), "remaining", None))
        imagination = getattr(layer, "imagination", None)
        if imagination is not None:
            parts = ("mixture", "final_beliefs", "masks", "_n_masks", "thresholds", "scheme")
            parts += ("belief_samples",)
            shown += [repr(getattr(imagination, name, None)) for name in parts]
        layer = getattr(layer, "env", None)
    if learner.latent_dynamics is not None and learner.trainer is not None:
        trainer = learner.trainer
        shown += [trainer.model.config, trainer.batch_trajectories, trainer.n_encoded_lengths]
        shown += [trainer.n_decoded_steps, trainer.buffer.capacity, trainer.buffer.max_length]
        shown += [trainer.buffer.keeps]
        shown += [trainer.optimizer.param_groups[0]["lr"]]
        shown += [trainer.max_grad_norm, trainer.decay_updates, trainer.state_dict().keys()]
    learner.vec_env.close()
    return [str(value) for value in shown]


IN_THE_LEARNER: dict[str, Any] = {
    "env_id": "LDM-GridNaviExtrapolation-v0", "method": "rl2", "seed": 1, "n_episodes": 2,
    "finite_horizon": False, "n_workers": 6, "n_mixture_workers": 2, "mixture.beta": 2.0,
    "mixture.n_components": 2,
    "mixture.per_dimension": True, "imagination.n_dropout_masks": 3,
    "imagination.keep_dropout_masks": True, "imagination": PlausibleTasks(),
    "n_steps": 240, "n_epochs": 3,
    "imagination.final_beliefs": True, "imagination.threshold": 0.5, "imagination.relative": False,
    "imagination.n_remembered_transitions": 12, "imagination.n_candidates": 3,
    "n_minibatches": 2, "learning_rate": 0.5, "lr_decay_start": 0.25, "optimizer": "adam",
    "policy_ema_decay": 0.5, "optimizer_eps": 0.25,
    "gamma": 0.5, "gae_lambda": 0.5, "clip_range": 0.9, "target_kl": 0.02,
    "ent_coef": 0.75, "vf_coef": 0.25,
    "max_grad_norm": 3.0, "normalize_advantage": True, "lstm_hidden_size": 16, "net_arch": (8, 8),
    "value_trains_lstm": False, "normalize_observation": True, "normalize_reward": True,
    "return_statistics": "all",
    "latent_dim": 3, "encoder_observation_size": 3, "encoder_action_size": 3,
    "encoder_reward_size": 3, "encoder_hidden_size": 3, "decoder_inputs": ("action",),
    "decoder_observation_size": 3, "decoder_action_size": 3, "decoder_hidden_sizes": (3,),
    "decoder_heads": 49, "likelihood": "gaussian", "reward_low": -3.0, "reward_high": 3.0,
    "p_drop": 0.25, "kl_weight": 0.5, "vae_learning_rate": 0.5, "vae_trajectories": 3,
    "vae_encoded_lengths": 3, "vae_decoded_steps": 3, "vae_buffer_trajectories": 3,
    "encoder": "moments", "encoder_features": 3, "encoder_projections": 3,
    "initial_posterior_std": 0.5, "scale_observations": True, "vae_max_grad_norm": 3.0,
    "vae_decay_updates": 3, "vae_ema_decay": 0.5, "vae_buffer_keeps": "oldest",
    "clip_range_vf": 0.3, "cut_at_time_limits": True, "stagger_workers": True,
    "observation_to_heads": True, "policy_memory": "encoder", "imagination.belief_samples": True,
}  # fmt: skip


@pytest.mark.parametrize("name", IN_THE_LEARNER)
def test_settings_that_reach_the_learner(name: str) -> None:
    base = resolve("LDM-GridNavi-v0", "ldm", "paper", device="cpu", **SMALL)
    if name in IMAGINATION_OF and name != "imagination.n_dropout_masks":
        base = dataclasses.replace(base, imagination=PlausibleTasks())
    if name == "return_statistics":
        base = dataclasses.replace(base, normalize_reward=True, return_statistics="real")
    if name == "stagger_workers":
        base = dataclasses.replace(base, truncate_backpropagation=True)
    assert value_of(base, name) != IN_THE_LEARNER[name]
    assert seen(changed(base, name, IN_THE_LEARNER[name])) != seen(base)


def test_each_number_arrives_where_it_belongs() -> None:
    """Two that had changed places would both have an effect."""
    numbers: dict[str, Any] = {
        "n_steps": 120, "n_epochs": 3, "learning_rate": 0.001, "optimizer_eps": 0.002,
        "gamma": 0.91, "gae_lambda": 0.92, "ent_coef": 0.03, "vf_coef": 0.04, "target_kl": 0.05,
        "max_grad_norm": 0.06, "clip_range": 0.07, "clip_range_vf": 0.08,
        "normalize_observation": True, "normalize_reward": False, "normalize_advantage": False,
        "value_trains_lstm": False, "observation_to_heads": True,
        "encoder_observation_size": 5, "encoder_action_size": 6, "encoder_reward_size": 7,
        "latent_dim": 8, "lstm_hidden_size": 9,
        "vae_learning_rate": 0.003, "vae_trajectories": 10, "vae_encoded_lengths": 11,
        "vae_decoded_steps": 12, "vae_decay_updates": 13, "vae_max_grad_norm": 0.09,
        "vae_ema_decay": 0.5, "vae_buffer_trajectories": 14,
    }  # fmt: skip
    sizes = {"n_workers": 4, "n_mixture_workers": 1, "n_minibatches": 2, "device": "cpu"}
    config = resolve(
        "LDM-GridNavi-v0", "ldm", "paper", policy_memory="encoder", **{**sizes, **numbers}
    )
    learner = build(config)
    algorithm, trainer = learner.algorithm, learner.trainer
    policy, optimizer = algorithm.policy, algorithm.policy.optimizer
    widths = ("encoder_observation_size", "encoder_action_size", "encoder_reward_size")
    found = {
        **{name: getattr(algorithm, name) for name in numbers if hasattr(algorithm, name)},
        **dict(zip(widths, policy.widths, strict=True)),
        "clip_range": algorithm.clip_range(1.0),
        "clip_range_vf": algorithm.clip_range_vf(1.0),
        "optimizer_eps": optimizer.param_groups[0]["eps"],
        "normalize_observation": learner.normalizer.norm_obs,
        "normalize_reward": learner.normalizer.norm_reward,
        "value_trains_lstm": policy.value_trains_lstm,
        "observation_to_heads": policy.observation_to_heads,
        "latent_dim": policy.latent_dim,
        "lstm_hidden_size": policy.lstm_actor.hidden_size,
        "vae_learning_rate": trainer.learning_rate,
        "vae_trajectories": trainer.batch_trajectories,
        "vae_encoded_lengths": trainer.n_encoded_lengths,
        "vae_decoded_steps": trainer.n_decoded_steps,
        "vae_decay_updates": trainer.decay_updates,
        "vae_max_grad_norm": trainer.max_grad_norm,
        "vae_ema_decay": trainer._average.rate,
        "vae_buffer_trajectories": trainer.buffer.capacity,
    }
    assert found == numbers
    assert learner.statistics.n_normal == 3
    assert algorithm.batch_size == 240 and learner.normalizer.gamma == 0.91
    assert (algorithm.rollout_buffer.gamma, algorithm.rollout_buffer.gae_lambda) == (0.91, 0.92)
    learner.close()


def random_parts(learner: Any) -> dict[str, Any]:
    """Everything of a new learner that its seed decides."""
    layer = learner.env
    while not isinstance(layer, vector.ImaginaryRewardWrapper):
        layer = layer.env
    imagination, trainer, algorithm = layer.imagination, learner.trainer, learner.algorithm
    weights = {"policy": algorithm.policy, "VAE": trainer.model}
    generators = {"masks": imagination.generator, "latents": trainer.generator}
    orders = {"mixtures": imagination.rng, "batches": trainer.buffer._rng}
    orders["minibatches"] = algorithm.rollout_rng
    return {
        **{name: next(module.parameters()).tolist() for name, module in weights.items()},
        **{name: generator.get_state().tolist() for name, generator in generators.items()},
        **{name: rng.bit_generator.state["state"] for name, rng in orders.items()},
        "environments": list(algorithm.get_env().unwrapped._seeds),
    }


def test_the_seed_of_a_run_decides_all_that_is_random() -> None:
    """Seeds that began with the same VAE, or drew the same mixtures, would not be independent."""
    found = []
    for seed in (1, 1, 2):
        learner = build(
            resolve("LDM-GridNavi-v0", "ldm", "paper", device="cpu", **SMALL, seed=seed)
        )
        found.append(random_parts(learner))
        learner.close()
    assert found[0] == found[1]
    assert {name for name, value in found[0].items() if value == found[2][name]} == set()


def test_settings_of_single_methods_and_families() -> None:
    mixreg = resolve("LDM-GridNavi-v0", "mixreg", device="cpu", **{**SMALL, "n_minibatches": 1})
    assert seen(dataclasses.replace(mixreg, mixreg_alpha=0.7)) != seen(mixreg)
    ant = resolve("LDM-AntGoal-v0", "rl2", eval_tasks=3)
    sizes = {k: len(v) for k, v in evaluation_tasks(ant).items() if v is not None}
    assert sizes == {"train": 3, "test": 3, "eval": 4}
    for method in ("rl2", "varibad"):
        wide: Any = build(dataclasses.replace(ant, method=method, log_std_init=-1.5)).algorithm
        assert wide.policy.log_std.tolist() == [-1.5] * 8
        wide.get_env().close()
    split = resolve("LDM-GridNavi-v0", "rl2", n_steps=60)
    with pytest.raises(ValueError, match="n_steps = 60 splits"):
        check_steps(split)
    check_steps(dataclasses.replace(split, truncate_backpropagation=True))
    # no gradient goes back in time: variBAD may split them
    build(resolve("LDM-GridNavi-v0", "varibad", n_steps=60, n_workers=4, device="cpu")).close()


def test_threads_reach_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    from ldm_envs import mujoco_vector

    asked: list[int] = []
    make = mujoco_vector.make_physics

    def watch(model: Any, num_sims: int, num_threads: int, backend: str) -> Any:
        asked.append(num_threads)
        return make(model, num_sims, num_threads, backend)

    monkeypatch.setattr(mujoco_vector, "make_physics", watch)
    for threads in (1, 2):
        config = resolve("LDM-AntGoal-v0", "rl2", device="cpu", num_threads=threads)
        learner = build(config)
        learner.vec_env.reset()
        learner.vec_env.close()
    assert asked == [1, 2]


def test_settings_of_the_course_of_a_run(tmp_path: Path) -> None:
    """total_timesteps, log, evaluation and checkpoint intervals, vae_updates, run_dir."""
    flags = ["--total-timesteps", "1920", "--log-interval", "2", "--eval-interval", "960"]
    run = train_tiny(tmp_path / "run", "ldm", *flags, "--vae-updates", "3")
    metrics = read_csv(run / "metrics.csv")
    assert [int(row["timesteps"]) for row in metrics] == [960, 1920]
    updates = [float(row["latent_dynamics/n_updates"]) for row in metrics]
    assert updates == [6.0, 12.0]
    evaluated = {int(row["timesteps"]) for row in read_csv(run / "evaluations.csv")}
    assert evaluated == {960, 1920}
    assert len(list((run / "checkpoints").glob("*.safetensors"))) == 1


ELSEWHERE = {
    "preset", "device", "run_dir", "overwrite", "total_timesteps", "log_interval", "eval_interval",
    "checkpoint_interval", "vae_updates", "mixreg_alpha", "eval_tasks", "num_threads",
    "truncate_backpropagation", "log_std_init", "mixture",
    # in test_any_env, and the scale in tests/wrappers
    "env_kwargs", "max_episode_steps", "observation_keys", "flatten_observation", "vectorization",
    "eval_env_id", "reward_scale",
}  # fmt: skip


def test_no_setting_is_left_out() -> None:
    """``ELSEWHERE`` is tested above, in test_bad_input, test_exact_resume and test_divergence."""
    assert set(IN_THE_LEARNER) | ELSEWHERE == set(FIELDS)
    assert not set(IN_THE_LEARNER) & ELSEWHERE


@pytest.mark.parametrize(
    ("env_id", "flags"),
    [
        ("Pendulum-v1", ["--n-steps", "200", "--method", "ldm", "--normalize-reward"]),
        ("CartPole-v1", ["--n-steps", "500", "--method", "varibad", "--eval-tasks", "1"]),
        ("Acrobot-v1", ["--n-steps", "250", "--method", "rl2", "--truncate-backpropagation"]),
    ],
)
def test_environments_that_are_not_ours(env_id: str, flags: list[str], tmp_path: Path) -> None:
    run = train_tiny(
        tmp_path / "run",
        "ldm",
        *flags,
        "--eval-tasks",
        "1",
        "--n-workers",
        "2",
        "--mixture.n-components",
        "1",
        env_id=env_id,
    )
    rows = read_csv(run / "evaluations.csv")
    assert {row["split"] for row in rows} == {"train"} and not any(row["task"] for row in rows)
    assert np.isfinite([float(row["return"]) for row in rows]).all()


@pytest.mark.parametrize(
    ("program", "text", "expected"),
    [
        (SCRIPT, "--method rl2 --n-mixture 3 --mixture.beta 2 --vae-learning-rate=0.1 --gamma 0.9",
         "--n-mixture-workers --mixture.beta --vae-learning-rate"),
        (SCRIPT, "--method ldm --n-mixture-workers 3 --mixture.beta 2 --seed 1", ""),
        (SCRIPT, "--method rl2 --imagination plausible-tasks", "--imagination"),
        (SCRIPT, "--method ldm --encoder-features 9 --encoder-reward-size 9",
         "--encoder-features"),
        (SCRIPT, "--method ldm --encoder moments --encoder-features 9 --encoder-reward-size 9",
         "--encoder-reward-size"),
        (SCRIPT, "--method ldm --preset published-network --encoder-reward-size 9", ""),
        ("train.varibad", "--method varibad --observation-to-heads --no-value-trains-lstm",
         "--observation-to-heads --no-value-trains-lstm"),
        ("train.varibad", "--method varibad --encoder moments --policy-memory encoder "
         "--encoder-reward-size 9", "--policy-memory --encoder-reward-size"),
        ("train.mier", "--env-id Pendulum-v1 --test-context-steps 9", "--test-context-steps"),
        ("train.mier", "--env-id Pendulum-v1 --test-context-steps 9 --relabel-updates 1", ""),
        (SCRIPT, "--vectorization async --eval-tasks 3 --num-threads 2",
         "--vectorization --eval-tasks --num-threads"),
        (SCRIPT, "--vectorization async --eval-tasks 3 --eval-env-id LDM-AntGoal-v0",
         "--vectorization"),
        (SCRIPT, "--truncate-backpropagation --n-steps 240", "--truncate-backpropagation"),
        (SCRIPT, "--truncate-backpropagation --n-steps 60", ""),
        (SCRIPT, "--truncate-backpropagation --n-steps 240 --stagger-workers", ""),
        (SCRIPT, "--truncate-backpropagation --n-steps 240 --eval-env-id LDM-AntGoal-v0",
         "--truncate-backpropagation"),
        ("train.promp", "--method promp --vectorization async", "--vectorization"),
        (SCRIPT, "--env-id LDM-AntGoal-v0 --eval-tasks 3 --num-threads 2", ""),
        (SCRIPT, "--env-id Pendulum-v1 --vectorization async --eval-tasks 3 --num-threads 2",
         "--num-threads"),
        (SCRIPT, "--env-id CartPole-v1 --flatten-observation", "--flatten-observation"),
        (SCRIPT, "--env-id FrozenLake-v1 --flatten-observation", ""),
        (SCRIPT, "--env-id LDM-AntGoal-v0 --flatten-observation", ""),
        (SCRIPT, "--decoder-action-size 9 --decoder-observation-size 9", "--decoder-action-size"),
        (SCRIPT, "--env-id LDM-AntGoal-v0 --decoder-action-size 9 --decoder-observation-size 9",
         ""),
        (SCRIPT, "--p-drop 0 --imagination.n-dropout-masks 2", "--imagination.n-dropout-masks"),
        (SCRIPT, "--decoder-heads 49 --p-drop 0.5", "--p-drop"),
        (SCRIPT, "--env-id LDM-AntGoal-v0 --reward-low -1 --reward-high 0",
         "--reward-low --reward-high"),
        (SCRIPT, "--reward-low -1 --reward-high 0", ""),
        (SCRIPT, "--imagination expected-reward --imagination.n-dropout-masks 0 "
         "--imagination.keep-dropout-masks", "--imagination.keep-dropout-masks"),
        (SCRIPT, "--imagination.no-relative --imagination.n-candidates 1 "
         "--imagination.n-remembered-transitions 9", "--imagination.n-remembered-transitions"),
        (SCRIPT, "--imagination.no-relative --imagination.n-remembered-transitions 9", ""),
        (SCRIPT, "--mixture.n-components 1 --mixture.beta 2", "--mixture.beta"),
        (SCRIPT, "--mixture.n-components 2 --mixture.beta 2", ""),
        (SCRIPT, "--env-id Pendulum-v1 --n-workers 3 --mixture.beta 2", "--mixture.beta"),
        (SCRIPT, "--method rl2 --mixture.no-per-dimension --no-scale-observations",
         "--mixture.no-per-dimension --no-scale-observations"),
        (SCRIPT, "--method rl2 --preset paper --clip-range 0.1 --target-kl 1 --clip-range-vf 1",
         "--clip-range --target-kl --clip-range-vf"),
        (SCRIPT, "--method mixreg --preset paper --clip-range 0.1 --clip-range-vf 1",
         "--clip-range --clip-range-vf"),
        (SCRIPT, "--method rl2 --n-episodes 1 --cut-at-time-limits", "--cut-at-time-limits"),
        (SCRIPT, "--method rl2 --n-workers 1 --n-minibatches 1 --stagger-workers",
         "--stagger-workers"),
        ("train.promp", "--method promp --n-epochs 1 --clip-range 0.1 --inner-kl-coef 1",
         "--clip-range --inner-kl-coef"),
        ("train.promp", "--method promp --n-epochs 2 --clip-range 0.1 --inner-kl-coef 1", ""),
        (SCRIPT, "--no-normalize-reward --return-statistics real", "--return-statistics"),
    ],
)  # fmt: skip
def test_flags_without_an_effect_are_named(program: str, text: str, expected: str) -> None:
    said = unused_flags(parse(program, text.split())[0], text.split())
    assert said.rpartition("these settings: ")[2] == expected
    assert bool(said) == bool(expected)


def test_another_kind_of_imaginary_tasks_may_come_with_the_likelihood_that_it_needs() -> None:
    flags = "--env-id LDM-HalfCheetahVel-v0 --preset recurrent --imagination plausible-tasks"
    flags += " --reward-low -5"
    config = parse(SCRIPT, [*flags.split(), "--likelihood", "bernoulli", "--reward-high", "0"])[0]
    assert config.imagination == PlausibleTasks() and config.likelihood == "bernoulli"
    assert override_text(config) == (
        "imagination=plausible-tasks likelihood=bernoulli reward_low=-5 reward_high=0"
    )
    with pytest.raises(ValueError, match="plausible-tasks needs likelihood bernoulli"):
        parse(SCRIPT, flags.split())


@pytest.mark.parametrize("env_id", list(PRESETS))
def test_known_task_is_rl2_but_for_what_it_sees(env_id: str) -> None:
    for preset in PRESETS[env_id]:
        try:
            rl2 = resolve(env_id, "rl2", preset)
        except ValueError:
            continue  # of other methods only
        known = resolve(env_id, "known-task", preset)
        assert dataclasses.replace(known, method="rl2") == rl2, preset
