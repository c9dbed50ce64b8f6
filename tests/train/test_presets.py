"""Presets: what they stand for, and that every method resolves them."""

from __future__ import annotations

import pytest

from ldm_wrappers.imagination import ImaginationConfig
from train.config.methods import METHODS
from train.config.on_policy import OnPolicySettings
from train.config.presets import PRESETS, resolve
from train.recurrent_ppo import check_steps

IMAGINATION = ImaginationConfig.__dataclass_fields__


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("env_id", "preset"), [(env_id, preset) for env_id in PRESETS for preset in PRESETS[env_id]]
)
def test_presets_resolve_for_every_method(env_id: str, preset: str, method: str) -> None:
    config = resolve(env_id, method, preset, seed=3)
    assert (config.env_id, config.method, config.preset, config.seed) == (env_id, method, preset, 3)
    check_steps(config)
    assert config.target_kl is None or not METHODS[method].mixreg  # which refuses it
    assert config.n_normal == config.n_workers - (config.n_mixture if method == "ldm" else 0)
    assert OnPolicySettings.from_dict(config.to_dict()) == config


def test_what_the_default_presets_stand_for() -> None:
    """The choices that docs/gridworld.md and the results rest on."""
    grid = resolve("LDM-GridNavi-v0", "ldm")
    assert (grid.n_workers, grid.n_mixture, grid.mixture_components) == (64, 32, 3)
    assert (grid.beta, grid.p_drop, grid.dropout_samples) == (1.0, 0.7, 1)
    assert grid.dropout_per_task and grid.policy_averaging > 0
    assert grid.final_beliefs and grid.reward_threshold == 0.7
    mixture_share = grid.n_mixture * grid.n_steps
    assert grid.threshold_window == mixture_share  # the last rollout
    assert grid.task_candidates == 32
    # as many real steps as the methods without imaginary tasks
    real = grid.total_timesteps * grid.n_normal // grid.n_workers
    assert real == resolve("LDM-GridNavi-v0", "rl2").total_timesteps
    for name in ("oracle", "oracle-rl2", "oracle-varibad"):  # 45 goals instead of 18
        config = resolve("LDM-GridNavi-v0", name)
        assert (config.total_timesteps, config.anneal_from) == (10_000_000, 0.5)
    for name in ("varibad", "oracle-varibad"):  # its policy reads an encoder that changes
        config = resolve("LDM-GridNavi-v0", name)
        assert (config.policy_averaging, config.p_drop, config.decoder_heads) == (0.0, 0.0, 49)
    for name in ("rl2", "oracle-rl2", "mixreg"):
        assert resolve("LDM-GridNavi-v0", name).policy_averaging == grid.policy_averaging

    def updates_per_step(config: OnPolicySettings) -> tuple[float, float]:
        frames = config.n_workers * config.n_steps
        return config.n_epochs * config.n_minibatches / frames, config.vae_updates / frames

    cheetah = "LDM-HalfCheetahVel-v0"
    assert updates_per_step(resolve(cheetah, "rl2")) == updates_per_step(
        resolve(cheetah, "rl2", "paper")
    )
    for env_id in ("LDM-AntGoal-v0", "LDM-AntDir-v0"):
        default, paper = resolve(env_id, "ldm"), resolve(env_id, "ldm", "paper")
        ratio = updates_per_step(default)[1] / updates_per_step(paper)[1]
        assert 1.0 <= ratio <= 1.25  # whole VAE updates per rollout
        assert default.n_mixture / default.n_workers == paper.n_mixture / paper.n_workers
        assert default.mixture_components == paper.n_normal  # weights as spread out as the paper's


def test_a_foreign_environment_starts_from_the_defaults() -> None:
    config = resolve("Pendulum-v1", "rl2")
    assert config == OnPolicySettings(env_id="Pendulum-v1", method="rl2")
    with pytest.raises(ValueError, match="unknown preset 'paper' for Pendulum-v1"):
        resolve("Pendulum-v1", "rl2", "paper")


def test_present_beliefs_are_what_the_paper_mixes() -> None:
    present = resolve("LDM-GridNavi-v0", "ldm", "present-beliefs")
    assert ImaginationConfig(**{name: getattr(present, name) for name in IMAGINATION}) == (
        ImaginationConfig()
    )
    assert (present.beta, present.p_drop, present.mixture_per_dimension) == (1.0, 0.7, True)
