"""To which chain of calls a call belongs that is made now, as it travels."""

from __future__ import annotations

from math import inf

from .._channels._wire import pack_context
from .._system import _deadline
from ._activities import Served


def context_of(served: Served | None, deadline: float | None) -> bytes:
    """Return the context of a call that is made now, as it travels.

    Args:
        served: what this thread serves.
    """
    left = _deadline.left(deadline)
    seconds = inf if left is None else left
    if served is None:
        return pack_context(seconds, 0, ())
    return pack_context(seconds, served.activity.thread, served.path)
