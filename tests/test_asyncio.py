"""Async methods run as tasks of the event loop that serves."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest

from pipeproxy import (
    Listener,
    ListenerClosed,
    aio,
    blocking,
    locked,
    proxied,
    share,
    spawn,
    spawning,
    timeout,
)
from pipeproxy._chains._activities import started_in
from pipeproxy._owner import _caller

from .children import Child, outcome, run_program
from .raw import Raw
from .support import PATIENCE, fork

pytestmark = pytest.mark.usefixtures("descriptors_kept")

FORK = multiprocessing.get_context("fork")


@proxied(dispatch="asyncio")
class Room:
    """Whoever comes waits until the door is opened."""

    def __init__(self, other: Any = None) -> None:
        self.opened: asyncio.Future[None] | None = None
        self.waiting = 0
        self.cancelled = 0
        self.begun: list[Any] = []
        self.released = threading.Event()
        self.other = other
        self.words: list[str] = []

    def _door(self) -> asyncio.Future[None]:
        if self.opened is None:
            self.opened = asyncio.get_running_loop().create_future()
        return self.opened

    async def wait(self, word: str = "") -> str:
        self.waiting += 1
        try:
            await asyncio.shield(self._door())
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.words.append(word)
        return "through"

    async def keep(self, value: Any) -> Any:
        self.begun.append(value)
        await self.wait()
        return value

    async def open(self) -> None:
        await asyncio.sleep(0)
        self._door().set_result(None)

    def say(self, word: str) -> list[str]:
        self.words.append(word)
        return self.words

    async def thread(self) -> int:
        await asyncio.sleep(0)
        return threading.get_ident()

    async def fail(self, error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error

    async def cancel_itself(self) -> None:
        raise asyncio.CancelledError

    async def give(self, size: int) -> bytes:
        await asyncio.sleep(0)
        return bytes(size)

    def later(self) -> Awaitable[int]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(5)
        return future

    async def itself(self) -> Room:
        return self

    async def pass_on(self, word: str) -> Any:
        await asyncio.sleep(0)
        return self.other.say(word)

    async def pass_on_apart(self, word: str) -> Any:
        """As `pass_on`, in a task of its own."""
        return await asyncio.create_task(aio(self.other.say)(word))

    async def leave_a_task(self) -> Any:
        """Start what goes on after the call has ended; return whose it is until then."""

        async def go_on() -> None:
            await self.wait()
            self.begun.append(whose())

        task = asyncio.create_task(go_on())
        self.begun.append(task)
        return whose() is not None

    async def close_listener(self) -> None:
        listeners.pop().close()

    @blocking
    def block(self) -> int:
        return threading.get_ident()

    @blocking
    def hold(self) -> bool:
        return self.released.wait(PATIENCE)


def whose() -> Any:
    """The call that a task belongs to."""
    ongoing = started_in.get()
    return None if ongoing is None else ongoing.call()


class Board:
    def __init__(self) -> None:
        self.words: list[str] = []

    def say(self, word: str) -> list[str]:
        self.words.append(word)
        return self.words


listeners: list[Listener[Any]] = []


@asynccontextmanager
async def served(listener: Listener[Any]) -> AsyncIterator[None]:
    """Serve in this loop; closing the listener ends it."""
    serving = asyncio.create_task(listener.serve_async())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        listener.close()
        await asyncio.wait_for(serving, PATIENCE)


async def result(child: Child) -> Any:
    """What a child's function returned, while the loop serves it."""
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()
    control = child._control
    loop.add_reader(control.fileno(), reached.set)
    try:
        await asyncio.wait_for(reached.wait(), PATIENCE)
    finally:
        loop.remove_reader(control.fileno())
    return child.result()


async def until(reached: Callable[[], object]) -> None:
    end = monotonic() + PATIENCE
    while not reached():
        assert monotonic() < end
        await asyncio.sleep(0.01)


def run(test: Callable[[Room, Room, Listener[Room]], Awaitable[None]], other: Any = None) -> None:
    """Run a test in a loop that serves a room."""
    target = Room(other)
    proxy, listener = share(target)

    async def main() -> None:
        async with served(listener):
            await test(target, proxy, listener)

    asyncio.run(main())


# What runs in children -------------------------------------------------------------------------


def fail_with(proxy: Any, error: BaseException) -> tuple[Any, ...]:
    return outcome(proxy.fail, error)


def wait_briefly(proxy: Any) -> list[Any]:
    with timeout(0.05):
        said = outcome(proxy.wait)
    return [said, proxy.say("after")]


def pass_on_inside(proxy: Any, other: Any) -> Any:
    with timeout(PATIENCE), locked(other):
        return proxy.pass_on("inside")


def pass_on_apart_inside(proxy: Any, other: Any) -> Any:
    with locked(other):
        return proxy.pass_on_apart("inside")


def call_at_exit(proxy: Any) -> None:
    proxy.say("last")
    os._exit(0)


# Calls -----------------------------------------------------------------------------------------


def test_what_an_async_method_starts_belongs_to_the_chain_of_its_caller() -> None:
    with spawning(FORK):
        other, host = spawn(Board)

    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        with Child(FORK, pass_on_apart_inside, proxy, other) as child:
            assert await result(child) == ["inside"]

    with host:
        run(test, other)


def test_what_an_async_method_leaves_behind_belongs_to_nobody() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        with Child(FORK, proxy.leave_a_task) as child:
            assert await result(child)
            await result(child.do(proxy.open))
        await asyncio.wait_for(target.begun[0], PATIENCE)
        assert target.begun[1:] == [None]

    run(test)


def test_async_methods_run_at_once_in_the_thread_of_the_loop() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        children = [Child(FORK, proxy.wait, str(n)) for n in range(8)]
        await until(lambda: target.waiting == 8)
        with Child(FORK, proxy.thread) as other:
            assert await result(other) == threading.get_ident()
            await result(other.do(proxy.open))
        for child in children:
            assert await result(child) == "through"
            child.end()
        assert sorted(target.words) == list("01234567")

    run(test)


def test_a_plain_call_returns_the_result_whatever_was_awaited() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        with Child(FORK, proxy.later) as child:
            assert await result(child) == 5
            assert await result(child.do(proxy.say, "a")) == ["a"]
            for size in (0, 1 << 16, 5 << 20):
                assert len(await result(child.do(proxy.give, size))) == size
            assert await result(child.do(type_of_itself, proxy)) is True
            assert await result(child.do(proxy.block)) != threading.get_ident()
            assert await result(child.do(getattr, proxy, "words")) == ["a"]

    run(test)


def type_of_itself(proxy: Any) -> bool:
    return bool(proxy.itself() == proxy)


@pytest.mark.parametrize("error", [KeyError("no"), SystemExit(3), KeyboardInterrupt("its own")])
def test_what_an_async_method_raises_arrives_and_ends_no_loop(error: BaseException) -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        with Child(FORK, fail_with, proxy, error) as child:
            assert (await result(child))[:2] == ("raised", type(error).__name__)
            assert await result(child.do(proxy.say, "after")) == ["after"]
        assert listener.stats().errors == 1

    run(test)


def test_a_task_that_is_cancelled_is_a_lost_call() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        with Child(FORK, outcome, proxy.cancel_itself) as child:
            assert (await result(child))[:2] == ("raised", "CallLost")

    run(test)


def test_a_call_that_timed_out_goes_on_and_is_cancelled_with_its_client() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        child = Child(FORK, wait_briefly, proxy)
        (raised, error, _), said = await result(child)
        assert (raised, error, said) == ("raised", "CallTimeout", ["after"])
        assert (target.waiting, target.cancelled) == (1, 0)
        child.kill()
        await until(lambda: target.cancelled == 1)

    run(test)


def test_a_client_that_dies_cancels_its_tasks() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        children = [Child(FORK, proxy.wait) for _ in range(4)]
        await until(lambda: target.waiting == 4)
        for child in children[1:]:
            child.kill()
        await until(lambda: target.cancelled == 3)
        await until(lambda: listener.stats().clients == 1)
        target._door().set_result(None)
        assert await result(children[0]) == "through"
        children[0].end()

    run(test)


def test_a_task_belongs_to_the_section_of_its_caller() -> None:
    board = Board()
    other, others = share(board)

    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        with others.background(), Child(FORK, pass_on_inside, proxy, other) as child:
            assert await result(child) == ["inside"]

    with others:
        run(test, other)


def test_calls_at_home_are_plain() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        assert await proxy.thread() == threading.get_ident()
        assert proxy.say("a") == ["a"]

    run(test)


# Calls of one channel --------------------------------------------------------------------------


@asynccontextmanager
async def hand(listener: Listener[Any], proxy: Any) -> AsyncIterator[Raw]:
    """A client that may say more before it is answered."""
    raw = Raw(listener, proxy, served=True)
    try:
        yield await asyncio.to_thread(raw.greet)
    finally:
        raw.close()


def test_a_thousand_calls_of_one_channel_run_at_once_and_each_gets_its_own_reply() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        async with hand(listener, proxy) as raw:
            raw.write(b"".join(raw.call("keep", n) for n in range(1, 1001)))
            await until(lambda: target.waiting == 1000)
            assert target.begun == list(range(1, 1001))  # in the order in which they came
            target._door().set_result(None)
            replies = await asyncio.to_thread(raw.replies, 1000)
            assert replies == {n: n for n in range(1, 1001)}
            assert listener.stats().calls["Room.keep"] == 1000

    run(test)


def test_a_reply_leaves_when_it_is_there_whatever_came_before() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        async with hand(listener, proxy) as raw:
            raw.write(raw.call("keep", 5) + raw.call("fail", KeyError("no")) + raw.call("say", "a"))
            early = await asyncio.to_thread(raw.replies, 2)
            assert (type(early[2]), early[3]) == (KeyError, ["a"])
            raw.write(raw.call("open"))
            assert await asyncio.to_thread(raw.replies, 2) == {1: 5, 4: None}

    run(test)


def test_whoever_hangs_up_cancels_all_of_its_tasks_and_no_others() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        async with hand(listener, proxy) as stays:
            stays.write(stays.call("keep", "stays"))
            async with hand(listener, proxy) as raw:
                raw.write(b"".join(raw.call("keep", n) for n in range(100)))
                await until(lambda: target.waiting == 101)
            await until(lambda: target.cancelled == 100)
            target._door().set_result(None)
            assert await asyncio.to_thread(stays.result) == "stays"

    run(test)


def test_two_calls_of_one_ident_at_once_cut_the_channel() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        async with hand(listener, proxy) as raw:
            call = raw.call("keep", 1)
            raw.write(call)
            await until(lambda: target.waiting == 1)
            raw.write(call)
            with pytest.raises(EOFError):
                await asyncio.to_thread(raw.read)
        await until(lambda: target.cancelled == 1)
        assert target.begun == [1]

    run(test)


def test_a_channel_with_too_much_under_way_is_not_read_until_less_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_caller, "_MOST_TASKS", 3)

    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        async with hand(listener, proxy) as raw:
            calls = b"".join(raw.call("keep", bytes(30_000)) for _ in range(50))
            while calls:
                calls = calls[raw.pipe.write(calls) or 0 :]
                await asyncio.sleep(0)
                if any(caller.paused for caller in callers_of(listener)):
                    break
            await until(lambda: target.waiting > 3)
            assert target.waiting < 10
            target._door().set_result(None)
            while calls:
                calls = calls[raw.pipe.write(calls) or 0 :]
                await asyncio.sleep(0)
            assert len(await asyncio.to_thread(raw.replies, 50)) == 50

    run(test)


def callers_of(listener: Listener[Any]) -> list[Any]:
    return list(listener._service.callers.readers.values())


def test_a_task_ends_beside_a_worker_of_the_same_channel() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        async with hand(listener, proxy) as raw:
            raw.write(raw.call("keep", 5) + raw.call("hold") + raw.call("say", "after"))
            await until(lambda: target.waiting == 1)
            target._door().set_result(None)
            assert await asyncio.to_thread(raw.reply) == (1, 5)
            assert target.words == [""]  # what comes after a worker's call waits for that
            target.released.set()
            assert await asyncio.to_thread(raw.replies, 2) == {2: True, 3: ["", "after"]}

    run(test)


# Serving ---------------------------------------------------------------------------------------


def test_served_otherwise_it_says_what_to_do() -> None:
    proxy, listener = share(Room())
    with listener, Child(FORK, outcome, proxy.thread) as child:
        said = child.result(listener)
        assert said[:2] == ("raised", "RuntimeError")
        assert "Room.thread is async" in said[2]
        assert "await listener.serve_async()" in said[2]
        assert child.do(proxy.say, "a").result(listener) == ["a"]


def test_cancelling_leaves_the_listener_and_loses_the_calls_under_way() -> None:
    target = Room()
    proxy, listener = share(target)

    async def main() -> None:
        serving = asyncio.create_task(listener.serve_async())
        with Child(FORK, outcome, proxy.wait) as child:
            await until(lambda: target.waiting == 1)
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            assert (await result(child))[:2] == ("raised", "CallLost")
            again = asyncio.create_task(listener.serve_async())
            assert await result(child.do(proxy.thread)) == threading.get_ident()
            again.cancel()
            await asyncio.wait([again])

    with listener:
        asyncio.run(main())
        with Child(FORK, proxy.say, "polled") as child:
            assert child.result(listener) == ["polled"]


def test_closing_from_another_thread_ends_it_and_the_calls_under_way() -> None:
    target = Room()
    proxy, listener = share(target)

    async def main() -> None:
        serving = asyncio.create_task(listener.serve_async())
        with Child(FORK, outcome, proxy.wait) as child:
            await until(lambda: target.waiting == 1)
            closes = threading.Thread(target=listener.close)
            closes.start()
            await asyncio.wait_for(serving, PATIENCE)
            assert (await result(child))[:2] == ("raised", "ListenerClosed")
            closes.join(PATIENCE)
        assert target.cancelled == 1

    asyncio.run(main())


def test_an_async_method_may_close_the_listener() -> None:
    proxy, listener = share(Room())
    listeners.append(listener)

    async def main() -> None:
        with Child(FORK, outcome, proxy.close_listener) as child:
            await asyncio.wait_for(listener.serve_async(), PATIENCE)
            assert await result(child) == ("returned", None)

    asyncio.run(main())


def test_nobody_else_serves_what_a_loop_serves() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        with pytest.raises(RuntimeError, match="event loop serves"):
            await listener.serve_async()
        with pytest.raises(RuntimeError, match="another thread"):
            await asyncio.to_thread(listener.poll)

    run(test)


def test_what_is_closed_cannot_be_served() -> None:
    _, listener = share(Room())
    listener.close()
    with pytest.raises(ListenerClosed):
        asyncio.run(listener.serve_async())


FORKS = """
import asyncio, os
from pipeproxy import ListenerClosed, proxied, share

@proxied(dispatch="asyncio")
class Forks:
    async def fork(self):
        pid = os.fork()
        return os.waitpid(pid, 0)[1] if pid else "in the child"

async def main(listener):
    try:
        await listener.serve_async()
    except ListenerClosed:
        os._exit(7)

proxy, listener = share(Forks())
pid = os.fork()
if pid == 0:
    print(proxy.fork() >> 8, proxy.fork() >> 8, flush=True)
    os._exit(0)

async def whole():
    serving = asyncio.create_task(main(listener))
    never = asyncio.get_running_loop().create_future()
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        await asyncio.sleep(0.01)
        if os.getpid() != owner:
            await never
    listener.close()
    await serving

owner = os.getpid()
asyncio.run(whole())
"""


def test_a_child_that_is_forked_in_a_task_sends_nothing() -> None:
    done = run_program(FORKS)
    assert (done.returncode, done.stdout) == (0, "7 7\n"), done.stderr


def test_what_a_client_wrote_last_is_served() -> None:
    async def test(target: Room, proxy: Room, listener: Listener[Room]) -> None:
        pid = fork(lambda: call_at_exit(proxy))
        await until(lambda: target.words == ["last"])
        await until(lambda: os.waitpid(pid, os.WNOHANG) != (0, 0))

    run(test)


# Streams ---------------------------------------------------------------------------------------


@proxied(dispatch="asyncio")
class Ticker:
    def __init__(self) -> None:
        self.closed = 0
        self.given = 0

    async def ticks(self, count: int | None = None) -> AsyncIterator[int]:
        try:
            tick = 0
            while tick != count:
                await asyncio.sleep(0)
                self.given = tick
                yield tick
                tick += 1
        finally:
            self.closed += 1

    async def until_it_fails(self) -> AsyncIterator[int]:
        yield 1
        raise ValueError("no more")


def take_some(ticker: Any) -> list[int]:
    stream = ticker.ticks()
    taken = [next(stream) for _ in range(3)]
    stream.close()
    return [*taken, *stream]


def take_in_a_loop(ticker: Any) -> list[int]:
    async def take() -> list[int]:
        return [tick async for tick in ticker.ticks(100)]

    return asyncio.run(take())


def take_until_it_fails(ticker: Any) -> Any:
    stream = ticker.until_it_fails()
    return next(stream), outcome(next, stream), outcome(next, stream)


@pytest.mark.parametrize(
    ("take", "expected"),
    [(take_some, [0, 1, 2]), (take_in_a_loop, list(range(100))), (take_until_it_fails, None)],
)
def test_async_generators_are_streams(take: Callable[[Any], Any], expected: Any) -> None:
    target = Ticker()
    proxy, listener = share(target)

    async def main() -> Any:
        async with served(listener):
            with Child(FORK, take, proxy) as child:
                return await result(child)

    taken = asyncio.run(main())
    if expected is None:
        first, *later = taken
        assert first == 1
        assert all("no more" in repr(outcome) for outcome in later)
    else:
        assert taken == expected
        assert target.closed == 1
        assert target.given < 1000  # an endless one is taken from as it is needed
