"""sb3-contrib's RecurrentPPO with minibatches of whole worker rollouts."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces
from sb3_contrib import RecurrentPPO

from ldm_wrappers.arguments import check_flag, check_integer, check_number, check_optional_seed
from ldm_wrappers.fixed_attribute import FixedAttribute
from ldm_wrappers.sb3.rollout_buffer import SequenceRolloutBuffer
from ldm_wrappers.sb3.time_limits import check_time_limits, inner_time_limits

Buffer = TypeVar("Buffer", bound=SequenceRolloutBuffer)


class SequenceRecurrentPPO(RecurrentPPO):
    """``RecurrentPPO`` with :class:`SequenceRolloutBuffer`; everything else is sb3-contrib's.

    A rollout that a callback or an exception stops is dropped, and the next ``learn`` begins with a
    reset, also with ``reset_num_timesteps=False``.

    With one epoch, one minibatch of all workers, RMSprop and unnormalised advantages, it is A2C.

    Args:
        args: See ``RecurrentPPO``; ``batch_size`` counts transitions and must be a multiple of
            ``n_steps`` that divides ``n_steps · n_envs`` (``None``: everything at once).
        cut_at_time_limits: Let no advantage flow back across the time limit of an episode inside a
            meta-episode (:func:`~ldm_wrappers.sb3.time_limits.cut_advantages`). The environment
            must then be a :class:`VectorEnvAdapter` around a ``MultiEpisodeWrapper``.
        kwargs: See ``RecurrentPPO``.

    Raises:
        ValueError: ``n_steps`` or ``n_epochs`` is below 1, ``gamma`` or ``gae_lambda`` is not
            within [0, 1], ``batch_size`` splits a worker's rollout or leaves a smaller last
            minibatch, actions are squashed, ``cut_at_time_limits`` is not a boolean, the
            environment has no inner episodes, or ``load`` reads a ``MixregRecurrentPPO``.
        TypeError: Dict or MultiDiscrete observations.
    """

    cut_at_time_limits = FixedAttribute[bool]()  # the rollout buffer is built with it

    def __init__(self, *args: Any, cut_at_time_limits: bool = False, **kwargs: Any) -> None:
        self.cut_at_time_limits = check_flag("cut_at_time_limits", cut_at_time_limits)
        super().__init__(*args, **kwargs)

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """As in sb3-contrib; after a rollout that is stopped, the next ``learn`` resets the env.

        The environment may be a step ahead of the last observation and of the recurrent states,
        in another task even, if a callback or an exception has stopped the rollout.
        """
        if self.n_steps != self.rollout_buffer.buffer_size:
            raise ValueError(
                f"n_steps = {self.n_steps} was changed after the rollout buffer was built for "
                f"{self.rollout_buffer.buffer_size}; expected n_steps = "
                f"{self.rollout_buffer.buffer_size}, or save() and load(…, env=env, "
                f"n_steps={self.n_steps})"
            )
        complete = False
        try:
            complete = super().collect_rollouts(*args, **kwargs)
        finally:
            if not complete:
                self._last_obs = None
        return complete

    def _inner_time_limits(self) -> np.ndarray[Any, Any]:
        vec_env = self.get_env()
        assert vec_env is not None
        return inner_time_limits(vec_env)

    def _setup_model(self) -> None:
        if isinstance(self.observation_space, (spaces.Dict, spaces.MultiDiscrete)):
            raise TypeError(
                f"observations must be a Box, got {self.observation_space}; put "
                "gymnasium.wrappers.FlattenObservation around the environment"
            )
        if "mixreg_alpha" in vars(self) and not hasattr(type(self), "mixreg_alpha"):
            # load has read it: Stable-Baselines3's files do not name the class
            raise ValueError(
                f"this is a file of a MixregRecurrentPPO, which {type(self).__name__} would train "
                "further without mixing; use MixregRecurrentPPO.load"
            )
        self._check_batch_size()
        for name in ("gamma", "gae_lambda"):
            check_number(name, getattr(self, name), "be within [0, 1]", lambda x: 0.0 <= x <= 1.0)
        if self.cut_at_time_limits:
            check_time_limits(self.get_env())
        self.seed = check_optional_seed(self.seed)  # Python's random does not accept NumPy integers
        super()._setup_model()
        if self.policy.squash_output:
            raise ValueError(
                "squash_output=True is not supported: sb3-contrib's rollouts pass squashed actions "
                "to the environment unscaled, but predict scales them; expected squash_output=False"
            )
        self.rollout_buffer = self._whole_workers(self.rollout_buffer, SequenceRolloutBuffer)

    def train(self) -> None:
        """As in sb3-contrib; ``batch_size`` may have changed since construction."""
        self._check_batch_size()
        super().train()

    def _check_batch_size(self) -> None:
        for name in ("n_steps", "n_epochs"):
            check_integer(name, getattr(self, name))
        if self.batch_size is not None:
            check_integer("batch_size", self.batch_size, least=None)
        total = self.n_steps * self.n_envs
        if self.batch_size is not None and (
            self.batch_size < 1 or self.batch_size % self.n_steps or total % self.batch_size
        ):
            raise ValueError(
                f"batch_size must be a multiple of n_steps={self.n_steps} that divides "
                f"n_steps · n_envs = {total}, got {self.batch_size}; batch_size=None uses "
                "everything at once, also in load(…, env=env, batch_size=None) with another "
                "number of environments"
            )

    def _whole_workers(self, stock: Any, kind: type[Buffer], **more: Any) -> Buffer:
        """A buffer of whole workers with the sizes of ``stock``."""
        return kind(
            self.n_steps,
            self.observation_space,
            self.action_space,
            stock.hidden_state_shape,
            self.device,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            n_envs=self.n_envs,
            seed=self.seed,
            # a method, not a closure: a copy of this learner asks its own environment
            time_limits=self._inner_time_limits if self.cut_at_time_limits else None,
            **more,
        )

    @property
    def rollout_rng(self) -> np.random.Generator:
        """Generator of the order of workers, for an exact resume."""
        assert isinstance(self.rollout_buffer, SequenceRolloutBuffer)
        return self.rollout_buffer.rng
