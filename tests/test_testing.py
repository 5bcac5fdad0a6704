"""The chaos kit: it acts at the frame and the moment that were asked for, and does no more."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import pickle
import signal
import subprocess
import sys
import termios
import textwrap
import threading
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeproxy import CallTimeout, OwnerDied, spawn, spawning, testing, timeout
from pipeproxy._channel import Channel
from pipeproxy._wire import (
    CALL,
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
    disturbing,
    interrupt,
    kill,
    stop,
)
from pipeproxy.transports.pipe import open_pair, wait_for

from .children import run_program
from .hosted import Account
from .strategies import to_bytes
from .support import PATIENCE, fork, in_fork, is_readable

pytestmark = pytest.mark.usefixtures("descriptors_kept")

MOMENTS = list(Moment)
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


# Frames ------------------------------------------------------------------------------------------


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


def test_greetings_and_releases_do_not_count(ends: tuple[Channel, Channel]) -> None:
    client, owner = ends
    nothing = partial(disturbed, lambda: None, frame=1)
    with nothing(when=AFTER) as written, nothing(when=READING) as read:
        for kind in (HELLO, RESULT, FAREWELL):
            owner.send(to_bytes(call(1, 0, kind)))
        client.send(to_bytes(call(1, 8, RELEASE)) + to_bytes(call(1)))
        assert (written.counted, read.counted) == (2, 0)  # the result and the call
        receive(client, 3)
        receive(owner, 2)
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


def test_a_seed_chooses_the_same_each_time() -> None:
    chosen = [(b.frame, b.when) for b in (disturbed(kill(), seed=s, among=5) for s in range(99))]
    again = [(b.frame, b.when) for b in (disturbed(kill(), seed=s, among=5) for s in range(99))]
    assert chosen == again
    assert set(chosen) == {(frame, when) for frame in range(1, 6) for when in Moment}
    assert disturbed(kill(), frame=70, when=READING, seed=1).frame == 70
    assert {disturbed(kill(), frame=70, seed=seed).when for seed in range(99)} == set(Moment)


@pytest.mark.parametrize("wrong", [{"frame": 0}, {"frame": -1}, {"among": 0}])
def test_there_is_no_frame_before_the_first(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the first frame has the number 1"):
        disturbed(kill(), **wrong)


# Actions -----------------------------------------------------------------------------------------


def deposits(account: Account, count: int) -> None:
    for _ in range(count):
        account.deposit(1)


@pytest.mark.parametrize("when", MOMENTS)
def test_a_client_is_killed_at_its_third_call(context: Any, when: Moment) -> None:
    account, host = spawn(Account, "ada")
    with host:
        action = disturbing(kill(), frame=3, when=when)
        client = context.Process(target=action, args=(deposits, account, 10))
        client.start()
        client.join(PATIENCE)
        assert client.exitcode == -signal.SIGKILL
        assert account.balance == (2 if when in (BEFORE, MIDDLE) else 3)
        client.close()


@pytest.mark.parametrize("when", MOMENTS)
def test_an_owner_is_killed_at_its_third_call(context: BaseContext, when: Moment) -> None:
    with spawning(context):
        account, host = spawn(disturbing(kill(), frame=3, when=when), Account, "ada")
    with host:
        assert (account.deposit(5), account.deposit(5)) == (5, 10)
        if when is AFTER:
            assert account.deposit(5) == 15
        with pytest.raises(OwnerDied, match=r"held disturbing\(kill\(\), frame=3, .*SIGKILL"):
            account.deposit(5)


def test_a_process_that_stops_itself_is_continued() -> None:
    account, host = spawn(Account, "ada")
    reader, writer = os.pipe()
    with host:

        def client() -> None:
            with disturbed(stop(0.05), frame=2, when=MIDDLE) as block:
                deposits(account, 3)
            assert block.happened
            with pytest.raises(ChildProcessError):
                os.waitpid(-1, 0)  # what stopped it is gone
            os.read(reader, 1)

        pid = fork(client)
        # Only of a process that had been stopped is it said that it was continued.
        assert os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1])
        os.write(writer, b"x")
        assert os.waitpid(pid, 0)[1] == 0
        assert account.balance == 3
    os.close(reader)
    os.close(writer)


def test_who_stops_a_process_ends_with_it() -> None:
    reader, writer = os.pipe()

    def stopped() -> None:
        os.dup2(writer, 2)
        os.close(writer)
        stop(1e6)()

    pid = fork(stopped)
    os.close(writer)
    assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
    assert not is_readable(reader, 0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert is_readable(reader)
    assert os.read(reader, 100) == b""
    os.close(reader)


def test_an_owner_is_stopped_in_the_middle_of_a_reply() -> None:
    account, host = spawn(disturbing(stop(1), frame=1, when=MIDDLE), Account, "ada")
    with host:
        with pytest.raises(CallTimeout), timeout(0.02):
            account.deposit(5)
        assert account.deposit(5) == 10


@pytest.mark.parametrize("when", MOMENTS)
@pytest.mark.parametrize("error", [Interrupted, ZeroDivisionError, KeyboardInterrupt])
def test_an_interrupt_raises_in_the_call_and_leaves_the_handlers_as_they_were(
    when: Moment, error: type[BaseException]
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGINT)]
    account, host = spawn(Account, "ada")
    with host, disturbed(interrupt(error), frame=2, when=when):
        assert account.deposit(5) == 5
        with pytest.raises(error):
            account.deposit(5)
        assert account.balance == (5 if when in (BEFORE, MIDDLE) else 10)
    assert before == [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGINT)]


def test_an_interrupt_comes_to_the_main_thread_only() -> None:
    errors: list[Exception] = []

    def enter() -> None:
        try:
            with disturbed(interrupt()):
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert "main thread" in str(errors.pop())
    assert (Channel.send, Channel.receive) == (SEND, RECEIVE)


@pytest.mark.parametrize("action", [kill(), stop(1.5), interrupt(), interrupt(KeyError)])
def test_actions_travel_and_say_what_they_are(action: Callable[[], None]) -> None:
    assert pickle.loads(pickle.dumps(action)) == action
    travelled = pickle.loads(pickle.dumps(disturbing(action, frame=3, when=MIDDLE)))
    assert repr(travelled) == f"disturbing({action!r}, frame=3, when=MIDDLE)"


# The example -------------------------------------------------------------------------------------


def test_the_example_of_the_docstring_runs(tmp_path: Path) -> None:
    assert testing.__doc__
    indented = [
        line for line in testing.__doc__.splitlines() if line.startswith("    ") or not line
    ]
    example = textwrap.dedent("\n".join(indented)).strip()
    file = tmp_path / "test_example.py"
    file.write_text(example + "\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "21 passed" in done.stdout


def test_nobody_pays_for_it_who_does_not_ask() -> None:
    program = "import pipeproxy, sys; print([name for name in sys.modules if 'test' in name])"
    assert run_program(program).stdout == "[]\n"


def test_what_is_public_is_said() -> None:
    for name in testing.__all__:
        assert getattr(testing, name).__doc__
