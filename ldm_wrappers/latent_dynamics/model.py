"""The latent dynamics model: encoder and reward decoder behind one interface."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from ldm_wrappers.arguments import check_protocol, check_seed, check_type
from ldm_wrappers.latent_dynamics.config import LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.decoder import RewardDecoder
from ldm_wrappers.latent_dynamics.encoder import Encoder
from ldm_wrappers.latent_dynamics.moment_encoder import MomentEncoder
from ldm_wrappers.latent_dynamics.observation_scale import ObservationScale
from ldm_wrappers.latent_dynamics.process import ProcessBound
from ldm_wrappers.latent_dynamics.reward_scale import RewardScale
from ldm_wrappers.latent_dynamics.trajectory_encoder import TrajectoryEncoder
from ldm_wrappers.latent_dynamics.transition import FloatArray, TransitionSpec
from ldm_wrappers.latent_dynamics.update_lock import UpdateLock
from ldm_wrappers.saved_state import check_like, load_weights
from ldm_wrappers.state_file import load_object, save_object

KIND = "LatentDynamics"


class LatentDynamics(ProcessBound, nn.Module):
    """Variational model of the hidden task: q(m | τ) and p(r | m, s, a, s') (section 3.2).

    Args:
        observation_space: Single (not batched) ``Box`` observation space.
        action_space: Single action space: ``Box``, ``Discrete``, ``MultiDiscrete`` or
            ``MultiBinary``.
        config: Sizes and choices; defaults to the MuJoCo sizes.
        seed: Seed of the weights' initialisation.
        device: Device of the weights.

    Attributes:
        spec: Sizes and encodings of observations and actions.
        config: Sizes and choices.
        metadata: What was saved with a loaded model; empty for a new one, and after an update.
        updating: Context of an update. Saving waits for its end, as everything that another
            thread does inside the same context.

    Raises:
        TypeError: The spaces cannot be encoded, or ``config`` has the wrong type.
        ValueError: ``decoder_heads`` does not fit the observation space.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        config: LatentDynamicsConfig | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        config = config or LatentDynamicsConfig()
        check_type("config", config, LatentDynamicsConfig)
        spec = TransitionSpec.from_spaces(observation_space, action_space)
        _check_heads(observation_space, config)
        self._build(spec, config, seed, device)

    def _build(
        self,
        spec: TransitionSpec,
        config: LatentDynamicsConfig,
        seed: int,
        device: torch.device | str,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.config = config
        self.metadata: dict[str, Any] = {}
        self.updating = UpdateLock()
        seed = check_seed(seed)
        # torch's initialisers draw from the global generator: use it, then restore it
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds CUDA too
            self.reward_scale = RewardScale(self.config.reward_scale)
            self.observation_scale = ObservationScale(
                self.spec.observation_size, self.config.scale_observations
            )
            parts = (self.spec, self.config, self.reward_scale, self.observation_scale)
            moments = self.config.encoder == "moments"
            self.encoder: TrajectoryEncoder = MomentEncoder(*parts) if moments else Encoder(*parts)
            self.decoder = RewardDecoder(*parts)
        self.to(device)

    def check_spaces(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> None:
        """Check that this model can read an environment with these spaces.

        Raises:
            ValueError: The model was made for other spaces.
            TypeError: No model can read such spaces.
        """
        self.spec.check_spaces(observation_space, action_space)
        _check_heads(observation_space, self.config)

    def save(self, path: str | Path, metadata: dict[str, Any] | None = None) -> None:
        """Write weights, configuration and sizes of the spaces to one safetensors file.

        Args:
            path: The file; replaced as a whole or not at all.
            metadata: What else to save, for example the environment's id: JSON-able values and
                arrays, which :meth:`load` restores as the attribute ``metadata``. ``None`` saves
                this attribute, so a loaded model remains that of its run until it is trained.
        """
        with self.updating:
            save_object(path, self.to_state(), self.metadata if metadata is None else metadata)

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> LatentDynamics:
        """Inverse of :meth:`save`. It needs no environment and runs no code from the file.

        Raises:
            StateFileError: The file is missing or damaged, or contains something else.
        """

        def read(content: dict[str, Any], metadata: dict[str, Any]) -> LatentDynamics:
            model = cls.from_state(content, device)
            model.metadata = metadata
            return model

        return load_object(path, KIND, read)

    def to_state(self) -> dict[str, Any]:
        """What :meth:`from_state` needs: nested dicts of numbers, strings and tensors."""
        return {
            "kind": KIND,
            "config": self.config.to_dict(),
            "spec": dataclasses.asdict(self.spec),
            "weights": self.state_dict(),
        }

    @classmethod
    def from_state(
        cls, state: dict[str, Any], device: torch.device | str = "cpu"
    ) -> LatentDynamics:
        """Inverse of :meth:`to_state`.

        Raises:
            ValueError: The state does not fit; also ``KeyError`` and ``TypeError``.
        """
        config = LatentDynamicsConfig.from_dict(state["config"])
        spec = TransitionSpec.from_dict(state["spec"])
        _check_sizes(spec, config)
        sketch, model = cls.__new__(cls), cls.__new__(cls)
        with torch.device("meta"):  # wrong sizes in the file must not allocate memory
            sketch._build(spec, config, 0, "meta")
        check_like(state["weights"], _shapes(sketch), "latent dynamics")
        model._build(spec, config, 0, device)
        load_weights(model, state["weights"], "latent dynamics")
        return model

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.encoder.mean.weight.device

    def to_tensor(self, array: FloatArray) -> torch.Tensor:
        """A float32 tensor of an array, on the device of the weights.

        Raises:
            RuntimeError: This is a copy of a model that was made in another process.
        """
        self.check_process()
        tensor = torch.from_numpy(np.ascontiguousarray(array, np.float32))
        device = self.encoder.mean.weight.device
        return tensor if device.type == "cpu" else tensor.to(device)

    @torch.no_grad()
    def imagine_reward(
        self,
        latents: torch.Tensor,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Reward r̂ of transitions under latents, without gradients (section 3.3).

        Args:
            latents: float32 (…, latent_dim).
            observations: float32 (…, observation_size).
            actions: float32 (…, action_columns), as :class:`TransitionSpec` stores them.
            next_observations: float32 (…, observation_size).
            mask: Masks from the decoder's ``dropout_mask``, float32 (…, embedding_size), broadcast
                against the transitions; ``None`` switches dropout off.

        Returns:
            float32 (…,).
        """
        self.check_process()
        output = self.decoder(latents, observations, actions, next_observations, mask)
        return self.decoder.expected_reward(output)


def _check_heads(space: spaces.Space[Any], config: LatentDynamicsConfig) -> None:
    """A multi-head decoder needs one head per cell of a square, integer-valued box from 0."""
    if config.decoder_heads == 1:
        return
    assert isinstance(space, spaces.Box)
    side = _check_sizes(TransitionSpec(int(space.low.size), 1), config)
    if not ((space.low == 0).all() and (space.high == side - 1).all()):
        raise ValueError(
            f"decoder_heads={config.decoder_heads} needs one head per cell of a Box from 0 with "
            f"equal integer sides, got {space}"
        )


def _check_sizes(spec: TransitionSpec, config: LatentDynamicsConfig) -> int:
    """Side of the square whose cells are the heads of a decoder."""
    side = round(config.decoder_heads ** (1.0 / spec.observation_size))
    if config.decoder_heads > 1 and side**spec.observation_size != config.decoder_heads:
        raise ValueError(
            f"decoder_heads={config.decoder_heads} needs one head per cell of a Box from 0 with "
            f"equal integer sides, got observations of {spec.observation_size} columns"
        )
    if config.decoder_heads > 1 and "next_observation" not in config.decoder_inputs:
        raise ValueError(
            "a multi-head decoder selects its head by s', so decoder_inputs must name "
            f"'next_observation', got {config.decoder_inputs}"
        )
    return side


def drops(model: LatentDynamics) -> bool:
    """Whether dropout has an effect in a model's decoder."""
    return model.config.p_drop > 0.0 and model.decoder.embedding_size > 0


def _shapes(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Arrays with the shapes of a model's weights that take no memory."""
    return {
        name: np.broadcast_to(np.zeros((), np.float32), tuple(tensor.shape))
        for name, tensor in model.state_dict().items()
    }


def check_latent_dynamics(
    latent_dynamics: LatentDynamics,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
) -> None:
    """Check that a wrapper's argument is a model that can read an environment with these spaces.

    Raises:
        TypeError: It is no model, or no model can read such spaces.
        ValueError: The model was made for other spaces.
    """
    check_protocol("latent_dynamics", latent_dynamics, ("check_spaces",), "a LatentDynamics")
    latent_dynamics.check_spaces(observation_space, action_space)
