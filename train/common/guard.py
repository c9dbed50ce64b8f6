"""Stop a run at the first value that is not finite, or when its environments fail."""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from ldm_wrappers.step_limit import step_limit

# Modules whose errors say how to use an environment; AsyncVectorEnv raises all errors from here.
_TELL = ("ldm_envs", "ldm_wrappers", "gymnasium.vector", "gymnasium.wrappers", "gymnasium.core")


class WorkerError(RuntimeError):
    """An environment raised an error of its own while it was stepped or reset."""


class FiniteCheckWrapper(VectorWrapper):
    """Innermost wrapper of a training, which names a worker with a bad observation or reward.

    It also checks that episodes end, since waiting for their end could last forever.

    Args:
        env: The environments as registered, without wrappers of this package.
    """

    handles_reset_mask = True  # for MultiEpisodeWrapper: episode lengths respect it

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self.steps = 0  # of each worker, since the start of the run
        self._limit = step_limit(env)
        self._lengths = np.zeros(self.num_envs, np.int64)  # of the current episodes

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Reset, and check the observations."""
        # a copy, since Gymnasium's vector environments pop the mask from the options
        given = None if options is None else dict(options)
        try:
            observations, infos = self.env.reset(seed=seed, options=given)  # type: ignore[arg-type]
        except Exception as error:
            if _says_what_to_do(error):
                raise
            raise WorkerError(_failure("reset", error, options)) from error
        check_rows("observation", observations)
        self._lengths[(options or {}).get("reset_mask", slice(None))] = 0
        return observations, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step, and check observations, rewards and lengths; ends become booleans."""
        self.steps += 1
        try:
            observations, rewards, *flags, infos = self.env.step(actions)
        except Exception as error:
            if _says_what_to_do(error):
                raise
            raise WorkerError(_failure("step", error)) from error
        check_rows("observation", observations)
        check_rows("reward", rewards)
        terminations, truncations = (np.asarray(each, bool) for each in flags)
        self._check_lengths(terminations | truncations)
        return observations, rewards, terminations, truncations, infos

    def _check_lengths(self, ended: NDArray[np.bool_]) -> None:
        """Raise a ``ValueError`` if an episode exceeds the declared step limit."""
        self._lengths += 1
        if self._limit is None:
            return
        late = np.flatnonzero((self._lengths > self._limit) & ~ended)
        if len(late):
            raise ValueError(
                f"episodes of workers {late.tolist()} continue after {self._limit} steps, the "
                "limit that the environment declares (spec.max_episode_steps): wrap it with "
                "gymnasium.wrappers.TimeLimit, or pass --max-episode-steps"
            )

    def get_state(self) -> dict[str, Any]:
        """Steps, for messages, and lengths of the current episodes."""
        return {"steps": self.steps, "lengths": self._lengths.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`get_state`."""
        self.steps = int(state["steps"])
        self._lengths[...] = state.get("lengths", 0)  # missing in older checkpoints


def _says_what_to_do(error: Exception) -> bool:
    """Whether an error says how to use an environment, rather than that one has failed."""
    if not isinstance(error, (ValueError, TypeError, FloatingPointError)):
        return False
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).startswith(_TELL)


def _failure(doing: str, error: Exception, options: dict[str, Any] | None = None) -> str:
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, (EOFError, BrokenPipeError, ConnectionResetError)):
        text += " (one of their processes has ended: perhaps it was killed for lack of memory)"
    if options and "keep_task" in options:
        text += (
            ". MultiEpisodeWrapper had asked for another episode of the same task, with "
            "options={'keep_task': True}; if the environment does not support that, wrap it with "
            "an adapter of ldm_envs (TaskMethodWrapper or similar)"
        )
    return f"the environments failed at {doing}: {text} (LDM_TRACEBACK=1 shows where)"


def check_rows(name: str, rows: Any) -> None:
    """Raise a ``FloatingPointError`` that names the first worker with a bad value."""
    array = np.asarray(rows)
    if array.dtype.kind != "f":
        return
    with np.errstate(over="ignore"):  # networks and buffers are float32
        finite = np.isfinite(array.astype(np.float32, copy=False))
    if finite.all():
        return
    worker = int(np.flatnonzero(~finite.reshape(len(array), -1).all(axis=1))[0])
    how = " as float32" if np.isfinite(array[worker]).all() else ""
    raise FloatingPointError(f"{name} of worker {worker} is not finite{how}: {array[worker]}")


@torch.no_grad()
def check_weights(**owners: torch.nn.Module | None) -> None:
    """Raise a ``FloatingPointError`` that names non-finite weights and their owner.

    A bad loss or gradient spoils the weights in the same update, so this also finds those.
    """
    for owner, module in owners.items():
        if module is None:
            continue
        parameters = dict(module.named_parameters())
        if torch.stack([p.sum() for p in parameters.values()]).isfinite().all():
            continue
        for name, values in parameters.items():
            if not values.isfinite().all():
                count = int((~values.isfinite()).sum())
                raise FloatingPointError(
                    f"{count} of {values.numel()} weights {name} of the {owner} are not finite "
                    "after this update: its loss or gradient was not"
                )
