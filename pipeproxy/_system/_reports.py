"""Errors that nobody can be given: they are told as Python tells of those in finalizers."""

from __future__ import annotations

import weakref


class _Telling:
    """The callback of a weak reference: what it raises Python gives to `sys.unraisablehook`.

    That takes nothing but what Python itself makes for it.
    """

    def __init__(self, error: BaseException, source: object) -> None:
        self._error = error
        self._source = source

    def __call__(self, reference: object) -> None:
        try:
            raise self._error
        finally:
            del self._error  # its traceback holds this

    def __repr__(self) -> str:
        return str(self._source)


class _Moment:
    """What is no more as soon as it was made."""

    __slots__ = ("__weakref__",)


def report(error: BaseException, source: object) -> None:
    """Tell of an error by `sys.unraisablehook`; never raises.

    Args:
        source: where it was raised, for people.
    """
    moment = _Moment()
    reference = weakref.ref(moment, _Telling(error, source))
    del moment
    del reference
