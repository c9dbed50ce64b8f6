"""Constructor arguments of wrappers that share live objects: models, pools, buffers."""

from __future__ import annotations

from typing import Any

from gymnasium.utils import RecordConstructorArgs


class RecordLiveArguments(RecordConstructorArgs):
    """Gymnasium's record of constructor arguments, by reference however often a spec is copied.

    Each wrapper copies the spec of the one below it. An environment made again from ``env.spec``
    still mixes the beliefs that others publish, with the model that keeps learning: not copies
    of both, which nobody publishes to and nobody trains.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(_disable_deepcopy=True, **kwargs)
        self._saved_kwargs = _ByReference(self._saved_kwargs)


class _ByReference(dict[str, Any]):
    def __deepcopy__(self, memo: dict[int, Any]) -> _ByReference:
        return _ByReference(self)
