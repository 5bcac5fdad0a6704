"""The activity: what the calls that are made now are part of.

An activity is one logical chain of calls. It begins with a `locked`, and every call made inside it
says so; a thread that was started inside is on its own.
"""

from __future__ import annotations

import os
from contextvars import ContextVar, Token

_activity: ContextVar[int] = ContextVar("pipeproxy_activity", default=0)

#: The number of this thread's or task's activity, 0 where it is in none.
current = _activity.get
leave = _activity.reset


def enter() -> Token[int]:
    """Be in an activity, which is a new one if there was none, until ``leave(token)``."""
    return _activity.set(current() or int.from_bytes(os.urandom(8), "little") | 1)
