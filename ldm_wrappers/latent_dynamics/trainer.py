"""Trains a latent dynamics model on the trajectories of a buffer."""

from __future__ import annotations

import contextlib
import copy
import math
import warnings
from typing import Any

import torch

from ldm_wrappers.arguments import check_integer, check_number, check_seed, check_type
from ldm_wrappers.fixed_attribute import FixedAttribute
from ldm_wrappers.latent_dynamics.buffer import TrajectoryBuffer, check_buffer
from ldm_wrappers.latent_dynamics.elbo import ElboTerms, TrajectoryBatch, elbo
from ldm_wrappers.latent_dynamics.generator_state import check_generator_state
from ldm_wrappers.latent_dynamics.model import LatentDynamics
from ldm_wrappers.latent_dynamics.running_average import RunningAverage
from ldm_wrappers.saved_state import to_tensors


class LatentDynamicsTrainer:
    """Adam on the negative ELBO of random trajectories.

    The loss is divided by the number of encoded lengths, so that losses of tasks of different
    lengths are comparable; Adam is not affected by this.

    Args:
        model: Model to train.
        buffer: Where trajectories come from.
        learning_rate: Adam's learning rate.
        batch_trajectories: Trajectories per update.
        n_encoded_lengths: Encoded lengths per trajectory and update, ``None`` for all.
        n_decoded_steps: Decoded transitions per trajectory and update, ``None`` for all.
        decay_updates: The learning rate of update u is ``learning_rate / sqrt(1 + u /
            decay_updates)``, high at the beginning; ``None`` keeps it constant.
        averaging: Rate of a running average of the weights, 0 for none. The model then has the
            average whenever :meth:`update` is not running; weights after single updates, and the
            beliefs that depend on them, fluctuate.
        max_grad_norm: Gradients of the loss are scaled down to this norm, ``None`` for no limit.
        seed: Seed of latents, subsets and dropout masks.

    Raises:
        TypeError: ``model`` or ``buffer`` has the wrong type.
        ValueError: A number is out of range, or the buffer and the model were made for different
            spaces.
    """

    model = FixedAttribute[LatentDynamics]()

    def __init__(
        self,
        model: LatentDynamics,
        buffer: TrajectoryBuffer,
        *,
        learning_rate: float = 1e-3,
        batch_trajectories: int = 25,
        n_encoded_lengths: int | None = None,
        n_decoded_steps: int | None = None,
        decay_updates: int | None = None,
        averaging: float = 0.0,
        max_grad_norm: float | None = None,
        seed: int = 0,
    ) -> None:
        check_type("model", model, LatentDynamics)
        check_buffer(buffer, model.spec)
        batch_trajectories = check_integer("batch_trajectories", batch_trajectories)
        for name, size in (
            ("n_encoded_lengths", n_encoded_lengths),
            ("n_decoded_steps", n_decoded_steps),
            ("decay_updates", decay_updates),
        ):
            if size is not None:
                check_integer(name, size)
        if max_grad_norm is not None:
            check_number("max_grad_norm", max_grad_norm, "be positive or None", lambda n: n > 0.0)
        check_number("averaging", averaging, "lie in [0, 1)", lambda share: 0.0 <= share < 1.0)
        self.model = model
        self.buffer = buffer
        self.batch_trajectories = batch_trajectories
        self.n_encoded_lengths = n_encoded_lengths
        self.n_decoded_steps = n_decoded_steps
        self.decay_updates = decay_updates
        self.max_grad_norm = max_grad_norm
        self._average = RunningAverage(model, averaging) if averaging else None
        self.optimizer = torch.optim.Adam(model.parameters())
        self.learning_rate = learning_rate  # Adam's too
        self.generator = torch.Generator(device=model.device).manual_seed(check_seed(seed))
        self.n_updates = 0
        self._warned = False  # of rewards that a Bernoulli decoder cannot represent

    @property
    def learning_rate(self) -> float:
        """Adam's learning rate, of the first update if it decays; may be changed."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        check_number("learning_rate", rate, "be positive", lambda value: value > 0.0)
        self._learning_rate = rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def update(self, n_updates: int) -> dict[str, float]:
        """Take ``n_updates`` gradient steps; nothing happens while the buffer is empty.

        Returns:
            Means over the updates of ``elbo``, ``reconstruction`` and ``kl`` (nats per encoded
            length, averaged over trajectories) and ``loss``, whose gradients are taken (nats per
            encoded length of the longest trajectory of a batch); empty if no update was made.

        Raises:
            FloatingPointError: A loss or gradient is not finite; the weights of the last good
                update are kept.
        """
        if not len(self.buffer) or n_updates < 1:
            return {}
        with self.model.updating:
            if self.model.config.reward_scale == "running":
                self.model.reward_scale.fit(*self.buffer.reward_moments())
            with self._average.single_weights() if self._average else contextlib.nullcontext():
                totals = [self._step() for _ in range(n_updates)]
        means = torch.stack(totals).mean(0).tolist()
        return dict(zip(("loss", "elbo", "reconstruction", "kl"), means, strict=True))

    def _step(self) -> torch.Tensor:
        batch = self.buffer.sample(self.batch_trajectories, self.model.device)
        if self.model.config.likelihood == "bernoulli" and not self._warned:
            self._warn_of_other_rewards(batch)
        self.model.observation_scale.observe(batch.next_observations, batch.lengths)
        terms = self.evaluate(batch, dropout=True)
        scale = 1.0 / (batch.rewards.shape[0] + 1)
        loss = -terms.elbo.mean() * scale
        self.optimizer.zero_grad()
        loss.backward()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]).norm()
        if not torch.isfinite(loss + norm):
            raise FloatingPointError(
                f"latent dynamics update {self.n_updates}: loss {loss.item()}, gradient norm "
                f"{norm.item()}; expected finite numbers"
            )
        if self.max_grad_norm is not None and norm > self.max_grad_norm:
            for gradient in gradients:
                gradient.mul_(self.max_grad_norm / norm)
        if self.decay_updates is not None:
            rate = self.learning_rate / math.sqrt(1.0 + self.n_updates / self.decay_updates)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
        self.optimizer.step()
        self.model.metadata = {}  # it is no longer the model of the run that it was loaded from
        self.n_updates += 1
        if self._average is not None:
            self._average.add(self.n_updates)
        lengths = batch.lengths + 1
        values = [terms.elbo, terms.reconstruction, terms.kl]
        return torch.stack([loss.detach(), *[(v.detach() / lengths).mean() for v in values]])

    def _warn_of_other_rewards(self, batch: TrajectoryBatch) -> None:
        """Warn if a Bernoulli decoder is trained on rewards other than its two."""
        low, high = self.model.config.reward_low, self.model.config.reward_high
        inside = torch.arange(len(batch.rewards), device=batch.lengths.device)
        seen = batch.rewards[inside.unsqueeze(1) < batch.lengths]
        other = seen[torch.minimum((seen - low).abs(), (seen - high).abs()) > 0.01 * (high - low)]
        if len(other):
            self._warned = True
            warnings.warn(
                f"rewards such as {other[0].item():g} are neither reward_low={low:g} nor "
                f"reward_high={high:g}, the only two that likelihood='bernoulli' imagines: each is "
                "replaced by the nearer one. Expected likelihood='gaussian'",
                stacklevel=4,
            )

    def evaluate(self, batch: TrajectoryBatch, *, dropout: bool = False) -> ElboTerms:
        """ELBO of given trajectories, with this trainer's subsets and generator."""
        return elbo(
            self.model,
            batch,
            n_encoded_lengths=self.n_encoded_lengths,
            n_decoded_steps=self.n_decoded_steps,
            dropout=dropout,
            generator=self.generator,
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything except weights and buffer: optimizer, generator, counter."""
        with self.model.updating:
            state = {
                # a copy: torch's state shares Adam's moments, which the next update changes
                "optimizer": copy.deepcopy(self.optimizer.state_dict()),
                "generator": self.generator.get_state(),
                "n_updates": self.n_updates,
            }
            if self._average is not None:
                state["single_weights"] = self._average.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; the learning rate remains this trainer's own.

        Args:
            state: A saved state; its tensors may be NumPy arrays.

        Raises:
            ValueError: The generator belongs to another kind of device, or only one of the two
                trainers averages weights; nothing is changed then.
        """
        state = to_tensors(state)
        averaged, averages = "single_weights" in state, self._average is not None
        if averaged != averages:
            raise ValueError(
                f"the saved trainer {'averages' if averaged else 'does not average'} weights, this "
                f"one {'does' if averages else 'does not'}: expected the averaging=… that it was "
                f"saved with, {'above 0' if averaged else '0'}"
            )
        check_generator_state(state["generator"], self.generator)
        self.optimizer.load_state_dict(state["optimizer"])
        self.learning_rate = self._learning_rate  # not the saved one
        self.generator.set_state(state["generator"].cpu())
        if self._average is not None:
            self._average.load_state_dict(state["single_weights"])
        self.n_updates = int(state["n_updates"])
