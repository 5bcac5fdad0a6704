"""How published memory is asked for and given: to who knows the secret, and by who knows it."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from pipeproxy._channels import _door
from pipeproxy._channels._door import Asking, Door, Route
from pipeproxy._channels._handover import ask, give, take
from pipeproxy._system import _memory
from pipeproxy.errors import ProtocolError

from .support import in_fork, interrupt, open_descriptors, opened_since

pytestmark = pytest.mark.usefixtures("descriptors_kept")

LISTENER, SECRET, NONCE = b"l" * 16, b"s" * 16, b"n" * 16
SIZE = 4096


@pytest.fixture
def door():
    door = Door(LISTENER, SECRET)
    yield door
    door.close()


def route_to(door: Door, **other: bytes) -> Route:
    return Route(LISTENER, b"t" * 16, os.getpid(), door.address, SECRET, 0.0)._replace(**other)


@pytest.fixture(params=["lobby", "address"])
def way(request: pytest.FixtureRequest, door: Door):
    if request.param == "lobby":
        yield door.lobby
    else:
        with _door.knocker(door.address) as end:
            yield end


def test_what_was_asked_for_is_given(door: Door, way: socket.socket) -> None:
    end = ask(way, route_to(door), NONCE)
    assert end is not None
    assert take(end, route_to(door), NONCE) is None, "it has not come"
    (asking,) = door.read()
    assert isinstance(asking, Asking)
    descriptor, memory = _memory.make(SIZE)
    memory[0] = 5
    give(asking, SECRET, descriptor)
    got = take(end, route_to(door), NONCE)
    assert got is not None
    assert not os.get_inheritable(got.fileno())
    assert _memory.look_into(got, SIZE)[0] == 5


def test_who_does_not_know_the_secret_is_not_heard(door: Door, way: socket.socket) -> None:
    strangers = [
        ask(way, route_to(door, secret=b"x" * 16), NONCE),
        ask(way, route_to(door, listener=b"x" * 16), NONCE),
    ]
    assert door.read() == []
    for end in strangers:
        assert end is not None
        with pytest.raises(EOFError):
            take(end, route_to(door), NONCE)


def test_who_asks_with_what_is_no_socket_is_not_heard(door: Door, way: socket.socket) -> None:
    reader, writer = os.pipe()
    _door.ask(way, route_to(door), NONCE, writer)
    os.close(writer)
    assert door.read() == []
    assert os.read(reader, 1) == b"", "closed"
    os.close(reader)


def test_what_comes_from_somebody_else_is_not_taken(door: Door, way: socket.socket) -> None:
    for secret, nonce in ((b"x" * 16, NONCE), (SECRET, b"x" * 16)):
        end = ask(way, route_to(door), NONCE)
        assert end is not None
        (asking,) = door.read()
        give(asking._replace(nonce=nonce), secret, _memory.make(SIZE)[0])
        with pytest.raises(ProtocolError, match="is not the owner"):
            take(end, route_to(door), NONCE)


def test_a_proof_without_memory_is_not_taken(door: Door, way: socket.socket) -> None:
    end = ask(way, route_to(door), NONCE)
    assert end is not None
    (asking,) = door.read()
    with socket.socket(fileno=os.dup(asking.end.fileno())) as there:
        there.send(_door.prove(SECRET, b"memory" + NONCE))
    with pytest.raises(ProtocolError):
        take(end, route_to(door), NONCE)


def test_who_asked_and_is_gone_is_an_error_of_the_system(door: Door, way: socket.socket) -> None:
    ask(way, route_to(door), NONCE)
    (asking,) = door.read()
    with pytest.raises(BrokenPipeError):
        give(asking, SECRET, _memory.make(SIZE)[0])


def test_a_full_door_is_told_and_nothing_is_lost(door: Door, way: socket.socket) -> None:
    before = open_descriptors()
    ends = []
    while (end := ask(way, route_to(door), NONCE)) is not None:
        ends.append(end)
        assert len(ends) < 10_000
    assert door.read()
    ends.clear()
    assert opened_since(before) == []


def test_nobody_at_the_door_is_an_error() -> None:
    door = Door(LISTENER, SECRET)
    with _door.knocker(door.address) as end:
        door.close()
        with pytest.raises(ConnectionError):
            ask(end, route_to(door), NONCE)


def test_an_interrupt_loses_no_descriptor() -> None:
    def interrupted() -> None:
        door = Door(LISTENER, SECRET)
        route = route_to(door)
        descriptor, _ = _memory.make(SIZE)

        def handed_over() -> None:
            end = ask(door.lobby, route, NONCE)
            for asking in door.read():
                with contextlib.suppress(BrokenPipeError):  # one that was interrupted before
                    give(asking, SECRET, descriptor)
            if end is not None:
                take(end, route, NONCE)

        handed_over()
        before = open_descriptors()
        assert interrupt(handed_over, rounds=1000, longest=150e-6) > 100
        door.read()
        assert opened_since(before) == []

    in_fork(interrupted)
