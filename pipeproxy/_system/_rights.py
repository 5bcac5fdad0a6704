"""Rights: re-entrant locks that a thread takes without waiting, and that are always given back.

What is done with a right, or another lock, is no loop that stands in the same `with` or `try`, and
no `try` of its own: in Python 3.12 and 3.13 the jump back is outside of the block, and it is there
that signal handlers run (cpython#130279). So such a loop is a function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

T = TypeVar("T")

#: What `attempt` returns when somebody else has the right.
TAKEN: Final = object()


def attempt(right: Any, act: Callable[[], T]) -> T:
    """Call ``act()`` with a right that this thread does not have; return TAKEN if another has it.

    Whatever raises, and whenever, the right is given back: the outer `acquire` is undone as soon as
    `with` has bound its own, which is given back in C.
    """
    try:
        if not right.acquire(False):
            return cast(T, TAKEN)
        with right:
            right.release()
            return act()
    except BaseException:
        if right._is_owned():
            right.release()
        raise
