"""Programs that end with proxies alive, listeners served in the background and calls under way.

Each is run in a Python of its own, in which every warning is an error; it prints when it leaves.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from time import monotonic, sleep
from typing import Any

from pipeproxy import PipeProxyError, share, spawn, spawning
from tests.support import PATIENCE

from .desks import Desk

_kept: list[Any] = []


def own() -> Any:
    """Share a desk, served in the background to the end of the program."""
    proxy, listener = share(Desk())
    _kept.append((proxy, listener, listener.background()))
    return proxy


def call(desk: Any, name: str, there: Callable[[], object], go: Callable[[], object]) -> None:
    """Open a channel, and call on it from `go` until there is nobody to call."""
    try:
        desk.arrive()
        there()
        go()
        while True:
            getattr(desk, name)()
    except PipeProxyError:
        pass


def call_beside(*args: Any) -> None:
    """Let a daemon thread call until the end."""
    threading.Thread(target=call, args=args, daemon=True).start()


def _visit(desk: Any, name: str, stays: bool, tells: Connection, go: Any, leave: Any) -> None:
    own()
    args = (desk, name, partial(tells.send, "there"), go.acquire)
    (call if stays else call_beside)(*args)
    leave.acquire()


def with_clients(method: str, name: str, stays: str) -> None:
    """End a program whose children call it; they leave meanwhile, or call to the end."""
    context: Any = multiprocessing.get_context(method)
    desk, listener = share(Desk())
    here, there = context.Pipe(duplex=False)
    go, leave = context.Semaphore(0), context.Semaphore(0)
    for _ in range(2):
        args = (desk, name, stays == "stay", there, go, leave)
        context.Process(target=_visit, args=args).start()
    _kept.append((listener, listener.background()))  # now: no fork beside a thread is warned of
    for _ in range(2):
        assert here.poll(PATIENCE)
        here.recv()
    for _ in range(2):
        go.release()
    while not listener.stats().calls.get(f"Desk.{name}"):
        sleep(0.001)
    for _ in range(2):
        leave.release()
    print(monotonic())


def with_host(method: str, name: str) -> None:
    """End a program whose threads call an object in a process of its own."""
    with spawning(multiprocessing.get_context(method)):
        desk, host = spawn(Desk)
    _kept.append((desk, host, own()))
    go = threading.Semaphore(0)
    there = threading.Semaphore(0)
    for _ in range(2):
        call_beside(desk, name, there.release, go.acquire)
        there.acquire()
    go.release(2)
    print(monotonic())
