"""A recurrent policy whose memory is built like the VAE's encoder, as in the authors' code."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from ldm_wrappers.arguments import check_integer
from ldm_wrappers.latent_dynamics.gru import GRU
from ldm_wrappers.latent_dynamics.transition import TransitionSpec
from ldm_wrappers.rl2_observation import rl2_observation_space
from ldm_wrappers.sb3.recurrent_policy import WholeSequenceLstmPolicy

States = tuple[torch.Tensor, torch.Tensor]
# what the parent supports for an LSTM and this memory does not
_FIXED: dict[str, Any] = {
    "shared_lstm": True,
    "enable_critic_lstm": False,
    "n_lstm_layers": 1,
    "features_extractor_class": FlattenExtractor,
    "share_features_extractor": True,
}


def column_sizes(observation_space: Any, action_space: Any) -> tuple[int, int, int]:
    """Columns of the observation, of the encoded previous action and of its reward.

    Raises:
        ValueError: The observation does not come from ``RL2ObservationWrapper``.
    """
    spec = TransitionSpec.from_spaces(observation_space, action_space)
    n = spec.observation_size - spec.action_size - 2
    if n > 0 and len(observation_space.shape) == 1:
        own = spaces.Box(observation_space.low[:n], observation_space.high[:n])
        if observation_space == rl2_observation_space(own, spec):
            return n, spec.action_size, 1
    raise ValueError(
        f"observations of {observation_space} do not end with previous action "
        f"({spec.action_size} columns), reward and start flag: expected those of "
        "RL2ObservationWrapper, without a wrapper around it that changes observations or actions "
        "(VecNormalize keeps the columns)"
    )


class EncoderMemory(nn.Module):
    """Separate ReLU embeddings ▸ GRU ▸ linear mean and log-variance, in place of an LSTM.

    Reads the columns of :class:`~ldm_wrappers.vector.RL2ObservationWrapper`. Of the pair of states
    that sb3-contrib keeps, the GRU uses the first; the second is passed on unchanged.

    Args:
        sizes: Columns of the observation, of the encoded action and of the reward.
        widths: Widths of their embeddings; 0 leaves an input out. The start flag is always left
            out, as in the authors' code.
        hidden_size: Columns of the GRU's state.
        latent_dim: Columns of the mean, and of the log-variance. Nothing is sampled.
    """

    def __init__(
        self,
        sizes: tuple[int, int, int],
        widths: tuple[int, int, int],
        hidden_size: int,
        latent_dim: int,
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.input_size = sum(sizes) + 1
        self.hidden_size, self.num_layers = hidden_size, 1
        names = ("observation", "action", "reward")
        self.embeddings = nn.ModuleDict(
            {n: nn.Linear(s, w) for n, s, w in zip(names, sizes, widths, strict=True) if w}
        )
        self.gru = GRU(sum(widths), hidden_size).orthogonal_()
        self.posterior = nn.Linear(hidden_size, 2 * latent_dim)

    def forward(self, inputs: torch.Tensor, states: States) -> tuple[torch.Tensor, States]:
        """Outputs (T, batch, 2 · latent_dim) of inputs (T, batch, columns), and the next states."""
        observations, actions, rewards, _ = inputs.split([*self.sizes, 1], -1)
        columns = {"observation": observations, "action": actions, "reward": rewards}
        shown = [layer(columns[name]) for name, layer in self.embeddings.items()]
        outputs, last = self.gru(torch.relu(torch.cat(shown, dim=-1)), states[0])
        return self.posterior(outputs), (last, states[1])


class EncoderPolicy(WholeSequenceLstmPolicy):
    """:class:`WholeSequenceLstmPolicy` with :class:`EncoderMemory` in place of the LSTM.

    The network of the authors' policies (Encoder-p of paper section 3.1, with the architecture of
    Encoder-v), on observations of :class:`~ldm_wrappers.vector.RL2ObservationWrapper`. Actor and
    critic share the memory.

    Args:
        args: See :class:`WholeSequenceLstmPolicy`.
        observation_width: Width of the observation's embedding; 0 leaves it out.
        action_width: Width of the previous action's embedding; 0 leaves it out.
        reward_width: Width of the previous reward's embedding; 0 leaves it out.
        latent_dim: Half of the columns that the heads read.
        kwargs: See :class:`WholeSequenceLstmPolicy`; ``lstm_hidden_size`` is the size of the GRU.

    Raises:
        ValueError: All widths are 0, the critic is given its own memory or none, there is more than
            one layer or a custom features extractor, or the observation does not come from
            ``RL2ObservationWrapper``.
    """

    lstm_actor: Any

    def __init__(
        self,
        *args: Any,
        observation_width: int = 32,
        action_width: int = 0,
        reward_width: int = 8,
        latent_dim: int = 32,
        **kwargs: Any,
    ) -> None:
        for name, value in _FIXED.items():
            if (given := kwargs.get(name, value)) != value:
                raise ValueError(
                    "the encoder is one GRU layer that actor and critic share, on flat "
                    f"observations: expected {name}={value!r}, got {given!r}"
                )
        if kwargs.get("lstm_kwargs"):
            raise ValueError(f"the encoder has no LSTM, got lstm_kwargs={kwargs['lstm_kwargs']!r}")
        self.latent_dim = check_integer("latent_dim", latent_dim)  # the parent builds the heads
        super().__init__(*args, **{**kwargs, **_FIXED})
        self.widths = (
            check_integer("observation_width", observation_width, least=0),
            check_integer("action_width", action_width, least=0),
            check_integer("reward_width", reward_width, least=0),
        )
        if not sum(self.widths):
            raise ValueError("one of the widths must be positive, got 0 for all")
        sizes = column_sizes(self.observation_space, self.action_space)
        hidden_size = self.lstm_actor.hidden_size
        self.lstm_actor = EncoderMemory(sizes, self.widths, hidden_size, self.latent_dim)
        settings = {**self.optimizer_kwargs, "lr": self.optimizer.param_groups[0]["lr"]}
        self.optimizer = self.optimizer_class(self.parameters(), **settings)

    def _build_mlp_extractor(self) -> None:
        self.lstm_output_dim = 2 * self.latent_dim
        super()._build_mlp_extractor()

    def _get_constructor_parameters(self) -> dict[str, Any]:
        names = ("observation_width", "action_width", "reward_width")
        own = {**dict(zip(names, self.widths, strict=True)), "latent_dim": self.latent_dim}
        return {**super()._get_constructor_parameters(), **own}
