"""The owner's channels, and all else that its loop waits for."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from pipeproxy._chains._activities import Activity
from pipeproxy._objects._clients import Client
from pipeproxy._owner._caller import MOST_UNSENT, Caller
from pipeproxy._owner._callers import Callers
from pipeproxy.transports.pipe import Pipe, open_pair


@pytest.fixture
def callers() -> Iterator[Callers]:
    callers = Callers()
    yield callers
    callers.close()


@pytest.fixture
def theirs() -> Iterator[list[Pipe]]:
    pipes: list[Pipe] = []
    yield pipes
    for pipe in pipes:
        pipe.close()


def open_one(callers: Callers, theirs: list[Pipe], client: Client | None = None) -> Caller:
    other, own = open_pair()
    theirs.append(other)
    caller = Caller(own, client or Client(b"token"), Activity(b"token", 1), None)
    callers.open(caller, b"hello")
    return caller


def ready(callers: Callers) -> set[int]:
    return {number for number, _ in callers.poller.poll(0)}


def test_a_channel_speaks_first_and_is_waited_for(callers: Callers, theirs: list[Pipe]) -> None:
    client = Client(b"token")
    caller = open_one(callers, theirs, client)
    assert theirs[0].read(10) == b"hello"
    assert client.channels == {caller}
    assert ready(callers) == set()
    theirs[0].write(b"x")
    assert ready(callers) == {caller.pipe.reader}


def test_a_client_that_does_not_read_is_not_read_from_until_it_does(
    callers: Callers, theirs: list[Pipe]
) -> None:
    caller = open_one(callers, theirs)
    theirs[0].write(b"x")
    caller.send(bytes(4 * MOST_UNSENT))
    callers.balance(caller)
    assert caller.paused
    assert ready(callers) == set()
    while caller.unsent:
        while theirs[0].read(1 << 20):
            pass
        caller.flush()
    callers.balance(caller)
    assert not caller.paused
    assert not caller.writing
    assert ready(callers) == {caller.pipe.reader}


def test_the_owner_waits_until_more_is_taken(callers: Callers, theirs: list[Pipe]) -> None:
    caller = open_one(callers, theirs)
    caller.send(bytes(1 << 21))
    callers.balance(caller)
    assert caller.pipe.writer not in ready(callers)
    while theirs[0].read(1 << 20):
        pass
    assert ready(callers) == {caller.pipe.writer}
    assert callers.writers == {caller.pipe.writer: caller}


@pytest.mark.parametrize("unsent", [0, 1 << 19, 4 * MOST_UNSENT])
def test_a_channel_is_dropped_whole_and_once(
    callers: Callers, theirs: list[Pipe], unsent: int
) -> None:
    client = Client(b"token")
    caller = open_one(callers, theirs, client)
    caller.send(bytes(unsent))
    callers.balance(caller)
    for _ in range(2):
        callers.drop(caller)
    assert (callers.readers, callers.writers, client.channels) == ({}, {}, set())
    assert caller.pipe.closed
    assert ready(callers) == set()


def test_a_drop_goes_on_where_an_interrupted_one_ended(
    callers: Callers, theirs: list[Pipe]
) -> None:
    caller = open_one(callers, theirs)
    callers.poller.unregister(caller.pipe.reader)  # so far it came
    callers.drop(caller)
    assert callers.readers == {}
    assert caller.pipe.closed


def test_other_descriptors_are_watched_until_they_are_not(callers: Callers) -> None:
    reader, writer = os.pipe()
    seen: list[int] = []
    callers.watch(reader, lambda: seen.append(1))
    os.write(writer, b"x")
    assert ready(callers) == {reader}
    callers.watched[reader]()
    assert seen == [1]
    for _ in range(2):
        callers.unwatch(reader)
    assert ready(callers) == set()
    os.close(reader)
    os.close(writer)


def test_what_cannot_be_watched_leaves_nothing(callers: Callers) -> None:
    with open(__file__) as file:
        if not hasattr(select, "epoll"):
            pytest.skip("only epoll refuses a file")
        with pytest.raises(PermissionError):
            callers.watch(file.fileno(), lambda: None)
        assert file.fileno() not in callers.watched
