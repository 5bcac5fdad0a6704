"""Calls of objects that clients hold: on which channel they go, and what ends them."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from pipeproxy._chains._activities import Activity, Served, here
from pipeproxy._channels._wire import CALL, IDENTITY, UP, UPCALL, unpack_context, unpack_header
from pipeproxy._client._calls import guests
from pipeproxy._objects._clients import Client
from pipeproxy._objects._objects import Objects
from pipeproxy._owner._caller import Caller
from pipeproxy._owner._upcalls import Asked, Upcalls
from pipeproxy._owner._voice import next_wanted
from pipeproxy.errors import CallLost, CallTimeout, ClientDied, OwnerDied
from pipeproxy.transports.pipe import Pipe, open_pair

TOKEN, LISTENER = b"t" * IDENTITY, b"l" * IDENTITY
TARGET = LISTENER, 7, 3
IDENT = 5 | UP


class Owner:
    """Upcalls, and a voice that notes what is said; `answer` is called while one waits."""

    def __init__(self) -> None:
        self.said: list[tuple[Caller, bytes]] = []
        self.sought: list[Client] = []
        self.answer: Any = lambda: None
        self.upcalls = Upcalls((LISTENER,), Objects(), self)
        self.upcalls.wait = lambda event, seconds, since: self.answer()
        self.upcalls.wake = lambda: None

    def say(self, caller: Caller, data: bytes) -> None:
        self.said.append((caller, data))

    def seek(self, client: Client) -> None:
        self.sought.append(client)


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def client(owner: Owner) -> Iterator[Client]:
    client = Client(TOKEN)
    owner.upcalls.welcome(client)
    yield client
    guests.pop(TOKEN, None)


@pytest.fixture
def caller(owner: Owner, client: Client) -> Iterator[Caller]:
    theirs, ours = open_pair()
    yield open_one(owner, client, ours)
    theirs.close()
    ours.close()


def open_one(owner: Owner, client: Client, pipe: Pipe) -> Caller:
    caller = Caller(pipe, client, Activity(TOKEN, 1), owner.upcalls)
    client.channels.add(caller)
    return caller


def reply(caller: Caller, answer: bytes) -> None:
    asked = caller.asked[IDENT]
    asked.reply = (17, answer)
    asked.bell.ring()


def parts(data: bytes) -> Any:
    size, ident, number, member, kind = unpack_header(data)
    body = data[24:]
    assert size == len(body)
    context, rest = unpack_context(body[IDENTITY:])
    return (kind, ident, number, member), body[:IDENTITY], context, rest


def test_an_upcall_goes_down_the_channel_that_waits_and_its_chain_goes_on_there(
    owner: Owner, caller: Caller
) -> None:
    owner.answer = lambda: reply(caller, b"done")
    assert owner.upcalls.way_to(caller).ask(IDENT, TARGET, b"payload", None) == (17, b"done")
    [(where, data)] = owner.said
    assert where is caller
    assert parts(data) == ((UPCALL, IDENT, 7, 3), LISTENER, (inf, 0, ()), b"payload")
    assert caller.asked == {}


def test_one_that_is_not_answered_in_time_is_forgotten(owner: Owner, caller: Caller) -> None:
    with pytest.raises(CallTimeout):
        owner.upcalls.way_to(caller).ask(IDENT, TARGET, b"", 0.0)
    assert caller.asked == {}


@pytest.mark.parametrize(("dead", "error"), [(True, ClientDied), (False, CallLost)])
def test_the_end_of_the_channel_ends_it(
    owner: Owner, caller: Caller, dead: bool, error: type[Exception]
) -> None:
    def end() -> None:
        caller.ended, caller.client.dead = True, dead

    owner.answer = end
    with pytest.raises(error):
        owner.upcalls.way_to(caller).ask(IDENT, TARGET, b"", None)


def test_what_was_kept_is_wanted_until_a_thread_waits(
    owner: Owner, client: Client, caller: Caller
) -> None:
    def call() -> None:
        caller.frames.append((CALL, 1, 1, 3, b""))
        asked = next_wanted(caller)
        assert asked is not None
        assert parts(asked.frames())[0] == (UPCALL, IDENT, 7, 3)
        reply(caller, b"done")

    owner.answer = call
    assert guests[TOKEN].ask(IDENT, TARGET, b"", None) == (17, b"done")
    assert owner.sought == [client]
    assert owner.said == []
    assert not client.wanted


def test_one_of_another_chain_says_where_that_came_through(
    owner: Owner, client: Client, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = (b"a" * IDENTITY, b"b" * IDENTITY)
    monkeypatch.setattr(here, "serves", Served(Activity(path[0], 9), path, None))
    contexts = []

    def call() -> None:
        asked = next_wanted(caller)
        assert asked is not None
        contexts.append(parts(asked.frames())[2])
        reply(caller, b"")

    owner.answer = call
    guests[TOKEN].ask(IDENT, TARGET, b"", None)
    assert contexts == [(inf, 9, path)]


def test_of_channels_that_want_one_at_once_the_first_has_it(owner: Owner) -> None:
    one, other = SimpleNamespace(asked={}), SimpleNamespace(asked={})
    asked = Asked(IDENT, lambda: b"frames", [])
    assert asked.caller is None
    assert asked.take(one)  # type: ignore[arg-type]
    assert not asked.take(other)  # type: ignore[arg-type]
    assert asked.frames() == b"frames"
    assert (one.asked, other.asked) == ({IDENT: asked}, {})
    asked.forget()
    assert one.asked == {}


def test_a_process_that_is_no_client_any_more_cannot_be_called(
    owner: Owner, client: Client
) -> None:
    guest = guests[TOKEN]
    owner.upcalls.bid_farewell(client)
    assert TOKEN not in guests
    with pytest.raises(OwnerDied, match="share the object on a Listener of its own"):
        guest.ask(IDENT, TARGET, b"", None)


def test_a_dead_process_is_told_of_as_dead(owner: Owner, client: Client) -> None:
    guest = guests[TOKEN]

    def die() -> None:
        client.dead = True
        owner.upcalls.bid_farewell(client)

    owner.answer = die
    with pytest.raises(ClientDied):
        guest.ask(IDENT, TARGET, b"", None)
