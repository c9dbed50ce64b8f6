"""What a finished run leaves behind, saved and loaded without running code."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from ldm_wrappers.latent_dynamics import LatentDynamics
from train.learner import Learner, build
from train.run_folder import RunFolder
from train.state_file import StateFileError, load_state, save_state

Arrays = dict[str, np.ndarray[Any, Any]]


def save_artifacts(folder: RunFolder, learner: Learner) -> None:
    """Write policy, VAE, normalisation statistics and sample beliefs into the run folder."""
    save_state(folder.policy, _header(folder, learner.algorithm.policy.state_dict()))
    if learner.normalizer is not None:
        save_state(folder.normalization, _header(folder, normalization_state(learner.normalizer)))
    if learner.model is not None and learner.trainer is not None:
        save_state(folder.latent_dynamics, _header(folder, learner.model.state_dict()))
        if len(learner.trainer.buffer):
            beliefs = sample_beliefs(learner)
            save_state(folder.beliefs, _header(folder, {"means": beliefs}))


def load_artifacts(folder: RunFolder, device: str = "cpu") -> Learner:
    """Rebuild a run's policy, VAE and normalisation statistics.

    Raises:
        StateFileError: A file is missing, damaged, or does not fit the configuration.
    """
    learner = build(
        dataclasses.replace(folder.config, n_workers=folder.config.n_workers, device=device)
    )
    load_weights(learner.algorithm.policy, _content(folder, folder.policy), str(folder.policy))
    if learner.model is not None:
        weights = _content(folder, folder.latent_dynamics)
        load_weights(learner.model, weights, str(folder.latent_dynamics))
    if learner.normalizer is not None:
        load_normalization(learner.normalizer, _content(folder, folder.normalization))
    return learner


def load_beliefs(folder: RunFolder) -> np.ndarray[Any, Any]:
    """Beliefs saved with a run: float32 (n_beliefs, H⁺ + 1, latent_dim)."""
    return np.asarray(_content(folder, folder.beliefs)["means"])


def _header(folder: RunFolder, content: Any) -> dict[str, Any]:
    return {"env_id": folder.config.env_id, "method": folder.config.method, "content": content}


def _content(folder: RunFolder, path: Any) -> Any:
    """The content of one of a run's files, which must belong to its environment and method."""
    state = load_state(path)
    for name in ("env_id", "method"):
        expected = getattr(folder.config, name)
        if not isinstance(state, dict) or state.get(name) != expected:
            found = state.get(name) if isinstance(state, dict) else state
            raise StateFileError(f"{path} belongs to {name} {found!r}, expected {expected!r}")
    return state["content"]


def load_weights(module: LatentDynamics | ActorCriticPolicy, weights: Arrays, name: str) -> None:
    """Load weights after comparing every name, shape and dtype.

    Raises:
        StateFileError: What differs.
    """
    expected = module.state_dict()
    if not isinstance(weights, dict) or set(weights) != set(expected):
        found = set(weights) if isinstance(weights, dict) else set()
        raise StateFileError(
            f"{name}: missing weights {sorted(set(expected) - found)}, unknown weights "
            f"{sorted(map(str, found - set(expected)))}"
        )
    tensors = {key: torch.from_numpy(np.array(value)) for key, value in weights.items()}
    for key, value in tensors.items():
        if value.shape != expected[key].shape or value.dtype != expected[key].dtype:
            raise StateFileError(
                f"{name}: {key} is {tuple(value.shape)} {value.dtype}, expected "
                f"{tuple(expected[key].shape)} {expected[key].dtype}"
            )
        if not torch.isfinite(value).all():
            raise StateFileError(f"{name}: {key} is not finite")
    module.load_state_dict(tensors)


def normalization_state(normalizer: VecNormalize) -> dict[str, Any]:
    """Running statistics of observations and returns, and the running returns themselves."""
    assert isinstance(normalizer.obs_rms, RunningMeanStd) or not normalizer.norm_obs
    state: dict[str, Any] = {"returns": np.asarray(normalizer.returns)}
    for name in ("obs_rms", "ret_rms"):
        statistics = getattr(normalizer, name, None)
        if statistics is not None:
            state[name] = {
                "mean": np.asarray(statistics.mean),
                "var": np.asarray(statistics.var),
                "count": float(statistics.count),
            }
    return state


def load_normalization(normalizer: VecNormalize, state: dict[str, Any]) -> None:
    """Inverse of :func:`normalization_state`."""
    for name in ("obs_rms", "ret_rms"):
        statistics = getattr(normalizer, name, None)
        if statistics is None:
            continue
        if name not in state or np.shape(state[name]["mean"]) != np.shape(statistics.mean):
            raise StateFileError(
                f"normalization: {name} does not fit, expected shape {np.shape(statistics.mean)}"
            )
        statistics.mean = np.array(state[name]["mean"])
        statistics.var = np.array(state[name]["var"])
        statistics.count = float(state[name]["count"])
    normalizer.returns = np.array(state["returns"])


@torch.no_grad()
def sample_beliefs(learner: Learner, n: int = 256) -> np.ndarray[Any, Any]:
    """Belief means along the newest ``n`` training trajectories: (n, H⁺ + 1, latent_dim).

    They can be replayed as ``SavedBeliefs`` for imaginary tasks without a training run.
    """
    assert learner.model is not None and learner.trainer is not None
    batch = learner.trainer.buffer.newest(n, learner.model.device)
    posterior = learner.model.encoder(batch.actions, batch.rewards, batch.next_observations)
    means = posterior.mean
    # behind the end of a shorter trajectory its last belief stays
    times = torch.arange(len(means), device=means.device).unsqueeze(-1)
    index = torch.minimum(times, batch.lengths).unsqueeze(-1).expand_as(means)
    return means.gather(0, index).transpose(0, 1).cpu().numpy()
