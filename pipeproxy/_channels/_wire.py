"""The wire: bytes in, frames out, and nothing else — no descriptors, no clocks, no pickle.

A frame is a header of 24 bytes, little-endian, and its payload:

    size     u32   bytes of payload that follow; at most `LIMIT`
    ident    u64   the call's id: a reply carries that of its call; ids of a channel only grow
    number   u64   the object that is called
    member   u16   the member of it that is called; of a reply, whether the owner is crowded
    kind     u16   what the frame is, below

A client sends calls, enterings and leavings of sections; and claims and releases of objects, which
get no reply, as does no call whose ident is 0. Frames that are to arrive all together are the
payload of one, a *batch*. The owner sends one hello, then replies, and a farewell when its listener
is closed. While a client waits for a reply, the owner may call it: an *upcall* goes down the same
channel and is answered on it. Which kinds a
side accepts is a table; anything else is a `ProtocolError`, and after one a decoder is of no
further use. A size is checked before a byte of the payload is kept,
and memory is taken only for bytes that have arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any, Final

from ..errors import CodecError, ProtocolError

#: What a client sends: a call; that it enters and leaves the section of an object, with the number
#: of the entering as payload; and by which of its idents it holds which objects, or no more.
#: Further a call with a context, see `pack_context`, the two answers to an upcall, and who waits
#: for whom, which is told lest circles of them wait for ever.
CALL, RELEASE, ENTER, LEAVE, CLAIM = 1, 2, 3, 4, 5
CALL_WITHIN, UP_RESULT, UP_FAILURE, WAITS = 6, 7, 8, 9
#: Several frames as the payload of one; that the caller gives up the call of this ident; and which
#: of its segments it has given up, as pairs of their numbers and 0.
BATCH, CANCEL, RETIRE = 10, 11, 12
#: What an owner sends: the proof that it accepted, a result, an exception, and that it closed; an
#: upcall, and which of the client's objects it holds no more, both with the home's identity first;
#: whom the client waits for; and that a call which gets no reply has read this segment.
HELLO, RESULT, FAILURE, FAREWELL, UPCALL, GIVEN_BACK, WAITING = 16, 17, 18, 19, 20, 21, 22
TAKEN: Final = 23

#: A call or an answer with this bit in its kind begins with a record of where its value is, which
#: may be in memory that both sides share: see `_parcels`.
BULK: Final = 1 << 12
#: A reply, an answer or a `TAKEN` with this bit does not give back the memory that came with what
#: it answers: what arrived there is viewed still.
KEPT: Final = 1 << 13
#: A kind without these.
BARE: Final = ~(BULK | KEPT)

FROM_CLIENT: Final = frozenset(
    {CALL, RELEASE, ENTER, LEAVE, CLAIM, CALL_WITHIN, UP_RESULT, UP_FAILURE, WAITS, BATCH, CANCEL}
    | {RETIRE, CALL | BULK, CALL_WITHIN | BULK, UP_RESULT | BULK, UP_FAILURE | BULK}
    | {UP_RESULT | KEPT, UP_FAILURE | KEPT, UP_RESULT | BULK | KEPT, UP_FAILURE | BULK | KEPT}
)
FROM_OWNER: Final = frozenset(
    {HELLO, RESULT, FAILURE, FAREWELL, UPCALL, GIVEN_BACK, WAITING, TAKEN}
    | {RESULT | BULK, FAILURE | BULK, UPCALL | BULK, TAKEN | KEPT}
    | {RESULT | KEPT, FAILURE | KEPT, RESULT | BULK | KEPT, FAILURE | BULK | KEPT}
)
#: In a reply, in the place of a member: between this one and the latest on its channel so many
#: others went out that to spin for the next one would take a core from who is to be served before.
CROWDED: Final = 1
#: In a `CANCEL`, likewise: nobody takes the reply, so what the call took is to be given back. The
#: call itself is not given up.
UNHEARD: Final = 1
#: Those of them that are calls.
CALLS: Final = frozenset({CALL, CALL_WITHIN, CALL | BULK, CALL_WITHIN | BULK})

#: The idents of upcalls are those of their owner: this bit tells them from a client's.
UP: Final = 1 << 63
#: By its own idents a process holds what it claims and what replies bring it. With arguments it is
#: lent what it did not ask for, by idents of the lender's: this bit tells them from its own.
LENT: Final = 1 << 62
#: Bytes of what names a process or a listener.
IDENTITY: Final = 16

#: The largest payload, in bytes.
LIMIT: Final = 2**31 - 1

#: Payloads above this many bytes are handed out as views, to spare a copy.
_VIEW_FROM = 1 << 16

_header = Struct("<IQQHH")
HEADER_SIZE: Final = _header.size

#: kind, ident, number, member, payload: bytes or a view of them, see also `_borrowed`
Frame = tuple[int, int, int, int, Any]

#: ``pack_header(size, ident, number, member, kind)``, for a payload that is no larger than `LIMIT`.
pack_header, unpack_header = _header.pack, _header.unpack_from
_number, _pair = Struct("<Q"), Struct("<QQ")
_context = Struct("<dQB")
#: The processes that one chain of calls can go through.
_LONGEST_PATH: Final = 255


def header(kind: int, size: int, ident: int = 0, number: int = 0, member: int = 0) -> bytes:
    """Return the header of a frame whose payload has `size` bytes.

    Raises:
        CodecError: the payload is larger than `LIMIT`.
    """
    if size > LIMIT:
        raise oversized(size)
    return pack_header(size, ident, number, member, kind)


def oversized(size: int) -> CodecError:
    """Return the error of a payload that is larger than `LIMIT`."""
    return CodecError(f"{size} bytes are too many for one call; at most {LIMIT} can travel")


def pack_number(number: int) -> bytes:
    """Return the payload of an entering or a leaving."""
    return _number.pack(number)


def pack_pairs(pairs: Iterable[Sequence[int]]) -> bytes:
    """Return the payload of a claim or a release: idents, each with the number of an object."""
    return b"".join([_pair.pack(*pair) for pair in pairs])


def unpack_pairs(payload: bytes | memoryview) -> list[tuple[int, int]]:
    """Return the pairs that a claim or a release holds.

    Raises:
        ProtocolError: the payload is no whole number of pairs.
    """
    if len(payload) % _pair.size:
        raise ProtocolError(f"a list of pairs in {len(payload)} bytes is cut off")
    return list(_pair.iter_unpack(payload))


def unpack_number(payload: bytes | memoryview) -> int:
    """Return the number of an entering.

    Raises:
        ProtocolError: the payload is not one number.
    """
    if len(payload) != _number.size:
        raise ProtocolError(f"{len(payload)} bytes are not the number of an entering")
    number: int = _number.unpack(payload)[0]
    return number


#: Seconds that are left, the number of the thread where a chain of calls began, and the processes
#: that the chain came through before the one that sends it, the first of them that thread's.
Context = tuple[float, int, tuple[bytes, ...]]


def pack_context(seconds: float, thread: int, path: tuple[bytes, ...]) -> bytes:
    """Return what stands before the arguments of a call that belongs to a chain, or has a deadline.

    Args:
        seconds: infinite if it has no deadline.
        path: empty if the call belongs to the thread that makes it.

    Raises:
        CodecError: the chain is too long.
    """
    if len(path) > _LONGEST_PATH:
        raise CodecError(f"a chain of calls through more than {_LONGEST_PATH} processes")
    return _context.pack(seconds, thread, len(path)) + b"".join(path)


def unpack_context(payload: bytes | memoryview) -> tuple[Context, bytes | memoryview]:
    """Return the context that a payload begins with, and the rest of it.

    Raises:
        ProtocolError: it does not begin with a context.
    """
    if len(payload) >= _context.size:
        seconds, thread, length = _context.unpack_from(payload)
        end = _context.size + length * IDENTITY
        if len(payload) >= end and seconds >= 0:
            names = bytes(payload[_context.size : end])
            path = tuple(names[i : i + IDENTITY] for i in range(0, len(names), IDENTITY))
            return (seconds, thread, path), payload[end:]
    raise ProtocolError(f"a context in {len(payload)} bytes is cut off")


class Decoder:
    """Cuts a stream of bytes into frames.

    Args:
        legal: the kinds that the other side may send: `FROM_CLIENT` or `FROM_OWNER`.
    """

    __slots__ = ("_legal", "_parts", "_plain", "missing")

    def __init__(self, legal: frozenset[int]) -> None:
        self._legal = legal
        self._plain = legal - {BATCH}
        self._parts: list[bytes | memoryview] = []
        #: Bytes that the frame under way still needs (or its header, while that is not whole).
        self.missing = 0

    def feed(self, data: bytes | memoryview) -> list[Frame]:
        """Take what arrived and return the frames that are whole now, in order.

        Raises:
            ProtocolError: these bytes are no frame that the other side may send.
        """
        if not self.missing and len(data) >= HEADER_SIZE:
            size, ident, number, member, kind = unpack_header(data)
            if len(data) == HEADER_SIZE + size <= _VIEW_FROM and kind in self._plain:
                # One frame and no more, as nearly always.
                return [(kind, ident, number, member, data[HEADER_SIZE:])]
        if self.missing:
            self._parts.append(data)
            self.missing -= len(data)
            if self.missing > 0:
                return []
            data = b"".join(self._parts)
            self._parts = []
        frames: list[Frame] = []
        plain, start, end = self._plain, 0, len(data)
        wanted = HEADER_SIZE
        while start + HEADER_SIZE <= end:
            size, ident, number, member, kind = unpack_header(data, start)
            begin = start + HEADER_SIZE
            stop = begin + size
            if kind in plain and size <= _VIEW_FROM and stop <= end:  # as nearly always
                frames.append((kind, ident, number, member, data[begin:stop]))
            elif size > LIMIT or kind not in self._legal:
                raise ProtocolError(f"a frame of kind {kind} and {size} bytes is not legal here")
            elif stop > end:
                wanted = HEADER_SIZE + size
                break
            else:
                payload = data[begin:stop] if size <= _VIEW_FROM else memoryview(data)[begin:stop]
                if kind == BATCH:
                    frames += _frames_in(payload, self._legal)
                else:
                    frames.append((kind, ident, number, member, payload))
            start = stop
        self.missing = 0
        if start < end:
            self._parts = [data[start:]]
            self.missing = wanted - (end - start)
        return frames


def pack_batch(frames: Sequence[bytes]) -> bytes:
    """Return frames, each with its header, as one; a single one as it is.

    Raises:
        CodecError: they are larger than `LIMIT`, all together.
    """
    if len(frames) == 1:
        return frames[0]
    body = b"".join(frames)
    return header(BATCH, len(body)) + body


def _frames_in(batch: bytes | memoryview, legal: frozenset[int]) -> list[Frame]:
    """Return the frames that are the payload of one.

    Raises:
        ProtocolError: it is no whole number of frames, or a batch is among them.
    """
    inner = Decoder(legal - {BATCH})
    frames = inner.feed(batch)
    if inner.missing:
        raise ProtocolError(f"a batch of {len(batch)} bytes is cut off")
    return frames
