"""Children that only wait: they end with the owner, if they said so, and not before."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

import pytest

from pipeproxy import ListenerClosed, OwnerDied, end_with, share, timeout
from pipeproxy._channels._door import Route
from pipeproxy._proxies._proxy import link_of
from pipeproxy._references._references import rebuild
from pipeproxy._system import _life

from .children import Child, outcome
from .hosted import Account
from .support import PATIENCE, fork, in_fork, is_readable

pytestmark = pytest.mark.usefixtures("descriptors_kept")

_kept: list[Any] = []


def own() -> Any:
    """Hold an account and answer for it, from now on."""
    proxy, listener = share(Account("ada"))
    _kept.append((listener, listener.background()))
    return proxy


def own_quietly() -> Any:
    """Hold an account, and answer to nobody."""
    proxy, listener = share(Account("ada"))
    _kept.append(listener)
    return proxy


def receive(connection: Connection) -> Any:
    assert connection.poll(PATIENCE), "nothing was said"
    return connection.recv()


# What it waits for --------------------------------------------------------------------------------


def wait_for_item(items: Any) -> None:
    items.get()


def wait_for_lock(items: Any) -> None:
    lock = threading.Lock()
    for _ in range(2):
        lock.acquire()


def wait_for_time(items: Any) -> None:
    time.sleep(2 * PATIENCE)


def wait_for_thread(items: Any) -> None:
    thread = threading.Thread(target=items.get)
    thread.start()
    thread.join()


def wait_for_loop(items: Any) -> None:
    asyncio.run(asyncio.sleep(2 * PATIENCE))


WAITS = [wait_for_item, wait_for_lock, wait_for_time, wait_for_thread, wait_for_loop]


def wait_as_orphan(proxy: Any, tells: Connection, wait: Callable[[Any], None], items: Any) -> None:
    end_with(proxy)
    tells.send(os.getpid())
    wait(items)


@pytest.mark.parametrize("wait", WAITS)
def test_it_ends_whatever_it_waits_for(context: Any, wait: Callable[[Any], None]) -> None:
    here, there = context.Pipe(duplex=False)
    items = context.SimpleQueue()
    with Child("fork", own) as owner, here:
        args = (owner.result(), there, wait, items)
        process = context.Process(target=wait_as_orphan, args=args)
        process.start()
        there.close()
        assert receive(here) == process.pid
        owner.kill()
        process.join(PATIENCE)
        assert process.exitcode == -signal.SIGTERM
        process.close()
    items.close()


def own_and_bear(method: str, tells: Connection) -> None:
    context: Any = multiprocessing.get_context(method)
    items = context.SimpleQueue()
    process = context.Process(target=wait_as_orphan, args=(own(), tells, wait_for_item, items))
    process.start()
    _kept.append((process, items))


def test_a_child_of_the_owner_does_not_outlive_it(context: Any) -> None:
    here, there = context.Pipe(duplex=False)
    with Child(context, own_and_bear, context.get_start_method(), there) as owner, here:
        there.close()
        owner.result()
        life = _life.watch(receive(here))
        assert life is not None
        owner.kill()
        assert is_readable(life.fileno())


def test_a_forked_child_of_the_owner_need_not_be_answered() -> None:
    def be_the_owner(tells: int) -> None:
        proxy = own_quietly()

        def be_the_child() -> None:
            with timeout(1):
                end_with(proxy)
            os.write(tells, b"%d" % os.getpid())
            time.sleep(2 * PATIENCE)

        fork(be_the_child)
        time.sleep(2 * PATIENCE)

    reader, writer = os.pipe()
    owner = fork(lambda: be_the_owner(writer))
    os.close(writer)
    assert is_readable(reader)
    life = _life.watch(int(os.read(reader, 100)))
    assert life is not None
    assert not is_readable(life.fileno(), 0)
    os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    assert is_readable(life.fileno())
    os.close(reader)


# How it ends --------------------------------------------------------------------------------------


def leave_in_order(proxy: Any, tells: Connection) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    end_with(proxy)
    try:
        tells.send("waits")
        used = time.process_time()
        time.sleep(2 * PATIENCE)
    finally:
        tells.send(time.process_time() - used)


def test_its_handler_runs_and_its_finally_and_it_has_used_no_time(context: Any) -> None:
    here, there = context.Pipe(duplex=False)
    with Child("fork", own) as owner, here:
        process = context.Process(target=leave_in_order, args=(owner.result(), there))
        process.start()
        there.close()
        assert receive(here) == "waits"
        assert not here.poll(0.3)
        owner.kill()
        assert receive(here) < 0.05
        process.join(PATIENCE)
        assert process.exitcode == 3
        process.close()


def without_pidfds(proxy: Any, tells: Connection) -> None:
    _life.PIDFDS = False
    wait_as_orphan(proxy, tells, wait_for_time, None)


def test_it_ends_where_the_system_has_no_pidfds(context: Any) -> None:
    here, there = context.Pipe(duplex=False)
    with Child("fork", own) as owner, here:
        process = context.Process(target=without_pidfds, args=(owner.result(), there))
        process.start()
        there.close()
        receive(here)
        owner.kill()
        process.join(PATIENCE)
        assert process.exitcode == -signal.SIGTERM
        process.close()


# When it does not end -----------------------------------------------------------------------------


def end_with_again(proxy: Any) -> tuple[int, int]:
    before = threading.active_count()
    end_with(proxy)
    after = threading.active_count()
    end_with(proxy)
    assert threading.active_count() == after
    return before, after


def close_listener() -> None:
    _kept[0][0].close()


def test_a_listener_that_is_closed_ends_nobody(context: BaseContext) -> None:
    with Child("fork", own) as owner, Child(context) as child:
        child.do(end_with_again, owner.result()).result()
        owner.do(close_listener).result()
        assert child.do(os.getpid).result() == child.process.pid


def test_a_second_time_starts_no_second_thread_and_a_forked_child_one_of_its_own(
    context: BaseContext,
) -> None:
    with Child("fork", own) as owner, Child(context) as child:
        proxy = owner.result()
        before, after = child.do(end_with_again, proxy).result()
        assert after == before + 1
        child.do(in_fork, partial(end_with_in_child, proxy)).result()


def end_with_in_child(proxy: Any) -> None:
    assert end_with_again(proxy) == (1, 2)


def test_a_child_that_is_forked_later_does_not_end_unless_it_says_so_itself() -> None:
    with Child("fork", own) as owner:
        proxy = owner.result()
        reader, writer = os.pipe()

        def be_the_parent() -> None:
            end_with(proxy)
            fork(be_the_child)
            time.sleep(2 * PATIENCE)

        def be_the_child() -> None:
            life = _life.watch(os.getppid())
            assert life is not None
            assert threading.active_count() == 1
            os.write(writer, b"there")
            assert is_readable(life.fileno())  # so the owner is dead as well
            os.write(writer, b"still" + outcome(end_with, proxy)[1].encode())

        parent = fork(be_the_parent)
        os.close(writer)
        assert is_readable(reader)
        assert os.read(reader, 100) == b"there"
        owner.kill()
        assert os.waitpid(parent, 0)[1] == signal.SIGTERM
        assert is_readable(reader)
        assert os.read(reader, 100) == b"stillOwnerDied"
        assert os.read(reader, 100) == b""
        os.close(reader)


def test_in_the_owner_it_says_why_not_and_a_forked_child_may() -> None:
    proxy, listener = share(Account("ada"))
    with listener:
        with pytest.raises(ValueError, match="stands for an object of this process itself"):
            end_with(proxy)
        in_fork(lambda: end_with(proxy))


def test_an_owner_that_is_dead_is_told(context: BaseContext) -> None:
    with Child("fork", own) as owner, Child(context) as called, Child(context) as child:
        proxy = owner.result()
        called.do(deposit, proxy).result()
        owner.kill()
        for one in called, child:
            kind, name, _ = one.do(outcome, end_with, proxy).result()
            assert (kind, name) in {
                ("raised", OwnerDied.__name__),
                ("raised", ListenerClosed.__name__),
            }


def deposit(proxy: Any) -> int:
    result: int = proxy.deposit(1)
    return result


def end_with_stranger(route: tuple[Any, ...], number: int, plain: Any) -> list[str]:
    proxy = rebuild(route, number, plain)
    return [outcome(tried)[1] for tried in (lambda: end_with(proxy), lambda: deposit(proxy)) * 2]


def test_nobody_ends_with_a_stranger_that_has_the_pid_of_a_dead_owner() -> None:
    with Child("fork", own) as owner, Child("spawn") as child, Child("fork") as stranger:
        link = link_of(owner.result())
        owner.kill()
        reused = tuple(Route(*link.route)._replace(pid=stranger.process.pid))
        child.do(end_with_stranger, reused, link.number, link.plain)
        assert child.result() == ["ListenerClosed"] * 4
        stranger.kill()
        assert child.do(os.getpid).result() == child.process.pid


def test_what_is_no_proxy_is_refused() -> None:
    with pytest.raises(TypeError, match="a proxy is needed here"):
        end_with(Account("ada"))
