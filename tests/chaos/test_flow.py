"""Who is slow, stopped or broken holds up nobody else: no owner waits to write."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from multiprocessing import get_context
from random import Random
from typing import Any

import pytest

from pipeproxy import CallLost, CallTimeout, ListenerClosed, share, spawn, spawning, submit, timeout
from pipeproxy._client._flight import MOST_CALLS
from pipeproxy._owner._caller import MOST_UNSENT
from pipeproxy.transports.pipe import READ_SIZE
from tests.children import Child, poll_until
from tests.support import PATIENCE, in_fork

from .rows import Row, Tally, run
from .sides import HUNG, Bystander, Echo, Sharing, by_manager, by_pipeproxy, by_spawn, ends
from .users import (
    MOMENTS,
    WRONG,
    Breaker,
    Late,
    break_it,
    call_and_stop,
    echo_large,
    echo_many,
    give_up,
)
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
    seconds: float = 60.0,
    size: int = 8 << 20,
    each: int = 2,
) -> Tally:
    """Clients are stopped before, while they write and while they read a large call; they go on."""
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


def late_replies(seed: int, clients: int = 4, size: int = 50_000_000) -> Tally:
    """Clients write a call of 50 MB while the answer of that size to one given up comes to them."""
    target = Late()
    proxy, listener = share(target)
    with listener, listener.background():
        children = [Child("fork", give_up, proxy, size) for _ in range(clients)]
        lost = sum(child.result() != CallTimeout.__name__ for child in children)
        target.let()
        for number, child in enumerate(children):
            child.do(echo_large, proxy, size, 1, seed + number)
        lost += sum(said is not True for said in ends(children))
    return Tally(clients, lost)


# Calls in flight ----------------------------------------------------------------------------------


def in_flight_of_a_stopped_owner(seed: int, calls: int = 20_000) -> Tally:
    """Calls are submitted to an owner that is stopped now and then, and no reply is read."""
    random = Random(seed)
    over = threading.Event()

    with spawning(get_context("fork")):
        proxy, host = spawn(Echo)

    def stop_and_go() -> None:
        pid = host.process.pid or 0
        while not over.wait(random.uniform(0.001, 0.02)):
            os.kill(pid, signal.SIGSTOP)
            over.wait(random.uniform(0.001, 0.02))
            os.kill(pid, signal.SIGCONT)

    hands = threading.Thread(target=stop_and_go)
    most = 0
    with host:
        hands.start()
        begun = []
        for number in range(calls):
            begun.append(submit(proxy.echo, (number, bytes(random.choice((0, 0, 0, 3000))))))
            if number % 100 == 0:
                most = max(most, sum(not future.done() for future in begun[-4000:]))
        lost = sum(future.result(PATIENCE)[0] != n for n, future in enumerate(begun))
        over.set()
        hands.join()
    note = f"{most} were in flight at once" if most > MOST_CALLS else ""
    return Tally(calls, lost + bool(note), note)


# Methods that break their own process -------------------------------------------------------------


def closed_descriptors(sharing: Sharing, seed: int, rounds: int = 40) -> Tally:
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
    wrong: list[str] = []
    with sharing(Breaker) as proxy:
        pickled = pickle.dumps(proxy)
        with Bystander(proxy, seed) as bystander:
            for _ in range(rounds):
                for fork in (proxy.fork_and_exit, proxy.fork_and_return):
                    wrong += said_wrong(fork)
                wrong += said_wrong(proxy.fork_and_call, pickled)
        try:
            poll_until(lambda: proxy.unfinished() == 0)
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")
    return Tally(3 * rounds, len(wrong) + bystander.wrong, wrong[0] if wrong else bystander.said)


def said_wrong(fork: Callable[..., int], *args: Any) -> list[str]:
    """Let a method fork; return what is wrong with its answer."""
    try:
        return [] if fork(*args) > 0 else ["the forked child answered"]
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]


by_doomed_manager: Sharing = partial(by_manager, kill=True)

ROWS = [
    Row(
        "clients that make 200 calls and read no reply, then all",
        partial(unread_replies, by_pipeproxy, WildClient),
        partial(unread_replies, by_manager, WildManagerClient),
    ),
    Row(
        "clients stopped for a minute: before, while writing, while reading a large call",
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
        "20,000 calls submitted, and none read, to an owner that is stopped now and then",
        in_flight_of_a_stopped_owner,
        "has no calls in flight",
        120.0,
    ),
    Row("50 MB calls that meet a late answer of 50 MB", late_replies, "has no timeouts"),
    Row(
        "methods that close random descriptors of the owner",
        partial(closed_descriptors, by_spawn),
        partial(closed_descriptors, by_doomed_manager),
        300.0,
    ),
    Row(
        "methods that fork",
        partial(forks_in_calls, by_spawn),
        partial(forks_in_calls, by_doomed_manager),
        90.0,
    ),
]


# Tests --------------------------------------------------------------------------------------------


def passes(trial: Callable[..., Tally], *args: Any, **kwargs: Any) -> int:
    """Return how often something was tried, all well; in a process of its own, as it may hang."""
    tally = run(lambda _: trial(*args, **kwargs), 0, 2 * PATIENCE)
    assert tally.lost == 0, tally.note
    return tally.tried


class Watched:
    """Shares as `by_pipeproxy` does, and keeps the listener to look at."""

    @contextmanager
    def share(self, make: Callable[[], Any]) -> Iterator[Any]:
        self.target = make()
        proxy, self.listener = share(self.target)
        with self.listener, self.listener.background():
            yield proxy

    def held(self) -> list[int]:
        """Return the bytes that are held for each client."""
        return [
            caller.unsent + sum(len(frame[-1]) for frame in caller.frames)
            for caller in self.listener._service.callers.readers.values()
        ]


def test_a_client_that_reads_nothing_is_not_read_from_and_a_bounded_amount_is_held_for_it() -> None:
    clients, calls, most = 3, 60, 400_000
    watched = Watched()

    def look() -> None:
        callers = list(watched.listener._service.callers.readers.values())
        assert sum(caller.paused for caller in callers) == clients
        assert sum(held > MOST_UNSENT for held in watched.held()) == clients
        assert max(watched.held()) < MOST_UNSENT + most + READ_SIZE

    assert passes(unread_replies, watched.share, WildClient, 1, clients, calls, look) == 180


def test_stopped_clients_hold_up_nobody_and_go_on_with_their_own_answers() -> None:
    assert passes(stopped_clients, by_pipeproxy, 1, 0.1, each=1) == 3


def test_large_arguments_and_results_pass_each_other() -> None:
    assert passes(large_both_ways, by_pipeproxy, 1, clients=3, times=1) == 3


def test_a_large_call_passes_the_late_answer_to_one_that_was_given_up() -> None:
    assert passes(late_replies, 1, clients=2) == 2


def test_calls_in_flight_are_bounded_and_all_answered_though_their_owner_is_stopped() -> None:
    assert passes(in_flight_of_a_stopped_owner, 1, 4000) == 4000


def test_a_method_that_forks_answers_once_whatever_its_child_does() -> None:
    assert forks_in_calls(by_spawn, 1, 10) == Tally(30, 0)


# Descriptors of the owner's that are closed behind its back -----------------------------------


def close_one(what: str) -> None:
    """Close a descriptor of an owner that serves in the background, between two calls."""
    proxy, listener = share(Echo())
    service = listener._service
    listener.background()
    with Child("fork", end_of_call, proxy) as child:
        assert child.result() == "answered"
        [caller] = service.callers.readers.values()
        os.close(caller.pipe.reader if what == "reader" else caller.pipe.writer)
        child.do(end_of_call, proxy)
        assert child.result() == CallLost.__name__
        child.do(end_of_call, proxy)
        assert child.result() == "answered"


def end_of_call(proxy: Any) -> str:
    """Return how a call ends."""
    try:
        with timeout(PATIENCE / 10):
            return "answered" if proxy.echo("token") == "token" else WRONG
    except Exception as error:
        return type(error).__name__


def test_a_client_whose_calls_cannot_arrive_any_more_is_told() -> None:
    in_fork(lambda: close_one("reader"))


def test_a_client_whose_replies_cannot_leave_any_more_is_told_and_the_others_are_served() -> None:
    in_fork(lambda: close_one("writer"))


def test_a_loop_in_the_background_that_cannot_go_on_closes_its_listener() -> None:
    def owner() -> None:
        proxy, listener = share(Echo())
        listener.background()
        with Child("fork", end_of_call, proxy) as child:
            assert child.result() == "answered"
            os.close(listener.fileno())
            listener._door.wake()
            for _ in range(3):  # it may have been in the middle of a wait, and of an answer
                child.do(end_of_call, proxy)
                said = child.result()
            assert said == ListenerClosed.__name__

    in_fork(owner)


def test_a_method_that_closes_random_descriptors_lets_nobody_hang() -> None:
    assert closed_descriptors(by_spawn, 1, 8) == Tally(32, 0)
