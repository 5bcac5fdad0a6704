"""Whether an owner is there still, and what it is that has ended: process, listener or channel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipeproxy import CallLost, Listener, ListenerClosed, OwnerDied, share
from pipeproxy._channels._channel import Channel
from pipeproxy._channels._door import Route
from pipeproxy._channels._wire import FROM_CLIENT, FROM_OWNER, HELLO, header
from pipeproxy._client._way import Way
from pipeproxy._proxies._proxy import link_of
from pipeproxy._system._life import PIDFDS
from pipeproxy.transports.pipe import open_pair

from .children import Child

needs_life = pytest.mark.skipif(not PIDFDS, reason="this system tells of no process's end by pid")


class Account:
    balance = 0


_kept: list[Listener[Any]] = []


def own() -> tuple[Any, ...]:
    """Share an object, and return by which route its listener is found."""
    proxy, listener = share(Account())
    _kept.append(listener)
    return tuple(link_of(proxy).route)


def close() -> None:
    _kept[0].close()


@pytest.fixture
def owner() -> Iterator[Child]:
    with Child("fork") as child:
        yield child


@pytest.fixture(
    params=[pytest.param(True, marks=needs_life, id="life"), pytest.param(False, id="no life")]
)
def way(owner: Child, request: pytest.FixtureRequest) -> Way:
    """The way to an object of the owner's, also as where a system tells of no process's end."""
    way = Way(Route(*owner.do(own).result()))
    if request.param:
        way.watch()
    return way


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """The ends of a channel: this one, and the owner's."""
    mine, theirs = open_pair()
    channels = Channel(mine, FROM_OWNER), Channel(theirs, FROM_CLIENT)
    yield channels
    for channel in channels:
        channel.close()


def test_the_way_to_who_is_there_is_open_and_an_end_is_one_of_a_channel(way: Way) -> None:
    assert way.is_open()
    assert not way.is_dead()
    way.door().close()
    lost = way.hung_up()
    assert type(lost) is CallLost
    assert "the call may have run" in str(lost)


def test_a_closed_listener_is_told_from_a_dead_owner(owner: Child, way: Way) -> None:
    owner.do(close).result()
    assert not way.is_open()
    assert not way.is_dead()
    with pytest.raises((ConnectionError, FileNotFoundError)):
        way.door()
    assert [type(end) for end in (way.hung_up(), way.gone(), way.closed())] == [ListenerClosed] * 3


def test_the_death_of_the_owner_is_told_whatever_ended_first(owner: Child, way: Way) -> None:
    owner.kill()
    assert not way.is_open()
    assert way.is_dead()
    assert [type(end) for end in (way.hung_up(), way.gone(), way.died())] == [OwnerDied] * 3
    assert f"process {way.route.pid}" in str(way.died())


@needs_life
def test_who_says_farewell_as_it_dies_is_dead(owner: Child) -> None:
    way = Way(Route(*owner.do(own).result()))
    way.watch()
    owner.kill()
    assert type(way.closed()) is OwnerDied


@needs_life
def test_who_was_dead_before_it_was_watched_is_dead(owner: Child) -> None:
    way = Way(Route(*owner.do(own).result()))
    owner.kill()
    with pytest.raises(OwnerDied):
        way.watch()


def test_an_answer_can_come_until_the_owner_hears_no_more(way: Way, ends: Any) -> None:
    line, theirs = ends
    way.check(line)
    theirs.pipe._ends[0].close()
    with pytest.raises(CallLost):
        way.check(line)


@needs_life
def test_what_was_said_before_the_end_is_read_first(owner: Child, ends: Any) -> None:
    line, theirs = ends
    way = Way(Route(*owner.do(own).result()))
    way.watch()
    theirs.send(header(HELLO, 0))
    owner.kill()
    way.check(line)
    assert [kind for kind, *_ in line.receive()] == [HELLO]
    with pytest.raises(OwnerDied):  # though somebody holds the owner's end of it
        way.check(line)
