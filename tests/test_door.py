"""The door: who proves to have been given a reference gets in, and nobody else leaves a trace."""

from __future__ import annotations

import array
import contextlib
import gc
import os
import resource
import select
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeproxy import share
from pipeproxy._channels import _door
from pipeproxy._channels._door import Door, Route, check_hello, hello, knock, knocker
from pipeproxy._system import _life
from pipeproxy.errors import ProtocolError
from pipeproxy.transports.pipe import Pipe, open_pair, wait_for

from .support import in_fork, interrupt, open_descriptors, opened_since, take_all_descriptors

pytestmark = pytest.mark.usefixtures("descriptors_kept")

LISTENER, SECRET = b"l" * 16, b"s" * 16
TOKEN, NONCE = b"t" * 16, b"n" * 16
WHO = TOKEN, 2**63
NOBODY = 65534


class Entrance:
    """A door and one of the ways to it: the lobby, an abstract address or one in a directory."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.door = Door(LISTENER, SECRET)
        self.route = Route(LISTENER, TOKEN, os.getpid(), self.door.address, SECRET, 0.0)

    @contextlib.contextmanager
    def end(self) -> Iterator[socket.socket]:
        if self.way == "lobby":
            yield self.door.lobby
        else:
            with knocker(self.route.address) as end:
                yield end

    def knock(self, descriptors: list[int], **other: bytes) -> bool:
        """Knock as a client does, or with another secret or for another listener."""
        with self.end() as end:
            return knock(end, self.route._replace(**other), WHO, NONCE, descriptors)

    def send(self, data: bytes, descriptors: list[int]) -> None:
        """Send what is no knock, or looks like one."""
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        with self.end() as end:
            end.sendmsg([data], [rights] if descriptors else [])

    def words(self, count: int = 2) -> bytes:
        """The bytes of a good knock with so many descriptors."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, theirs:
            assert knock(ours, self.route, WHO, NONCE, [0] * count)
            return theirs.recv(1000)


@contextlib.contextmanager
def pipes() -> Iterator[tuple[Pipe, Pipe]]:
    """The client's end of new pipes, and the owner's."""
    own, theirs = open_pair()
    try:
        yield own, theirs
    finally:
        own.close()
        theirs.close()


def to_give(theirs: Pipe) -> list[int]:
    return [theirs.writer, theirs.reader]


@pytest.fixture(
    params=[
        "lobby",
        "file",
        pytest.param(
            "abstract",
            marks=pytest.mark.skipif(not _door.ABSTRACT, reason="no abstract addresses there"),
        ),
    ]
)
def entrance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entrance]:
    # pytest's own directories have names that may be too long for a socket.
    directory = tempfile.mkdtemp()
    monkeypatch.setattr(tempfile, "tempdir", directory)
    if request.param == "file":
        monkeypatch.setattr(_door, "ABSTRACT", False)
    entrance = Entrance(request.param)
    yield entrance
    entrance.door.close()
    assert os.listdir(directory) == []
    shutil.rmtree(directory)


# Who is let in ------------------------------------------------------------------------------------


def test_a_knock_brings_pipes_to_the_owner_and_a_life(entrance: Entrance) -> None:
    with pipes() as (own, theirs):
        life = _life.descriptor()
        for number in to_give(theirs):
            os.set_blocking(number, True)
        assert entrance.knock([*to_give(theirs), life.fileno()])
        theirs.close()
        [found] = entrance.door.read()
        assert (found.token, found.thread, found.nonce) == (*WHO, NONCE)
        own.write(b"question")
        assert found.reader.read(100) == b"question"
        found.writer.write(b"answer")
        assert own.read(100) == b"answer"
        assert found.life is not None
        assert not _life.is_dead(found.life)
        assert found.life.fileno() != life.fileno()
        received = [found.reader, found.writer, found.life]
        assert not any(os.get_inheritable(one.fileno()) for one in received)
        assert not any(os.get_blocking(one.fileno()) for one in received[:2])


def test_who_was_introduced_before_sends_no_life(entrance: Entrance) -> None:
    with pipes() as (_, theirs):
        entrance.knock(to_give(theirs))
        [found] = entrance.door.read()
        assert found.life is None


def test_a_door_is_readable_while_somebody_knocks(entrance: Entrance) -> None:
    wants = [(number, False) for number in entrance.door.descriptors]
    assert wait_for(*wants, timeout=0) == set()
    with pipes() as (_, theirs):
        entrance.knock(to_give(theirs))
        number = entrance.door.descriptors[entrance.way != "lobby"]
        assert wait_for(*wants, timeout=0) == {number}
        assert len(entrance.door.read()) == 1
        assert wait_for(*wants, timeout=0) == set()
        assert entrance.door.read() == []


def test_knocks_are_read_in_their_order(entrance: Entrance) -> None:
    nonces = [bytes([number]) * 16 for number in range(8)]
    with pipes() as (_, theirs), entrance.end() as end:
        for nonce in nonces:
            assert knock(end, entrance.route, WHO, nonce, to_give(theirs))
        assert [found.nonce for found in entrance.door.read()] == nonces


def test_waking_makes_the_door_readable_and_lets_nobody_in(entrance: Entrance) -> None:
    for _ in range(10_000):  # however often: it never waits
        entrance.door.wake()
    inside = entrance.door.descriptors[0]
    assert wait_for((inside, False), timeout=0) == {inside}
    assert entrance.door.read() == []
    assert wait_for((inside, False), timeout=0) == set()


def test_no_knock_and_no_hello_shows_the_secret(entrance: Entrance) -> None:
    for said in (entrance.words(), hello(SECRET, NONCE)):
        assert SECRET not in said
    assert TOKEN in entrance.words()  # it is looked for where it could be


# Who is not ---------------------------------------------------------------------------------------


def assert_refused(entrance: Entrance, send: Callable[[list[int]], object]) -> None:
    """Send something with new pipes and see that nobody is let in, and all ends are closed."""
    with pipes() as (own, theirs):
        gc.collect()  # what an earlier test left is not counted
        before = open_descriptors()
        send(to_give(theirs))
        assert entrance.door.read() == []
        assert open_descriptors() == before
        theirs.close()
        assert own.read(1) == b""


def assert_works(entrance: Entrance) -> None:
    with pipes() as (_, theirs):
        entrance.knock(to_give(theirs))
        assert len(entrance.door.read()) == 1


@pytest.mark.parametrize("wrong", ["secret", "listener"])
def test_who_has_another_reference_is_not_let_in(entrance: Entrance, wrong: str) -> None:
    assert_refused(entrance, lambda ends: entrance.knock(ends, **{wrong: b"x" * 16}))
    assert_works(entrance)


def test_who_speaks_another_version_is_not_let_in(
    entrance: Entrance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as other:
        other.setattr(_door, "VERSION", _door.VERSION + 1)
        newer = entrance.words()
    assert len(newer) == len(entrance.words())
    assert newer != entrance.words()
    assert_refused(entrance, lambda ends: entrance.send(newer, ends))
    assert_works(entrance)


def test_a_knock_with_any_byte_changed_or_missing_is_none(entrance: Entrance) -> None:
    words = entrance.words()
    changed = [
        bytes([*words[:place], words[place] ^ bit, *words[place + 1 :]])
        for place in range(len(words))
        for bit in (1, 128)
    ]
    cut = [words[:size] for size in range(len(words))]
    for wrong in [*changed, *cut, words[1:], words + b"\0", words * 2, bytes(len(words)), b"GET /"]:
        assert_refused(entrance, lambda ends, wrong=wrong: entrance.send(wrong, ends))  # type: ignore[misc]
    assert_works(entrance)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 12, 13, 100, 253])
def test_too_few_and_too_many_descriptors_are_closed_and_gone(
    entrance: Entrance, count: int
) -> None:
    def send(ends: list[int]) -> None:
        entrance.send(entrance.words(count), (ends * count)[:count])

    assert_refused(entrance, send)
    assert_works(entrance)


@pytest.mark.parametrize(("said", "sent"), [(2, 3), (3, 2)])
def test_more_or_fewer_descriptors_than_announced_are_closed_and_gone(
    entrance: Entrance, said: int, sent: int
) -> None:
    def send(ends: list[int]) -> None:
        entrance.send(entrance.words(said), (ends * 2)[:sent])

    assert_refused(entrance, send)
    assert_works(entrance)


def open_file(flags: int) -> int:
    with tempfile.NamedTemporaryFile() as file:
        return os.open(file.name, flags)


def open_directory(flags: int) -> int:
    return os.open("/", os.O_RDONLY)


def open_device(flags: int) -> int:
    return os.open(os.devnull, flags)


def open_socket(flags: int) -> int:
    return socket.socket(socket.AF_UNIX).detach()


def open_poller(flags: int) -> int:
    if sys.platform != "linux":
        pytest.skip("kqueues cannot be sent")
    with select.epoll() as poller:
        return os.dup(poller.fileno())


@pytest.mark.parametrize("known", [True, False], ids=["known", "stranger"])
@pytest.mark.parametrize("make", [open_file, open_directory, open_device, open_socket, open_poller])
def test_what_is_no_pipe_is_closed_and_gone(
    entrance: Entrance, make: Callable[[int], int], known: bool
) -> None:
    secret = SECRET if known else b"x" * 16
    for place, flags in enumerate([os.O_WRONLY, os.O_RDONLY]):
        other = make(flags)

        def send(ends: list[int], place: int = place, other: int = other) -> None:
            entrance.knock([*ends[:place], other, *ends[place + 1 :]], secret=secret)

        assert_refused(entrance, send)
        os.close(other)
    assert_works(entrance)


def test_pipes_the_wrong_way_round_are_closed_and_gone(entrance: Entrance) -> None:
    assert_refused(entrance, lambda ends: entrance.knock(ends[::-1]))
    assert_refused(entrance, lambda ends: entrance.knock([ends[0], ends[0]]))
    assert_refused(entrance, lambda ends: entrance.knock([ends[1], ends[1]]))
    assert_works(entrance)


def test_bad_knocks_do_not_keep_good_ones_out(entrance: Entrance) -> None:
    with pipes() as (_, theirs):
        entrance.send(b"garbage", to_give(theirs))
        entrance.knock(to_give(theirs))
        entrance.knock(to_give(theirs), secret=b"x" * 16)
        entrance.send(b"", [])
        entrance.knock(to_give(theirs))
        assert [found.token for found in entrance.door.read()] == [TOKEN, TOKEN]


def test_a_life_that_cannot_be_watched_ends_nobodys_loop() -> None:
    proxy, listener = share([1, 2])
    with listener, pipes() as (_, theirs), tempfile.TemporaryFile() as file:
        ends = [*to_give(theirs), file.fileno()]
        assert knock(listener._door.lobby, listener._route, WHO, NONCE, ends)
        for _ in range(3):
            assert listener.poll() == 0
        assert len(proxy) == 2
        assert listener.stats().clients == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user_gets_in_by_inheritance_only(entrance: Entrance) -> None:
    def knock_as_nobody() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        with pipes() as (_, theirs):
            if entrance.way == "file":
                with pytest.raises(PermissionError):
                    entrance.knock(to_give(theirs))
            else:
                assert entrance.knock(to_give(theirs))

    in_fork(knock_as_nobody)
    assert len(entrance.door.read()) == (1 if entrance.way == "lobby" else 0)
    assert_works(entrance)


# A full door, and an owner without descriptors ----------------------------------------------------


def test_a_full_door_takes_no_more_until_it_is_read(entrance: Entrance) -> None:
    with pipes() as (_, theirs), entrance.end() as end:
        for _ in range(2):
            count = 0
            while knock(end, entrance.route, WHO, NONCE, to_give(theirs)):
                count += 1
                assert count < 100_000, "it is never full"
            assert count >= 5
            assert wait_for((end.fileno(), True), timeout=0) == set()
            assert len(entrance.door.read()) == count
            assert wait_for((end.fileno(), True), timeout=0) == {end.fileno()}


@pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="root is free of the limit, others not"
)
@pytest.mark.parametrize("entrance", ["lobby"], indirect=True)  # others are full before that
def test_too_many_descriptors_on_their_way_mean_to_try_again(entrance: Entrance) -> None:
    def knock_too_often() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
        os.setuid(NOBODY)
        with pipes() as (_, theirs):
            knocks = 0
            while entrance.knock(to_give(theirs)):
                knocks += 1
            assert knocks <= 60 / 2 + 1
            assert wait_for((entrance.door.lobby.fileno(), True), timeout=0)  # it was not full

    in_fork(knock_too_often)
    assert len(entrance.door.read()) > 10
    assert_works(entrance)


@pytest.mark.parametrize("free", [0, 1, 2, 3])
def test_an_owner_out_of_descriptors_lets_in_only_whom_it_can_serve(
    entrance: Entrance, free: int
) -> None:
    def read_with_so_many_left() -> None:
        life = _life.descriptor()
        limit = max(open_descriptors()) + 20
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        with pipes() as (own, theirs):
            assert entrance.knock([*to_give(theirs), life.fileno()])
            theirs.close()
            taken = take_all_descriptors()
            for number in taken[:free]:
                os.close(number)
            found = entrance.door.read()
            assert len(found) == (free == 3)
            assert len(take_all_descriptors()) == (0 if found else free)
            assert own.read(1) == (None if found else b"")

    in_fork(read_with_so_many_left)


# Interrupts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [SECRET, b"x" * 16], ids=["known", "stranger"])
def test_no_descriptor_is_lost_however_reading_is_interrupted(
    entrance: Entrance, secret: bytes
) -> None:
    def interrupted() -> None:
        assert_works(entrance)  # which imports what it needs
        with pipes() as (_, theirs), entrance.end() as end:
            route = entrance.route._replace(secret=secret)

            def knock_some() -> None:
                for _ in range(3):
                    knock(end, route, WHO, NONCE, to_give(theirs))

            entrance.door.read()
            gc.collect()  # what an earlier test left is not counted
            before = open_descriptors()
            assert interrupt(entrance.door.read, rounds=1000, prepare=knock_some) > 50
            entrance.door.read()
            assert not opened_since(before)

    in_fork(interrupted)


# Closing ------------------------------------------------------------------------------------------


def test_a_closed_door_lets_nobody_knock(entrance: Entrance) -> None:
    lobby = entrance.door.lobby
    with (
        _door._Socket(fileno=os.dup(lobby.fileno())) as inherited,
        open(
            os.dup(entrance.door.descriptors[0]), "rb", 0
        ),  # by a child forked behind Python's back
        pipes() as (_, theirs),
        entrance.end() as end,
    ):
        entrance.door.close()
        entrance.door.close()
        with pytest.raises(ConnectionError):
            knock(
                inherited if end is lobby else end,
                entrance.route,
                WHO,
                NONCE,
                to_give(theirs),
            )
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            knocker(entrance.route.address)
        entrance.door.wake()  # nobody waits, so it does nothing


def test_who_knocked_at_a_door_that_closed_sees_the_end_of_its_pipe(entrance: Entrance) -> None:
    with pipes() as (own, theirs):
        entrance.knock(to_give(theirs))
        theirs.close()
        entrance.door.close()
        assert own.read(1) == b""


def test_a_forked_child_closes_its_copies_and_can_still_knock(entrance: Entrance) -> None:
    def be_a_child() -> None:
        entrance.door.close_copies()
        with pipes() as (_, theirs):
            assert entrance.knock(to_give(theirs))

    in_fork(be_a_child)
    assert len(entrance.door.read()) == 1
    assert_works(entrance)


def test_nothing_of_a_door_is_inherited_by_programs(entrance: Entrance) -> None:
    with entrance.end() as end:
        numbers = [*entrance.door.descriptors, entrance.door.lobby.fileno(), end.fileno()]
        assert not any(map(os.get_inheritable, numbers))
        assert not any(map(os.get_blocking, numbers))


def test_no_two_doors_have_the_same_address(entrance: Entrance) -> None:
    other = Door(LISTENER, SECRET)
    assert other.address != entrance.door.address
    other.close()


# Addresses that are files -------------------------------------------------------------------------


@pytest.mark.parametrize("entrance", ["file"], indirect=True)
def test_an_address_that_is_a_file_is_in_a_directory_that_only_its_user_enters(
    entrance: Entrance,
) -> None:
    door = Path(os.fsdecode(entrance.door.address))
    status = door.parent.stat()
    assert stat.S_IMODE(status.st_mode) == 0o700
    assert status.st_uid == os.getuid()
    assert stat.S_ISSOCK(door.stat().st_mode)
    assert list(door.parent.iterdir()) == [door]
    in_fork(entrance.door.close_copies)
    assert door.exists()
    entrance.door.close()
    assert not door.parent.exists()


@pytest.fixture
def long_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where temporary files go, with a path that is too long for a socket."""
    monkeypatch.setattr(_door, "ABSTRACT", False)
    with tempfile.TemporaryDirectory(suffix="x" * 120) as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield directory


def test_an_address_is_made_where_paths_of_temporary_files_are_too_long(
    long_directory: str,
) -> None:
    entrance = Entrance("file")
    directory = os.path.dirname(os.fsdecode(entrance.door.address))
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert_works(entrance)
    entrance.door.close()
    assert not os.path.exists(directory)
    assert os.listdir(long_directory) == []


def test_an_address_that_cannot_be_made_leaves_no_directory(
    long_directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_door, "_LONGEST_DIRECTORY", 1000)
    with pytest.raises(OSError, match="too long"):
        Door(LISTENER, SECRET)
    assert os.listdir(long_directory) == []


@pytest.mark.skipif(not _door.ABSTRACT, reason="no abstract addresses there")
def test_an_abstract_address_is_no_file() -> None:
    door = Door(LISTENER, SECRET)
    assert door.address.startswith(b"\0pipeproxy-")
    assert len(set(door.address)) > 10  # random, and long
    assert len(door.address) >= 1 + len("pipeproxy-") + 32
    door.close()


# Hellos -------------------------------------------------------------------------------------------


def test_only_the_owner_can_say_hello(entrance: Entrance) -> None:
    good = hello(SECRET, NONCE)
    check_hello(entrance.route, NONCE, good)
    check_hello(entrance.route, NONCE, memoryview(good))
    impostors = [
        hello(b"x" * 16, NONCE),  # has not the secret
        hello(SECRET, b"x" * 16),  # says what it once heard
        _door.prove(SECRET, NONCE),  # proves something else
        entrance.words()[-16:],  # says what the client said
        good[:-1],
        good + b"\0",
        b"",
    ]
    for impostor in impostors:
        with pytest.raises(ProtocolError, match="is not the owner"):
            check_hello(entrance.route, NONCE, impostor)
