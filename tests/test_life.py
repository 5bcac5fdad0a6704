"""Life: who a process is, and how everybody learns that it is gone, whoever inherited what."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

import pytest

from pipeproxy._system import _descriptors, _life
from pipeproxy._system._descriptors import Descriptor, adopt
from pipeproxy._system._life import at_fork, descriptor, is_dead, obituary, token, watch

from .support import PATIENCE, fork, in_fork, interrupt, is_readable, open_descriptors

pytestmark = pytest.mark.usefixtures("descriptors_kept")

with_and_without_pidfds = pytest.mark.parametrize(
    "pidfds",
    [
        pytest.param(
            True, marks=pytest.mark.skipif(not _life.PIDFDS, reason="this system has no pidfds")
        ),
        False,
    ],
    ids=["pidfds", "pipes"],
)


def receive(connection: Connection) -> Any:
    assert connection.poll(PATIENCE), "the child says nothing"
    return connection.recv()


# Tokens -------------------------------------------------------------------------------------------


def test_a_token_stays_the_same_in_one_process() -> None:
    tokens = [token(), token()]
    thread = threading.Thread(target=lambda: tokens.append(token()))
    thread.start()
    thread.join()
    descriptor()
    assert tokens == [token()] * 3
    assert len(token()) == 16


def tell_tokens(connection: Connection) -> None:
    reader, writer = os.pipe()
    child = fork(lambda: os.write(writer, token()))
    os.waitpid(child, 0)
    connection.send([token(), os.read(reader, 100), token()])


def test_every_process_has_a_token_of_its_own(context: Any) -> None:
    ours, theirs = context.Pipe()
    seen = [token()]
    with ours, theirs:
        for _ in range(2):
            child = context.Process(target=tell_tokens, args=(theirs,))
            child.start()
            first, grandchild, second = receive(ours)
            assert first == second
            seen += [first, grandchild]
            child.join()
            child.close()
    assert len(set(seen)) == 5
    assert token() == seen[0]


# Life descriptors ---------------------------------------------------------------------------------


def fork_in_python() -> int:
    return fork(wait_to_be_killed)


def fork_in_c() -> int:
    """As an extension would: none of Python's hooks runs, in neither process."""
    pid: int = ctypes.PyDLL(None).fork()
    if not pid:
        wait_to_be_killed()
    return pid


def start_program() -> int:
    """Start a program that inherits all that is not close-on-exec."""
    return os.posix_spawnp("sleep", ["sleep", "60"], os.environ)


def wait_to_be_killed() -> None:
    signal.alarm(60)  # at the latest
    while True:
        signal.pause()


def live(connection: Connection, pidfds: bool, descendants: list[Callable[[], int]]) -> None:
    """Make a life descriptor, then descendants, and hand it out."""
    _life.PIDFDS = pidfds
    life = descriptor()
    connection.send((token(), [make() for make in descendants]))
    send_handle(connection, life.fileno(), os.getppid())
    wait_to_be_killed()


class Subject:
    """A process that hands out its life descriptor, and waits to be killed."""

    def __init__(self, context: Any, pidfds: bool, descendants: list[Callable[[], int]]) -> None:
        ours, theirs = context.Pipe()
        self.process = context.Process(target=live, args=(theirs, pidfds, descendants))
        self.process.start()
        theirs.close()
        with ours:
            self.token, self.descendants = receive(ours)
            into: list[Descriptor] = []
            adopt(into, map(recv_handle, (ours,)), ("rb",))
        self.life = into[0]

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, *exception: object) -> None:
        for pid in self.descendants:
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.process.close()


@with_and_without_pidfds
def test_a_process_is_dead_once_it_is_killed_before_anybody_waits_for_it(
    context: Any, pidfds: bool
) -> None:
    with Subject(context, pidfds, []) as subject:
        assert not is_dead(subject.life)
        subject.kill()
        assert is_readable(subject.life.fileno())
        assert is_dead(subject.life)
        if context.get_start_method() != "forkserver":  # there it is no child of this process
            os.waitid(os.P_PID, subject.process.pid, os.WEXITED | os.WNOWAIT)
            assert is_dead(subject.life)  # as a zombie
        subject.process.join()
        assert is_dead(subject.life)


@with_and_without_pidfds
def test_a_process_is_dead_though_its_descendants_inherited_everything(
    context: Any, pidfds: bool
) -> None:
    descendants = [fork_in_python, start_program, fork_in_python]
    if pidfds:
        descendants.append(fork_in_c)  # which keeps every end of every pipe
    with Subject(context, pidfds, descendants) as subject:
        assert not is_dead(subject.life)
        subject.kill()
        assert is_readable(subject.life.fileno())
        subject.process.join()
        assert is_dead(subject.life)
        for pid in subject.descendants:
            os.kill(pid, 0)  # raises if it is not there


def exit_at_once() -> None:
    os._exit(0)


def be_terminated() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


@with_and_without_pidfds
@pytest.mark.parametrize("end", [exit_at_once, be_terminated])
def test_every_way_to_end_is_seen(pidfds: bool, end: Callable[[], None]) -> None:
    ours, theirs = multiprocessing.Pipe()

    def be_born_and_end() -> None:
        _life.PIDFDS = pidfds
        send_handle(theirs, descriptor().fileno(), os.getppid())
        receive(theirs)
        end()

    child = fork(be_born_and_end)
    into: list[Descriptor] = []
    with ours, theirs:
        assert ours.poll(PATIENCE)
        adopt(into, map(recv_handle, (ours,)), ("rb",))
        assert not is_dead(into[0])
        ours.send("end")
        assert is_readable(into[0].fileno())
    os.waitpid(child, 0)


@with_and_without_pidfds
def test_a_forked_child_has_a_life_of_its_own(pidfds: bool) -> None:
    """The descriptor of the parent, which the child inherited, is not the child's."""

    def be_the_parent() -> None:
        _life.PIDFDS = pidfds
        own = descriptor()
        assert descriptor() is own
        with Subject(multiprocessing.get_context("fork"), pidfds, []) as subject:
            subject.kill()
            assert is_readable(subject.life.fileno())
            assert not is_dead(own)

    in_fork(be_the_parent)


@with_and_without_pidfds
def test_a_life_descriptor_is_not_inherited_by_programs(pidfds: bool) -> None:
    def look() -> None:
        _life.PIDFDS = pidfds
        descriptor()
        made = _life._self.life
        assert len(made) == (1 if pidfds else 2)
        assert not any(os.get_inheritable(one.fileno()) for one in made)

    in_fork(look)


@with_and_without_pidfds
def test_no_descriptor_is_lost_however_the_making_of_one_is_interrupted(pidfds: bool) -> None:
    def make_again() -> None:
        _life._self = _life._Self()
        descriptor()

    def interrupted() -> None:
        _life.PIDFDS = pidfds
        make_again()
        gc.collect()  # what an earlier test left is not counted
        before = len(open_descriptors())
        assert interrupt(make_again, rounds=1000, longest=60e-6) > 50
        make_again()
        assert len(open_descriptors()) <= before

    in_fork(interrupted)


# Watching -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not _life.PIDFDS, reason="this system has no pidfds")
def test_a_process_can_be_watched_by_its_pid() -> None:
    child = fork(wait_to_be_killed)
    life = watch(child)
    assert life is not None
    assert not is_dead(life)
    assert not os.get_inheritable(life.fileno())
    os.kill(child, signal.SIGKILL)
    assert is_readable(life.fileno())
    zombie = watch(child)
    assert is_dead(zombie)
    os.waitpid(child, 0)
    assert is_dead(life)
    assert is_dead(zombie)
    with pytest.raises(ProcessLookupError):
        watch(child)


def test_without_pidfds_nobody_can_be_watched_and_nobody_is_known_to_be_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_life, "PIDFDS", False)
    assert watch(os.getpid()) is None
    assert not is_dead(None)


def test_pidfds_are_used_only_where_the_system_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    assert not _life._has_pidfds()
    monkeypatch.delattr(os, "pidfd_open")
    assert not _life._has_pidfds()


def test_this_linux_has_pidfds() -> None:
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        pytest.skip("no Linux")
    program = "import os; os.pidfd_open(os.getpid())"
    works = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert (works.returncode == 0) == _life.PIDFDS


# Obituaries ---------------------------------------------------------------------------------------


def test_an_obituary_names_the_process_and_says_what_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert obituary(b"listener", 1234) == "process 1234, which held the object, is gone"
    monkeypatch.setitem(_life.obituaries, b"listener", lambda: "it was old")
    assert obituary(b"listener", 1234) == "it was old"
    # A forked child did not start the process, so it cannot wait for it.
    in_fork(
        lambda: _expect(
            obituary(b"listener", 1234) == "process 1234, which held the object, is gone"
        )
    )
    assert obituary(b"listener", 1234) == "it was old"


def _expect(fact: bool) -> None:
    assert fact


# Forks --------------------------------------------------------------------------------------------


class Heir:
    def __init__(self) -> None:
        self.tokens: list[bytes] = []
        at_fork(self)

    def forked(self) -> None:
        with _descriptors.lock:  # which this thread holds, so nothing can wait for it
            self.tokens.append(token())


def test_heirs_are_called_in_every_forked_child_and_not_in_the_parent() -> None:
    heir = Heir()
    parent = token()

    def be_a_child() -> None:
        assert heir.tokens == [token()] != [parent]
        later = Heir()
        in_fork(lambda: be_a_grandchild(later))
        assert len(heir.tokens) == 1

    def be_a_grandchild(later: Heir) -> None:
        assert [len(heir.tokens), len(later.tokens)] == [2, 1]
        assert later.tokens == heir.tokens[1:] == [token()]

    in_fork(be_a_child)
    in_fork(be_a_child)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=be_a_child)
    child.start()
    child.join()
    assert child.exitcode == 0
    child.close()
    assert heir.tokens == []


def test_an_heir_that_is_gone_is_not_called() -> None:
    reader, writer = os.pipe()

    class Loud(Heir):
        def forked(self) -> None:
            os.write(writer, b"called")

    heir = Loud()
    in_fork(lambda: None)
    assert os.read(reader, 100) == b"called"
    del heir
    in_fork(lambda: None)
    os.close(writer)
    assert os.read(reader, 100) == b""
    os.close(reader)


def test_an_heir_that_fails_leaves_the_lock_free() -> None:
    class Failing(Heir):
        def forked(self) -> None:
            raise ValueError

    heir = Failing()

    def be_a_child() -> None:
        free: list[bool] = []
        thread = threading.Thread(
            target=lambda: free.append(_descriptors.lock.acquire(blocking=False))
        )
        thread.start()
        thread.join()
        assert free == [True]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda unraisable: None)  # for the child
        in_fork(be_a_child)
    del heir
