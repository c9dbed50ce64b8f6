"""Which settings distinguish a run from its preset, from other groups of seeds, and on resume."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from train.config.presets import resolve, resolve_unchecked
from train.config.settings import RunSettings, flattened, nested_kinds
from train.config.unused import unused_settings

# settings that say where and how a run is made, not what it trains
WHERE_NOT_WHAT = frozenset({"run_dir", "overwrite", "device", "num_threads"})
# settings in which runs of one group of seeds may differ
IGNORED_IN_GROUPS = WHERE_NOT_WHAT | {
    "seed",
    "eval_interval",
    "log_interval",
    "checkpoint_interval",
}
# settings that may change when a run is resumed
CHANGEABLE_ON_RESUME = WHERE_NOT_WHAT | {"total_timesteps"}


def overrides(config: RunSettings, ignored: frozenset[str] = IGNORED_IN_GROUPS) -> dict[str, Any]:
    """The settings in which a configuration differs from its preset, except ``ignored`` ones."""
    own, run = flattened(config.to_dict()), (config.env_id, config.method, config.preset)
    kinds = {name: own[name] for name in nested_kinds(type(config))}
    preset = flattened(resolve(*run).to_dict())
    same_kinds = flattened(resolve_unchecked(*run, **kinds).to_dict())
    usual = {**same_kinds, **{k: preset[k] for k in kinds}}
    return {k: own[k] for k in own if k not in ignored and own[k] != usual[k]}


def override_text(config: RunSettings, ignored: frozenset[str] = IGNORED_IN_GROUPS) -> str:
    """:func:`overrides` as ``name=value`` pairs, none of which contains a space.

    Nested settings have their short name: ``beta=2``, not ``mixture.beta=2``.
    """
    found = overrides(config, ignored).items()
    return " ".join(f"{name.rpartition('.')[2]}={value_text(value)}" for name, value in found)


def group_text(config: RunSettings) -> str:
    """The settings in which a group of seeds differs from its preset, except unused ones."""
    return override_text(config, IGNORED_IN_GROUPS | unused_settings(config))


def run_identity(config: RunSettings) -> str:
    """A text that identifies a run: it stays the same on resume, within one version."""
    own = flattened(config.to_dict())
    ignored = CHANGEABLE_ON_RESUME | (IGNORED_IN_GROUPS - {"seed"})
    fixed = {name: value for name, value in own.items() if name not in ignored}
    text = json.dumps(fixed, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def value_text(value: Any) -> str:
    """The value of a setting as in names of runs and groups, without spaces."""
    if isinstance(value, tuple):
        return "x".join(map(value_text, value))
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)  # two values may share six digits
