"""Attributes that can be set only once, because other parts are built from them."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class FixedAttribute(Generic[T]):
    """An attribute whose second assignment is an ``AttributeError``.

    ``n_mixture = FixedAttribute[int]()`` in a class body; ``__init__`` sets it. Changing it later,
    for example by ``set_attr`` of a vector environment, would not change the parts that were built
    from it.
    """

    _name: str

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> FixedAttribute[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        try:
            return vars(instance)[self._name]
        except KeyError:
            raise AttributeError(f"{owner.__name__} has no {self._name} yet") from None

    def __set__(self, instance: object, value: T) -> None:
        if self._name in vars(instance):
            raise AttributeError(
                f"{self._name} of {type(instance).__name__} is fixed when it is made, as "
                f"{vars(instance)[self._name]!r:.80}; make another one with {value!r:.80}"
            )
        vars(instance)[self._name] = value
