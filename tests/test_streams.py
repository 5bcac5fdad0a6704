"""Iterating over an object of another process: lazy, in growing chunks, every item exactly once."""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeproxy import (
    CallTimeout,
    Cancelled,
    CodecError,
    OwnerDied,
    RemoteTraceback,
    spawn,
    spawning,
)
from pipeproxy import timeout as deadline
from pipeproxy._references import _streams
from pipeproxy._references._streams import FACE, AsyncSource, Chunk, Source, Stream

from .support import PATIENCE, Interrupted, in_fork, interrupt

#: As the chunks grow: 16, four times more each, at most 4,096.
ENDS = list(itertools.accumulate([1, 4, 16, 64, 256, 1024, 4096, 4096, 4096]))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time; it stands still unless the test moves it."""
    now = [1000.0]
    monkeypatch.setattr(_streams, "monotonic", lambda: now[0])
    return now


class Taker:
    """Takes from a source as a client does that gets all that it asks for."""

    def __init__(self, items: Iterator[Any]) -> None:
        self.source = Source(items)
        self.got = 0

    def take(self, count: int) -> Chunk:
        chunk, end = self.source.take(count, self.got)
        self.got += len(chunk)
        return chunk, end

    def take_all(self, count: int) -> list[list[Any]]:
        """Take until there is no more."""
        chunks, end = [], None
        while end is None:
            chunk, end = self.take(count)
            chunks.append(chunk)
        return chunks


# The owner's side ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "chunks"),
    [
        (0, [[]]),
        (2, [[0, 1]]),
        (3, [[0, 1, 2], []]),
        (4, [[0, 1, 2], [3]]),
        (7, [[0, 1, 2], [3, 4, 5], [6]]),
    ],
)
@pytest.mark.usefixtures("clock")
def test_items_are_taken_in_chunks_until_one_is_not_full(
    size: int, chunks: list[list[int]]
) -> None:
    assert Taker(iter(range(size))).take_all(3) == chunks


@pytest.mark.usefixtures("clock")
def test_not_one_item_more_is_taken_than_was_asked_for() -> None:
    endless = itertools.count()
    taker = Taker(endless)
    assert taker.take(5) == ([0, 1, 2, 3, 4], None)
    assert taker.take(2) == ([5, 6], None)
    assert next(endless) == 7


def test_a_slow_iterator_gives_what_it_has(clock: list[float]) -> None:
    def slow() -> Iterator[int]:
        for number in range(9):
            clock[0] += 0.004
            yield number

    assert Taker(slow()).take_all(100) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], []]


def test_an_iterator_slower_than_any_hurry_gives_one_item_at_a_time(clock: list[float]) -> None:
    def slow() -> Iterator[int]:
        for number in range(3):
            clock[0] += 60
            yield number

    assert Taker(slow()).take_all(100) == [[0], [1], [2], []]


def failing(after: int, error: BaseException) -> Iterator[int]:
    yield from range(after)
    raise error


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_items_come_before_the_exception_that_follows_them(
    after: int, error: BaseException
) -> None:
    taker = Taker(failing(after, error))
    items: list[int] = []
    with pytest.raises(type(error)) as caught:  # noqa: PT012 - how many chunks is not the matter
        while True:
            chunk, end = taker.take(3)
            items += chunk
            assert end is None
    assert caught.value is error
    assert items == list(range(after))


def test_what_fails_raises_each_time_that_it_is_asked_and_grows_no_traceback() -> None:
    taker = Taker(failing(0, ValueError("no")))
    lengths = []
    for _ in range(3):
        with pytest.raises(ValueError, match="no") as caught:
            taker.take(3)
        lengths.append(len(caught.traceback))
    assert lengths[1] == lengths[2]


@pytest.mark.usefixtures("clock")
def test_a_chunk_that_was_missed_is_given_again() -> None:
    source = Source(failing(7, ValueError("no")))
    for start, chunk in [(0, [0, 1, 2]), (3, [3, 4, 5]), (6, [6])]:
        for _ in range(3):
            assert source.take(3, start) == (chunk, None)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            source.take(3, 7)


@pytest.mark.usefixtures("clock")
def test_the_end_is_told_each_time_that_it_is_asked() -> None:
    source = Source(iter(range(4)))
    assert source.take(3, 0) == ([0, 1, 2], None)
    for _ in range(3):
        assert source.take(3, 3) == ([3], (None,))
    empty = Source(iter(()))
    for _ in range(3):
        assert empty.take(3, 0) == ([], (None,))


def test_a_source_shows_nothing_but_taking_throwing_and_closing() -> None:
    assert list(FACE.members.numbers) == ["take", "throw", "close"]
    assert FACE.members.attribute_names() == frozenset()


class Slots:
    """An iterator that is no generator, with something to close."""

    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Slots:
        return self

    def __next__(self) -> int:
        return 1

    def close(self) -> None:
        self.closed += 1


def test_what_is_closed_before_it_began_is_closed_all_the_same() -> None:
    slots = Slots()
    source = Source(slots)
    source.close()
    assert slots.closed == 1
    assert source.take(3, 0) == ([], (None,))


def test_what_the_owner_holds_itself_is_not_closed_with_the_stream() -> None:
    slots, numbers = Slots(), (number for number in range(9))
    for items in (slots, numbers):
        source = Source(items)  # type: ignore[arg-type]
        source.take(3, 0)
        del source
    assert slots.closed == 0
    assert next(numbers) == 3


def test_what_the_owner_does_not_hold_ends_with_the_stream_at_once() -> None:
    ended: list[int] = []

    def generate() -> Iterator[int]:
        try:
            yield from range(9)
        finally:
            ended.append(1)

    source = Source(generate())
    source.take(3, 0)
    gc.disable()
    try:
        del source
        assert ended == [1]
    finally:
        gc.enable()


def test_what_takes_no_exception_raises_it_and_goes_on() -> None:
    source = Source(iter([1, 2]))
    with pytest.raises(KeyError):
        source.throw(KeyError("no"), 0)
    assert source.take(1, 0) == ([1], None)


def test_who_is_behind_another_is_told() -> None:
    source = Source(itertools.count())
    source.take(3, 0)
    source.take(3, 3)
    for start in (0, 2, 4, 7):
        with pytest.raises(RuntimeError, match="two processes"):
            source.take(3, start)


def test_an_interrupt_as_it_is_filled_loses_nothing_untold() -> None:
    def interrupted() -> None:
        source, got, told = Source(itertools.count()), list[int](), list[str]()

        def take() -> None:
            try:
                chunk, _ = source.take(50, len(got))
            except Interrupted:  # met again: it was raised in place of an item
                source._items = source.items
                told.append("of one item at most")
                raise
            got.extend(chunk)

        assert interrupt(take, rounds=1500, longest=20e-6) > 50
        assert got == sorted(set(got))
        assert got[-1] + 1 - len(got) <= len(told)

    in_fork(interrupted)


def test_an_async_generator_that_ended_with_a_cut_call_is_no_end_of_the_stream() -> None:
    async def generate() -> AsyncIterator[int]:
        yield 1
        reached.set()
        await asyncio.Event().wait()

    async def cut_off() -> None:
        task = asyncio.create_task(source.take(5, 0))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await source.take(5, 0) == ([1], None)  # nothing that it gave is lost
        for _ in range(2):
            with pytest.raises(Cancelled, match="was cut off"):
                await source.take(5, 1)

    async def run() -> None:
        nonlocal reached
        reached = asyncio.Event()
        await asyncio.wait_for(cut_off(), PATIENCE)

    reached: Any = None
    source = AsyncSource(generate())  # type: ignore[arg-type]
    asyncio.run(run())


def test_whoever_asks_again_while_an_item_is_computed_gets_that_one() -> None:
    async def generate() -> AsyncIterator[int]:
        for number in range(2):
            await asyncio.sleep(0)
            yield number

    async def run() -> None:
        source = AsyncSource(generate())  # type: ignore[arg-type]
        first, again = await asyncio.gather(source.take(1, 0), source.take(1, 0))
        assert first == again == ([0], None)
        assert (await asyncio.gather(source.take(1, 1), source.close()))[0] == ([1], None)

    asyncio.run(run())


# The client's side --------------------------------------------------------------------------------


class Calls:
    """What a stream calls, with the source at hand: it writes down how much was asked for."""

    def __init__(self, items: Iterator[Any]) -> None:
        self.source = Source(items)
        self.counts: list[int] = []

    def call(self, number: int, plain: Any, member: int, args: Any, kwargs: Any) -> Any:
        assert number == 7
        name = FACE.members.names[member]
        if name == "take":
            self.counts.append(args[0])
        return getattr(self.source, name)(*args, **(kwargs or {}))


def stream_of(calls: Calls) -> Any:
    return Stream(calls, 7, ())  # type: ignore[arg-type]


@pytest.mark.usefixtures("clock")
def test_chunks_grow_so_that_many_items_take_few_calls() -> None:
    calls = Calls(iter(range(10_000)))
    stream = stream_of(calls)
    assert calls.counts == []  # nothing before the first item is asked for
    assert list(stream) == list(range(10_000))
    assert calls.counts == [1, 4, 16, 64, 256, 1024, 4096, 4096, 4096]


@pytest.mark.usefixtures("clock")
def test_no_chunk_is_asked_for_before_the_last_is_used_up() -> None:
    stream = stream_of(Calls(itertools.count()))
    source = stream._owner.counts
    for place in range(1500):
        assert next(stream) == place
        assert len(source) == sum(place >= end for end in [0, *ENDS])


def test_what_comes_slowly_is_handed_over_one_by_one(clock: list[float]) -> None:
    def slow() -> Iterator[int]:
        for place in range(6):
            clock[0] += 1
            yield place

    calls = Calls(slow())
    assert list(stream_of(calls)) == list(range(6))
    assert calls.counts[0] == 1
    assert set(calls.counts) <= {1, 4}


@given(st.lists(st.integers() | st.none(), max_size=200))
def test_all_items_arrive_once_and_in_order(items: list[Any]) -> None:
    stream = stream_of(Calls(iter(items)))
    assert iter(stream) is stream
    assert list(stream) == items
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(stream)


# Both, in two processes ---------------------------------------------------------------------------


class Numbers:
    """Counts, and tells how far it was asked to count, and by whom no longer."""

    def __init__(self) -> None:
        self.reset()

    def reset(self, stop: int | None = None, fail: int | None = None) -> None:
        self.stop, self.fail = stop, fail
        self.given = self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        try:
            for number in itertools.count():
                if number == self.stop:
                    return
                if number == self.fail:
                    raise ValueError(f"cannot count to {number}")
                self.given += 1
                yield number
        finally:
            self.closed += 1

    def __reversed__(self) -> Iterator[int]:
        return reversed(range(self.stop or 0))

    def pid(self) -> int:
        return os.getpid()


class Locks:
    """Iterates over what cannot travel, after three items that can."""

    def __iter__(self) -> Iterator[Any]:
        return iter([1, 2, 3, threading.Lock(), 5])


class OwnIterator:
    """Iterates over itself."""

    def __init__(self) -> None:
        self.number = 0

    def __iter__(self) -> OwnIterator:
        return self

    def __next__(self) -> int:
        self.number += 1
        if self.number > 40:
            raise StopIteration
        return self.number


@pytest.fixture(scope="module", params=multiprocessing.get_all_start_methods())
def host_of_numbers(request: pytest.FixtureRequest) -> Iterator[Numbers]:
    with spawning(multiprocessing.get_context(request.param)):
        proxy, host = spawn(Numbers)
    with host:
        yield proxy


@pytest.fixture
def numbers(host_of_numbers: Numbers) -> Numbers:
    host_of_numbers.reset()
    return host_of_numbers


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 79, 80, 81, 10_000])
def test_everything_is_iterated_over(numbers: Any, size: int) -> None:
    numbers.reset(stop=size)
    assert list(numbers) == list(range(size))
    assert numbers.closed == 1


def test_what_is_endless_is_iterated_lazily(numbers: Any) -> None:
    iterator = iter(numbers)
    assert numbers.given == 0
    given = 0
    for place, end in enumerate(ENDS[:7]):
        assert next(iterator) == given
        # As far as the chunk goes, or less far where the owner was held up meanwhile.
        assert given < numbers.given <= end
        first, given = given, numbers.given
        assert list(itertools.islice(iterator, given - first - 1)) == list(range(first + 1, given))
        assert numbers.given == given, f"it ran ahead in chunk {place}"


def test_iterators_over_one_object_are_independent(numbers: Any) -> None:
    one, other = iter(numbers), iter(numbers)
    assert list(itertools.islice(one, 100)) == list(range(100))
    assert list(itertools.islice(other, 30)) == list(range(30))
    assert list(zip(itertools.islice(one, 3), itertools.islice(other, 3), strict=True)) == [
        (100, 30),
        (101, 31),
        (102, 32),
    ]


def test_what_iterates_backwards_does_too(numbers: Any) -> None:
    numbers.reset(stop=100)
    assert list(reversed(numbers)) == list(range(99, -1, -1))


@pytest.mark.parametrize("fail", [0, 1, 16, 20, 80])
def test_the_exception_of_an_iterator_comes_in_its_place(numbers: Any, fail: int) -> None:
    numbers.reset(fail=fail)
    items = []
    with pytest.raises(ValueError, match=f"cannot count to {fail}") as caught:  # noqa: PT012
        for item in numbers:
            items.append(item)  # noqa: PERF402 - those before the exception are looked at
    assert items == list(range(fail))
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in __iter__" in caught.value.__cause__.text
    assert numbers.closed == 1


def test_after_its_exception_an_iterator_gives_nothing(numbers: Any) -> None:
    numbers.reset(fail=3)
    iterator = iter(numbers)
    assert list(itertools.islice(iterator, 3)) == [0, 1, 2]
    for _ in range(3):
        with pytest.raises(ValueError, match="cannot count"):
            next(iterator)


def test_an_iterator_that_is_dropped_early_is_closed_in_the_owner(numbers: Any) -> None:
    iterator = iter(numbers)
    assert next(iterator) == 0
    assert numbers.closed == 0
    del iterator
    assert numbers.closed == 1


def test_a_loop_that_is_left_early_lets_the_owner_forget(numbers: Any) -> None:
    for number in numbers:
        if number == 5:
            break
    assert numbers.closed == 1


def test_a_forked_child_gives_back_nothing_that_is_its_parents(numbers: Any) -> None:
    iterator = iter(numbers)
    assert next(iterator) == 0

    def drop() -> None:
        nonlocal iterator
        del iterator
        assert numbers.closed == 0

    in_fork(drop)
    assert list(itertools.islice(iterator, 100)) == list(range(1, 101))
    assert numbers.closed == 0


def test_a_timeout_skips_no_item(numbers: Any) -> None:
    iterator = iter(numbers)
    owner = numbers.pid()
    os.kill(owner, signal.SIGSTOP)
    try:
        with pytest.raises(CallTimeout), deadline(0.05):
            next(iterator)
    finally:
        os.kill(owner, signal.SIGCONT)
    assert list(itertools.islice(iterator, 40)) == list(range(40))


class GivenUp(Exception):
    pass


def give_up(number: int, frame: object) -> NoReturn:
    raise GivenUp


def test_an_interrupt_skips_no_item(numbers: Any) -> None:
    owner = numbers.pid()

    def be_interrupted() -> None:
        iterator = iter(numbers)
        os.kill(owner, signal.SIGSTOP)
        signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            with pytest.raises(GivenUp):
                next(iterator)
        finally:
            os.kill(owner, signal.SIGCONT)
        assert list(itertools.islice(iterator, 40)) == list(range(40))

    in_fork(be_interrupted)  # the timer of this process belongs to pytest-timeout


def test_an_item_that_cannot_travel_is_named_and_not_skipped() -> None:
    proxy, host = spawn(Locks)
    with host:
        iterator = iter(proxy)
        for _ in range(2):
            with pytest.raises(CodecError, match="lock"):
                list(iterator)


def test_items_that_arrived_outlive_their_owner() -> None:
    proxy, host = spawn(Numbers)
    with host:
        iterator = iter(proxy)
        assert next(iterator) == 0
        arrived = proxy.given
    with pytest.raises(OwnerDied):  # noqa: PT012
        for expected in range(1, 1000):
            assert next(iterator) == expected
    assert expected == arrived


def test_an_object_that_is_its_own_iterator_is_iterated_over() -> None:
    proxy, host = spawn(OwnIterator)
    with host:
        assert next(proxy) == 1
        assert list(proxy) == list(range(2, 41))
        assert proxy.number == 41
