"""Descriptors, each owned by one object and closed by one C call.

A signal handler may raise between any two bytecodes. So a descriptor is made and stored in one C
call (`adopt`), and closed in one (`Descriptor.close`): it is never lost and never closed twice.

`lock` is held while descriptors are opened, accepted or closed, and while this process forks: a
child never inherits one that no object of its own knows.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterable
from typing import Literal

#: Re-entrant, because a fork can come from a signal handler or a finalizer inside the lock.
lock = threading.RLock()

Mode = Literal["rb", "wb"]


class Descriptor(io.FileIO):
    """One descriptor: `read` and `write` return None where they would block, `close` is final.

    It closes itself when the last reference to it goes, without a ResourceWarning: a channel that
    was given up because its exchange was interrupted is left to just that.
    """

    def __del__(self) -> None:
        self.close()


def adopt(
    into: list[Descriptor],
    source: Callable[[int], int] | None,
    numbers: Iterable[int],
    modes: Iterable[Mode],
) -> None:
    """Append a `Descriptor` for each of `numbers`, made by `source` (such as `os.dup`) from it.

    With `source` None the numbers themselves are taken over. It is all one C call: whatever
    exists when it is interrupted is in the list.
    """
    made = numbers if source is None else map(source, numbers)
    into.extend(map(Descriptor, made, modes))


def blocking_off(descriptors: Iterable[Descriptor]) -> None:
    """Let reads and writes return None instead of waiting."""
    for descriptor in descriptors:
        os.set_blocking(descriptor.fileno(), False)
