"""Which settings tell runs apart: from their preset, from other groups of seeds, on resume."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from train.config.presets import resolve, resolve_unchecked
from train.config.settings import RunSettings, flattened, nested_kinds
from train.config.unused import unused_settings

# settings that say where and how a run is made, not what it is
WHERE_NOT_WHAT = frozenset({"run_dir", "overwrite", "device", "num_threads"})
# settings that do not make two runs different groups of seeds
IGNORED_IN_GROUPS = WHERE_NOT_WHAT | {
    "seed",
    "eval_interval",
    "log_interval",
    "checkpoint_interval",
}
# settings that may change between two sittings of a run
CHANGEABLE_ON_RESUME = WHERE_NOT_WHAT | {"total_timesteps"}


def overrides(config: RunSettings, ignored: frozenset[str] = IGNORED_IN_GROUPS) -> dict[str, Any]:
    """The settings in which a configuration differs from its preset, ``ignored`` ones aside."""
    own, run = flattened(config.to_dict()), (config.env_id, config.method, config.preset)
    kinds = {name: own[name] for name in nested_kinds(type(config))}
    preset = flattened(resolve(*run).to_dict())
    same_kinds = flattened(resolve_unchecked(*run, **kinds).to_dict())
    usual = {**same_kinds, **{k: preset[k] for k in kinds}}
    return {k: own[k] for k in own if k not in ignored and own[k] != usual[k]}


def override_text(config: RunSettings, ignored: frozenset[str] = IGNORED_IN_GROUPS) -> str:
    """:func:`overrides` as ``name=value`` pairs without spaces in them.

    Nested settings go by their own name: ``beta=2``, not ``mixture.beta=2``.
    """
    found = overrides(config, ignored).items()
    return " ".join(f"{name.rpartition('.')[2]}={value_text(value)}" for name, value in found)


def group_text(config: RunSettings) -> str:
    """What tells a group of seeds from its preset; unused settings do not."""
    return override_text(config, IGNORED_IN_GROUPS | unused_settings(config))


def run_identity(config: RunSettings) -> str:
    """The same text for all sittings of a run with one version, another for any other run."""
    own = flattened(config.to_dict())
    ignored = CHANGEABLE_ON_RESUME | (IGNORED_IN_GROUPS - {"seed"})
    fixed = {name: value for name, value in own.items() if name not in ignored}
    text = json.dumps(fixed, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def value_text(value: Any) -> str:
    """A setting's value as names of runs and of groups have it, without spaces of its own."""
    if isinstance(value, tuple):
        return "x".join(map(value_text, value))
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)  # six digits may stand for two values
