"""Many clients at once, some of which die: each gets its own answers and no update is lost."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing.context import BaseContext
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from pipeproxy import OwnerDied, share
from pipeproxy._proxies._proxy import link_of
from tests.children import Child
from tests.support import PATIENCE, named_memory

from .conftest import Elsewhere
from .users import (
    Counter,
    add,
    add_in_threads,
    call,
    die_in_a_call,
    meet_death,
    own,
    serve_for_ever,
)

pytestmark = pytest.mark.usefixtures("descriptors_kept")


def test_no_update_of_many_threads_of_many_processes_is_lost(context: BaseContext) -> None:
    processes, threads, times = 4, 16, 20
    counter = Counter()
    proxy, listener = share(counter)
    with listener, ExitStack() as stack:
        children = [
            stack.enter_context(Child(context, add_in_threads, proxy, threads, times, number))
            for number in range(processes)
        ]
        for child in children:
            assert child.result(listener) == [True] * threads
        assert listener.stats().calls == {"Counter.add": processes * threads * times}
    assert counter.total == processes * threads * times
    assert counter.by == dict.fromkeys(range(processes), threads * times)


def test_a_client_killed_in_the_middle_of_a_call_harms_no_other(
    context: Any, elsewhere: Elsewhere
) -> None:
    counter = Counter()
    proxy, listener = share(counter)
    with listener:
        victim = context.Process(target=die_in_a_call, args=(proxy,))
        victim.start()
        assert elsewhere.run(listener, add, proxy, 10)
        listener.serve(until=victim)
        victim.join(PATIENCE)
        assert victim.exitcode == -signal.SIGKILL
        assert elsewhere.run(listener, add, proxy, 10)
        assert listener.stats().calls == {"Counter.add": 20, "Counter.kill_caller": 1}
    assert counter.total == 20


# Death of the owner ------------------------------------------------------------------------------


class Owner:
    """An owner in a process of its own, and its clients in others."""

    def __init__(self, context: Any, stack: ExitStack) -> None:
        self._hears, tells = context.Pipe()
        stack.callback(self._hears.close)
        self.child = Child(context, own, tells)
        stack.callback(self.child.kill)
        tells.close()
        self.pickled = self.child.result()
        self.child.do(serve_for_ever)

    def wait_for_hanging_call(self) -> None:
        assert self._hears.poll(PATIENCE)
        assert self._hears.recv() == "hanging"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_all_clients_of_a_killed_owner_are_told(context: BaseContext, stack: ExitStack) -> None:
    kill_an_owner(context, stack)


@pytest.mark.parametrize("context", ["fork"], indirect=True)
def test_a_copy_of_the_owner_that_was_forked_in_c_keeps_nobody_waiting(
    context: BaseContext, stack: ExitStack
) -> None:
    kill_an_owner(context, stack, forked_in_c=True)


def kill_an_owner(context: BaseContext, stack: ExitStack, *, forked_in_c: bool = False) -> None:
    owner = Owner(context, stack)
    pid = owner.child.process.pid
    clients = [stack.enter_context(Child(context)) for _ in range(3)]
    hanging, waiting, idle = clients
    for client in clients:
        client.do(call, owner.pickled, "count").result()
    if forked_in_c:
        copy = idle.do(call, owner.pickled, "fork_in_c").result()
        stack.callback(os.kill, copy, signal.SIGKILL)
    hanging.do(meet_death, owner.pickled, "hang")
    owner.wait_for_hanging_call()
    waiting.do(meet_death, owner.pickled, "count")

    killed = monotonic()
    owner.child.kill()
    idle.do(meet_death, owner.pickled, "count")
    ends = [client.result() for client in clients]
    # One more call of each, and the first of one that had never called.
    ends += [client.do(meet_death, owner.pickled, "count").result() for client in clients]
    ends.append(meet_death(owner.pickled, "count"))
    assert [end[0] for end in ends] == [OwnerDied.__name__] * 7
    assert all(f"process {pid}" in end[1] for end in ends)
    assert all(end[2] - killed < 10 for end in ends)


@pytest.mark.skipif(sys.platform != "linux", reason="a socket's file may outlive a SIGKILL there")
def test_a_killed_owner_leaves_nothing_behind(
    context: BaseContext, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    named = named_memory()
    owner = Owner(context, stack)
    proxy = pickle.loads(owner.pickled)
    assert proxy.count() == 1
    address = link_of(proxy).route.address.replace(b"\0", b"@").decode()
    assert address in sockets()
    owner.child.kill()
    assert address not in sockets()
    assert [name for name in os.listdir(tmp_path) if "pipeproxy" in name] == []
    assert named_memory() <= named


def sockets() -> list[str]:
    return [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()]
