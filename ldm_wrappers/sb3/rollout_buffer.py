"""A recurrent rollout buffer that never splits a worker's rollout between minibatches."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.type_aliases import RecurrentRolloutBufferSamples, RNNStates
from stable_baselines3.common.buffers import RolloutBuffer

from ldm_wrappers.arguments import check_optional_seed
from ldm_wrappers.sb3.time_limits import TimeLimits, cut_advantages

_IMPOSSIBLE = 1e30
"""Old log probability in the padding, with which the ratio there is exp(-1e30) = 0."""


class SequenceRolloutBuffer(RecurrentRolloutBuffer):
    """Stores rollouts of ``(n_steps, n_workers)``; a minibatch has whole rollouts of some workers.

    Stock sb3-contrib rotates the flattened rollout by a random offset and cuts it into contiguous
    chunks, which splits workers' sequences and truncates their gradients. Here a minibatch is the
    rollouts of a random set of workers, which are cut only where an episode starts. Values, log
    probabilities and recurrent states stay tensors on the policy's device while a rollout is
    collected, so nothing waits for a copy to the host; recurrent states are kept for the first
    step only, since every later sequence begins an episode.

    Args:
        buffer_size: Steps per worker.
        observation_space: Box.
        action_space: Any space SB3's rollout buffer knows.
        hidden_state_shape: ``(n_steps, n_layers, n_workers, hidden_size)``.
        device: Device of the minibatches.
        gae_lambda: λ of generalised advantage estimation.
        gamma: Discount factor.
        n_envs: Number of workers.
        seed: Seed of the order of workers.
        time_limits: Called after each step; returns whether an episode inside a meta-episode has
            just reached its time limit, bool (n_envs,). No advantage flows back across such a
            step, whose return is its own value. ``None``: advantages flow through whole
            meta-episodes.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        hidden_state_shape: tuple[int, int, int, int],
        device: torch.device | str = "auto",
        gae_lambda: float = 1,
        gamma: float = 0.99,
        n_envs: int = 1,
        seed: int | None = None,
        time_limits: TimeLimits | None = None,
    ) -> None:
        self.time_limits = time_limits
        self.rng = np.random.default_rng(check_optional_seed(seed))
        super().__init__(
            buffer_size,
            observation_space,
            action_space,
            hidden_state_shape,
            device,
            gae_lambda,
            gamma,
            n_envs,
        )

    def reset(self) -> None:
        """Empty the buffer."""
        RolloutBuffer.reset(self)  # not the parent's: it allocates states for every step
        self._step_values: list[torch.Tensor] = []
        self._step_log_probs: list[torch.Tensor] = []
        self._initial_states: RNNStates | None = None
        self._limits = np.zeros((self.buffer_size, self.n_envs), bool)

    def add(  # type: ignore[override]
        self,
        obs: np.ndarray[Any, Any],
        action: np.ndarray[Any, Any],
        reward: np.ndarray[Any, Any],
        episode_start: np.ndarray[Any, Any],
        value: torch.Tensor,
        log_prob: torch.Tensor,
        *,
        lstm_states: RNNStates,
    ) -> None:
        """Add one step of all workers, as sb3-contrib's ``collect_rollouts`` calls it."""
        if not self.pos:
            self._initial_states = lstm_states
        if not np.can_cast(obs.dtype, self.observations.dtype, "same_kind"):
            # normalised integers, which the space's dtype would truncate
            self.observations = self.observations.astype(obs.dtype)
        self.observations[self.pos] = np.reshape(obs, self.observations.shape[1:])
        self.actions[self.pos] = action.reshape((self.n_envs, self.action_dim))
        self.rewards[self.pos] = reward
        self.episode_starts[self.pos] = episode_start
        if self.time_limits is not None:
            self._limits[self.pos] = self.time_limits()
        self._step_values.append(value.reshape(self.n_envs))
        self._step_log_probs.append(log_prob.reshape(self.n_envs))
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def compute_returns_and_advantage(
        self, last_values: torch.Tensor, dones: np.ndarray[Any, Any]
    ) -> None:
        """Fetch values and log probabilities in one copy each, then GAE as in SB3."""
        self.values = torch.stack(self._step_values).cpu().numpy()
        self.log_probs = torch.stack(self._step_log_probs).cpu().numpy()
        super().compute_returns_and_advantage(last_values, dones)
        cut_advantages(self, self._limits)

    def get(  # type: ignore[override]
        self, batch_size: int | None = None
    ) -> Generator[RecurrentRolloutBufferSamples, None, None]:
        """Yield every worker once, in random order.

        Args:
            batch_size: Transitions per minibatch, a multiple of ``buffer_size``; ``None`` for all
                workers at once.

        Raises:
            ValueError: The rollout is not full, or ``batch_size`` is not such a multiple.
        """
        if not self.full:
            raise ValueError(f"the rollout has {self.pos} of {self.buffer_size} steps")
        if batch_size is not None and (batch_size < 1 or batch_size % self.buffer_size):
            raise ValueError(
                f"batch_size must be a positive multiple of buffer_size = {self.buffer_size}, got "
                f"{batch_size}"
            )
        workers = self.n_envs if batch_size is None else batch_size // self.buffer_size
        order = self.rng.permutation(self.n_envs)
        for start in range(0, self.n_envs, workers):
            yield self._samples(order[start : start + workers])

    def _samples(self, workers: np.ndarray[Any, Any]) -> RecurrentRolloutBufferSamples:
        """Cut the rollouts of ``workers`` at episode starts, pad to the longest sequence."""
        starts = self.episode_starts[:, workers].T > 0.5
        starts[:, 0] = True
        rows, begins = np.nonzero(starts)
        ends = np.append(np.where(rows[1:] != rows[:-1], self.buffer_size, begins[1:]), -1)
        ends[-1] = self.buffer_size
        lengths = ends - begins
        steps = begins[:, None] + np.arange(lengths.max())
        inside = steps < ends[:, None]
        steps = np.minimum(steps, self.buffer_size - 1)
        columns = np.broadcast_to(workers[rows][:, None], steps.shape)

        def take(array: np.ndarray[Any, Any], padding: float = 0.0) -> torch.Tensor:
            values = array[steps, columns]
            if not inside.all():
                values[~inside] = padding
            return torch.from_numpy(values.reshape(steps.size, *array.shape[2:])).to(self.device)

        begin_an_episode = np.zeros(steps.shape, np.float32)
        begin_an_episode[:, 0] = self.episode_starts[begins, workers[rows]]
        return RecurrentRolloutBufferSamples(
            observations=take(self.observations),
            actions=take(self.actions).float(),  # as in SB3: Bernoulli takes no integers
            old_values=take(self.values),
            # with 0 the ratio in the padding could overflow, whose masked gradient is 0 · ∞ = NaN
            old_log_prob=take(self.log_probs, padding=_IMPOSSIBLE),
            advantages=take(self.advantages),
            returns=take(self.returns),
            lstm_states=self._states(workers[rows], begins == 0),
            episode_starts=torch.from_numpy(begin_an_episode.ravel()).to(self.device),
            mask=torch.from_numpy(inside.ravel().astype(np.float32)).to(self.device),
        )

    def _states(
        self, workers: np.ndarray[Any, Any], first: np.ndarray[Any, np.dtype[np.bool_]]
    ) -> RNNStates:
        """States at the sequences' starts; zero for those that begin inside the rollout."""
        assert self._initial_states is not None
        index = torch.from_numpy(workers).to(self.device)
        keep = torch.from_numpy(first.astype(np.float32)).to(self.device).view(1, -1, 1)
        picked = [
            tuple(state.detach()[:, index] * keep for state in states)
            for states in self._initial_states
        ]
        return RNNStates(*picked)
