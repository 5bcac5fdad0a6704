"""What pipeproxy's plugin costs mypy: ``python -m tests.typing.cost [--files N] [--rounds N]``.

A project of N files is generated: one half are modules with a proxied class each, whose stubs are
made, the other half are modules that share and use them. It is checked with and without the plugin,
in turn, each time without a cache. The medians of the processor time are compared.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

OWNER = '''
from __future__ import annotations
import threading
from dataclasses import dataclass, field
from pipeproxy import proxied

@dataclass
class Order{n}:
    number: int
    lines: list[str] = field(default_factory=list)

@proxied
class Account{n}:
    """An account."""

    def __init__(self, owner: str, balance: int = 0) -> None:
        self.owner = owner
        self.balance = balance
        self.orders: dict[str, Order{n}] = {{}}
        self._lock = threading.Lock()
''' + "".join(
    f"""
    def method{m}(self, amount: int, order: Order{{n}} | None = None, *, memo: str = "") -> int:
        with self._lock:
            total = sum(len(o.lines) for o in self.orders.values())
            if order is not None:
                self.orders[memo] = order
            return total + amount

    def other{m}(self, other: Account{{n}}) -> list[Account{{n}}]:
        return [other, self]
"""
    for m in range(6)
)

CLIENT = (
    """
from __future__ import annotations
from multiprocessing import Process
from pipeproxy import share
from owner{n} import Account{n}, Order{n}

def main() -> int:
    proxy, listener = share(Account{n}("ada", balance=3))
    total = 0
    for number in range(10):
        order = Order{n}(number, ["a", "b"])
"""
    + "".join(
        f"""
        total += proxy.method{m}(number, order, memo=str(number))
        total += sum(len(other.owner) for other in proxy.other{m}(proxy))
"""
        for m in range(6)
    )
    + """
    clerks = [Process(target=main) for _ in range(3)]
    with listener:
        listener.serve(until=clerks)
    return total
"""
)
SETTINGS = "[mypy]\nstrict = true\nmypy_path = typings\n"


def write(project: Path, files: int) -> None:
    """Write the project and its stubs."""
    for n in range(files // 2):
        (project / f"owner{n}.py").write_text(OWNER.format(n=n), "utf-8")
        (project / f"client{n}.py").write_text(CLIENT.format(n=n), "utf-8")
    (project / "without.ini").write_text(SETTINGS, "utf-8")
    (project / "with.ini").write_text(SETTINGS + "plugins = pipeproxy.mypy_plugin\n", "utf-8")
    modules = [f"owner{n}" for n in range(files // 2)]
    command = [sys.executable, "-m", "pipeproxy", "stubs", *modules]
    subprocess.run(command, cwd=project, check=True, stdout=subprocess.DEVNULL)


def seconds(project: Path, settings: str) -> float:
    """The processor time of mypy, without a cache."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "mypy", "--config-file", settings, "--cache-dir", os.devnull]
    # What is installed is compiled once, and not in each run.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(
        [*command, "."], cwd=project, check=True, stdout=subprocess.DEVNULL, env=environment
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the medians and how they compare."""
    parser = argparse.ArgumentParser(description="What pipeproxy's plugin costs mypy.")
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, list[float]] = {"without.ini": [], "with.ini": []}
    with tempfile.TemporaryDirectory() as directory:
        write(Path(directory), options.files)
        for _ in range(options.rounds):
            for settings, times in found.items():
                times.append(seconds(Path(directory), settings))
    without, within = map(statistics.median, found.values())
    print(f"{options.files} files: {without:.2f} s without the plugin, {within:.2f} s with it")
    print(f"{100 * (within / without - 1):+.1f} %")


if __name__ == "__main__":
    main()
