"""Live objects that belong to the process that made them."""

from __future__ import annotations

import copy
import multiprocessing
import os
from typing import Any, TypeVar

Bound = TypeVar("Bound", bound="ProcessBound")


class ProcessBound:
    """A live object, of which a process that was started later holds a private copy.

    ``AsyncVectorEnv`` and the like copy a model, pool or buffer into every worker process, where
    nothing that others learn or publish arrives. :meth:`check_process` raises there. What is
    pickled to disk belongs to whoever loads it, unless a process gets it from the parent that
    made it.
    """

    _owner: int
    _unpickled_in: int | None = None

    def __new__(cls: type[Bound], *args: Any, **kwargs: Any) -> Bound:
        instance = super().__new__(cls)
        object.__setattr__(instance, "_owner", os.getpid())
        return instance

    @property
    def belongs_here(self) -> bool:
        """Whether the object belongs to this process."""
        here = os.getpid()
        if self._owner != here and self._unpickled_in == here:
            # asked now, not when unpickling: a spawned process does not know its parent by then
            parent = multiprocessing.parent_process()
            if parent is None or parent.pid != self._owner:
                object.__setattr__(self, "_owner", here)
        return self._owner == here

    def check_process(self) -> None:
        """Raise a ``RuntimeError`` in any process but the one that the object belongs to."""
        if self.belongs_here:
            return
        name = type(self).__name__
        raise RuntimeError(
            f"this {name} was made in process {self._owner} and is a private copy in process "
            f"{os.getpid()}: what it learns or is told there reaches nobody, and nothing reaches "
            "it. Environments that share it have to run in one process: use SyncVectorEnv, or put "
            "the wrappers of ldm_wrappers.vector around the AsyncVectorEnv. For a copy that is "
            "meant to stay as it is, make or load it in the function that makes the environment, "
            "or take copy.deepcopy of it there"
        )

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        restore = getattr(super(), "__setstate__", None)
        if restore is None:
            self.__dict__.update(state)
        else:
            restore(state)
        object.__setattr__(self, "_unpickled_in", os.getpid())

    def __deepcopy__(self: Bound, memo: dict[int, Any]) -> Bound:
        result = type(self).__new__(type(self))
        memo[id(self)] = result
        owner = result._owner
        result.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        object.__setattr__(result, "_owner", owner)
        return result
