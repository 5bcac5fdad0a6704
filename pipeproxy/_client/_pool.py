"""The client's segments for one owner: made when they are needed, used again, given up when idle.

A segment goes out with a call and is back with its reply. While it is out a `Lease` stands for it.
One whose lease ends otherwise, as its call was interrupted or its channel cut, may still be written
to by the owner: it is never used again. It is given up with the next call, as is one that was not
used for a while; the owner is told then. So is one that the owner has views of. What this process
itself has views of is used again when these are gone.

No lock is taken, and no step needs another to be right: a segment is out if it has an entry in
`_out`, which is made and removed in one C call, and it is lost if nobody has its lease any more.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from itertools import count
from operator import attrgetter
from time import monotonic
from typing import Final, cast

from .._chains._activities import here
from .._channels._borrowed import MOST_BYTES, MOST_SEGMENTS
from .._channels._parcels import BULK_FROM, Encoded, Parcel, unpack
from .._channels._wire import BARE, BULK, KEPT
from .._system import _buffers
from .._system._buffers import Segment, Views
from ._held import Holdings
from ._lines import Line, Lines

#: Seconds after which a segment that was not used is given up.
KEEP: Final = 10.0

#: Which member of which class is called.
Key = tuple[str, str, int]

_numbers = count(1)
#: All segments of this process, for any owner, which count against one bound.
_made: list[weakref.ref[Segment]] = []
#: Those that this process has views of.
_views = Views()
_warned = False
_size_of = attrgetter("size")


class Lease:
    """The right to a segment, for one call.

    Args:
        segment: what it is the right to.
        end: called when the segment is back.
    """

    __slots__ = ("__weakref__", "_end", "segment")

    def __init__(self, segment: Segment, end: Callable[[Segment, bool], object]) -> None:
        self.segment = segment
        self._end = end

    def end(self, kind: int = 0) -> None:
        """Give the segment back: the owner is done with it, or was never told of it.

        Args:
            kind: that of the reply, which may say that the owner keeps it.
        """
        self._end(self.segment, bool(kind & KEPT))


class Pool:
    """The segments of this process for one owner.

    Args:
        lines: how they are offered to it.
        held: how it is told that they are given up.

    Attributes:
        in_use: there are some, or shall be.
    """

    def __init__(self, lines: Lines, held: Holdings) -> None:
        self._lines, self._held = lines, held
        self._reset()

    def _reset(self) -> None:
        self.in_use = False
        self._all: dict[int, Segment] = {}
        self._out: dict[int, weakref.ref[Lease]] = {}
        #: When each came back.
        self._used: dict[int, float] = {}
        self._trim_at = 0.0
        #: Leases of calls that nobody waits for any more, each with the line that tells when they
        #: end: by the ident of the call, or minus the number of the segment if it gets no reply.
        self._late: dict[int, tuple[Lease, weakref.ref[Line]]] = {}
        #: Bytes of the largest reply, by member, where those are large.
        self._expected: dict[Key, int] = {}

    def forked(self) -> None:
        """In a forked child: the segments are the parent's."""
        self._reset()

    # -- calls ------------------------------------------------------------------------------------

    def take(self, key: Key, encoded: Encoded, deadline: float | None) -> Lease | None:
        """Return a segment for a call and the reply to come, if they need one and it can be had.

        Raises:
            OwnerDied, ListenerClosed, CallTimeout, CallLost: the owner cannot be offered any.
        """
        self._tidy()
        room = self._expected.get(key, 0)
        if type(encoded) is Parcel:
            room = max(room, encoded.room)
        if not room:
            return None
        for segment in sorted(self._all.values(), key=_size_of):
            lease = self._claim(segment) if segment.size >= room else None
            if lease is not None:
                return lease
        return self._make(_buffers.size_for(room), deadline)

    def open(
        self, key: Key, kind: int, answer: bytes | memoryview, lease: Lease | None
    ) -> tuple[int, Encoded]:
        """Return the kind of a reply and the value that it holds, wherever that is.

        Raises:
            ProtocolError: it is not where it is said to be.
        """
        room, encoded = len(answer), cast(Encoded, answer)
        if kind & BULK:
            own = {} if lease is None else {lease.segment.number: lease.segment}
            place, rest = unpack(answer, own.get)
            room, encoded = place.room, place.read(rest)
        if room >= BULK_FROM and room > self._expected.get(key, 0):
            self._expected[key] = room
            self.in_use = True
        return kind & BARE, encoded

    def find(self, number: int) -> Segment | None:
        """Return the segment of this number, if it is out: an upcall may bring it back for now."""
        return self._all.get(number) if number in self._out else None

    def await_end(self, lease: Lease, line: Line, ident: int) -> None:
        """Have a segment again when the owner is heard to be done with it; nobody waits for that.

        Args:
            ident: that of the call it is out with; 0 if it gets no reply.
        """
        self._late[ident or -lease.segment.number] = lease, weakref.ref(line)

    def hear_end(self, ident: int, kind: int) -> None:
        """Have a segment again, if it was out with this call, by the ident as kept.

        Args:
            kind: that of what was heard.
        """
        lease, _ = self._late.pop(ident, (None, None))
        if lease is not None:
            lease.end(kind)

    # -- segments ---------------------------------------------------------------------------------

    def _claim(self, segment: Segment) -> Lease | None:
        lease = Lease(segment, self._give_back)
        reference = weakref.ref(lease)
        taken = self._out.setdefault(segment.number, reference) is reference
        # Another thread may have given it up since it was looked at, or made views.
        if taken and segment.number in self._all and segment.is_free():
            return lease
        if taken:
            self._out.pop(segment.number, None)
        return None

    def _give_back(self, segment: Segment, kept: bool) -> None:
        if kept:
            self._forget(segment)
            return
        self._used[segment.number] = monotonic()
        self._out.pop(segment.number, None)

    def _make(self, size: int, deadline: float | None) -> Lease | None:
        server = here.server
        self._lines.mine(deadline, server and server.beside)  # the owner must know this process
        for segment in self._idle(0.0):
            if _fits(size):
                break
            self._give_up(segment)
        if not _fits(size):
            return None
        try:
            segment, memory = _buffers.make(next(_numbers), size, _views)
        except OSError as error:
            _warn(error)
            return None
        # Known before it is offered: else nobody would retire it after an interrupt.
        _made.append(weakref.ref(segment))
        lease = Lease(segment, self._give_back)
        self._out[segment.number] = weakref.ref(lease)
        self._all[segment.number] = segment
        self.in_use = True
        if self._lines.offer(segment.number, memory):
            return lease
        self._forget(segment)  # the door is full: the owner is busy
        return None

    def _tidy(self) -> None:
        """Give up what is lost, and what was not used for a while; the next call tells."""
        for ident in [ident for ident, (_, line) in list(self._late.items()) if _is_over(line())]:
            self._late.pop(ident, None)
        for number, lease in list(self._out.items()):
            segment = self._all.get(number)
            # Asked in this order: another thread may have it, since it was given back meanwhile.
            if segment is not None and lease() is None and self._out.get(number) is lease:
                self._forget(segment)
        now = monotonic()
        if now < self._trim_at:
            return
        self._trim_at = now + KEEP / 10
        idle = self._idle(KEEP)
        for segment in idle:
            self._give_up(segment)
        if idle and not self._all:
            self._expected.clear()
            self.in_use = False

    def _idle(self, seconds: float) -> list[Segment]:
        """Return the segments that are not out, and were not for so long; the smallest first.

        What is viewed is none of them: it counts for as long as it takes memory.
        """
        before = monotonic() - seconds
        idle = [s for s in list(self._all.values()) if self._used.get(s.number, 0.0) <= before]
        idle = [s for s in idle if s.number not in self._out and not s.is_viewed_here()]
        return sorted(idle, key=_size_of)

    def _give_up(self, segment: Segment) -> None:
        lease = Lease(segment, self._give_back)
        reference = weakref.ref(lease)
        if self._out.setdefault(segment.number, reference) is reference:
            self._forget(segment)

    def _forget(self, segment: Segment) -> None:
        self._held.retire(segment.number)
        for table in (self._all, self._used, self._out):
            table.pop(segment.number, None)


def _is_over(line: Line | None) -> bool:
    return line is None or line.pipe.closed


def _fits(size: int) -> bool:
    """Whether this process may make one more segment of this size."""
    for gone in [known for known in _made if known() is None]:
        _discard(gone)
    sizes = [segment.size for known in _made if (segment := known()) is not None]
    return sum(sizes) + size <= MOST_BYTES // 2 and len(sizes) < MOST_SEGMENTS // 2


def _discard(known: weakref.ref[Segment]) -> None:
    try:
        _made.remove(known)
    except ValueError:
        pass  # another thread did


def _warn(error: OSError) -> None:
    global _warned  # noqa: PLW0603 - once in each process
    if not _warned:
        _warned = True
        warnings.warn(
            f"there is no shared memory to be had ({error}), so large values go through the pipe",
            RuntimeWarning,
            stacklevel=2,
        )
