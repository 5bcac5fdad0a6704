"""A channel: whatever the pipe takes and gives at once, frames arrive whole and in order."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import signal
import sys
import termios
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeproxy._channels._channel import Channel
from pipeproxy._channels._wire import (
    CALL,
    FAILURE,
    FAREWELL,
    FROM_CLIENT,
    FROM_OWNER,
    HEADER_SIZE,
    HELLO,
    RESULT,
    Frame,
    header,
)
from pipeproxy.errors import ProtocolError
from pipeproxy.transports import pipe as pipe_room
from pipeproxy.transports.pipe import READ_SIZE, open_pair, wait_for

from .strategies import histories, pieces, to_bytes
from .support import PATIENCE, fork, in_fork

pytestmark = pytest.mark.usefixtures("descriptors_kept")

MEGABYTE = 1 << 20


@contextlib.contextmanager
def opened() -> Iterator[tuple[Channel, Channel]]:
    """A client's and an owner's end of one channel."""
    own, theirs = open_pair()
    client, owner = Channel(own, FROM_OWNER), Channel(theirs, FROM_CLIENT)
    try:
        yield client, owner
    finally:
        client.close()
        owner.close()


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    with opened() as both:
        yield both


def in_pipe(channel: Channel) -> int:
    """How many bytes wait to be read."""
    count = array.array("i", [0])
    fcntl.ioctl(channel.pipe.reader, termios.FIONREAD, count)
    return count[0]


def call(ident: int, payload: bytes = b"") -> Frame:
    return CALL, ident, 1, 3, payload


def carry(sender: Channel, receiver: Channel, count: int) -> list[Frame]:
    """Move bytes until `count` frames have arrived, as two processes that wait would."""
    frames: list[Frame] = []
    while len(frames) < count:
        sender.flush()
        assert wait_for((receiver.pipe.reader, False), timeout=PATIENCE), "nothing comes"
        frames += receiver.receive() or []
    return frames


# What is sent arrives -----------------------------------------------------------------------------


def test_frames_arrive_at_the_other_end_both_ways(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    client.send(to_bytes(call(1, b"ask")))
    owner.send(to_bytes((RESULT, 1, 0, 0, b"answer")))
    assert owner.receive() == [call(1, b"ask")]
    assert client.receive() == [(RESULT, 1, 0, 0, b"answer")]
    assert client.unsent == owner.unsent == 0


def test_where_nothing_came_nothing_is_returned_and_nobody_waits(
    ends: tuple[Channel, Channel],
) -> None:
    for end in ends:
        assert end.receive() is None


def test_half_a_frame_is_no_frame_yet(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    data = to_bytes(call(1, b"payload"))
    for byte in data[:-1]:
        client.send(bytes([byte]))
        assert owner.receive() == []
    assert owner.receive() is None
    client.send(data[-1:])
    assert owner.receive() == [call(1, b"payload")]


def test_one_read_brings_all_frames_that_are_there(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    history = [call(ident, b"x" * 100) for ident in range(1, 101)]
    for frame in history:
        client.send(to_bytes(frame))
    assert owner.receive() == history
    assert owner.receive() is None


@given(st.data())
def test_a_history_survives_whatever_the_pipe_takes_at_once(data: st.DataObject) -> None:
    history = data.draw(histories(FROM_CLIENT))
    stream = b"".join(map(to_bytes, history))
    heard: list[Frame] = []
    with opened() as (client, owner):
        for piece in data.draw(pieces(stream)):
            client.send(piece)
            if data.draw(st.booleans()):
                heard += owner.receive() or []
            if data.draw(st.booleans()):
                client.flush()
            assert client.unsent >= 0
        assert heard + carry(client, owner, len(history) - len(heard)) == history
        assert client.unsent == 0
        assert owner.receive() is None


# What the pipe does not take at once --------------------------------------------------------------


def test_what_the_pipe_does_not_take_is_unsent_to_the_byte(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    data = to_bytes(call(1, bytes(MEGABYTE)))
    client.send(data)
    assert 0 < client.unsent == len(data) - in_pipe(owner)
    client.flush()  # into a full pipe: nothing moves, nobody waits
    assert client.unsent == len(data) - in_pipe(owner)
    read = 0
    while client.unsent:
        read += len(owner.pipe.read(READ_SIZE) or b"")
        client.flush()
        assert client.unsent == len(data) - in_pipe(owner) - read
    assert read + in_pipe(owner) == len(data)


def test_what_is_sent_behind_unsent_bytes_keeps_its_place(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    history = [call(ident, bytes([ident]) * (2_000_000 // ident)) for ident in range(1, 30)]
    for frame in history:
        client.send(to_bytes(frame))
    assert client.unsent > 300_000
    assert carry(client, owner, len(history)) == history
    assert client.unsent == 0


def test_room_in_the_pipe_lets_nobody_overtake(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    client.send(to_bytes(call(1, bytes(300_000))))
    owner.receive()  # there is room now, and bytes of the first frame wait for it
    client.send(to_bytes(call(2)))
    assert [frame[1] for frame in carry(client, owner, 2)] == [1, 2]


def test_an_empty_part_holds_up_nothing(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    client.send(b"")
    client.send(to_bytes(call(1, bytes(300_000))))
    client.send(b"")
    client.send(to_bytes(call(2)))
    assert [frame[1] for frame in carry(client, owner, 2)] == [1, 2]
    assert client.unsent == 0


def test_a_view_of_bytes_is_sent_as_the_bytes(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    payload = os.urandom(200_000)
    client.send(header(CALL, len(payload), 1, 1, 3))
    client.send(memoryview(payload))
    assert carry(client, owner, 1) == [call(1, payload)]


def test_a_big_frame_arrives_and_what_follows_it(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    payload = os.urandom(16 * MEGABYTE)
    client.send(to_bytes(call(1, payload)))
    client.send(to_bytes(call(2)))
    assert carry(client, owner, 2) == [call(1, payload), call(2)]


@pytest.mark.skipif(sys.platform != "linux", reason="pipes have one size there")
def test_the_smallest_pipe_carries_everything(
    ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, owner = ends
    monkeypatch.setattr(pipe_room, "_SET_SIZE", None)  # as where no user may have larger ones
    assert fcntl.fcntl(client.pipe.writer, 1031, 4096) == 4096  # F_SETPIPE_SZ
    payload = os.urandom(100_000)
    client.send(to_bytes(call(1, payload)))
    assert client.unsent == len(payload) + HEADER_SIZE - 4096
    assert carry(client, owner, 1) == [call(1, payload)]


# Ends ---------------------------------------------------------------------------------------------


def test_the_end_comes_after_all_that_was_written_before_it(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    owner.send(to_bytes((RESULT, 1, 0, 0, b"last")) + to_bytes((FAREWELL, 0, 0, 0, b"")))
    owner.close()
    assert client.receive() == [(RESULT, 1, 0, 0, b"last"), (FAREWELL, 0, 0, 0, b"")]
    for _ in range(2):
        with pytest.raises(EOFError):
            client.receive()


def test_a_frame_that_is_cut_off_by_the_end_is_none(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    client.send(to_bytes(call(1, b"payload"))[:-1])
    client.close()
    assert owner.receive() == []
    with pytest.raises(EOFError):
        owner.receive()


def test_a_closed_end_takes_nothing_and_what_it_said_can_still_be_read(
    ends: tuple[Channel, Channel],
) -> None:
    client, owner = ends
    owner.send(to_bytes((FAILURE, 1, 0, 0, b"why")))
    owner.close()
    for _ in range(2):
        client.send(to_bytes(call(1, bytes(MEGABYTE))))
        assert client.unsent == 0
    assert client.receive() == [(FAILURE, 1, 0, 0, b"why")]
    with pytest.raises(EOFError):
        client.receive()


def test_what_was_unsent_is_dropped_when_the_other_end_closes(
    ends: tuple[Channel, Channel],
) -> None:
    client, owner = ends
    client.send(to_bytes(call(1, bytes(MEGABYTE))))
    client.send(to_bytes(call(2)))
    assert client.unsent
    owner.close()
    client.flush()
    assert client.unsent == 0
    client.send(to_bytes(call(3)))
    assert client.unsent == 0


def test_a_closed_end_is_closed_once(ends: tuple[Channel, Channel]) -> None:
    client, _ = ends
    numbers = client.pipe.reader, client.pipe.writer
    client.close()
    spare = os.open(os.devnull, os.O_RDONLY)
    reused = {os.dup2(spare, number) for number in numbers} | {spare}
    client.close()
    for number in reused:
        os.close(number)  # raises if the second close took it


def test_a_process_that_is_killed_in_mid_frame_is_at_its_end(
    ends: tuple[Channel, Channel],
) -> None:
    client, owner = ends

    def die() -> None:
        owner.close()
        client.send(to_bytes(call(1)) + to_bytes(call(2, bytes(4 * MEGABYTE))))
        os.kill(os.getpid(), signal.SIGKILL)

    child = fork(die)
    client.close()
    frames: list[Frame] = []
    with pytest.raises(EOFError):  # noqa: PT012 - how often it reads is the pipe's affair
        while True:
            assert wait_for((owner.pipe.reader, False), timeout=PATIENCE), "nothing comes"
            frames += owner.receive() or []
    os.waitpid(child, 0)
    assert frames == [call(1)]


# What is no frame ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [bytes(range(23)) + b"\xff", b"\xff" * 100, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    ids=["counting", "ones", "http"],
)
def test_garbage_is_refused_at_either_end(ends: tuple[Channel, Channel], garbage: bytes) -> None:
    for sender, receiver in (ends, ends[::-1]):
        sender.send(garbage)
        with pytest.raises(ProtocolError):
            receiver.receive()


def test_an_end_refuses_what_it_says_itself(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    client.send(to_bytes((HELLO, 0, 0, 0, b"x" * 16)))
    owner.send(to_bytes(call(1)))
    for end in ends:
        with pytest.raises(ProtocolError, match="not legal here"):
            end.receive()


def test_frames_that_came_before_garbage_are_heard(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    client.send(to_bytes(call(1)))
    assert owner.receive() == [call(1)]
    client.send(b"\xff" * HEADER_SIZE)
    with pytest.raises(ProtocolError):
        owner.receive()


# Descriptors --------------------------------------------------------------------------------------


def test_a_channel_that_is_forgotten_closes_itself() -> None:
    own, theirs = open_pair()
    client, owner = Channel(own, FROM_OWNER), Channel(theirs, FROM_CLIENT)
    del client, own
    with pytest.raises(EOFError):
        owner.receive()


def test_both_ends_go_on_in_a_forked_child(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends

    def ask() -> None:
        client.send(to_bytes(call(7, b"child")))

    in_fork(ask)
    assert owner.receive() == [call(7, b"child")]
