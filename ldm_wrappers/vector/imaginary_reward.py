"""Imaginary rewards for some workers of a vector environment."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from ldm_wrappers.arguments import check_integer
from ldm_wrappers.fixed_attribute import FixedAttribute
from ldm_wrappers.imagination import ExpectedReward, ImaginationScheme, MixtureScheme
from ldm_wrappers.imagination.scheme import check_schemes
from ldm_wrappers.infos import set_aside
from ldm_wrappers.latent_dynamics import BeliefTracker, LatentDynamics, TrajectoryBuffer
from ldm_wrappers.latent_dynamics.model import check_latent_dynamics
from ldm_wrappers.latent_dynamics.transition import FloatArray
from ldm_wrappers.vector.batch import check_batch, reset_all
from ldm_wrappers.vector.infos import BoolArray, ended_rows
from ldm_wrappers.vector.saved_state import load_all_or_nothing
from ldm_wrappers.vector.transition_reader import TransitionReader
from ldm_wrappers.wrapper_order import refuse_around_vae, refuse_imaginary_rewards


class ImaginaryRewardWrapper(VectorWrapper):
    """The last ``n_mixture`` environments earn r̂ = decoder(Σ α⁽ⁱ⁾ m⁽ⁱ⁾, s, a, s') instead of r.

    The others are the paper's normal workers: they keep their rewards, the encoder filters their
    true transitions into the beliefs m⁽ⁱ⁾, and their finished trajectories go into ``buffer``.
    Transitions of mixture workers are used for neither. A step mixes the beliefs from before its
    transitions (or those at the end of finished tasks, see ``imagination``). Weights are drawn
    when a mixture worker's task begins and kept for that task.
    Source: paper, section 3.3 and Figure 2.

    Infos: ``environment_reward``, float64 (num_envs,), the environments' own rewards.

    Args:
        env: Vector environment with ``AutoresetMode.SAME_STEP``, Box observations and
            actions that ``TransitionSpec`` supports; usually a ``MultiEpisodeWrapper``.
        latent_dynamics: The model; training it between steps takes effect immediately.
        n_mixture: Number n̂ of mixture workers, 1 to ``num_envs − 1``.
        mixture: Mixture scheme, Eq. 1 with β = 1 by default.
        buffer: Where trajectories of the normal workers are stored; ``None`` stores none.
        imagination: How an imaginary task computes rewards; by default as in the paper,
            ``ExpectedReward()``.
        seed: Seed of mixture weights and dropout masks. ``reset(seed=…)`` seeds only the
            environments, since it may have a seed for each environment but none for the mixtures.

    Raises:
        ValueError: ``n_mixture`` is out of range, the spaces do not fit the model, ``imagination``
            needs a different likelihood, rewards are already imaginary, another wrapper has added
            columns to the observation (a previous reward, a belief or the task) or scales by
            running statistics, or a wrapper inside stores its trajectories in ``buffer``.
        TypeError: An argument has the wrong type.
        gymnasium.error.ResetNeeded: At a step before the first reset, or after an error.
    """

    imagines_rewards = True
    latent_dynamics = FixedAttribute[LatentDynamics]()
    n_mixture = FixedAttribute[int]()
    n_normal = FixedAttribute[int]()

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        latent_dynamics: LatentDynamics,
        *,
        n_mixture: int,
        mixture: MixtureScheme | None = None,
        buffer: TrajectoryBuffer | None = None,
        imagination: ImaginationScheme | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(env)
        n_mixture = check_integer("n_mixture", n_mixture, least=None)
        check_schemes(mixture, imagination)
        check_batch(env, AutoresetMode.SAME_STEP, "ImaginaryRewardWrapper")
        refuse_imaginary_rewards(env, "ImaginaryRewardWrapper")
        refuse_around_vae(env, "ImaginaryRewardWrapper", buffer)
        if self.num_envs < 2:
            raise ValueError(
                f"num_envs must be at least 2, a normal worker and a mixture worker, got "
                f"{self.num_envs}"
            )
        if not 1 <= n_mixture < self.num_envs:
            raise ValueError(
                f"n_mixture must be at least 1 and leave at least one normal worker out of "
                f"{self.num_envs}: expected 1 to {self.num_envs - 1}, got {n_mixture}"
            )
        spaces = env.single_observation_space, env.single_action_space
        check_latent_dynamics(latent_dynamics, *spaces)
        self.latent_dynamics = latent_dynamics
        self.n_mixture = n_mixture
        self.n_normal = self.num_envs - n_mixture
        self.tracker = BeliefTracker(latent_dynamics, self.n_normal, buffer)
        self.imagination = (imagination or ExpectedReward()).start(
            latent_dynamics,
            n_mixture=n_mixture,
            n_normal=self.n_normal,
            mixture=mixture,
            seed=seed,
        )
        self._reader = TransitionReader(
            latent_dynamics.spec, self.num_envs, "ImaginaryRewardWrapper"
        )

    @property
    def belief_means(self) -> FloatArray:
        """Current beliefs of the normal workers, float32 (n_normal, latent_dim)."""
        return self.tracker.posterior().mean.cpu().numpy()

    @property
    def imaginary_latents(self) -> FloatArray:
        """Latents m̂ of the running imaginary tasks, float32 (n_mixture, latent_dim)."""
        return self.imagination.latents(self._means()).cpu().numpy()

    def _means(self, *, drawn: bool = False) -> torch.Tensor:
        """Beliefs to mix: their means, or what the scheme draws, which advances its generator."""
        if self.imagination.final_beliefs:
            return self.tracker.final_means()
        posterior = self.tracker.posterior()
        return self.imagination.to_mix(posterior) if drawn else posterior.mean

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments: beliefs return to the prior, new mixtures are drawn."""
        with self._reader.resetting():
            observations, infos = reset_all(self.env, seed, options, "ImaginaryRewardWrapper")
            self.tracker.reset()
            self._reader.reset(observations)
            self.imagination.begin()
        return observations, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all environments; filter, record and imagine, each as one batch."""
        columns = self._reader.actions(actions)
        with self._reader.stepping(self.env):
            observations, rewards, terminations, truncations, infos = self.env.step(actions)
        with self._reader.recording():
            ended = ended_rows(terminations, truncations)
            states, next_states = self._reader.step(observations, infos, ended)
            own = np.array(rewards, np.float64)
            earned = self._take_in((states, columns, next_states), own, ended)
        infos = {
            **set_aside(infos, ("environment_reward",)),
            "environment_reward": own,
            "_environment_reward": np.ones(self.num_envs, bool),
        }
        return observations, earned, terminations, truncations, infos

    def _take_in(
        self, transition: tuple[FloatArray, ...], rewards: NDArray[np.float64], ended: BoolArray
    ) -> NDArray[np.float64]:
        """Imagine, then filter and record a step of all workers; returns rewards (num_envs,)."""
        normal, mixed = slice(None, self.n_normal), slice(self.n_normal, None)
        earned = rewards.copy()
        imagined = self.imagination.rewards(
            self._means(drawn=True),
            *(self.latent_dynamics.to_tensor(array[mixed]) for array in transition),
        )
        if np.shape(imagined) != (self.n_mixture,):  # a single reward would go to all of them
            raise ValueError(
                f"rewards() of {type(self.imagination).__name__} returned shape "
                f"{np.shape(imagined)}, expected ({self.n_mixture},): one per mixture worker"
            )
        earned[mixed] = imagined
        self.imagination.begin(ended[mixed])
        states, columns, next_states = (array[normal] for array in transition)
        self.tracker.update(states, columns, rewards[normal], next_states)
        self.tracker.end(ended[normal])
        return earned

    def get_state(self) -> dict[str, Any]:
        """Beliefs, mixtures, running trajectories and last observations, for an exact resume."""
        return {
            **self._reader.get_state(),
            "tracker": self.tracker.state_dict(),
            "imagination": self.imagination.state_dict(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`get_state`; an error leaves everything unchanged.

        Raises:
            ValueError: The state has other sizes, or another model or other imaginary tasks.
            KeyError: A part of the state is missing.
        """
        load_all_or_nothing(self._load, state, self.get_state())

    def _load(self, state: dict[str, Any]) -> None:
        self.tracker.load_state_dict(state["tracker"])
        self.imagination.load_state_dict(state["imagination"])
        self._reader.set_state(state)
