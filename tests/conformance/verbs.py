"""What clients do with the verbs; loads no pytest."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable
from concurrent import futures
from itertools import count, cycle
from multiprocessing.connection import Connection
from time import monotonic, sleep
from typing import Any

from pipeproxy import (
    CallTimeout,
    Cancelled,
    aio,
    batch,
    by_ref,
    cancelled,
    locked,
    notify,
    oneway,
    proxied,
    run,
    share,
    submit,
    timeout,
)
from tests.support import PATIENCE, fork, interrupt


class Desk:
    """Notes what it is told, in the order in which it is."""

    def __init__(self) -> None:
        self.noted: list[Any] = []
        self.kept: Any = None

    def note(self, word: Any, data: bytes = b"") -> Any:
        self.noted.append(word)
        return word

    @oneway
    def tell(self, word: Any) -> None:
        self.noted.append(word)

    def words(self) -> list[Any]:
        return list(self.noted)

    def fail(self, word: str) -> None:
        raise LookupError(word)

    def call(self, function: Any, *args: Any) -> Any:
        return function(*args)

    def call_and_note(self, function: Any) -> None:
        self.noted.append(function())

    def lend(self) -> Any:
        return by_ref([1, 2, 3])

    def pid(self) -> int:
        return os.getpid()

    def go_on_until_given_up(self) -> None:
        while not cancelled():
            sleep(0.001)
        self.noted.append("given up")

    def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def ask(self, other: Any, word: Any) -> Any:
        """As a client of another owner: begin two calls there, and make one."""
        first, second = submit(other.note, (word, 1)), submit(other.note, (word, 2))
        return [other.note((word, 3)), second.result(PATIENCE), first.result(PATIENCE)]


@proxied(dispatch="threads")
class Threads(Desk):
    pass


@proxied(home="queue")
class Queued(Desk):
    pass


@proxied(dispatch="asyncio")
class Room(Desk):
    """The same for an event loop; whoever waits does so until the door is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.door: Any = None
        self.waiting = 0

    async def wait(self, word: Any) -> Any:
        self.door = self.door or asyncio.Event()
        self.waiting += 1
        await self.door.wait()
        return word

    async def open(self) -> None:
        self.door = self.door or asyncio.Event()
        self.door.set()

    async def mark(self, word: Any) -> Any:
        self.noted.append(word)
        return word

    async def break_down(self, word: str) -> None:
        raise LookupError(word)

    def count(self) -> int:
        return self.waiting


def serve_room(told: Connection) -> None:
    """Own a room in an event loop until this process is killed."""
    proxy, listener = share(Room())
    told.send(proxy)
    asyncio.run(listener.serve_async())


def wait_at(gate: str) -> None:
    """Wait until somebody has opened a named pipe, and closed it."""
    with open(gate, "rb") as pipe:
        assert not pipe.read()


# Futures -----------------------------------------------------------------------------------------


def futures_of_all_kinds(desk: Any) -> None:
    begun = [submit(desk.note, n) for n in range(20)]
    assert all(type(f).__mro__[1] is futures.Future for f in begun)
    done, rest = futures.wait(begun, PATIENCE)
    assert (len(done), rest) == (20, set())
    assert [f.result() for f in begun] == list(range(20))
    begun = [submit(desk.note, n) for n in range(20, 40)]
    assert sorted(f.result() for f in futures.as_completed(begun, PATIENCE)) == [*range(20, 40)]
    failing = submit(desk.fail, "why")
    error = failing.exception(PATIENCE)
    assert type(error) is LookupError
    assert error.args == ("why",)
    assert "in fail" in str(error.__cause__)
    called: list[Any] = []
    event = threading.Event()
    last = submit(desk.note, 40)
    last.add_done_callback(called.append)
    last.add_done_callback(lambda _: event.set())
    assert event.wait(PATIENCE)
    assert called == [last]
    assert (last.done(), last.running(), last.cancelled(), last.cancel()) == (
        True,
        False,
        False,
        False,
    )
    assert desk.words() == list(range(41))


def cancel_before_it_is_sent(desk: Any) -> None:
    desk.note("first")
    with batch():
        first, second = submit(desk.note, "never"), submit(desk.note, "second")
        assert first.cancel()
        assert first.cancel()
        waiting = submit(desk.note, "never"), submit(desk.note, "third")
        assert waiting[0].cancel()
    assert futures.wait([first, second, *waiting], PATIENCE)[1] == set()
    assert first.cancelled()
    assert desk.words() == ["first", "second", "third"]


def wait_for_what_another_thread_cancels(desk: Any) -> None:
    with batch():
        begun = submit(desk.note, "never")
        found: list[Any] = []
        waits = threading.Event()

        def wait() -> None:
            begun.add_done_callback(lambda _: waits.set())
            try:
                begun.result(PATIENCE)
            except futures.CancelledError:
                found.append("cancelled")

        # It does not hurry, as the pipe is full of what nobody takes.
        begun.flight = None
        thread = threading.Thread(target=wait)
        thread.start()
        while not begun._waiters:
            pass
        began = monotonic()
        assert begun.cancel()
        thread.join(PATIENCE)
        assert monotonic() - began < PATIENCE / 2
    assert found == ["cancelled"]


def mix_all_verbs(desk: Any) -> None:
    expected: list[Any] = []
    begun = []
    numbers = count()

    async def mixed() -> None:
        for round_ in range(60):
            n = [next(numbers) for _ in range(6)]
            expected.extend(n)
            begun.append(submit(desk.note, n[0], bytes(round_ * 2000)))
            notify(desk.note, n[1])
            task = asyncio.ensure_future(aio(desk.note)(n[2]))
            await asyncio.sleep(0)  # it has begun
            desk.tell(n[3])
            if round_ % 3:
                assert desk.note(n[4]) == n[4]
            else:
                begun.append(submit(desk.note, n[4]))
            with batch():
                begun.append(submit(desk.note, n[5]))
            assert await task == n[2]

    asyncio.run(mixed())
    assert run(desk, Desk.words) == expected
    assert futures.wait(begun, PATIENCE)[1] == set()


def run_functions(desk: Any) -> None:
    assert run(desk, add_twice, "a", second="b") == 2
    assert desk.words() == ["a", "b"]
    assert run(desk, type_of) == "Desk"
    try:
        run(desk, Desk.fail, "why")
    except LookupError as error:
        assert error.args == ("why",)  # noqa: PT017 - no pytest here
    else:
        raise AssertionError


def add_twice(desk: Desk, first: str, *, second: str) -> int:
    desk.noted += [first, second]
    return len(desk.noted)


def type_of(desk: Desk) -> str:
    return type(desk).__name__


# Ends --------------------------------------------------------------------------------------------


def outcomes(begun: list[Any]) -> set[str]:
    """How they end: each within a moment."""
    return {type(f.exception(PATIENCE)).__name__ for f in begun}


def submit_until_it_dies(desk: Any) -> set[str]:
    begun = [submit(desk.note, n) for n in range(50)]
    assert outcomes(begun) == {"NoneType"}
    begun = [submit(desk.stop)]
    try:
        begun += [submit(desk.note, n) for n in range(5000)]
    except ConnectionError:
        pass
    return outcomes(begun)


def end_with_a_notify(desk: Any, words: list[str]) -> None:
    for word in words:
        notify(desk.note, word)


def end_in_a_batch(desk: Any) -> None:
    block = batch()
    block.__enter__()
    notify(desk.note, "kept back")


def end_of_threads(desk: Any) -> None:
    """Each thread ends before what it submitted is answered."""
    begun: list[Any] = []
    threads = [
        threading.Thread(target=lambda: begun.extend(submit(desk.note, n) for n in range(100)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threads.clear()
    assert sorted(f.result(PATIENCE) for f in begun) == sorted([*range(100)] * 8)


def fork_in_flight(desk: Any) -> None:
    """The parent gets all the answers; a child's copies of the futures are over."""
    called: list[int] = []
    with batch():
        begun = [submit(desk.note, n) for n in range(200)]
        begun[0].add_done_callback(lambda _: called.append(os.getpid()))

        def child() -> None:
            for each in begun:
                assert type(each.exception(0)) is futures.CancelledError
                assert not each.cancel()
            assert called == []
            assert submit(desk.note, "child").result(PATIENCE) == "child"
            assert desk.note("plain") == "plain"

        pid = fork(child)
    assert [f.result(PATIENCE) for f in begun] == list(range(200))
    assert os.waitpid(pid, 0)[1] == 0
    assert called == [os.getpid()]


def fork_from_another_thread(desk: Any) -> None:
    """At any moment of what the other threads do."""
    assert submit(desk.pid).result(PATIENCE)  # what is imported at first is, when a child is made
    over = threading.Event()

    def keep_busy() -> None:
        while not over.is_set():
            begun = [submit(desk.pid) for _ in range(20)]
            assert len({f.result(PATIENCE) for f in begun}) == 1

    threads = [threading.Thread(target=keep_busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        pid = fork(lambda: [submit(desk.pid).result(PATIENCE), desk.pid()])
        assert os.waitpid(pid, 0)[1] == 0
    over.set()
    for thread in threads:
        thread.join()


# Callbacks ---------------------------------------------------------------------------------------


def callbacks_that_call(desk: Any) -> None:
    """Callbacks may call, submit and fail: everything else goes on."""
    over = threading.Event()
    found: list[Any] = []

    def again(done: Any) -> None:
        number = done.result()
        if number < 20:
            following = submit(desk.note, number + 1)
            found.append(desk.note(-number))
            following.add_done_callback(again)
        else:
            over.set()

    submit(desk.note, 1).add_done_callback(again)
    assert over.wait(PATIENCE)
    assert found == [-number for number in range(1, 20)]
    assert desk.words() == [1, *(word for number in range(1, 20) for word in (number + 1, -number))]


def callback_that_waits(desk: Any) -> str:
    told: list[str] = []
    over = threading.Event()

    def wait(done: Any) -> None:
        try:
            submit(desk.note, 2).result()
        except RuntimeError as error:
            told.append(str(error))
        over.set()

    with batch():  # so that it is not over before the callback is known
        submit(desk.note, 1).add_done_callback(wait)
    assert over.wait(PATIENCE)
    assert desk.note(3) == 3
    return told[0]


def callback_that_submits_without_end(desk: Any) -> None:
    """More than may be in flight: nobody else could make room."""
    over = threading.Event()
    begun: list[Any] = []

    def submit_many(done: Any) -> None:
        begun.extend(submit(desk.note, n) for n in range(3000))
        over.set()

    submit(desk.note, "first").add_done_callback(submit_many)
    assert over.wait(PATIENCE)
    assert [f.result(PATIENCE) for f in begun] == list(range(3000))


def callback_that_exits(desk: Any) -> list[str]:
    import sys

    told: list[str] = []
    sys.unraisablehook = lambda args: told.append(args.exc_type.__name__)

    def leave(done: Any) -> None:
        raise SystemExit

    with batch():
        first = submit(desk.note, 1)
        first.add_done_callback(leave)
        rest = [submit(desk.note, n) for n in range(2, 100)]
    assert [f.result(PATIENCE) for f in rest] == list(range(2, 100))
    return told


# Upcalls -----------------------------------------------------------------------------------------


def called_back_while_nobody_waits(desk: Any) -> None:
    here = threading.get_ident()
    found: list[int] = []

    def note_thread(word: Any) -> Any:
        found.append(threading.get_ident())
        return word

    begun = submit(desk.call, by_ref(note_thread), "back")
    assert begun.result(PATIENCE) == "back"
    assert found[0] != here


def called_back_while_a_call_waits(desk: Any) -> None:
    """In the thread that waits, as if nothing else were in flight."""
    found: list[int] = []

    def note_thread(word: Any) -> Any:
        found.append(threading.get_ident())
        return word

    begun = [submit(desk.note, n) for n in range(10)]
    assert desk.call(by_ref(note_thread), "back") == "back"
    assert found == [threading.get_ident()]
    assert [f.result(PATIENCE) for f in begun] == list(range(10))


def called_back_by_a_notified_method(desk: Any) -> None:
    called = threading.Event()

    def call() -> str:
        called.set()
        return "called"

    notify(desk.call_and_note, by_ref(call))
    assert called.wait(PATIENCE), "nobody was called back, as nobody waits"
    assert desk.words() == ["called"]


def called_back_after_the_deadline(desk: Any) -> None:
    """The answer is owed though the call is given up: its thread goes on by the same line."""
    entered, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        entered.set()
        assert go_on.wait(PATIENCE)
        return "late"

    with timeout(0.2):
        begun = submit(desk.call_and_note, by_ref(slow))
    assert entered.wait(PATIENCE)
    assert type(begun.exception(PATIENCE)) is CallTimeout
    later = submit(desk.note, "later")
    go_on.set()
    assert desk.note("last") == "last"
    assert later.result(PATIENCE) == "later"
    assert desk.words()[-2:] == ["later", "last"]


def lent_and_cancelled(desk: Any) -> int:
    """What a call would have lent is given back if it is never sent."""
    from pipeproxy._references._lent import lending

    items: list[int] = []
    desk.note("first")
    with batch():
        begun = submit(desk.call, by_ref(items))
        assert begun.cancel()
    desk.note("last")
    gc.collect()
    lending().tidy()
    return len(lending()._objects)


def drop_results(desk: Any, rounds: int) -> int:
    for _ in range(rounds):
        begun = [submit(desk.lend) for _ in range(50)]
        assert [list(f.result(PATIENCE)) for f in begun] == [[1, 2, 3]] * 50
        begun = [submit(desk.lend) for _ in range(50)]
        del begun
    desk.words()
    gc.collect()
    desk.words()
    return len(desk.words())


# Others ------------------------------------------------------------------------------------------


def submit_in_a_section(desk: Any) -> None:
    with locked(desk):
        begun = [submit(desk.note, n) for n in range(50)]
        desk.note("inside")
        notify(desk.note, "notified")
    assert [f.result(PATIENCE) for f in begun] == list(range(50))
    assert desk.words() == [*range(50), "inside", "notified"]


def await_a_thousand(room: Any, loop: Callable[[], Any] | None = None) -> None:
    async def main() -> None:
        before = threading.active_count()
        waiting = [asyncio.ensure_future(aio(room.wait)(n)) for n in range(1000)]
        while await aio(room.count)() < 1000:
            pass
        assert threading.active_count() <= before + 1
        await aio(room.open)()
        assert await asyncio.gather(*waiting) == list(range(1000))

    asyncio.run(main()) if loop is None else loop().run_until_complete(main())


def await_the_usual(desk: Any) -> None:
    async def main() -> None:
        assert await asyncio.gather(*(aio(desk.note)(n) for n in range(300))) == [*range(300)]
        try:
            await aio(desk.fail)("why")
        except LookupError as error:
            assert error.args == ("why",)  # noqa: PT017 - no pytest here
        else:
            raise AssertionError
        try:
            with timeout(0.01):
                await aio(desk.call)(sleep, 0.3)
        except CallTimeout:
            pass
        else:
            raise AssertionError
        assert await aio(desk.note)("last") == "last"

    asyncio.run(main())


def cancel_awaits(room: Any) -> None:
    """A cancelled await leaves everything usable, wherever it was."""

    async def main() -> None:
        for round_ in range(20):
            waiting = [asyncio.ensure_future(aio(room.wait)(n)) for n in range(10)]
            for _ in range(round_ % 3):
                await asyncio.sleep(0)
            for each in waiting[::2]:
                each.cancel()
            assert await aio(room.mark)(round_) == round_
            done = await asyncio.gather(*waiting[::2], return_exceptions=True)
            assert {type(each) for each in done} == {asyncio.CancelledError}
            for each in waiting[1::2]:
                each.cancel()
        await aio(room.open)()
        assert await aio(room.wait)("through") == "through"
        assert submit(room.note, "future").result(PATIENCE) == "future"

    asyncio.run(main())
    assert room.words() == [*range(20), "future"]


def interrupted(desk: Any, kind: str) -> None:
    """After an interrupt at any moment later calls get their own answers, and keep their order."""
    tokens = count(1)
    sizes = cycle([0, 10, 1000, 100_000])
    begun: list[tuple[int, Any]] = []

    def begin(size: int = 0) -> Any:
        token = next(tokens)
        future = submit(desk.note, token, bytes(size))
        begun.append((token, future))
        return future

    def mix() -> None:
        begin(next(sizes))
        notify(desk.note, next(tokens))
        token = next(tokens)
        assert desk.note(token) == token
        begin().result(PATIENCE)

    def together() -> None:
        with batch():
            for _ in range(5):
                begin(next(sizes))
            notify(desk.note, next(tokens))
        begun[-1][1].result(PATIENCE)

    def cancel() -> None:
        for _ in range(40):
            begin()
        begun[-1][1].cancel()
        begun[-2][1].result(PATIENCE)

    def check() -> None:
        token = next(tokens)
        assert desk.note(token) == token
        while begun:
            token, future = begun.pop()
            try:
                assert future.result(PATIENCE) == token
            except (futures.CancelledError, Cancelled):
                pass

    begin()
    check()
    raised = 0
    while raised < 150:
        act = {"mix": mix, "batch": together, "cancel": cancel}[kind]
        raised += interrupt(act, prepare=check, rounds=25, longest=800e-6)
    check()
    noted = desk.words()
    assert noted == sorted(noted)
    assert len(noted) == len(set(noted))
