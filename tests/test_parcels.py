"""Parcels: what is written is read, and what a record says is checked before it is believed."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeproxy._channels._parcels import ALIGNED, VIEWED, Parcel, Place, answered, pack, unpack
from pipeproxy._channels._wire import BULK, CALL, KEPT, RESULT
from pipeproxy._system import _buffers
from pipeproxy._system._buffers import Segment
from pipeproxy.errors import ProtocolError

SIZE = 1 << 20
HEAD = Struct("<II")

parts = st.lists(st.binary(max_size=300), min_size=1, max_size=4)
buffers = st.lists(st.binary(max_size=300), max_size=5)
u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    made, end = _buffers.make(7, SIZE)
    yield made
    end.close()


def record(number: int, lengths: list[int]) -> bytes:
    return HEAD.pack(number, len(lengths)) + Struct(f"<{len(lengths)}Q").pack(*lengths)


def same(parcel: object, pickle: list[bytes], beside: list[bytes]) -> bool:
    assert type(parcel) is Parcel
    return bytes(parcel.pickle) == b"".join(pickle) and list(map(bytes, parcel.buffers)) == beside


@given(parts, buffers)
def test_a_parcel_survives_a_segment(
    segment: Segment, pickle: list[bytes], beside: list[bytes]
) -> None:
    kind, head, data = pack(CALL, Parcel(pickle, beside), segment)
    assert (kind, data) == (CALL | BULK, b"")
    place, rest = unpack(head + b"context", {7: segment}.get)
    assert rest == b"context"
    assert same(place.read(b""), pickle, beside)


@given(parts, buffers.filter(bool))
def test_a_parcel_survives_a_frame(pickle: list[bytes], beside: list[bytes]) -> None:
    kind, head, data = pack(RESULT, Parcel(pickle, beside))
    assert kind == RESULT | BULK
    place, rest = unpack(head + b"context" + data, {}.get)
    assert same(place.read(rest[len(b"context") :]), pickle, beside)


def test_a_pickle_alone_needs_no_record_in_a_frame() -> None:
    assert pack(RESULT, Parcel([b"one", b"two"], ())) == (RESULT, b"", b"onetwo")


def test_a_parcel_that_is_too_large_for_the_segment_goes_in_line(segment: Segment) -> None:
    exactly = bytes(SIZE - ALIGNED)
    assert pack(CALL, Parcel([b"x"], [exactly]), segment)[2] == b""
    _, head, data = pack(CALL, Parcel([b"x"], [exactly + b"."]), segment)
    assert len(data) == SIZE - ALIGNED + 2
    assert unpack(head + data, {}.get)[0].segment is None


def test_a_segment_goes_with_what_does_not_need_it_only_if_it_is_to(segment: Segment) -> None:
    assert pack(CALL, b"small", segment) == (CALL, b"", b"small")
    _, head, data = pack(CALL, b"small", segment, goes=True)
    place, rest = unpack(head + data, {7: segment}.get)
    assert place == Place((), segment)
    assert place.read(rest) == b"small"


def test_buffers_arrive_as_copies_that_can_be_changed(segment: Segment) -> None:
    _, head, _ = pack(CALL, Parcel([b"pickle"], [b"one", b"two"]), segment)
    place, _ = unpack(head, {7: segment}.get)
    first, second = place.read(b""), place.read(b"")
    assert type(first) is type(second) is Parcel
    first.buffers[0][:] = b"xyz"
    segment.memory[:] = b"." * SIZE
    assert list(map(bytes, first.buffers)) == [b"xyz", b"two"]
    assert list(map(bytes, second.buffers)) == [b"one", b"two"]


@given(buffers.filter(bool), st.data())
def test_what_is_to_be_viewed_is_not_copied(
    segment: Segment, beside: list[bytes], data: st.DataObject
) -> None:
    places = frozenset(data.draw(st.sets(st.integers(0, len(beside) - 1))))
    _, head, _ = pack(CALL, Parcel([b"pickle"], beside, places), segment)
    place, _ = unpack(head, {7: segment}.get)
    parcel = place.read(b"")
    assert type(parcel) is Parcel
    assert parcel.viewed == places
    for at, buffer in enumerate(parcel.buffers):
        is_view = isinstance(buffer, memoryview)
        assert is_view == (at in places)
        assert not is_view or (buffer.readonly and buffer.obj is segment.memory)
    assert same(parcel, [b"pickle"], beside)


def test_what_is_in_line_is_copied_though_it_may_be_viewed() -> None:
    _, head, data = pack(CALL, Parcel([b"pickle"], [b"one"], frozenset({0})))
    place, rest = unpack(head + data, {}.get)
    parcel = place.read(rest)
    assert type(parcel) is Parcel
    assert parcel.viewed == frozenset({0})  # for whoever it is passed on to
    parcel.buffers[0][:] = b"xyz"


def test_nothing_is_written_where_something_is_viewed(segment: Segment) -> None:
    _, head, _ = pack(CALL, Parcel([b"pickle"], [b"one"], frozenset({0})), segment)
    place, _ = unpack(head, {7: segment}.get)
    parcel = place.read(b"")
    assert pack(RESULT, Parcel([b"x"], [b"two"]), segment)[2] == b"xtwo"
    assert pack(RESULT, b"small", segment, goes=True) == (RESULT, b"", b"small")
    assert answered(RESULT, segment) == RESULT | KEPT
    del parcel
    assert answered(RESULT, segment) == RESULT
    assert answered(RESULT, None) == RESULT
    assert pack(RESULT, Parcel([b"x"], [b"two"]), segment)[2] == b""


@given(st.binary(max_size=64))
def test_any_bytes_are_a_record_or_refused(segment: Segment, data: bytes) -> None:
    try:
        place, rest = unpack(data, {7: segment}.get)
    except ProtocolError:
        return
    room = len(rest) if place.segment is None else SIZE
    assert sum(place.lengths) <= room


@given(u32 | st.just(7) | st.just(0), st.lists(u64 | st.integers(0, 2 * SIZE), max_size=6))
def test_a_record_that_says_too_much_is_refused(
    segment: Segment, number: int, lengths: list[int]
) -> None:
    try:
        place, rest = unpack(record(number, lengths) + bytes(100), {7: segment}.get)
    except ProtocolError:
        return
    encoded = place.read(rest)
    assert len(encoded) == (sum(lengths) if lengths else 100)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD.pack(0, 0)[:-1],
        HEAD.pack(0, 1),
        record(7, [1, 2])[:-1],
        HEAD.pack(7, 2**32 - 1),
        record(8, []),
        record(7, [SIZE + 1]),
        record(7, [SIZE, 1]),
        record(7, [2**64 - 1, 2**64 - 1]),
        record(7, [1 | VIEWED]),
        record(7, [1, VIEWED | (SIZE + 1)]),
        record(0, [1]),
    ],
)
def test_what_cannot_be_is_refused(segment: Segment, data: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack(data, {7: segment}.get)


def test_what_was_cut_off_since_is_refused() -> None:
    """As where a context stood in the way of the value."""
    place, rest = unpack(record(0, [3, 3]) + b"contexta", {}.get)
    with pytest.raises(ProtocolError):
        place.read(rest[7:])
