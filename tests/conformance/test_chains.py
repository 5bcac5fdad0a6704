"""Chains: calls through several processes and back, each in the name of where it began."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from time import monotonic
from typing import Any

import pytest

from pipeproxy import CallTimeout, Listener, locked, share, spawn, spawning, timeout
from tests.children import Child, poll_until
from tests.support import PATIENCE

from . import links
from .links import Link

pytestmark = pytest.mark.usefixtures("descriptors_kept")

#: Seconds within which the death of a process is told, on a busy machine.
SOON = 5.0


@pytest.fixture
def hosts(context: Any) -> Iterator[list[Any]]:
    """Proxies of objects in three processes of their own."""
    with ExitStack() as stack, spawning(context):
        proxies = []
        for name in "BCD":
            proxy, host = spawn(Link, name)
            stack.enter_context(host)
            proxies.append(proxy)
        yield proxies
        proxies.clear()  # else they would live until the test is forgotten


@pytest.fixture
def link() -> Link:
    return Link("A")


@pytest.fixture(params=["poll", "serve", "background", "nobody"])
def served(request: pytest.FixtureRequest, link: Link) -> Iterator[Any]:
    """A proxy of an object of this process, and how a call is made while it is served so."""
    proxy, listener = share(link)
    with listener:
        if request.param == "background":
            with listener.background():
                yield proxy, lambda call: call()
        elif request.param == "nobody":
            yield proxy, lambda call: call()
        else:
            yield proxy, in_a_method(link, proxy, listener, request.param)


def in_a_method(link: Link, proxy: Any, listener: Listener[Any], how: str) -> Any:
    """Let the call be made by a method that this process runs for a client."""

    def make(call: Any) -> Any:
        link.task = call
        with Child("fork", links.begin, proxy) as child:
            if how == "serve":
                listener.serve(until=child._control.poll)
            said = child.result(listener)
        link.task = None  # it holds the way
        return said

    return make


def test_a_chain_comes_back_to_where_it_began(served: Any, hosts: list[Any]) -> None:
    proxy, make = served
    b, c, d = hosts
    steps = {"A": proxy, "B": b, "C": c, "D": d}
    for names in ("BA", "BCA", "BCADBA"):
        first, *rest = (steps[name] for name in names)
        assert make(partial(first.go, rest)) == names


def test_a_chain_is_in_the_sections_of_where_it_began(hosts: list[Any]) -> None:
    b, c, _ = hosts
    with locked(c), timeout(PATIENCE):
        assert b.go([c]) == "BC"
        assert b.go([c, b, c]) == "BCBC"
        with Child("fork") as other:
            assert other.do(links.try_to_go, c).result() == "CallTimeout"
    with Child("fork") as other:
        assert other.do(links.try_to_go, c).result() == "C"


@pytest.mark.parametrize("context", ["fork"], indirect=True)
def test_who_dies_in_a_section_lets_go_of_it_though_its_chain_goes_on(hosts: list[Any]) -> None:
    b, c, d = hosts
    victim = get_context("fork").Process(target=links.lock_and_go, args=(c, [b, d]))
    victim.start()
    poll_until(d.is_waited_in)
    victim.kill()
    victim.join()
    victim.close()
    d.go_on()
    with timeout(SOON), locked(c):
        assert c.go([]) == "C"


def test_what_was_got_up_a_chain_is_given_back_up_the_chain(hosts: list[Any]) -> None:
    proxy, listener = share(Link("a"))
    with listener:
        for _ in range(3):
            assert hosts[0].others_at([hosts[1], proxy]) == "aaa"
        # The last one is dropped when nobody calls any more who could tell.
        assert listener.stats().references <= 3


def test_each_in_a_chain_sees_what_is_left_of_the_time(hosts: list[Any]) -> None:
    b, c, d = hosts
    assert b.times([c, d]) == [None, None, None]
    with timeout(10):
        times = b.times([c, d])
    assert 10 >= times[0] >= times[1] >= times[2] > 10 - SOON
    began = monotonic()
    with pytest.raises(CallTimeout), timeout(0.2):
        b.hang_at([c, d])
    assert monotonic() - began < SOON


@pytest.mark.parametrize("context", ["fork"], indirect=True)
def test_two_owners_that_call_each_other_for_different_clients_do_not_hang(
    hosts: list[Any],
) -> None:
    b, c, _ = hosts
    with Child("fork") as one, Child("fork") as another:
        one.do(links.go_often, b, [c.another()], 20)
        another.do(links.go_often, c, [b.another()], 20)
        assert one.result() == 20
        assert another.result() == 20


@pytest.mark.parametrize("context", ["fork"], indirect=True)
def test_the_death_of_an_owner_in_a_chain_is_told_along_it(hosts: list[Any]) -> None:
    b, c, d = hosts
    began = monotonic()
    assert b.outcome([c, d], signal.SIGKILL) == "OwnerDied"
    assert monotonic() - began < SOON
    assert b.go([c]) == "BC"
