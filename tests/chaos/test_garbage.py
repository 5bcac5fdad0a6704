"""Wrong bytes on every descriptor: whoever sends them is cut or answered, and nobody else notices.

A bystander calls all the time in a process of its own; new clients must be let in at any moment.
"""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from random import Random
from typing import Any

import pytest

from pipeproxy import CallLost, CallTimeout, ListenerClosed, ProtocolError, share, timeout
from pipeproxy._proxies._proxy import link_of
from pipeproxy.transports.pipe import make_poller
from tests.support import PATIENCE, open_descriptors

from .rows import Row, Tally
from .sides import Bystander, Echo, Sharing, by_manager, by_pipeproxy
from .wild import (
    CUT,
    SILENCE,
    WILD,
    Wild,
    WildClient,
    WildManagerClient,
    WildOwner,
    WildOwners,
    Wilds,
    WildServer,
    spoil,
    wild_knock,
)

pytestmark = pytest.mark.usefixtures("descriptors_kept")

#: What arguments are made of: no byte of it is more than "push None" to a pickle that is misread.
_FILLING = b"N"
#: Bytes by which the owner may grow, however much was announced to it.
_MOST_GROWTH = 64 << 20


def newcomer(wilds: Wilds, proxy: Any, seed: int) -> int:
    """Return 0 if one more client is let in and gets its own answer, else 1."""
    token = Random(seed).randbytes(12)
    try:
        with closing(wilds(proxy)) as wild:
            return int(not wild.write_all(wild.frame("echo", token)) or wild.read() != token)
    except (AssertionError, OSError, EOFError):
        return 1


def tally(tried: int, lost: int, bystander: Bystander, note: str = "") -> Tally:
    """Count the bystander in."""
    return Tally(tried, lost + bystander.wrong, note or bystander.said)


# From clients ------------------------------------------------------------------------------------


def spoiled_calls(sharing: Sharing, wilds: Wilds, seed: int, rounds: int = 2000) -> Tally:
    """Clients send noise, and calls that were cut short or have bits flipped."""
    random, lost = Random(seed), 0
    with sharing(Echo) as proxy, Bystander(proxy) as bystander:
        for number in range(rounds):
            with closing(wilds(proxy)) as wild:
                sizes = (0, 10, 300, 70_000)
                frames = [wild.frame("echo", _FILLING * size) for size in sizes] + wild.asides()
                wild.write_all(spoil(random, random.choice(frames)))
                if number % 2:
                    wild.read(0.001)
            if number % 20 == 0:
                lost += newcomer(wilds, proxy, number)
        lost += newcomer(wilds, proxy, rounds)
    return tally(rounds, lost, bystander)


def half_calls(sharing: Sharing, wilds: Wilds, seed: int, clients: int = 100) -> Tally:
    """Clients send part of a call and are silent; some of them go on later, the others vanish."""
    random, lost = Random(seed), 0
    with sharing(Echo) as proxy, ExitStack() as stack, Bystander(proxy) as bystander:
        slow: list[tuple[Wild, bytes, bytes]] = []
        for _ in range(clients):
            wild = stack.enter_context(closing(wilds(proxy)))
            token = random.randbytes(random.choice((1, 1000, 200_000)))
            frame = wild.frame("echo", token)
            cut = random.randrange(1, len(frame))
            lost += not wild.write_all(frame[:cut])
            slow.append((wild, frame[cut:], token))
        bystander.go_on(200)
        random.shuffle(slow)
        for number, (wild, rest, token) in enumerate(slow):
            if wild.read(0) != SILENCE:
                lost += 1
            elif number % 3 == 0:
                wild.close()
            else:
                lost += not wild.write_all(rest) or wild.read() != token
        lost += newcomer(wilds, proxy, seed)
    return tally(clients, lost, bystander)


def owner_of(proxy: Any) -> int:
    """Return the pid of the process that holds the object."""
    manager = getattr(type(proxy), "_manager", None) or getattr(proxy, "_manager", None)
    pid: int = manager._process.pid if manager else link_of(proxy).route.pid
    return pid


def memory(pid: int) -> int:
    """Return the bytes of memory that a process takes."""
    command = ["ps", "-o", "rss=", "-p", str(pid)]
    return 1024 * int(subprocess.run(command, capture_output=True, check=True).stdout)


def announced(sharing: Sharing, wilds: Wilds, seed: int, clients: int = 60) -> Tally:
    """Clients announce the largest frames that the header can hold, and send a little of them."""
    lost = 0
    with sharing(Echo) as proxy, ExitStack() as stack, Bystander(proxy) as bystander:
        before = memory(owner_of(proxy))
        for number in range(clients):
            wild = stack.enter_context(closing(wilds(proxy)))
            heads = wild.largest()
            wild.write_all(heads[number % len(heads)] + _FILLING * 5000)
        bystander.go_on(200)
        lost += newcomer(wilds, proxy, seed)
        grown = memory(owner_of(proxy)) - before
    note = f"the owner grew by {grown >> 20} MiB" if grown > _MOST_GROWTH else ""
    return tally(clients, lost + bool(note), bystander, note)


# At the door -------------------------------------------------------------------------------------


@contextmanager
def strange_things() -> Iterator[list[int]]:
    """Descriptors of all kinds, most of which no client would send."""
    with ExitStack() as stack:
        one, other = socket.socketpair()
        reader, writer = os.pipe()
        poller = make_poller()
        numbers = [os.open("/dev/null", os.O_RDWR), os.open("/", os.O_RDONLY), reader, writer]
        for number in numbers:
            stack.callback(os.close, number)
        file = stack.enter_context(tempfile.TemporaryFile())
        for thing in (one, other, poller):
            stack.enter_context(closing(thing))
        one.send(b"readable")
        yield [*numbers, file.fileno(), one.fileno(), other.fileno(), poller.fileno()]


def noise_at_the_doors(seed: int, rounds: int = 3000) -> Tally:
    """Datagrams at the address and in the lobby that are no knocks, with any descriptors."""
    random, lost = Random(seed), 0
    proxy, listener = share(Echo())
    route = link_of(proxy).route
    with listener, listener.background(), Bystander(proxy) as bystander:
        lost += newcomer(WildClient, proxy, seed)
        gc.collect()  # what an earlier test left is not counted
        before = len(open_descriptors())
        with strange_things() as things:
            for number in range(rounds):
                if number % 2:
                    wild_knock(random, listener._door.lobby, route, things)
                else:
                    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                        end.setblocking(False)
                        end.connect(route.address)
                        wild_knock(random, end, route, things)
                if number % 50 == 0:
                    wilds = WildClient if number % 100 else through(listener._door.lobby)
                    lost += newcomer(wilds, proxy, number)
        lost += newcomer(WildClient, proxy, rounds)
        bystander.go_on()
        left = len(open_descriptors()) - before
    note = f"{left} descriptors left open" if left > 0 else ""
    return tally(rounds, lost + bool(note), bystander, note)


def through(lobby: socket.socket) -> Wilds:
    """Return what knocks in the lobby."""
    return lambda proxy: WildClient(proxy, lobby)


def strangers_at_a_manager(seed: int, rounds: int = 3000) -> Tally:
    """Connections to a manager's socket that say anything but what they should, or nothing."""
    random, lost = Random(seed), 0
    with by_manager(Echo) as proxy, Bystander(proxy) as bystander, ExitStack() as stack:
        for number in range(rounds):
            end = socket.socket(socket.AF_UNIX)
            end.connect(proxy._token.address)
            if number % 50:
                end.send(random.randbytes(random.randrange(1, 500)))
                end.close()
            else:
                stack.callback(end.close)  # one that is silent
                lost += newcomer(WildManagerClient, proxy, number)
        bystander.go_on()
    return tally(rounds, lost, bystander)


# From an owner -----------------------------------------------------------------------------------


def ask(proxy: Any, token: bytes) -> Any:
    """Return what a call returns or raises, in at most a few seconds."""
    try:
        with timeout(PATIENCE):
            return proxy.echo(token)
    except BaseException as error:
        return error


def spoiled_replies(made: WildOwners, seed: int, owners: int = 20, rounds: int = 50) -> Tally:
    """Owners answer with noise, and with replies cut short or with flipped bits in the header.

    Their clients must get an error, or their own reply where that came through all the same, and
    with the next call their own reply.
    """
    with ThreadPoolExecutor(owners) as threads:
        seeds = range(seed, seed + owners)
        found = threads.map(partial(answer_wildly, made, rounds), seeds)
        wrong = [said for said_by_one in found for said in said_by_one]
    return Tally(owners * rounds, len(wrong), wrong[0] if wrong else "")


def answer_wildly(made: WildOwners, rounds: int, seed: int) -> list[str]:
    """Be an owner and its only client; return which calls ended as none should."""
    random, wrong = Random(seed), list[str]()
    owner = made(partial(spoil, random))
    for _ in range(rounds):
        size = random.choice((1, 300, 40_000))
        wild, honest = WILD + random.randbytes(size), b"honest" + random.randbytes(8)
        found = ask(owner.proxy, wild)
        if found != wild and (not isinstance(found, made.errors) or isinstance(found, CallTimeout)):
            wrong.append(f"a wild answer: {found!r}")
            if isinstance(found, CallTimeout):
                break  # one that hung is enough to wait for
            continue
        found = ask(owner.proxy, honest)
        if isinstance(found, ListenerClosed):  # flipped bits had made a farewell of a reply
            owner.close()
            owner = made(partial(spoil, random))
            found = ask(owner.proxy, honest)
        elif isinstance(found, CallLost | ConnectionError):  # a right answer, then a hang-up
            found = ask(owner.proxy, honest)
        if found != honest:
            wrong.append(f"an honest answer: {found!r}")
    owner.close()
    return wrong


ROWS = [
    Row(
        "noise, cut and bit-flipped calls from clients",
        partial(spoiled_calls, by_pipeproxy, WildClient),
        partial(spoiled_calls, by_manager, WildManagerClient),
    ),
    Row(
        "half a call and then silence",
        partial(half_calls, by_pipeproxy, WildClient),
        partial(half_calls, by_manager, WildManagerClient),
    ),
    Row(
        "frames that announce 2 to 4 GB",
        partial(announced, by_pipeproxy, WildClient),
        partial(announced, by_manager, WildManagerClient),
    ),
    Row("noise at the door, with any descriptors", noise_at_the_doors, strangers_at_a_manager),
    Row(
        "noise, cut and bit-flipped replies from an owner",
        partial(spoiled_replies, WildOwner),
        partial(spoiled_replies, WildServer),
    ),
]


# Tests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_spoiled_calls_touch_nobody_else(seed: int) -> None:
    assert spoiled_calls(by_pipeproxy, WildClient, seed, 400) == Tally(400, 0)


def test_half_a_call_waits_for_its_rest_and_stops_nobody() -> None:
    assert half_calls(by_pipeproxy, WildClient, 1, 40) == Tally(40, 0)


def test_what_is_announced_takes_no_memory() -> None:
    assert announced(by_pipeproxy, WildClient, 1, 30) == Tally(30, 0)


def test_noise_at_the_doors_keeps_nobody_out_and_leaves_nothing_open() -> None:
    assert noise_at_the_doors(1, 1000) == Tally(1000, 0)


def test_spoiled_replies_are_told_and_the_next_call_is_answered() -> None:
    assert spoiled_replies(WildOwner, 1, owners=8, rounds=10) == Tally(80, 0)


def test_a_frame_larger_than_any_may_be_cuts_its_channel_and_one_that_may_be_does_not() -> None:
    with by_pipeproxy(Echo) as proxy:
        for number in range(3):
            with closing(WildClient(proxy)) as wild:
                wild.write_all(wild.largest()[number])
                if number < 2:
                    assert wild.read() == CUT
                else:
                    assert wild.read(0.1) == SILENCE


@pytest.mark.parametrize(("ident", "told"), [(0, CallLost), (2**64 - 1, ProtocolError)])
def test_a_reply_to_another_call_is_never_taken(ident: int, told: type[Exception]) -> None:
    def to_another(frame: bytes, _: int) -> bytes:
        return frame[:4] + ident.to_bytes(8, "little") + frame[12:]

    with closing(WildOwner(to_another)) as owner:
        assert type(ask(owner.proxy, WILD)) is told
