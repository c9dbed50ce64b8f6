"""Sizes and choices of the latent dynamics model, as data that is saved with a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from ldm_wrappers.arguments import check_flag, check_integer, check_number, keep

DecoderInput = Literal["observation", "action", "next_observation"]
Likelihood = Literal["bernoulli", "gaussian"]
EncoderKind = Literal["gru", "moments"]
Scale = float | Literal["running"]
Config = TypeVar("Config", bound="LatentDynamicsConfig")
_SIZES = (
    "latent_dim",
    "encoder_features",
    "encoder_projections",
    "encoder_hidden_size",
    "decoder_observation_size",
    "decoder_action_size",
    "decoder_heads",
)
_WIDTHS_OR_0 = ("encoder_observation_size", "encoder_action_size", "encoder_reward_size")


@dataclass(frozen=True)
class LatentDynamicsConfig:
    """Architecture of :class:`~ldm_wrappers.latent_dynamics.LatentDynamics`.

    The defaults are the authors' MuJoCo sizes; their gridworld sizes are those of
    :meth:`LatentDynamicsConfig.grid`.

    Attributes:
        latent_dim: Size of the latent m.
        encoder: ``"gru"``, the paper's recurrent encoder, or ``"moments"``, which regresses
            rewards on what was seen (:class:`MomentEncoder`) and infers a task sooner if its
            reward depends on continuous states or actions.
        encoder_features: Width of the moment encoder's ReLU layers, on (s', a, r) and on (s', a).
        encoder_projections: Number of learned functions of (s', a) that the moment encoder
            regresses rewards on, in addition to a constant.
        encoder_observation_size: Width of the encoder's embedding of s'; 0 leaves s' out.
        encoder_action_size: Width of the encoder's embedding of a; 0 leaves a out.
        encoder_reward_size: Width of the encoder's embedding of r; 0 leaves r out.
        encoder_hidden_size: Width of the encoder's GRU, or of the layers that read moments.
        initial_posterior_std: Standard deviation of the posterior before training, about 1 if
            ``None``. Noise of the prior's size initially drowns the information in the latent.
        scale_observations: Normalise observations by the mean and standard deviation of the batches
            seen, in encoder and decoder.
        decoder_inputs: What the reward decoder sees in addition to the latent.
        decoder_observation_size: Width of the decoder's embeddings of s and of s'.
        decoder_action_size: Width of the decoder's embedding of a.
        decoder_hidden_sizes: Hidden layers of the decoder, at least one.
        decoder_heads: 1, or one output per cell of an integer-valued Box observation (variBAD's
            multi-head gridworld decoder); s' then only selects the head.
        likelihood: ``"bernoulli"`` on "the reward is ``reward_high``", or ``"gaussian"``: the
            squared error, a Gaussian of variance 1/2 without its constant.
        reward_low: Reward that a Bernoulli outcome 0 stands for.
        reward_high: Reward that a Bernoulli outcome 1 stands for.
        reward_scale: What rewards are divided by for the Gaussian likelihood and the encoder, or
            ``"running"``: mean and standard deviation of the buffer's rewards. Imagined rewards
            are returned in the environment's unit.
        p_drop: Dropout rate on the decoder's embedded inputs, never on the latent (section 3.3).
        kl_weight: Weight of the KL terms in the ELBO.

    Raises:
        ValueError: A value has the wrong type or is out of range, or two are incompatible.
    """

    latent_dim: int = 5
    encoder: EncoderKind = "gru"
    encoder_features: int = 64
    encoder_projections: int = 32
    encoder_observation_size: int = 32
    encoder_action_size: int = 16
    encoder_reward_size: int = 16
    encoder_hidden_size: int = 128
    initial_posterior_std: float | None = None
    scale_observations: bool = False
    decoder_inputs: tuple[DecoderInput, ...] = ("observation", "action", "next_observation")
    decoder_observation_size: int = 32
    decoder_action_size: int = 16
    decoder_hidden_sizes: tuple[int, ...] = (64, 32)
    decoder_heads: int = 1
    likelihood: Likelihood = "gaussian"
    reward_low: float = 0.0
    reward_high: float = 1.0
    reward_scale: Scale = 1.0
    p_drop: float = 0.5
    kl_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.encoder not in ("gru", "moments"):
            raise ValueError(f"encoder must be 'gru' or 'moments', got {self.encoder!r}")
        std = self.initial_posterior_std
        if std is not None:
            std = check_number("initial_posterior_std", std, "be positive or None", lambda x: x > 0)
        keep(self, initial_posterior_std=std)
        keep(self, **{name: check_integer(name, getattr(self, name)) for name in _SIZES})
        widths = {name: check_integer(name, getattr(self, name), least=0) for name in _WIDTHS_OR_0}
        if not any(widths.values()):
            raise ValueError(f"one of {', '.join(widths)} must be positive, got 0 for all")
        keep(self, **widths, decoder_hidden_sizes=_hidden_sizes(self.decoder_hidden_sizes))
        keep(self, scale_observations=check_flag("scale_observations", self.scale_observations))
        if isinstance(self.decoder_inputs, list):
            keep(self, decoder_inputs=tuple(self.decoder_inputs))
        known = ("observation", "action", "next_observation")
        unknown = [name for name in self.decoder_inputs if name not in known]
        if (
            unknown
            or not self.decoder_inputs
            or len(set(self.decoder_inputs)) < len(self.decoder_inputs)
        ):
            raise ValueError(
                f"decoder_inputs must be distinct names out of {known}, got {self.decoder_inputs}"
            )
        if self.likelihood not in ("bernoulli", "gaussian"):
            raise ValueError(
                f"likelihood must be 'bernoulli' or 'gaussian', got {self.likelihood!r}"
            )
        low = check_number("reward_low", self.reward_low, "be finite", lambda reward: True)
        high = check_number("reward_high", self.reward_high, "be finite", lambda reward: True)
        if not low < high:
            raise ValueError(f"reward_low must be below reward_high, got {low} and {high}")
        drop = check_number("p_drop", self.p_drop, "lie in [0, 1)", lambda rate: 0.0 <= rate < 1.0)
        weight = check_number("kl_weight", self.kl_weight, "not be negative", lambda w: w >= 0.0)
        keep(self, reward_low=low, reward_high=high, p_drop=drop, kl_weight=weight)
        keep(self, reward_scale=check_reward_scale(self.reward_scale, self.likelihood))

    @classmethod
    def grid(cls, **changes: Any) -> LatentDynamicsConfig:
        """The gridworld sizes of the authors' published configuration, with ``changes``."""
        values: dict[str, Any] = {
            "latent_dim": 32,
            "encoder_action_size": 0,
            "encoder_reward_size": 8,
            "decoder_inputs": ("next_observation",),
            "decoder_hidden_sizes": (32, 32),
            "likelihood": "bernoulli",
            "reward_low": -0.1,
            "reward_high": 1.0,
            "p_drop": 0.7,
        }
        return cls(**{**values, **changes})

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary that :meth:`from_dict` reads back."""
        return asdict(self)

    @classmethod
    def from_dict(cls: type[Config], values: dict[str, Any]) -> Config:
        """Inverse of :meth:`to_dict`; an unknown key is a ``ValueError``."""
        known = set(cls.__dataclass_fields__)
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown settings {unknown}, expected some of {sorted(known)}")
        fixed: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**fixed)


def _hidden_sizes(sizes: Any) -> tuple[int, ...]:
    """Widths of hidden layers as a tuple of ``int``; ValueError for anything else."""
    if not isinstance(sizes, (tuple, list)) or not sizes:
        raise ValueError(
            f"decoder_hidden_sizes must be a tuple of at least one width, got {sizes!r}"
        )
    return tuple(check_integer(f"decoder_hidden_sizes[{i}]", s) for i, s in enumerate(sizes))


def check_reward_scale(scale: Scale, likelihood: str) -> Scale:
    """``scale``; a ``ValueError`` if it is invalid, or not 1 for a Bernoulli likelihood."""
    if scale != "running":
        scale = check_number(
            "reward_scale", scale, "be positive or 'running'", lambda unit: unit > 0.0
        )
    if scale != 1.0 and likelihood != "gaussian":
        raise ValueError(
            f"reward_scale={scale!r} needs likelihood='gaussian': the Bernoulli one has its scale "
            "in reward_low and reward_high; expected reward_scale=1"
        )
    return scale
