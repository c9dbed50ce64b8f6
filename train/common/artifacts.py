"""What a finished run leaves behind, saved and loaded without running code."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.vec_env import VecNormalize

from ldm_wrappers.imagination import SavedBeliefs
from ldm_wrappers.latent_dynamics import LatentDynamics
from train.common.envs import env_spec
from train.common.learner import Learner, build
from train.common.state_check import check_like, load_weights
from train.config.methods import get_method
from train.persistence.csv_file import read_csv
from train.persistence.run_folder import RunFolder
from train.persistence.state_file import StateFileError, load_state, save_state


def save_artifacts(folder: RunFolder, learner: Learner) -> None:
    """Write policy, VAE, normalisation statistics and sample beliefs into the run folder."""

    def save(path: Path, content: Any) -> None:
        save_state(path, {**_header(folder), "timesteps": steps, "content": content})

    steps = learner.algorithm.num_timesteps
    save(folder.policy, learner.judged_policy.state_dict())
    if learner.normalizer is not None:
        save(folder.normalization, normalization_state(learner.normalizer))
    if learner.model is not None and learner.trainer is not None:
        save(folder.latent_dynamics, learner.model.state_dict())
        if len(learner.trainer.buffer):
            save(folder.beliefs, {"means": sample_beliefs(learner)})


def load_artifacts(folder: RunFolder, device: str = "cpu") -> Learner:
    """Rebuild a run's policy, VAE and normalisation statistics.

    Raises:
        StateFileError: A file is missing, damaged, or does not fit the configuration.
    """
    learner = build(dataclasses.replace(folder.config, device=device))
    try:
        policy = _content(folder, folder.policy, warn_if_old=True)
        load_weights(learner.algorithm.policy, policy, str(folder.policy))
        learner.average = None  # the saved weights are the average
        if learner.model is not None:
            weights = _content(folder, folder.latent_dynamics)
            load_weights(learner.model, weights, str(folder.latent_dynamics))
        if learner.normalizer is not None:
            load_normalization(learner.normalizer, _content(folder, folder.normalization))
    except BaseException:
        learner.vec_env.close()
        raise
    return learner


def load_latent_dynamics(
    run: RunFolder | str | Path, env: gym.Env[Any, Any] | None = None, device: str = "cpu"
) -> LatentDynamics:
    """The VAE of a run, for ``ImaginaryRewardWrapper`` and the like; no training is set up.

    Args:
        run: The run folder.
        env: An environment with the spaces that the run was trained on; ``None`` makes one of the
            run's ``env_id`` to read them off.
        device: Where the weights go.

    Raises:
        StateFileError: A file is missing, damaged, or fits neither the configuration nor ``env``.
        ValueError: The method trains no VAE.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    config = folder.config
    if not get_method(config.method).has_latent_dynamics:
        raise ValueError(f"{folder.path}: method {config.method} has no latent dynamics model")
    weights = _content(folder, folder.latent_dynamics, warn_if_old=True)
    env_spec(config.env_id)
    source = gym.make(config.env_id) if env is None else env
    try:
        model = LatentDynamics(
            source.observation_space,
            source.action_space,
            config.latent_dynamics,
            seed=config.seed,
            device=device,
        )
    finally:
        if env is None:
            source.close()
    load_weights(model, weights, str(folder.latent_dynamics))
    return model


def load_beliefs(run: RunFolder | str | Path) -> SavedBeliefs:
    """Beliefs of 256 tasks that were saved with a run, to mix in ``ImaginaryRewardWrapper``.

    Raises:
        StateFileError: The file is missing, damaged, or does not fit the configuration.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    content = _content(folder, folder.beliefs, warn_if_old=True)
    means = content.get("means") if isinstance(content, dict) else None
    dim = folder.config.latent_dim
    if not (
        isinstance(means, np.ndarray)
        and means.dtype == np.float32
        and means.ndim == 3
        and means.shape[2] == dim
    ):
        found = f"{means.dtype} {means.shape}" if isinstance(means, np.ndarray) else repr(means)
        raise StateFileError(f"{folder.beliefs}: means are {found}, expected float32 (n, H, {dim})")
    try:
        return SavedBeliefs(means)
    except ValueError as error:
        raise StateFileError(f"{folder.beliefs}: {error}") from None


def _header(folder: RunFolder) -> dict[str, Any]:
    """What a file must share with the run that it is read with."""
    return {"env_id": folder.config.env_id, "method": folder.config.method}


def _content(folder: RunFolder, path: Path, *, warn_if_old: bool = False) -> Any:
    """The content of one of a run's files, which must belong to its environment and method."""
    state = load_state(path)
    if not isinstance(state, dict) or "content" not in state:
        raise StateFileError(f"{path} holds no file of a run")
    for name, expected in _header(folder).items():
        if state.get(name) != expected:
            raise StateFileError(
                f"{path} belongs to {name} {state.get(name)!r}, expected {expected!r}"
            )
    if warn_if_old:
        _compare_age(folder, path, state.get("timesteps"))
    return state["content"]


def _compare_age(folder: RunFolder, path: Path, written: Any) -> None:
    """Warn where a run that was made longer has left a file of its old end behind."""
    if not isinstance(written, int):  # files of older versions do not say it
        return
    try:
        reached = int(read_csv(folder.metrics)[-1]["timesteps"])
    except (OSError, LookupError, TypeError, ValueError):
        return  # no metrics, or a last row that a power cut has cut short
    if reached > written:
        print(
            f"warning: {path} is of {written:,} steps, the run has gone on to {reached:,}: "
            f"--resume {folder.path} to its end",
            file=sys.stderr,
        )


def normalization_state(normalizer: VecNormalize) -> dict[str, Any]:
    """Running statistics of observations and returns, and the running returns themselves."""
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
    """Inverse of :func:`normalization_state`.

    Raises:
        StateFileError: What differs; nothing has been changed then.
    """
    check_like(state, normalization_state(normalizer), "normalization")
    for name in ("obs_rms", "ret_rms"):
        statistics = getattr(normalizer, name, None)
        if statistics is not None:
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
