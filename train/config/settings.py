"""Settings that every learner script has, typed, documented and saved with the run."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from ldm_wrappers.imagination.schemes import scheme_kinds
from train.config.methods import get_method
from train.config.old_runs import DEFAULTS_FOR_OLD_RUNS, with_present_names

Settings = TypeVar("Settings", bound="RunSettings")

# what a setting's value must satisfy, as messages say it
_RULES: dict[str, Callable[[Any], bool]] = {
    "must be positive": lambda value: value > 0,
    "must not be negative": lambda value: value >= 0,
    "must be at least 1 or None": lambda value: value >= 1,
    "must lie in [0, 1]": lambda value: 0 <= value <= 1,
    "must lie in (0, 1]": lambda value: 0 < value <= 1,
    "must lie in [0, 1)": lambda value: 0 <= value < 1,
    "must hold widths of at least 1": lambda value: min(value, default=1) >= 1,
    "must hold one or more widths of at least 1": lambda value: min(value, default=0) >= 1,
}


def short_id(env_id: str) -> str:
    """An id of ``ldm_envs`` without its module, which is always imported; others as they are."""
    return env_id.removeprefix("ldm_envs:") if env_id.startswith("ldm_envs:LDM-") else env_id


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What is run, how long, where, and how it is evaluated, logged and checkpointed.

    The base of every script's settings; each field is a flag of the script. The defaults that a
    run starts from are its preset's (``train/config/presets``).

    Raises:
        ValueError: A value is of another type or out of range.
    """

    env_id: str = "LDM-GridNavi-v0"
    """Any registered id, ``module:Id-v0``, or ``module:function``, which returns an environment
    (``--env-fn`` is the same flag)."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments of the environment's constructor or of the function: name=value …, JSON or text."""
    max_episode_steps: int | None = None
    """Steps H after which an episode is truncated; None: as the environment is registered."""
    observation_keys: tuple[str, ...] = ()
    """Keys of a Dict observation that the agent sees; none given: all."""
    flatten_observation: bool = False
    """Make a vector of Dict, Tuple, Discrete and the like (gymnasium's FlattenObservation)."""
    vectorization: Literal["sync", "async"] = "sync"
    """Step environments without a batch of their own one after the other, or one process each
    (training only)."""
    eval_env_id: str = ""
    """Id or function of the test tasks, where they are not a split of env_id's; evaluated as
    split "test" ("eval" or "eval_env_id" where env_id has that itself)."""
    method: str = "ldm"
    """What is trained: a row of train/config/methods.py."""
    preset: str = "default"
    """Preset of the environment: ``default`` is made for minutes, ``paper`` is the paper's
    text with the authors' sizes, ``authors-code`` what their code does where the two differ;
    the grids also have ``present-beliefs`` (the paper's imaginary tasks), ``published-tasks`` (as
    the authors' code makes them), ``published-network``, ``a2c`` and ``published-learner``, the
    MuJoCo families ``moments`` (a VAE that knows the task sooner; on the Ants the default of
    methods whose policy reads the belief), the Ants ``recurrent`` (the paper's encoder)."""
    seed: int = 0
    """Seed of everything random."""
    total_timesteps: int = 1_000_000
    """Environment steps of all workers together."""
    device: str = "auto"
    """Device of everything that is trained: cpu, cuda, … ; auto takes a GPU where there is one."""
    num_threads: int | None = None
    """Threads of the batched physics engine (MuJoCo families); None for one per core."""
    run_dir: str = ""
    """Run folder; empty: runs/<env_id>-<method>-seed<seed>."""
    overwrite: bool = False
    """Delete an existing run folder first."""

    n_episodes: int = 1
    """Episodes N of one task in a meta-episode."""

    eval_interval: int = 250_000
    """Environment steps between evaluations; the end is always evaluated."""
    eval_tasks: int = 16
    """Tasks of the fixed sample that stands for a continuous set, or for one of over 1000 tasks."""
    log_interval: int = 10
    """Iterations (policy updates) between rows of metrics.csv."""
    checkpoint_interval: int = 1_000_000
    """Environment steps between checkpoints; one is always written at the end or on Ctrl-C."""

    @property
    def adapts_from(self) -> int:
        """Steps from which evaluations adapt to their tasks as the method does; 0: all do, or none.

        MQL and MIER take gradient steps on each test task, which is slow, and may do so near the
        end of a run only (``adapt_from``).
        """
        return 0

    def __post_init__(self) -> None:
        for name in ("env_id", "eval_env_id"):
            object.__setattr__(self, name, short_id(getattr(self, name)))
        get_method(self.method)
        check_types(self)
        self._check(
            "must be positive",
            "total_timesteps n_episodes eval_interval eval_tasks log_interval checkpoint_interval",
        )
        self._check("must be at least 1 or None", "num_threads max_episode_steps")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie in [0, 2^32), got {self.seed}")

    def _check(self, rule: str, names: str) -> None:
        """Hold some settings to one of the rules; ``None`` is fine where the type admits it.

        Raises:
            ValueError: One that does not fit; the message shows its value.
        """
        for name in names.split():
            value = getattr(self, name)
            if value is not None and not _RULES[rule](value):
                raise ValueError(f"{name} {rule}, got {value}")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary that :meth:`from_dict` reads back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls: type[Settings], values: dict[str, Any]) -> Settings:
        """Inverse of :meth:`to_dict`; unknown or missing settings are a ``ValueError``.

        Settings may have the name that they had when the run was made, and newer ones get
        the value that it had without them (``train/config/old_runs.py``).
        """
        known = {field.name for field in dataclasses.fields(cls)}
        values = {**cls._defaults_for_old_runs(), **with_present_names(values)}
        given = set(values)
        if known != given:
            unknown, missing = sorted(given - known), sorted(known - given)
            raise ValueError(f"settings do not fit: unknown {unknown}, missing {missing}")
        fixed: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**fixed)

    @classmethod
    def _defaults_for_old_runs(cls) -> dict[str, Any]:
        """What this class's settings were before they existed."""
        return DEFAULTS_FOR_OLD_RUNS


def check_types(settings: Any) -> None:
    """Raise a ``ValueError`` that names the first field whose value is of another type."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        check_type(type(settings), field.name, value)
        if dataclasses.is_dataclass(value):
            check_types(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field.name} must be a finite number, got {value}")


def check_type(kind: Any, name: str, value: Any) -> None:
    """Raise a ``ValueError`` if a value is not of the type of the field that it is meant for."""
    if not _fits(value, _declared(kind)[name]):
        expected = kind.__dataclass_fields__[name].type
        raise ValueError(f"{name} must be {expected}, got {value!r}")


@functools.cache
def _declared(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _fits(value: Any, declared: Any) -> bool:
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin is typing.Literal:
        return value in arguments and isinstance(value, str)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is tuple:  # tuple[X, ...]
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if declared is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if declared is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, declared)


def nested_kinds(settings: Any) -> dict[str, dict[str, Any]]:
    """The nested settings of a settings class: name -> kind -> class."""
    declared = _declared(settings)
    return {
        field.name: scheme_kinds(declared[field.name])
        for field in dataclasses.fields(settings)
        if dataclasses.is_dataclass(field.default)
    }


def known_settings(settings: Any) -> dict[str, Any]:
    """Every setting with its default: nested ones as ``name.inner``, and their kind as ``name``."""
    known: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(settings)}
    for name, kinds in nested_kinds(settings).items():
        known[name] = known[name].kind()
        for kind in kinds.values():
            inner = dataclasses.fields(kind)
            known.update({f"{name}.{field.name}": field.default for field in inner})
    return known


def flattened(values: dict[str, Any]) -> dict[str, Any]:
    """``to_dict`` of settings with nested ones as ``name.inner``, and their kind as ``name``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            rest = {f"{name}.{inner}": one for inner, one in value.items() if inner != "kind"}
            flat.update({name: value["kind"], **rest})
        else:
            flat[name] = value
    return flat
