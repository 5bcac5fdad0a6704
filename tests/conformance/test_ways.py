"""Every way to give a proxy to another process, and what it leaves open."""

from __future__ import annotations

import gc
import os
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext
from typing import Any

import pytest

from pipeproxy import Listener, share
from tests.children import Child, run
from tests.support import PATIENCE, in_fork, open_descriptors

from .conftest import Elsewhere
from .subjects import Account
from .users import Blob, Counter, add, add_from_queue, add_in_grandchild, echo

pytestmark = pytest.mark.usefixtures("descriptors_kept")


def test_in_the_arguments_of_a_process_started_after_it_was_shared(context: Any) -> None:
    counter = Counter()
    proxy, listener = share(counter)
    with listener:
        processes = [context.Process(target=add, args=(proxy, 5)) for _ in range(2)]
        for process in processes:
            process.start()
        listener.serve(until=processes)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert counter.total == 10


def test_through_a_queue_to_a_process_that_was_started_before(context: Any) -> None:
    queue = context.Queue()
    process = context.Process(target=add_from_queue, args=(queue,))
    process.start()
    counter = Counter()
    proxy, listener = share(counter)
    with listener:
        queue.put(proxy)
        listener.serve(until=process)
    queue.close()
    queue.join_thread()
    process.join()
    assert (process.exitcode, counter.total) == (0, 10)


def test_to_a_grandchild(context: BaseContext) -> None:
    counter = Counter()
    proxy, listener = share(counter)
    with listener:
        assert run(context, listener, add_in_grandchild, context, proxy) == 0
    assert counter.total == 11


def test_twenty_proxies_in_the_arguments_of_one_process(context: Any) -> None:
    counters = [Counter() for _ in range(20)]
    listeners: list[Listener[Any]] = []
    proxies = []
    for counter in counters:
        proxy, listener = share(counter)
        proxies.append(proxy)
        listeners.append(listener)
    with Child(context, add_to_each, proxies) as child:
        child.result(*listeners)
    for listener in listeners:
        listener.close()
    assert [counter.total for counter in counters] == [1] * 20


def add_to_each(proxies: list[Any]) -> None:
    for proxy in proxies:
        proxy.add()


def test_to_a_pool_made_before_it_was_shared(context: Any) -> None:
    with context.Pool(2) as pool:
        pool.map(abs, range(2))
        counter = Counter()
        proxy, listener = share(counter)
        with listener:
            result = pool.map_async(add, [proxy] * 6, chunksize=1)
            listener.serve(until=result.ready)
            result.get(0)
        pool.close()
        pool.join()
    assert counter.total == 6


def test_to_a_pool_made_after_it_was_shared(context: Any) -> None:
    counter = Counter()
    proxy, listener = share(counter)
    pool = context.Pool(2, initializer=add, initargs=(proxy, 3))
    with listener, listener.background(), pool:
        pool.map(add, [proxy] * 6, chunksize=1)
        pool.close()
        pool.join()
    assert counter.total == 12


def test_to_an_executor(context: BaseContext) -> None:
    counter = Counter()
    proxy, listener = share(counter)
    with listener, ProcessPoolExecutor(2, mp_context=context) as executor:
        futures = [executor.submit(add, proxy) for _ in range(6)]
        listener.serve(until=lambda: all(future.done() for future in futures))
        for future in futures:
            future.result(0)
    assert counter.total == 6


# os.fork -----------------------------------------------------------------------------------------


def add_three(proxy: Any) -> None:
    assert add(proxy, 3)


def test_by_os_fork_while_the_owner_serves() -> None:
    counter = Counter()
    proxy, listener = share(counter)
    with listener, listener.background():
        in_fork(lambda: add_three(proxy))
    assert counter.total == 3


def test_by_os_fork_in_another_thread() -> None:
    counter = Counter()
    proxy, listener = share(counter)
    failures: list[BaseException] = []

    def fork() -> None:
        try:
            in_fork(lambda: add_three(proxy))
        except BaseException as error:
            failures.append(error)

    with listener:
        thread = threading.Thread(target=fork)
        thread.start()
        listener.serve(until=lambda: not thread.is_alive())
        thread.join()
    assert failures == []
    assert counter.total == 3


def test_by_os_fork_of_a_client_that_has_called_before() -> None:
    counter = Counter()
    proxy, listener = share(counter)

    def client() -> None:
        add(proxy, 2)
        in_fork(lambda: add_three(proxy))
        add(proxy, 2)

    with listener, listener.background():
        in_fork(client)
    assert counter.total == 7


def fork_in_call(proxy: Any) -> int:
    pid: int = proxy.fork(proxy)
    return pid


def wait_for_fork(pid: int, listener: Listener[Any]) -> int:
    listener.serve(until=lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_by_os_fork_inside_a_served_method(elsewhere: Elsewhere) -> None:
    counter = Counter()
    counter.proxy, listener = share(counter)
    with listener:
        pid = elsewhere.run(listener, fork_in_call, counter.proxy)
        assert wait_for_fork(pid, listener) == 7
        assert elsewhere.run(listener, add, counter.proxy)
    counter.proxy = None
    assert counter.total == 6


def test_by_os_fork_inside_a_method_called_at_home() -> None:
    counter = Counter()
    counter.proxy, listener = share(counter)
    with listener:
        assert wait_for_fork(fork_in_call(counter.proxy), listener) == 7
    counter.proxy = None
    assert counter.total == 5


def test_a_method_bound_before_the_fork_calls_the_owner_in_the_child() -> None:
    counter = Counter()
    proxy, listener = share(counter)
    bound = proxy.add
    with listener, listener.background():
        bound(1)
        in_fork(lambda: add_three(bound.__self__))
        in_fork(lambda: bound(5) and None)
    assert counter.total == 9


# What it costs -----------------------------------------------------------------------------------


def test_a_proxy_pickled_a_thousand_times_costs_no_descriptor() -> None:
    proxy, listener = share(Counter())
    with listener:
        gc.collect()  # what an earlier test left is not counted
        before = open_descriptors()
        pickles = {pickle.dumps(proxy) for _ in range(1000)}
        assert open_descriptors() == before
        assert len(pickles) == 1
        assert listener.stats().references == 1


def load_and_call(pickled: bytes) -> tuple[int, int, bool]:
    """Unpickle a proxy many times; return the descriptors it costs, unused and used."""
    gc.collect()  # what an earlier test left is not counted
    before = len(open_descriptors())
    proxies = [pickle.loads(pickled) for _ in range(1000)]
    unused = len(open_descriptors()) - before
    for proxy in proxies:
        proxy.add()
    return unused, len(open_descriptors()) - before, all(proxy == proxies[0] for proxy in proxies)


def test_a_thousand_proxies_of_one_listener_share_one_pipe(elsewhere: Elsewhere) -> None:
    counter = Counter()
    proxy, listener = share(counter)
    with listener:
        unused, used, equal = elsewhere.run(listener, load_and_call, pickle.dumps(proxy))
    assert unused == 0
    assert used <= 4  # a pipe each way, and the life descriptors of owner and client
    assert equal
    assert counter.total == 1000


def use_both(account: Any, counter: Any) -> tuple[Any, ...]:
    gc.collect()  # what an earlier test left is not counted
    before = len(open_descriptors())
    account.deposit(5)
    first = len(open_descriptors())
    counter.add(2)
    return (
        account.balance,
        counter.total,
        account == counter,
        first > before,
        (len(open_descriptors()) - first),
    )


def test_several_objects_of_one_listener_share_a_channel(elsewhere: Elsewhere) -> None:
    account, counter = Account(), Counter()
    with Listener[Any]() as listener:
        proxies = listener.share(account), listener.share(counter)
        assert listener.share(account) == proxies[0]
        assert elsewhere.run(listener, use_both, *proxies) == (105, 2, False, True, 0)
        assert listener.stats().references == 2


def test_big_arguments_and_results(elsewhere: Elsewhere) -> None:
    proxy, listener = share(Blob())
    with listener:
        assert elsewhere.run(listener, echo, proxy, 5 << 20)


def test_a_process_that_ends_without_a_word_leaves_nothing(context: Any) -> None:
    proxy, listener = share(Counter())
    with listener:
        process = context.Process(target=call_and_vanish, args=(proxy,))
        process.start()
        before = listener.stats().clients
        listener.serve(until=process)
        process.join(PATIENCE)
        assert before == 0
        assert listener.stats().clients == 0
        assert listener.stats().calls == {"Counter.add": 1}


def call_and_vanish(counter: Any) -> None:
    counter.add()
    os._exit(0)
