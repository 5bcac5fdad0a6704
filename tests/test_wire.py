"""The wire: whatever the portions in which bytes arrive, they are the same frames or an error."""

from __future__ import annotations

import re
import tracemalloc
from math import inf

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeproxy._channels._wire import (
    BATCH,
    BULK,
    CALL,
    CALL_WITHIN,
    CANCEL,
    CLAIM,
    ENTER,
    FAILURE,
    FAREWELL,
    FROM_CLIENT,
    FROM_OWNER,
    GIVEN_BACK,
    HEADER_SIZE,
    HELLO,
    KEPT,
    LEAVE,
    LIMIT,
    RELEASE,
    RESULT,
    RETIRE,
    TAKEN,
    UP,
    UP_FAILURE,
    UP_RESULT,
    UPCALL,
    WAITING,
    WAITS,
    Decoder,
    Frame,
    header,
    pack_batch,
    pack_context,
    pack_number,
    pack_pairs,
    unpack_context,
    unpack_number,
    unpack_pairs,
)
from pipeproxy.errors import CodecError, ProtocolError

from .strategies import (
    HEADER,
    histories,
    illegal_headers,
    payloads,
    pieces,
    sides,
    to_bytes,
    u16,
    u32,
    u64,
)

CLIENT_SAYS: list[Frame] = [
    (CALL, 1, 7, 3, b"payload"),
    (RELEASE, 0, 0, 0, pack_pairs([(1, 0), (2**64 - 1, 7)])),
    (CLAIM, 0, 0, 0, pack_pairs([(2, 7)])),
    (CALL, 2, 7, 0, b""),
    (ENTER, 3, 7, 0, pack_number(5)),
    (LEAVE, 4, 7, 0, pack_number(5)),
    (CALL_WITHIN, 5, 7, 3, pack_context(0.5, 1, (b"p" * 16,)) + b"payload"),
    (UP_RESULT, UP + 3, 0, 0, b"result"),
    (WAITS, 6, 0, 0, b"who for whom"),
    (UP_FAILURE, UP + 4, 0, 0, b"why"),
    (CALL | BULK, 7, 7, 3, bytes(8) + b"payload"),
    (CALL_WITHIN | BULK, 8, 7, 3, bytes(8) + pack_context(0.5, 1, ()) + b"payload"),
    (UP_RESULT | BULK, UP + 5, 0, 0, bytes(8) + b"result"),
    (UP_FAILURE | BULK, UP + 6, 0, 0, bytes(8) + b"why"),
    (UP_RESULT | KEPT, UP + 7, 0, 0, b"result"),
    (UP_FAILURE | KEPT, UP + 8, 0, 0, b"why"),
    (UP_RESULT | BULK | KEPT, UP + 9, 0, 0, bytes(8) + b"result"),
    (UP_FAILURE | BULK | KEPT, UP + 10, 0, 0, bytes(8) + b"why"),
    (RETIRE, 0, 0, 0, pack_pairs([(1, 0)])),
    (CANCEL, 8, 0, 0, b""),
    (CALL, 2**64 - 1, 2**64 - 1, 2**16 - 1, bytes(range(256))),
]
OWNER_SAYS: list[Frame] = [
    (HELLO, 0, 0, 0, b"x" * 16),
    (RESULT, 1, 0, 0, b""),
    (FAILURE, 2, 0, 0, b"why"),
    (UPCALL, UP + 3, 5, 4, b"l" * 16 + pack_context(inf, 0, ()) + b"payload"),
    (GIVEN_BACK, 0, 0, RELEASE, b"l" * 16 + pack_pairs([(3, 5)])),
    (WAITING, 0, 0, 0, b"who for whom"),
    (RESULT | BULK, 3, 0, 0, bytes(8)),
    (TAKEN, 0, 0, 0, pack_number(3)),
    (FAILURE | BULK, 4, 0, 0, bytes(8) + b"why"),
    (RESULT | KEPT, 5, 0, 0, b""),
    (FAILURE | KEPT, 6, 0, 0, b"why"),
    (RESULT | BULK | KEPT, 7, 0, 0, bytes(8)),
    (FAILURE | BULK | KEPT, 8, 0, 0, bytes(8) + b"why"),
    (TAKEN | KEPT, 0, 0, 0, pack_number(3)),
    (UPCALL | BULK, UP + 4, 5, 4, bytes(8) + b"l" * 16 + pack_context(inf, 0, ()) + b"payload"),
    (FAREWELL, 0, 0, 0, b""),
]
both_sides = pytest.mark.parametrize(
    ("legal", "history"),
    [(FROM_CLIENT, CLIENT_SAYS), (FROM_OWNER, OWNER_SAYS)],
    ids=["client", "owner"],
)


def stream(history: list[Frame]) -> bytes:
    return b"".join(map(to_bytes, history))


def feed_all(decoder: Decoder, portions: list[bytes]) -> list[Frame]:
    return [frame for portion in portions for frame in decoder.feed(portion)]


def illegal(legal: frozenset[int], data: bytes) -> bool:
    try:
        Decoder(legal).feed(data)
    except ProtocolError:
        return True
    return False


# Frames -------------------------------------------------------------------------------------------


def test_a_header_is_laid_out_as_every_version_of_it_will_be() -> None:
    assert HEADER_SIZE == 24
    assert header(CALL, 0x01020304, 5, 6, 7) == bytes.fromhex(
        "04030201 0500000000000000 0600000000000000 0700 0100"
    )
    assert (CALL, RELEASE, ENTER, LEAVE) == (1, 2, 3, 4)
    assert (HELLO, RESULT, FAILURE, FAREWELL) == (16, 17, 18, 19)


@given(st.data(), sides)
def test_frames_survive_any_cuts_of_the_stream(data: st.DataObject, legal: frozenset[int]) -> None:
    history = data.draw(histories(legal))
    portions = data.draw(pieces(stream(history)))
    decoder = Decoder(legal)
    assert feed_all(decoder, portions) == history
    assert decoder.missing == 0


@both_sides
def test_frames_survive_a_cut_at_every_byte(legal: frozenset[int], history: list[Frame]) -> None:
    data = stream(history)
    for cut in range(len(data) + 1):
        assert feed_all(Decoder(legal), [data[:cut], data[cut:]]) == history


@both_sides
def test_frames_survive_byte_by_byte(legal: frozenset[int], history: list[Frame]) -> None:
    assert feed_all(Decoder(legal), [bytes([byte]) for byte in stream(history)]) == history


@both_sides
def test_a_frame_is_handed_out_with_its_last_byte(
    legal: frozenset[int], history: list[Frame]
) -> None:
    decoder = Decoder(legal)
    for frame in history:
        data = to_bytes(frame)
        assert decoder.feed(data[:-1]) == []
        assert decoder.feed(data[-1:]) == [frame]


@given(st.data(), sides, st.binary(max_size=HEADER_SIZE - 1))
def test_what_trails_the_last_whole_frame_waits_for_its_rest(
    data: st.DataObject, legal: frozenset[int], start: bytes
) -> None:
    history = data.draw(histories(legal, max_size=3))
    last = data.draw(histories(legal, max_size=2).map(stream))
    whole, cut = stream(history), data.draw(st.integers(0, len(last)))
    decoder = Decoder(legal)
    given_out = feed_all(decoder, data.draw(pieces(whole + last[:cut])))
    assert stream(given_out) == (whole + last)[: len(stream(given_out))]
    assert given_out[: len(history)] == history
    assert stream(given_out + decoder.feed(last[cut:])) == whole + last
    assert decoder.feed(start) == []  # whatever it becomes, it is no frame yet
    assert decoder.missing == (HEADER_SIZE - len(start) if start else 0)


@given(st.data(), sides)
def test_missing_is_what_the_frame_or_the_header_under_way_lacks(
    data: st.DataObject, legal: frozenset[int]
) -> None:
    decoder = Decoder(legal)
    frame = data.draw(histories(legal).filter(bool))[0]
    whole = to_bytes(frame)
    cut = data.draw(st.integers(1, len(whole) - 1))
    for portion in data.draw(pieces(whole[:cut])):
        decoder.feed(portion)
    wanted = len(whole) if cut >= HEADER_SIZE else HEADER_SIZE
    assert decoder.missing == wanted - cut
    assert decoder.feed(whole[cut:]) == [frame]
    assert decoder.missing == 0


@given(st.data())
def test_the_frames_of_a_batch_are_handed_out_in_their_order(data: st.DataObject) -> None:
    groups = data.draw(st.lists(histories(FROM_CLIENT, max_size=3).filter(bool), max_size=3))
    batches = b"".join(pack_batch([to_bytes(frame) for frame in group]) for group in groups)
    decoder = Decoder(FROM_CLIENT)
    assert feed_all(decoder, data.draw(pieces(batches))) == [f for group in groups for f in group]
    assert decoder.missing == 0


@given(payloads, payloads)
def test_a_payload_stays_what_it_is_while_others_arrive(first: bytes, second: bytes) -> None:
    decoder = Decoder(FROM_CLIENT)
    data = stream([(CALL, 1, 1, 3, first), (CALL, 2, 1, 3, second)])
    half = len(data) // 2
    handed = decoder.feed(data[:half]) + decoder.feed(data[half:])
    handed += decoder.feed(stream([(CALL, 3, 1, 3, b"z" * len(first))]))
    assert [bytes(frame[4]) for frame in handed] == [first, second, b"z" * len(first)]


@pytest.mark.parametrize("size", [2**16, 2**16 + 1, 2**22])
def test_a_large_payload_that_came_whole_is_not_copied(size: int) -> None:
    data = to_bytes((CALL, 1, 1, 3, bytes(size)))
    tracemalloc.start()
    try:
        [(*_, payload)] = Decoder(FROM_CLIENT).feed(data)
        copied = tracemalloc.get_traced_memory()[1] > size
    finally:
        tracemalloc.stop()
    assert (len(payload), copied) == (size, size <= 2**16)


def test_the_number_of_an_entering_survives() -> None:
    for number in (0, 1, 2**64 - 1):
        assert unpack_number(pack_number(number)) == number
    for size in (0, 7, 9, 16):
        with pytest.raises(ProtocolError):
            unpack_number(bytes(size))


# What is no frame ---------------------------------------------------------------------------------


@both_sides
def test_each_side_accepts_its_own_kinds_and_no_others(
    legal: frozenset[int], history: list[Frame]
) -> None:
    accepted = {kind for kind in range(2**16) if not illegal(legal, HEADER.pack(0, 1, 1, 3, kind))}
    assert accepted == legal
    assert legal - {BATCH} == {frame[0] for frame in history}


TWO = stream(CLIENT_SAYS[:2])


@pytest.mark.parametrize(
    "inside",
    [TWO[:-1], TWO + b"x", to_bytes((RESULT, 1, 0, 0, b"")), pack_batch([TWO[:24], TWO[24:]])],
    ids=["cut off", "more than frames", "an owner's", "a batch"],
)
def test_a_batch_of_anything_but_frames_is_refused(inside: bytes) -> None:
    with pytest.raises(ProtocolError):
        Decoder(FROM_CLIENT).feed(to_bytes((BATCH, 0, 0, 0, inside)))


def test_no_kind_is_for_both_sides() -> None:
    assert not FROM_CLIENT & FROM_OWNER


@given(st.data(), sides)
def test_a_history_is_heard_until_its_first_illegal_frame(
    data: st.DataObject, legal: frozenset[int]
) -> None:
    history = data.draw(histories(legal, max_size=3))
    wrong = data.draw(illegal_headers(legal))
    decoder = Decoder(legal)
    assert feed_all(decoder, data.draw(pieces(stream(history)))) == history
    *before, last = data.draw(pieces(wrong).map(lambda portions: [p for p in portions if p]))
    assert feed_all(decoder, before) == []
    with pytest.raises(ProtocolError, match="is not legal here"):
        decoder.feed(last + data.draw(st.binary(max_size=50)))


@given(sides.flatmap(lambda legal: st.tuples(st.just(legal), illegal_headers(legal))))
def test_an_illegal_frame_is_refused_by_its_header_alone(
    case: tuple[frozenset[int], bytes],
) -> None:
    legal, wrong = case
    decoder = Decoder(legal)
    assert decoder.feed(wrong[:-1]) == []
    with pytest.raises(ProtocolError, match=str(HEADER.unpack(wrong)[4])):
        decoder.feed(wrong[-1:])


@given(st.data(), sides)
def test_garbage_is_an_error_or_frames_that_say_just_that(
    data: st.DataObject, legal: frozenset[int]
) -> None:
    near_misses = st.builds(
        HEADER.pack,
        st.integers(0, 40) | u32,
        u64,
        u64,
        u16,
        st.integers(0, 20).filter(lambda kind: kind != BATCH),
    )
    garbage = b"".join(data.draw(st.lists(st.binary(max_size=60) | near_misses, max_size=8)))
    decoder = Decoder(legal)
    heard: list[Frame] = []
    try:
        for portion in data.draw(pieces(garbage)):
            heard += decoder.feed(portion)
    except ProtocolError:
        rest = garbage[len(stream(heard)) :]
        assert illegal(legal, rest)
    else:
        assert len(garbage) - len(stream(heard)) < HEADER_SIZE or decoder.missing > 0
    assert garbage.startswith(stream(heard))
    assert {frame[0] for frame in heard} <= legal


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1, 2**32 - 1])
def test_no_memory_is_taken_for_what_only_a_header_speaks_of(size: int) -> None:
    decoder = Decoder(FROM_CLIENT)
    tracemalloc.start()
    try:
        if size > LIMIT:
            with pytest.raises(ProtocolError, match=str(size)):
                decoder.feed(HEADER.pack(size, 1, 1, 3, CALL))
        else:
            assert decoder.feed(HEADER.pack(size, 1, 1, 3, CALL) + b"x") == []
            assert decoder.missing == size - 1
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_what_the_other_side_would_refuse_cannot_be_sent() -> None:
    assert not illegal(FROM_CLIENT, header(CALL, LIMIT))
    with pytest.raises(CodecError, match=rf"^{LIMIT + 1} bytes are too many .* {LIMIT} can"):
        header(CALL, LIMIT + 1)


# Pairs --------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(u64, u64)))
@example([(0, 2**64 - 1)])
def test_pairs_survive_their_packing(pairs: list[tuple[int, int]]) -> None:
    packed = pack_pairs(pairs)
    assert len(packed) == 16 * len(pairs)
    assert unpack_pairs(packed) == unpack_pairs(memoryview(packed)) == pairs


@given(st.binary().filter(lambda payload: len(payload) % 16))
def test_pairs_that_are_cut_off_are_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match=re.escape(f"{len(payload)} bytes is cut off")):
        unpack_pairs(payload)


@given(
    st.floats(0, allow_nan=False),
    st.integers(0, 2**64 - 1),
    st.lists(st.binary(min_size=16, max_size=16), max_size=255).map(tuple),
    st.binary(),
)
def test_a_context_arrives_as_it_was_and_leaves_the_rest(
    seconds: float, thread: int, path: tuple[bytes, ...], rest: bytes
) -> None:
    packed = pack_context(seconds, thread, path) + rest
    for payload in (packed, memoryview(packed)):
        assert unpack_context(payload) == ((seconds, thread, path), rest)


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=9).map(tuple), st.data())
def test_a_context_that_is_cut_off_is_refused(path: tuple[bytes, ...], data: st.DataObject) -> None:
    packed = pack_context(1.0, 2, path)
    with pytest.raises(ProtocolError, match="cut off"):
        unpack_context(packed[: data.draw(st.integers(0, len(packed) - 1))])


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_a_time_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ProtocolError):
        unpack_context(pack_context(seconds, 0, ()))


def test_a_chain_cannot_grow_without_end() -> None:
    with pytest.raises(CodecError, match="more than 255 processes"):
        pack_context(1.0, 2, (b"p" * 16,) * 256)
