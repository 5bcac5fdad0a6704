"""What the owner borrows of a client: segments, and the cargo that a call of its brings.

Where a record stands before the payload of a call, a `Cargo` takes the place of the payload as soon
as the record was read and checked. The value itself is read when the call runs: until then it takes
no memory of the owner's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from .._system import _buffers
from .._system._buffers import Segment, Views
from ..errors import ProtocolError
from ._door import Offer
from ._parcels import Encoded, Parcel, Place, answered, pack, unpack
from ._wire import BULK, CALL_WITHIN, LIMIT, TAKEN, Context, Frame, pack_number, unpack_context

#: Bytes, and segments, that one client may offer an owner; of its own it makes half of that.
MOST_BYTES: Final = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
MOST_SEGMENTS: Final = 128

#: The kind and the payload of a reply.
Reply = tuple[int, bytes]


class Cargo:
    """What a call brings beside its frame.

    Args:
        place: where its arguments are.
        payload: what follows the record.
        context: that of the call, if it has one.

    Attributes:
        context: as given.
        segment: what the reply, and upcalls, may be written to once the arguments were read, unless
            they are viewed there; None while it is lent.
    """

    __slots__ = ("_payload", "_place", "context", "segment")

    def __init__(
        self, place: Place, payload: bytes | memoryview, context: Context | None = None
    ) -> None:
        self._place, self._payload = place, payload
        self.context = context
        self.segment = place.segment

    def __len__(self) -> int:
        """The bytes of it that came through the pipe."""
        return len(self._payload)

    def read(self) -> Encoded:
        """Return the arguments, as they are encoded.

        Raises:
            ProtocolError: there are none.
        """
        return self._place.read(self._payload)

    def lend(self, payload: Encoded) -> Segment | None:
        """Return the segment, to go with an upcall of its client, which has it until `take_back`.

        None if there is none, or too small a one, or it is viewed.
        """
        segment = self.segment
        if segment is None or segment.is_viewed():
            return None
        if type(payload) is Parcel and payload.room > segment.size:
            return None
        self.segment = None
        return segment

    def take_back(self, segment: Segment) -> None:
        """Have the segment again: the upcall was answered."""
        self.segment = segment

    def seal(self, reply: Reply) -> Reply:
        """Return the reply to the call, of which nothing is left here but what was kept of it."""
        kind, answer = reply
        return (answered(kind, self._place.segment), answer) if kind else reply


def reply(kind: int, encoded: bytes | Parcel, cargo: Cargo | None) -> Reply | None:
    """Return a reply; None if it is too large.

    A parcel is in the segment that came with the call, if there is room, and else in line.
    """
    kind, record, data = pack(kind, encoded, None if cargo is None else cargo.segment)
    if len(data) > LIMIT:
        return None
    return kind, record + data


def over(payload: object) -> Reply:
    """Return what is said to the client of a call that gets no reply, when it is over.

    Args:
        payload: that of its frame.
    """
    if type(payload) is not Cargo or payload.segment is None:
        return 0, b""
    return TAKEN, pack_number(payload.segment.number)


class Borrowed:
    """The segments of one client."""

    __slots__ = ("_retired", "_segments", "_views")

    def __init__(self) -> None:
        self._segments: dict[int, Segment] = {}
        #: The latest that were given up before they were seen at the door: a call that was to bring
        #: one was interrupted before it was sent.
        self._retired: dict[int, None] = {}
        self._views = Views()

    def accept(self, offer: Offer) -> None:
        """Map what the client offers, and has not given up since.

        Raises:
            ProtocolError: it is no segment, or one too many.
            OSError: this process cannot map it.
        """
        if offer.number in self._retired:
            return
        sizes = [segment.size for segment in self._segments.values()]
        if len(sizes) >= MOST_SEGMENTS or sum(sizes) + offer.size > MOST_BYTES:
            raise ProtocolError("a client offers more segments than one may have")
        segment = _buffers.accept(offer.number, offer.size, offer.memory, self._views)
        self._segments[offer.number] = segment

    def retire(self, number: int) -> None:
        """Give up a segment that the client has given up; views of it stay."""
        if self._segments.pop(number, None) is None:
            self._retired[number] = None
            if len(self._retired) > MOST_SEGMENTS:
                del self._retired[next(iter(self._retired))]

    def clear(self) -> None:
        """Give up all: the client is dead, or the listener closed."""
        self._segments.clear()

    def open(self, frame: Frame, look: Callable[[], object]) -> Frame:
        """Return a frame as it would be without its record, with a cargo in place of the payload.

        Args:
            look: looks whether something was offered that was not seen yet.

        Raises:
            ProtocolError: the record says what cannot be.
        """

        def find(number: int) -> Segment | None:
            if number not in self._segments:
                look()
            return self._segments.get(number)

        kind, ident, number, member, payload = frame
        place, rest = unpack(payload, find)
        kind, context = kind & ~BULK, None
        if kind == CALL_WITHIN:
            context, rest = unpack_context(rest)
        return kind, ident, number, member, Cargo(place, rest, context)
