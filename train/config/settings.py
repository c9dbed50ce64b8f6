"""Settings that all learner scripts share: typed, documented and saved with the run."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np

from ldm_wrappers.imagination.schemes import scheme_kinds
from train.config.methods import get_method
from train.config.old_runs import DEFAULTS_FOR_OLD_RUNS, with_present_names

Settings = TypeVar("Settings", bound="RunSettings")

_TINY, _HUGE = (float(bound) for bound in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))

# conditions on the value of a setting, worded as in error messages
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
    """``env_id`` without the module ``ldm_envs``, which is always imported."""
    return env_id.removeprefix("ldm_envs:") if env_id.startswith("ldm_envs:LDM-") else env_id


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What a run trains, for how long and where, and how it is evaluated, logged and checkpointed.

    The base class of the settings of all scripts. Each field is a flag, whose default comes from
    the run's preset (``train/config/presets``).

    Raises:
        ValueError: If a value has the wrong type or is out of range.
    """

    env_id: str = "LDM-GridNavi-v0"
    """A registered id, ``module:Id-v0``, or ``module:function`` where the function returns an
    environment (``--env-fn`` is the same flag)."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments of the environment's constructor or function: name=value …, with values as JSON or
    else as text."""
    max_episode_steps: int | None = None
    """Steps H after which an episode is truncated; None for the limit of the registered id."""
    observation_keys: tuple[str, ...] = ()
    """Keys of a Dict observation that the agent sees; all by default."""
    flatten_observation: bool = False
    """Flatten Dict, Tuple, Discrete and other observations (Gymnasium's FlattenObservation)."""
    vectorization: Literal["sync", "async"] = "sync"
    """How to step environments without a batched version: "sync" one after another, "async" each in
    a process of its own (training only)."""
    eval_env_id: str = ""
    """Id or function that makes the test tasks, if they are not a split of env_id. They are
    evaluated as split "test"; if env_id has a split of that name, as "eval" or else
    "eval_env_id"."""
    method: str = "ldm"
    """Method to train, one of those in train/config/methods.py."""
    preset: str = "default"
    """Preset of the environment: ``default`` is sized for two cores, ``paper`` follows the paper's
    text with the authors' sizes, and ``authors-code`` follows their code where the two differ
    (except for its value loss on MuJoCo, a Huber loss of clipped values). The grids also have
    ``present-beliefs`` (the paper's imaginary tasks), ``published-tasks`` (those of the authors'
    code), ``published-network``, ``a2c`` and ``published-learner``. The MuJoCo families have
    ``moments`` (a VAE that infers the task in fewer steps; ``default`` has it for ``ldm``, on
    AntDir with a larger β, and for ``ldm-varibad``, on both Ant families also for ``varibad`` and
    ``oracle-varibad``) and ``recurrent`` (the paper's encoder)."""
    seed: int = 0
    """Seed of all random number generators."""
    total_timesteps: int = 1_000_000
    """Environment steps, summed over all workers."""
    device: str = "auto"
    """Device to train on: cpu, cuda, …; auto uses a GPU if there is one."""
    num_threads: int | None = None
    """Threads of the batched physics engine (MuJoCo families); None for one per core."""
    run_dir: str = ""
    """Run folder; empty for runs/<env_id>-<method>-seed<seed>."""
    overwrite: bool = False
    """Delete an existing run folder first."""

    n_episodes: int = 1
    """Episodes N per meta-episode, all of one task."""

    eval_interval: int = 250_000
    """Environment steps between evaluations; there is always one at the end."""
    eval_tasks: int = 16
    """Number of tasks in the fixed sample that evaluations use of a continuous set, or of one with
    over 1000 tasks."""
    log_interval: int = 10
    """Iterations (policy updates) between rows of metrics.csv."""
    checkpoint_interval: int = 1_000_000
    """Environment steps between checkpoints; one is always written at the end and on Ctrl-C."""

    @property
    def adapts_from(self) -> int:
        """Step from which on evaluations adapt to their tasks; 0 if all do, or none.

        MQL and MIER take gradient steps on each test task. That is slow, so it can be limited to
        the end of a run (``adapt_from``).
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
        """Check some settings against one of the rules; ``None`` always passes.

        Raises:
            ValueError: If a setting breaks the rule; the message shows its value.
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

        Former names of settings are accepted. Settings newer than the run get the value that
        corresponds to its behaviour (``train/config/old_runs.py``).
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
        """Values for settings that did not exist yet when a run was saved."""
        return DEFAULTS_FOR_OLD_RUNS


def check_types(settings: Any) -> None:
    """Raise a ``ValueError`` that names the first field whose value has the wrong type.

    Numbers must be finite, and neither overflow nor vanish as float32, in which networks compute.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        check_type(type(settings), field.name, value)
        if dataclasses.is_dataclass(value):
            check_types(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field.name} must be a finite number, got {value}")
        if any(type(n) is int and abs(n) >= 2**63 for n in _each(value)):
            raise ValueError(f"{field.name} must be below 2^63 in magnitude, got {value}")
        if isinstance(value, float) and value and not _TINY <= abs(value) <= _HUGE:
            raise ValueError(
                f"{field.name} must be 0 or between {_TINY:.1e} and {_HUGE:.1e} in magnitude, the "
                f"range of float32, got {value}"
            )


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def check_type(kind: Any, name: str, value: Any) -> None:
    """Raise a ``ValueError`` if ``value`` does not have the type of the field ``name``."""
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
    """Nested settings of a settings class: name -> kind -> class."""
    declared = _declared(settings)
    return {
        field.name: scheme_kinds(declared[field.name])
        for field in dataclasses.fields(settings)
        if dataclasses.is_dataclass(field.default)
    }


def known_settings(settings: Any) -> dict[str, Any]:
    """Defaults of all settings: nested ones as ``name.inner``, and their kind as ``name``."""
    known: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(settings)}
    for name, kinds in nested_kinds(settings).items():
        known[name] = known[name].kind()
        for kind in kinds.values():
            inner = dataclasses.fields(kind)
            known.update({f"{name}.{field.name}": field.default for field in inner})
    return known


def flattened(values: dict[str, Any]) -> dict[str, Any]:
    """``to_dict`` of settings, flattened: nested ones as ``name.inner``, their kind as ``name``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            rest = {f"{name}.{inner}": one for inner, one in value.items() if inner != "kind"}
            flat.update({name: value["kind"], **rest})
        else:
            flat[name] = value
    return flat
