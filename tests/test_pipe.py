"""The pipe transport: descriptors that never block or leak, and a wait that spins where it pays."""

from __future__ import annotations

import gc
import os
import resource
import select
import stat
import subprocess
import sys
from collections.abc import Iterator
from time import monotonic

import pytest

from pipeproxy._system._deadline import LONGEST
from pipeproxy.transports import pipe
from pipeproxy.transports.pipe import (
    READ_SIZE,
    SPIN,
    Pipe,
    Waiter,
    cores,
    make_poller,
    open_pair,
    read_size,
    wait_for,
)

from .support import (
    PATIENCE,
    in_fork,
    interrupt,
    open_descriptors,
    opened_since,
    take_all_descriptors,
)

pytestmark = pytest.mark.usefixtures("descriptors_kept")


@pytest.fixture
def pair() -> Iterator[tuple[Pipe, Pipe]]:
    own, theirs = open_pair()
    yield own, theirs
    own.close()
    theirs.close()


def numbers_of(*pipes: Pipe) -> list[int]:
    return [number for end in pipes for number in (end.reader, end.writer)]


# Pipes --------------------------------------------------------------------------------------------


def test_what_one_end_writes_the_other_reads(pair: tuple[Pipe, Pipe]) -> None:
    for writer, reader in (pair, pair[::-1]):
        assert writer.write(b"hello") == 5
        assert writer.write(b"!") == 1
        assert reader.read(100) == b"hello!"


def test_a_pair_is_two_one_way_pipes(pair: tuple[Pipe, Pipe]) -> None:
    status = [os.fstat(number) for number in numbers_of(*pair)]
    assert all(stat.S_ISFIFO(one.st_mode) for one in status)
    own_reader, own_writer, their_reader, their_writer = (one.st_ino for one in status)
    assert own_reader == their_writer != own_writer == their_reader


def test_nobody_waits_in_a_read_or_a_write(pair: tuple[Pipe, Pipe]) -> None:
    own, theirs = pair
    assert not any(map(os.get_blocking, numbers_of(own, theirs)))
    assert own.read(1) is None
    while own.write(bytes(READ_SIZE)):
        pass
    assert own.write(b"x") is None
    assert theirs.read(1) == b"\0"


def test_a_closed_end_is_the_end_of_file_and_a_broken_pipe(pair: tuple[Pipe, Pipe]) -> None:
    own, theirs = pair
    theirs.write(b"last")
    theirs.close()
    assert own.read(100) == b"last"
    assert own.read(100) == b""
    with pytest.raises(BrokenPipeError):
        own.write(b"x")


def test_an_end_is_closed_once_whoever_got_its_numbers_since(pair: tuple[Pipe, Pipe]) -> None:
    own, _ = pair
    numbers = numbers_of(own)
    assert not own.closed
    own.close()
    assert own.closed
    spare = os.open(os.devnull, os.O_RDONLY)
    reused = {os.dup2(spare, number) for number in numbers} | {spare}
    own.close()
    del own
    for number in reused:
        os.close(number)  # raises if it was closed a second time


def test_no_program_that_is_started_inherits_an_end(pair: tuple[Pipe, Pipe]) -> None:
    numbers = numbers_of(*pair)
    program = "import os; print(sorted(map(int, os.listdir('/dev/fd'))))"
    started = subprocess.run(
        [sys.executable, "-c", program], close_fds=False, capture_output=True, check=True, text=True
    )
    inherited = set(map(int, started.stdout.strip("[]\n").split(", ")))
    assert {0, 1, 2} <= inherited
    assert inherited.isdisjoint(numbers)


@pytest.mark.parametrize("free", [0, 1, 2, 3, 4])
def test_a_process_that_is_out_of_descriptors_loses_none(free: int) -> None:
    def open_with_so_many_left() -> None:
        limit = max(open_descriptors()) + 10
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        taken = take_all_descriptors()
        for number in taken[:free]:
            os.close(number)
        if free < 4:
            with pytest.raises(OSError, match="Too many open files"):
                open_pair()
        else:
            for end in open_pair():
                end.close()
        assert len(take_all_descriptors()) == free

    in_fork(open_with_so_many_left)


def test_no_descriptor_is_lost_however_opening_is_interrupted() -> None:
    def open_and_forget() -> None:
        gc.collect()  # what an earlier test left is not counted
        before = open_descriptors()
        raised = interrupt(lambda: [open_pair() for _ in range(3)], rounds=1000)
        assert raised > 50
        assert not opened_since(before)

    in_fork(open_and_forget)


@pytest.mark.parametrize(
    ("missing", "size"),
    [(0, 1 << 16), (1, 1 << 16), (1 << 16, 1 << 16), (70_000, 70_000), (1 << 30, 1 << 20)],
)
def test_a_read_takes_whole_small_frames_and_large_ones_in_megabytes(
    missing: int, size: int
) -> None:
    assert read_size(missing) == size


# Waiting ------------------------------------------------------------------------------------------


class Peer:
    """A poller and the clock: each look takes `took` seconds, and finds what is `ready`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.took = SPIN / 10
        self.ready_after = 0
        self.looks = 0
        self.slept: list[float | None] = []

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        if timeout != 0:
            self.slept.append(timeout)
            return [(0, 0)]
        self.looks += 1
        self.now += self.took
        return [(3, 1)] if self.looks > self.ready_after else []

    def monotonic(self) -> float:
        return self.now

    def look(self, waiter: Waiter, *, took: float = SPIN / 10, after: int = 0) -> str:
        """Wait once; return how it went, by spinning, sleeping or both."""
        self.took, self.ready_after = took, after
        self.looks, self.slept = 0, []
        found = waiter.wait(None)
        assert found == ([(0, 0)] if self.slept else [(3, 1)])
        return "spun" * bool(self.looks) + "slept" * len(self.slept)


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Peer:
    peer = Peer()
    monkeypatch.setattr(pipe, "monotonic", peer.monotonic)
    return peer


@pytest.fixture
def waiter(peer: Peer) -> Waiter:
    return Waiter(peer, 1000, SPIN)


SLOW = SPIN * 2


def test_what_comes_soon_is_seen_without_sleeping(peer: Peer, waiter: Waiter) -> None:
    for after in (0, 1, 5, 8):
        assert peer.look(waiter, after=after) == "spun"
        assert peer.looks == after + 1


def test_what_does_not_come_soon_is_slept_for(peer: Peer, waiter: Waiter) -> None:
    assert peer.look(waiter, after=1000) == "spunslept"
    assert peer.slept == [None]
    assert 10 <= peer.looks <= 12  # SPIN, measured, not counted


def sleeps_until_it_looks_again(peer: Peer, waiter: Waiter, **how: float) -> int:
    """Wait until the waiter spins; return how often it slept at once before that."""
    for slept in range(5000):
        if peer.look(waiter, **how) != "slept":
            return slept
    raise AssertionError("it never spins again")


def test_each_spin_that_took_too_long_is_followed_by_four_times_more_sleeps(
    peer: Peer, waiter: Waiter
) -> None:
    skipped = [sleeps_until_it_looks_again(peer, waiter, after=1000) for _ in range(9)]
    assert skipped == [0, 4, 16, 64, 256, 1024, 4096, 4096, 4096]


def test_an_answer_that_came_late_counts_as_none(peer: Peer, waiter: Waiter) -> None:
    assert peer.look(waiter, took=SLOW) == "spun"  # answered, but the core was away meanwhile
    assert sleeps_until_it_looks_again(peer, waiter, took=SLOW) == 4
    assert sleeps_until_it_looks_again(peer, waiter, took=SLOW) == 16


def test_an_answer_that_came_quickly_halves_the_penalty(peer: Peer, waiter: Waiter) -> None:
    for _ in range(3):
        sleeps_until_it_looks_again(peer, waiter, after=1000)
    assert sleeps_until_it_looks_again(peer, waiter) == 64
    assert peer.look(waiter) == "spun"  # 64 / 4
    assert peer.look(waiter, after=1000) == "spunslept"  # 16 * 4
    assert sleeps_until_it_looks_again(peer, waiter) == 64
    for _ in range(20):
        assert peer.look(waiter) == "spun"
    assert peer.look(waiter, after=1000) == "spunslept"  # never below the first penalty
    assert sleeps_until_it_looks_again(peer, waiter) == 4


def test_with_a_spin_of_zero_it_always_sleeps(peer: Peer) -> None:
    waiter = Waiter(peer, 1000, 0)
    assert [peer.look(waiter) for _ in range(10)] == ["slept"] * 10


def test_after_a_rest_it_spins_as_before(peer: Peer, waiter: Waiter) -> None:
    waiter.rest()
    waiter.rest()
    assert [peer.look(waiter) for _ in range(2)] == ["slept", "spun"]
    assert peer.look(waiter, after=1000) == "spunslept"
    waiter.rest()
    assert sleeps_until_it_looks_again(peer, waiter) == 4


def test_a_wait_of_no_time_looks_once(peer: Peer, waiter: Waiter) -> None:
    assert waiter.wait(0) == waiter.sleep(0) == [(3, 1)]
    assert (peer.looks, peer.slept) == (2, [])


@pytest.mark.parametrize("ticks", [1, 1000])
def test_a_sleep_is_told_in_the_units_of_the_poller(peer: Peer, ticks: int) -> None:
    waiter = Waiter(peer, ticks, 0)
    waiter.wait(2.5)
    waiter.sleep(0.25)
    waiter.sleep(None)
    assert peer.slept == [2.5 * ticks, 0.25 * ticks, None]


@pytest.mark.parametrize("shared", [True, False])
def test_a_core_is_yielded_before_each_look_only_where_it_is_shared(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    yielded: list[int] = []
    monkeypatch.setattr(pipe, "cores", lambda: 1 if shared else 2)
    monkeypatch.setattr(os, "sched_yield", lambda: yielded.append(peer.looks))
    assert peer.look(Waiter(peer, 1000, SPIN), after=2) == "spun"
    assert yielded == ([0, 1, 2] if shared else [])


@pytest.mark.parametrize("spin", [0, SPIN])
@pytest.mark.parametrize(("make", "ticks"), [(select.poll, 1000), (make_poller, 1)])
def test_a_waiter_waits_for_real_pipes(
    pair: tuple[Pipe, Pipe], make: type, ticks: int, spin: float
) -> None:
    own, theirs = pair
    poller = make()
    poller.register(own.reader, select.POLLIN)
    waiter = Waiter(poller, ticks, spin)
    assert waiter.wait(0.01) == waiter.wait(0) == []
    theirs.write(b"x")
    for timeout in (None, 0, PATIENCE):
        assert [number for number, _ in waiter.wait(timeout)] == [own.reader]
    own.read(1)
    assert waiter.wait(0.01) == []
    theirs.close()
    assert [number for number, _ in waiter.wait(None)] == [own.reader]
    if make is make_poller:
        poller.close()


@pytest.mark.parametrize(("make", "ticks"), [(select.poll, 1000), (make_poller, 1)])
def test_the_longest_timeout_that_is_accepted_can_be_waited_for(
    pair: tuple[Pipe, Pipe], make: type, ticks: int
) -> None:
    own, theirs = pair
    theirs.write(b"x")
    poller = make()
    poller.register(own.reader, select.POLLIN)
    assert len(Waiter(poller, ticks, 0).wait(LONGEST)) == 1
    assert wait_for((own.reader, False), timeout=LONGEST) == {own.reader}
    if make is make_poller:
        poller.close()


def test_what_an_owner_waits_with_is_itself_readable_and_forgets(pair: tuple[Pipe, Pipe]) -> None:
    own, theirs = pair
    poller = make_poller()
    poller.register(own.reader, select.POLLIN)
    poller.register(own.writer, select.POLLOUT)
    assert [number for number, _ in poller.poll(PATIENCE)] == [own.writer]
    poller.unregister(own.writer)
    assert wait_for((poller.fileno(), False), timeout=0) == set()
    theirs.write(b"x")
    assert wait_for((poller.fileno(), False), timeout=PATIENCE) == {poller.fileno()}
    assert [number for number, _ in poller.poll(0)] == [own.reader]
    poller.unregister(own.reader)
    assert poller.poll(0) == []
    poller.close()
    poller.close()


def test_wait_for_tells_which_are_ready(pair: tuple[Pipe, Pipe]) -> None:
    own, theirs = pair
    assert wait_for((own.reader, False), timeout=0) == set()
    assert wait_for((own.reader, False), timeout=0.01) == set()
    wants = ((own.reader, False), (theirs.reader, False), (own.writer, True))
    assert wait_for(*wants) == {own.writer}
    own.write(b"x")
    assert wait_for(*wants, timeout=PATIENCE) == {theirs.reader, own.writer}
    while own.write(bytes(READ_SIZE)):
        pass
    assert wait_for(*wants) == {theirs.reader}
    theirs.close()
    assert wait_for((own.reader, False), (own.writer, True)) == {own.reader, own.writer}


def test_nothing_is_given_up_before_its_time(pair: tuple[Pipe, Pipe]) -> None:
    own, _ = pair
    poller = select.poll()
    poller.register(own.reader, select.POLLIN)
    waits = [
        lambda: wait_for(timeout=0.05),
        lambda: wait_for((own.reader, False), timeout=0.05),
        lambda: Waiter(poller, 1000, SPIN).wait(0.05),
    ]
    for wait in waits:
        began = monotonic()
        assert not wait()
        assert monotonic() - began > 0.049


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cannot be set there")
def test_cores_are_told_by_where_this_process_may_run() -> None:
    def pin() -> None:
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[:1])
        assert cores() == 1
        assert Waiter(select.poll(), 1000, SPIN).wait(0.01) == []  # spins and yields for real
        os.sched_setaffinity(0, allowed)
        assert cores() == len(allowed)

    in_fork(pin)
