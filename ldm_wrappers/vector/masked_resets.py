"""Checks that vector wrappers inside ``MultiEpisodeWrapper`` support masked resets."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.wrappers import vector as wrappers

from ldm_wrappers.vector.infos import BoolArray

_SCALAR = "gymnasium.wrappers.{name} around each environment"
# Gymnasium 1.1 to 1.4: what a reset of some environments does to the others, and a way out.
_SPOILED: dict[type, tuple[str, str]] = {
    wrappers.RecordEpisodeStatistics: (
        "clears the statistics of all environments whenever one of them is reset",
        f"{_SCALAR}, or, from Gymnasium 1.4 on, put it around MultiEpisodeWrapper, where it counts "
        "meta-episodes (before 1.4, it misses a step of each)",
    ),
    wrappers.NormalizeReward: (
        "clears the returns of all environments whenever one of them is reset",
        "stable-baselines3's VecNormalize, reward_scale of the VAE, or put it around all wrappers "
        "of this package (a VAE inside it sees true rewards)",
    ),
    wrappers.NormalizeObservation: (
        "refuses to reset some environments, or counts the observations of the others twice",
        "stable-baselines3's VecNormalize, or scale_observations of the VAE",
    ),
    wrappers.DictInfoToList: (
        "turns infos into a list",
        "it outermost",
    ),
}


def check_masked_resets(env: VectorEnv[Any, Any, Any]) -> None:
    """Refuse or warn of wrappers in ``env`` that cannot reset only some environments.

    A wrapper class of your own that overrides ``reset`` causes a warning, unless its ``reset``
    reads ``options["reset_mask"]`` or it has an attribute ``handles_reset_mask = True``.

    Raises:
        ValueError: ``env`` has one of Gymnasium's wrappers that are known to fail.
    """
    layer: Any = env
    while isinstance(layer, VectorWrapper):
        name = type(layer).__name__
        for kind, (harm, way_out) in _SPOILED.items():
            if isinstance(layer, kind):
                raise ValueError(
                    f"MultiEpisodeWrapper got {name} inside, expected none: it {harm}; use "
                    f"{way_out.format(name=kind.__name__)}"
                )
        if not _known(layer):
            warnings.warn(
                f"{name} inside MultiEpisodeWrapper overrides reset but does not read "
                "options['reset_mask']: any state that it keeps per environment is cleared for all "
                "whenever one of them is reset. Put it around MultiEpisodeWrapper, or set "
                f"{name}.handles_reset_mask = True if it keeps none",
                stacklevel=4,
            )
        layer = layer.env


def refuse_moved_rows(name: str, mask: BoolArray, shown: Any, before: Any) -> None:
    """Raise if a reset of the environments in ``mask`` changes the observations of others.

    Args:
        name: Name of the environments in messages.
        mask: bool (num_envs,).
        shown: Observations of the reset.
        before: Observations of the step before it.

    Raises:
        ValueError: Other environments have moved.
    """
    known = before.dtype.kind == "f"  # others have no NaN
    moved = [
        int(row)
        for row in np.flatnonzero(~mask)
        if not np.array_equal(shown[row], before[row], equal_nan=known)
    ]
    if moved:
        raise ValueError(
            f"{name}: a reset of environments {np.flatnonzero(mask).tolist()} "
            f"(options['reset_mask']) changes the observations of {moved} too: expected reset to "
            "leave environments outside the mask unchanged"
        )


def _known(layer: VectorWrapper) -> bool:
    """Whether a wrapper supports a reset of some environments, as far as can be seen."""
    if getattr(layer, "handles_reset_mask", False):
        return True
    owner = next(cls for cls in type(layer).__mro__ if "reset" in vars(cls))
    if owner.__module__.startswith(("gymnasium.", "ldm_wrappers.")):
        return True
    code = getattr(vars(owner)["reset"], "__code__", None)
    return code is not None and "reset_mask" in code.co_consts
