"""One measurement, in a fresh process: ``python -m tests.benchmarks.measure PEER WORK PIN SCALE``.

Prints one number: calls per second of all clients together, or the seconds of one echo.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple

from .others import OTHERS
from .peers import MANAGERS, PEERS, UNKNOWN, Callee, ManagedLock, Peer

#: Seconds after which a client gives up waiting for the others to start.
_PATIENCE = 60.0
WARM_UP = 20
#: The first ones make what the others use again.
_FIRST_ECHOES = 3


class Calls(NamedTuple):
    """`clients` processes make `times` small calls each, at once."""

    clients: int
    times: int


class Echo(NamedTuple):
    """One client sends an array of `size` bytes and gets it back, `times` times."""

    size: int
    times: int


class InFlight(NamedTuple):
    """One client has `times` calls in flight, as many at once as it may, in one of several `ways`.

    The ways: "pipelined", as the peer does it best; "submitted", one by one; "awaited", each by a
    task of its own.
    """

    way: str
    times: int
    clients: int = 1


class Locking(NamedTuple):
    """`clients` processes take one lock of a `kind` and give it back, `times` times each.

    The lock is a manager's; each time is two calls.
    """

    kind: str
    clients: int
    times: int


Work = Calls | Echo | InFlight | Locking

WORKS: dict[str, Work] = {
    "1 client": Calls(1, 10_000),
    "4 clients": Calls(4, 4_000),
    "32 clients": Calls(32, 500),
    "256 clients": Calls(256, 60),
    "10,000 in flight": InFlight("pipelined", 10_000),
    "10,000 submitted": InFlight("submitted", 10_000),
    "1,000 awaited": InFlight("awaited", 1_000),
    "published reads": InFlight("read", 100_000),
    "100 KB echo": Echo(100_000, 400),
    "1 MiB echo": Echo(1 << 20, 40),
    "64 MiB echo": Echo(64 << 20, 5),
    "Lock, 1 client": Locking("Lock", 1, 4_000),
    "Lock, 4 clients": Locking("Lock", 4, 1_000),
    "RLock, 1 client": Locking("RLock", 1, 4_000),
    "RLock, 4 clients": Locking("RLock", 4, 1_000),
    "Condition, 1 client": Locking("Condition", 1, 4_000),
    "Condition, 4 clients": Locking("Condition", 4, 1_000),
}


def call_many(callee: Callee, times: int, barrier: Barrier) -> list[float]:
    """When the first of `times` calls began and the last one ended."""
    add = callee.add
    for _ in range(WARM_UP):
        add(1)
    barrier.wait(_PATIENCE)
    begin = time.monotonic()
    for _ in range(times):
        add(1)
    return [begin, time.monotonic()]


def fly_many(callee: Callee, way: str, times: int, barrier: Barrier) -> list[float]:
    """When the first of `times` calls began and the last one ended."""
    fly = getattr(callee, way)
    fly(WARM_UP)
    barrier.wait(_PATIENCE)
    begin = time.monotonic()
    fly(times)
    return [begin, time.monotonic()]


def echo_many(callee: Callee, size: int, times: int) -> list[float]:
    """The seconds of each of `times` echoes."""
    import numpy as np  # not in the processes that only count calls

    array = np.arange(size // 8, dtype=np.float64)
    for _ in range(_FIRST_ECHOES):
        if not np.array_equal(callee.echo(array), array):
            raise AssertionError("an array came back changed")
    seconds = []
    for _ in range(times):
        begin = time.monotonic()
        callee.echo(array)
        seconds.append(time.monotonic() - begin)
    return seconds


def lock_many(lock: Any, times: int, barrier: Barrier) -> list[float]:
    """When `lock` was first taken and when it was last given back."""
    for _ in range(WARM_UP):
        with lock:
            pass
    barrier.wait(_PATIENCE)
    begin = time.monotonic()
    for _ in range(times):
        with lock:
            pass
    return [begin, time.monotonic()]


def way_of(work: Work) -> str:
    """The method of a callee that does this."""
    if isinstance(work, InFlight):
        return work.way
    if isinstance(work, Locking):
        return "acquire"
    return "echo" if isinstance(work, Echo) else "add"


def client(peer: Peer, number: int, work: Work, barrier: Barrier, result: Connection) -> None:
    try:
        callee = peer.connect(number)
    except LookupError:
        result.send(None)
        return
    if not hasattr(callee, way_of(work)):
        result.send(None)
    elif isinstance(work, Locking):
        result.send(lock_many(callee, work.times, barrier))
    elif isinstance(work, Calls):
        result.send(call_many(callee, work.times, barrier))
    elif isinstance(work, InFlight):
        result.send(fly_many(callee, work.way, work.times, barrier))
    else:
        result.send(echo_many(callee, *work))


def pin_to(core: int | None) -> None:
    """Keep this process, and the children that it makes from now on, on `core`."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def started(peer: Peer, work: Work, clients: int) -> tuple[list[BaseProcess], list[Connection]]:
    """Clients that do their work once all are there, and where each tells of it."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(clients)
    results: list[Connection] = []
    processes: list[BaseProcess] = []
    for number in range(clients):
        receive, send = context.Pipe(duplex=False)
        results.append(receive)
        arguments = (peer, number, work, barrier, send)
        processes.append(context.Process(target=client, args=arguments))
    for process in processes:
        process.start()
    return processes, results


def measure(peer_name: str, work: Work, owner_core: int | None, client_core: int | None) -> float:
    """One number, see above."""
    pin_to(owner_core)
    context = multiprocessing.get_context("fork")
    clients = 1 if isinstance(work, Echo) else work.clients
    peer: Peer
    if not isinstance(work, Locking):
        peer = (PEERS | OTHERS)[peer_name](clients)
    elif peer_name in MANAGERS:
        peer = ManagedLock(MANAGERS[peer_name](context), work.kind)
    else:
        return float("nan")  # it has no locks
    pin_to(client_core)
    processes, results = started(peer, work, clients)
    pin_to(owner_core)
    peer.serve(processes)
    if any(process.exitcode for process in processes):
        raise AssertionError(f"clients ended with {[process.exitcode for process in processes]}")
    told: list[list[float] | None] = [result.recv() for result in results]
    times = [moments for moments in told if moments]
    if not times:
        return float("nan")  # such work it cannot do
    total = peer.total()
    peer.close()
    if isinstance(work, Echo):
        return statistics.median(times[0])
    reads = isinstance(work, InFlight) and work.way == "read"
    if not reads and total not in {clients * (work.times + WARM_UP), UNKNOWN}:
        raise AssertionError(f"{total} calls were counted")
    calls = clients * work.times * (2 if isinstance(work, Locking) else 1)
    return calls / (max(end for _, end in times) - min(begin for begin, _ in times))


def cores_for(pin: str) -> tuple[int | None, int | None]:
    """The cores of owner and clients; `pin` is as in the command line."""
    if pin == "free":
        return None, None
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[0 if pin == "same" else 1]


def main() -> None:
    peer, work_name, pin, scale = sys.argv[1:]
    work = WORKS[work_name]
    work = work._replace(times=max(1, round(work.times * float(scale))))
    print(measure(peer, work, *cores_for(pin)))


if __name__ == "__main__":
    main()
