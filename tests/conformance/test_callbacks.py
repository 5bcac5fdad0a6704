"""Callbacks: the owner calls objects of its clients, wherever those wait, and whatever they do."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import wait
from time import monotonic
from typing import Any

import pytest

from pipeproxy import Listener, OwnerDied, by_ref, share, spawn, spawning
from pipeproxy._client._calls import guests
from pipeproxy._references._references import _holdings
from tests.children import Child, poll_until
from tests.support import PATIENCE, in_fork, interrupt

from . import lenders
from .conftest import Elsewhere
from .lenders import Office

pytestmark = pytest.mark.usefixtures("descriptors_kept")


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def shared(office: Office) -> Iterator[tuple[Any, Listener[Any]]]:
    proxy, listener = share(office)
    with listener:
        yield proxy, listener


Shared = tuple[Any, Listener[Any]]

#: Seconds within which the death of a process is told, on a busy machine.
SOON = 5.0

FORK = pytest.mark.parametrize("context", ["fork"], indirect=True)


# What can be lent ---------------------------------------------------------------------------------


def test_functions_of_every_kind_run_in_the_thread_that_passed_them(
    elsewhere: Elsewhere, shared: Shared
) -> None:
    proxy, listener = shared
    assert elsewhere.run(listener, lenders.lend_functions, proxy) == [True] * 6


def test_objects_of_every_kind_are_used_where_they_are(
    elsewhere: Elsewhere, shared: Shared
) -> None:
    proxy, listener = shared
    assert elsewhere.run(listener, lenders.lend_objects, proxy) == {
        "list": (3, [1, 2, 3]),
        "lock": (True, False),
        "iterator": ([0, 1, 2], 3),
        "generator": ([0, 1, 4],),
        "described": ((8, 8), 8),
    }


def test_what_is_sent_back_home_is_the_object_itself(elsewhere: Elsewhere, shared: Shared) -> None:
    proxy, listener = shared
    assert elsewhere.run(listener, lenders.come_home, proxy) == [True] * 7


def test_callbacks_return_references_of_either_side(elsewhere: Elsewhere, shared: Shared) -> None:
    proxy, listener = shared
    assert elsewhere.run(listener, lenders.return_references, proxy) == (106, True, 1)


def test_calls_go_twenty_levels_deep_from_eight_threads_each_in_its_own(
    elsewhere: Elsewhere, shared: Shared
) -> None:
    proxy, listener = shared
    assert elsewhere.run(listener, lenders.go_deep, proxy, 8, 20) == [(20, True, 21)] * 8


@FORK
def test_one_function_is_lent_from_many_threads_at_once(
    elsewhere: Elsewhere, shared: Shared
) -> None:
    proxy, listener = shared
    assert elsewhere.run(listener, lenders.lend_from_threads, proxy, 8, 50) == [50] * 8


# Callbacks that raise -----------------------------------------------------------------------------


def test_what_a_callback_raises_arrives_as_itself(elsewhere: Elsewhere, shared: Shared) -> None:
    proxy, listener = shared
    seen = elsewhere.run(listener, lenders.raise_all, proxy)
    refused, unpicklable, result, back, count = seen
    assert refused == ("Refused", "no")
    assert unpicklable[0] in {"RemoteError", "Local"}
    assert result[0] == "CodecError"
    assert back == (("no",), 7, True, True)
    assert count == 1


@FORK
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_callback_that_ends_its_thread_ends_the_call_and_nothing_else(
    elsewhere: Elsewhere, shared: Shared, office: Office, error: type[BaseException]
) -> None:
    proxy, listener = shared
    ended = elsewhere.run(listener, lenders.raise_in_the_end, proxy, error)
    assert ended == [error.__name__, True]


# Callbacks that are kept --------------------------------------------------------------------------


class Waiting:
    """A process that has lent a function, under the name `note`, and is idle.

    The listener is served in the background, as a call that waits for its client is still a call.

    Args:
        desks: the listener of what it will wait in a call of, if that is another one.
    """

    def __init__(self, context: Any, shared: Shared, desks: Any = None) -> None:
        self.proxy, self.listener = shared
        self.control, theirs = Pipe()
        self._desk = Office()
        desk = (desks or self.listener).share(self._desk)
        self.child = Child(context, lenders.keep_and_wait, self.proxy, theirs, desk)
        assert self.control.poll(PATIENCE)
        assert self.control.recv() == "idle"
        theirs.close()

    def go_on(self) -> None:
        """Let it wait in a call."""
        self.control.send("go on")

    def end(self) -> Any:
        """Let it end, and return whether each callback ran in its thread."""
        self._desk.over.set()
        result = self.child.result()
        self.child.end()
        self._close()
        return result

    def kill(self) -> None:
        if not self.control.closed:
            self.child.kill()
            self._close()

    def _close(self) -> None:
        self.control.close()
        self.child.process.close()


@pytest.fixture
def waiting(context: Any, shared: Shared) -> Iterator[Waiting]:
    with shared[1].background():
        waiting = Waiting(context, shared)
        yield waiting
        waiting.kill()


def test_a_kept_function_is_called_for_another_client_while_its_own_waits(
    waiting: Waiting, elsewhere: Elsewhere
) -> None:
    waiting.go_on()
    pid = waiting.child.process.pid
    for value in (1, "two"):
        said = elsewhere.run(None, lenders.call_kept, waiting.proxy, "note", value)
        assert said == (value, pid)
    assert waiting.end() == [True, True]


@FORK
def test_a_call_of_an_idle_process_waits_and_others_go_on(waiting: Waiting) -> None:
    proxy, listener = waiting.proxy, waiting.listener
    bystander = listener.share(Office())
    with Child("fork") as caller, Child("fork") as other:
        caller.do(lenders.call_kept, proxy, "note", 5)
        poll_until(lambda: is_wanted(listener))
        assert [other.do(lenders.count, bystander).result() for _ in range(3)] == [1, 2, 3]
        assert is_wanted(listener)
        waiting.go_on()
        assert caller.result() == (5, waiting.child.process.pid)
    assert waiting.end() == [True]


def is_wanted(listener: Listener[Any]) -> bool:
    """Whether a call of the owner's waits until its client does."""
    return any(client.wanted for client in list(listener._objects.clients.values()))


@FORK
def test_a_thread_of_the_owners_gets_through_to_a_process_that_makes_short_calls(
    elsewhere: Elsewhere, shared: Shared
) -> None:
    proxy, listener = shared
    said = elsewhere.run(listener, lenders.call_while_another_thread_waits, proxy)
    assert said == (("returned", "'called'"), True)


@FORK
def test_a_kept_function_is_called_through_whichever_listener_its_process_waits_for(
    context: Any, shared: Shared
) -> None:
    proxy, listener = shared
    another: Listener[Any] = Listener()
    with another, Child("fork") as caller, listener.background(), another.background():
        waiting = Waiting(context, shared, another)
        caller.do(lenders.call_kept, proxy, "note", 5)
        poll_until(lambda: is_wanted(listener))
        waiting.go_on()
        assert caller.result() == (5, waiting.child.process.pid)
        assert waiting.end() == [True]


def test_a_listener_that_was_closed_is_no_way_to_a_client_of_another(shared: Shared) -> None:
    proxy, listener = shared
    desk, another = share(Office())
    with Child("fork") as child:
        with another:
            assert child.do(lenders.keep_and_call, proxy, desk).result(listener, another) == 1
        assert child.do(lenders.call_kept, proxy, "here").result(listener) == child.process.pid


# Death --------------------------------------------------------------------------------------------


@FORK
@pytest.mark.parametrize("idle", [True, False])
def test_a_call_of_a_process_that_is_killed_is_told_so(waiting: Waiting, idle: bool) -> None:
    proxy, listener = waiting.proxy, waiting.listener
    with Child("fork") as caller:
        if not idle:
            waiting.go_on()
            assert caller.do(lenders.call_kept, proxy, "note", 5).result()[0] == 5
            os.kill(waiting.child.process.pid or 0, signal.SIGSTOP)
        caller.do(lenders.end_of_kept, proxy, "note")
        poll_until(lambda: is_wanted(listener) if idle else is_asked(listener))
        waiting.kill()
        killed = monotonic()
        error, when = caller.result()
    assert (error, when - killed < SOON) == ("ClientDied", True)


def is_asked(listener: Listener[Any]) -> bool:
    return any(caller.asked for caller in list(listener._service.callers.readers.values()))


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_process_that_dies_in_a_callback_harms_nobody_else(
    context: Any, shared: Shared, office: Office, how: str
) -> None:
    proxy, listener = shared
    victim = context.Process(target=lenders.die_in_a_callback, args=(proxy, how))
    victim.start()
    listener.serve(until=victim)
    victim.join(PATIENCE)
    ended, seconds = office.kept["time"]
    assert (ended, seconds < SOON) == ("ClientDied", True)
    with Child("fork") as other:
        assert other.do(lenders.count, proxy).result(listener) == 1


def test_who_kills_the_owner_in_a_callback_is_told_once_that_is_over(context: Any) -> None:
    with spawning(context):
        proxy, host = spawn(Office)
    before = lenders.lent()
    over: list[bool] = []

    def kill(process: Any) -> None:
        process.kill()
        process.join()
        over.append(True)

    with host, pytest.raises(OwnerDied):
        proxy.call(by_ref(partial(kill, host.process)))
    assert over == [True]
    del host
    assert lenders.lent() == before


# Deadlines, forks ---------------------------------------------------------------------------------


@FORK
def test_deadlines_pass_round_callbacks_and_in_them(elsewhere: Elsewhere, shared: Shared) -> None:
    proxy, listener = shared
    assert elsewhere.run(listener, lenders.time_out, proxy) == [
        True,
        None,
        "CallTimeout",
        ("returned", "'went on'"),
        True,
    ]


@FORK
def test_a_callback_forks(elsewhere: Elsewhere, shared: Shared) -> None:
    proxy, listener = shared
    desk = listener.share(Office())
    assert elsewhere.run(listener, lenders.fork_in_a_callback, proxy, desk) == (7, 7, 3)


@FORK
def test_a_method_that_waits_for_a_callback_forks(elsewhere: Elsewhere, shared: Shared) -> None:
    proxy, listener = shared
    assert elsewhere.run(listener, lenders.lend_a_call, proxy) == (True, 3, 5)


def test_a_child_that_a_callback_forks_is_not_in_the_section_of_who_called(
    context: Any, shared: Shared
) -> None:
    proxy, listener = shared
    office = Office()
    desk = listener.share(office)
    control, theirs = Pipe()
    with Child(context, lenders.fork_inside_anothers_chain, proxy, theirs, desk) as forks:
        poll_until(control.poll, listener, wake=control)
        control.recv()
        with listener.background(), Child("fork") as caller:
            assert caller.do(lenders.call_fork_inside, proxy).result() == 5
            office.over.set()
            forks.result()
    control.close()
    theirs.close()


# What is left -------------------------------------------------------------------------------------


def test_what_the_owner_forgets_is_lent_no_more(elsewhere: Elsewhere, shared: Shared) -> None:
    proxy, listener = shared
    before, kept, after = elsewhere.run(listener, lenders.lend_and_forget, proxy)
    assert (kept - before, after - before) == (5, 0)


@FORK
def test_a_hundred_killed_clients_leave_nothing(
    context: Any, shared: Shared, office: Office
) -> None:
    proxy, listener = shared
    register = listener.share(Office())
    before = counts(listener)
    for _ in range(10):
        pipes = [Pipe() for _ in range(10)]
        clients = [
            context.Process(target=lenders.hold_everything, args=(proxy, register, theirs))
            for _, theirs in pipes
        ]
        for client in clients:
            client.start()
        with listener.background():
            assert wait([ours for ours, _ in pipes], PATIENCE)
            for client in clients:
                client.kill()
        listener.serve(until=clients)
        for client in clients:
            client.join()
        for ends in pipes:
            for end in ends:
                end.close()
        for client in clients:
            client.close()
    office.kept.clear()
    gc.collect()
    with Child("fork") as child:
        assert child.do(lenders.count, register).result(listener) > 0
    poll_until(lambda: not listener._objects.clients, listener)
    assert counts(listener) == before


def counts(listener: Listener[Any]) -> dict[str, Any]:
    service = listener._service
    listener.stats()
    return {
        "references": listener.stats().references,
        "clients": len(listener._objects.clients),
        "channels": len(service.callers.readers),
        "sections": [
            (shared.section.holder is None, len(shared.section.line))
            for shared in listener._objects
        ],
        "guests": len(guests),
        "holdings": sum(not held.is_empty() for held in _holdings.values()),
        "blocked": len(service.dispatch.admission.blocked),
        "put off": len(service.dispatch.later) + len(service.dispatch.below),
    }


# Interrupts ---------------------------------------------------------------------------------------


def test_interrupts_of_the_client_at_random_moments_lose_nothing(shared: Shared) -> None:
    proxy, listener = shared
    with listener.background():
        in_fork(lambda: lenders.call_interrupted(proxy, 400))


def test_interrupts_of_the_owner_at_random_moments_lose_no_more_than_calls() -> None:
    in_fork(interrupt_an_owner)


def interrupt_an_owner() -> None:
    proxy, listener = share(Office())
    with listener, Child("fork") as one, Child("fork") as another:
        for child in (one, another):
            child.do(lenders.call_interrupted_owner, proxy, 500)
        children = [one, another]
        interrupt(lambda: listener.poll(0.001), rounds=2000)
        lost = [child.result(listener) for child in children]
        assert all(number < 250 for number in lost), lost
        assert counts(listener)["put off"] == 0
