"""sb3-contrib's LSTM policy, with whole sequences or single steps in one call."""

from __future__ import annotations

from typing import Any

import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from torch import nn

from ldm_wrappers.arguments import check_flag


def _is_plain(lstm: nn.Module) -> bool:
    if not isinstance(lstm, nn.LSTM):  # a subclass has another memory in place of the LSTM
        return False
    return lstm.num_layers == 1 and lstm.bias and not (lstm.bidirectional or lstm.proj_size)


class WholeSequenceLstmPolicy(RecurrentActorCriticPolicy):
    """``MlpLstmPolicy`` that never steps through a sequence in Python.

    Stock sb3-contrib steps the LSTM in a Python loop whenever a sequence begins an episode, which
    rollouts of whole tasks always do. Here the initial state of such a sequence is zeroed and the
    whole sequence goes through the LSTM at once: equal values, losses and gradients. Sequences
    with an episode start in the middle, which only hand-made batches have, use the stock code.

    Args:
        value_trains_lstm: With ``shared_lstm=True``, let the value loss train the LSTM too, as the
            authors' RL² does; stock sb3-contrib (``False``) lets only the policy loss train it.
        observation_to_heads: With ``shared_lstm=True``, append the observation's features to the
            LSTM's output for the heads (a skip connection), as in the authors' AntDir policy: the
            memory then only needs to keep what the observation does not show.
        args: See sb3-contrib's ``RecurrentActorCriticPolicy``.
        kwargs: See sb3-contrib's ``RecurrentActorCriticPolicy``.

    Raises:
        ValueError: ``value_trains_lstm`` or ``observation_to_heads`` is not a boolean, or is given
            without ``shared_lstm``.
    """

    def __init__(
        self,
        *args: Any,
        value_trains_lstm: bool = False,
        observation_to_heads: bool = False,
        **kwargs: Any,
    ) -> None:
        check_flag("value_trains_lstm", value_trains_lstm)
        check_flag("observation_to_heads", observation_to_heads)
        self.observation_to_heads = observation_to_heads  # the heads are built by the parent
        super().__init__(*args, **kwargs)
        for name in ("value_trains_lstm", "observation_to_heads"):
            if locals()[name] and not self.shared_lstm:
                raise ValueError(f"{name}=True needs shared_lstm=True, got shared_lstm=False")
        self.value_trains_lstm = value_trains_lstm

    def _build_mlp_extractor(self) -> None:
        if not self.observation_to_heads:
            super()._build_mlp_extractor()
            return
        own = self.lstm_output_dim
        self.lstm_output_dim = own + self.features_dim  # the width that the heads read
        super()._build_mlp_extractor()
        self.lstm_output_dim = own

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters = super()._get_constructor_parameters()
        return {  # sb3-contrib omits its own LSTM settings, so its policies cannot be loaded
            **parameters,
            "lstm_hidden_size": self.lstm_actor.hidden_size,
            "n_lstm_layers": self.lstm_actor.num_layers,
            "shared_lstm": self.shared_lstm,
            "enable_critic_lstm": self.enable_critic_lstm,
            "lstm_kwargs": self.lstm_kwargs,
            "share_features_extractor": self.share_features_extractor,
            "value_trains_lstm": self.value_trains_lstm,
            "observation_to_heads": self.observation_to_heads,
        }

    def _process_sequence(  # type: ignore[override]
        self,
        features: torch.Tensor,
        lstm_states: tuple[torch.Tensor, torch.Tensor],
        episode_starts: torch.Tensor,
        lstm: nn.LSTM,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """As in stock; features (n_sequences · length, size), starts (n_sequences · length,).

        With ``observation_to_heads``, the features are appended to the LSTM's outputs.
        """
        outputs, states = self._remember(features, lstm_states, episode_starts, lstm)
        if self.observation_to_heads:
            outputs = torch.cat([outputs, features], dim=-1)
        return outputs, states

    @staticmethod
    def _remember(
        features: torch.Tensor,
        lstm_states: tuple[torch.Tensor, torch.Tensor],
        episode_starts: torch.Tensor,
        lstm: nn.LSTM,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        n_sequences = lstm_states[0].shape[1]
        starts = episode_starts.reshape(n_sequences, -1)
        if starts.shape[1] > 1 and bool(starts[:, 1:].any()):
            stock: Any = RecurrentActorCriticPolicy._process_sequence  # its annotation is wrong
            result: tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]
            result = stock(features, lstm_states, episode_starts, lstm)
            return result
        keep = (1.0 - starts[:, 0]).view(1, n_sequences, 1)
        if starts.shape[1] == 1 and _is_plain(lstm):  # a step of a rollout: half the module's time
            kept = (keep[0] * lstm_states[0][0], keep[0] * lstm_states[1][0])
            hidden, cell = torch.lstm_cell(features, kept, *lstm.all_weights[0])
            return hidden, (hidden[None], cell[None])
        sequences = features.reshape(n_sequences, -1, lstm.input_size).swapaxes(0, 1)
        outputs, states = lstm(sequences, (keep * lstm_states[0], keep * lstm_states[1]))
        return outputs.transpose(0, 1).flatten(end_dim=1), states

    def evaluate_actions(  # type: ignore[override]
        self,
        obs: torch.Tensor,
        actions: torch.Tensor,
        lstm_states: RNNStates,
        episode_starts: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Values, log probabilities and entropies of given actions, each (batch,)-like."""
        if not self.value_trains_lstm:
            return super().evaluate_actions(obs, actions, lstm_states, episode_starts)
        features: Any = self.extract_features(obs)
        states: Any = lstm_states.pi
        latent, _ = self._process_sequence(features, states, episode_starts, self.lstm_actor)
        distribution = self._get_action_dist_from_latent(self.mlp_extractor.forward_actor(latent))
        values = self.value_net(self.mlp_extractor.forward_critic(latent))
        entropy: Any = distribution.entropy()  # None for squashed Gaussians, as in stock
        return values, distribution.log_prob(actions), entropy
