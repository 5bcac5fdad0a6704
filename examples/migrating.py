"""A program for `multiprocessing.Manager`, moved over by changing one import; here both run.

Four clerks sell from a shared stock, and one of them is killed while it holds the lock. With the
standard manager the nested counts are lost, and the lock stays held for ever. The `main` of a
program that is really moved over has one import, and no loop.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing import Process
from typing import Any

import pipeproxy.managers

CLERKS, SALES, CALLS = 4, 100, 2000


def sell(stock: Any, lock: Any) -> None:
    for _ in range(SALES):
        with lock:
            stock["apples"]["sold"] += 1


def die(lock: Any) -> None:
    lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def run(manager: Callable[[], Any]) -> tuple[str, str, str]:
    with manager() as made:
        lock, stock = made.Lock(), made.dict(apples={"sold": 0})
        clerks = [Process(target=sell, args=(stock, lock)) for _ in range(CLERKS)]
        for clerk in clerks:
            clerk.start()
        for clerk in clerks:
            clerk.join()

        clerk = Process(target=die, args=(lock,))
        clerk.start()
        clerk.join()
        free = lock.acquire(timeout=1)

        begin = time.perf_counter()
        for _ in range(CALLS):
            stock.get("pears")
        speed = CALLS / (time.perf_counter() - begin)
        sold = stock["apples"]["sold"]
    return f"{sold} of {CLERKS * SALES}", "free" if free else "held", f"{speed:,.0f}"


def main() -> None:
    found = [run(multiprocessing.Manager), run(pipeproxy.managers.Manager)]
    print(f"{'':24}{'multiprocessing':>16}{'pipeproxy':>16}")
    for title, *values in zip(
        ("apples sold", "lock of a dead clerk", "calls a second"), *found, strict=True
    ):
        print(f"{title:24}{values[0]:>16}{values[1]:>16}")


if __name__ == "__main__":
    main()
