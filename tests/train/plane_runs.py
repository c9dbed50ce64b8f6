"""Small runs of every method on a plane, and what they leave."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.common.artifacts import artifact_state
from train.config.methods import get_method
from train.config.presets import resolve
from train.config.settings import RunSettings
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
RECORDED = ("time/", "train/clip_range")  # not results


def configuration(base: str, **changes: Any) -> RunSettings:
    """The settings of a run of ``BASES``."""
    method, values = BASES[base]
    known = {field.name for field in dataclasses.fields(resolve("plane_env:plane", method))}
    values = {name: value for name, value in values.items() if name.partition(".")[0] in known}
    return resolve("plane_env:plane", method, **{"eval_interval": 10_000, **values, **changes})


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
