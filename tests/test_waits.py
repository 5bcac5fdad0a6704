"""Calls that their callers give up: before they begin, while they wait, while they run."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from pipeproxy import Cancelled, Listener, aio, blocking, cancelled, proxied, submit, timeout
from pipeproxy._owner._frames import Frames

from .children import Child, poll_until, run_program
from .raw import Raw
from .support import PATIENCE

pytestmark = pytest.mark.usefixtures("descriptors_kept")

FORK = multiprocessing.get_context("fork")


class Desk:
    """Works for its callers for as long as they want it to."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.ended: list[str] = []
        self.hook: Callable[[], object] = lambda: None

    def note(self, word: Any) -> list[Any]:
        self.begun.append(word)
        return self.begun

    def work(self) -> str:
        """Work until it is given up."""
        self.begun.append("work")
        self.hook()
        return until_cancelled()

    @blocking
    def work_apart(self) -> str:
        self.begun.append("apart")
        self.ended.append(until_cancelled())
        return self.ended[-1]

    def work_while(self, pid: int) -> str:
        os.kill(pid, signal.SIGKILL)
        return until_cancelled()

    def is_cancelled(self) -> bool:
        return cancelled()


def until_cancelled() -> str:
    end = monotonic() + PATIENCE
    while not cancelled():
        assert monotonic() < end, "nobody gave this call up"
    return "stopped"


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def listener() -> Iterator[Listener[Any]]:
    with Listener() as listener:
        yield listener


@pytest.fixture
def proxy(listener: Listener[Any], desk: Desk) -> Any:
    return listener.share(desk)


@pytest.fixture
def clients(listener: Listener[Any], proxy: Any) -> Iterator[Callable[[], Raw]]:
    made: list[Raw] = []

    def make() -> Raw:
        made.append(Raw(listener, proxy).greet())
        return made[-1]

    yield make
    for raw in made:
        raw.close()


@pytest.fixture
def raw(clients: Callable[[], Raw]) -> Raw:
    return clients()


# A call that runs --------------------------------------------------------------------------------


def test_nobody_has_given_up_a_plain_call(raw: Raw) -> None:
    assert raw.ask("is_cancelled") is False
    assert not cancelled()


def test_a_call_that_is_given_up_right_behind_it_does_not_begin(raw: Raw) -> None:
    raw.write(raw.call("work") + raw.cancel() + raw.call("note", "after"))
    replies = raw.replies(2)
    assert type(replies[1]) is Cancelled
    assert replies[2] == ["after"]
    assert raw.ask("is_cancelled") is False


def test_a_method_is_told_what_comes_while_it_runs(raw: Raw, desk: Desk) -> None:
    desk.hook = lambda: raw.write(raw.cancel())
    assert raw.ask("work") == "stopped"


def test_a_method_is_told_that_its_caller_hung_up(raw: Raw, clients: Any, desk: Desk) -> None:
    other = clients()
    other.write(other.call("work"))
    desk.hook = other.close
    assert raw.ask("note", "after") in (["after"], ["work", "after"])
    assert raw.ask("note", "last")[0] == "work"


def test_a_method_is_told_that_its_caller_is_dead(listener: Listener[Any], proxy: Any) -> None:
    child = Child(FORK, kill_myself_by, proxy)
    while not listener.poll(PATIENCE):
        pass
    assert listener.stats().calls == {"Desk.work_while": 1}
    child.kill()


def kill_myself_by(proxy: Any) -> None:
    proxy.work_while(os.getpid())


def test_a_worker_is_told(raw: Raw, desk: Desk) -> None:
    raw.write(raw.call("work_apart") + raw.call("note", "after"))
    poll_until(lambda: "apart" in desk.begun, raw.listener)
    raw.write(raw.cancel(1))
    assert raw.replies(2) == {1: "stopped", 2: ["apart", "after"]}


def test_a_worker_is_told_what_came_with_its_call(raw: Raw) -> None:
    raw.write(raw.call("work_apart") + raw.cancel())
    assert raw.reply()[0] == 1


def test_a_worker_is_told_that_its_caller_hung_up(raw: Raw, clients: Any, desk: Desk) -> None:
    other = clients()
    other.write(other.call("work_apart"))
    poll_until(lambda: "apart" in desk.begun, raw.listener)
    other.close()
    poll_until(lambda: desk.ended, raw.listener)


def test_a_deadline_gives_calls_up_at_home_as_well(proxy: Any) -> None:
    with timeout(0.001):
        assert proxy.work() == "stopped"
    assert proxy.is_cancelled() is False


# One that has not begun --------------------------------------------------------------------------


def test_a_call_that_waits_for_a_section_is_taken_out_of_the_line(
    raw: Raw, clients: Any, desk: Desk
) -> None:
    holder = clients()
    holder.write(holder.enter())
    holder.reply()
    raw.write(raw.call("note", 1) + raw.call("note", 2) + raw.call("note", 3))
    raw.listener.poll()
    raw.write(raw.cancel(1) + raw.cancel(3))
    given_up = raw.replies(2)
    assert {ident: type(error) for ident, error in given_up.items()} == {1: Cancelled, 3: Cancelled}
    assert "before it began" in str(given_up[1])
    assert desk.begun == []
    holder.write(holder.leave(1))
    assert raw.reply() == (2, [2])
    assert raw.ask("note", 4) == [2, 4]


def test_a_call_behind_a_worker_is_given_up_before_it_begins(raw: Raw, desk: Desk) -> None:
    calls = raw.call("work_apart") + raw.call("note", "never") + raw.call("note", "after")
    raw.write(calls + raw.cancel(2))
    ident, error = raw.reply()
    assert (ident, type(error)) == (2, Cancelled)
    poll_until(lambda: "apart" in desk.begun, raw.listener)
    raw.write(raw.cancel(1))
    assert raw.replies(2) == {1: "stopped", 3: ["apart", "after"]}


def test_what_was_answered_or_never_asked_cannot_be_given_up(raw: Raw) -> None:
    assert raw.ask("note", 1) == [1]
    raw.write(raw.cancel(1) + raw.cancel(0) + raw.cancel(1 << 60))
    assert raw.ask("note", 2) == [1, 2]
    assert raw.ask("is_cancelled") is False


def test_many_calls_are_given_up_whatever_stands_between(raw: Raw, clients: Any) -> None:
    holder = clients()
    holder.write(holder.enter())
    holder.reply()
    frames = [raw.call("note", n) + (raw.cancel() if n % 2 else b"") for n in range(400)]
    raw.write(b"".join(frames))
    assert {type(error) for error in raw.replies(200).values()} == {Cancelled}
    holder.write(holder.leave(1))
    assert max(map(len, raw.replies(200).values())) == 200


# One that waits in a queue -----------------------------------------------------------------------


def test_a_call_that_waits_in_a_queue_takes_nothing_after_it_was_given_up(
    listener: Listener[Any],
) -> None:
    items: queue.Queue[int] = queue.Queue()
    raw = Raw(listener, listener.share(items)).greet()
    raw.write(raw.call("get"))
    listener.poll()
    raw.write(raw.cancel())
    ident, error = raw.reply()
    assert (ident, type(error)) == (1, Cancelled)
    assert raw.ask("put", 5) is None
    assert items.get_nowait() == 5
    raw.close()


# Tasks -------------------------------------------------------------------------------------------


@proxied(dispatch="asyncio")
class Office:
    def __init__(self) -> None:
        self.begun = 0
        self.told: list[Any] = []

    async def wait(self) -> None:
        self.begun += 1
        await asyncio.get_running_loop().create_future()

    async def wait_and_say(self) -> str:
        try:
            await self.wait()
        except asyncio.CancelledError:
            self.told.append(cancelled())
        return "left"

    async def is_cancelled(self) -> bool:
        return cancelled()


async def until(reached: Callable[[], object]) -> None:
    end = monotonic() + PATIENCE
    while not reached():
        assert monotonic() < end
        await asyncio.sleep(0)


def in_office(test: Callable[[Office, Any, Raw], Any]) -> None:
    """Run a test in a loop that serves an office, of which it is given a client by hand."""
    office = Office()

    async def main() -> None:
        with Listener() as listener:
            proxy = listener.share(office)
            serving = asyncio.create_task(listener.serve_async())
            raw = Raw(listener, proxy, served=True)
            try:
                await asyncio.to_thread(raw.greet)
                await asyncio.wait_for(test(office, proxy, raw), PATIENCE)
            finally:
                raw.close()
                listener.close()
                await asyncio.wait_for(serving, PATIENCE)

    asyncio.run(main())


def test_a_task_is_cancelled_and_what_it_says_is_its_reply() -> None:
    async def test(office: Office, proxy: Any, raw: Raw) -> None:
        raw.write(raw.call("wait_and_say") + raw.call("wait") + raw.call("wait"))
        await until(lambda: office.begun == 3)
        raw.write(raw.cancel(1) + raw.cancel(2))
        replies = await asyncio.to_thread(raw.replies, 2)
        assert (replies[1], type(replies[2])) == ("left", Cancelled)
        assert office.told == [True]
        assert await asyncio.to_thread(raw.ask, "is_cancelled") is False

    in_office(test)


def test_a_task_that_has_not_begun_never_does() -> None:
    async def test(office: Office, proxy: Any, raw: Raw) -> None:
        raw.write(raw.call("wait") + raw.cancel())
        ident, error = await asyncio.to_thread(raw.reply)
        assert (ident, type(error), office.begun) == (1, Cancelled, 0)

    in_office(test)


# Interrupts --------------------------------------------------------------------------------------


def test_an_interrupt_as_it_listens_cuts_the_channel_of_that_call_only(
    raw: Raw, clients: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(frames: Frames, caller: object) -> None:
        raise KeyboardInterrupt

    other = clients()
    desk.hook = lambda: monkeypatch.setattr(Frames, "hear", interrupted)
    other.write(other.call("work"))
    with pytest.raises(EOFError):
        other.read()
    monkeypatch.undo()
    assert raw.ask("note", "after") == ["work", "after"]


# By the verbs ------------------------------------------------------------------------------------


def give_up_some(proxy: Any) -> Any:
    futures = [submit(proxy.work_apart), submit(proxy.note, "never"), submit(proxy.note, "after")]
    while "apart" not in proxy_of_another_thread(proxy):
        pass
    asked = futures[1].cancel(), futures[0].cancel()
    return asked, type(futures[1].exception()).__name__, futures[0].result(), futures[2].result()


def proxy_of_another_thread(proxy: Any) -> list[Any]:
    """What has begun, asked for on a channel of its own."""
    begun: list[Any] = []
    thread = threading.Thread(target=lambda: begun.extend(proxy.begun))
    thread.start()
    thread.join()
    return begun


def test_a_future_that_is_cancelled_gives_its_call_up(listener: Listener[Any], proxy: Any) -> None:
    with Child(FORK, give_up_some, proxy) as child:
        said = child.result(listener)
    assert said == ((False, False), "Cancelled", "stopped", ["apart", "after"])


def give_up_in_a_loop(proxy: Any) -> Any:
    async def main() -> Any:
        waits = asyncio.create_task(aio(proxy.wait_and_say)())
        await until(lambda: proxy.begun)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        await until(lambda: proxy.told)
        return await asyncio.gather(*(aio(proxy.is_cancelled)() for _ in range(100)))

    return asyncio.run(main())


def test_a_task_of_a_client_that_is_cancelled_cancels_that_of_the_owner() -> None:
    async def test(office: Office, proxy: Any, raw: Raw) -> None:
        child = Child(FORK, give_up_in_a_loop, proxy)
        assert await asyncio.to_thread(child.result) == [False] * 100
        assert office.told == [True]
        await asyncio.to_thread(child.end)

    in_office(test)


def test_it_loads_no_more_than_a_client_needs() -> None:
    program = "import pipeproxy, sys; pipeproxy.cancelled(); print('asyncio' in sys.modules)"
    assert run_program(program).stdout == "False\n"
