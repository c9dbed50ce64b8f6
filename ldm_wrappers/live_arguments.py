"""Constructor arguments of wrappers that share live objects: models, pools, buffers."""

from __future__ import annotations

from typing import Any

from gymnasium.utils import RecordConstructorArgs


class RecordLiveArguments(RecordConstructorArgs):
    """Gymnasium's record of constructor arguments, which copies of a spec share by reference.

    Each wrapper copies the spec of the one inside it. An environment made from ``env.spec`` thus
    uses the same model, pool and buffer, rather than copies that are never trained or filled.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(_disable_deepcopy=True, **kwargs)
        self._saved_kwargs = _ByReference(self._saved_kwargs)


class _ByReference(dict[str, Any]):
    def __deepcopy__(self, memo: dict[int, Any]) -> _ByReference:
        return _ByReference(self)
