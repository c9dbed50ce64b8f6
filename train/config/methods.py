"""The choices of ``--method``, and what each method trains on, as data."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Method:
    """One method of the paper.

    Attributes:
        script: Module of its learner script, which defines ``Settings`` and ``build``.
        split: Split that the training tasks come from; ``"all"`` is for oracles only.
        observation: What the on-policy scripts add to the observation: ``"rl2"`` (previous action
            and reward, with a recurrent policy) or ``"belief"`` (the VAE posterior, with a
            feed-forward policy); ``None`` for other learners.
        imaginary: Whether mixture workers train on imaginary rewards.
        shows_task: Whether the task is part of the observation (on-policy scripts), to diagnose
            what can be learned when nothing has to be inferred.
        mixreg: Whether the update mixes whole sequences and their targets.
        inner: Form of the inner loss, for methods that adapt by a gradient step (see
            ``train/meta_gradient/objectives.py``); ``None`` for other methods.
    """

    script: str
    split: str
    observation: Literal["rl2", "belief"] | None = None
    imaginary: bool = False
    shows_task: bool = False
    mixreg: bool = False
    inner: Literal["ratio", "log"] | None = None

    @property
    def has_latent_dynamics(self) -> bool:
        """Whether the method trains a VAE."""
        return self.imaginary or self.observation == "belief"


_PPO = "train.recurrent_ppo"
METHODS: dict[str, Method] = {
    "ldm": Method(_PPO, "train", "rl2", imaginary=True),
    "rl2": Method(_PPO, "train", "rl2"),
    "varibad": Method("train.varibad", "train", "belief"),
    "ldm-varibad": Method("train.varibad", "train", "belief", imaginary=True),
    "known-task": Method(_PPO, "train", "rl2", shows_task=True),
    "mixreg": Method(_PPO, "train", "rl2", mixreg=True),
    "oracle-rl2": Method(_PPO, "all", "rl2"),
    "oracle-varibad": Method("train.varibad", "all", "belief"),
    "promp": Method("train.promp", "train", inner="ratio"),
    "e-maml": Method("train.promp", "train", inner="log"),
    "oracle-promp": Method("train.promp", "all", inner="ratio"),
    "oracle-e-maml": Method("train.promp", "all", inner="log"),
    "pearl": Method("train.pearl", "train"),
    "mql": Method("train.mql", "train"),
    "mier": Method("train.mier", "train"),
}
METHODS["oracle"] = METHODS["oracle-rl2"]  # short name of the usual oracle


def get_method(name: str) -> Method:
    """The method called ``name``; an unknown one is a ``ValueError`` that lists them."""
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}, expected one of {sorted(METHODS)}")
    return METHODS[name]


def settings_class(name: str) -> Any:
    """``Settings`` of the script of method ``name``.

    A subclass of :class:`~train.config.settings.RunSettings`. The script is imported only here, by
    name, so that nothing in this folder depends on the rest of ``train``.
    """
    return importlib.import_module(get_method(name).script).Settings


def methods_of(script: str) -> list[str]:
    """Names of the methods that a script trains, its default first."""
    return [name for name, chosen in METHODS.items() if chosen.script == script]
