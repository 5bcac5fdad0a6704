"""Taps: the chaos kit acts at the frame and the moment that were asked for, and does no more."""

from __future__ import annotations

import array
import contextlib
import fcntl
import termios
import threading
from collections.abc import Iterator
from functools import partial
from random import Random

import pytest

from pipeproxy._channels._channel import Channel
from pipeproxy._channels._wire import (
    CALL,
    CLAIM,
    FAREWELL,
    FROM_CLIENT,
    FROM_OWNER,
    HEADER_SIZE,
    HELLO,
    RELEASE,
    RESULT,
    Frame,
    header,
)
from pipeproxy.testing import (
    AFTER,
    BEFORE,
    MIDDLE,
    READING,
    Interrupted,
    Moment,
    disturbed,
    interrupt,
    kill,
)
from pipeproxy.transports.pipe import open_pair, wait_for

from .strategies import to_bytes
from .support import PATIENCE, in_fork

pytestmark = pytest.mark.usefixtures("descriptors_kept")

SEND, RECEIVE = Channel.send, Channel.receive


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """A client's and an owner's end of one channel."""
    own, theirs = open_pair()
    yield Channel(own, FROM_OWNER), Channel(theirs, FROM_CLIENT)
    own.close()
    theirs.close()


def in_pipe(channel: Channel) -> int:
    """How many bytes wait to be read."""
    count = array.array("i", [0])
    fcntl.ioctl(channel.pipe.reader, termios.FIONREAD, count)
    return count[0]


def call(ident: int, size: int = 100, kind: int = CALL) -> Frame:
    return kind, ident, 1, 3, bytes([ident % 256]) * size


def receive(channel: Channel, count: int) -> list[Frame]:
    frames: list[Frame] = []
    while len(frames) < count:
        assert wait_for((channel.pipe.reader, False), timeout=PATIENCE)
        frames += channel.receive() or []
    return frames


@pytest.mark.parametrize(
    ("when", "written"), [(BEFORE, 0), (MIDDLE, HEADER_SIZE // 2 + 50), (AFTER, HEADER_SIZE + 100)]
)
def test_it_acts_when_so_much_of_the_frame_is_written(
    ends: tuple[Channel, Channel], when: Moment, written: int
) -> None:
    client, owner = ends
    seen: list[int] = []
    with disturbed(lambda: seen.append(in_pipe(owner)), frame=2, when=when) as block:
        for ident in (1, 2, 3):
            client.send(to_bytes(call(ident)))
    assert (block.happened, block.counted) == (True, 3)
    assert seen == [HEADER_SIZE + 100 + written]
    assert receive(owner, 3) == [call(1), call(2), call(3)]


def test_it_acts_when_half_of_the_frame_is_read(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    for ident in (1, 2, 3):
        owner.send(to_bytes(call(ident, 1000, RESULT)))
    seen: list[int] = []
    with disturbed(lambda: seen.append(in_pipe(client)), frame=2, when=READING) as block:
        assert len(receive(client, 3)) == 3
    assert (block.happened, block.counted) == (True, 3)
    whole = HEADER_SIZE + 1000
    assert seen == [whole + whole // 2]


@pytest.mark.parametrize(("when", "written"), [(BEFORE, 0), (MIDDLE, 512), (AFTER, 1024)])
def test_frames_that_are_written_at_once_are_taken_apart(
    ends: tuple[Channel, Channel], when: Moment, written: int
) -> None:
    client, owner = ends
    history = [call(ident, 1000) for ident in range(1, 6)]
    seen: list[int] = []
    with disturbed(lambda: seen.append(in_pipe(owner)), frame=3, when=when):
        client.send(b"".join(map(to_bytes, history)))
    assert seen == [2 * 1024 + written]
    assert receive(owner, 5) == history


@pytest.mark.parametrize("when", [BEFORE, MIDDLE, AFTER])
@pytest.mark.parametrize("size", [0, 1, 1 << 16, 1_000_000])
def test_a_frame_that_the_pipe_takes_in_parts_is_one_frame(
    ends: tuple[Channel, Channel], size: int, when: Moment
) -> None:
    """Header and payload are sent apart, as large ones are."""
    client, owner = ends
    acted: list[list[Frame]] = []
    arrived: list[Frame] = []
    with disturbed(lambda: acted.append(list(arrived)), frame=2, when=when) as block:
        for ident in (1, 2, 3):
            client.send(header(CALL, size, ident, 1, 3))
            client.send(bytes([ident]) * size)
            while client.unsent:
                arrived += owner.receive() or []
                client.flush()
        arrived += receive(owner, 3 - len(arrived))
    assert arrived == [call(ident, size) for ident in (1, 2, 3)]
    assert (len(acted), block.counted) == (1, 3)


def test_greetings_claims_and_releases_do_not_count(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    nothing = partial(disturbed, lambda: None, frame=1)
    with nothing(when=AFTER) as written, nothing(when=READING) as read:
        for kind in (HELLO, RESULT, FAREWELL):
            owner.send(to_bytes(call(1, 0, kind)))
        claim, release = call(1, 8, CLAIM), call(1, 8, RELEASE)
        client.send(to_bytes(claim) + to_bytes(release) + to_bytes(call(1)))
        assert (written.counted, read.counted) == (2, 0)  # the result and the call
        receive(client, 3)
        receive(owner, 3)
    assert (written.counted, read.counted) == (2, 2)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_is_disturbed_everything_arrives(ends: tuple[Channel, Channel], seed: int) -> None:
    client, owner = ends
    random = Random(seed)
    blocks = [disturbed(lambda: None, seed=random.randrange(999), among=30) for _ in range(5)]
    history = [call(n, random.choice([0, 5, 1000, 70_000, 200_000])) for n in range(30)]
    arrived: list[Frame] = []
    with contextlib.ExitStack() as stack:
        for number, frame in enumerate(history):
            if number % 6 == 0:
                stack.enter_context(blocks.pop())
            client.send(to_bytes(frame))
            while client.unsent or random.random() < 0.3:
                arrived += owner.receive() or []
                client.flush()
        arrived += receive(owner, len(history) - len(arrived))
    assert arrived == history


def test_a_channel_may_be_older_than_the_block_and_outlive_it(
    ends: tuple[Channel, Channel],
) -> None:
    client, owner = ends
    acted: list[int] = []
    for ident in range(1, 50):
        client.send(to_bytes(call(ident)))
        with disturbed(lambda: acted.append(ident), frame=1, when=MIDDLE):  # noqa: B023
            if ident % 2:
                client.send(to_bytes(call(ident)))
        client.send(to_bytes(call(ident)))
        assert len(receive(owner, 2 + ident % 2)) == 2 + ident % 2
    assert acted == list(range(1, 50, 2))
    assert (Channel.send, Channel.receive) == (SEND, RECEIVE)


def test_a_block_that_begins_within_a_frame_counts_from_the_next_one(
    ends: tuple[Channel, Channel],
) -> None:
    client, owner = ends
    client.send(header(CALL, 1000, 1, 1, 3))
    owner.send(to_bytes(call(1, 1000, RESULT))[:500])
    assert client.receive() == []
    nothing = partial(disturbed, lambda: None, frame=9)
    with nothing(when=MIDDLE) as written, nothing(when=READING) as read:
        client.send(bytes([1]) * 1000)
        client.send(to_bytes(call(2)))
        client.send(to_bytes(call(3)))
        SEND(owner, to_bytes(call(1, 1000, RESULT))[500:])
        assert receive(client, 1) == [call(1, 1000, RESULT)]
        SEND(owner, to_bytes(call(2, 9, RESULT)))
        assert receive(client, 1) == [call(2, 9, RESULT)]
    assert (written.counted, read.counted) == (2, 1)
    assert receive(owner, 3) == [call(1, 1000), call(2), call(3)]


def test_what_was_unsent_when_the_block_began_does_not_count(
    ends: tuple[Channel, Channel],
) -> None:
    client, owner = ends
    # As frames, where a pipe of 64 KiB or 1 MiB is full.
    looks_like_frames = bytes(16) + header(CALL, 0) * 100_000
    client.send(header(CALL, len(looks_like_frames), 1) + looks_like_frames)
    assert client.unsent
    arrived: list[Frame] = []
    with disturbed(lambda: None, frame=9, when=MIDDLE) as block:
        client.send(to_bytes(call(2)))
        while client.unsent:
            arrived += owner.receive() or []
            client.flush()
        assert block.counted == 0
        client.send(to_bytes(call(3)))
        assert block.counted == 1
    arrived += receive(owner, 3 - len(arrived))
    assert arrived == [(CALL, 1, 0, 0, looks_like_frames), call(2), call(3)]


def test_after_the_block_several_frames_are_read_at_once_again(
    ends: tuple[Channel, Channel],
) -> None:
    client, owner = ends
    history = [call(ident, 10, RESULT) for ident in range(5)]
    with disturbed(lambda: None, frame=9, when=READING):
        SEND(owner, b"".join(map(to_bytes, history)))
        assert receive(client, 5) == history
    SEND(owner, b"".join(map(to_bytes, history)))
    assert client.receive() == history


def test_frames_of_all_threads_count_but_for_an_interrupt_those_of_the_main_one() -> None:
    pairs = [open_pair() for _ in range(5)]
    channels = [Channel(own, FROM_OWNER) for own, _ in pairs]

    def work(channel: Channel) -> None:
        for ident in range(1, 101):
            channel.send(to_bytes(call(ident, 0)))

    acted: list[int] = []
    every = disturbed(lambda: acted.append(1), frame=450, when=AFTER)
    mine = disturbed(interrupt(), frame=101, when=AFTER)
    with every, mine:
        threads = [threading.Thread(target=work, args=(each,)) for each in channels[1:]]
        for thread in threads:
            thread.start()
        work(channels[0])
        for thread in threads:
            thread.join()
        assert (mine.counted, mine.happened) == (100, False)
        with pytest.raises(Interrupted):
            work(channels[0])
    assert (every.counted, acted) == (501, [1])
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_forked_child_is_not_disturbed(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends

    def child() -> None:
        assert (Channel.send, Channel.receive) == (SEND, RECEIVE)
        client.send(to_bytes(call(1)))

    with disturbed(kill(), frame=1, when=BEFORE) as block:
        in_fork(child)
        assert receive(owner, 1) == [call(1)]
    assert (block.happened, block.counted) == (False, 0)
