"""What methods return is alive elsewhere, is one object everywhere, and ends with who holds it."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.context import BaseContext
from random import Random
from typing import Any

import pytest

from pipeproxy import share
from pipeproxy._proxies._proxy import Proxy
from pipeproxy.testing import READING, disturbed
from tests.children import Child, poll_until
from tests.support import fork, in_fork, interrupt

from . import alive
from .alive import Node, Shop
from .conftest import Elsewhere

pytestmark = pytest.mark.usefixtures("descriptors_kept")


class Scene:
    """A shop, its listener, and how much that answers for to begin with."""

    def __init__(self) -> None:
        self.shop = Shop()
        self.proxy, self.listener = share(self.shop)
        self.begun = self.references()

    def references(self) -> int:
        return self.listener.stats().references

    def is_left(self, more: int = 0) -> bool:
        return self.references() == self.begun + more

    def await_left(self, more: int = 0) -> None:
        poll_until(lambda: self.is_left(more), self.listener)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    with scene.listener:
        yield scene
    scene.shop.close()


VISITS = [
    alive.arrivals_are_one,
    alive.what_comes_home_is_itself,
    alive.options_choose,
    alive.proxies_die_at_once,
    alive.streams_are_lazy,
    alive.streams_are_closed,
    alive.streams_end_as_generators_do,
    alive.streams_are_taken_from_once,
    alive.drop_what_a_forked_child_has,
]


@pytest.mark.parametrize("visit", VISITS)
def test_visits(scene: Scene, elsewhere: Elsewhere, visit: Callable[[Shop], None]) -> None:
    elsewhere.run(scene.listener, visit, scene.proxy)


def test_home_shows_the_same(scene: Scene) -> None:
    shop: Any = scene.proxy
    a = shop.node("a")
    assert issubclass(type(a), Proxy)
    assert isinstance(a, Node)
    assert shop.node("a") is a
    assert shop.first is a
    assert shop.is_itself("a", a)
    assert issubclass(type(shop.book), Proxy)
    assert type(shop.copy("a")) is Node
    a.rename("home")
    assert scene.shop.nodes["a"].name == "home"
    assert [type(node) for node in shop.stream(stop=1)] == [Node]  # nothing travels here


# Lifetimes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("collecting", [True, False])
def test_what_is_met_and_not_kept_is_given_up(
    scene: Scene, context: BaseContext, collecting: bool
) -> None:
    with Child(context, alive.come_and_go, scene.proxy, collecting) as child:
        child.result(scene.listener)
        assert scene.is_left()


def test_what_is_kept_lives_until_it_is_dropped_or_its_holder_is_dead(
    scene: Scene, context: BaseContext
) -> None:
    with Child(context, alive.keep, scene.proxy, 50) as child:
        child.result(scene.listener)
        assert scene.is_left(50)
        child.do(alive.drop, scene.proxy, 20).result(scene.listener)
        assert scene.is_left(30)
        names = child.do(alive.use, scene.proxy).result(scene.listener)
        assert names == [str(n) for n in range(30)]
        child.kill()
    scene.await_left()


def test_a_pickle_outlives_its_senders_proxy_and_no_sender(
    scene: Scene, context: BaseContext
) -> None:
    with Child(context, alive.send, scene.proxy) as sender, Child(context) as receiver:
        pickled = sender.result(scene.listener)
        assert scene.is_left(1)
        receiver.do(alive.receive, scene.proxy, pickled)
        assert receiver.result(scene.listener) == "received"
        receiver.kill()
        poll_until(lambda: scene.listener.stats().clients == 1, scene.listener)
        assert scene.is_left(1)  # the pickle could be read again
        sender.kill()
        scene.await_left()


def test_what_was_received_outlives_its_sender(scene: Scene, context: BaseContext) -> None:
    with Child(context, alive.send, scene.proxy) as sender, Child(context) as receiver:
        pickled = sender.result(scene.listener)
        receiver.do(alive.receive, scene.proxy, pickled).result(scene.listener)
        sender.kill()
        poll_until(lambda: scene.listener.stats().clients == 1, scene.listener)
        assert scene.is_left(1)
        assert receiver.do(alive.use, scene.proxy).result(scene.listener) == ["received"]
        receiver.do(alive.drop, scene.proxy, 1).result(scene.listener)
        assert scene.is_left()


def test_proxies_of_the_owners_own_go_through_a_queue(scene: Scene, context: BaseContext) -> None:
    queue: Any = context.SimpleQueue()
    node = scene.proxy.fresh()
    assert scene.is_left(1)
    queue.put(node)
    del node
    with Child(context, _take, queue) as child:
        assert child.result(scene.listener) == "taken"
    assert scene.is_left(1)  # the owner is the sender, and it lives
    queue.close()


def _take(queue: Any) -> str:
    return str(queue.get().rename("taken"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_grandchild_uses_what_its_parent_gave_it_and_dropped(
    scene: Scene, context: BaseContext, method: str
) -> None:
    with Child(context, alive.pass_to_a_grandchild, scene.proxy, method) as child:
        assert child.result(scene.listener) == 0
    scene.await_left()


def test_of_100_killed_children_nothing_is_left(scene: Scene) -> None:
    random = Random(5)
    context = multiprocessing.get_context("fork")
    for batch in range(10):
        with ExitStack() as stack:
            children = []
            for number in range(10):
                hears, tells = context.Pipe(duplex=False)
                args = (scene.proxy, tells, batch * 10 + number)
                child = context.Process(target=alive.hold_until_killed, args=args)
                child.start()
                stack.callback(child.join)
                stack.callback(child.kill)
                tells.close()
                stack.callback(hears.close)
                children.append((child, hears))
            for _, hears in children:
                poll_until(hears.poll, scene.listener, wake=hears)
            assert scene.references() >= scene.begun + 10 * 5
            random.shuffle(children)
            for child, _ in children:
                for _ in range(random.randrange(4)):
                    scene.listener.poll()
                child.kill()
    poll_until(lambda: scene.listener.stats().clients == 0, scene.listener)
    assert scene.is_left()


# Calls that do not end well ----------------------------------------------------------------------


def test_interrupted_calls_leave_nothing_after_the_next(scene: Scene) -> None:
    with Child("fork", alive.be_interrupted, scene.proxy, 400) as child:
        assert child.result(scene.listener) > 50
        child.do(alive.settle, scene.proxy).result(scene.listener)
        assert scene.is_left()


def test_late_replies_leave_nothing_after_the_next_call(scene: Scene) -> None:
    with Child("fork", alive.time_out, scene.proxy, scene.shop.tell) as child:
        child.result(scene.listener)
        child.do(alive.settle, scene.proxy).result(scene.listener)
        assert scene.is_left()


def test_nothing_stays_lent_of_a_call_however_it_ended(scene: Scene) -> None:
    with Child("fork", alive.lend_and_give_up, scene.proxy) as child:
        assert child.result(scene.listener) == [0, 0, 0, 0]
    assert scene.is_left()


def test_next_to_nothing_stays_lent_of_interrupted_calls(scene: Scene) -> None:
    with Child("fork", alive.lend_and_be_interrupted, scene.proxy, 400) as child:
        raised, lent = child.result(scene.listener)
    assert raised > 50
    assert lent < raised / 10  # who is interrupted as it writes cannot know whether it was heard


def test_an_owner_that_is_interrupted_keeps_nothing() -> None:
    def owner() -> None:
        scene = Scene()
        pid = fork(lambda: alive.call_until_it_ends(scene.proxy))
        interrupt(lambda: scene.listener.poll(0.01), rounds=1000, longest=1e-3)
        scene.shop.ends = True
        ended: list[tuple[int, int]] = []
        poll_until(
            lambda: ended.append(os.waitpid(pid, os.WNOHANG)) or ended[-1][0], scene.listener
        )
        assert ended[-1] == (pid, 0)
        poll_until(lambda: scene.listener.stats().clients == 0, scene.listener)
        assert scene.is_left()

    in_fork(owner)  # the timer of this process belongs to pytest-timeout


# Streams -----------------------------------------------------------------------------------------


def test_a_list_of_10_000_is_iterated_over_in_at_most_20_frames(context: BaseContext) -> None:
    size = 10_000
    proxy, listener = share(list(range(size)))
    frames = disturbed(lambda: None, frame=10**9, when=READING)
    with listener, frames, Child(context, alive.iterate, proxy, size) as child:
        child.result(listener)
    assert 0 < frames.counted <= 20
