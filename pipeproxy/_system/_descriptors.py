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
from itertools import chain, repeat, starmap
from typing import Literal

#: Re-entrant, because a fork can come from a signal handler or a finalizer inside the lock.
lock = threading.RLock()

Mode = Literal["rb", "wb"]


class Descriptor(io.FileIO):
    """One descriptor: `read` and `write` return None where they would block, `close` is final.

    It closes itself when the last reference to it goes, without a ResourceWarning: a channel that
    was given up because its exchange was interrupted is left to just that.
    """

    # In C, as a handler may raise in a Python function's first bytecode.
    __del__: Callable[[], None] = io.FileIO.close  # type: ignore[assignment]


def adopt(into: list[Descriptor], numbers: Iterable[int], modes: Iterable[Mode]) -> None:
    """Append a `Descriptor` for each of `numbers`.

    Where `numbers` makes them as it goes, in C (as ``map(os.pidfd_open, pids)`` does), it is all
    one C call: whatever exists when it is interrupted is in the list.

    Raises:
        IsADirectoryError: one leads to a directory; that and the ones after it are left open.
    """
    into.extend(map(Descriptor, numbers, modes))


def pipes(count: int) -> Iterable[int]:
    """Make pipes as they are asked for: the reading end of each, then its writing end.

    They are what `multiprocessing.Pipe(duplex=False)` makes, which holds them as bare numbers for
    a moment: of 1,900 calls that a signal handler interrupted, 900 lost a descriptor.
    """
    return chain.from_iterable(starmap(os.pipe, repeat((), count)))


def blocking_off(descriptors: Iterable[Descriptor]) -> None:
    """Let reads and writes return None instead of waiting."""
    for descriptor in descriptors:
        os.set_blocking(descriptor.fileno(), False)
