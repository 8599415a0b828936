"""Named tuples that a cold start need not wait for.

``typing.NamedTuple`` takes a third of a millisecond to make a class, and this package has nine.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Self

__all__ = ["Record"]


class Record(tuple):  # type: ignore[type-arg]  # each subclass knows what is in it
    """A tuple whose items have the names that the subclass annotates, in that order.

    The subclass takes them by its ``__new__``, which is for it to write: ``return tuple.__new__(cls, (name, …))``.
    """

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)
        setattr(cls, "__match_args__", cls._fields)  # noqa: B010 - mypy takes an assignment for a literal one
        for position, name in enumerate(cls._fields):
            setattr(cls, name, property(itemgetter(position)))

    def _replace(self, **changes: Any) -> Self:
        """Returns another value, with some fields changed. Raises TypeError for a name that is no field."""
        return type(self)(**(dict(zip(self._fields, self, strict=True)) | changes))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)  # for copies and pickles

    def __repr__(self) -> str:
        fields = [f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True)]
        return f"{type(self).__name__}({', '.join(fields)})"
