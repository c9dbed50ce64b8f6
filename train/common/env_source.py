"""Where a run's environments come from: an id or function, its arguments and simple wrappers."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import json
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium import wrappers

from ldm_envs.tasks import TaskDistribution, same_tasks  # also registers the LDM ids
from ldm_wrappers.step_limit import step_limit, with_step_limit
from ldm_wrappers.wrapper_order import own_statistics
from train.config.settings import RunSettings

AnyEnv = gym.Env[Any, Any]


@dataclasses.dataclass(frozen=True)
class EnvFacts:
    """Properties of the environments of a source.

    Attributes:
        distribution: Their ``task_distribution``, found through wrappers, or ``None``.
        horizon: Maximum number of steps H of an episode, or ``None``.
        takes_split: Whether their constructor takes ``split``.
        observation_space: Their observation space.
    """

    distribution: Any | None
    horizon: int | None
    takes_split: bool
    observation_space: Any = None


@dataclasses.dataclass(frozen=True)
class EnvSource:
    """Makes single environments according to the settings of a run.

    Attributes:
        env_id: A registered id, ``module:Id-v0`` or ``module:function``.
        env_kwargs: Arguments of its constructor or of the function, as ``name=value``.
        max_episode_steps: Step limit; ``None`` for the environment's own.
        flatten_observation: Whether to wrap it with ``FlattenObservation``.
        observation_keys: Keys of a Dict observation to keep; all if empty.
    """

    env_id: str
    env_kwargs: tuple[str, ...] = ()
    max_episode_steps: int | None = None
    flatten_observation: bool = False
    observation_keys: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: RunSettings) -> EnvSource:
        """The source of a run's environments."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: getattr(config, name) for name in names})

    @property
    def plain(self) -> bool:
        """Whether the settings add no wrapper."""
        return not (self.flatten_observation or self.observation_keys)

    @property
    def arguments(self) -> dict[str, Any]:
        """``env_kwargs`` with their values parsed as JSON, or kept as text if that fails.

        Raises:
            ValueError: If an argument has no name, a name is given twice, or a value is ``True``,
                ``False`` or ``None``, which are not JSON.
        """
        found: dict[str, Any] = {}
        for name, value in map(parse_argument, self.env_kwargs):
            if name in found:
                raise ValueError(
                    f"env_kwargs has {name} twice, {found[name]!r} and {value!r}; expected one"
                )
            found[name] = value
        return found

    def spec(self) -> gym.envs.registration.EnvSpec | None:
        """The registration of an id; ``None`` for a function.

        Raises:
            ValueError: If there is neither an id nor a function with this name.
        """
        found = _find(self.env_id)
        return None if callable(found) and not isinstance(found, str) else gym.spec(found)

    @property
    def of_ldm_envs(self) -> bool:
        """Whether it is an id of ``ldm_envs``, whose environments keep no state across resets."""
        spec = self.spec()
        return spec is not None and str(spec.entry_point).startswith("ldm_envs.")

    def batch_arguments(self) -> list[str] | None:
        """Arguments of the environment's own batched version; ``None`` without a usable one.

        It is not usable if it resets itself or does not take what a single environment is given.
        """
        spec = self.spec()
        if spec is None or not self.plain:
            return None
        entry_point: Any = spec.vector_entry_point
        if isinstance(entry_point, str):
            entry_point = gym.envs.registration.load_env_creator(entry_point)
        known = [] if entry_point is None else list(inspect.signature(entry_point).parameters)
        if "autoreset_mode" not in known:
            return None
        given = [*self.arguments, *(["max_episode_steps"] if self.max_episode_steps else [])]
        if not all(_takes(entry_point, name) for name in given):
            return None
        return known

    def make(self, split: str | None = None, **arguments: Any) -> AnyEnv:
        """Make one environment.

        Args:
            split: Split, passed on if the environment takes one.
            arguments: Further arguments of the constructor, such as ``render_mode``.

        Raises:
            ValueError: If it cannot be made, or has another split; the message is one line,
                whatever its constructor raised.
        """
        if split is None or not self.facts().takes_split:
            return self._make(**arguments)
        self.refuse_own_split()
        env = self._make(split=split, **arguments)
        made = _attribute(env, "split")
        known = self.facts().distribution or ()
        if made != split and made in known and split in known:
            env.close()
            raise ValueError(
                f"{self.env_id!r} was called with split={split!r} but made an environment of split "
                f"{made!r}: pass split on to it, as in TaskMethodWrapper(env, tasks, split=split)"
            )
        own = _attribute(env, "task_distribution")
        if not _alike(own, known, split):
            env.close()
            raise ValueError(
                f"{self.env_id!r} has different tasks in split {split!r} at each call. All "
                "environments of a run need the same ones: list them, or draw them from a "
                "generator with a fixed seed (np.random.default_rng(0) inside the function)"
            )
        return env

    def refuse_own_split(self) -> None:
        """Raise a ``ValueError`` if ``env_kwargs`` has a split, which runs choose themselves."""
        if "split" in self.arguments:
            raise ValueError(
                f"env_kwargs has split={self.arguments['split']!r}, but runs choose the split: "
                "methods train on train tasks (oracles on all) and are evaluated on every split"
            )

    def _make(self, **arguments: Any) -> AnyEnv:
        create = _find(self.env_id)
        arguments = {**self.arguments, **arguments}
        limit = self.max_episode_steps
        try:
            if isinstance(create, str):
                env = gym.make(create, max_episode_steps=limit, **arguments)
            else:
                env = with_step_limit(create(**arguments), limit)
            if self.observation_keys:
                env = wrappers.FilterObservation(env, self.observation_keys)
            if self.flatten_observation:
                env = wrappers.FlattenObservation(env)
        except Exception as error:  # a third party's constructor may raise anything
            text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
            raise ValueError(
                f"cannot make env_id {self.env_id!r}: {text} (LDM_TRACEBACK=1 shows where)"
            ) from error
        if not isinstance(env, gym.Env):
            raise ValueError(f"{self.env_id!r} must return a gymnasium.Env, got {env!r}")
        scaling = own_statistics(env)
        if scaling:
            raise ValueError(
                f"{self.env_id!r} is wrapped with {scaling}, whose statistics are those of one "
                "environment and not used in evaluations: expected an environment without it, "
                "and --normalize-observation or --normalize-reward if the method has them"
            )
        return env

    def takes(self, name: str) -> bool:
        """Whether an argument may be handed over: any to an id, to a function one that it has."""
        create = _find(self.env_id)
        return isinstance(create, str) or _takes(create, name)

    @functools.cache  # noqa: B019  a run has one or two sources
    def facts(self) -> EnvFacts:
        """Properties of the environments, read from one that is made only once.

        Raises:
            ValueError: If it cannot be made, or its ``task_distribution`` has another type.
        """
        env = self._make()
        try:
            distribution = _attribute(env, "task_distribution")
            horizon = step_limit(env)
        finally:
            env.close()
        if not isinstance(distribution, TaskDistribution | None):
            raise ValueError(
                f"{self.env_id!r}: task_distribution must be a TaskDistribution, got "
                f"{distribution!r}; if the attribute has another meaning there, wrap the "
                "environment with an adapter of ldm_envs (TaskMethodWrapper or similar)"
            )
        # an id takes anything, which fails if its environment has no splits
        with_splits = distribution is not None or self.spec() is None
        takes_split = with_splits and self.takes("split")
        return EnvFacts(distribution, horizon, takes_split, env.observation_space)


def parse_argument(text: str) -> tuple[str, Any]:
    """Parse a constructor argument ``name=value``.

    Raises:
        ValueError: If there is no name, or the value is a word of Python, not of JSON.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(
            f"env_kwargs must be name=value, such as gravity=9.8 or render=false, got {text!r}"
        )
    if value in _JSON_WORDS:  # as a text, even False would be true
        raise ValueError(
            f"env_kwargs values are JSON, got {text}: write {name}={_JSON_WORDS[value]}, or "
            f"'{name}=\"{value}\"' for the text"
        )
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


_JSON_WORDS = {"True": "true", "False": "false", "None": "null"}
_EXPECTED = (
    "expected a registered id, module:Id-v0 or module:function, with a module (not a file name) in "
    "this folder or on PYTHONPATH"
)


@functools.cache
def _find(env_id: str) -> str | Callable[..., AnyEnv]:
    """The registered id or the function that ``env_id`` refers to."""
    module, _, name = env_id.rpartition(":")
    try:
        imported = importlib.import_module(module) if module else None
    except Exception as error:  # a third party's module may raise anything
        text = " ".join(f"{type(error).__name__}: {error}".split())
        missing = isinstance(error, ModuleNotFoundError) and module.startswith(str(error.name))
        expected = f"; {_EXPECTED}" if missing else ""
        raise ValueError(f"unknown env_id {env_id!r}: {text}{expected}") from error
    if name not in gym.registry and imported is not None:
        function = getattr(imported, name, None)
        if callable(function):
            return function
    try:
        return gym.spec(name).id
    except (gym.error.Error, TypeError, ValueError) as error:
        text = str(error).rstrip(".")
        more = (
            _EXPECTED if imported is None else f"module {module!r} has no function {name!r} either"
        )
        raise ValueError(f"unknown env_id {env_id!r}: {text}; {more}") from None


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    anything = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    return anything or name in parameters


def _alike(one: Any, other: Any, split: str) -> bool:
    """Whether two environments have the same tasks in a split, as far as is known."""
    if not (isinstance(one, TaskDistribution) and isinstance(other, TaskDistribution)):
        return True
    return split not in one or split not in other or same_tasks(one[split], other[split])


def _attribute(env: AnyEnv, name: str) -> Any | None:
    try:
        return env.get_wrapper_attr(name)
    except AttributeError:
        return None
