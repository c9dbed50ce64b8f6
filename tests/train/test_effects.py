"""Each setting, changed alone, changes what a run leaves, or is named as one without effect."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from train.common.artifacts import artifact_state
from train.common.notices import settings_without_use
from train.config.grouping import unused_settings
from train.config.methods import get_method
from train.config.presets import resolve
from train.config.settings import RunSettings, flattened
from train.persistence.files import read_csv

ON_POLICY: dict[str, Any] = {
    "n_workers": 4, "n_mixture_workers": 2, "n_episodes": 2, "n_steps": 10, "total_timesteps": 160,
    "log_interval": 1, "n_epochs": 2, "n_minibatches": 1, "learning_rate": 5e-3, "net_arch": (6,),
    "lstm_hidden_size": 6, "latent_dim": 3, "encoder_hidden_size": 6, "vae_trajectories": 3,
    "vae_buffer_trajectories": 5, "clip_range": 0.02,
}  # fmt: skip
ONE_STEP = {**ON_POLICY, "n_epochs": 1}
META: dict[str, Any] = {
    "n_tasks": 3, "n_episodes": 2, "total_timesteps": 120, "n_epochs": 2, "net_arch": (4,),
    "learning_rate": 0.02, "clip_range": 0.02,
}  # fmt: skip
OFF_POLICY: dict[str, Any] = {
    "n_workers": 2, "n_episodes": 3, "initial_episodes": 2, "updates_per_step": 0.3,
    "replay_size": 90, "batch_size": 6, "net_arch": (6,), "total_timesteps": 100,
}  # fmt: skip
MQL: dict[str, Any] = {
    **OFF_POLICY, "history_length": 3, "context_dim": 3, "snapshot_updates": 2, "replay_updates": 3,
    "adapt_batch_size": 7, "snapshot_size": 8, "propensity_c": 50.0,
}  # fmt: skip
MIER: dict[str, Any] = {
    **OFF_POLICY, "meta_batch": 3, "model_hidden_sizes": (5,), "relabel_batch_size": 6,
    "relabel_updates": 2, "test_model_updates": 2, "context_dim": 2,
}  # fmt: skip
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ldm": ("ldm", ON_POLICY),
    "ldm of one belief, without dropout": ("ldm", {**ON_POLICY, "mixture.n_components": 1,
                                                   "p_drop": 0.0}),
    "ldm, moments": ("ldm", {**ONE_STEP, "encoder": "moments", "normalize_reward": True}),
    "rl2": ("rl2", {**ONE_STEP, "policy_memory": "encoder"}),
    "mixreg": ("mixreg", ONE_STEP),
    "varibad": ("varibad", {**ONE_STEP, "policy_memory": "encoder", "encoder": "moments"}),
    "ldm-varibad": ("ldm-varibad", {**ON_POLICY, "normalize_reward": True}),
    "known-task": ("known-task", ON_POLICY),
    "promp": ("promp", META),
    "promp, one epoch": ("promp", {**META, "n_epochs": 1}),
    "e-maml": ("e-maml", META),
    "pearl": ("pearl", {**OFF_POLICY, "meta_batch": 3, "encoder_hidden_sizes": (5,),
                        "latent_dim": 2, "context_size": 5}),
    "mql": ("mql", MQL),
    "mql without replay": ("mql", {**MQL, "replay_updates": 0}),
    "mql, replay moves critics only": ("mql", {**MQL, "replay_updates": 1}),
    "mier": ("mier", MIER),
    "mier, real transitions only": ("mier", {**MIER, "real_share": 1.0}),
}  # fmt: skip
# other values than these of numbers (a little more) and of booleans
OTHER: dict[str, Any] = {
    "env_kwargs": ("gain=0.3",), "max_episode_steps": 4, "eval_interval": 60, "replay_size": 75,
    "imagination.belief_samples": True, "n_workers": 6, "n_steps": 20, "n_episodes": 4,
    "mixture.n_components": 1, "lr_decay_start": 0.0, "policy_ema_decay": 0.5, "gamma": 0.5,
    "gae_lambda": 0.5, "clip_range": 1e-3, "clip_range_vf": 1e-3, "target_kl": 1e-9,
    "max_grad_norm": 0.01, "policy_memory": "encoder", "net_arch": (5,), "optimizer": "rmsprop",
    "return_statistics": "all", "encoder": "moments", "initial_posterior_std": 0.1,
    "decoder_inputs": ("action",), "decoder_hidden_sizes": (5,), "reward_scale": 2.0, "p_drop": 0.2,
    "vae_encoded_lengths": 2, "vae_decoded_steps": 2, "vae_decay_updates": 1, "vae_ema_decay": 0.5,
    "vae_max_grad_norm": 0.01, "vae_buffer_keeps": "oldest", "vae_buffer_trajectories": 2,
    "snapshot_updates": 4, "replay_updates": 4, "test_model_updates": 50,
    "inner_kl_coef": 1.0, "exploration_coef": 0.5, "tau": 0.1, "encoder_hidden_sizes": (4,),
    "adapt_from": 1.0, "propensity_features": "observation-context", "propensity_clip": 0.01,
    "prox": 3.0, "model_hidden_sizes": (4,), "real_share": 0.5,
}  # fmt: skip
# tested in test_settings: what is run and where; refused with this family: heads, Bernoulli
ELSEWHERE = {
    "env_id", "eval_env_id", "method", "preset", "run_dir", "device", "overwrite", "num_threads",
    "total_timesteps", "checkpoint_interval", "log_interval", "observation_keys", "vectorization",
    "flatten_observation", "mixture", "imagination", "decoder_heads", "likelihood",
    "stagger_workers",
}  # fmt: skip
# recorded as they are set; adaptation is at the end of these runs, from whatever share it is
RECORDED, ALWAYS = ("time/", "train/clip_range"), {"adapt_from", "eval_interval"}


def outcome(config: RunSettings, path: Path) -> Any:
    """What a run of a configuration has left, but for its settings."""
    build = importlib.import_module(get_method(config.method).script)
    folder = build.train(dataclasses.replace(config, run_dir=str(path), overwrite=True))
    left: dict[str, Any] = {}
    for file in ("metrics.csv", "evaluations.csv"):
        rows = read_csv(folder.path / file)
        left[file] = [{k: v for k, v in row.items() if not k.startswith(RECORDED)} for row in rows]
    stems = {file.stem for file in folder.path.glob("*.safetensors")} - {"checkpoint"}
    return {**left, **{stem: plain(artifact_state(folder, stem)["content"]) for stem in stems}}


def plain(content: Any) -> Any:
    if isinstance(content, dict):
        named = {"config", "mixture", "imagination"}
        return {name: plain(value) for name, value in content.items() if name not in named}
    if isinstance(content, (torch.Tensor, np.ndarray)):
        return np.asarray(content).tolist()
    return content


def another(name: str, value: Any) -> Any:
    if name in OTHER:
        return OTHER[name]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else 0.7 * value + 0.01


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("base", BASES)
@pytest.mark.filterwarnings("ignore")
def test_each_setting_has_an_effect_or_is_named(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda file: None)
    monkeypatch.setenv("LDM_TRUST_MODULES", "plane_env")
    method, values = BASES[base]
    common = {"device": "cpu", "eval_interval": 10_000}
    config = resolve("plane_env:plane", method, **common, **_known(method, values))
    first = outcome(config, tmp_path / "run")
    named = unused_settings(config) | settings_without_use(config)
    wrong = {}
    for name, value in flattened(config.to_dict()).items():
        if name in ELSEWHERE or (name in ALWAYS and name not in named):
            continue
        other = another(name, value)
        try:
            changed = resolve(
                "plane_env:plane", method, **{**common, **_known(method, values), name: other}
            )
            differs = outcome(changed, tmp_path / "run") != first
        except ValueError:
            continue  # refused: the user is told
        if other != value and differs == (name in named):
            wrong[name] = (value, other, "changes" if differs else "same")
    assert not wrong


def _known(method: str, values: dict[str, Any]) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(resolve("plane_env:plane", method))}
    return {name: value for name, value in values.items() if name.partition(".")[0] in known}
