"""What many echoes of a large array leave behind: ``python -m tests.benchmarks.memory``.

Printed is the resident memory of owner and client, and their descriptors, every tenth of the way.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from pathlib import Path
from typing import Any

from pipeproxy import share

_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Echoes before the first look: the first ones make what the others use again.
_WARM_UP = 10


class Owner:
    def echo(self, value: Any) -> Any:
        return value

    def usage(self) -> tuple[float, int]:
        return usage()


def usage() -> tuple[float, int]:
    """The resident memory of this process, in MiB, and its open descriptors."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * _PAGE / (1 << 20), len(os.listdir("/proc/self/fd"))


def echo(owner: Owner, mebibytes: int, times: int) -> None:
    import numpy as np

    array = np.arange(mebibytes << 17, dtype=np.float64)
    for number in range(-_WARM_UP, times + 1):
        if number >= 0 and number % max(1, times // 10) == 0:
            cells = [f"{size:9.1f} MiB {count:4}" for size, count in (owner.usage(), usage())]
            print(f"{number:8} echoes:  owner {cells[0]}   client {cells[1]}", flush=True)
        if number < times and not np.array_equal(owner.echo(array)[:: 1 << 12], array[:: 1 << 12]):
            raise AssertionError("an array came back changed")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.memory", description=__doc__)
    parser.add_argument("--times", type=int, default=1000, help="default: 1000")
    parser.add_argument("--mebibytes", type=int, default=64, help="default: 64")
    options = parser.parse_args()
    proxy, listener = share(Owner())
    arguments = proxy, options.mebibytes, options.times
    client = multiprocessing.get_context("fork").Process(target=echo, args=arguments)
    client.start()
    with listener:
        listener.serve(until=client)


if __name__ == "__main__":
    main()
