"""Parcels: encoded values that are large, and the record that says where their bytes are.

A parcel is a pickle, in parts, and buffers that travel beside it. A frame of a kind with `BULK` in
it begins with a record, little-endian, before the payload that it would have without::

    segment  u32   the number of the segment that goes with the frame; 0 for none
    count    u32   the lengths that follow; 0 if the payload holds the value, as ever
    lengths  u64   of the pickle, and of each buffer; with `VIEWED` if that is to be viewed

With lengths, the value is in the segment: the pickle at its beginning, each buffer at the next
multiple of `ALIGNED`; or, if there is no segment, at the end of the payload, one after another.

A segment that goes with a call is the owner's until that is replied to, and the client's at all
other times. (It goes back and forth with upcalls meanwhile.) So what was written there is read by
nobody before it is whole, and written over by nobody before it was read. Who views what arrived
there says so with its answer, by `KEPT`, and then it goes back no more. (A client's own are not
used again before all views are gone.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from struct import Struct
from typing import Any, Final, NamedTuple, final

from .._system._buffers import Segment, private
from ..errors import ProtocolError
from ._wire import BULK, KEPT

#: Encoded values from this size on travel beside the pipe, and so do buffers in them. There and
#: back, 48 KiB take 120 µs beside it and 93 through it, 64 KiB 130 and 153, 100 KB 132 and 172.
BULK_FROM: Final = 1 << 16
#: Buffers in a segment begin at a multiple of this.
ALIGNED: Final = 64
#: In the length of a buffer: who gets it need not have a copy.
VIEWED: Final = 1 << 63

_head = Struct("<II")


@final
class Parcel:
    """An encoded value that is large.

    Args:
        parts: the pickle, which is in these one after another.
        buffers: what it takes when it is unpickled, one-dimensional; where it has arrived, each is
            the receiver's own, or a view.
        viewed: the places of those among them that may arrive as views.
    """

    __slots__ = ("_size", "buffers", "parts", "viewed")

    def __init__(
        self,
        parts: Sequence[bytes | memoryview],
        buffers: Sequence[Any],
        viewed: frozenset[int] = frozenset(),
    ) -> None:
        self.parts: Sequence[bytes | memoryview] = parts
        self.buffers: Sequence[Any] = buffers
        self.viewed: frozenset[int] = viewed
        self._size = sum(map(len, parts)) + sum(map(len, buffers))

    def __len__(self) -> int:
        return self._size

    @property
    def lengths(self) -> tuple[int, ...]:
        """Those of the pickle and of the buffers."""
        return sum(map(len, self.parts)), *map(len, self.buffers)

    @property
    def room(self) -> int:
        """The bytes that it takes in a segment."""
        return _room_for(self.lengths)

    @property
    def pickle(self) -> bytes | memoryview:
        """The pickle in one piece."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)


Encoded = bytes | memoryview | Parcel


class Place(NamedTuple):
    """What the record of a frame says.

    Attributes:
        lengths: those of the pickle and of the buffers; none if the payload holds the value.
        segment: what goes with the frame.
        viewed: as of a `Parcel`.
    """

    lengths: tuple[int, ...]
    segment: Segment | None
    viewed: frozenset[int] = frozenset()

    @property
    def room(self) -> int:
        """The bytes that the value takes in a segment."""
        return _room_for(self.lengths)

    def read(self, payload: bytes | memoryview) -> Encoded:
        """Return the value that is there; its buffers are copies or views, its pickle is neither.

        Args:
            payload: the rest of the frame's, where nothing but the value may be left.

        Raises:
            ProtocolError: it is not there.
        """
        if not self.lengths:
            return payload
        if self.segment is None:
            source, places = memoryview(payload), _tight(self.lengths)
        else:
            source, places = memoryview(self.segment.memory), _spread(self.lengths)
        first, *others = [source[start:stop] for start, stop in places]
        if (len(first), *map(len, others)) != self.lengths:
            raise ProtocolError(f"{len(source)} bytes do not hold what they are said to hold")
        views = self.viewed and self.segment is not None and self.segment.admits_views()
        buffers: list[Any] = [
            data.toreadonly() if views and at in self.viewed else private(data)
            for at, data in enumerate(others)
        ]
        return Parcel([first], buffers, self.viewed)


def pack(
    kind: int, encoded: Encoded, segment: Segment | None = None, *, goes: bool = False
) -> tuple[int, bytes, bytes | memoryview]:
    """Let a parcel travel in a segment if there is the room, and all else in line.

    Args:
        kind: that of the frame.
        segment: what this process may write to, unless it is viewed.
        goes: it goes with the frame although the value does not need it.

    Returns:
        The kind, the record to begin the payload with, and what to end it with.
    """
    if segment is not None and segment.is_viewed():
        segment = None
    if type(encoded) is Parcel:
        if segment is not None and encoded.room <= segment.size:
            _write(encoded, segment)
            return kind | BULK, _record(segment.number, encoded.lengths, encoded.viewed), b""
        if encoded.buffers:
            data = b"".join((*encoded.parts, *encoded.buffers))
            return kind | BULK, _record(0, encoded.lengths, encoded.viewed), data
        encoded = encoded.pickle
    if segment is not None and goes:
        return kind | BULK, _record(segment.number, (), frozenset()), encoded
    return kind, b"", encoded


def unpack(
    payload: bytes | memoryview, find: Callable[[int], Segment | None]
) -> tuple[Place, bytes | memoryview]:
    """Return what the record says that a payload begins with, and the rest of it.

    Args:
        find: finds a segment by its number.

    Raises:
        ProtocolError: there is no such record, or it says what cannot be.
    """
    if len(payload) < _head.size:
        raise ProtocolError(f"a record in {len(payload)} bytes is cut off")
    number, count = _head.unpack_from(payload)
    end = _head.size + 8 * count
    if len(payload) < end:
        raise ProtocolError(f"a record of {count} lengths in {len(payload)} bytes is cut off")
    said = Struct(f"<{count}Q").unpack_from(payload, _head.size)
    lengths = said[:1] + tuple([length & ~VIEWED for length in said[1:]])
    viewed = frozenset([at for at, length in enumerate(said[1:]) if length & VIEWED])
    rest = payload[end:]
    segment = find(number) if number else None
    if number and segment is None:
        raise ProtocolError(f"segment {number} was never offered, or goes with another call")
    room = sum(lengths) if segment is None else _room_for(lengths)
    size = len(rest) if segment is None else segment.size
    if room > size:
        raise ProtocolError(f"a value of {room} bytes is said to be in {size}")
    return Place(lengths, segment, viewed), rest


def answered(kind: int, segment: Segment | None) -> int:
    """Return the kind of an answer to what a segment came with, once nothing else is done there."""
    return kind if segment is None or segment.is_free() else kind | KEPT


def _record(number: int, lengths: Sequence[int], viewed: frozenset[int]) -> bytes:
    beside = [n | VIEWED if at in viewed else n for at, n in enumerate(lengths[1:])]
    said = *lengths[:1], *beside
    return _head.pack(number, len(said)) + Struct(f"<{len(said)}Q").pack(*said)


def _write(parcel: Parcel, segment: Segment) -> None:
    memory: Any = segment.memory
    at = 0
    for part in parcel.parts:
        memory[at : at + len(part)] = part
        at += len(part)
    _, *places = _spread(parcel.lengths)
    for (start, stop), buffer in zip(places, parcel.buffers, strict=True):
        memory[start:stop] = buffer


def _room_for(lengths: Sequence[int]) -> int:
    return max((stop for _, stop in _spread(lengths)), default=0)


def _spread(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield where in a segment each of these begins and ends."""
    stop = 0
    for length in lengths:
        start = -(-stop // ALIGNED) * ALIGNED
        stop = start + length
        yield start, stop


def _tight(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The same, one after another."""
    stops = list(accumulate(lengths))
    return zip([0, *stops], stops, strict=False)
