"""Descriptors: never lost, never closed twice, whatever interrupts; never inherited by accident."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path

import pytest

from pipeproxy._system import _descriptors
from pipeproxy._system._descriptors import Descriptor, adopt, blocking_off, pipes

from .support import PATIENCE, fork, in_fork, interrupt, open_descriptors, opened_since

pytestmark = pytest.mark.usefixtures("descriptors_kept")

ROOT = Path(__file__).parent.parent


@pytest.fixture
def ends() -> Iterator[list[Descriptor]]:
    """The reading and the writing end of one pipe."""
    ends: list[Descriptor] = []
    adopt(ends, pipes(1), ("rb", "wb"))
    yield ends
    for end in ends:
        end.close()


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError as error:
        if error.errno == errno.EBADF:
            return False
        raise
    return True


# Adopting -----------------------------------------------------------------------------------------


def test_descriptors_are_taken_over_in_order_and_as_what_they_are_for() -> None:
    (read_one, write_one), (read_two, write_two) = os.pipe(), os.pipe()
    into: list[Descriptor] = []
    adopt(into, (read_one, write_one), ("rb", "wb"))
    adopt(into, (read_two, write_two), ("rb", "wb"))
    assert [end.fileno() for end in into] == [read_one, write_one, read_two, write_two]
    assert [end.readable() for end in into] == [True, False, True, False]
    assert [end.writable() for end in into] == [False, True, False, True]


def test_pipes_are_made_only_as_they_are_asked_for() -> None:
    gc.collect()  # what an earlier test left is not counted
    before = open_descriptors()
    numbers = iter(pipes(2))
    assert open_descriptors() == before
    into: list[Descriptor] = []
    adopt(into, islice(numbers, 2), ("rb", "wb"))
    assert len(open_descriptors()) == len(before) + 2
    adopt(into, numbers, ("rb", "wb"))
    assert len(open_descriptors()) == len(before) + 4
    assert [into[1].write(b"one"), into[3].write(b"another")] == [3, 7]
    assert [into[0].read(9), into[2].read(9)] == [b"one", b"another"]


def test_pipes_are_not_inherited_by_programs(ends: list[Descriptor]) -> None:
    assert not any(os.get_inheritable(end.fileno()) for end in ends)


def test_what_was_made_before_a_failure_is_in_the_list() -> None:
    def fail(number: int) -> int:
        raise OSError(errno.EMFILE, "no more")

    into: list[Descriptor] = []
    made = chain(map(os.dup, (0, 0)), map(fail, (0,)))
    with pytest.raises(OSError, match="no more"):
        adopt(into, made, repeat("rb"))
    assert len({end.fileno() for end in into if is_open(end.fileno())}) == 2


def test_a_directory_is_refused_and_left_to_whoever_has_its_number(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    into: list[Descriptor] = []
    with pytest.raises(IsADirectoryError):
        adopt(into, (os.dup(0), directory), ("rb", "rb"))
    assert len(into) == 1
    os.close(directory)


def test_with_blocking_off_nobody_waits(ends: list[Descriptor]) -> None:
    reader, writer = ends
    assert os.get_blocking(reader.fileno())
    blocking_off(ends)
    assert reader.read(1) is None
    while writer.write(bytes(1 << 16)):
        pass
    assert writer.write(b"x") is None


# Closing ------------------------------------------------------------------------------------------


def test_a_descriptor_is_closed_once_whoever_got_its_number_since(ends: list[Descriptor]) -> None:
    reader = ends[0]
    number = reader.fileno()
    reader.close()
    assert reader.closed
    assert not is_open(number)
    spare = os.open(os.devnull, os.O_RDONLY)
    os.dup2(spare, number)
    reader.close()
    ends.clear()
    del reader
    gc.collect()
    assert is_open(number)
    for open_one in {spare, number}:
        os.close(open_one)


def test_a_forgotten_descriptor_is_closed_at_once(ends: list[Descriptor]) -> None:
    numbers = [end.fileno() for end in ends]
    assert all(map(is_open, numbers))
    ends.clear()
    assert not any(map(is_open, numbers))


def test_a_descriptor_in_a_circle_is_closed_by_the_collector(ends: list[Descriptor]) -> None:
    number = ends[0].fileno()
    circle: list[object] = [ends.pop(0)]
    circle.append(circle)
    del circle
    gc.collect()
    assert not is_open(number)


def test_forgetting_descriptors_warns_of_nothing() -> None:
    program = (
        "from pipeproxy._channels import _door\n"
        "from pipeproxy._system._descriptors import adopt, pipes\n"
        "from pipeproxy.transports.pipe import open_pair\n"
        "ends = []\n"
        "adopt(ends, pipes(2), ('rb', 'wb') * 2)\n"
        "ends.pop().close()\n"
        "ends.append(ends)  # a circle\n"
        "door = _door.Door(b'', b'')\n"
        "_door.knocker(door.address), open_pair()\n"
        "del ends, door\n"
        "left_to_the_end = open_pair(), _door.Door(b'', b'')\n"
    )
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Interrupts ---------------------------------------------------------------------------------------


def adopt_pipes() -> None:
    adopt([], pipes(10), ("rb", "wb") * 10)


def adopt_and_forget() -> None:
    into: list[Descriptor] = []
    adopt(into, pipes(4), ("rb", "wb") * 4)
    while into:
        into.pop()


def adopt_and_close() -> None:
    into: list[Descriptor] = []
    adopt(into, pipes(4), ("rb", "wb") * 4)
    for end in into:
        end.close()


def forget_in_a_circle() -> None:
    into: list[object] = []
    adopt(into, pipes(2), ("rb", "wb") * 2)  # type: ignore[arg-type]
    into.append(into)
    del into
    gc.collect(0)


@pytest.mark.parametrize(
    "action", [adopt_pipes, adopt_and_forget, adopt_and_close, forget_in_a_circle]
)
def test_no_descriptor_is_lost_and_no_exception_swallowed_by_an_interrupt(
    action: Callable[[], None],
) -> None:
    def interrupted() -> None:
        gc.collect()  # what an earlier test left is not counted
        before = open_descriptors()
        assert interrupt(action, rounds=1500) > 50
        assert not opened_since(before)

    in_fork(interrupted)


# Forks --------------------------------------------------------------------------------------------


def test_a_child_inherits_nothing_that_is_opened_while_another_thread_forks() -> None:
    """Each child of a thread counts what it inherited while this thread opens and closes."""
    strangers: list[int] = []
    expected = set(open_descriptors())
    done = threading.Event()

    def fork_often() -> None:
        try:
            for _ in range(60):
                child = fork(lambda: os._exit(len(set(open_descriptors()) - expected)))
                strangers.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        finally:
            done.set()

    thread = threading.Thread(target=fork_often)
    thread.start()
    while not done.is_set():
        with _descriptors.lock:
            ends: list[Descriptor] = []
            adopt(ends, pipes(4), ("rb", "wb") * 4)
            for end in ends:
                end.close()
        time.sleep(0)  # let the other thread have the lock
    thread.join(PATIENCE)
    assert strangers == [0] * 60


def is_free() -> bool:
    """Whether another thread can take the lock now."""
    taken: list[bool] = []

    def take() -> None:
        taken.append(_descriptors.lock.acquire(blocking=False))
        if taken[0]:
            _descriptors.lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return taken[0]


def test_after_a_fork_the_lock_is_as_it_was_before_in_both_processes() -> None:
    def expect(free: bool) -> None:
        assert is_free() == free
        with _descriptors.lock:
            pass

    in_fork(lambda: expect(True))
    expect(True)
    with _descriptors.lock:  # as where a signal handler or a finalizer forks
        in_fork(lambda: expect(False))
        expect(False)
    expect(True)
