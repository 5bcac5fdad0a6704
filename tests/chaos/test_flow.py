"""Who is slow, stopped or broken holds up nobody else: nothing waits to write, all who wait read."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from random import Random
from typing import Any

import pytest

from pipeproxy import Listener, share, spawn, spawning
from pipeproxy._callers import MOST_UNSENT
from pipeproxy.transports.pipe import READ_SIZE
from tests.children import Child, poll_until
from tests.support import PATIENCE

from .rows import Row, Tally
from .sides import HUNG, Bystander, Echo, Sharing, by_manager, by_pipeproxy, ends
from .users import MOMENTS, WRONG, Breaker, break_it, call_and_stop, echo_large, echo_many
from .wild import WildClient, WildManagerClient, Wilds

pytestmark = pytest.mark.usefixtures("descriptors_kept")


def nothing() -> None:
    """Look at nothing."""


# Clients that do not read -------------------------------------------------------------------------


def unread_replies(
    sharing: Sharing,
    wilds: Wilds,
    seed: int,
    clients: int = 5,
    calls: int = 200,
    look: Callable[[], object] = nothing,
) -> Tally:
    """Clients make calls with large replies and read none of them; later they read all."""
    random, lost = Random(seed), 0
    with sharing(Echo) as proxy, ExitStack() as stack:
        slow = [stack.enter_context(closing(wilds(proxy))) for _ in range(clients)]
        sizes = [[random.randrange(200_000, 400_000) for _ in range(calls)] for _ in slow]
        with Bystander(proxy) as bystander:
            for wild, asked in zip(slow, sizes, strict=True):
                calling = b"".join(wild.frame("blob", size) for size in asked)
                lost += wild.write(calling) != len(calling)
            bystander.go_on(500)
            look()
            for wild, asked in zip(slow, sizes, strict=True):
                for size in asked:
                    answer = wild.read()
                    lost += type(answer) is not bytes or len(answer) != size
    return Tally(clients * calls, lost + bystander.wrong, bystander.said)


# Clients that are stopped -------------------------------------------------------------------------


def is_stopped(child: Child) -> bool:
    """Whether a child is stopped by a signal now (or has ended, and will never be)."""
    options = os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, child.process.pid, options) is not None


def stopped_clients(
    sharing: Sharing,
    seed: int,
    seconds: float = 3.0,
    size: int = 8 << 20,
    each: int = 2,
) -> Tally:
    """Clients are stopped before, in the middle of and after a large call, and continue."""
    moments = [moment for moment in MOMENTS for _ in range(each)]
    with sharing(Echo) as proxy:
        stopped = [
            Child("fork", call_and_stop, proxy, moment, seed + number, size)
            for number, moment in enumerate(moments)
        ]
        with Bystander(proxy) as bystander:
            for child in stopped:
                poll_until(partial(is_stopped, child))
            bystander.go_on(500)
            threading.Event().wait(seconds)
            bystander.go_on(500)
            silent = not any(child._control.poll() for child in stopped)
            for child in stopped:
                os.kill(child.process.pid or 0, signal.SIGCONT)
            found = ends(stopped)
    wrong = [said for said in found if said is not True]
    lost = len(wrong) + (not silent) + bystander.wrong
    return Tally(len(moments), lost, str(wrong[0]) if wrong else bystander.said)


# Large both ways ----------------------------------------------------------------------------------


def large_both_ways(
    sharing: Sharing, seed: int, clients: int = 4, size: int = 50_000_000, times: int = 3
) -> Tally:
    """Clients send and get back 50 MB at the same time."""
    with sharing(Echo) as proxy, Bystander(proxy) as bystander:
        children = [
            Child("fork", echo_large, proxy, size, times, seed + number)
            for number in range(clients)
        ]
        found = ends(children, 2 * PATIENCE)
    lost = sum(said is not True for said in found)
    return Tally(clients * times, lost + bystander.wrong, bystander.said)


# Methods that break their own process -------------------------------------------------------------


@contextmanager
def by_spawn(make: Callable[[], Any]) -> Iterator[Any]:
    """Let a process of its own hold what `make` returns, as that of a manager does."""
    with spawning(multiprocessing.get_context("fork")):
        proxy, host = spawn(make)
    try:
        yield proxy
    finally:
        host.process.kill()  # it may be broken
        host.close()


def closed_descriptors(sharing: Sharing, seed: int, rounds: int = 60) -> Tally:
    """A method closes descriptors of its process at random: an error in somebody, never a hang."""
    hung, wrong = 0, 0
    for number in range(rounds):
        with sharing(Breaker) as proxy:
            children = [Child("fork", echo_many, proxy, 300, number + 1000 * k) for k in range(3)]
            children.append(Child("fork", break_it, proxy, seed + number, 1 + number % 6))
            found = ends(children, 5)
            hung += found.count(HUNG)
            wrong += found.count(WRONG)
    note = f"{hung} clients hung, {wrong} got another's answer" if hung or wrong else ""
    return Tally(4 * rounds, hung + wrong, note)


def forks_in_calls(sharing: Sharing, seed: int, rounds: int = 30) -> Tally:
    """Methods fork; the child ends, or returns from the method, or calls the object itself."""
    lost = 0
    with sharing(Breaker) as proxy, Bystander(proxy, seed) as bystander:
        pickled = pickle.dumps(proxy)
        for _ in range(rounds):
            forked = [proxy.fork_and_exit(), proxy.fork_and_return(), proxy.fork_and_call(pickled)]
            lost += sum(pid <= 0 for pid in forked)
        try:
            poll_until(lambda: proxy.unfinished() == 0)
        except TimeoutError:
            lost += proxy.unfinished()
    return Tally(3 * rounds, lost + bystander.wrong, bystander.said)


ROWS = [
    Row(
        "clients that make 200 calls and read no reply, then all",
        partial(unread_replies, by_pipeproxy, WildClient),
        partial(unread_replies, by_manager, WildManagerClient),
    ),
    Row(
        "clients stopped for a minute: before, in and after a large call",
        partial(stopped_clients, by_pipeproxy),
        partial(stopped_clients, by_manager),
        150.0,
    ),
    Row(
        "50 MB both ways at once, 4 clients",
        partial(large_both_ways, by_pipeproxy),
        partial(large_both_ways, by_manager),
        90.0,
    ),
    Row(
        "methods that close random descriptors of the owner",
        partial(closed_descriptors, by_spawn),
        partial(closed_descriptors, by_manager),
        400.0,
    ),
    Row(
        "methods that fork",
        partial(forks_in_calls, by_spawn),
        partial(forks_in_calls, by_manager),
        90.0,
    ),
]
