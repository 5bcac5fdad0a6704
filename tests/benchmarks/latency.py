"""What looking again before sleeping gains and costs: ``python -m tests.benchmarks.latency``.

One client calls an owner that serves in each of three ways, with the default `spin` and without, on
one core, on two, and where the kernel likes; beside as many busy processes as there are cores; and
beside a main thread that is busy. Printed are calls per second and the processor time of owner and
client together for each call, and what an idle listener of many clients uses.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from pipeproxy import Listener, spawn, spawning

from .measure import cores_for, pin_to

_CALLS = 4000
_CLIENTS = 100
#: Seconds for which an idle listener is looked at.
_IDLE = 2.0

_fork = multiprocessing.get_context("fork")


class Counter:
    def __init__(self) -> None:
        self.total = 0
        self.is_done = False

    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    def processor_time(self) -> float:
        return time.process_time()

    def finish(self) -> None:
        self.is_done = True


def call_many(counter: Counter, core: int | None, calls: int, tells: Any) -> None:
    """Tell the calls per second, and the microseconds of processor time for each."""
    pin_to(core)
    for _ in range(calls // 10):
        counter.add(1)
    used, owners = time.process_time(), counter.processor_time()
    begin = time.perf_counter()
    for _ in range(calls):
        counter.add(1)
    seconds = time.perf_counter() - begin
    used = time.process_time() - used + counter.processor_time() - owners
    tells.send((calls / seconds, used / calls * 1e6))
    counter.finish()


def burn() -> None:
    while True:
        pass


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep so many cores busy."""
    processes = [_fork.Process(target=burn, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def measured(way: str, spin: float | None, pin: str, calls: int) -> tuple[float, float]:
    """The figures of `call_many` for one way to serve."""
    owner_core, client_core = cores_for(pin)
    every = os.sched_getaffinity(0)
    hears, tells = _fork.Pipe(duplex=False)
    try:
        pin_to(owner_core)
        if way == "spawn":
            with spawning(_fork):
                counter, host = spawn(Counter)
            end: Any = host
        else:
            listener = Listener[Any](spin=spin)
            target = Counter()
            counter, end = listener.share(target), listener
        with end:
            client = _fork.Process(target=call_many, args=(counter, client_core, calls, tells))
            client.start()
            if way == "serve":
                listener.serve(until=client)
            elif way == "spawn":
                client.join()
            else:
                with listener.background():
                    while way == "background, busy" and not target.is_done:
                        pass  # pure Python, which lets go of nothing
                    client.join()
    finally:
        os.sched_setaffinity(0, every)
    figures: tuple[float, float] = hears.recv()
    return figures


def idle() -> float:
    """The processor time, in percent, of a listener with many clients that do nothing."""
    listener = Listener[Any]()
    counter = listener.share(Counter())
    leave = _fork.Event()

    def wait(counter: Counter) -> None:
        counter.add(1)
        leave.wait()

    clients = [_fork.Process(target=wait, args=(counter,)) for _ in range(_CLIENTS)]
    with listener, listener.background():
        for client in clients:
            client.start()
        while counter.total < _CLIENTS:
            time.sleep(0.01)
        used = time.process_time()
        threading.Event().wait(_IDLE)
        used = time.process_time() - used
        leave.set()
        for client in clients:
            client.join()
    return used / _IDLE * 100


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.latency", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    options = parser.parse_args()
    cases = [
        (way, pin, busy)
        for busy in (0, os.cpu_count() or 1)
        for way in ("serve", "background", "spawn")
        for pin in (("free", "same", "split") if not busy else ("free",))
    ]
    print(f"idle, {_CLIENTS} clients: {idle():.2f} % of one core")
    print(f"{'':34}{'spin':>20}{'spin=0':>20}")
    for way, pin, busy in [*cases, ("background, busy", "free", 0)]:
        cells = []
        spins = (None,) if way == "spawn" else (None, 0.0)
        rounds: dict[float | None, list[tuple[float, float]]] = {spin: [] for spin in spins}
        calls = _CALLS // 20 if way == "background, busy" else _CALLS
        with busy_processes(busy) if busy else nullcontext():
            for _ in range(options.rounds):
                for spin, figures in rounds.items():
                    figures.append(measured(way, spin, pin, calls))
        for figures in rounds.values():
            speed, cost = (statistics.median(column) for column in zip(*figures, strict=True))
            cells.append(f"{speed:,.0f}/s {cost:5.1f} µs")
        title = f"{way}, {pin}" + (f", {busy} busy processes" if busy else "")
        print(f"{title:34}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
