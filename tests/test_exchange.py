"""A call gets its own answer or an error, whatever came between: timeouts, signals, threads."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from time import monotonic
from typing import Any

import pytest

from pipeproxy import CallTimeout, Host, share, spawn, spawning, timeout
from pipeproxy._channels._door import Route
from pipeproxy._channels._wire import CALL, CROWDED, FAILURE, RESULT, header
from pipeproxy._client._exchange import Exchange
from pipeproxy._client._held import Holdings
from pipeproxy._client._lines import Line, Lines
from pipeproxy._client._pool import Pool
from pipeproxy.errors import ProtocolError
from pipeproxy.transports.pipe import open_pair

from .children import Child, poll_until, run
from .support import PATIENCE, in_fork, interrupt, open_descriptors

pytestmark = pytest.mark.usefixtures("descriptors_kept")

MIB = 1 << 20


class Slow:
    """Answers when the test says so."""

    def __init__(self, go: Connection) -> None:
        self._go = go
        self._seen: list[Any] = []

    def echo(self, value: Any) -> Any:
        return value

    def hold(self, size: int = 0) -> bytes:
        """Return so many bytes, once the test has sent something."""
        self._go.recv_bytes()
        return bytes(size)

    def put(self, data: bytes, *more: bytes) -> int:
        self._seen.append(len(data))
        return len(data)

    def note(self, token: int, data: bytes = b"") -> int:
        self._seen.append(token)
        return token

    def seen(self) -> list[Any]:
        return self._seen

    def signal(self, pid: int, number: int) -> str:
        """Send a signal to the caller, in the middle of its call."""
        os.kill(pid, number)
        return "outer"

    def descriptors(self) -> int:
        return len(open_descriptors())


class Scene:
    """The object in a process of its own; this process is the client."""

    def __init__(self, proxy: Any, host: Host, go: Connection) -> None:
        self.proxy = proxy
        self.host = host
        self._go = go
        self._tokens = itertools.count(1)

    def release(self, calls: int = 1) -> None:
        for _ in range(calls):
            self._go.send_bytes(b"go")

    def check(self) -> None:
        """The next calls get their own answers."""
        for _ in range(3):
            token = next(self._tokens)
            assert self.proxy.echo(token) == token

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The owner takes nothing meanwhile."""
        pid = self.host.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def scene_of(context: Any) -> Iterator[Scene]:
    here, there = context.Pipe()
    with spawning(context):
        proxy, host = spawn(Slow, there)
    there.close()
    with host:
        scene = Scene(proxy, host, here)
        yield scene
        del scene.proxy, scene.host, proxy
    here.close()
    del host


@pytest.fixture
def scene() -> Iterator[Scene]:
    with scene_of(multiprocessing.get_context("fork")) as scene:
        yield scene


# Timeouts ----------------------------------------------------------------------------------------


def test_after_a_timeout_the_next_call_gets_its_own_answer(context: BaseContext) -> None:
    with scene_of(context) as scene:
        scene.check()
        for _ in range(3):
            with pytest.raises(CallTimeout, match="it may still be running"), timeout(0.02):
                scene.proxy.hold()
            scene.release()
            scene.check()


@pytest.mark.parametrize("size", [100_000, 5 * MIB])
def test_a_large_late_reply_is_not_taken_for_another(scene: Scene, size: int) -> None:
    for _ in range(3):
        with pytest.raises(CallTimeout), timeout(0.02):
            scene.proxy.hold(size)
        scene.release()
        scene.check()
    scene.release()
    assert len(scene.proxy.hold(size)) == size


def test_several_late_replies_are_dropped_in_a_row(scene: Scene) -> None:
    scene.check()
    gc.collect()  # what an earlier test left is not counted
    before = len(open_descriptors())
    with scene.stopped():
        for token in range(20):
            with pytest.raises(CallTimeout), timeout(0.002):
                scene.proxy.note(token)
    scene.check()
    # Each was written whole, so each ran, once.
    assert scene.proxy.seen() == list(range(20))
    assert len(open_descriptors()) == before


def test_a_half_written_call_never_runs(scene: Scene) -> None:
    scene.check()
    gc.collect()  # what an earlier test left is not counted
    before = len(open_descriptors())
    for _ in range(3):
        with scene.stopped(), pytest.raises(CallTimeout), timeout(0.02):
            # Many small ones, which no shared memory takes.
            scene.proxy.put(b"", *[bytes(1000) for _ in range(5000)])
        scene.check()
    assert scene.proxy.seen() == []
    assert scene.proxy.put(b"12", *[bytes(1000) for _ in range(5000)]) == 2
    assert len(open_descriptors()) == before


def test_a_timeout_in_the_middle_of_a_large_reply(scene: Scene) -> None:
    """The owner stops when a part of the reply is on its way."""
    size = 24 * MIB
    timeouts = 0
    for seconds in (0.001, 0.002, 0.004, 0.008):
        scene.release()
        try:
            with timeout(seconds):
                assert len(scene.proxy.hold(size)) == size
        except CallTimeout:
            timeouts += 1
        scene.check()
    assert timeouts > 0


def test_a_timeout_covers_all_calls_of_its_block(scene: Scene) -> None:
    with timeout(0.02):
        scene.check()
        with pytest.raises(CallTimeout):
            scene.proxy.hold()
        with pytest.raises(CallTimeout):
            scene.proxy.echo(1)
    scene.release()
    scene.check()


def test_of_nested_timeouts_the_earliest_counts(scene: Scene) -> None:
    began = monotonic()
    with timeout(0.02), timeout(1000), pytest.raises(CallTimeout):
        scene.proxy.hold()
    with timeout(1000):
        with timeout(0.02), pytest.raises(CallTimeout):
            scene.proxy.hold()
        scene.release(2)
        scene.check()
    assert monotonic() - began < PATIENCE


def test_a_timeout_is_of_one_thread(scene: Scene) -> None:
    entered, done = threading.Event(), threading.Event()

    def hurry() -> None:
        with timeout(0.001):
            entered.set()
            done.wait(PATIENCE)

    thread = threading.Thread(target=hurry)
    thread.start()
    entered.wait(PATIENCE)
    scene.check()
    done.set()
    thread.join()


def test_a_long_timeout_waits_for_no_more_than_the_answer(scene: Scene) -> None:
    with timeout(1_000_000):
        scene.check()
        assert scene.proxy.put(bytes(MIB)) == MIB


class AtHome:
    def echo(self, value: int) -> int:
        return value


def test_at_home_a_call_is_an_ordinary_call() -> None:
    proxy, listener = share(AtHome())
    with listener, timeout(1e-9):
        assert proxy.echo(5) == 5


def give_up(proxy: Any) -> str:
    try:
        with timeout(0.02):
            proxy.echo(1)
    except CallTimeout as error:
        return str(error)
    return "answered"


def test_a_timeout_holds_while_nobody_serves(context: BaseContext) -> None:
    proxy, listener = share(AtHome())
    with listener, Child(context, give_up, proxy) as child:
        assert "was not answered within its timeout" in child.result()
        child.do(many, proxy, 7, 3)
        assert child.result(listener) is True


# Signals -----------------------------------------------------------------------------------------


def interrupted_client(proxy: Any) -> tuple[int, int, list[int]]:
    """Call while a signal handler raises; return how often it did, and the tokens tried."""
    tokens = itertools.count(1)
    sizes = itertools.cycle([0, 10, 1000, 100_000, 300_000])
    given: list[int] = []
    before = 0

    def call() -> None:
        token = next(tokens)
        given.append(token)
        assert proxy.note(token, bytes(next(sizes))) == token

    for _ in range(5):  # each size once: the last takes memory that is kept
        call()
    gc.collect()
    before = len(open_descriptors())
    raised = 0
    while raised < 200:
        raised += interrupt(call, prepare=call, rounds=25, longest=400e-6)
    call()
    gc.collect()
    return raised, len(open_descriptors()) - before, given


def test_after_an_interrupt_at_any_moment_calls_get_their_own_answers(
    context: BaseContext,
) -> None:
    with scene_of(context) as scene, Child("fork", interrupted_client, scene.proxy) as child:
        raised, leaked, given = child.result()
        assert raised >= 200
        assert leaked <= 0
        seen = scene.proxy.seen()
        assert len(seen) == len(set(seen))  # at most once
        assert set(seen) <= set(given)
        assert seen == sorted(seen)


def interrupted_first_calls(proxy: Any) -> int:
    """The same where every call is the first one of its thread's channel, or nearly."""
    from pipeproxy._proxies._proxy import link_of

    lines = link_of(proxy).call.func.__self__.lines
    raised = 0

    def call() -> None:
        lines._mine.lines.clear()
        assert proxy.echo(5) == 5

    gc.collect()  # what an earlier test left is not counted
    before = len(open_descriptors())
    while raised < 200:
        raised += interrupt(call, rounds=25, longest=600e-6)
    assert proxy.echo(6) == 6
    gc.collect()
    return len(open_descriptors()) - before


def test_an_interrupt_while_a_channel_is_opened_leaves_nothing(scene: Scene) -> None:
    scene.check()
    before = scene.proxy.descriptors()
    with Child("fork", interrupted_first_calls, scene.proxy) as child:
        assert child.result() <= 4
    del child
    poll_until(lambda: scene.proxy.descriptors() <= before)


def test_a_call_inside_a_signal_handler_during_a_call(scene: Scene) -> None:
    inner: list[Any] = []

    def handle(number: int, frame: object) -> None:
        inner.append(scene.proxy.echo("inner"))

    scene.check()
    old = signal.signal(signal.SIGUSR1, handle)
    try:
        gc.collect()  # what an earlier test left is not counted
        before = len(open_descriptors())
        for _ in range(10):
            assert scene.proxy.signal(os.getpid(), signal.SIGUSR1) == "outer"
            scene.check()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert inner == ["inner"] * 10
    assert len(open_descriptors()) <= before


def test_a_call_inside_a_handler_of_another_such_call(scene: Scene) -> None:
    depth = 0

    def handle(number: int, frame: object) -> None:
        nonlocal depth
        depth += 1
        if depth < 5:
            assert scene.proxy.signal(os.getpid(), signal.SIGUSR1) == "outer"
        assert scene.proxy.echo(depth) is not None

    old = signal.signal(signal.SIGUSR1, handle)
    try:
        assert scene.proxy.signal(os.getpid(), signal.SIGUSR1) == "outer"
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert depth == 5
    scene.check()


def test_a_signal_handler_that_returns_interrupts_nothing(scene: Scene) -> None:
    def client() -> None:
        hits: list[int] = []
        signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        while len(hits) < 100:
            scene.check()
            assert scene.proxy.put(bytes(MIB)) == MIB
        signal.setitimer(signal.ITIMER_REAL, 0)

    in_fork(client)


# Threads -----------------------------------------------------------------------------------------


def test_each_thread_has_a_channel_of_its_own_that_ends_with_it(scene: Scene) -> None:
    scene.check()
    before, owners = len(open_descriptors()), scene.proxy.descriptors()
    counts: list[int] = []
    called, go_on = threading.Barrier(9), threading.Event()

    def work(number: int) -> None:
        assert scene.proxy.echo(number) == number
        called.wait(PATIENCE)
        go_on.wait(PATIENCE)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    called.wait(PATIENCE)
    counts = [len(open_descriptors()) - before, scene.proxy.descriptors() - owners]
    go_on.set()
    for thread in threads:
        thread.join()
    del thread
    threads.clear()
    assert counts == [16, 16]  # a pipe each way, on both sides
    assert len(open_descriptors()) == before
    poll_until(lambda: scene.proxy.descriptors() == owners)


def test_a_slow_call_of_one_thread_stops_no_other_in_its_own_process(scene: Scene) -> None:
    other, done = [], threading.Event()

    def slow() -> None:
        scene.proxy.hold()
        done.set()

    thread = threading.Thread(target=slow)
    thread.start()
    with timeout(0.02):
        try:
            other.append(scene.proxy.echo(1))
        except CallTimeout:
            other.append("waits")  # calls of one object run one at a time
    scene.release()
    assert done.wait(PATIENCE)
    thread.join()
    assert other in ([1], ["waits"])
    scene.check()


def test_a_channel_of_the_parent_is_not_used_by_its_forked_child(scene: Scene) -> None:
    def child() -> None:
        for _ in range(50):
            scene.check()

    scene.check()
    with Child("fork", many, scene.proxy, "other", 200) as other:
        in_fork(child)
        for _ in range(50):
            scene.check()
        assert other.result()


def many(proxy: Any, token: Any, times: int) -> bool:
    tokens = [(token, number) for number in range(times)]
    return [proxy.echo(each) for each in tokens] == tokens


def test_replies_of_a_crowd_of_threads_are_not_mixed_up(context: BaseContext) -> None:
    proxy, listener = share(AtHome())
    with listener:
        assert run(context, listener, crowd, proxy) == [True] * 12


def crowd(proxy: Any) -> list[bool]:
    fine: list[bool] = []

    def work(number: int) -> None:
        tokens = range(number * 1000, number * 1000 + 30)
        fine.append([proxy.echo(token) for token in tokens] == list(tokens))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return fine


# A short trip ------------------------------------------------------------------------------------


class Trip:
    """An exchange with an owner that says what the test puts into its mouth, read by read."""

    def __init__(self, *words: bytes) -> None:
        route = Route(b"l" * 16, b"p" * 16, os.getpid(), b"\0nowhere", b"secret", 0.0)
        held, lines = Holdings(), Lines(route)
        around: Any = None
        self.exchange = Exchange(route, held, around, lines, Pool(lines, held))
        own, self.theirs = open_pair()
        self.line = Line(own, None, 0.0)
        self._words = list(words)
        self.line.wait = self._speak

    def _speak(self, _: float | None) -> list[tuple[int, int]]:
        self.theirs.write(self._words.pop(0))
        return [(self.line.pipe.reader, 1)]

    def take(self) -> tuple[int, bytes]:
        """Make one call, by the ident 7; return the kind and the payload of its reply."""
        kind, payload = self.exchange.trip(self.line, 7, 1, 4, b"arguments")
        return kind, bytes(payload)

    def close(self) -> None:
        self.line.close()
        self.theirs.close()


def said(kind: int, ident: int, payload: bytes) -> bytes:
    return header(kind, len(payload), ident) + payload


MINE = said(RESULT, 7, b"mine")


@pytest.mark.parametrize(
    "words",
    [
        [MINE],
        [said(RESULT, 6, b"late"), MINE],
        [said(FAILURE, 6, b"late"), MINE],
        [said(RESULT, 6, b"late") + MINE],
        [MINE[:10], MINE[10:]],
        [MINE[:24], MINE[24:]],
        [MINE[:26], MINE[26:]],
        [said(RESULT, 6, b"late")[:26], said(RESULT, 6, b"late")[26:] + MINE],
    ],
)
def test_a_short_trip_ends_with_its_own_reply(words: list[bytes]) -> None:
    trip = Trip(*words)
    assert trip.take() == (RESULT, b"mine")
    assert not trip.line.busy
    trip.close()


@pytest.mark.parametrize("member", [0, CROWDED])
def test_after_a_reply_of_a_crowded_owner_the_next_is_not_spun_for(member: int) -> None:
    trip, rests = Trip(header(RESULT, 4, 7, member=member) + b"mine"), []
    trip.line.rest = lambda: rests.append(1)
    assert trip.take() == (RESULT, b"mine")
    assert len(rests) == member
    trip.close()


def test_a_short_trip_brings_a_failure_as_such() -> None:
    trip = Trip(said(FAILURE, 7, b"why"))
    assert trip.take() == (FAILURE, b"why")
    trip.close()


def test_a_short_trip_to_an_owner_that_knows_calls_which_were_never_made_ends_its_line() -> None:
    trip = Trip(said(RESULT, 8, b"never"))
    with pytest.raises(ProtocolError, match="never made"):
        trip.take()
    assert trip.line.pipe.closed
    trip.close()


def test_a_short_trip_to_an_owner_that_says_what_only_clients_do_ends_its_line() -> None:
    trip = Trip(said(CALL, 7, b"mine"))
    with pytest.raises(ProtocolError, match="not legal"):
        trip.take()
    assert trip.line.pipe.closed
    trip.close()
