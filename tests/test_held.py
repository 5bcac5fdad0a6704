"""What a process holds of a listener's objects: each once, and the owner learns when no more."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest

from pipeproxy._channels._wire import CLAIM, FROM_CLIENT, RELEASE, Decoder, unpack_pairs
from pipeproxy._client._held import ALL, Holdings, Known, idents
from pipeproxy._system import _life

from .support import PATIENCE, in_fork, interrupt


class Thing:
    """What stands for an object."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts


Told = tuple[set[tuple[int, int]], set[tuple[int, int]]]


def tell(held: Holdings) -> Told:
    """Let the owner be told, and answer: the pairs that were claimed and those that were released.

    Raises:
        AssertionError: a release came before a claim.
    """
    news, told = held.news()
    frames = Decoder(FROM_CLIENT).feed(told)
    kinds = [kind for kind, *_ in frames]
    assert kinds == sorted(set(kinds), key=[CLAIM, RELEASE].index)
    said = {kind: set(unpack_pairs(payload)) for kind, *_, payload in frames}
    held.told(news)
    return said.get(CLAIM, set()), said.get(RELEASE, set())


NOTHING: Told = (set(), set())


class Owner:
    """The owner's side, as a model: which numbers are held, by which idents."""

    def __init__(self) -> None:
        self.held: set[tuple[int, int]] = set()
        self.gone: set[int] = set()

    def lend(self, ident: int, *numbers: int) -> int:
        self.held |= {(ident, number) for number in numbers}
        return ident

    def hear(self, told: Told) -> None:
        claims, releases = told
        self.held |= {pair for pair in claims if pair[0] not in self.gone}
        for ident, number in releases:
            self.held = {p for p in self.held if p[0] != ident or number not in {ALL, p[1]}}
            self.gone.add(ident)

    def numbers(self) -> set[int]:
        return {number for _, number in self.held}


# What stands for an object -----------------------------------------------------------------------


def test_an_object_is_one_thing_for_as_long_as_that_lives() -> None:
    known = Known()
    thing, held = known.find(7, Thing)
    assert known.find(7, Thing) == (thing, held)
    assert known.get(7) == (thing, held)
    assert known.find(8, Thing)[0] is not thing
    assert next((each.number, value) for each, value in known) == (7, thing)


def test_what_ended_is_seen_once_and_forgotten_when_it_was_seen_to() -> None:
    known = Known()
    things = [known.find(number, Thing)[0] for number in (1, 2, 3)]
    assert list(known.bury()) == []
    del things[0]
    del things[0]
    for held in known.bury():
        assert held.number == 1
        break  # it was not seen to
    assert sorted(held.number for held in known.bury()) == [1, 2]
    assert list(known.bury()) == []
    assert [held.number for held, _ in known] == [3]
    assert known.get(1) == (None, None)


def test_what_comes_again_before_its_end_was_seen_is_not_forgotten() -> None:
    known = Known()
    known.find(7, Thing)
    again, held = known.find(7, Thing)
    assert len(list(known.bury())) == 1
    assert known.get(7) == (again, held)


def test_threads_that_make_the_same_get_the_same() -> None:
    together = threading.Barrier(4)
    known = Known()
    found: list[list[Any]] = []

    def find_all() -> None:
        together.wait(PATIENCE)
        found.append([known.find(number, Thing)[0] for number in range(500)])

    threads = [threading.Thread(target=find_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for same in zip(*found, strict=True):
        assert len(set(map(id, same))) == 1


def test_a_thread_that_was_faster_wins_and_what_was_made_ends() -> None:
    known = Known()
    faster: list[Any] = []

    def slow() -> Thing:
        faster.append(known.find(7, Thing, 1)[0])
        return Thing()

    thing, held = known.find(7, slow, 2)
    assert thing is faster[0]
    assert held.ident == 1
    assert [held.ident for held in known.bury()] == [2]


def test_nobody_waits_for_who_makes_something() -> None:
    known = Known()
    made: list[Any] = []

    def make() -> Thing:
        thread = threading.Thread(target=lambda: made.append(known.find(8, Thing)))
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        return Thing()

    known.find(7, make)
    assert made


def test_what_was_pickled_is_never_given_up() -> None:
    known = Known()
    thing, _ = known.find(7, Thing)
    known.keep(7)
    known.keep(8)
    del thing
    assert list(known.bury()) == []
    assert list(known) == []


def test_what_lived_when_a_child_was_forked_is_never_given_up() -> None:
    known = Known()
    before, _ = known.find(7, Thing)
    in_fork(lambda: None)
    after, _ = known.find(8, Thing)
    del before, after
    assert [held.number for held in known.bury()] == [8]


# What the owner is told --------------------------------------------------------------------------


def test_what_came_with_a_reply_is_released_by_that_when_it_ends() -> None:
    held = Holdings()
    thing = held.receive(7, Thing, 100)
    assert held.receive(8, Thing, 100)
    assert held.is_quiet() is False
    assert tell(held) == (set(), {(100, 8)})
    assert held.is_quiet()
    assert not held.is_empty()
    del thing
    assert tell(held) == (set(), {(100, 7)})
    assert held.is_empty()


def test_what_is_held_already_is_released_by_every_other_reply_it_comes_with() -> None:
    held = Holdings()
    thing = held.receive(7, Thing, 100)
    assert held.receive(7, Thing, 101) is thing
    assert held.receive(7, Thing, 100) is thing  # twice in one reply
    assert tell(held) == (set(), {(101, 7)})
    del thing
    assert tell(held) == (set(), {(100, 7)})


def test_what_comes_twice_in_a_reply_and_ends_between_is_still_held() -> None:
    held = Holdings()
    held.receive(7, Thing, 100)
    thing = held.receive(7, Thing, 100)
    assert tell(held) == NOTHING
    del thing
    held.receive(7, Thing, 100)
    assert tell(held) == (set(), {(100, 7)})


def test_what_came_another_way_is_claimed_once_and_released_by_its_claim() -> None:
    held = Holdings()
    thing = held.receive(7, Thing, 0)
    assert held.receive(7, Thing, 0) is thing
    claims, releases = tell(held)
    [(ident, number)] = claims
    assert (number, releases) == (7, set())
    del thing
    assert tell(held) == (set(), {(ident, 7)})


def test_what_was_not_answered_is_told_again() -> None:
    held = Holdings()
    thing = held.receive(7, Thing, 0)
    held.receive(8, Thing, 100)
    first = held.news()
    del thing
    second = held.news()
    assert set(first[0]) < set(second[0])
    held.told(second[0])
    held.told(first[0])
    assert held.is_empty()


def test_of_a_reply_that_nobody_got_everything_is_released() -> None:
    held = Holdings()
    held.abandon(100, came=False)
    assert tell(held) == (set(), {(100, ALL)})


def test_what_another_thread_got_of_a_reply_that_was_left_is_claimed() -> None:
    held = Holdings()
    thing = held.receive(7, Thing, 100)  # a thread begins to read the reply...
    assert held.receive(7, Thing, 101) is thing  # ... another is given the same...
    held.abandon(100)  # ... and the first is interrupted
    owner = Owner()
    owner.lend(100, 7)
    owner.lend(101, 7)
    owner.hear(tell(held))
    assert owner.numbers() == {7}
    del thing
    owner.hear(tell(held))
    assert owner.numbers() == set()


def test_two_that_bury_at_once_do_not_meet_nothing() -> None:
    held = Holdings()
    for number in range(10):
        held.receive(number, Thing, 100)
    one, other = held.bury(), held.bury()
    assert {each.number for each in one} | {each.number for each in other} == set(range(10))
    assert held.is_empty()


def test_threads_that_receive_drop_and_tell_leave_the_owner_with_nothing() -> None:
    held, owner, right = Holdings(), Owner(), threading.Lock()

    def work(seed: int) -> None:
        random = Random(seed)
        kept: list[Any] = []
        for _ in range(2000):
            match random.randrange(4):
                case 0:
                    number = random.randrange(5)
                    with right:
                        ident = owner.lend(next(idents), number)
                    kept.append(held.receive(number, partial(Thing, number), ident))
                case 1:
                    number = 5 + random.randrange(5)
                    kept.append(held.receive(number, partial(Thing, number), 0))
                case 2:
                    kept.clear()
                case 3:
                    with right:  # as the owner serves one call at a time
                        owner.hear(tell(held))
                        assert {thing.parts[0] for thing in kept} <= owner.numbers()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    owner.hear(tell(held))
    assert owner.held == set()
    assert held.is_empty()


@pytest.mark.parametrize("collecting", [True, False])
def test_an_interrupt_at_any_moment_leaves_the_owner_with_what_lives(collecting: bool) -> None:
    def interrupted() -> None:
        held, owner = Holdings(), Owner()
        kept: list[Any] = []
        if not collecting:
            gc.disable()

        def call() -> None:
            """As a call does whose reply brings two objects, and then one with no reply."""
            ident = next(idents)
            came = False
            try:
                owner.lend(ident, 1, 2)
                came = True
                kept.append([held.receive(number, Thing, ident) for number in (1, 2, 1)])
            except BaseException:
                held.abandon(ident, came=came)
                raise
            kept.append(held.receive(3, Thing, 0))
            news, told = held.news()
            said = {kind: unpack_pairs(p) for kind, *_, p in Decoder(FROM_CLIENT).feed(told)}
            owner.hear((set(said.get(CLAIM, ())), set(said.get(RELEASE, ()))))
            held.told(news)

        def check() -> None:
            owner.hear(tell(held))
            assert owner.numbers() == {each.number for each, _ in held}
            kept.clear()
            owner.hear(tell(held))
            assert owner.held == set()
            assert held.is_empty()

        assert interrupt(call, rounds=3000, prepare=check, longest=60e-6) > 100
        check()

    in_fork(interrupted)


# Forks -------------------------------------------------------------------------------------------


def in_child(test: Callable[[], object], heir: Holdings) -> None:
    """Run a test in a forked child, in which holdings are told, as by their `Owner`."""

    def child() -> None:
        heir.forked()
        test()

    in_fork(child)


def test_a_forked_child_claims_what_it_inherited_and_tells_nothing_of_its_parents() -> None:
    held = Holdings()
    kept = [held.receive(number, Thing, 100) for number in (7, 8)]
    held.receive(9, Thing, 100)
    held.abandon(99)

    def child() -> None:
        claims, releases = tell(held)
        assert {number for _, number in claims} == {7, 8}
        assert releases == set()
        assert len({ident for ident, _ in claims}) == 2
        by_number = {number: ident for ident, number in claims}
        del kept[0]
        assert tell(held) == (set(), {(by_number[7], 7)})
        kept.clear()
        assert tell(held) == (set(), {(by_number[8], 8)})
        assert held.is_empty()

    in_child(child, held)
    kept.clear()
    assert tell(held) == (set(), {(99, ALL)})  # the rest is the child's to rely on
    assert held.is_empty()


def test_a_child_forked_in_the_middle_of_a_reply_claims_the_rest_of_it() -> None:
    held = Holdings()
    ident = next(idents)
    first = held.receive(7, Thing, ident)

    def child() -> None:
        rest = held.receive(8, Thing, ident)
        claims, releases = tell(held)
        assert {number for _, number in claims} == {7, 8}
        assert releases == set()
        own = held.receive(9, Thing, next(idents))  # with a reply of its own
        assert tell(held) == NOTHING
        del rest, own
        assert {number for _, number in tell(held)[1]} == {8, 9}

    in_child(child, held)
    assert first


def test_a_child_needs_no_lock_that_a_thread_of_its_parent_has() -> None:
    held = Holdings()
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with held._right:
            inside.set()
            leave.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(PATIENCE)
    try:
        in_child(lambda: held.receive(7, Thing, 0), held)
    finally:
        leave.set()
        thread.join(PATIENCE)


def test_every_fork_is_counted_in_the_parent_and_the_child() -> None:
    before = len(_life.forks)
    reader, writer = os.pipe()
    in_fork(lambda: os.write(writer, bytes([len(_life.forks) - before])))
    assert len(_life.forks) == before + 2
    assert os.read(reader, 1) == b"\x01"
    os.close(reader)
    os.close(writer)
