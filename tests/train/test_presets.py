"""Presets: what they stand for, and that every method resolves them."""

from __future__ import annotations

import dataclasses

import pytest

from ldm_wrappers import DirichletMixture, ExpectedReward, PlausibleTasks
from train.common.command_line import parse
from train.config.grouping import override_text
from train.config.methods import METHODS
from train.config.on_policy import OnPolicySettings
from train.config.presets import PRESETS, resolve
from train.config.settings import RunSettings
from train.recurrent_ppo import check_steps

PPO = [name for name, method in METHODS.items() if method.observation is not None]
ALL_PRESETS = [(env_id, preset) for env_id in PRESETS for preset in PRESETS[env_id]]


@pytest.mark.parametrize("method", PPO)
@pytest.mark.parametrize(("env_id", "preset"), ALL_PRESETS)
def test_presets_resolve_for_every_method(env_id: str, preset: str, method: str) -> None:
    config = resolve(env_id, method, preset, seed=3)
    assert (config.env_id, config.method, config.preset, config.seed) == (env_id, method, preset, 3)
    check_steps(config)
    if METHODS[method].mixreg and "Grid" in env_id:  # discrete actions, for which it is refused
        assert config.target_kl is None
    imaginary = config.n_mixture_workers if METHODS[method].imaginary else 0
    assert config.n_normal_workers == config.n_workers - imaginary
    assert OnPolicySettings.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("method", sorted(METHODS.keys() - PPO))
@pytest.mark.parametrize(("env_id", "preset"), ALL_PRESETS)
def test_presets_of_other_learners_are_their_own(env_id: str, preset: str, method: str) -> None:
    row = method.removeprefix("oracle-")
    made = [name for name, one in PRESETS[env_id].items() if row in one.methods] or ["default"]
    assert made in (["default", "paper"], ["default"])
    if preset not in made:
        with pytest.raises(ValueError, match=f"{preset!r} of {env_id} is not for {method}"):
            resolve(env_id, method, preset)
        return
    config = resolve(env_id, method, preset, seed=3)
    assert isinstance(config, RunSettings) and type(config).from_dict(config.to_dict()) == config
    assert (config.env_id, config.method, config.preset, config.seed) == (env_id, method, preset, 3)


def test_what_the_default_presets_stand_for() -> None:
    """The choices that docs/gridworld.md and the results rest on."""
    grid = resolve("LDM-GridNavi-v0", "ldm")
    assert (grid.n_workers, grid.n_mixture_workers, grid.p_drop) == (64, 32, 0.7)
    assert grid.mixture == DirichletMixture(beta=1.0, n_components=3)
    assert grid.policy_ema_decay > 0
    assert grid.imagination == PlausibleTasks(
        threshold=0.7,
        n_remembered_transitions=grid.n_mixture_workers * grid.n_steps,  # the last rollout
        n_candidates=32,
        n_dropout_masks=1,
    )
    # as many real steps as the methods without imaginary tasks
    real = grid.total_timesteps * grid.n_normal_workers // grid.n_workers
    assert real == resolve("LDM-GridNavi-v0", "rl2").total_timesteps
    for name in ("oracle", "oracle-rl2", "oracle-varibad"):  # 45 goals instead of 18
        config = resolve("LDM-GridNavi-v0", name)
        assert (config.total_timesteps, config.lr_decay_start) == (10_000_000, 0.5)
    for name in ("varibad", "oracle-varibad"):  # its policy reads an encoder that changes
        config = resolve("LDM-GridNavi-v0", name)
        assert (config.policy_ema_decay, config.p_drop, config.decoder_heads) == (0.0, 0.0, 49)
    for name in ("rl2", "oracle-rl2", "mixreg"):
        assert resolve("LDM-GridNavi-v0", name).policy_ema_decay == grid.policy_ema_decay

    def updates_per_step(config: OnPolicySettings) -> tuple[float, float]:
        frames = config.n_workers * config.n_steps
        return config.n_epochs * config.n_minibatches / frames, config.vae_updates / frames

    cheetah = "LDM-HalfCheetahVel-v0"
    assert updates_per_step(resolve(cheetah, "rl2", "large-updates")) == updates_per_step(
        resolve(cheetah, "rl2", "paper")
    )
    for env_id in ("LDM-AntGoal-v0", "LDM-AntDir-v0"):
        default, paper = resolve(env_id, "ldm"), resolve(env_id, "ldm", "paper")
        ratio = updates_per_step(default)[1] / updates_per_step(paper)[1]
        assert 1.0 <= ratio <= 1.25  # whole VAE updates per rollout
        assert (
            default.n_mixture_workers / default.n_workers
            == paper.n_mixture_workers / paper.n_workers
        )
        assert (
            default.mixture.n_components == paper.n_normal_workers
        )  # weights as spread out as the paper's


def test_which_methods_have_the_moment_encoder_by_default() -> None:
    every = {"ldm", "varibad", "ldm-varibad", "oracle-varibad"}
    expected = {
        "LDM-AntDir-v0": every,
        "LDM-AntGoal-v0": every,
        "LDM-HalfCheetahVel-v0": {"ldm", "ldm-varibad"},
    }
    for env_id, methods in expected.items():
        for method in every:
            default, moments, recurrent = (
                resolve(env_id, method, preset).latent_dynamics
                for preset in ("default", "moments", "recurrent")
            )
            assert default == (moments if method in methods else recurrent), (env_id, method)
            assert (moments.encoder, recurrent.encoder) == ("moments", "gru")


def test_only_ldms_default_on_ant_dir_has_another_beta_than_the_paper() -> None:
    for env_id, beta in (("LDM-AntDir-v0", 1.0), ("LDM-AntGoal-v0", 2.0)):
        for method in ("ldm", "ldm-varibad"):
            for preset in ("default", "moments", "recurrent", "paper", "authors-code"):
                stronger = (env_id, method, preset) == ("LDM-AntDir-v0", "ldm", "default")
                assert resolve(env_id, method, preset).mixture.beta == (4.0 if stronger else beta)


def test_a_foreign_environment_is_trained_by_ppo() -> None:
    config = resolve("Pendulum-v1", "rl2")
    assert config == OnPolicySettings(
        env_id="Pendulum-v1", method="rl2", n_epochs=8, normalize_advantage=True
    )
    with pytest.raises(ValueError, match="unknown preset 'paper' for Pendulum-v1"):
        resolve("Pendulum-v1", "rl2", "paper")


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "LDM-GridNavi-v0", "LDM-AntGoal-v0"])
def test_dropout_is_for_imaginary_tasks(env_id: str) -> None:
    """variBAD has none, and an environment without presets is no exception."""
    rates = {
        method: resolve(env_id, method).p_drop
        for method in ("ldm", "ldm-varibad", "varibad", "oracle-varibad")
    }
    assert rates["varibad"] == rates["oracle-varibad"] == 0.0
    assert min(rates["ldm"], rates["ldm-varibad"]) >= 0.5


@pytest.mark.parametrize("env_id", sorted(PRESETS))
def test_an_id_with_the_name_of_its_module_is_the_same(env_id: str) -> None:
    """`gym.make("ldm_envs:LDM-GridNavi-v0")` is Gymnasium's way to import a module first."""
    for method in ("ldm", "varibad", "promp"):
        assert resolve(f"ldm_envs:{env_id}", method) == resolve(env_id, method)
    config, _ = parse("train.recurrent_ppo", ["--env-id", f"ldm_envs:{env_id}"])
    assert config == resolve(env_id, "ldm")


def test_numbers_that_six_digits_do_not_tell_apart_have_two_names() -> None:
    rates = (0.001234561, 0.001234562, 0.0012)
    texts = [override_text(resolve("LDM-AntGoal-v0", "rl2", learning_rate=rate)) for rate in rates]
    assert texts == [f"learning_rate={rate}" for rate in rates]


@pytest.mark.parametrize("preset", ["default", "present-beliefs", "published-tasks"])
def test_ldm_on_varibad_has_the_budget_of_ldm(preset: str) -> None:
    budgets = {
        resolve("LDM-GridNavi-v0", method, preset).total_timesteps
        for method in ("ldm", "ldm-varibad")
    }
    assert len(budgets) == 1


def test_present_beliefs_are_what_the_paper_mixes() -> None:
    present = resolve("LDM-GridNavi-v0", "ldm", "present-beliefs")
    assert present.imagination == ExpectedReward() and present.p_drop == 0.7
    assert present.mixture == DirichletMixture(1.0, n_components=5, per_dimension=True)


def test_nested_settings_can_be_changed_one_by_one_or_as_a_whole() -> None:
    grid = resolve("LDM-GridNavi-v0", "ldm")
    changed = resolve("LDM-GridNavi-v0", "ldm", **{"mixture.beta": 2.0})
    assert changed.mixture == dataclasses.replace(grid.mixture, beta=2.0)
    mixed = {"imagination.final_beliefs": True, "imagination": "expected-reward"}
    other = resolve("LDM-GridNavi-v0", "ldm", **mixed)
    assert other.imagination == ExpectedReward(final_beliefs=True)
    same = resolve("LDM-GridNavi-v0", "ldm", imagination="plausible-tasks")
    assert same == grid  # the preset's own values stay
    whole = resolve("LDM-GridNavi-v0", "ldm", imagination=ExpectedReward(1))
    assert whole.imagination == ExpectedReward(1)
    with pytest.raises(ValueError, match="n_components must be int"):
        resolve("LDM-GridNavi-v0", "ldm", **{"mixture.n_components": 1.5})
    with pytest.raises(ValueError, match="unknown imagination 'dream', expected one of"):
        resolve("LDM-GridNavi-v0", "ldm", imagination="dream")


def test_a_run_of_an_earlier_version_is_refused_with_a_way_out() -> None:
    values = {**resolve("LDM-GridNavi-v0", "ldm").to_dict(), "mixture_components": 3}
    with pytest.raises(ValueError, match=r"saved by version 0.1 .*git checkout 0ee9070"):
        OnPolicySettings.from_dict(values)
