"""Live objects that belong to the process that made them."""

from __future__ import annotations

import copy
import multiprocessing
import os
from typing import Any, TypeVar

Bound = TypeVar("Bound", bound="ProcessBound")


class ProcessBound:
    """A live object, of which later processes only have a private copy.

    ``AsyncVectorEnv`` and the like copy a model, pool or buffer into every worker process, which
    nothing that others learn or publish reaches. :meth:`check_process` raises an error there. An
    object that is pickled to disk belongs to the process that loads it, unless a process gets it
    from the parent that made it.
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
            # asked now, not when unpickling, when a spawned process does not know its parent yet
            parent = multiprocessing.parent_process()
            if parent is None or parent.pid != self._owner:
                object.__setattr__(self, "_owner", here)
        return self._owner == here

    def check_process(self) -> None:
        """Raise a ``RuntimeError`` in any process other than the one that owns the object."""
        if self.belongs_here:
            return
        name = type(self).__name__
        raise RuntimeError(
            f"this {name} was made in process {self._owner} and is a private copy in process "
            f"{os.getpid()}: changes to it there reach nobody, and changes elsewhere do not "
            "reach it. Environments that share it must run in one process: use SyncVectorEnv, or "
            "put the wrappers of ldm_wrappers.vector around the AsyncVectorEnv. For a copy that "
            "need not change, make or load it in the function that makes the environment, or use "
            "copy.deepcopy of it there"
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
