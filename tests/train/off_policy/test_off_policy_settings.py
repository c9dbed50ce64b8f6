"""Settings of the off-policy scripts: ranges, and that each of them is read."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from train.common.command_line import parse, unused_flags
from train.config.grouping import group_text
from train.config.off_policy import MierSettings, MqlSettings, OffPolicySettings, PearlSettings
from train.config.presets import resolve
from train.config.settings import RunSettings
from train.off_policy.tasks import training_tasks

CLASSES = {"pearl": PearlSettings, "mql": MqlSettings, "mier": MierSettings}
BAD: dict[str, Any] = {
    "n_episodes": 1, "log_interval": 0, "n_train_tasks": 0, "n_workers": 0, "initial_episodes": 0,
    "updates_per_step": 0.0, "replay_size": 0, "batch_size": 0, "net_arch": (0,),
    "learning_rate": -1.0, "gamma": 1.5, "tau": 0.0, "meta_batch": 0, "prior_episodes": 0,
    "posterior_episodes": -1, "latent_dim": 0, "encoder_hidden_sizes": (0,), "context_size": 0,
    "next_observation_in_context": 1, "kl_weight": -0.5, "reward_scale": 0.0, "ent_coef": 0.0,
    "policy_regularization": -1.0, "episodes_per_visit": 0, "history_length": 0, "context_dim": 0,
    "policy_freq": 0, "exploration_noise": -0.1, "target_noise": -0.1, "adapt_from": 1.1,
    "adapt_learning_rate": 0.0, "snapshot_size": 0, "snapshot_updates": -1, "replay_updates": -1,
    "adapt_batch_size": 0, "propensity_features": "state", "propensity_c": 0.0,
    "propensity_clip": 0.0, "correct_class_sizes": 2, "prox": -1.0, "adapted_episodes": -1,
    "context_steps": 0, "context_learning_rate": 0.0, "learn_initial_context": "no",
    "model_hidden_sizes": (0,), "model_dynamics": 3, "model_learning_rate": 0.0,
    "target_entropy": float("nan"), "relabel_updates": -1, "relabel_batch_size": 1,
    "real_share": 2.0, "test_context_steps": 0, "test_model_updates": -1,
}  # fmt: skip


@pytest.mark.parametrize("method", CLASSES)
def test_without_an_environment_one_with_bounded_actions_is_trained(method: str) -> None:
    config, _ = parse(f"train.{method}", [])
    space = gym.make(config.env_id).action_space
    assert isinstance(space, spaces.Box) and space.is_bounded()
    assert config == resolve("LDM-HalfCheetahVel-v0", method)


def own(kind: type) -> list[str]:
    general = {field.name for field in dataclasses.fields(RunSettings)}
    names = [field.name for field in dataclasses.fields(kind)]
    return [name for name in names if name not in general] + ["n_episodes", "log_interval"]


@pytest.mark.parametrize("method", CLASSES)
def test_every_setting_refuses_what_is_out_of_its_range(method: str) -> None:
    for name in own(CLASSES[method]):
        with pytest.raises(ValueError, match=rf"{name} must .*{re.escape(str(BAD[name]))}"):
            resolve("LDM-HalfCheetahVel-v0", method, **{name: BAD[name]})


@pytest.mark.parametrize("method", CLASSES)
def test_every_setting_is_read_somewhere(method: str) -> None:
    folder = Path(__file__).parents[3] / "train"
    files = [*(folder / "off_policy").glob("*.py"), *(folder / "common").glob("*.py")]
    source = "\n".join(file.read_text(encoding="utf-8") for file in files)
    source += inspect.getsource(inspect.getattr_static(CLASSES[method], "adapts_from").fget)
    for name in own(CLASSES[method]):
        assert re.search(rf"(config|self)\.{name}\b", source), name


REPLAY_FLAGS = "adapt_batch_size propensity_c propensity_clip prox correct_class_sizes"
ALL_FLAGS = f"{REPLAY_FLAGS} propensity_features adapt_from adapt_learning_rate snapshot_size"


@pytest.mark.parametrize(
    ("env_id", "method", "changes", "unused"),
    [
        ("LDM-AntDir-v0", "pearl", {}, "n_train_tasks"),
        ("LDM-AntGoal-v0", "pearl", {}, ""),
        ("LDM-AntGoal-v0", "mql", {}, ""),
        ("LDM-AntGoal-v0", "mql", {"snapshot_updates": 0}, ""),
        ("LDM-AntGoal-v0", "mql", {"replay_updates": 0}, f"{REPLAY_FLAGS} propensity_features"),
        ("LDM-AntGoal-v0", "mql", {"replay_updates": 0, "snapshot_updates": 0}, ALL_FLAGS),
        (
            "LDM-AntGoal-v0",
            "mql",
            {"replay_updates": 2, "policy_freq": 3},
            f"{REPLAY_FLAGS} propensity_features",
        ),
        ("LDM-AntGoal-v0", "mier", {"relabel_updates": 2, "real_share": 0.9}, ""),
        ("LDM-AntGoal-v0", "mier", {"relabel_updates": 2, "real_share": 1.0}, "test_model_updates"),
    ],
)
def test_flags_without_effect_are_named(
    env_id: str, method: str, changes: dict[str, Any], unused: str
) -> None:
    config = resolve(env_id, method, **changes)
    flags = [f"--{name.replace('_', '-')}" for name in own(type(config))]
    named = unused_flags(config, flags).partition(": ")[2].split()
    assert set(named) == {f"--{name.replace('_', '-')}" for name in unused.split()}


def test_mql_without_gradient_steps_at_test_is_scored_like_methods_that_have_none() -> None:
    half = {"adapt_from": 0.5, "total_timesteps": 1000}
    assert resolve("LDM-AntGoal-v0", "mql", **half).adapts_from == 500
    changes = {"replay_updates": 0, "snapshot_updates": 3}
    assert resolve("LDM-AntGoal-v0", "mql", **half, **changes).adapts_from == 500
    changes["snapshot_updates"] = 0
    config = resolve("LDM-AntGoal-v0", "mql", **half, **changes)
    assert config.adapts_from == 0
    assert group_text(config) == group_text(dataclasses.replace(config, prox=0.3))


# steps per train task before the first gradient step, and of all tasks at least, in the authors'
# configurations; MIER's are five times its 400 with the initial context
FIRST_STEPS = {
    "pearl": ({"LDM-HalfCheetahVel-v0": 2000, "LDM-AntDir-v0": 2000, "LDM-AntGoal-v0": 2000}, 0),
    "mql": ({"LDM-HalfCheetahVel-v0": 500, "LDM-AntDir-v0": 1500, "LDM-AntGoal-v0": 1500}, 10_000),
    "mier": ({"LDM-HalfCheetahVel-v0": 2000, "LDM-AntDir-v0": 2000, "LDM-AntGoal-v0": 2000}, 0),
}
TRAIN_TASKS = {"LDM-HalfCheetahVel-v0": 100, "LDM-AntDir-v0": 4, "LDM-AntGoal-v0": 150}


@pytest.mark.parametrize("method", sorted(CLASSES))
@pytest.mark.parametrize("env_id", sorted(TRAIN_TASKS))
def test_paper_collects_as_much_at_first_as_the_authors_rounded_to_episodes(
    env_id: str, method: str
) -> None:
    config, n_tasks = resolve(env_id, method, "paper"), TRAIN_TASKS[env_id]
    per_task, together = FIRST_STEPS[method][0][env_id], FIRST_STEPS[method][1]
    visits = -(-n_tasks // config.n_workers) * config.n_workers  # whole iterations
    needed = max(-(-per_task // 200), -(-together // (200 * visits)))
    assert config.initial_episodes == needed


def test_the_papers_numbers_of_episodes() -> None:
    for env_id in ("LDM-HalfCheetahVel-v0", "LDM-AntDir-v0", "LDM-AntGoal-v0"):
        for preset in ("default", "paper"):
            found = {m: resolve(env_id, m, preset) for m in CLASSES}
            assert {m: c.n_episodes for m, c in found.items()} == {"pearl": 3, "mql": 11, "mier": 3}
            assert all(isinstance(c, OffPolicySettings) for c in found.values())
            default = 400_000 if "Ant" in env_id else 700_000
            total = {"default": default, "paper": 5_000_000}[preset]
            assert all(c.total_timesteps == total for c in found.values())


def test_train_tasks_are_those_of_a_finite_set_or_a_sample_that_the_seed_decides() -> None:
    def sample(seed: int) -> np.ndarray:
        config = resolve("LDM-HalfCheetahVel-v0", "pearl", seed=seed, n_train_tasks=12)
        return training_tasks(config)

    first, again, other = sample(1), sample(1), sample(2)
    np.testing.assert_array_equal(first, again)
    assert not np.isin(first, other).any()
    for tasks in (first, other):
        assert tasks.shape == (12, 1) and len(np.unique(tasks)) == 12
        assert (((tasks >= 0) & (tasks < 0.5)) | ((tasks >= 3) & (tasks < 3.5))).all()
    headings = np.rad2deg(training_tasks(resolve("LDM-AntDir-v0", "mql", n_train_tasks=2)))
    np.testing.assert_allclose(np.sort(headings[:, 0]), [0, 90, 180, 270], atol=1e-3)
