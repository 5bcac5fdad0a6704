"""Rule 1: a call gets its own reply or an error, wherever the call before was interrupted."""

from __future__ import annotations

import os
import select
import signal
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import cycle, islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from random import Random
from time import monotonic
from typing import Any

import pytest

from pipeproxy import CallLost, CallTimeout, batch, share, submit, timeout
from pipeproxy.testing import (
    AFTER,
    BEFORE,
    MIDDLE,
    READING,
    Interrupted,
    Moment,
    disturbed,
    interrupt,
)

from ..children import Child
from ..support import PATIENCE, fork
from ..support import Interrupted as Alarmed
from ..support import interrupt as interrupt_by_alarm
from .rows import Row, Tally, run
from .trial import (
    HANGS,
    SIZES,
    Caller,
    Echo,
    EchoManager,
    Side,
    Trial,
    WrongAnswer,
    answer_to,
    is_end,
    managers,
    ours,
    reason_of,
    words,
)

# What is tried -----------------------------------------------------------------------------------


class Flying(Trial):
    """The same, with calls that the thread does not wait for one by one."""

    def call(self, size: int) -> int:
        with batch():
            begun = [(next(self._tokens), size) for _ in range(3)]
            flying = [submit(self._echo.answer, *each) for each in begun]
        begun.append((next(self._tokens), 10))
        answers = [self._echo.answer(*begun[-1]), *(future.result(HANGS) for future in flying)]
        if answers != [answer_to(*each) for each in (begun[-1], *begun[:-1])]:
            raise WrongAnswer("no reply of its own")
        return begun[-1][0]


def by_signals(side: Side, seed: int, count: int = 1000, kind: type[Trial] = Trial) -> Tally:
    """A signal at a random moment, whose handler raises."""
    with side() as echo, kind(echo, seed) as trial:
        under_way = False

        def attempt(size: int) -> None:
            nonlocal under_way
            under_way = True
            if not trial.over:
                trial.attempt(size)
            under_way = False

        def check(size: int) -> None:
            nonlocal under_way
            if under_way and not trial.over:
                trial.later(size)
            under_way = False

        sizes = cycle(SIZES)
        while trial.interrupted < count and not trial.over:
            size = next(sizes)
            action, prepare = partial(attempt, size), partial(check, size)
            rounds = min(20, count - trial.interrupted)
            interrupt_by_alarm(
                action, rounds=rounds, prepare=prepare, longest=2 * trial.usual(size)
            )
            check(size)
        return trial.tally()


def by_timeouts(seed: int, count: int = 1000) -> Tally:
    """A deadline at a random moment."""
    with ours() as echo, Trial(echo, seed) as trial:
        for _, size in zip(range(count), cycle(SIZES), strict=False):
            try:
                with timeout(trial.usual(size)):
                    trial.attempt_without_end(size)
            except CallTimeout:
                trial.later(size)
        return trial.tally()


def by_ctrl_c(side: Side, seed: int, count: int = 1000) -> Tally:
    """Ctrl-C, from another process, at a random moment of a loop of calls."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    reader, writer = os.pipe()
    pid = os.getpid()

    def keyboard() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.close(writer)
        while seconds := os.read(reader, 8):
            select.select([], [], [], *struct.unpack("d", seconds))
            os.kill(pid, signal.SIGINT)

    hands = fork(keyboard)
    with side() as echo, Trial(echo, seed) as trial:
        for _, size in zip(range(count), cycle(SIZES), strict=False):
            try:
                os.write(writer, struct.pack("d", trial.usual(size)))
                trial.attempt_without_end(size)
                select.select([], [], [])
            except KeyboardInterrupt:
                trial.later(size)
            if trial.over:
                break
        tally = trial.tally()
    os.close(reader)
    os.close(writer)
    os.waitpid(hands, 0)
    return tally


@contextmanager
def connection_disturbed(when: Moment) -> Iterator[None]:
    """Do to a Connection of multiprocessing what ``disturbed(interrupt(), frame=1)`` does to ours:
    to the first message that the main thread sends, or receives, once in the block.
    """
    real: Any = Connection
    send, receive = real._send, real._recv
    act = interrupt()
    due = True

    def is_due(reading: bool) -> bool:
        return due and reading == (when is READING) and threading.get_ident() == main

    def disturbed_send(self: Any, data: Any, *rest: Any) -> None:
        nonlocal due
        if is_due(reading=False):
            due = False
            place = {BEFORE: 0, MIDDLE: len(data) // 2, AFTER: len(data)}[when]
            send(self, data[:place], *rest)
            act()
        send(self, data, *rest)

    def disturbed_receive(self: Any, size: int, *rest: Any) -> Any:
        nonlocal due
        if size > 4 and is_due(reading=True):  # not the four bytes of a size
            due = False
            receive(self, size // 2, *rest)
            act()
        return receive(self, size, *rest)

    main = threading.get_ident()
    real._send, real._recv = disturbed_send, disturbed_receive
    try:
        yield
    finally:
        real._send, real._recv = send, receive


Disturb = Callable[[Moment], AbstractContextManager[Any]]


def disturb_ours(when: Moment) -> disturbed:
    return disturbed(interrupt(), frame=1, when=when)


def at_moment(when: Moment, side: Side, disturb: Disturb, seed: int, count: int = 250) -> Tally:
    """An interrupt at a chosen moment of each call."""
    with side() as echo, Trial(echo, seed) as trial:
        for _, size in zip(range(count), cycle(SIZES), strict=False):
            try:
                with disturb(when):
                    trial.attempt(size)
            except Interrupted:
                trial.later(size)
            if trial.over:
                break
        return trial.tally()


# An owner that is interrupted --------------------------------------------------------------------


Report = tuple[int, Counter[str]]


def call_until(echo: Any, number: int, done: Any, most: int | None = None) -> Report:
    """Call until `done` is set, or so often; return the lost calls, and what else went wrong."""
    caller = Caller(echo, number)
    lost, wrong = 0, Counter[str]()
    for size in islice(cycle((10, 10, 10, 100_000, 10, 10, 3_000_000)), most):
        if done.is_set():
            break
        try:
            caller.call(size)
        except CallLost:
            lost += 1
        except Alarmed:
            pass  # it was raised in the method itself
        except Exception as error:
            wrong[reason_of(error)] += 1
            if is_end(error):
                break
    return lost, wrong


def owner_by_signals(seed: int, count: int = 1000) -> Tally:
    """A signal at a random moment of the owner's loop, which four clients keep busy."""
    random = Random(seed)
    context = get_context("fork")
    done = context.Event()
    object_ = Echo()
    echo, listener = share(object_)
    clients = [Child(context, call_until, echo, number, done) for number in range(1, 5)]
    interrupted = 0
    while interrupted < count:
        longest = random.uniform(1e-4, 4e-3)

        def serve(seconds: float = longest) -> None:
            end = monotonic() + seconds  # the alarm may be raised in a method, and end that only
            listener.serve(until=lambda: monotonic() > end)

        interrupted += interrupt_by_alarm(
            serve, rounds=min(20, count - interrupted), longest=longest
        )
    done.set()
    lost, wrong = 0, Counter[str]()
    for client in clients:
        cut, also = client.result(listener)
        lost, wrong = lost + cut, wrong + also
        client.end()
    listener.close()
    if lost > interrupted:
        wrong["a channel more than there were interrupts"] += lost - interrupted
    if twice := sum(times > 1 for times in object_.runs().values()):
        wrong["a call ran twice"] += twice
    return Tally(interrupted, sum(wrong.values()), words(wrong))


def interrupt_in(seconds: float) -> None:
    """In the process of a Manager: a signal comes whose handler raises."""

    def handle(number: int, frame: object) -> None:
        raise Alarmed

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def managers_owner_by_signals(seed: int) -> Tally:
    """The same by Manager; one interrupt is enough."""
    context = get_context("fork")
    done = context.Event()
    manager = EchoManager(ctx=context)
    manager.start(interrupt_in, (Random(seed).uniform(0.1, 0.2),))
    echo = manager.Echo()  # type: ignore[attr-defined]
    clients = [Child(context, call_until, echo, number, done) for number in range(1, 5)]
    lost = sum(bool(client.result()[1]) for client in clients)
    for client in clients:
        client.end()
    manager.shutdown()
    return Tally(1, min(lost, 1), f"the server ended, {lost} of 4 clients with it" if lost else "")


SIZES_IN_WORDS = "replies of 10 bytes, 100 KB and 3 MB"
ROWS = [
    Row(
        f"call interrupted by a signal at a random moment, {SIZES_IN_WORDS}",
        partial(by_signals, ours),
        partial(by_signals, managers),
        seconds=180,
    ),
    Row(
        f"calls in flight, one of them waited for, interrupted by a signal, {SIZES_IN_WORDS}",
        partial(by_signals, ours, kind=Flying),
        "has no calls in flight",
        seconds=180,
    ),
    Row(
        f"call given up by a timeout at a random moment, {SIZES_IN_WORDS}",
        by_timeouts,
        "has no timeouts",
        seconds=180,
    ),
    *(
        Row(
            f"call interrupted {when.value}",
            partial(at_moment, when, ours, disturb_ours),
            partial(at_moment, when, managers, connection_disturbed),
        )
        for when in Moment
    ),
    Row(
        "Ctrl-C in a client that calls, at a random moment",
        partial(by_ctrl_c, ours),
        partial(by_ctrl_c, managers),
    ),
    Row(
        "owner interrupted by a signal while four clients call: cuts one channel at most",
        owner_by_signals,
        managers_owner_by_signals,
        seconds=180,
    ),
]


# The tests ---------------------------------------------------------------------------------------


def assert_nothing_lost(trial: Callable[[int], Tally], tried: int, seed: int) -> None:
    """In a process of its own: the alarm clock of this one belongs to pytest-timeout."""
    assert run(trial, seed, PATIENCE) == Tally(tried, 0)


def test_after_a_signal_calls_in_flight_get_their_own_answers() -> None:
    assert_nothing_lost(partial(by_signals, ours, count=60, kind=Flying), 60, 1)


@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_signal_at_any_moment_calls_get_their_own_answers(seed: int) -> None:
    assert_nothing_lost(partial(by_signals, ours, count=100), 100, seed)


@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_timeout_at_any_moment_calls_get_their_own_answers(seed: int) -> None:
    assert_nothing_lost(partial(by_timeouts, count=100), 100, seed)


@pytest.mark.parametrize("when", Moment)
def test_after_an_interrupt_at_a_chosen_moment_calls_get_their_own_answers(when: Moment) -> None:
    assert_nothing_lost(partial(at_moment, when, ours, disturb_ours, count=30), 30, 1)


def test_ctrl_c_leaves_the_proxy_usable() -> None:
    assert_nothing_lost(partial(by_ctrl_c, ours, count=50), 50, 1)


@pytest.mark.parametrize("seed", [1, 2])
def test_an_interrupted_owner_cuts_one_channel_at_most_and_answers_all_others(seed: int) -> None:
    assert_nothing_lost(partial(owner_by_signals, count=100), 100, seed)


@pytest.mark.parametrize("when", Moment)
def test_an_owner_interrupted_at_a_chosen_moment_cuts_one_channel(when: Moment) -> None:
    def owner(seed: int) -> Tally:
        context = get_context("fork")
        echo, listener = share(Echo())
        never = context.Event()
        clients = [Child(context, call_until, echo, number, never, 20) for number in (1, 2, 3)]
        with pytest.raises(Interrupted), disturbed(interrupt(), frame=10, when=when):
            listener.serve(until=[client.process for client in clients])
        reports = [client.result(listener) for client in clients]
        for client in clients:
            client.end()
        listener.close()
        assert sum((wrong for _, wrong in reports), Counter[str]()) == {}
        return Tally(1, sum(lost for lost, _ in reports))

    assert run(owner, 1, PATIENCE) == Tally(1, 1)  # exactly one call was lost


@pytest.mark.parametrize("when", Moment)
@pytest.mark.parametrize("size", SIZES)
def test_an_interrupted_call_ran_once_if_it_was_written_and_else_never(
    when: Moment, size: int
) -> None:
    with ours() as echo:
        caller = Caller(echo)
        for _ in range(10):
            with pytest.raises(Interrupted), disturbed(interrupt(), frame=1, when=when):
                caller.call(size)
            interrupted = caller.token
            caller.call(size)
            assert echo.runs().get(interrupted, 0) == (1 if when in (AFTER, READING) else 0)
