"""Presets per environment, and how they resolve to the settings of a run."""

from __future__ import annotations

import dataclasses
from typing import Any

from ldm_wrappers.latent_dynamics import LatentDynamicsConfig
from train.config.methods import METHODS, Method, get_method, settings_class
from train.config.presets import ant, grid_navi, half_cheetah, meta_gradient, mier, mql, pearl
from train.config.presets.preset import Preset
from train.config.settings import (
    RunSettings,
    check_type,
    known_settings,
    nested_kinds,
    short_id,
)


def _gathered() -> dict[str, dict[str, Preset]]:
    """Presets of all families, including the values of methods that do not use PPO."""
    presets = {**grid_navi.PRESETS, **ant.PRESETS, **half_cheetah.PRESETS}
    for learner in (meta_gradient, pearl, mql, mier):
        for env_id, by_name in learner.PRESETS.items():
            own = {n: presets[env_id][n].also(learner.METHODS, v) for n, v in by_name.items()}
            presets[env_id] = {**presets[env_id], **own}
    return presets


PRESETS: dict[str, dict[str, Preset]] = _gathered()
# For an environment without presets: PPO with whole rollouts as minibatches, which suits any number
# of workers. Its rewards may be of any scale.
_PPO = {"n_epochs": 8, "normalize_advantage": True}
_ANY_SCALE = {"reward_scale": "running"}
_VAE = {field.name for field in dataclasses.fields(LatentDynamicsConfig)} | {"vae_updates"}
GENERIC = {
    "default": Preset(
        _PPO,
        {
            "ldm": _ANY_SCALE,
            "varibad": {**_ANY_SCALE, "p_drop": 0.0},  # dropout is for LDM's imaginary tasks
            "ldm-varibad": _ANY_SCALE,
        },
    )
}


def resolve(env_id: str, method_name: str, preset: str = "default", **changes: Any) -> Any:
    """The settings of a preset, with ``changes`` applied on top.

    An environment without presets has only the preset ``default``, that of ``GENERIC``.

    Args:
        env_id: Environment id.
        method_name: Name of the method.
        preset: Name of the preset.
        changes: Values of settings. Nested ones are named with a dot, as in
            ``{"mixture.beta": 2.0}``; ``{"imagination": "expected-reward"}`` selects a kind of
            nested settings, with its defaults.

    Returns:
        ``Settings`` of the method's script.

    Raises:
        ValueError: If a method, preset or setting is unknown, or a value does not fit.
    """
    settings, values, _ = _resolved(env_id, method_name, preset, changes)
    return settings(**values)


def resolve_unchecked(
    env_id: str, method_name: str, preset: str = "default", **changes: Any
) -> Any:
    """Like :func:`resolve`, without checking whether the values fit each other.

    For defaults that are about to change, such as plausible tasks with the Gaussian likelihood of a
    preset, which the command line replaces.

    Raises:
        ValueError: If a method, preset or setting is unknown.
    """
    settings, values, defaults = _resolved(env_id, method_name, preset, changes)
    made = object.__new__(settings)
    for name, value in {**defaults, **values}.items():
        object.__setattr__(made, name, value)
    return made


def _resolved(
    env_id: str, method_name: str, preset: str, changes: dict[str, Any]
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The settings class, the values of a preset with changes, and the defaults of the class."""
    settings, env_id = settings_class(method_name), short_id(env_id)
    values = {
        **_preset_values(env_id, get_method(method_name), preset),
        "env_id": env_id,
        "method": method_name,
        "preset": preset,
    }
    known = known_settings(settings)
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise ValueError(f"unknown settings {unknown}, expected some of {sorted(known)}")
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    for name in sorted(changes, key=lambda name: "." in name):  # kinds before their settings
        outer, _, inner = name.partition(".")
        before = values.get(outer, defaults[outer])
        if inner:
            values[outer] = _changed(outer, before, inner, changes[name])
        elif outer in nested_kinds(settings) and isinstance(changes[name], str):
            values[outer] = _of_kind(settings, outer, changes[name], before)
        else:
            values[outer] = changes[name]
    return settings, values, defaults


def _preset_values(env_id: str, method: Method, name: str) -> dict[str, Any]:
    presets = PRESETS.get(env_id, GENERIC)
    if name not in presets:
        raise ValueError(f"unknown preset {name!r} for {env_id}, expected one of {sorted(presets)}")
    chosen, values = presets[name], presets[name].values
    own = next(key for key in METHODS if METHODS[key] is method)  # not its shorter name
    base = "varibad" if method.observation == "belief" else ""
    if method.observation is None:  # other learners do not use PPO's values
        base = own.removeprefix("oracle-")
        shared = {field.name for field in dataclasses.fields(RunSettings)}
        values = {key: value for key, value in values.items() if key in shared}
        made = [key for key, preset in presets.items() if base in preset.methods]
        if env_id in PRESETS and name not in (made or ["default"]):
            known = made or ["default"]
            raise ValueError(
                f"preset {name!r} of {env_id} is not for {own}, expected one of {known}"
            )
    based_on = chosen.methods.get(base, {})
    if method.imaginary:  # LDM on variBAD: variBAD's policy with LDM's VAE
        based_on = {key: value for key, value in based_on.items() if key not in _VAE}
    return {**values, **based_on, **chosen.methods.get(own, {})}


def _of_kind(settings: Any, name: str, kind: str, before: Any) -> Any:
    """Nested settings of a kind: ``before`` if it has this kind, else the kind's defaults."""
    kinds = nested_kinds(settings)[name]
    if kind not in kinds:
        raise ValueError(f"unknown {name} {kind!r}, expected one of {sorted(kinds)}")
    return before if isinstance(before, kinds[kind]) else kinds[kind]()


def _changed(name: str, before: Any, inner: str, value: Any) -> Any:
    """Nested settings ``before`` with one value changed."""
    known = [field.name for field in dataclasses.fields(before)]
    if inner not in known:
        raise ValueError(f"{name} is {before.kind()}, which has no {inner}; it has {known}")
    check_type(type(before), inner, value)
    return dataclasses.replace(before, **{inner: value})
