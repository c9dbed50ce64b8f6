"""The vocabulary of ``--method``: what each method trains on, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MethodName = Literal["ldm", "rl2", "varibad", "mixreg", "oracle-rl2", "oracle-varibad", "oracle"]


@dataclass(frozen=True)
class Method:
    """One method of the paper.

    Attributes:
        split: Task set that the training tasks come from; ``"all"`` is for oracles only.
        observation: What joins the observation: ``"rl2"`` (previous action and reward, with a
            recurrent policy) or ``"belief"`` (the VAE posterior, with a feed-forward policy).
        imaginary: Whether mixture workers train on imaginary rewards.
        mixreg: Whether the update mixes whole sequences and their targets.
    """

    split: str
    observation: Literal["rl2", "belief"]
    imaginary: bool = False
    mixreg: bool = False

    @property
    def has_latent_dynamics(self) -> bool:
        """Whether the method trains a VAE."""
        return self.imaginary or self.observation == "belief"


METHODS: dict[str, Method] = {
    "ldm": Method("train", "rl2", imaginary=True),
    "rl2": Method("train", "rl2"),
    "varibad": Method("train", "belief"),
    "mixreg": Method("train", "rl2", mixreg=True),
    "oracle-rl2": Method("all", "rl2"),
    "oracle-varibad": Method("all", "belief"),
}
METHODS["oracle"] = METHODS["oracle-rl2"]  # the shorter name of the usual oracle


def method(name: str) -> Method:
    """The method called ``name``; an unknown one is a ``ValueError`` that lists them."""
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}, expected one of {sorted(METHODS)}")
    return METHODS[name]
