"""Calls by name, and copies: what `multiprocessing` documents of every proxy of a manager's.

An object that is shared as it is gets both beside what its class shows: ``_callmethod(name, args,
kwds)`` calls what proxies may call anyway, and ``_getvalue()`` returns a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import attrs

from .._objects._faces import face_of, show
from .._objects._subjects import use_attribute
from .._references._lent import by_ref
from .._references._values import by_value
from .._specs._members import DELETE, GET, SET
from .._specs._spec import Method, Parameter, describe
from .._specs._stdlib import Mixed
from ..errors import NotExposed, RemoteError

_ATTRIBUTES: Final = {"__getattribute__": GET, "__setattr__": SET, "__delattr__": DELETE}

#: As in `inspect.Parameter`: passed by position or by name.
_EITHER: Final = 1
_METHODS: Final = (
    Method(
        "_callmethod",
        (
            Parameter("methodname", _EITHER, None, None),
            Parameter("args", _EITHER, "()", None),
            Parameter("kwds", _EITHER, "None", None),
        ),
        None,
        "Call a method of the object by its name and return what it returns.",
    ),
    Method("_getvalue", (), None, "Return a copy of the object."),
)
_NAMES: Final = frozenset(method.name for method in _METHODS)


class Refused(NotExposed, RemoteError):
    """A name is not exposed; where the standard manager is asked, it says `RemoteError`."""

    def __init__(self, text: str) -> None:
        super().__init__(NotExposed.__qualname__, text)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return Refused, (self.message,)


class ByName:
    """What is called in the place of an object; or the object's own class is derived from this."""

    def _sides(self) -> tuple[Any, Any]:
        """Return the object, and what is called in its place."""
        return self, self

    def _callmethod(
        self, methodname: str, args: Iterable[Any] = (), kwds: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a method of the object by its name and return what it returns.

        Raises:
            Refused: proxies may not call it.
        """
        target, actor = self._sides()
        face = face_of(target)
        if methodname in _ATTRIBUTES:
            return use_attribute(target, face.members, _ATTRIBUTES[methodname], *args)
        number = face.members.numbers.get(methodname)
        if number is None:
            raise Refused(f"{face.members.class_name}.{methodname} is no method that proxies show")
        result = getattr(actor, methodname)(*args, **(kwds or {}))
        return by_ref(result) if number in face.live else result

    def _getvalue(self) -> Any:
        """Return a copy of the object."""
        return by_value(self._sides()[0])


class _Standing(ByName):
    """Of a class whose objects are called in the place of others."""

    _target: Any

    def _sides(self) -> tuple[Any, Any]:
        return self._target, self


class _Beside(ByName):
    """Stands beside what is called; no more than these two methods are called of it."""

    def __init__(self, target: Any, actor: Any) -> None:
        self._both = target, actor

    def _sides(self) -> tuple[Any, Any]:
        return self._both


def show_by_name(target: object) -> None:
    """Let proxies of an object, and of all others of its class, call by name as well.

    Raises:
        SpecError: it cannot be shared; the text says why.
    """
    face, cls = face_of(target), type(target)
    if "_callmethod" in face.members.numbers:
        return
    spec = describe(cls)
    methods = [method for method in spec.methods if method.name not in _NAMES]
    blocking = spec.conduct.blocking
    conduct = attrs.evolve(spec.conduct, blocking=blocking and blocking | {"_callmethod"})
    spec = attrs.evolve(spec, methods=(*methods, *_METHODS), conduct=conduct)
    stand = face.stand
    if isinstance(stand, type):
        show(cls, spec, type(stand.__name__, (_Standing, stand), {}))
    else:
        show(cls, spec, partial(_with_both, stand))


def _with_both(stand: Callable[[Any], Any] | None, target: Any) -> Any:
    actor = target if stand is None else stand(target)
    return Mixed(actor, _Beside(target, actor), _NAMES)
