"""Memory for bulk: segments, which two processes share, and buffers of this process alone.

A segment has no name and nobody tracks it: it is made as a descriptor, which is sent to the other
process, and it is gone with the last mapping of it, however its processes end. On Linux it can be
neither shrunk nor grown once it was made (who reads memory that was taken away dies of SIGBUS), and
its pages are taken when it is made, so that there is an error then if there are none. Elsewhere it
is a file that was unlinked, which cannot be kept from being cut by who has its descriptor.

What arrived in a segment may be viewed there, and then nobody writes to it. That the last view is
gone is not told but asked: every view keeps a reference to the mapping, of which there is one else.
"""

from __future__ import annotations

import fcntl
import os
import stat
import weakref
from mmap import MAP_ANON, MAP_PRIVATE, mmap
from sys import getrefcount
from typing import Any, Final

from ..errors import ProtocolError
from . import _descriptors, _life
from ._descriptors import Descriptor

#: The granularity of segments, in bytes; a larger one's size is a multiple of an eighth of it.
_SMALLEST: Final = 1 << 20
#: Private buffers from this size on are mapped in huge pages: touching 64 MiB of new memory takes
#: 39 ms in small ones and 8 in huge ones. Smaller ones malloc keeps at hand, which is faster.
_HUGE_FROM: Final = 16 << 20

#: Segments, and their bytes, of which a process may have views at once: half of those that it makes
#: as a client, so that the others go on as ever; and as many of each client's.
MOST_VIEWED: Final = 32
MOST_VIEWED_BYTES: Final = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8

_SEALS: Final = (
    fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    if hasattr(os, "memfd_create") and hasattr(fcntl, "F_SEAL_SEAL")
    else 0
)


class Segment:
    """Memory that this process shares with another.

    Args:
        number: its name, never used twice by the process that made it.
        memory: its mapping.
        views: what counts the segments that are viewed.

    Attributes:
        number: as given.
        memory: as given; it is unmapped when nothing refers to it any more.
        size: in bytes.
    """

    __slots__ = ("__weakref__", "_forks", "_views", "memory", "number", "size")

    def __init__(self, number: int, memory: mmap, views: Views) -> None:
        self.number = number
        self.memory = memory
        self.size = len(memory)
        self._views = views
        #: The forks that there were before the latest view was made.
        self._forks: int | None = None

    def admits_views(self) -> bool:
        """Let it be viewed from now on; False where too much is already."""
        if self._views.admit(self):
            self._forks = len(_life.forks)
            return True
        return False

    def is_viewed(self) -> bool:
        """Whether there may be views, here or in a process that was forked while there were."""
        return self._forks is not None and (
            self._forks != len(_life.forks) or self.is_viewed_here()
        )

    def is_viewed_here(self) -> bool:
        """Whether there are views in this process."""
        return self._forks is not None and _references(self) > _ITS_OWN

    def is_free(self) -> bool:
        """Whether it may be written to; asked by who has the right to it, as nobody views it then.

        From then on forks do not matter.
        """
        if self.is_viewed():
            return False
        self._forks = None
        return True


def _references(segment: Segment) -> int:
    return getrefcount(segment.memory)


class Views:
    """The segments that are viewed, of one client or of this process, within one bound."""

    __slots__ = ("_viewed",)

    def __init__(self) -> None:
        #: By number. A segment that was given up may be no more, while its mapping is viewed.
        self._viewed: dict[int, tuple[weakref.ref[Segment], weakref.ref[mmap], int]] = {}

    def admit(self, segment: Segment) -> bool:
        """Whether a segment may be viewed; it counts for as long as it is."""
        for number, (known, memory, _) in list(self._viewed.items()):
            owner = known()
            if memory() is None or not (owner is None or owner.is_viewed_here()):
                self._viewed.pop(number, None)
        sizes = [size for _, _, size in list(self._viewed.values())]
        if segment.number in self._viewed:
            return True
        if len(sizes) >= MOST_VIEWED or sum(sizes) + segment.size > MOST_VIEWED_BYTES:
            return False
        self._viewed[segment.number] = (
            weakref.ref(segment),
            weakref.ref(segment.memory),
            segment.size,
        )
        return True


#: What `_references` says of a segment that nobody views.
_ITS_OWN: Final = _references(Segment(0, mmap(-1, 1), Views()))


def size_for(size: int) -> int:
    """Return the size of the segment to make for so many bytes."""
    step = max(_SMALLEST, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step


def make(number: int, size: int, views: Views | None = None) -> tuple[Segment, Descriptor]:
    """Make a segment, and return it with what another process maps it by.

    Args:
        views: what counts it while it is viewed; None for nothing else.

    Raises:
        OSError: there is no memory, or no descriptor, to be had.
    """
    ends: list[Descriptor] = []
    with _descriptors.lock:
        if _SEALS:
            made = map(os.memfd_create, ("pipeproxy",), (os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING,))
            _descriptors.adopt(ends, made, ("rb",))
        else:
            _make_file(ends)
        (end,) = ends
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(end.fileno(), 0, size)
        else:
            os.ftruncate(end.fileno(), size)
        if _SEALS:
            fcntl.fcntl(end.fileno(), fcntl.F_ADD_SEALS, _SEALS)
        return Segment(number, mmap(end.fileno(), size), views or Views()), end


def _make_file(ends: list[Descriptor]) -> None:
    import tempfile  # where there are memory files, nobody needs it

    number, path = tempfile.mkstemp(prefix="pipeproxy-")
    _descriptors.adopt(ends, (number,), ("rb",))
    os.unlink(path)


def accept(number: int, size: int, end: Descriptor, views: Views | None = None) -> Segment:
    """Map a segment that another process made.

    Args:
        views: as for `make`.

    Raises:
        ProtocolError: it is none, or not of this size.
        OSError: it cannot be mapped.
    """
    status = os.fstat(end.fileno())
    sealed = not _SEALS or fcntl.fcntl(end.fileno(), fcntl.F_GET_SEALS) & _SEALS == _SEALS
    if not (sealed and size and stat.S_ISREG(status.st_mode) and status.st_size == size):
        raise ProtocolError(f"what was offered as segment {number} of {size} bytes is none")
    with _descriptors.lock:
        return Segment(number, mmap(end.fileno(), size), views or Views())


def private(data: memoryview) -> Any:
    """Return a copy of `data` that is this process's own, and writable."""
    if len(data) < _HUGE_FROM:
        return bytearray(data)
    copy = mmap(-1, len(data), flags=MAP_PRIVATE | MAP_ANON)
    _in_huge_pages(copy)
    copy[:] = data
    return copy


def _in_huge_pages(memory: mmap) -> None:
    import mmap as constants

    advice = getattr(constants, "MADV_HUGEPAGE", None)
    if advice is not None:
        try:
            memory.madvise(advice)
        except OSError:
            pass  # this kernel has none
