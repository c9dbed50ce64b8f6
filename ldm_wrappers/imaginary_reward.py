"""Imaginary rewards for a single environment."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np

from ldm_wrappers.arguments import check_protocol, scalar_reward
from ldm_wrappers.fixed_attribute import FixedAttribute
from ldm_wrappers.imagination import (
    BeliefPool,
    BeliefSource,
    DirichletMixture,
    ExpectedReward,
    ImaginationScheme,
    MixtureScheme,
    SavedBeliefs,
    mixes_all,
)
from ldm_wrappers.imagination.scheme import check_schemes
from ldm_wrappers.infos import set_aside
from ldm_wrappers.latent_dynamics import LatentDynamics
from ldm_wrappers.latent_dynamics.model import check_latent_dynamics
from ldm_wrappers.latent_dynamics.transition import FloatArray
from ldm_wrappers.live_arguments import RecordLiveArguments
from ldm_wrappers.transition_reader import TransitionReader
from ldm_wrappers.wrapper_order import refuse_around_vae, refuse_imaginary_rewards

_A_SOURCE = "a BeliefPool, or SavedBeliefs such as SavedBeliefs.load(path)"
FEW = 3  # how many saved beliefs a task mixes by default


class ImaginaryRewardWrapper(gym.Wrapper[Any, Any, Any, Any], RecordLiveArguments):
    """Replaces the reward by r̂ = decoder(Σ α⁽ⁱ⁾ m⁽ⁱ⁾, s, a, s').

    The environment becomes a mixture worker of the paper (section 3.3). The beliefs m⁽ⁱ⁾ come from
    ``beliefs``: a :class:`BeliefPool` that other environments in this process publish to (through
    ``BeliefPublisherWrapper``), or the :class:`SavedBeliefs` of a finished run. New mixture
    weights are drawn at every ``reset`` and kept until the next one.

    Info: ``environment_reward`` (float), the environment's own reward.

    Args:
        env: Environment with Box observations and actions that ``TransitionSpec`` supports, usually
            a ``MultiEpisodeWrapper``, so that an imaginary task lasts a whole meta-episode.
        latent_dynamics: The model; training it between steps takes effect immediately.
        beliefs: Source of the beliefs to mix.
        mixture: Mixture scheme. By default, all beliefs of a pool are mixed by Eq. 1 with β = 1;
            saved beliefs are mixed by the scheme saved with them or, if there is none, three
            random ones by Eq. 1 with β = 1, since a mixture of hundreds is close to their mean.
            Warns if the file of an older run does not say how many beliefs were mixed.
        imagination: How an imaginary task computes rewards. By default as in the run that saved
            the beliefs, else as in the paper, ``ExpectedReward()``.
        seed: Seed of mixture weights and dropout masks; ``reset(seed=…)`` seeds them as well.

    Raises:
        ValueError: The environment's spaces or the beliefs do not fit the model, the beliefs come
            from a different run, ``imagination`` needs a different likelihood or samples of
            beliefs, the environment's rewards are already imaginary, or another wrapper has added
            columns to the observation (a previous reward, a belief or the task) or scales what the
            VAE reads by running statistics; at a step, the number of beliefs has changed.
        TypeError: An argument has the wrong type.
        gymnasium.error.ResetNeeded: At a step before the first reset, or after the end of a task.
    """

    lasts_a_task = True
    imagines_rewards = True
    latent_dynamics = FixedAttribute[LatentDynamics]()
    beliefs = FixedAttribute[BeliefSource]()

    def __init__(
        self,
        env: gym.Env[Any, Any],
        latent_dynamics: LatentDynamics,
        beliefs: BeliefSource,
        *,
        mixture: MixtureScheme | None = None,
        imagination: ImaginationScheme | None = None,
        seed: int | None = None,
    ) -> None:
        RecordLiveArguments.__init__(
            self,
            latent_dynamics=latent_dynamics,
            beliefs=beliefs,
            mixture=mixture,
            imagination=imagination,
            seed=seed,
        )
        super().__init__(env)
        refuse_imaginary_rewards(env, "ImaginaryRewardWrapper")
        refuse_around_vae(env, "ImaginaryRewardWrapper")
        check_schemes(mixture, imagination)
        if not isinstance(beliefs, BeliefPool):
            check_protocol("beliefs", beliefs, ("means", "final_means"), _A_SOURCE)
        check_latent_dynamics(latent_dynamics, env.observation_space, env.action_space)
        if isinstance(beliefs, SavedBeliefs):
            few = DirichletMixture(n_components=min(FEW, beliefs.n_beliefs))
            mixture = mixture or beliefs.mixture or few
            _refuse_other_run(latent_dynamics, beliefs)
            _warn_of_unknown_number(beliefs, mixture)
            imagination = imagination or beliefs.imagination
        if isinstance(beliefs, BeliefPool):  # not read here: it may have no beliefs yet
            latent_dim = beliefs.latent_dim
        else:
            latent_dim = beliefs.means(0).shape[1]
        if latent_dim != latent_dynamics.config.latent_dim:
            raise ValueError(
                f"the beliefs have {latent_dim} dimensions, the latent dynamics model has "
                f"{latent_dynamics.config.latent_dim}"
            )
        self.latent_dynamics = latent_dynamics
        self.beliefs = beliefs
        self._shape = (beliefs.n_beliefs, latent_dim)
        self.imagination = (imagination or ExpectedReward()).start(
            latent_dynamics,
            n_mixture=1,
            n_normal=self._shape[0],
            mixture=mixture,
            seed=seed,
        )
        if self.imagination.belief_samples:
            raise ValueError(
                f"{imagination} mixes samples of beliefs, but the belief source of a single "
                "environment only gives means: expected belief_samples=False, or "
                "ldm_wrappers.vector.ImaginaryRewardWrapper"
            )
        self._reader = TransitionReader(latent_dynamics.spec, "ImaginaryRewardWrapper")
        self._number = beliefs.new_member() if isinstance(beliefs, BeliefPool) else 0
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset and begin a new imaginary task."""
        with self._reader.resetting():
            observation, info = self.env.reset(seed=seed, options=options)
            if seed is not None:
                self.imagination.seed(seed)
            self.imagination.begin()
            if isinstance(self.beliefs, BeliefPool):
                self.beliefs.begin_reset(self._number, ended=self._reader.ended)
            self._reader.reset(observation)
        self._step = 0
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step and return the imaginary reward."""
        columns = self._reader.action(action)
        # the beliefs from before the step, whether or not publishers have stepped already
        source = self.beliefs
        if isinstance(source, BeliefPool):
            source = source.begin_step(self._number)
        means = self._means(source)
        with self._reader.stepping(self.env):
            observation, reward, terminated, truncated, info = self.env.step(action)
        with self._reader.recording():
            if isinstance(self.beliefs, BeliefPool):
                self.beliefs.end_step()
            ended = bool(terminated or truncated)
            state, next_state = self._reader.step(observation, info, ended=ended)
            arrays = (means, state, columns, next_state)
            imagined = self.imagination.rewards(*map(self.latent_dynamics.to_tensor, arrays))
            self._step += 1
            own = scalar_reward(reward)
        info = {**set_aside(info, ("environment_reward",)), "environment_reward": own}
        return observation, float(imagined[0]), terminated, truncated, info

    def _means(self, source: BeliefSource) -> FloatArray:
        """Belief means to mix at the next step, (n_beliefs, latent_dim)."""
        final = self.imagination.final_beliefs
        means = source.final_means() if final else source.means(self._step)
        if np.shape(means) != self._shape:  # one row would be broadcast, or all be added up
            raise ValueError(
                f"{'final_means()' if final else 'means()'} of {type(source).__name__} returned "
                f"shape {np.shape(means)}, expected {self._shape}: n_beliefs and latent_dim when "
                "the wrapper was made; make another wrapper for another number of beliefs"
            )
        return means


def _refuse_other_run(latent_dynamics: LatentDynamics, beliefs: SavedBeliefs) -> None:
    """Raise a ``ValueError`` if the files come from different runs, or from different steps."""
    metadata = [getattr(part, "metadata", {}) for part in (latent_dynamics, beliefs)]
    (model_run, model_steps), (run, steps) = [(m.get("run"), m.get("timesteps")) for m in metadata]
    if not isinstance(run, str):
        return  # beliefs of the caller's own, or written by an older version
    if not isinstance(model_run, str):
        raise ValueError(
            f"the beliefs come from run {run}, the latent dynamics model from none: it is new, or "
            "was trained after it was loaded, so that its latents mean something else. Expected "
            "both files from one run folder, or beliefs of this model in a new SavedBeliefs"
        )
    if model_run != run:
        raise ValueError(
            f"the latent dynamics model comes from run {model_run}, the beliefs from run {run}, "
            "whose latents mean something else: expected both files from one run folder"
        )
    if model_steps != steps:
        raise ValueError(
            f"the latent dynamics model was written after {model_steps} steps, the beliefs after "
            f"{steps}: saving was interrupted, and --resume completes it"
        )


def _warn_of_unknown_number(beliefs: SavedBeliefs, mixture: MixtureScheme) -> None:
    """Warn if the saved scheme mixes all workers of its run without saying how many there were.

    This is so in files of older runs; newer ones save the number of workers.
    """
    n, saved = beliefs.n_beliefs, beliefs.mixture
    if saved is None or mixture != saved or not mixes_all(saved) or n <= FEW:
        return
    warnings.warn(
        f"the saved mixture ({saved}) mixed all normal workers of its run but does not say how "
        f"many there were: here it mixes all {n} saved beliefs, so tasks are close to their "
        "mean. Pass mixture=dataclasses.replace(beliefs.mixture, n_components=…) with the number "
        "of normal workers (n_workers − n_mixture_workers in the run's config.json), or with "
        f"{n} to mix all",
        stacklevel=3,
    )
