"""How a class names the type of its proxies, for type checkers and for nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

X_co = TypeVar("X_co", covariant=True)


class Shared(Generic[X_co]):
    """A base for classes whose proxies have a generated type: ``Shared["AccountProxy"]``.

    `share` and `spawn` then yield that type. It is for type checkers without plugins; with
    `pipeproxy.mypy_plugin` mypy needs no base. When the program runs, it is no base at all.
    """

    if TYPE_CHECKING:

        def __pipeproxy__(self) -> X_co:
            """Link a class to its proxies; it must be a method, or pyright does not follow it."""
            raise NotImplementedError

    else:

        def __class_getitem__(cls, proxy: Any) -> _NoBase:
            return _NoBase()


class _NoBase:
    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type[Any], ...]:
        return ()
