"""What the owner borrows of a client, and what it makes of records that are not true."""

from __future__ import annotations

import os
from collections.abc import Callable
from math import inf
from struct import Struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeproxy import share
from pipeproxy._channels import _borrowed
from pipeproxy._channels._borrowed import MOST_SEGMENTS, Borrowed, Cargo, over, reply
from pipeproxy._channels._door import Offer, knocker, offer
from pipeproxy._channels._parcels import VIEWED, Parcel, pack
from pipeproxy._channels._wire import (
    BULK,
    CALL,
    CALL_WITHIN,
    KEPT,
    RESULT,
    RETIRE,
    TAKEN,
    Frame,
    header,
    pack_context,
    pack_number,
    pack_pairs,
)
from pipeproxy._proxies._proxy import link_of
from pipeproxy._system import _buffers
from pipeproxy.codecs import pickle as codec
from pipeproxy.errors import ProtocolError

from .raw import Raw

MIB = 1 << 20
HEAD = Struct("<II")
PARCEL = Parcel([b"pickle"], [b"buffer"])


def offered(number: int, size: int = MIB) -> Offer:
    _, end = _buffers.make(number, size)
    return Offer(b"token", number, size, end)


def bulk(kind: int, before: bytes, number: int = 3) -> Frame:
    """A call whose arguments are in segment 3."""
    segment, _ = _buffers.make(number, MIB)
    kind, record, data = pack(kind, PARCEL, segment)
    return kind, 1, 7, 5, record + before + data


def nothing() -> None:
    """See nobody at the door."""


def test_a_call_is_as_ever_but_for_its_cargo() -> None:
    borrowed = Borrowed()
    borrowed.accept(offered(3))
    *call, cargo = borrowed.open(bulk(CALL, b""), nothing)
    assert call == [CALL, 1, 7, 5]
    assert type(cargo) is Cargo
    assert cargo.context is None
    assert len(cargo) == 0  # of the owner's memory
    context = pack_context(inf, 4, (b"p" * 16,))
    *call, cargo = borrowed.open(bulk(CALL_WITHIN, context), nothing)
    assert call == [CALL_WITHIN, 1, 7, 5]
    assert cargo.context == (inf, 4, (b"p" * 16,))


def test_what_is_given_up_before_it_is_seen_is_not_taken() -> None:
    borrowed = Borrowed()
    for number in range(1, MOST_SEGMENTS + 2):
        borrowed.retire(number)
    borrowed.accept(offered(MOST_SEGMENTS + 1))
    assert not borrowed._segments
    borrowed.accept(offered(1))  # which it remembers no more
    assert list(borrowed._segments) == [1]
    borrowed.retire(1)
    assert not borrowed._segments


def test_what_was_offered_and_not_seen_is_looked_for() -> None:
    borrowed = Borrowed()
    looks: list[Callable[[], None]] = [nothing, lambda: borrowed.accept(offered(3))]
    with pytest.raises(ProtocolError):
        borrowed.open(bulk(CALL, b""), looks[0])
    borrowed.open(bulk(CALL, b""), looks[1])


def test_what_was_given_up_is_there_no_more() -> None:
    borrowed = Borrowed()
    for end in (lambda: borrowed.retire(3), borrowed.clear):
        borrowed.accept(offered(3))
        borrowed.open(bulk(CALL, b""), nothing)
        end()
        with pytest.raises(ProtocolError):
            borrowed.open(bulk(CALL, b""), nothing)


def test_a_client_has_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_borrowed, "MOST_BYTES", 4 * MIB)
    borrowed = Borrowed()
    borrowed.accept(offered(1, 3 * MIB))
    with pytest.raises(ProtocolError):
        borrowed.accept(offered(2, 2 * MIB))
    borrowed.accept(offered(3))
    monkeypatch.setattr(_borrowed, "MOST_BYTES", 400 * MIB)
    monkeypatch.setattr(_borrowed, "MOST_SEGMENTS", 3)
    borrowed.accept(offered(4))
    with pytest.raises(ProtocolError):
        borrowed.accept(offered(5))


def test_a_reply_goes_in_the_memory_that_came_with_the_call() -> None:
    borrowed = Borrowed()
    borrowed.accept(offered(3))
    *_, cargo = borrowed.open(bulk(CALL, b""), nothing)
    said = reply(RESULT, PARCEL, cargo)
    assert said is not None
    assert said[0] == RESULT | BULK
    assert len(said[1]) == HEAD.size + 16
    assert over(cargo) == (TAKEN, pack_number(3))
    segment = cargo.lend(PARCEL)
    assert segment is not None
    assert cargo.lend(PARCEL) is None
    said = reply(RESULT, PARCEL, cargo)  # it is with the client just now
    assert said is not None
    assert len(said[1]) == HEAD.size + 16 + len(PARCEL)
    cargo.take_back(segment)
    assert cargo.lend(Parcel([bytes(2 * MIB)], ())) is None
    assert cargo.segment is segment


def test_what_is_viewed_is_neither_lent_nor_written_to_nor_given_back() -> None:
    borrowed = Borrowed()
    borrowed.accept(offered(3))
    record = HEAD.pack(3, 2) + Struct("<QQ").pack(6, VIEWED | 100_000)
    *_, cargo = borrowed.open((CALL | BULK, 1, 7, 5, record), nothing)
    arguments = cargo.read()
    assert cargo.lend(PARCEL) is None
    said = reply(RESULT, PARCEL, cargo)
    assert said is not None
    assert len(said[1]) == HEAD.size + 16 + len(PARCEL)  # in line
    assert cargo.seal(said) == (RESULT | BULK | KEPT, said[1])
    assert cargo.seal(over(cargo)) == (TAKEN | KEPT, pack_number(3))
    assert cargo.seal((0, b"")) == (0, b"")
    del arguments
    assert cargo.seal(said) == said
    assert cargo.lend(PARCEL) is not None


# At the wire --------------------------------------------------------------------------------------


class Echo:
    def echo(self, value: Any) -> Any:
        return value


class Scene:
    """An owner, a client that behaves, and one that need not."""

    def __init__(self) -> None:
        self.proxy, self.listener = share(Echo())
        self.good = Raw(self.listener, self.proxy, introduced=True).greet()
        self.route = link_of(self.proxy).route

    def raw(self) -> Raw:
        return Raw(self.listener, self.proxy, introduced=True).greet()

    def offer(self, raw: Raw, number: int, token: bytes | None = None) -> Any:
        segment, end = _buffers.make(number, MIB)
        door = knocker(self.route.address)
        assert offer(door, self.route, token or raw.token, number, end)
        door.close()
        return segment

    def call(self, raw: Raw, payload: bytes) -> bytes:
        raw.ident += 1
        member = raw.members.numbers["echo"]
        head = header(CALL | BULK, len(payload), raw.ident, raw.number, member)
        return head + payload


def test_memory_is_offered_before_the_frame_that_names_it() -> None:
    scene = Scene()
    with scene.listener:
        raw = scene.raw()
        segment = scene.offer(raw, 3)  # while nobody looks
        data = codec.encode_call((bytes(1000),), None)
        assert type(data) is bytes
        _, record, _ = pack(CALL, Parcel([data], ()), segment)
        raw.write(scene.call(raw, record))
        assert raw.result() == bytes(1000)
        pair = pack_pairs([(3, 0)])
        raw.write(header(RETIRE, len(pair)) + pair + scene.call(raw, record))
        assert raw.is_cut()
        assert scene.good.ask("echo", 5) == 5


def test_memory_of_another_process_is_not_to_be_had() -> None:
    scene = Scene()
    with scene.listener:
        one, other = scene.raw(), scene.raw()
        scene.offer(one, 3)
        scene.offer(other, 4, os.urandom(16))  # of nobody
        for raw, number in ((other, 3), (one, 4)):
            raw.write(scene.call(raw, HEAD.pack(number, 0)))
            assert raw.is_cut()
        assert scene.good.ask("echo", 5) == 5


@given(st.binary(max_size=40) | st.builds(HEAD.pack, st.integers(0, 4), st.integers(0, 9)))
def test_whatever_a_record_says_only_its_client_is_cut(record: bytes) -> None:
    scene = Scene()
    with scene.listener:
        raw = scene.raw()
        scene.offer(raw, 3)
        raw.write(scene.call(raw, record))
        try:
            raw.reply()
        except EOFError:
            pass
        assert scene.good.ask("echo", 5) == 5
        scene.good.close()
        raw.close()
