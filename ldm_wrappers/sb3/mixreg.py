"""Mixreg for recurrent policies: convex combinations of whole sequences within the update.

Wang, Kang, Shao and Feng, "Improving Generalization in Reinforcement Learning with Mixture
Regularization" (NeurIPS 2020, reference [44] of the LDM paper), section 3. What that paper leaves
open follows its authors' PPO implementation.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import RecurrentRolloutBufferSamples, RNNStates

from ldm_wrappers.arguments import check_number
from ldm_wrappers.fixed_attribute import FixedAttribute
from ldm_wrappers.sb3.recurrent_ppo import SequenceRecurrentPPO
from ldm_wrappers.sb3.rollout_buffer import SequenceRolloutBuffer


class MixregRolloutBuffer(SequenceRolloutBuffer):
    """Minibatches whose sequences are each mixed with another one of the same minibatch.

    For each sequence i a partner j comes from a random permutation, and one weight
    λ ~ Beta(α, α) applies to the whole sequence. With i and j swapped where λ < 1/2, so that i
    dominates (λ ≥ 1/2),

        s̃ = λ s_i + (1 − λ) s_j,    ỹ = λ y_i + (1 − λ) y_j,    ã = a_i,

    where y are value targets, advantages, old values and old log probabilities. Continuous actions,
    which the authors do not have, keep the noise of sequence i in place of its action,
    ã = μ(s̃) + σ(s̃) (a_i − μ(s_i)) / σ(s_i) with the policy that collected the rollout: a_i itself,
    or a mixture of a_i and a_j, can be many standard deviations away from what the policy does at
    s̃, where ratios overflow.

    An RL² observation contains the previous action, the previous reward and the start flag, so
    these are mixed, and so are the recurrent states that the sequences begin with (zero at an
    episode start). New mixtures are drawn for each minibatch, from the generator that also shuffles
    the workers.

    Sequences of unequal length: the mixture is as long as its dominant sequence, which continues
    unmixed after the end of a shorter partner.

    Args:
        args: See :class:`SequenceRolloutBuffer`.
        alpha: α of the Beta distribution, positive; small values leave most sequences nearly
            unmixed.
        kwargs: See :class:`SequenceRolloutBuffer`.

    Raises:
        ValueError: ``alpha`` is not positive.
    """

    def __init__(
        self,
        *args: Any,
        alpha: float = 0.2,
        **kwargs: Any,
    ) -> None:
        check_number("alpha", alpha, "be positive", lambda value: value > 0.0)
        self.alpha = alpha
        # its log probabilities and values of a mixed minibatch are the old ones, if there is one,
        # instead of mixtures of those that were recorded; see MixregRecurrentPPO
        self.collecting: Any = None
        super().__init__(*args, **kwargs)

    def _samples(self, workers: np.ndarray[Any, Any]) -> RecurrentRolloutBufferSamples:
        samples = super()._samples(workers)
        n = samples.lstm_states.pi[0].shape[1]
        continuous = self.collecting is not None and isinstance(self.action_space, spaces.Box)
        if continuous:
            samples = samples._replace(actions=_noise(self.collecting, samples))
        partner = self.rng.permutation(n)
        weight = self.rng.beta(self.alpha, self.alpha, n)
        dominates = weight >= 0.5
        mixed = mix_sequences(
            samples,
            np.where(dominates, np.arange(n), partner),
            np.where(dominates, partner, np.arange(n)),
            np.where(dominates, weight, 1.0 - weight).astype(np.float32),
        )
        if self.collecting is None:
            return mixed
        if continuous:
            mean, std = _mean_and_std(self.collecting, mixed)
            mixed = mixed._replace(actions=mean + std * mixed.actions)
        return _at_the_mixture(self.collecting, mixed)


def mix_sequences(
    samples: RecurrentRolloutBufferSamples,
    dominant: np.ndarray[Any, Any],
    other: np.ndarray[Any, Any],
    weight: np.ndarray[Any, Any],
) -> RecurrentRolloutBufferSamples:
    """Mix padded sequences; see :class:`MixregRolloutBuffer` for the formulas.

    Args:
        samples: n sequences of equal padded length.
        dominant: Index of the sequence i of each mixture, (n,).
        other: Index of the sequence j of each mixture, (n,).
        weight: float32 λ of each mixture, (n,).
    """
    n, device = len(dominant), samples.mask.device
    i, j = torch.from_numpy(dominant).to(device), torch.from_numpy(other).to(device)
    weights = torch.from_numpy(weight).to(device)
    mask = samples.mask.reshape(n, -1)
    # where the partner has ended, the dominant sequence continues alone
    over_time = 1.0 - (1.0 - weights).unsqueeze(-1) * mask[j]

    def mix(values: torch.Tensor) -> torch.Tensor:
        sequences = values.reshape(n, mask.shape[1], -1)
        share = over_time.unsqueeze(-1)
        mixed = share * sequences[i] + (1.0 - share) * sequences[j]
        return (mixed * mask[i].unsqueeze(-1)).reshape(values.shape)

    keep = 1.0 - samples.episode_starts.reshape(n, -1)[:, 0]

    def mix_states(states: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        kept = [state * keep.view(1, n, 1) for state in states]
        share = weights.view(1, n, 1)
        return tuple(share * state[:, i] + (1.0 - share) * state[:, j] for state in kept)

    actions = samples.actions.reshape(n, mask.shape[1], -1)[i]
    return RecurrentRolloutBufferSamples(
        observations=mix(samples.observations),
        actions=actions.reshape(samples.actions.shape),
        old_values=mix(samples.old_values),
        old_log_prob=mix(samples.old_log_prob),
        advantages=mix(samples.advantages),
        returns=mix(samples.returns),
        lstm_states=RNNStates(
            mix_states(samples.lstm_states.pi), mix_states(samples.lstm_states.vf)
        ),
        # the states are already zero where an episode starts
        episode_starts=torch.zeros_like(samples.episode_starts),
        mask=mask[i].reshape(samples.mask.shape),
    )


class MixregRecurrentPPO(SequenceRecurrentPPO):
    """:class:`SequenceRecurrentPPO` on mixed sequences.

    With discrete actions and several gradient steps per rollout this is the authors' PPO: the ratio
    is π(ã | s̃) / exp(λ log π_old(a_i | s_i) + (1 − λ) log π_old(a_j | s_j)).

    With continuous actions, which the authors do not have, this denominator is far from the density
    of ã at s̃: before the first step a third of the ratios are clipped, and the policy's standard
    deviation grows without bound. There, and with a single gradient step (A2C), the denominator is
    π_old(ã | s̃) of the policy that collected the rollout, and its values at s̃ are the old values of
    ``clip_range_vf``. The ratio is then 1 at first, and so the first gradient is Ã ∇ log π(ã | s̃),
    the paper's policy gradient. This costs a copy of the policy per rollout and one more forward
    pass per step, and with continuous actions three.

    Args:
        args: See :class:`SequenceRecurrentPPO`.
        mixreg_alpha: α of the Beta distribution of the weights, positive.
        kwargs: See :class:`SequenceRecurrentPPO`.

    Raises:
        ValueError: ``mixreg_alpha`` is not positive, a minibatch has only one worker, whose
            sequences have no partner, ``target_kl`` is given with discrete actions (the ratio is
            not 1 before the first step, so it would end nearly every update at once), or as in the
            parent class.
        TypeError: Observations are categories, which cannot be mixed, or as in the parent class.
    """

    mixreg_alpha = FixedAttribute[float]()  # the rollout buffer is built with it

    def __init__(self, *args: Any, mixreg_alpha: float = 0.2, **kwargs: Any) -> None:
        self.mixreg_alpha = mixreg_alpha
        super().__init__(*args, **kwargs)
        self._check_target_kl()

    def _setup_model(self) -> None:
        if not isinstance(self.observation_space, (spaces.Box, spaces.MultiBinary)):
            raise TypeError(
                "mixreg mixes observations, which must be a Box or MultiBinary, got "
                f"{self.observation_space}; gymnasium.wrappers.FlattenObservation around the "
                "environment converts categories to one-hot vectors"
            )
        super()._setup_model()
        self.rollout_buffer = self._whole_workers(
            self.rollout_buffer, MixregRolloutBuffer, alpha=self.mixreg_alpha
        )

    def train(self) -> None:
        """As in the parent class; attributes such as ``n_epochs`` may have changed since."""
        self._check_target_kl()
        assert isinstance(self.rollout_buffer, MixregRolloutBuffer)
        if self._compares_at_the_mixture():
            # its distribution is copied without what it contains: the noise of use_sde belongs to a
            # graph, of which PyTorch makes no deep copies, and densities do not depend on it
            noise = self.policy.action_dist
            shared = {id(noise): copy.copy(noise)}
            self.rollout_buffer.collecting = copy.deepcopy(self.policy, shared)
        try:
            super().train()
        finally:
            self.rollout_buffer.collecting = None

    def _check_target_kl(self) -> None:
        if self.target_kl is not None and not isinstance(self.action_space, spaces.Box):
            raise ValueError(
                "with discrete actions, mixreg compares policies with mixtures of log "
                "probabilities, whose KL divergence is large before the first step: expected "
                f"target_kl = None, got {self.target_kl}"
            )

    def _check_batch_size(self) -> None:
        super()._check_batch_size()
        workers = self.n_envs if self.batch_size is None else self.batch_size // self.n_steps
        if workers < 2:
            raise ValueError(
                "mixreg mixes sequences of the same minibatch: expected at least two workers in "
                f"each, got {workers} (n_envs = {self.n_envs}, batch_size = {self.batch_size}); "
                "with two or more environments, batch_size=None uses all workers at once"
            )

    def _compares_at_the_mixture(self) -> bool:
        whole = self.batch_size is None or self.batch_size == self.n_steps * self.n_envs
        return isinstance(self.action_space, spaces.Box) or (whole and self.n_epochs == 1)


@torch.no_grad()
def _mean_and_std(
    policy: Any, samples: RecurrentRolloutBufferSamples
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the policy's continuous actions, (n steps, n dimensions)."""
    distribution, _ = policy.get_distribution(
        samples.observations, samples.lstm_states.pi, samples.episode_starts
    )
    return distribution.distribution.mean, distribution.distribution.stddev


def _noise(policy: Any, samples: RecurrentRolloutBufferSamples) -> torch.Tensor:
    """By how many standard deviations actions differ from the policy's mean; 0 in the padding."""
    mean, std = _mean_and_std(policy, samples)
    return (samples.actions - mean) / std * samples.mask.reshape(-1, 1)


@torch.no_grad()
def _at_the_mixture(
    policy: Any, mixed: RecurrentRolloutBufferSamples
) -> RecurrentRolloutBufferSamples:
    """The old values and log π(ã | s̃) are those of ``policy``, padding included."""
    actions = mixed.actions
    if isinstance(policy.action_space, spaces.Discrete):
        actions = actions.long().flatten()
    values, log_prob, _ = policy.evaluate_actions(
        mixed.observations, actions, mixed.lstm_states, mixed.episode_starts
    )
    return mixed._replace(old_values=values.flatten(), old_log_prob=log_prob)
