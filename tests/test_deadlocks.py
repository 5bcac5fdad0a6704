"""Circles of activities that wait for one another are ended, in exactly one of them."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from time import monotonic
from typing import Any

import pytest

from pipeproxy import (
    DeadlockError,
    Listener,
    aio,
    blocking,
    by_ref,
    locked,
    proxied,
    spawn,
    spawning,
    submit,
)
from pipeproxy._chains._activities import Activity, Served, Stack, here
from pipeproxy._chains._deadlocks import Edge, Wait, Waits
from pipeproxy._chains._deadlocks import waits as process_waits
from pipeproxy._chains._sections import Entry, Section
from pipeproxy._proxies._proxy import link_of

from .children import Child, outcome, poll_until
from .support import PATIENCE

FORK = get_context("fork")

# Who waits for whom -------------------------------------------------------------------------------


def held_by(activity: Activity) -> Section:
    section = Section()
    section.hold(Entry(activity, lambda: None, {(None, 1): None}))
    return section


def wait(waits: Waits, who: Activity, whom: Activity) -> Wait:
    return waits.begin(Wait(who, held_by(whom), f"call of {who.thread}", lambda: None))


ONE, TWO, THREE, FOUR = (Activity(b"p" * 16, thread) for thread in (1, 2, 3, 4))


def test_a_wait_for_one_who_does_not_wait_is_no_circle() -> None:
    waits = Waits()
    first = wait(waits, ONE, TWO)
    waits.look(first)
    assert first.verdict is None


def test_of_a_circle_the_latest_wait_is_ended_and_no_other() -> None:
    waits = Waits()
    all_three = [wait(waits, ONE, TWO), wait(waits, TWO, THREE), wait(waits, THREE, ONE)]
    for each in all_three:
        waits.look(each)
    assert [each.verdict is not None for each in all_three] == [False, False, True]
    text = str(all_three[2].verdict)
    assert all(f"call of {thread}" in text for thread in (1, 2, 3))


def test_one_who_waits_for_a_circle_is_not_in_it() -> None:
    waits = Waits()
    outside = wait(waits, THREE, ONE)
    wait(waits, ONE, TWO)
    last = wait(waits, TWO, ONE)
    waits.look(outside)
    assert outside.verdict is None
    waits.look(last)
    assert last.verdict is not None


def test_a_wait_that_has_ended_closes_no_circle() -> None:
    waits = Waits()
    waits.end(wait(waits, ONE, TWO))
    second = wait(waits, TWO, ONE)
    waits.look(second)
    assert second.verdict is None


def told(who: Activity, whom: Activity, since: float, seen: float) -> Edge:
    return (who.process, who.thread), (whom.process, whom.thread), since, seen, "a call elsewhere"


def test_what_was_seen_before_the_latest_wait_began_is_not_believed() -> None:
    waits = Waits()
    second = wait(waits, TWO, ONE)
    waits.hear([told(ONE, TWO, second.since - 2, second.since - 1)])
    assert second.verdict is None
    waits.hear([told(ONE, TWO, second.since - 2, second.since + 1)])
    assert second.verdict is not None


def test_the_latest_wait_is_left_to_its_own_owner() -> None:
    waits = Waits()
    second = wait(waits, TWO, ONE)
    waits.hear([told(ONE, TWO, second.since + 1, second.since + 2)])
    assert second.verdict is None


def test_what_is_passed_on_says_all_that_follows_from_it() -> None:
    waits = Waits()
    second = wait(waits, TWO, THREE)
    passed = waits.hear([told(ONE, TWO, second.since, second.since + 1)])
    assert [edge[:2] for edge in passed] == [
        ((ONE.process, 1), (TWO.process, 2)),
        ((TWO.process, 2), (THREE.process, 3)),
    ]


def stack_of(*activities: Activity) -> Stack:
    stack = Stack()
    for activity in activities:
        stack = stack.under(Served(activity, (), None), monotonic())
    return stack


def test_a_wait_for_what_is_free_by_now_hides_nothing_that_was_told_of_its_activity() -> None:
    waits = Waits()
    waits.begin(Wait(ONE, Section(), "free", lambda: None))
    last = wait(waits, TWO, ONE)
    waits.hear([told(ONE, TWO, 0.0, monotonic())])
    assert last.verdict is not None


def test_an_activity_may_have_several_waits_at_once() -> None:
    waits = Waits()
    first, second = wait(waits, ONE, TWO), wait(waits, ONE, THREE)
    last = wait(waits, TWO, ONE)
    waits.look(last)
    assert last.verdict is not None
    assert first.verdict is None
    waits.end(last)
    waits.end(first)
    assert second.edge() is not None
    assert [edge[1] for edge in waits.way_from(ONE)] == [(THREE.process, 3)]


def test_a_wait_is_judged_in_each_circle_that_it_is_in() -> None:
    """Of the shorter one it is the latest, of the longer one it is not."""
    waits = Waits()
    here = wait(waits, ONE, TWO)
    later = here.since + 1
    waits.hear(
        [
            told(TWO, THREE, 0.0, later + 1),
            told(TWO, ONE, 0.0, later + 1),
            told(THREE, ONE, later, later + 1),
        ]
    )
    assert here.verdict is not None


def test_a_wait_for_who_is_in_the_way_by_now_began_when_that_was_seen() -> None:
    waits = Waits()
    waiting = wait(waits, ONE, TWO)
    seen = monotonic()
    waiting.section.hold(Entry(THREE, lambda: None, {(None, 1): None}))
    waits.look(waiting)
    waits.hear([told(THREE, ONE, 0.0, seen)])  # that ended before it was in the way
    assert waiting.verdict is None
    waits.hear([told(THREE, ONE, 0.0, monotonic())])
    assert waiting.verdict is not None


@pytest.fixture
def stacked() -> Iterator[Waits]:
    """Two activities whose calls wait in this thread, one on top of the other."""
    waits = Waits()
    here.stand_on(stack_of(ONE, TWO))
    yield waits
    here.stand_on(Stack())


def test_who_is_under_another_waits_for_that(stacked: Waits) -> None:
    waiting = wait(stacked, TWO, THREE)
    last = wait(stacked, THREE, ONE)
    for each in (waiting, last):
        stacked.look(each)
    assert (waiting.verdict is not None, last.verdict is not None) == (False, True)


def test_who_is_under_another_and_on_top_of_it_too_waits_for_what_is_on_top(
    stacked: Waits,
) -> None:
    here.stand_on(stack_of(ONE, TWO, ONE))
    waiting = wait(stacked, ONE, THREE)
    stacked.look(waiting)
    assert waiting.verdict is None


def test_what_a_client_passes_on_is_not_told_to_a_call_of_its(stacked: Waits) -> None:
    waiting = wait(stacked, FOUR, THREE)
    edges = [told(THREE, ONE, 0.0, monotonic())]
    try:
        here.serves = Served(FOUR, (), None)
        stacked.hear(edges, runs=False)
        assert waiting.verdict is None
        stacked.hear(edges)
        assert waiting.verdict is not None
    finally:
        here.serves = None


# Circles through processes ------------------------------------------------------------------------


class Thing:
    def __init__(self, other: Any = None) -> None:
        self.other = other

    def use(self) -> str:
        return "used"

    def use_other(self, together: Any = None) -> str:
        if together is not None:
            together.wait(PATIENCE)
        return str(self.other.use())

    def submit_other(self) -> str:
        return str(submit(self.other.use).result())

    def call(self, function: Callable[[], str]) -> str:
        return function()

    def is_waited_for(self) -> bool:
        return bool(process_waits._waits)


class Keeper:
    """Has a function of a client's called when somebody else asks for it."""

    def __init__(self) -> None:
        self.kept: queue.Queue[Any] = queue.Queue()

    def keep(self, function: Any) -> None:
        self.kept.put(function)

    @blocking
    def call_kept(self) -> None:
        self.kept.get(timeout=PATIENCE)()


def party(mine: Thing, wanted: Thing, together: Any, outcomes: Any) -> None:
    """Enter one section, then want another, when all have entered theirs."""
    try:
        with locked(mine):
            together.wait(PATIENCE)
            outcomes.put(wanted.use())
    except DeadlockError as error:
        outcomes.put(str(error))


def check(outcomes: list[str]) -> None:
    """One of them was given up, and all others went through."""
    errors = [outcome for outcome in outcomes if outcome != "used"]
    assert len(errors) == 1, outcomes
    assert errors[0].count("Thing.use in process") == len(outcomes) + 1


@pytest.mark.parametrize("parties", [2, 3])
def test_a_circle_in_one_owner_is_ended_in_one_party(context: BaseContext, parties: int) -> None:
    together, outcomes = context.Barrier(parties), context.Queue()
    with Listener() as listener:
        things = [listener.share(Thing()) for _ in range(parties)]
        processes = [
            context.Process(target=party, args=(a, b, together, outcomes))
            for a, b in zip(things, things[1:] + things[:1], strict=True)
        ]
        for process in processes:
            process.start()
        with listener.background():
            check([outcomes.get(timeout=PATIENCE) for _ in processes])
        listener.serve(until=processes)


def test_a_circle_of_calls_at_home_is_ended_in_one_of_them() -> None:
    together = threading.Barrier(2)
    outcomes: list[Any] = []
    with Listener() as one, Listener() as other, one.background(), other.background():
        targets = Thing(), Thing()
        first, second = one.share(targets[0]), other.share(targets[1])
        targets[0].other, targets[1].other = second, first

        def use_other(thing: Any) -> None:
            outcomes.append(outcome(thing.use_other, together))

        threads = [threading.Thread(target=use_other, args=(thing,)) for thing in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert sorted(said[:2] for said in outcomes) == [ENDED, USED]


def call_back(thing: Any, called: Any, go_on: Any) -> Any:
    def function() -> str:
        called.set()
        assert go_on.wait(PATIENCE)
        return "called"

    return thing.call(by_ref(function))


def test_a_circle_through_the_stack_of_the_thread_that_serves_is_ended() -> None:
    """What runs on top of a call that waits keeps that from going on."""
    called, go_on = FORK.Event(), FORK.Event()
    inside, want = threading.Event(), threading.Event()
    outcomes: list[Any] = []
    with Listener() as listener:
        below, wanted = listener.share(Thing()), listener.share(Thing())
        above = listener.share(Thing(wanted))

        def want_both() -> None:
            with locked(wanted):
                inside.set()
                assert want.wait(PATIENCE)
                outcomes.append(outcome(below.use))

        thread = threading.Thread(target=want_both)
        with (
            Child(FORK, call_back, below, called, go_on) as first,
            Child(FORK) as second,
            listener.background(),
        ):
            assert called.wait(PATIENCE)
            thread.start()
            assert inside.wait(PATIENCE)
            second.do(outcome, above.use_other)
            poll_until(lambda: section_of(listener, wanted).line)
            want.set()
            thread.join(PATIENCE)
            outcomes.append(second.result())
            go_on.set()
            assert first.result() == "called"
    assert sorted(said[:2] for said in outcomes) == [ENDED, USED]


def test_what_runs_on_top_of_a_call_does_not_get_inside_its_object() -> None:
    called, go_on = FORK.Event(), FORK.Event()
    with Listener() as listener:
        thing = listener.share(Thing())
        above = listener.share(Thing(thing))
        with (
            Child(FORK, call_back, thing, called, go_on) as first,
            Child(FORK) as second,
            listener.background(),
        ):
            assert called.wait(PATIENCE)
            said = second.do(outcome, above.use_other).result()
            go_on.set()
            assert first.result() == "called"
    assert said[:2] == ENDED
    assert "@blocking" in said[2]


def test_a_wait_is_over_when_its_call_runs_by_whatever_way() -> None:
    called, go_on = FORK.Event(), FORK.Event()
    with Listener() as listener:
        thing = listener.share(Thing())
        with (
            Child(FORK, call_back, thing, called, go_on) as first,
            Child(FORK) as second,
            listener.background(),
        ):
            assert called.wait(PATIENCE)
            second.do(thing.use)
            poll_until(lambda: process_waits._waits)
            go_on.set()
            assert (first.result(), second.result()) == ("called", "used")
    assert not process_waits._waits


def test_a_circle_is_ended_in_which_a_call_had_waited_before_it_ran() -> None:
    inside, waited_for = FORK.Event(), FORK.Event()
    with spawning(FORK):
        two, host = spawn(Thing)
    with host, Listener() as listener:
        one = listener.share(Thing(two))
        with (
            Child(FORK, use_when_waited_for, two, one, inside, waited_for) as last,
            Child(FORK) as first,
            listener.background(),
        ):
            assert inside.wait(PATIENCE)
            with locked(one):
                first.do(outcome, one.use_other)
                poll_until(lambda: section_of(listener, one).line)
            assert last.result()[:2] == ENDED
            assert first.result() == USED


@pytest.fixture
def hosted() -> Iterator[tuple[Any, Any]]:
    """An object in each of two other processes."""
    with spawning(FORK):
        one, first_host = spawn(Thing)
        two, second_host = spawn(Thing)
    with first_host, second_host:
        yield one, two


def use_other_inside(thing: Any, one: Any, inside: Any, verb: str) -> Any:
    with locked(one):
        assert inside.wait(PATIENCE)
        return outcome(getattr(thing, verb))


@pytest.mark.parametrize("verb", ["use_other", "submit_other"])
def test_a_circle_is_ended_in_which_a_call_that_is_served_waits_at_another_owner(
    hosted: tuple[Any, Any], verb: str
) -> None:
    inside, waited_for = FORK.Event(), FORK.Event()
    one, two = hosted
    with Listener() as listener:
        thing = listener.share(Thing(two))
        with (
            Child(FORK, use_other_inside, thing, one, inside, verb) as first,
            Child(FORK, use_when_waited_for, two, one, inside, waited_for) as last,
            listener.background(),
        ):
            assert last.result()[:2] == ENDED
            assert first.result() == USED


@proxied(dispatch="asyncio")
class Async:
    def __init__(self, other: Any) -> None:
        self.other = other

    async def use_other(self) -> str:
        return str(await aio(self.other.use)())

    async def block(self) -> str:
        """Let nothing else of the loop go on meanwhile."""
        return str(self.other.use())


@pytest.mark.parametrize("verb", ["use_other", "block"])
def test_a_circle_is_ended_in_which_an_async_call_waits_at_another_owner(
    hosted: tuple[Any, Any], verb: str
) -> None:
    inside, waited_for = FORK.Event(), FORK.Event()
    one, two = hosted
    with Listener[Any]() as listener:
        thing = listener.share(Async(two))
        with (
            Child(FORK, use_other_inside, thing, one, inside, verb) as first,
            Child(FORK, use_when_waited_for, two, one, inside, waited_for) as last,
        ):
            serving = threading.Thread(target=asyncio.run, args=(listener.serve_async(),))
            serving.start()
            assert last.result()[:2] == ENDED
            assert first.result() == USED
            listener.close()
            serving.join(PATIENCE)


def use_when_called_back(thing: Any, other: Any, together: Any) -> Any:
    def function() -> Any:
        together.wait(PATIENCE)
        return outcome(other.use)

    return thing.call(by_ref(function))


def use_inside(thing: Any, other: Any, together: Any) -> Any:
    with locked(other):
        together.wait(PATIENCE)
        return outcome(thing.use)


def test_a_circle_of_a_callback_at_one_owner_and_a_call_at_another_is_ended() -> None:
    together = FORK.Barrier(2)
    with spawning(FORK):
        other, host = spawn(Thing)
    with Listener() as listener, host:
        thing = listener.share(Thing())
        with (
            Child(FORK, use_when_called_back, thing, other, together) as first,
            Child(FORK, use_inside, thing, other, together) as second,
            listener.background(),
        ):
            outcomes = [first.result(), second.result()]
    assert sorted(said[:2] for said in outcomes) == [ENDED, USED]


def call_back_inside(thing: Any, other: Any, called: Any, go_on: Any) -> Any:
    with locked(other):
        return call_back(thing, called, go_on)


def use_when_waited_for(mine: Any, wanted: Any, inside: Any, waited_for: Any) -> Any:
    """Want another object only when somebody waits for the one that this is in."""
    with locked(mine):
        inside.set()
        poll_until(mine.is_waited_for)
        waited_for.set()
        return outcome(wanted.use)


def test_a_circle_through_a_call_under_one_that_waits_at_another_owner_is_ended(
    hosted: tuple[Any, Any],
) -> None:
    """Of the last wait's owner, only the client of the call below knows."""
    called, go_on, inside = FORK.Event(), FORK.Event(), FORK.Event()
    one, two = hosted
    with Listener() as listener:
        below, above = listener.share(Thing()), listener.share(Thing(two))
        with (
            Child(FORK, call_back_inside, below, one, called, go_on) as under,
            Child(FORK, use_when_waited_for, two, one, inside, go_on) as last,
            Child(FORK) as on_top,
            listener.background(),
        ):
            assert called.wait(PATIENCE)
            assert inside.wait(PATIENCE)
            on_top.do(outcome, above.use_other)
            assert last.result()[:2] == ENDED
            assert on_top.result() == USED
            assert under.result() == "called"


def be_called_back(keeper: Any, event: Any, other: Any) -> Any:
    said: list[Any] = []
    keeper.keep(by_ref(lambda: said.append(outcome(other.use))))
    assert event.wait(PATIENCE)
    return said[0]


def be_called_back_inside(keeper: Any, event: Any, one: Any, two: Any, inside: Any) -> Any:
    with locked(one):
        assert inside.wait(PATIENCE)
        return be_called_back(keeper, event, two)


def call_kept_inside(keeper: Any, one: Any, inside: Any) -> None:
    with locked(one):
        assert inside.wait(PATIENCE)
        keeper.call_kept()


def test_a_circle_through_a_kept_callback_is_ended_where_its_caller_is_waited_for(
    hosted: tuple[Any, Any],
) -> None:
    inside, waited_for = FORK.Event(), FORK.Event()
    one, two = hosted
    with Listener() as listener:
        keeper, event = listener.share(Keeper()), listener.share(threading.Event())
        with (
            Child(FORK, be_called_back, keeper, event, two) as called,
            Child(FORK, call_kept_inside, keeper, one, inside) as caller,
            Child(FORK, use_when_waited_for, two, one, inside, waited_for) as last,
            listener.background(),
        ):
            assert last.result()[:2] == ENDED
            caller.result()
            event.set()
            assert called.result() == USED


def test_a_circle_through_a_callback_on_top_of_a_call_of_a_client_is_ended(
    hosted: tuple[Any, Any],
) -> None:
    """What a waiting client is called back for by others keeps its own call from going on."""
    inside, waited_for = FORK.Event(), FORK.Event()
    one, two = hosted
    with Listener() as listener:
        keeper, event = listener.share(Keeper()), listener.share(threading.Event())
        with (
            Child(FORK, be_called_back_inside, keeper, event, one, two, inside) as under,
            Child(FORK, use_when_waited_for, two, one, inside, waited_for) as last,
            listener.background(),
        ):
            keeper.call_kept()
            assert last.result()[:2] == ENDED
            event.set()
            assert under.result() == USED


ENDED, USED = ("raised", "DeadlockError"), ("returned", "used")


def section_of(listener: Listener[Any], proxy: Any) -> Section:
    return listener._objects.find(link_of(proxy).number).section


@pytest.mark.parametrize("owners", [1, 2])
def test_a_circle_is_ended_though_its_owners_sleep_until_their_listeners_are_readable(
    owners: int,
) -> None:
    with ExitStack() as stack:
        listeners = [stack.enter_context(Listener()) for _ in range(owners)]
        one, other = listeners[0].share(Thing()), listeners[-1].share(Thing())
        for _ in range(3):  # again, just after they have looked
            together, outcomes = FORK.Barrier(2), FORK.SimpleQueue()
            with (
                Child(FORK, party, one, other, together, outcomes) as first,
                Child(FORK, party, other, one, together, outcomes) as second,
            ):
                first.result(*listeners)
                second.result(*listeners)
            check([outcomes.get(), outcomes.get()])


@pytest.mark.parametrize("parties", [2, 4])
def test_a_circle_through_several_owners_is_ended_in_one_party(parties: int) -> None:
    context = get_context("fork")
    together, outcomes = context.Barrier(parties), context.Queue()
    with ExitStack() as stack, spawning(context):
        things: list[Any] = []
        for _ in range(parties):
            thing, host = spawn(Thing)
            stack.enter_context(host)
            things.append(thing)
        processes = [
            context.Process(target=party, args=(a, b, together, outcomes))
            for a, b in zip(things, things[1:] + things[:1], strict=True)
        ]
        for process in processes:
            process.start()
        check([outcomes.get(timeout=PATIENCE) for _ in processes])
        for process in processes:
            process.join(PATIENCE)


def test_a_circle_of_threads_of_the_owner_and_a_client_is_ended_in_one_party() -> None:
    context = get_context("fork")
    together, outcomes = context.Barrier(2), context.Queue()
    with Listener() as listener:
        one, other = listener.share(Thing()), listener.share(Thing())
        process = context.Process(target=party, args=(one, other, together, outcomes))
        process.start()
        thread = threading.Thread(target=party, args=(other, one, together, outcomes))
        thread.start()
        listener.serve(until=process)
        check([outcomes.get(timeout=PATIENCE) for _ in range(2)])
        thread.join()
