"""Errors that nobody can be given: they are told as Python tells of those in finalizers."""

from __future__ import annotations

import sys
from types import SimpleNamespace


def report(error: BaseException, source: object) -> None:
    """Tell of an error by `sys.unraisablehook`.

    Args:
        source: where it was raised, for people.
    """
    sys.unraisablehook(
        SimpleNamespace(
            exc_type=type(error),
            exc_value=error,
            exc_traceback=error.__traceback__,
            err_msg="Exception ignored in",
            object=source,
        )
    )
