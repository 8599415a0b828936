"""What :class:`asgi_stream.config.Config` is made from: a tuple whose items have names."""

from __future__ import annotations

from operator import itemgetter

__all__ = ["Record"]


class Record(tuple):  # type: ignore[type-arg]  # each subclass knows what is in it
    """A tuple whose items have the names that the subclass annotates, in that order.

    The subclass takes them by its ``__new__``, which is for it to write: ``return tuple.__new__(cls, (name, …))``.
    """

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)
        for position, name in enumerate(cls._fields):
            setattr(cls, name, property(itemgetter(position)))
