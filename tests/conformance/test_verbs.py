"""Calls in ways that a plain call cannot say, from processes of each start method."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest

from pipeproxy import (
    CallLost,
    CallTimeout,
    Cancelled,
    Listener,
    ListenerClosed,
    aio,
    batch,
    notify,
    run,
    share,
    spawn,
    spawning,
    submit,
    timeout,
)
from pipeproxy._client._courier import courier
from pipeproxy._proxies._proxy import link_of
from tests.children import Child, poll_until, run_program
from tests.support import PATIENCE

from . import verbs
from .conftest import Elsewhere
from .lenders import lent
from .verbs import Desk, Queued, Room, Threads

pytestmark = pytest.mark.usefixtures("descriptors_kept")

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def rooms() -> Iterator[list[Any]]:
    """A proxy of a room in the event loop of another process."""
    here, there = FORK.Pipe()
    with here, there:
        owner = FORK.Process(target=verbs.serve_room, args=(there,), daemon=True)
        owner.start()
        proxies = [here.recv()]
        yield proxies
        proxies.clear()  # else it would live until the test is forgotten
        owner.kill()
        owner.join()
        owner.close()


def try_out(elsewhere: Elsewhere, what: Callable[..., Any], *args: Any) -> Any:
    """Run a client's function on a desk of this process."""
    proxy, listener = share(Desk())
    with listener:
        return elsewhere.run(listener, what, proxy, *args)


@pytest.mark.parametrize(
    "client",
    [
        verbs.futures_of_all_kinds,
        verbs.cancel_before_it_is_sent,
        verbs.wait_for_what_another_thread_cancels,
        verbs.mix_all_verbs,
        verbs.run_functions,
        verbs.end_of_threads,
        verbs.callbacks_that_call,
        verbs.callback_that_submits_without_end,
        verbs.called_back_while_nobody_waits,
        verbs.called_back_while_a_call_waits,
        verbs.called_back_by_a_notified_method,
        verbs.called_back_after_the_deadline,
        verbs.submit_in_a_section,
        verbs.await_the_usual,
    ],
    ids=lambda client: client.__name__,
)
def test_a_client_may(elsewhere: Elsewhere, client: Callable[[Any], None]) -> None:
    try_out(elsewhere, client)


@pytest.mark.parametrize(
    "client",
    [verbs.fork_in_flight, verbs.fork_from_another_thread],
    ids=lambda client: client.__name__,
)
def test_a_client_may_fork(client: Callable[[Any], None]) -> None:
    proxy, listener = share(Desk())
    with listener, Child("fork", client, proxy) as child:
        child.result(listener)


@pytest.mark.parametrize("kind", ["mix", "batch", "cancel"])
def test_after_an_interrupt_at_any_moment_all_get_their_own_answers(kind: str) -> None:
    with spawning(FORK):
        proxy, host = spawn(Desk)
    with host, Child("fork", verbs.interrupted, proxy, kind) as child:
        child.result()
        del proxy


def test_a_callback_that_waits_for_another_future_is_told_so(elsewhere: Elsewhere) -> None:
    assert "add a callback to that future" in try_out(elsewhere, verbs.callback_that_waits)


def test_a_callback_that_exits_ends_nothing_but_itself(elsewhere: Elsewhere) -> None:
    assert try_out(elsewhere, verbs.callback_that_exits) == ["SystemExit"]


def test_what_a_cancelled_call_would_have_lent_is_given_back() -> None:
    proxy, listener = share(Desk())
    with listener, Child("fork", verbs.lent_and_cancelled, proxy) as child:
        assert child.result(listener) == 0


def test_results_that_nobody_reads_are_given_back() -> None:
    proxy, listener = share(Desk())
    before = lent()
    with listener, Child("fork", verbs.drop_results, proxy, 4) as child:
        child.result(listener)
        poll_until(lambda: lent() == before, listener)


# Awaiting ----------------------------------------------------------------------------------------


def test_a_thousand_awaits_take_one_thread_at_most(rooms: list[Any], elsewhere: Elsewhere) -> None:
    elsewhere.run(None, verbs.await_a_thousand, *rooms)


def test_the_same_in_uvloop(rooms: list[Any]) -> None:
    uvloop = pytest.importorskip("uvloop")
    with Child("fork", verbs.await_a_thousand, *rooms, uvloop.new_event_loop) as child:
        child.result()


def test_a_cancelled_await_leaves_everything_usable(rooms: list[Any], elsewhere: Elsewhere) -> None:
    elsewhere.run(None, verbs.cancel_awaits, *rooms)


def test_a_later_call_is_sent_though_an_earlier_one_takes_long(rooms: list[Any]) -> None:
    """What was gathered is written, whether or not anything is answered meanwhile."""
    [room] = rooms
    waiting = submit(room.wait, "long")
    assert submit(room.mark, 1).result(PATIENCE) == 1
    gathered = submit(room.mark, 2), submit(room.mark, 3)
    assert [f.result(PATIENCE) for f in gathered] == [2, 3]
    called = threading.Event()
    for number in range(4, 8):
        called.clear()
        submit(room.mark, number).add_done_callback(lambda _: called.set())
        assert called.wait(PATIENCE)
    submit(room.open).result(PATIENCE)
    assert waiting.result(PATIENCE) == "long"


def test_one_way_calls_of_async_methods(rooms: list[Any]) -> None:
    [room] = rooms
    for number in range(50):
        notify(room.mark, number)
        notify(room.break_down, "told in the owner")
    poll_until(lambda: len(room.words()) == 50)
    assert room.words() == list(range(50))


def test_one_way_calls_where_each_client_has_a_thread(context: BaseContext) -> None:
    with spawning(context):
        proxy, host = spawn(Threads)
    with host:
        for number in range(50):
            notify(proxy.note, number)
        notify(proxy.fail, "told in the owner")
        assert proxy.words() == list(range(50))
        del proxy


# Giving up ---------------------------------------------------------------------------------------


def test_a_call_that_was_sent_is_given_up_before_it_begins(
    context: BaseContext, tmp_path: Path
) -> None:
    gate = str(tmp_path / "gate")
    os.mkfifo(gate)
    with spawning(context):
        proxy, host = spawn(Desk)
    with host:
        first = submit(proxy.call, verbs.wait_at, gate)
        with open(gate, "wb"):  # waits until the call has begun, which then waits for the end
            with batch():
                second, third = submit(proxy.note, "never"), submit(proxy.note, "third")
            poll_until(second.running)  # the courier may be just about to send it
            assert not second.cancel()
            courier.drain()
        assert type(second.exception(PATIENCE)) is Cancelled
        assert (first.result(PATIENCE), third.result(PATIENCE)) == (None, "third")
        assert proxy.words() == ["third"]
        del proxy


def test_a_method_is_told_that_its_call_is_given_up(context: BaseContext) -> None:
    with spawning(context):
        proxy, host = spawn(Threads)
    with host:
        begun = submit(proxy.go_on_until_given_up)
        assert not begun.cancel()
        assert type(begun.exception(PATIENCE)) in {Cancelled, type(None)}
        assert proxy.words() in (["given up"], [])  # it may not have begun
        del proxy


def test_a_task_of_the_owners_is_cancelled_with_the_future(rooms: list[Any]) -> None:
    [room] = rooms
    waiting = submit(room.wait, "long")
    poll_until(lambda: room.count() == 1)
    assert not waiting.cancel()
    assert type(waiting.exception(PATIENCE)) is Cancelled
    assert room.note("next") == "next"


# Ends --------------------------------------------------------------------------------------------


def test_the_last_notify_of_a_process_arrives(context: BaseContext) -> None:
    words = [f"word {number}" * number for number in range(100)]
    desk = Desk()
    proxy, listener = share(desk)
    with listener:
        process = context.Process(  # type: ignore[attr-defined]
            target=verbs.end_with_a_notify, args=(proxy, words)
        )
        process.start()
        listener.serve(until=process)
        process.join()
        assert process.exitcode == 0
        process.close()
    assert desk.noted == words


def test_what_a_batch_keeps_back_arrives_at_the_end(context: BaseContext) -> None:
    desk = Desk()
    proxy, listener = share(desk)
    with listener:
        process = context.Process(  # type: ignore[attr-defined]
            target=verbs.end_in_a_batch, args=(proxy,)
        )
        process.start()
        listener.serve(until=process)
        process.join()
        assert process.exitcode == 0
        process.close()
    assert desk.noted == ["kept back"]


PROGRAM = """
import atexit, sys
from multiprocessing import get_context
from pipeproxy import batch, notify, spawn, spawning, submit
from tests.conformance.verbs import Desk

with spawning(get_context("fork")):
    desk, host = spawn(Desk)
words = []
atexit.register(lambda: print(*words))
atexit.register(host.close)
atexit.register(lambda: words.extend(desk.words()))
atexit.register(lambda: notify(desk.note, "last"))
begun = [submit(desk.note, number) for number in range(3)]
notify(desk.note, "notified")
with batch():
    notify(desk.note, "batched")
    sys.exit()
"""


def test_a_program_ends_in_peace_with_all_that_it_notified() -> None:
    ended = run_program(PROGRAM)
    assert (ended.stdout, ended.stderr) == ("0 1 2 notified batched last\n", "")
    assert ended.returncode == 0


def test_nobody_waits_for_an_owner_that_dies(context: BaseContext) -> None:
    with spawning(context):
        proxy, host = spawn(Desk)
    with Child("fork", verbs.submit_until_it_dies, proxy) as child:
        assert child.result() == {"OwnerDied"}
    del proxy
    host.close()


def test_nobody_waits_for_a_listener_that_is_closed() -> None:
    proxy, listener = share(Desk())
    with Child("fork") as child:
        child.do(begin_and_wait, proxy, 100)
        poll_until(lambda: listener.stats().calls, listener)
        listener.close()
        kinds = child.result()
    assert kinds <= {"NoneType", "ListenerClosed"}
    assert "ListenerClosed" in kinds


def begin_and_wait(desk: Any, most: int) -> set[str]:
    begun: list[Any] = []
    kinds: set[str] = set()
    while not kinds & {"ListenerClosed", "OwnerDied", "CallLost"}:
        try:
            begun = [submit(desk.note, number) for number in range(most)]
        except (ListenerClosed, CallLost) as error:
            kinds.add(type(error).__name__)
        kinds |= verbs.outcomes(begun)
    return kinds


@pytest.fixture
def stopped() -> Iterator[tuple[list[Any], Callable[[], None]]]:
    """A proxy of a desk in a process that is stopped, and how that goes on."""
    with spawning(FORK):
        proxy, host = spawn(Desk)
    proxy.note("first")
    pid = host.process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    proxies = [proxy]
    del proxy
    try:
        yield proxies, lambda: os.kill(pid, signal.SIGCONT)
    finally:
        os.kill(pid, signal.SIGCONT)
        proxies.clear()  # else it would live until the test is forgotten
        host.close()


def test_no_more_than_some_are_in_flight(stopped: tuple[list[Any], Callable[[], None]]) -> None:
    [proxy], go_on = stopped
    begun = [submit(proxy.note, number) for number in range(2048)]
    with timeout(0.02), pytest.raises(CallTimeout):
        submit(proxy.note, "one too many")
    go_on()
    assert [f.result(PATIENCE) for f in begun] == list(range(2048))
    assert proxy.note("last") == "last"
    assert proxy.words() == ["first", *range(2048), "last"]


def test_a_call_whose_deadline_passes_before_it_is_sent_never_runs(
    stopped: tuple[list[Any], Callable[[], None]],
) -> None:
    [proxy], go_on = stopped
    filling = [submit(proxy.note, number, bytes(30_000)) for number in range(100)]

    async def begin() -> None:
        with timeout(0.02), pytest.raises(CallTimeout):
            await aio(proxy.note)("late")

    asyncio.run(begin())
    go_on()
    assert submit(proxy.note, "last").result(PATIENCE) == "last"
    assert [f.result(PATIENCE) for f in filling] == list(range(100))
    assert proxy.words() == ["first", *range(100), "last"]


def test_ten_thousand_submits_without_reading(context: BaseContext) -> None:
    with spawning(context):
        proxy, host = spawn(Desk)
    with host:
        begun = [submit(proxy.note, number) for number in range(10_000)]
        assert [f.result(PATIENCE) for f in begun] == list(range(10_000))
        del proxy


def test_what_is_dropped_does_not_grow() -> None:
    with spawning(FORK):
        proxy, host = spawn(Desk)
    with host:
        for _ in range(3):
            for number in range(2000):
                submit(proxy.note, number)
                notify(proxy.note, number)
            assert proxy.note(0) == 0
            gc.collect()
            kinds = [type(each).__name__ for each in gc.get_objects()]
            assert kinds.count("Flight") <= 2
            assert kinds.count("Future") <= 2
        del proxy


# At home -----------------------------------------------------------------------------------------


@pytest.fixture(params=[Desk, Threads, Queued], ids=lambda cls: cls.__name__)
def home(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Listener[Any]]]:
    proxy, listener = share(request.param())
    with listener:
        yield proxy, listener


def test_every_verb_works_at_home(home: tuple[Any, Listener[Any]]) -> None:
    proxy, _ = home
    assert submit(proxy.note, 1).result(PATIENCE) == 1
    assert type(submit(proxy.fail, "why").exception(PATIENCE)) is LookupError
    notify(proxy.note, 2)
    proxy.tell(3)
    assert asyncio.run(aio(proxy.note)(4)) == 4
    with pytest.raises(LookupError, match="why"):
        asyncio.run(aio(proxy.fail)("why"))
    with batch():
        last = submit(proxy.note, 5)
    assert last.result(PATIENCE) == 5
    assert run(proxy, verbs.add_twice, "a", second="b") == 7
    assert proxy.words() == [1, 2, 3, 4, 5, "a", "b"]


def test_what_a_one_way_call_raises_at_home_is_told(
    home: tuple[Any, Listener[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[type[BaseException], str]] = []
    hook = lambda args: told.append((args.exc_type, repr(args.object)))  # noqa: E731
    monkeypatch.setattr("sys.unraisablehook", hook)
    notify(home[0].fail, "why")
    assert told == [(LookupError, f"{link_of(home[0]).plain[1]}.fail")]


def test_an_object_that_is_bound_to_the_serving_thread_is_called_in_it() -> None:
    proxy, listener = share(Queued())
    threads: list[Any] = []

    def work() -> None:
        threads.append(submit(proxy.call, threading.get_ident))

    with listener:
        thread = threading.Thread(target=work)
        thread.start()
        poll_until(lambda: threads and threads[0].done(), listener)
        thread.join()
        assert threads[0].result() == threading.get_ident()


def test_in_the_event_loop_of_its_owner_every_verb_works() -> None:
    async def main() -> None:
        proxy, listener = share(Room())
        with listener:
            waiting = asyncio.ensure_future(aio(proxy.wait)("through"))
            assert await aio(proxy.mark)(1) == 1
            await aio(proxy.open)()
            assert await waiting == "through"
            assert submit(proxy.note, 2).result() == 2
            assert await aio(proxy.note)(3) == 3
            assert proxy.words() == [1, 2, 3]

    asyncio.run(main())


def test_an_exit_in_a_method_at_home_leaves_no_future_waiting() -> None:
    proxy, listener = share(Threads())
    with listener:
        begun = submit(proxy.call, exit_now)
        assert type(begun.exception(PATIENCE)) is SystemExit


def exit_now() -> None:
    raise SystemExit


# Chains ------------------------------------------------------------------------------------------


def test_owners_submit_to_one_another(context: BaseContext) -> None:
    with spawning(context):
        first, one = spawn(Desk)
        second, two = spawn(Desk)
    with one, two:
        begun = [submit(first.ask, second, number) for number in range(10)]
        for number, each in enumerate(begun):
            assert each.result(PATIENCE) == [(number, 3), (number, 2), (number, 1)]
        assert second.words() == [(number, part) for number in range(10) for part in (1, 2, 3)]
        del first, second


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [len, [].append, Desk.note, Desk().note, None, lambda: None, object()],
    ids=lambda method: type(method).__name__,
)
def test_what_is_no_method_of_a_proxy_is_refused(method: Any) -> None:
    for verb in (submit, notify):
        with pytest.raises(TypeError, match=f"{verb.__name__} takes a method of a proxy"):
            verb(method, 1)
    with pytest.raises(TypeError, match=r"aio\(proxy\.method\)\(argument\)"):
        asyncio.run(aio(method)())
    with pytest.raises(TypeError, match="a proxy is needed here"):
        run(method, len)


def test_a_proxy_and_what_every_proxy_has_are_no_methods(home: tuple[Any, Listener[Any]]) -> None:
    for method in (home[0], home[0].__repr__, home[0].__reduce_ex__):
        with pytest.raises(TypeError, match="takes a method of a proxy"):
            submit(method)


def test_arguments_are_checked_at_once(home: tuple[Any, Listener[Any]]) -> None:
    with pytest.raises(TypeError, match="missing"):
        submit(home[0].note)
    with pytest.raises(TypeError, match="unexpected"):
        notify(home[0].note, 1, other=2)
